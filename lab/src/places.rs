//! Where things are.
//!
//! Two folders hold all that the launcher makes. What every clone can share lies in the user's cache folder, under names
//! that carry the version; what belongs to this clone lies in its `.lab/`. A launcher that was installed without a clone
//! (`cargo install`, the Python package) serves the library as a published crate, from a folder in the cache.
//!
//! `CANDLE_LENS_CACHE` names another folder for the cache, which several users may share: whoever may write in it sets it up, and
//! all others only read it. What cannot be written where it belongs, such as `.lab/` in a read-only clone, lies in the user's
//! own cache.

use crate::steps::digest;
use crate::trouble::Trouble;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The variable that names the cache, if it is not the user's.
pub const CACHE: &str = "CANDLE_LENS_CACHE";

/// Whether this launcher was built for the Python package (lab/wheel), whose command has another name and which knows no clone.
pub const IN_PACKAGE: bool = option_env!("CANDLE_LENS_WHEEL").is_some();

/// What the user types to start this program.
pub const COMMAND: &str = if IN_PACKAGE { "candle-lens-kernel" } else { "cargo lab" };

/// Where the library comes from that the kernels serve.
#[derive(Clone, Debug, PartialEq)]
pub enum Library {
    /// A clone of the repository.
    Checkout,
    /// A crate, with what a manifest has behind `candle-lens =`: `"0.1"`, `{ git = ".." }`.
    Crate(String),
}

/// The library that a command is about.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Which {
    /// That of the clone this launcher was built in; elsewhere the published crate of its version.
    #[default]
    Own,
    /// A crate, as in a manifest.
    Crate(String),
    /// A clone, which is only read.
    Folder(PathBuf),
}

/// The paths the launcher works with.
#[derive(Debug)]
pub struct Places {
    /// Where the library comes from.
    pub library: Library,
    /// The clone of the repository; for a crate, the folder that its kernels have in the cache.
    pub root: PathBuf,
    /// What belongs to this root: the warm template, the kernels' copies, Jupyter's own files, executed notebooks.
    pub lab: PathBuf,
    /// What all clones share: the evcxr kernel and the Python environments.
    pub cache: PathBuf,
}

impl Places {
    /// The places of the clone this launcher was built in; those of the published crate of its own version if it was
    /// built elsewhere.
    ///
    /// # Errors
    /// The environment names no home folder.
    pub fn find() -> Result<Self, Trouble> {
        let built_in = if IN_PACKAGE { "" } else { env!("CARGO_MANIFEST_DIR") };
        match Path::new(built_in).parent().filter(|checkout| is_clone(checkout)) {
            Some(checkout) => Self::of_checkout(checkout),
            None => Self::of_crate(concat!("\"=", env!("CARGO_PKG_VERSION"), "\"").into()),
        }
    }

    /// The places of the library that was asked for.
    ///
    /// # Errors
    /// The environment names no home folder, or the folder is not a clone.
    pub fn of(which: Which) -> Result<Self, Trouble> {
        match which {
            Which::Own => Self::find(),
            Which::Crate(dependency) => Self::of_crate(dependency),
            Which::Folder(folder) => Self::of_folder(&folder),
        }
    }

    fn of_checkout(checkout: &Path) -> Result<Self, Trouble> {
        let root = whole(checkout)?;
        let own = root.join(".lab");
        let why = match (has_space(&own), is_writable(&own)) {
            (false, true) => return Ok(Self { library: Library::Checkout, lab: own, cache: cache()?, root }),
            (true, _) => "has a space in its path, with which evcxr loads no cell",
            (_, false) => "cannot be written",
        };
        let places = Self::of_folder(&root)?;
        println!("{} {why}: what belongs there goes to {}.", own.display(), places.lab.display());
        Ok(places)
    }

    /// The places of a clone in which nothing is written.
    fn of_folder(folder: &Path) -> Result<Self, Trouble> {
        let root = whole(folder)?;
        if !is_clone(&root) {
            return Err(Trouble::new(
                format!("{} is not a clone of candle-lens.", root.display()),
                "Name the folder that holds the library's Cargo.toml.",
            ));
        }
        let name = format!("clone-{}", digest(root.as_os_str().as_encoded_bytes()));
        let (shared, own) = (cache()?.join(&name), own_cache().map(|cache| cache.join(&name)));
        let lab = if is_writable(&shared) { shared } else { own? };
        Ok(Self { library: Library::Checkout, lab, cache: cache()?, root })
    }

