//! Models on the Hugging Face hub: their names, the folder that caches them, and how they are downloaded.

mod cache;
mod client;
mod hash;
mod settings;
mod transfer;

use std::fs;
use std::path::PathBuf;

use cache::RepoCache;
pub(super) use cache::is_safe;
use client::{Client, Failure};
pub use settings::Hub;
use transfer::Transfer;

use crate::error::{Error, Result};

/// The default revision.
pub(crate) const MAIN: &str = "main";

/// One revision of one model. All its files come from the same commit.
pub(crate) struct Repo {
    hub: Hub,
    id: String,
    revision: String,
    cache: RepoCache,
    client: Option<Client>,
    commit: Option<String>,
    /// The commit was read from the cache, so some of its files are there.
    kept: bool,
}

impl Repo {
    /// # Errors
    /// [`Error::Argument`] if the revision is not a valid name.
    pub(crate) fn new(hub: Hub, id: &str, revision: &str) -> Result<Self> {
        if !is_safe(revision) || revision.contains(char::is_whitespace) {
            return Err(Error::argument(format!(
                "{revision:?} is not a revision of {id}: give the name of a branch or tag, or a commit."
            )));
        }
        let cache = RepoCache::new(&hub.cache, id);
        let commit = cache.commit(revision);
        let kept = commit.is_some();
        Ok(Self { hub, id: id.into(), revision: revision.into(), cache, client: None, commit, kept })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The revision with its commit, once it is known.
    pub(crate) fn revision(&self) -> String {
        match &self.commit {
            Some(commit) if *commit != self.revision => format!("{}, commit {commit}", self.revision),
            _ => self.revision.clone(),
        }
    }

    /// The path of an optional file, which is fetched if necessary.
    ///
    /// # Errors
    /// [`Error::File`] if it could not be fetched.
    pub(crate) fn find(&mut self, name: &str) -> Result<Option<PathBuf>> {
        match self.get(name) {
            Ok(path) => Ok(Some(path)),
            Err(Failure::Absent(_)) => Ok(None),
            // A model that was fetched before also works without a network.
            Err(Failure::Unreachable(_)) if self.kept => Ok(None),
            Err(failure) => Err(self.sentence(name, failure)),
        }
    }

    /// The path of a required file.
    ///
    /// # Errors
    /// [`Error::File`] if it does not exist or could not be fetched.
    pub(crate) fn need(&mut self, name: &str) -> Result<PathBuf> {
        self.get(name).map_err(|failure| self.sentence(name, failure))
    }

    /// Records the revision once all requested files are cached.
    ///
    /// # Errors
    /// [`Error::File`] if the folder cannot be written.
    pub(crate) fn complete(&self) -> Result<()> {
        match &self.commit {
            Some(commit) if !self.hub.offline => self.cache.set_commit(&self.revision, commit),
            _ => Ok(()),
        }
    }

    fn get(&mut self, name: &str) -> std::result::Result<PathBuf, Failure> {
        if !is_safe(name) {
            return Err(Failure::Refused("the model names a file outside its own folder".into()));
        }
        if let Some(commit) = &self.commit {
            if let Some(path) = self.cache.file(commit, name) {
                return Ok(path);
            }
            if self.cache.is_absent(commit, name) {
                return Err(Failure::Absent(Some(commit.clone())));
            }
        }
        if self.hub.offline {
            return Err(Failure::Unreachable(format!(
                "HF_HUB_OFFLINE is set, and it is not in {}",
                self.hub.cache.display()
            )));
        }
        self.download(name)
    }

    fn download(&mut self, name: &str) -> std::result::Result<PathBuf, Failure> {
        if self.client.is_none() {
            self.client = Some(Client::new(&self.hub).map_err(Failure::Disk)?);
        }
        let client = self.client.as_ref().expect("it was made above");
        let revision = self.commit.as_deref().unwrap_or(&self.revision);
        let described = match client.describe(&self.url(revision, name)) {
            Err(Failure::Absent(of)) => {
                // Python reads this as well and does not ask the hub again.
                if let Some(commit) = self.commit.as_ref().filter(|commit| of.as_ref() == Some(commit)) {
                    self.cache.set_absent(commit, name);
                }
                return Err(Failure::Absent(of));
            }
            other => other?,
        };
        if self.commit.as_ref().is_some_and(|commit| *commit != described.commit) {
            return Err(Failure::Refused("the hub offers a file from another commit".into()));
        }
        let blob = self.cache.blob(&described.etag);
        let held = self.cache.lock(&described.etag).map_err(Failure::Disk)?;
        if !blob.is_file() {
            let part = self.cache.part(&described.etag);
            let what = format!("{}/{name}", self.id);
            let url = self.url(&described.commit, name);
            Transfer { client, url: &url, described: &described, part: &part, what: &what }.run()?;
            fs::rename(&part, &blob).map_err(|error| Failure::Disk(cache::unwritable(&blob, &error)))?;
        }
        drop(held);
        let path = self.cache.link(&described.commit, name, &described.etag).map_err(Failure::Disk)?;
        self.commit = Some(described.commit);
        Ok(path)
    }

    fn url(&self, revision: &str, name: &str) -> String {
        format!("{}/{}/resolve/{}/{}", self.hub.endpoint, self.id, escaped(revision, ""), escaped(name, "/"))
    }

    fn sentence(&self, name: &str, failure: Failure) -> Error {
        let at = if self.revision == MAIN { String::new() } else { format!("@{}", self.revision) };
        let path = format!("{}{at}/{name}", self.id);
        match failure {
            Failure::Disk(error) => error,
            Failure::Absent(_) => Error::file(path, "does not exist: the model has no such file. Check the name."),
            Failure::Refused(why) => Error::file(path, format!("could not be fetched from the hub: {why}.")),
            Failure::Unreachable(why) => Error::file(
                path,
                format!("could not be fetched from the hub: {why}. Check the network, or load from a local folder."),
            ),
        }
    }
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
