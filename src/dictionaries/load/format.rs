//! The formats of published dictionaries.

use std::fmt;

use super::files::Files;
use super::options::DictionaryOptions;
use super::unread::Unread;
use super::{attention_saes, circuit_tracer, dictionary_learning, dunefsky, gemma_scope, openai, saelens, sparsify};
use crate::error::Result;

/// What wrote the files of a dictionary. It is recognised by their names and tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DictionaryFormat {
    /// SAELens: `cfg.json` and `sae_weights.safetensors`.
    SaeLens,
    /// Gemma Scope: `params.npz`, and `params.safetensors` of Gemma Scope 2.
    GemmaScope,
    /// The attention SAEs of Kissane et al.: `name.pt` and `name_cfg.json`.
    AttentionSaes,
    /// The transcoders of Dunefsky et al.: `final_sparse_autoencoder_*.pt`.
    Dunefsky,
    /// circuit-tracer's sets of transcoders and cross-layer transcoders: `config.yaml` and `layer_*.safetensors`, or
    /// `W_enc_*.safetensors` and `W_dec_*.safetensors`.
    CircuitTracer,
    /// dictionary_learning: `config.json` and `ae.pt`.
    DictionaryLearning,
    /// EleutherAI's sparsify: `cfg.json` and `sae.safetensors`.
    Sparsify,
    /// The autoencoders of Gao et al. for GPT-2: `{layer}.pt`.
    OpenAi,
}

impl DictionaryFormat {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 8] = [
        Self::SaeLens,
        Self::GemmaScope,
        Self::AttentionSaes,
        Self::Dunefsky,
        Self::CircuitTracer,
        Self::DictionaryLearning,
        Self::Sparsify,
        Self::OpenAi,
    ];

    /// The name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SaeLens => "SAELens",
            Self::GemmaScope => "Gemma Scope",
            Self::AttentionSaes => "attention SAEs",
            Self::Dunefsky => "Dunefsky's transcoders",
            Self::CircuitTracer => "circuit-tracer",
            Self::DictionaryLearning => "dictionary_learning",
            Self::Sparsify => "sparsify",
            Self::OpenAi => "OpenAI's autoencoders",
        }
    }

    /// The files that it is recognised by, for messages.
    pub(super) fn files(self) -> &'static str {
        match self {
            Self::SaeLens => "cfg.json and sae_weights.safetensors",
            Self::GemmaScope => "params.npz or params.safetensors",
            Self::AttentionSaes => "NAME.pt and NAME_cfg.json",
            Self::Dunefsky => "final_sparse_autoencoder_*.pt",
            Self::CircuitTracer => "config.yaml with layer_*.safetensors or W_enc_*.safetensors",
            Self::DictionaryLearning => "config.json and ae.pt",
            Self::Sparsify => "cfg.json and sae.safetensors",
            Self::OpenAi => "LAYER.pt",
        }
    }

    /// The dictionaries of this format that are there; none if nothing there is of it.
    pub(super) fn entries(self, files: &Files, options: &DictionaryOptions) -> Result<Vec<Unread>> {
        match self {
            Self::SaeLens => saelens::entries(files, options),
            Self::GemmaScope => gemma_scope::entries(files, options),
            Self::AttentionSaes => attention_saes::entries(files, options),
            Self::Dunefsky => dunefsky::entries(files, options),
            Self::CircuitTracer => circuit_tracer::entries(files, options),
            Self::DictionaryLearning => dictionary_learning::entries(files, options),
            Self::Sparsify => sparsify::entries(files, options),
            Self::OpenAi => openai::entries(files, options),
        }
    }
}

impl fmt::Display for DictionaryFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
