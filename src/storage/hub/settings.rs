//! Where models on the Hugging Face hub are fetched from and cached, from the same variables as `huggingface_hub`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The default hub.
const ENDPOINT: &str = "https://huggingface.co";

/// An access token. It is sent to the hub and never shown.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Token(String);

impl Token {
    /// # Errors
    /// [`Error::Argument`], which does not contain the token, for characters that no token has.
    fn new(text: &str) -> Result<Option<Self>> {
        let text = text.trim();
        if !text.chars().all(|c| c.is_ascii_graphic()) {
            return Err(Error::argument(
                "the access token for the hub contains a space or another character that no token has: set HF_TOKEN to \
                 the token alone, or log in again.",
            ));
        }
        Ok((!text.is_empty()).then(|| Self(text.into())))
    }

    #[cfg(feature = "hf-hub")]
    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// The header that authorizes a request.
    pub(super) fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token")
    }
}

/// Where models on the Hugging Face hub come from and where they are cached. Python's `huggingface_hub` reads the same
/// variables and shares the folder, so nothing is downloaded twice.
///
/// ```
/// use candle_lens::prelude::*;
/// let hub = Hub::from_vars(|name| match name {
///     "HF_HOME" => Some("/data/hf".to_string()),
///     "HF_HUB_OFFLINE" => Some("1".to_string()),
///     _ => None,
/// })?;
/// assert_eq!(hub.cache, std::path::Path::new("/data/hf").join("hub"));
/// assert!(hub.offline);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Hub {
    /// The folder of all models: `HF_HUB_CACHE`, else `hub` in `HF_HOME`, else `~/.cache/huggingface/hub`.
    pub cache: PathBuf,
    /// The address of the hub: `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: String,
    /// Nothing is fetched, only cached files are used: `HF_HUB_OFFLINE` is 1, true, yes or on.
    pub offline: bool,
    pub(super) token: Option<Token>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("cache", &self.cache)
            .field("endpoint", &without_password(&self.endpoint))
            .field("offline", &self.offline)
            .field("token", &self.token)
            .finish()
    }
}

impl Hub {
    /// The settings in the environment of this process.
    ///
    /// # Errors
    /// As [`Hub::from_vars`].
    pub fn from_env() -> Result<Self> {
        let var = |name: &str| std::env::var(name).ok();
        let home = std::env::home_dir().map(|home| home.to_string_lossy().into_owned());
        Self::from_vars(|name| var(name).or_else(|| home.clone().filter(|_| name == "HOME")))
    }

    /// The settings in these variables: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`, `HF_TOKEN`, `HF_TOKEN_PATH`,
    /// `HF_HUB_OFFLINE`, `XDG_CACHE_HOME` and `HOME`, with the same meaning as in `huggingface_hub`. Without
    /// `HF_TOKEN`, the token is read from the file that `hf auth login` writes.
    ///
    /// # Errors
    /// [`Error::Argument`]: an endpoint that is not an address, a malformed token, or no folder to keep models in.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let var = |name: &str| var(name).filter(|value| !value.trim().is_empty());
        let user = var("HOME").map(PathBuf::from);
        let path = |name: &str| var(name).map(|value| expanded(&value, user.as_deref()));
        let kept = path("XDG_CACHE_HOME").or_else(|| Some(user.as_ref()?.join(".cache")));
        let kept = kept.map(|folder| folder.join("huggingface"));
        let home = path("HF_HOME").or_else(|| kept.clone());
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let cache = cache.or_else(|| Some(home.as_ref()?.join("hub"))).ok_or_else(|| {
            Error::argument("there is no home folder to keep models in: set HF_HOME to a writable folder.")
        })?;
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim().trim_end_matches('/').to_string();
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::argument(format!(
                "HF_ENDPOINT is {:?}, which is not an address: give one that begins with https://, such as {ENDPOINT}.",
                without_password(&endpoint)
            )));
        }
        let own = user.as_ref().map(|user| user.join(".huggingface"));
        let files = [path("HF_TOKEN_PATH"), token_in(home), token_in(kept), token_in(own)];
        let token = match var("HF_TOKEN").or_else(|| var("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Token::new(&token)?,
            None => match files.into_iter().flatten().find_map(|file| fs::read_to_string(file).ok()) {
                Some(token) => Token::new(&token)?,
                None => None,
            },
        };
        let offline = var("HF_HUB_OFFLINE").is_some_and(|value| is_true(&value));
        Ok(Self { cache, endpoint, offline, token })
    }
}

/// An address that is safe to show: a user name and a password before its host are left out.
pub(super) fn without_password(address: &str) -> String {
    let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match host.rsplit_once('@') {
        Some((_, host)) if scheme.is_empty() => format!("…@{host}{path}"),
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => address.into(),
    }
}

