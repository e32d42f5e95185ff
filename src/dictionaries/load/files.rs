//! The files of a place in which dictionaries are looked for: a folder, one file, a part of a repository of the hub, this binary.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;

use super::weights::Weights;
use crate::error::{Error, Result};
use crate::storage::Place;

/// A part of a place. Cheap to clone.
#[derive(Clone)]
pub(super) struct Files {
    place: Rc<RefCell<Place>>,
    /// The folder in the place, empty or with a slash at its end.
    folder: String,
    /// The one file that was asked for, if it was a file.
    only: Option<String>,
    names: Rc<[String]>,
    /// Of one file, the names of those in its folder too.
    beside: Rc<[String]>,
}

impl Files {
    /// The files below `path` in a place; `path` may be a file.
    ///
    /// # Errors
    /// [`Error::File`] if the place cannot be listed, or has nothing there.
    pub(super) fn new(mut place: Place, path: &str) -> Result<Self> {
        let names = place.names()?;
        let names: Rc<[String]> = names.into();
        let (place, beside) = (Rc::new(RefCell::new(place)), names.clone());
        Self { place, folder: String::new(), only: None, names, beside }.below(path)
    }

    /// Those below a folder among them; `path` may be a file.
    ///
    /// # Errors
    /// [`Error::File`] if there are none.
    pub(super) fn below(&self, path: &str) -> Result<Self> {
        let path = path.trim_end_matches('/');
        let (inside, only) = match self.names.iter().any(|name| name == path) {
            true => match path.rsplit_once('/') {
                Some((folder, file)) => (format!("{folder}/"), Some(file.to_string())),
                None => (String::new(), Some(path.to_string())),
            },
            false if path.is_empty() => (String::new(), None),
            false => (format!("{path}/"), None),
        };
        let beside = self.names.iter().filter_map(|name| name.strip_prefix(&inside)).map(String::from);
        let beside: Rc<[String]> = beside.collect();
        if beside.is_empty() {
            return Err(Error::file(self.path_of(path), "has no files there: check the path."));
        }
        let names = match &only {
            Some(only) => vec![only.clone()].into(),
            None => beside.clone(),
        };
        Ok(Self { place: self.place.clone(), folder: format!("{}{inside}", self.folder), only, names, beside })
    }

    /// The names of all files, relative to the folder, in alphabetical order; of the one file if one was asked for, although
    /// those beside it can be read.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The names of all files, of those beside the one that was asked for too.
    pub(super) fn beside(&self) -> &[String] {
        &self.beside
    }

    /// The one file that was asked for, if it was a file.
    pub(super) fn only(&self) -> Option<&str> {
        self.only.as_deref()
    }

    /// Whether everything is on this disk.
    pub(super) fn is_local(&self) -> bool {
        !matches!(*self.place.borrow(), Place::Hub(_))
    }

    /// What messages and dictionaries call this place.
    pub(super) fn path(&self) -> PathBuf {
        self.place.borrow().path().join(self.folder.trim_end_matches('/'))
    }

    /// What a dictionary is called that has the folder for itself.
    pub(super) fn called(&self) -> String {
        self.path().file_name().map_or_else(|| "dictionary".into(), |name| name.to_string_lossy().into_owned())
    }

    /// What messages call a file.
    pub(super) fn path_of(&self, name: &str) -> PathBuf {
        self.place.borrow().path().join(format!("{}{name}", self.folder))
    }

    /// The contents of a small file, if it exists.
    ///
    /// # Errors
    /// [`Error::File`] if it exists but cannot be read or fetched.
    pub(super) fn find(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let found = self.place.borrow_mut().find(&format!("{}{name}", self.folder))?;
        self.place.borrow().complete()?;
        Ok(found)
    }

    /// The tensors of a file, of which only the header is read; `key` is the dictionary in a file of PyTorch.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, or it is damaged or could not be fetched.
    pub(super) fn weights(&self, name: &str, key: Option<&str>) -> Result<Weights> {
        let tensors = self.place.borrow_mut().open(&format!("{}{name}", self.folder), key)?;
        self.place.borrow().complete()?;
        Ok(Weights::new(self.path_of(name), tensors))
    }

    /// The path of a file on this disk, fetched if necessary.
    ///
    /// # Errors
    /// [`Error::File`] if there is none, or it could not be fetched.
    pub(super) fn on_disk(&self, name: &str) -> Result<PathBuf> {
        let found = self.place.borrow_mut().locate(&format!("{}{name}", self.folder))?;
        self.place.borrow().complete()?;
        found.ok_or_else(|| Error::file(self.path_of(name), "is not a file on this disk: check the path."))
    }
}
