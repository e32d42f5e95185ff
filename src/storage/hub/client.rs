//! Requests to the hub. The access token goes to the hub's own address and nowhere else, whatever redirects say.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::{Agent, Body};

use super::cache::{is_commit, is_safe, unwritable};
use super::settings::{Hub, Token, without_password};
use crate::error::{Error, Result};
use crate::interrupt;
use crate::progress::Progress;

/// The maximum number of attempts at a request that fails for a transient reason, or at a transfer that makes no
/// progress.
pub(super) const TRIES: u32 = 5;

/// The longest wait, in seconds, that a busy hub may ask for; a longer one is left to the user.
pub(super) const LONGEST_WAIT: u64 = 60;

/// The maximum number of redirects that a request follows.
const HOPS: usize = 10;

/// The maximum size of a list of files, which is some 300 bytes a file.
const LONGEST_LIST: u64 = 16 << 20;

/// Why a file could not be fetched.
pub(super) enum Failure {
    /// The hub has the model, but not this file, in the commit that it names.
    Absent(Option<String>),
    /// The hub did not answer, or not usefully; the text completes a sentence.
    Unreachable(String),
    /// The hub refused, or its answer cannot be used; the text completes a sentence.
    Refused(String),
    /// The file could not be written to disk.
    Disk(Error),
    /// The notebook was interrupted.
    Interrupted(Error),
}

impl Failure {
    /// A failure of the file, or what was passed on through it.
    pub(super) fn of(path: &Path, error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::Interrupted(error),
            Err(error) => Self::Disk(unwritable(path, &error)),
        }
    }
}

/// What the hub reports about a file.
pub(super) struct Description {
    pub commit: String,
    pub etag: String,
    pub size: Option<u64>,
}

pub(super) struct Client {
    agent: Agent,
    home: Uri,
    /// The same as text, without a slash at its end.
    pub(super) endpoint: String,
    pub(super) token: Option<Token>,
}

impl Client {
    pub(super) fn new(hub: &Hub) -> Result<Self> {
        let home = hub.endpoint.parse::<Uri>().ok().filter(|uri| uri.authority().is_some()).ok_or_else(|| {
            let shown = without_password(&hub.endpoint);
            Error::argument(format!("the hub's endpoint {shown:?} is not an address: correct HF_ENDPOINT."))
        })?;
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .accept_encoding("identity")
            .user_agent(concat!("candle-lens/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(Duration::from_secs(30)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            .timeout_per_read(Some(Duration::from_secs(60)));
        Ok(Self { agent: config.build().into(), home, endpoint: hub.endpoint.clone(), token: hub.token.clone() })
    }

    /// Asks the hub about the file at `url`.
    pub(super) fn describe(&self, url: &str) -> Result<Description, Failure> {
        let _asking = Progress::opaque("asking the hub");
        let mut url = url.to_string();
        for _ in 0..HOPS {
            let response = self.ask(&url, None, true)?;
            let headers = response.headers();
            let next = redirect(&response, &url)?;
            // A renamed model redirects within the hub; a file that is stored elsewhere may be described by the first
            // answer.
            let described = ["x-repo-commit", "x-linked-etag"].iter().all(|name| headers.contains_key(*name));
            if let Some(next) = next.filter(|next| self.is_home(next) && !described) {
                url = next;
                continue;
            }
            let say = |what: &str| Failure::Refused(format!("the hub's answer has no usable {what}"));
            let commit = text(headers, "x-repo-commit").filter(|commit| is_commit(commit));
            let etag = text(headers, "x-linked-etag").or_else(|| text(headers, "etag"));
            let etag = etag.map(|etag| etag.trim_start_matches("W/").trim_matches('"').to_string());
            let size = text(headers, "x-linked-size")
                .or_else(|| text(headers, "content-length").filter(|_| !response.status().is_redirection()));
            return Ok(Description {
                commit: commit.ok_or_else(|| say("X-Repo-Commit"))?,
                etag: etag.filter(|etag| is_safe(etag) && !etag.contains('/')).ok_or_else(|| say("ETag"))?,
                size: size.map(|size| size.parse().map_err(|_| say("size"))).transpose()?,
            });
        }
        Err(Failure::Refused("the hub redirects too many times".into()))
    }

    /// The answer to a request for a file from byte `from` on, following redirects.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Response<Body>, Failure> {
        let mut url = url.to_string();
        for _ in 0..HOPS {
            let response = self.ask(&url, Some(from), false)?;
            match redirect(&response, &url)? {
                Some(next) => url = next,
                None => return Ok(response),
            }
        }
        Err(Failure::Refused("the hub redirects too many times".into()))
    }

    /// The address of a file.
    pub(super) fn url(&self, id: &str, revision: &str, name: &str) -> String {
        format!("{}/{id}/resolve/{}/{}", self.endpoint, escaped(revision, ""), escaped(name, "/"))
    }

    /// The commit of a model's revision, and the names of all its files.
    pub(super) fn list(&self, id: &str, revision: &str) -> Result<(String, Vec<String>), Failure> {
        let _asking = Progress::opaque("asking the hub for the list of files");
        let url = format!("{}/api/models/{id}/revision/{}", self.endpoint, escaped(revision, ""));
        let mut body = self.get(&url, 0)?.into_body();
        let bytes = body.with_config().limit(LONGEST_LIST).read_to_vec();
        let bytes = bytes.map_err(|error| Failure::Unreachable(format!("its list of files was cut off ({error})")))?;
        let list: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let commit = list.get("sha").and_then(Value::as_str).filter(|commit| is_commit(commit));
        let files = list.get("siblings").and_then(Value::as_array);
        let (Some(commit), Some(files)) = (commit, files) else {
            return Err(Failure::Refused("the hub's list of its files has no usable \"sha\" and \"siblings\"".into()));
        };
        let name = |file: &Value| Some(file.get("rfilename")?.as_str()?.to_string());
        Ok((commit.into(), files.iter().filter_map(name).collect()))
    }

    /// One request, repeated if it fails for a reason that may be transient.
    fn ask(&self, url: &str, from: Option<u64>, head: bool) -> Result<Response<Body>, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            let mut request = if head { self.agent.head(url) } else { self.agent.get(url) };
            if let Some(token) = self.token.as_ref().filter(|_| self.is_home(url)) {
                request = request.header("Authorization", token.header());
            }
            if let Some(from) = from.filter(|from| *from > 0) {
                request = request.header("Range", format!("bytes={from}-"));
            }
            let response = match request.call() {
                Ok(response) => response,
                Err(ureq::Error::Io(_) | ureq::Error::Protocol(_)) if tried < 3 => {
                    wait_for(Duration::from_millis(200 * u64::from(tried)))?;
                    continue;
                }
                Err(error) => return Err(Failure::Unreachable(format!("there was no answer ({error})"))),
            };
            let status = response.status().as_u16();
            let wait = text(response.headers(), "retry-after").and_then(|seconds| seconds.trim().parse::<u64>().ok());
            let passing = status == 429 || status >= 500;
            if !passing || tried >= TRIES || wait.is_some_and(|seconds| seconds > LONGEST_WAIT) {
                if status >= 400 && status != 416 && !self.is_home(url) {
                    return Err(elsewhere(status));
                }
                let code = text(response.headers(), "x-error-code").unwrap_or_default();
                let commit = text(response.headers(), "x-repo-commit").filter(|commit| is_commit(commit));
                return match refusal(status, &code, commit, wait) {
                    Some(failure) => Err(failure),
                    None => Ok(response),
                };
            }
            wait_for(wait.map_or(Duration::from_millis(250 << tried), Duration::from_secs))?;
        }
    }

    /// Whether an address is on the hub itself, so that the token may be sent to it.
    pub(super) fn is_home(&self, url: &str) -> bool {
        let Ok(uri) = url.parse::<Uri>() else { return false };
        let port = |uri: &Uri| uri.port_u16().or(if uri.scheme_str() == Some("https") { Some(443) } else { Some(80) });
        uri.scheme_str() == self.home.scheme_str() && uri.host() == self.home.host() && port(&uri) == port(&self.home)
    }
}

