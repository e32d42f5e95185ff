//! Where training takes its texts from.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::tasks::TaskDataset;
use crate::tokens::Input;

type Stream = Box<dyn Iterator<Item = Result<Input>> + Send>;

/// Texts or token ids, read one after the other as they are needed: the prompts of a data set, the lines of a file, or whatever an
/// iterator gives, endless ones included.
///
/// ```
/// use candle_lens::prelude::*;
/// let dataset = Task::Ioi.prompts(tasks::Split::Train, 100, 0)?;
/// assert_eq!(Texts::from(&dataset).to_string(), "100 texts");
/// let mut random = Random::new(0);
/// let noise = Texts::stream(std::iter::from_fn(move || Some(vec![random.below(100) as u32, random.below(100) as u32])));
/// assert_eq!(noise.to_string(), "a stream of texts");
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub struct Texts {
    source: Source,
    /// Whether it begins again after its end.
    is_repeated: bool,
    open: Option<Stream>,
    /// How many inputs were given.
    given: u64,
    /// How often it has begun again.
    passes: u64,
}

enum Source {
    List(Arc<[Input]>),
    File(PathBuf),
    Stream,
}

impl Texts {
    /// What an iterator gives: texts, ids, batches of tokens.
    pub fn stream<I>(texts: I) -> Self
    where
        I: IntoIterator,
        I::Item: Into<Input>,
        I::IntoIter: Send + 'static,
    {
        let open: Stream = Box::new(texts.into_iter().map(|text| Ok(text.into())));
        Self { source: Source::Stream, is_repeated: false, open: Some(open), given: 0, passes: 0 }
    }

    /// The lines of a text file in UTF-8, blank ones left out; the file is read as the lines are needed.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be opened; whatever is wrong later is found when it is read.
    pub fn file(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        let open = Some(lines(&path)?);
        Ok(Self { source: Source::File(path), is_repeated: false, open, given: 0, passes: 0 })
    }

    /// Begins again after the end, and so never ends.
    ///
    /// # Errors
    /// [`Error::Argument`] for a stream, which cannot begin again.
    pub fn repeated(mut self) -> Result<Self> {
        if matches!(self.source, Source::Stream) {
            return Err(Error::argument(
                "a stream of texts cannot begin again: give an iterator that never ends (`cycle()`), a list or a file.",
            ));
        }
        self.is_repeated = true;
        Ok(self)
    }

    /// The next input.
    pub(crate) fn next(&mut self) -> Result<Option<Input>> {
        let mut is_new = false;
        loop {
            if self.open.is_none() {
                self.open = Some(self.source.open()?);
                is_new = true;
            }
            match self.open.as_mut().and_then(Iterator::next) {
                Some(input) => {
                    self.given += 1;
                    return input.map(Some);
                }
                // An empty list or file that is repeated has an end after all.
                None if !self.is_repeated || is_new => return Ok(None),
                None => {
                    self.open = None;
                    self.passes += 1;
                }
            }
        }
    }

    /// How often they have begun again.
    pub(super) fn passes(&self) -> u64 {
        self.passes
    }

    /// How many inputs were given.
    pub(super) fn given(&self) -> u64 {
        self.given
    }

    /// Goes on behind the first `count` inputs.
    ///
    /// # Errors
    /// [`Error::Argument`] if there are not as many, or some were taken already.
    pub(super) fn skip(&mut self, count: u64) -> Result<()> {
        if self.given > 0 {
            return Err(Error::argument(
                "texts were taken from this store already: make a new one from the same texts, and resume it.",
            ));
        }
        while self.given < count {
            if self.next()?.is_none() {
                return Err(Error::argument(format!(
                    "the checkpoint was written after {count} texts, but there are {}: give the texts that it was trained on.",
                    self.given
                )));
            }
        }
        Ok(())
    }
}

impl Source {
    fn open(&self) -> Result<Stream> {
        match self {
            Self::List(list) => {
                let list = list.clone();
                Ok(Box::new((0..list.len()).map(move |number| Ok(list[number].clone()))))
            }
            Self::File(path) => lines(path),
            Self::Stream => Ok(Box::new(std::iter::empty())),
        }
    }
}

/// The lines of a file that are not blank.
fn lines(path: &Path) -> Result<Stream> {
    let failed = |path: &Path, error: std::io::Error| Error::file(path, format!("cannot be read ({error})."));
    let file = File::open(path).map_err(|error| failed(path, error))?;
    let path = path.to_path_buf();
    let lines = BufReader::new(file).lines().enumerate().filter_map(move |(number, line)| match line {
        Ok(line) if line.trim().is_empty() => None,
        Ok(line) => Some(Ok(Input::from(line))),
        Err(error) => {
            Some(Err(Error::file(&path, format!("cannot be read as UTF-8 text in line {} ({error}).", number + 1))))
        }
    });
    Ok(Box::new(lines))
}

impl From<&TaskDataset> for Texts {
    /// The clean prompts.
    fn from(dataset: &TaskDataset) -> Self {
        dataset.prompts.iter().map(|prompt| Input::from(&prompt.clean)).collect()
    }
}

impl<T: Into<Input>> FromIterator<T> for Texts {
    fn from_iter<I: IntoIterator<Item = T>>(texts: I) -> Self {
        let list = texts.into_iter().map(Into::into).collect();
        Self { source: Source::List(list), is_repeated: false, open: None, given: 0, passes: 0 }
    }
}

impl<T: Into<Input>> From<Vec<T>> for Texts {
    fn from(texts: Vec<T>) -> Self {
        texts.into_iter().collect()
    }
}

impl<T: Into<Input>, const N: usize> From<[T; N]> for Texts {
    fn from(texts: [T; N]) -> Self {
        texts.into_iter().collect()
    }
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::List(list) => write!(f, "{} texts", list.len())?,
            Source::File(path) => write!(f, "the lines of {}", crate::visible::visible(&path.to_string_lossy()))?,
            Source::Stream => f.write_str("a stream of texts")?,
        }
        if self.is_repeated { f.write_str(", again and again") } else { Ok(()) }
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
