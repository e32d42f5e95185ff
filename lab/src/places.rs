//! Where things are.
//!
//! Two folders hold all that the launcher makes. What every clone can share lies in the user's cache folder, under names
//! that carry the version; what belongs to this clone lies in its `.lab/`. A launcher that was installed without a clone
//! (`cargo install`) serves the library as a published crate, from a folder in the cache.

use crate::steps::digest;
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// Where the library comes from that the kernels serve.
#[derive(Clone, Debug, PartialEq)]
pub enum Library {
    /// A clone of the repository.
    Checkout,
    /// A crate, with what a manifest has behind `candle-lens =`: `"0.1"`, `{ git = ".." }`.
    Crate(String),
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
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = package.parent().unwrap_or(package);
        let manifest = std::fs::read_to_string(checkout.join("Cargo.toml")).unwrap_or_default();
        if manifest.contains("name = \"candle-lens\"") {
            Self::of_checkout(checkout)
        } else {
            Self::of_crate(concat!("\"=", env!("CARGO_PKG_VERSION"), "\"").into())
        }
    }

    fn of_checkout(checkout: &Path) -> Result<Self, Trouble> {
        let root =
            checkout.canonicalize().map_err(|source| Trouble::file("Finding the repository at", checkout, &source))?;
        Ok(Self { library: Library::Checkout, lab: root.join(".lab"), cache: cache()?, root })
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

/// The folder that all clones share.
///
/// # Errors
/// The environment names no home folder.
pub fn cache() -> Result<PathBuf, Trouble> {
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
