//! The embedded model and its dictionaries. `src/storage/tiny/README.md` and `src/storage/tiny/dictionaries/README.md` are
//! their cards; `examples/train_tiny` and `examples/train_dictionaries` train them.

/// The name under which it is loaded.
pub(crate) const NAME: &str = "tiny";

/// Names with the contents of the files.
macro_rules! embedded {
    ($($name:literal,)*) => { &[$(($name, include_bytes!(concat!("tiny/", $name)))),*] };
}

const FILES: &[(&str, &[u8])] = embedded![
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

/// The names of its files.
pub(crate) fn names() -> Vec<String> {
    FILES.iter().map(|(name, _)| (*name).to_string()).collect()
}

/// Its files, the same as in the folder of any other model.
pub(crate) fn file(name: &str) -> Option<&'static [u8]> {
    FILES.iter().find(|(other, _)| *other == name).map(|(_, contents)| *contents)
}
