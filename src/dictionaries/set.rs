//! Many dictionaries that are read one by one.

use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

use super::dictionary::Dictionary;
use super::expects::Expects;
use super::load::{DictionaryOptions, Opened, Unread, open};
use crate::error::{Error, Result, human_bytes, nearest};
use crate::visible::visible;

/// The dictionaries of a folder, a release or this binary. Opening it reads the headers of files on this disk, and nothing of
/// those on the hub; a dictionary is read when it is asked for and not kept, so that no more of them are in memory than the caller
/// keeps. Cheap to clone.
///
/// ```
/// use candle_lens::prelude::*;
/// let set = DictionarySet::open("tiny")?;
/// println!("{set}");
/// // Only now are numbers read.
/// let of_layer_2 = set.layer(2)?;
/// assert!(of_layer_2.iter().all(|dictionary| dictionary.d_in() == 128));
/// assert_eq!(set.get("z2")?.expects(), set.expects("z2")?);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct DictionarySet(Rc<Inner>);

struct Inner {
    name: String,
    options: DictionaryOptions,
    entries: Vec<Rc<Entry>>,
}

struct Entry {
    unread: Unread,
    opened: OnceCell<Opened>,
}

impl DictionarySet {
    /// The dictionaries under a name as [`Dictionary::from_pretrained`] takes it: `"tiny"` for those that are embedded, a folder,
    /// the name of a release, or `"owner/repo:path@revision"`.
    ///
    /// # Errors
    /// A name that means nothing, no dictionary there, a file on this disk that is damaged.
    pub fn open(name: impl AsRef<str>) -> Result<Self> {
        Self::open_with(name, DictionaryOptions::default())
    }

    /// As [`DictionarySet::open`]; the options are those of every dictionary.
    ///
    /// # Errors
    /// As [`DictionarySet::open`], and for options that do not fit.
    pub fn open_with(name: impl AsRef<str>, options: DictionaryOptions) -> Result<Self> {
        let name = name.as_ref();
        let (unread, local) = open(name, &options)?;
        let entry = |unread| Rc::new(Entry { unread, opened: OnceCell::new() });
        let entries = unread.into_iter().map(entry).collect();
        let set = Self(Rc::new(Inner { name: name.into(), options, entries }));
        if local {
            let here = set.0.entries.iter().filter(|entry| !entry.unread.remote);
            here.map(|entry| entry.opened()).try_for_each(|opened| opened.map(drop))?;
        }
        Ok(set)
    }

