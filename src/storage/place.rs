//! Named files, wherever they are: in this binary, in a folder, or on the hub.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::embedded::Embedded;
use super::hub::{self, Repo, gguf_models, is_safe, some_of};
use super::stored::{Named, Source, check_pointer};
use super::tensors::Tensors;
use super::{gguf, npz, safetensors, torch};
use crate::error::{Error, Result};
use crate::files::read_json;

/// Where files are.
pub(crate) enum Place {
    /// In this binary.
    Embedded(&'static Embedded),
    Folder(PathBuf),
    /// A GGUF file, beside which there may be others.
    Gguf(PathBuf),
    Hub(Box<Repo>),
}

impl Place {
    /// How messages refer to this place.
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Embedded(model) => format!("the embedded model {:?}", model.name).into(),
            Self::Folder(path) => path.clone(),
            Self::Gguf(path) => beside(path),
            Self::Hub(repo) => repo.id().into(),
        }
    }

    /// The contents of a small file, if it exists.
    ///
    /// # Errors
    /// [`Error::File`] if it exists but cannot be read.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Self::Embedded(model) = self {
            return Ok(model.file(name).map(<[u8]>::to_vec));
        }
        self.locate(name)?.map(|path| contents(&path)).transpose()
    }

    /// The names of all files, with those in folders of up to [`DEEPEST`] levels, in alphabetical order.
    ///
    /// # Errors
    /// [`Error::File`] if there are very many, or the hub cannot be asked.
    pub(crate) fn names(&mut self) -> Result<Vec<String>> {
        let folder = match self {
            Self::Embedded(model) => return Ok(model.names()),
            Self::Hub(repo) => return repo.files(),
            Self::Folder(_) | Self::Gguf(_) => self.path(),
        };
        let found = names_below(&folder);
        match found.len() > MOST_FILES {
            true => Err(Error::file(folder, format!("holds more than {MOST_FILES} files: give a folder in it."))),
            false => Ok(found),
        }
    }

    /// The tensors of a file of any format, of which only the header is read; `key` as in [`open`].
    ///
    /// # Errors
    /// [`Error::File`] if there is none, or it is damaged or could not be fetched.
    pub(crate) fn open(&mut self, name: &str, key: Option<&str>) -> Result<Tensors> {
        let called = self.path().join(name);
        if let Self::Embedded(model) = self
            && let Some(bytes) = model.file(name)
        {
            return Tensors::named(&called, safetensors::read(&called, Source::Memory(bytes))?.0);
        }
        match self.locate(name)? {
            Some(path) => Tensors::named(&called, open(&path, key)?),
            None => Err(Error::file(called, "does not exist: check the path.")),
        }
    }

    /// The path of a file on disk, if it exists; a file on the hub is fetched.
    ///
    /// # Errors
    /// [`Error::File`] if it could not be fetched.
    pub(crate) fn locate(&mut self, name: &str) -> Result<Option<PathBuf>> {
        match self {
            Self::Embedded(_) => Ok(None),
            Self::Folder(_) | Self::Gguf(_) => Ok(Some(self.path().join(name)).filter(|path| path.exists())),
            Self::Hub(repo) => repo.find(name),
        }
    }

    /// The path on disk of the GGUF file that is the model, if it is one: of a split file, that of the first part,
    /// beside which the others are.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such file, or several, or it could not be fetched.
    pub(crate) fn gguf(&mut self) -> Result<Option<PathBuf>> {
        match self {
            Self::Hub(repo) => repo.gguf(),
            Self::Gguf(path) => Ok(Some(path.clone())),
            Self::Folder(folder) => only_gguf(folder),
            Self::Embedded(_) => Ok(None),
        }
    }

    /// The error for a required file that is missing; `advice` says what a folder must contain.
    pub(crate) fn missing(&mut self, name: &str, advice: &str) -> Error {
        if let Self::Hub(repo) = self
            && let Err(error) = repo.need(name)
        {
            return error;
        }
        let path = self.path().join(name);
        let why = fs::File::open(&path).err().map_or("it did not exist".into(), |error| error.to_string());
        Error::file(path, format!("cannot be read ({why}): {advice}"))
    }

    /// The tensors in the first of these files that exists, and how messages refer to it. A name that ends in `.json`
    /// is an index, which names the tensor files.
    ///
    /// # Errors
    /// [`Error::File`] if a file is damaged, or the index names a file that does not exist.
    pub(crate) fn tensors(&mut self, names: &[&str]) -> Result<Option<(PathBuf, Vec<Named>)>> {
        for name in names {
            let called = self.path().join(name);
            if let Self::Embedded(model) = self
                && let Some(bytes) = model.file(name)
            {
                let (tensors, _) = safetensors::read(&called, Source::Memory(bytes))?;
                return Ok(Some((called, tensors)));
            }
            let Some(path) = self.locate(name)? else { continue };
            if !name.ends_with(".json") {
                return Ok(Some((called, checkpoint(&path, None)?)));
            }
            let parts = parts(&called, &contents(&path)?)?;
            if let Self::Folder(folder) = self {
                check_complete(&path, folder, &parts)?;
            }
            let mut tensors = Vec::new();
            for part in parts {
                let path = match self {
                    Self::Hub(repo) => repo.need(&part)?,
                    _ => self.path().join(part),
                };
                tensors.extend(checkpoint(&path, None)?);
            }
            return Ok(Some((called, tensors)));
        }
        Ok(None)
    }

    /// Called once everything has been read.
    ///
    /// # Errors
    /// [`Error::File`] if the revision cannot be recorded in the hub's cache.
    pub(crate) fn complete(&self) -> Result<()> {
        match self {
            Self::Hub(repo) => repo.complete(),
            _ => Ok(()),
        }
    }
}