    /// The places of the library as a crate, asked for as in a manifest.
    ///
    /// # Errors
    /// The environment names no home folder.
    pub fn of_crate(dependency: String) -> Result<Self, Trouble> {
        let cache = cache()?;
        let root = cache.join(format!("crate-{}", digest(dependency.as_bytes())));
        Ok(Self { library: Library::Crate(dependency), lab: root.clone(), cache, root })
    }

    /// What a manifest has behind `candle-lens =` to get this library.
    pub fn dependency(&self) -> String {
        match &self.library {
            // As evcxr writes a path that a notebook gives relative to itself.
            Library::Checkout => format!("{{ path = {:?} }}", self.root.display().to_string()),
            Library::Crate(dependency) => dependency.clone(),
        }
    }

    /// A path as a reader likes it: relative to the clone where it lies in it.
    pub fn brief(&self, path: &Path) -> String {
        path.strip_prefix(&self.root).unwrap_or(path).display().to_string()
    }
}

#[cfg(test)]
impl Places {
    /// A clone and a cache in `root`.
    pub fn for_test(root: &Path) -> Self {
        Self { library: Library::Checkout, lab: root.join(".lab"), cache: root.join("cache"), root: root.into() }
    }
}

/// Where the kernels that start from `lab` have their folders: in it, or in the user's own cache where it is another's.
///
/// # Errors
/// The environment names no home folder.
pub fn kernels(lab: &Path) -> Result<PathBuf, Trouble> {
    if is_writable(lab) {
        return Ok(lab.join("kernels"));
    }
    Ok(own_cache()?.join(format!("kernels-{}", digest(lab.as_os_str().as_encoded_bytes()))))
}

/// evcxr sends the path of a cell to the process that loads it, and the path ends at its first space.
///
/// # Errors
/// Cells compiled in this folder could not be loaded.
pub fn refuse_space(folder: &Path) -> Result<(), Trouble> {
    if !has_space(folder) {
        return Ok(());
    }
    Err(Trouble::new(
        format!("{} has a space in its path, and evcxr cannot load cells from there.", folder.display()),
        format!(
            "Set {CACHE} to a folder of yours without spaces in its path, which need not be there yet, and start again."
        ),
    ))
}

fn has_space(path: &Path) -> bool {
    path.to_string_lossy().contains(char::is_whitespace)
}

/// Whether a folder holds the library's sources.
fn is_clone(folder: &Path) -> bool {
    fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(|text| text.contains("name = \"candle-lens\""))
}

fn whole(folder: &Path) -> Result<PathBuf, Trouble> {
    folder.canonicalize().map_err(|source| Trouble::file("Finding the repository at", folder, &source))
}

/// Whether this user may write in a folder, which is made if it is missing. A full disk is another matter.
pub fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(format!("{}.part", std::process::id()));
    let made = fs::create_dir_all(folder).and_then(|()| File::create(&probe));
    let _ = fs::remove_file(&probe);
    let refused =
        |source: std::io::Error| matches!(source.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem);
    !made.is_err_and(refused)
}

/// The folder that all clones share, and all users where `CANDLE_LENS_CACHE` names one.
///
/// # Errors
/// The environment names no home folder.
pub fn cache() -> Result<PathBuf, Trouble> {
    let shared = std::env::var_os(CACHE).filter(|path| !path.is_empty()).map(PathBuf::from);
    match shared {
        Some(shared) if shared.is_absolute() => Ok(shared),
        Some(shared) => Err(Trouble::new(
            format!("{CACHE} is {:?}, which is not an absolute path.", shared.display().to_string()),
            "Give it the whole path of a folder, or unset it.",
        )),
        None => own_cache(),
    }
}

/// The user's own cache.
fn own_cache() -> Result<PathBuf, Trouble> {
    let cache = user_cache(|name| std::env::var_os(name).map(PathBuf::from)).ok_or_else(|| {
        Trouble::new(
            "There is no folder for caches: the environment has neither HOME nor its like.",
            "Set XDG_CACHE_HOME (Linux), HOME (macOS) or LOCALAPPDATA (Windows) to a folder of yours.",
        )
    })?;
    Ok(cache.join("candle-lens"))
}

/// The user's cache folder by the habits of the system, from a lookup of environment variables.
fn user_cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_cache_folder_follows_xdg() {
        let environment = |pairs: &'static [(&str, &str)]| {
            move |name: &str| pairs.iter().find(|pair| pair.0 == name).map(|pair| PathBuf::from(pair.1))
        };
        assert_eq!(user_cache(environment(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")])), Some("/c".into()));
        assert_eq!(user_cache(environment(&[("HOME", "/h"), ("XDG_CACHE_HOME", "c")])), Some("/h/.cache".into()));
        assert_eq!(user_cache(environment(&[])), None);
    }
}
