//! Models on the Hugging Face hub: their names, the folder that caches them, and how they are downloaded.

mod cache;
mod client;
mod gguf;
mod hash;
#[cfg(feature = "hf-hub")]
mod hf_hub;
#[cfg(not(feature = "hf-hub"))]
mod own;
mod settings;
mod transfer;

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

use cache::RepoCache;
pub(super) use cache::is_safe;
use client::{Client, Failure};
pub(crate) use gguf::Wanted;
pub(super) use gguf::{Parts, is_gguf, models as gguf_models};
pub use settings::Hub;
use transfer::{Remote, Transfer};

use crate::error::{Error, Result};

/// The default revision.
pub(crate) const MAIN: &str = "main";

/// How many names of files a message lists.
const MOST_NAMED: usize = 40;

/// One revision of one model. All its files come from the same commit.
pub(crate) struct Repo {
    hub: Hub,
    id: String,
    revision: String,
    wanted: Option<Wanted>,
    cache: RepoCache,
    client: OnceCell<Client>,
    commit: Option<String>,
    /// The commit was read from the cache, so some of its files are there.
    kept: bool,
}

impl Repo {
    /// `wanted` is the GGUF file that is the model, if it is one.
    ///
    /// # Errors
    /// [`Error::Argument`] if the revision is not a valid name.
    pub(crate) fn new(hub: Hub, id: &str, revision: &str, wanted: Option<Wanted>) -> Result<Self> {
        if !is_safe(revision) || revision.contains(|c: char| c.is_whitespace() || c == ':') {
            return Err(Error::argument(format!(
                "{revision:?} is not a revision of {id}: give the name of a branch or tag, or a commit; a file is named \
                 before it, as in \"{id}:Q8_0@{MAIN}\"."
            )));
        }
        let cache = RepoCache::new(&hub.cache, id);
        let commit = cache.commit(revision);
        let kept = commit.is_some();
        Ok(Self { hub, id: id.into(), revision: revision.into(), wanted, cache, client: OnceCell::new(), commit, kept })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The id, with the GGUF file that was asked for.
    pub(crate) fn name(&self) -> String {
        match &self.wanted {
            Some(wanted) => format!("{}:{}", self.id, wanted.text()),
            None => self.id.clone(),
        }
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

    /// The path of the GGUF file that was asked for, which is fetched if necessary; of a split one, that of the first
    /// part, beside which the others are. `None` if none was asked for.
    ///
    /// # Errors
    /// [`Error::File`] if there is no such file, or several, or it could not be fetched.
    pub(crate) fn gguf(&mut self) -> Result<Option<PathBuf>> {
        let Some(wanted) = self.wanted.clone() else { return Ok(None) };
        let name = match &wanted {
            Wanted::Name(name) => name.clone(),
            Wanted::Quantisation(_) => self.chosen(&wanted)?,
        };
        let mut first = None;
        for part in Parts::names(&name) {
            let path = match self.get(&part) {
                // The names that there are say more than that this one is not among them.
                Err(Failure::Absent(_)) if first.is_none() => self.chosen(&wanted).and_then(|_| self.need(&part))?,
                other => other.map_err(|failure| self.sentence(&part, failure))?,
            };
            first.get_or_insert(path);
        }
        Ok(first)
    }

    /// The GGUF files that are models, without their parts; none if the hub cannot be asked.
    pub(crate) fn gguf_models(&mut self) -> Vec<String> {
        let files = self.gguf_files().unwrap_or_default();
        gguf::models(&files).into_iter().map(String::from).collect()
    }

    /// The name of the only file that is meant.
    fn chosen(&mut self, wanted: &Wanted) -> Result<String> {
        let files = self.gguf_files().map_err(|failure| self.sentence(wanted.text(), failure))?;
        let found = wanted.among(&files);
        if let [one] = found[..] {
            return Ok(one.into());
        }
        let (text, id) = (wanted.text(), &self.id);
        let said = match (found.len(), gguf::models(&files)) {
            (0, there) if there.is_empty() => {
                "is not there, and the repository has no GGUF file: check the name.".into()
            }
            (0, there) => format!(
                "is not there: give one of its GGUF files after the colon, or the quantisation that its name ends with: \
                 {}.",
                some_of(&there)
            ),
            (many, _) => format!("is the end of {many} names: give one of these after the colon: {}.", some_of(&found)),
        };
        Err(Error::file(format!("{id}:{text}"), said))
    }

    /// The names of all GGUF files of this commit.
    fn gguf_files(&mut self) -> std::result::Result<Vec<String>, Failure> {
        if let Some(files) = self.commit.as_ref().and_then(|commit| self.cache.listing(commit)) {
            return Ok(files);
        }
        // Another program fetched the commit and left no list, so that only what is cached is known.
        let cached = |repo: &Self| {
            let mut files = repo.commit.as_ref().map(|commit| repo.cache.cached(commit)).unwrap_or_default();
            files.retain(|name| gguf::is_gguf(name));
            files
        };
        let listed = if self.hub.offline { Err(self.is_offline()) } else { self.list() };
        match listed {
            Err(Failure::Unreachable(_)) if !cached(self).is_empty() => Ok(cached(self)),
            other => other,
        }
    }

    /// The names of all files of this commit; those that are cached, if the hub cannot be asked.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be asked and nothing is cached.
    pub(crate) fn files(&mut self) -> Result<Vec<String>> {
        let asked = match self.hub.offline {
            true => Err(self.is_offline()),
            false => self.all_files(),
        };
        let cached = self.commit.as_ref().map(|commit| self.cache.cached(commit)).unwrap_or_default();
        match asked {
            Err(Failure::Unreachable(_)) if !cached.is_empty() => Ok(cached),
            other => other.map_err(|failure| self.sentence("the list of its files", failure)),
        }
    }

    fn all_files(&mut self) -> std::result::Result<Vec<String>, Failure> {
        let revision = self.commit.as_deref().unwrap_or(&self.revision);
        let (commit, mut files) = self.client()?.list(&self.id, revision)?;
        if self.commit.as_ref().is_some_and(|known| *known != commit) {
            return Err(Failure::Refused("the hub lists the files of another commit".into()));
        }
        files.retain(|name| is_safe(name));
        files.sort();
        self.commit = Some(commit);
        Ok(files)
    }

    fn list(&mut self) -> std::result::Result<Vec<String>, Failure> {
        let mut files = self.all_files()?;
        files.retain(|name| gguf::is_gguf(name));
        if let Some(commit) = &self.commit {
            self.cache.set_listing(commit, &files);
        }
        Ok(files)
    }

    fn client(&self) -> std::result::Result<&Client, Failure> {
        match self.client.get() {
            Some(client) => Ok(client),
            None => {
                let client = Client::new(&self.hub).map_err(Failure::Disk)?;
                Ok(self.client.get_or_init(|| client))
            }
        }
    }

    fn is_offline(&self) -> Failure {
        let folder = self.hub.cache.display();
        Failure::Unreachable(format!("HF_HUB_OFFLINE is set, and it is not in {folder}"))
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
            return Err(self.is_offline());
        }
        self.download(name)
    }

    fn download(&mut self, name: &str) -> std::result::Result<PathBuf, Failure> {
        let client = self.client()?;
        let revision = self.commit.as_deref().unwrap_or(&self.revision);
        let described = match client.describe(&client.url(&self.id, revision, name)) {
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
            let file = Remote { id: &self.id, name, described: &described };
            Transfer { client, file, part: &part, what: &what }.run().map_err(|failure| match failure {
                // Not that the model has no such file, which would be left out without a word.
                Failure::Absent(_) => {
                    Failure::Refused("the hub describes it, and then says that it does not exist".into())
                }
                other => other,
            })?;
            fs::rename(&part, &blob).map_err(|error| Failure::Disk(cache::unwritable(&blob, &error)))?;
        }
        let path = self.cache.link(&described.commit, name, &described.etag).map_err(Failure::Disk)?;
        // Not before: another process that waits for this file links it as well.
        drop(held);
        self.commit = Some(described.commit);
        Ok(path)
    }

    fn sentence(&self, name: &str, failure: Failure) -> Error {
        let at = if self.revision == MAIN { String::new() } else { format!("@{}", self.revision) };
        let path = format!("{}{at}/{name}", self.id);
        match failure {
            Failure::Disk(error) | Failure::Interrupted(error) => error,
            Failure::Absent(_) => Error::file(path, "does not exist: the model has no such file. Check the name."),
            Failure::Refused(why) => Error::file(path, format!("could not be fetched from the hub: {why}.")),
            Failure::Unreachable(why) => Error::file(
                path,
                format!("could not be fetched from the hub: {why}. Check the network, or load from a local folder."),
            ),
        }
    }
}

/// These names, or the first of very many.
pub(crate) fn some_of(names: &[impl AsRef<str>]) -> String {
    let more = names.len().saturating_sub(MOST_NAMED);
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    let names: Vec<&str> = names[..names.len() - more].iter().map(AsRef::as_ref).collect();
    format!("{}{rest}", names.join(", "))
}

/// The repository, the path in it and the revision of `"owner/repo:path@revision"`, of which the last two may be left out; `None`
/// for a name of another form.
pub(crate) fn hub_name(name: &str) -> Option<(&str, &str, &str)> {
    let (rest, revision) = name.rsplit_once('@').unwrap_or((name, MAIN));
    let (id, path) = rest.split_once(':').unwrap_or((rest, ""));
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !part.is_empty() && part.chars().all(plain) && !part.starts_with('.') && !part.contains("..")
    };
    (id.split('/').count() == 2 && id.split('/').all(part)).then_some((id, path, revision))
}
