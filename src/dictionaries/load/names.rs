//! What a name of a dictionary means: one that is embedded, a path, a path in a repository of the hub.

use std::path::Path;

use super::files::Files;
use super::options::DictionaryOptions;
use super::releases;
use crate::error::{Error, Result, nearest};
use crate::storage::{Embedded, Hub, MAIN, Place, Repo, TINY, hub_name};

/// The folder of the embedded dictionaries.
const EMBEDDED: &str = "dictionaries";

/// The files that a name means.
///
/// # Errors
/// A name that means nothing, a revision of something that has none, files that cannot be listed.
pub(super) fn files(name: &str, options: &DictionaryOptions) -> Result<Files> {
    if let Some(tiny) = Embedded::called(TINY) {
        if name == TINY {
            return Files::new(Place::Embedded(tiny), EMBEDDED);
        }
        if let Some(name) = name.strip_prefix("tiny/").filter(|_| !Path::new(name).exists()) {
            return embedded(tiny, name);
        }
    }
    let path = Path::new(name);
    if path.is_dir() {
        return Files::new(Place::Folder(path.into()), "");
    }
    if path.is_file() {
        let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let file = path.file_name().and_then(|file| file.to_str());
        let file = file.ok_or_else(|| Error::file(path, "has a name that is not text: give it another one."))?;
        return Files::new(Place::Folder(folder.into()), file);
    }
    if name.starts_with(['.', '/', '~']) || name.contains('\\') {
        return Err(Error::file(path, "does not exist: give a folder of dictionaries, or the file of one."));
    }
    let (id, path, revision) = hub_name(name).ok_or_else(|| unknown(name))?;
    at(id, path, revision, options)
}

/// All files of a repository of the hub.
///
/// # Errors
/// [`Error::File`] if they cannot be listed.
pub(super) fn repository(id: &str, options: &DictionaryOptions) -> Result<Files> {
    at(id, "", MAIN, options)
}

fn at(id: &str, path: &str, revision: &str, options: &DictionaryOptions) -> Result<Files> {
    let hub = options.hub.clone().map_or_else(Hub::from_env, Ok)?;
    Files::new(Place::Hub(Box::new(Repo::new(hub, id, revision, None)?)), path)
}

/// The error for a name that means nothing.
fn unknown(name: &str) -> Error {
    let release = name.split('/').next().unwrap_or(name);
    let nearest = nearest(release, releases::names()).unwrap_or_default();
    Error::argument(format!(
        "no dictionary is called {name:?}, and there is no such folder or file; the nearest release is {nearest:?}. Give an embedded \
         one such as \"tiny/z2\", a folder or file, \"release/name\", or \"owner/repo:path/in/repo@revision\" of the hub."
    ))
}

/// The files of an embedded dictionary.
fn embedded(model: &'static Embedded, name: &str) -> Result<Files> {
    let names = model.names();
    let known =
        names.iter().filter_map(|file| Some(file.strip_prefix(EMBEDDED)?.strip_prefix('/')?.split_once('/')?.0));
    let mut known: Vec<&str> = known.collect();
    known.dedup();
    if known.contains(&name) {
        return Files::new(Place::Embedded(model), &format!("{EMBEDDED}/{name}"));
    }
    let nearest = nearest(name, known.iter().copied())
        .map_or(String::new(), |name| format!("; the nearest name is \"tiny/{name}\""));
    Err(Error::argument(format!("no dictionary of the embedded model is called {name:?}{nearest}.")))
}