fn token_in(folder: Option<PathBuf>) -> Option<PathBuf> {
    Some(folder?.join("token"))
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].iter().any(|word| value.trim().eq_ignore_ascii_case(word))
}

/// A path that may begin with `~`.
fn expanded(value: &str, user: Option<&Path>) -> PathBuf {
    match (value.strip_prefix("~/"), user) {
        (Some(rest), Some(user)) => user.join(rest),
        _ => PathBuf::from(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(vars: &[(&str, &str)]) -> Result<Hub> {
        let vars = vars.to_vec();
        Hub::from_vars(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn folders_are_those_of_python() {
        let cache = |vars: &[(&str, &str)]| hub(vars).expect("a hub").cache;
        assert_eq!(cache(&[("HOME", "/u")]), Path::new("/u/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("XDG_CACHE_HOME", "/x")]), Path::new("/x/huggingface/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("HF_HOME", "/h")]), Path::new("/h/hub"));
        assert_eq!(cache(&[("HOME", "/u"), ("HF_HOME", "~/h")]), Path::new("/u/h/hub"));
        assert_eq!(cache(&[("HF_HOME", "/h"), ("HF_HUB_CACHE", "/c")]), Path::new("/c"));
        assert_eq!(cache(&[("HOME", "/u"), ("HF_HOME", " ")]), Path::new("/u/.cache/huggingface/hub"));
        assert!(hub(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn offline_is_what_python_takes_for_true() {
        for (value, offline) in [("1", true), ("TRUE", true), ("yes", true), ("On", true), ("0", false), ("no", false)]
        {
            assert_eq!(hub(&[("HOME", "/u"), ("HF_HUB_OFFLINE", value)]).expect("a hub").offline, offline, "{value}");
        }
        assert!(!hub(&[("HOME", "/u")]).expect("a hub").offline);
    }

    #[test]
    fn the_token_is_found_and_never_shown() {
        let folder = std::env::temp_dir().join(format!("candle-lens-token-{}", std::process::id()));
        fs::create_dir_all(folder.join(".cache/huggingface")).expect("a folder");
        fs::create_dir_all(folder.join(".huggingface")).expect("a folder");
        let home = folder.to_str().expect("UTF-8");
        let token = |vars: &[(&str, &str)]| hub(vars).expect("a hub").token.map(|token| token.header());
        assert_eq!(token(&[("HOME", home)]), None);
        fs::write(folder.join(".huggingface/token"), "hf_old\n").expect("a file");
        assert_eq!(token(&[("HOME", home)]).as_deref(), Some("Bearer hf_old"));
        fs::write(folder.join(".cache/huggingface/token"), "hf_kept\n").expect("a file");
        assert_eq!(token(&[("HOME", home)]).as_deref(), Some("Bearer hf_kept"));
        fs::write(folder.join("token"), "hf_home\n").expect("a file");
        assert_eq!(token(&[("HOME", home), ("HF_HOME", home)]).as_deref(), Some("Bearer hf_home"));
        assert_eq!(token(&[("HOME", home), ("HF_TOKEN", "hf_var ")]).as_deref(), Some("Bearer hf_var"));
        fs::remove_dir_all(&folder).expect("the folder is ours");
        let shown = format!("{:?}", hub(&[("HOME", "/u"), ("HF_TOKEN", "hf_secret")]));
        assert!(!shown.contains("secret"), "{shown}");
        let wrong = hub(&[("HOME", "/u"), ("HF_TOKEN", "hf_se\ncret")]).unwrap_err().to_string();
        assert!(!wrong.contains("cret\"") && wrong.contains("HF_TOKEN"), "{wrong}");
    }

    #[test]
    fn the_password_of_an_endpoint_is_never_shown() {
        for endpoint in
            ["https://me:pass@mirror.example/hf", "me:pass@mirror.example/hf", "https://me:pa@ss@mirror.example"]
        {
            let shown = format!("{:?}", hub(&[("HOME", "/u"), ("HF_ENDPOINT", endpoint)]));
            assert!(!shown.contains("pass") && !shown.contains("me:") && shown.contains("…@mirror.example"), "{shown}");
        }
        assert_eq!(without_password("https://mirror.example/a@b"), "https://mirror.example/a@b");
    }

    #[test]
    fn an_endpoint_is_an_address() {
        let endpoint = |value: &str| hub(&[("HOME", "/u"), ("HF_ENDPOINT", value)]).map(|hub| hub.endpoint);
        assert_eq!(endpoint("https://mirror.example/").ok().as_deref(), Some("https://mirror.example"));
        assert_eq!(hub(&[("HOME", "/u")]).expect("a hub").endpoint, ENDPOINT);
        assert!(endpoint("mirror.example").unwrap_err().to_string().contains("mirror.example"));
    }
}
