//! Dictionaries by name.

use std::path::Path;

use super::found;
use super::options::DictionaryOptions;
use crate::dictionaries::dictionary::Dictionary;
use crate::dictionaries::parts::DictionaryParts;
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage::some_of;

impl Dictionary {
    /// The dictionary called `name`:
    ///
    /// - `"tiny/z2"`: one that is embedded in this crate, for the embedded model;
    /// - a folder or a file, in any [`DictionaryFormat`](super::DictionaryFormat);
    /// - `"gpt2-small-res-jb/blocks.8.hook_resid_pre"`: one of a well-known release, by SAELens' name or, for Dunefsky's transcoders,
    ///   `"gpt2-small-transcoders/blocks.5.ln2.hook_normalized"`;
    /// - `"owner/repo:path/in/repo@revision"`: a folder or a file on the Hugging Face hub; `@revision` may be left out.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let dictionary = Dictionary::from_pretrained("tiny/z2")?;
    /// assert_eq!(dictionary.expects().hook_in, Some("blocks.2.attn.hook_z".parse()?));
    /// println!("{dictionary}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A name that means nothing, no dictionary or several there, files that are damaged, contradict each other or say something
    /// about the numbers that is not understood.
    pub fn from_pretrained(name: impl AsRef<str>) -> Result<Self> {
        Self::from_pretrained_with(name, DictionaryOptions::default())
    }

    /// As [`Dictionary::from_pretrained`], with what the files do not say.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let options = DictionaryOptions { dtype: Some(DType::BF16), ..Default::default() };
    /// assert_eq!(Dictionary::from_pretrained_with("tiny/z2", options)?.dtype(), DType::BF16);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Dictionary::from_pretrained`], and for options that do not fit.
    pub fn from_pretrained_with(name: impl AsRef<str>, options: DictionaryOptions) -> Result<Self> {
        let name = name.as_ref();
        let _loading = Progress::opaque(format!("loading {name}"));
        let (found, _) = found(name, &options)?;
        match &found[..] {
            [one] => {
                let dictionary = (one.open)()?.dictionary(&options)?;
                // A name that was given says more than the end of a path.
                let given = !Path::new(name).exists();
                if given {
                    Self::new(DictionaryParts { name: name.into(), ..dictionary.parts() })
                } else {
                    Ok(dictionary)
                }
            }
            several => {
                let names: Vec<&str> = several.iter().map(|entry| entry.name.as_str()).collect();
                let message = format!(
                    "holds {} dictionaries: open them with DictionarySet::open, or give the path of one of them. It has {}.",
                    names.len(),
                    some_of(&names)
                );
                Err(Error::file(name, message))
            }
        }
    }
}