    /// The names, in the order of the layers that they read.
    pub fn names(&self) -> Vec<String> {
        self.0.entries.iter().map(|entry| entry.unread.name.clone()).collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// What a dictionary expects of the model, as far as is known without reading it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not among [`DictionarySet::names`].
    pub fn expects(&self, name: &str) -> Result<Expects> {
        Ok(self.entry(name)?.unread.expects.clone())
    }

    /// Reads a dictionary.
    ///
    /// # Errors
    /// [`Error::Argument`] for a name that is not among [`DictionarySet::names`]; a file that is damaged or cannot be fetched.
    pub fn get(&self, name: &str) -> Result<Dictionary> {
        self.read(self.entry(name)?)
    }

    /// Reads the dictionaries that read this layer.
    ///
    /// # Errors
    /// [`Error::Argument`] if there is none; a file that is damaged or cannot be fetched.
    pub fn layer(&self, layer: usize) -> Result<Vec<Dictionary>> {
        let reads = |entry: &&Rc<Entry>| entry.layer() == Some(layer);
        let found: Vec<Dictionary> =
            self.0.entries.iter().filter(reads).map(|entry| self.read(entry)).collect::<Result<_>>()?;
        if found.is_empty() {
            let mut layers: Vec<usize> = self.0.entries.iter().filter_map(|entry| entry.layer()).collect();
            layers.dedup();
            let message = format!(
                "{} has no dictionary that reads layer {layer}: those it has read the layers {layers:?}.",
                visible(&self.0.name)
            );
            return Err(Error::argument(message));
        }
        Ok(found)
    }

    /// Reads all of them.
    ///
    /// # Errors
    /// A file that is damaged or cannot be fetched.
    pub fn all(&self) -> Result<Vec<Dictionary>> {
        self.0.entries.iter().map(|entry| self.read(entry)).collect()
    }

    /// The set of its transcoders, which write another point than they read: what an
    /// [attribution graph](crate::model::HookedTransformer::attribution_graph) takes.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let set = DictionarySet::open("tiny")?;
    /// assert_eq!(set.transcoders()?.names(), ["mlp0", "mlp1", "mlp2", "mlp3"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] if none is known to be one without reading it.
    pub fn transcoders(&self) -> Result<Self> {
        let is_one = |entry: &&Rc<Entry>| entry.unread.expects.is_transcoder();
        let entries: Vec<Rc<Entry>> = self.0.entries.iter().filter(is_one).cloned().collect();
        match entries.is_empty() {
            true => Err(Error::argument(format!(
                "none of the {} dictionaries of {} is known to write another point than it reads: only({:?}) chooses by name.",
                self.len(),
                visible(&self.0.name),
                self.names().first().map_or("NAME", String::as_str)
            ))),
            false => Ok(self.of(entries)),
        }
    }

    /// The set of the dictionaries with these names.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let set = DictionarySet::open("tiny")?.only(["mlp3", "z2"])?;
    /// assert_eq!(set.names(), ["z2", "mlp3"]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Argument`] for no name, and for one that is not among [`DictionarySet::names`].
    pub fn only<S: AsRef<str>>(&self, names: impl IntoIterator<Item = S>) -> Result<Self> {
        let chosen: Vec<&Entry> = names.into_iter().map(|name| self.entry(name.as_ref())).collect::<Result<_>>()?;
        if chosen.is_empty() {
            return Err(Error::argument(
                "no name was given, and a set without dictionaries is of no use: names() has them.",
            ));
        }
        let is_chosen = |entry: &&Rc<Entry>| chosen.iter().any(|own| std::ptr::eq(*own, entry.as_ref()));
        Ok(self.of(self.0.entries.iter().filter(is_chosen).cloned().collect()))
    }

    fn of(&self, entries: Vec<Rc<Entry>>) -> Self {
        Self(Rc::new(Inner { name: self.0.name.clone(), options: self.0.options.clone(), entries }))
    }

    fn read(&self, entry: &Entry) -> Result<Dictionary> {
        entry.opened()?.dictionary(&self.0.options)
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let entries = &self.0.entries;
        entries.iter().find(|entry| entry.unread.name == name).map(Rc::as_ref).ok_or_else(|| {
            let nearest = nearest(name, entries.iter().map(|entry| entry.unread.name.as_str())).unwrap_or_default();
            let set = visible(&self.0.name).to_string();
            Error::argument(format!("{set} has no dictionary {name:?}; the nearest name is {nearest:?}."))
        })
    }
}

impl Entry {
    fn layer(&self) -> Option<usize> {
        self.unread.expects.hook_in.and_then(|point| point.layer())
    }

    fn opened(&self) -> Result<&Opened> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = (self.unread.open)()?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

impl fmt::Display for DictionarySet {
    /// One line for each: name, architecture, sizes, points.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.0.entries.iter().filter_map(|entry| entry.opened.get()).map(|opened| opened.bytes).sum();
        write!(f, "{}: {} dictionaries, {} in opened files", visible(&self.0.name), self.len(), human_bytes(bytes))?;
        for entry in &self.0.entries {
            write!(f, "\n  {}: ", visible(&entry.unread.name))?;
            match entry.opened.get() {
                Some(opened) => {
                    let (d_in, d_sae, d_out) = (opened.d_in, opened.d_sae, opened.d_out);
                    write!(f, "{}, {d_in} -> {d_sae} -> {d_out}, {}", opened.architecture, opened.dtype.as_str())?;
                }
                None => write!(f, "not opened yet")?,
            }
            match (entry.unread.expects.hook_in, entry.unread.expects.writes()) {
                (Some(reads), Some(writes)) if reads != writes => write!(f, ", {reads} to {writes}")?,
                (Some(at), _) => write!(f, ", at {at}")?,
                _ => (),
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DictionarySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
