//! What a dictionary expects of the model it was trained on.

use serde::{Deserialize, Serialize};

use crate::hooks::HookPoint;

/// The model, the points and the processing that a dictionary was trained on, as far as its files say; `None` where they do not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expects {
    /// The name of the model.
    pub model: Option<String>,
    /// The checksum of its weights, as [`ModelProvenance::crc32`](crate::model::ModelProvenance::crc32).
    pub weights: Option<String>,
    /// The point it reads.
    pub hook_in: Option<HookPoint>,
    /// The point it writes; the one it reads if this is `None`.
    pub hook_out: Option<HookPoint>,
    /// The one head that it reads at `hook_z`.
    pub head: Option<usize>,
    /// Whether what is written to the residual stream was centred
    /// ([`Processing::center_writing_weights`](crate::model::Processing)).
    pub centred: Option<bool>,
    /// Whether value biases were folded ([`Processing::fold_value_biases`](crate::model::Processing)).
    pub value_biases_folded: Option<bool>,
    /// Whether the norms' weights were folded ([`Processing::fold_ln`](crate::model::Processing)).
    pub norms_folded: Option<bool>,
    /// Whether texts began with a BOS.
    pub prepend_bos: Option<bool>,
    /// Whether BOS, EOS and padding were left out of training.
    pub excludes_special_tokens: bool,
    /// How many tokens the texts had.
    pub context_size: Option<usize>,
    /// What stands before the number of a feature in its address at neuronpedia.org, such as `gpt2-small/5-att-kk`.
    pub neuronpedia: Option<String>,
    /// What its card says.
    pub card: Card,
}

/// What the card of a dictionary or a table of releases says about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// The mean number of active features at a position.
    pub l0: Option<f64>,
    /// The share of variance that it explains.
    pub explained_variance: Option<f64>,
}

impl Expects {
    /// That it reads and writes this point.
    pub fn at(point: HookPoint) -> Self {
        Self { hook_in: Some(point), ..Self::default() }
    }

    /// That it reads one point and writes another.
    pub fn between(hook_in: HookPoint, hook_out: HookPoint) -> Self {
        Self { hook_in: Some(hook_in), hook_out: Some(hook_out), ..Self::default() }
    }

    /// Whether it writes another point than it reads.
    pub fn is_transcoder(&self) -> bool {
        self.hook_out.is_some() && self.hook_out != self.hook_in
    }

    /// The point it writes.
    pub fn writes(&self) -> Option<HookPoint> {
        self.hook_out.or(self.hook_in)
    }
}
