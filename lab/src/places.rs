//! Where things are.
//!
//! Two folders hold all that the launcher makes. What every clone can share lies in the user's cache folder, under names
//! that carry the version; what belongs to this clone lies in its `.lab/`.

use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// The paths the launcher works with.
#[derive(Debug)]
pub struct Places {
    /// The clone of the repository.
    pub checkout: PathBuf,
    /// What belongs to this clone: the warm template, the kernels' copies, Jupyter's own files, executed notebooks.
    pub lab: PathBuf,
    /// What all clones share: the evcxr kernel and the Python environments.
    pub cache: PathBuf,
}

impl Places {
    /// The places of the clone this launcher was built in.
    ///
    /// # Errors
    /// It was built elsewhere (for example from a registry) and has no library to serve.
    pub fn find() -> Result<Self, Trouble> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR"));
        let checkout = package.parent().unwrap_or(package);
        let manifest = std::fs::read_to_string(checkout.join("Cargo.toml")).unwrap_or_default();
        if !manifest.contains("name = \"candle-lens\"") {
            return Err(Trouble::new(
                format!("{} is not a clone of candle-lens.", checkout.display()),
                "Clone the repository and start `cargo lab` in it; the launcher works on that clone.",
            ));
        }
        Self::of(checkout.to_path_buf())
    }

    /// The places of the clone at `checkout`.
    ///
    /// # Errors
    /// The folder is not there, or the environment names no home folder.
    pub fn of(checkout: PathBuf) -> Result<Self, Trouble> {
        let checkout = std::path::absolute(&checkout)
            .and_then(|path| path.canonicalize())
            .map_err(|source| Trouble::file("Finding the repository at", &checkout, &source))?;
        let cache = user_cache(|name| std::env::var_os(name).map(PathBuf::from)).ok_or_else(|| {
            Trouble::new(
                "There is no folder for caches: the environment has neither HOME nor its like.",
                "Set XDG_CACHE_HOME (Linux), HOME (macOS) or LOCALAPPDATA (Windows) to a folder of yours.",
            )
        })?;
        Ok(Self { lab: checkout.join(".lab"), cache: cache.join("candle-lens"), checkout })
    }

    /// A path as a reader likes it: relative to the clone where it lies in it.
    pub fn brief(&self, path: &Path) -> String {
        path.strip_prefix(&self.checkout).unwrap_or(path).display().to_string()
    }
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