/// How many levels of folders are looked through.
const DEEPEST: usize = 6;

/// How many files may be in them.
const MOST_FILES: usize = 100_000;

/// The names of the files below a folder, in alphabetical order; one more than [`MOST_FILES`] if there are very many.
pub(super) fn names_below(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    walk(folder, "", DEEPEST, &mut found);
    found.sort();
    found
}

/// Adds the names of the files in a folder and `deeper` levels below; a link to a folder counts as one.
fn walk(folder: &Path, before: &str, deeper: usize, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        let path = entry.path();
        if found.len() > MOST_FILES || name.starts_with('.') {
            continue;
        } else if !path.is_dir() {
            found.push(format!("{before}{name}"));
        } else if deeper > 0 {
            walk(&path, &format!("{before}{name}/"), deeper - 1, found);
        }
    }
}

/// The folder of a file.
fn beside(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder.into(),
        _ => ".".into(),
    }
}

/// The model in a folder's only GGUF file; those of a split model count as one.
fn only_gguf(folder: &Path) -> Result<Option<PathBuf>> {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| hub::is_gguf(name)).collect();
    names.sort();
    let models = gguf_models(&names);
    match models[..] {
        // Of a split model without its first file, reading says what is missing.
        [] => Ok(names.first().map(|name| folder.join(name))),
        [one] => Ok(Some(folder.join(one))),
        [first, ..] => Err(Error::file(
            folder,
            format!(
                "holds several GGUF files: give the path of one of them, such as {:?}. It has {}.",
                folder.join(first).to_string_lossy(),
                some_of(&models)
            ),
        )),
    }
}

/// Whether the first bytes of a file are those of GGUF.
pub(crate) fn is_gguf(path: &Path) -> bool {
    Source::open(path).is_ok_and(|source| Format::of(path, &source) == Format::Gguf)
}

/// The formats of tensor files.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Safetensors,
    Torch,
    Npz,
    Npy,
    Gguf,
}