/// Waits for so long, unless there is an interrupt.
pub(super) fn wait_for(how_long: Duration) -> Result<(), Failure> {
    interrupt::wait(how_long).map_err(Failure::Interrupted)
}

/// The failure for such a status of a host that is not the hub.
pub(super) fn elsewhere(status: u16) -> Failure {
    Failure::Unreachable(format!("the host that stores its large files answered with status {status}"))
}

/// The failure for a status that is not a success; the hub says more in a `code`, the commit that it speaks of, and how
/// many seconds to wait.
pub(super) fn refusal(status: u16, code: &str, commit: Option<String>, wait: Option<u64>) -> Option<Failure> {
    let words = match (status, code) {
        (200..=399 | 416, _) => return None,
        (404, "RepoNotFound") | (401, "RepoNotFound" | "") => {
            "the hub has no such model, or it is private: check the name, or set HF_TOKEN to a token that can read it"
        }
        (401 | 403, "GatedRepo") => {
            "the model is gated: accept its terms on its hub page and set HF_TOKEN to a token of that account"
        }
        (401, _) => "the hub does not accept the access token: set HF_TOKEN to a valid one, or unset it",
        (403, _) => "the hub denies access: request access on the model's page and set HF_TOKEN to a token that has it",
        (404, "RevisionNotFound") => "the model has no such revision: its hub page lists its branches and tags",
        (404, "EntryNotFound") => {
            return Some(Failure::Absent(commit));
        }
        // A failing proxy or mirror answers 404 as well: that must not be recorded as a model without this file.
        (404, _) => {
            let words = "a server answered that the address does not exist (status 404), but it was not the hub itself";
            return Some(Failure::Unreachable(words.into()));
        }
        (429, _) => {
            let wait = wait.map_or("a while".into(), |seconds| format!("{seconds} seconds"));
            let words = format!("the hub limits the number of requests (status 429): wait {wait}, or set HF_TOKEN");
            return Some(Failure::Refused(words));
        }
        (500.., _) => return Some(Failure::Unreachable(format!("the hub has an internal error (status {status})"))),
        _ => return Some(Failure::Refused(format!("the hub answered with status {status}"))),
    };
    Some(Failure::Refused(format!("{words} (status {status})")))
}

/// The absolute address that an answer redirects to.
fn redirect(response: &Response<Body>, from: &str) -> Result<Option<String>, Failure> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let lost = || Failure::Refused("the hub redirects without a usable address".into());
    let location = text(response.headers(), "location").ok_or_else(lost)?;
    if location.starts_with("https://") || location.starts_with("http://") {
        return Ok(Some(location));
    }
    let from: Uri = from.parse().map_err(|_| lost())?;
    match (from.scheme_str(), from.authority()) {
        (Some(scheme), Some(host)) if location.starts_with('/') && !location.starts_with("//") => {
            Ok(Some(format!("{scheme}://{host}{location}")))
        }
        _ => Err(lost()),
    }
}

pub(super) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_string)
}

/// Percent-encodes the characters that are not allowed in an address, except `keep`.
fn escaped(text: &str, keep: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        let c = char::from(byte);
        if c.is_ascii_alphanumeric() || "-._~".contains(c) || keep.contains(c) {
            url.push(c);
        } else {
            url += &format!("%{byte:02X}");
        }
    }
    url
}
