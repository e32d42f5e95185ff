//! The models in this binary, each with the files that its folder on disk would have. The `README.md` of each folder is its card;
//! `examples/train_tiny`, `examples/train_dictionaries` and `examples/train_course` train them.

/// The model that has dictionaries.
pub(crate) const TINY: &str = "tiny";

/// A model in this binary.
pub(crate) struct Embedded {
    /// The name under which it is loaded, and that of its folder here.
    pub name: &'static str,
    files: &'static [(&'static str, &'static [u8])],
}

/// Models with the names of their files.
macro_rules! embedded {
    ($($model:literal: [$($file:literal),+ $(,)?];)+) => {
        &[$(Embedded { name: $model, files: &[$(($file, include_bytes!(concat!($model, "/", $file)))),+] }),+]
    };
}

/// All of them. Not a constant, whose bytes would be in the library once for each part of it that names them and once more in what other
/// crates read of it for every cell.
#[inline(never)]
fn models() -> &'static [Embedded] {
    embedded! {
        "icl": ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        "modular": ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        "modular/step50": ["config.json", "model.safetensors"];
        "modular/step150": ["config.json", "model.safetensors"];
        "modular/step300": ["config.json", "model.safetensors"];
        "modular/step500": ["config.json", "model.safetensors"];
        "modular/step700": ["config.json", "model.safetensors"];
        "tiny": [
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "dictionaries/mlp0/cfg.json",
            "dictionaries/mlp0/sae_weights.safetensors",
            "dictionaries/mlp1/cfg.json",
            "dictionaries/mlp1/sae_weights.safetensors",
            "dictionaries/mlp2/cfg.json",
            "dictionaries/mlp2/sae_weights.safetensors",
            "dictionaries/mlp3/cfg.json",
            "dictionaries/mlp3/sae_weights.safetensors",
            "dictionaries/resid1/cfg.json",
            "dictionaries/resid1/sae_weights.safetensors",
            "dictionaries/z0/cfg.json",
            "dictionaries/z0/sae_weights.safetensors",
            "dictionaries/z1/cfg.json",
            "dictionaries/z1/sae_weights.safetensors",
            "dictionaries/z2/cfg.json",
            "dictionaries/z2/sae_weights.safetensors",
            "dictionaries/z3/cfg.json",
            "dictionaries/z3/sae_weights.safetensors",
        ];
        "brackets": ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
        "induction": ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
    }
}

impl Embedded {
    /// The model of this name.
    pub(crate) fn called(name: &str) -> Option<&'static Self> {
        models().iter().find(|model| model.name == name)
    }

    /// The names of all.
    pub(crate) fn all() -> impl Iterator<Item = &'static str> {
        models().iter().map(|model| model.name)
    }

    /// The names of its files.
    pub(crate) fn names(&self) -> Vec<String> {
        self.files.iter().map(|(name, _)| (*name).to_string()).collect()
    }

    /// A file of it.
    pub(crate) fn file(&self, name: &str) -> Option<&'static [u8]> {
        self.files.iter().find(|(other, _)| *other == name).map(|(_, contents)| *contents)
    }
}