impl Format {
    /// The format of a file, by its first bytes or, where they do not determine it, by its name.
    fn of(path: &Path, source: &Source) -> Self {
        let mut start = [0; 4];
        let _ = source.read(0, &mut start);
        let named = |kinds: &[&str]| path.extension().is_some_and(|kind| kinds.iter().any(|known| kind == *known));
        match &start {
            b"PK\x03\x04" if is_npz(source) => Self::Npz,
            // Read as the header length of a safetensors file, these bytes would be too large.
            b"PK\x03\x04" | b"\x80\x02\x8a\x0a" => Self::Torch,
            _ if start == gguf::MAGIC || named(&["gguf"]) => Self::Gguf,
            _ if start == npz::MAGIC[..4] || named(&["npy"]) => Self::Npy,
            _ if named(&["npz"]) => Self::Npz,
            _ if named(&["pt", "pth", "bin"]) => Self::Torch,
            _ => Self::Safetensors,
        }
    }
}

/// The tensors of a safetensors, PyTorch, NumPy or GGUF file, recognised by its first bytes; in a PyTorch file, `key` is the
/// key of the dictionary with the tensors.
///
/// # Errors
/// [`Error::File`] if it is none of these, or damaged.
pub(crate) fn open(path: &Path, key: Option<&str>) -> Result<Vec<Named>> {
    let source = Source::open(path)?;
    let format = Format::of(path, &source);
    if let Some(key) = key.filter(|_| format != Format::Torch) {
        let kind = match format {
            Format::Safetensors => "safetensors file",
            Format::Npz | Format::Npy => "NumPy file",
            Format::Gguf => "GGUF file",
            Format::Torch => "PyTorch file",
        };
        let message = format!("is a {kind}, which has no keys such as {key:?}: leave key out.");
        return Err(Error::file(path, message));
    }
    match format {
        Format::Safetensors => Ok(safetensors::read(path, source)?.0),
        Format::Torch => torch::tensors(path, source, key),
        Format::Npz => npz::npz(path, source),
        Format::Npy => npz::npy(path, source),
        Format::Gguf => Ok(gguf::read(path)?.tensors),
    }
}

/// As [`open`], for a file whose tensors should have the names of a model's code.
///
/// # Errors
/// As [`open`], and for a GGUF file, which has names of its own.
pub(crate) fn checkpoint(path: &Path, key: Option<&str>) -> Result<Vec<Named>> {
    if is_gguf(path) {
        let message = "is a GGUF file, whose tensors have other names than a checkpoint's: give its path, with a name that \
                       ends in .gguf, to HookedTransformer::from_pretrained.";
        return Err(Error::file(path, message));
    }
    open(path, key)
}

/// Whether a zip archive is a NumPy file: the name of its first entry ends in `.npy`.
fn is_npz(source: &Source) -> bool {
    let mut begin = [0; 30];
    if source.read(0, &mut begin).is_err() {
        return false;
    }
    let mut name = vec![0; usize::from(u16::from_le_bytes([begin[26], begin[27]]))];
    source.read(30, &mut name).is_ok() && name.ends_with(b".npy")
}

/// The files that an index names, without duplicates.
fn parts(path: &Path, index: &[u8]) -> Result<BTreeSet<String>> {
    let wrong = |why: String| Error::file(path, format!("is not an index of weights ({why}): download it again."));
    let index: Value = read_json(index).map_err(|error| wrong(error.to_string()))?;
    let map = index.get("weight_map").and_then(Value::as_object).filter(|map| !map.is_empty());
    let map = map.ok_or_else(|| wrong("it has no weight_map".into()))?;
    map.values()
        .map(|file| match file.as_str().filter(|file| is_safe(file)) {
            Some(file) => Ok(file.to_string()),
            None => Err(wrong(format!("{file} is not a file in the same folder"))),
        })
        .collect()
}

/// Returns an error if files that the index names are missing from the folder.
fn check_complete(index: &Path, folder: &Path, parts: &BTreeSet<String>) -> Result<()> {
    let missing: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !folder.join(part).exists()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Error::file(
        index,
        format!(
            "names weight files, of which {} {} missing: download the rest into this folder.",
            missing.join(", "),
            if missing.len() == 1 { "is" } else { "are" }
        ),
    ))
}

fn contents(path: &Path) -> Result<Vec<u8>> {
    let bytes =
        fs::read(path).map_err(|error| Error::file(path, format!("cannot be read ({error}): check the path.")))?;
    check_pointer(path, &bytes)?;
    Ok(bytes)
}
