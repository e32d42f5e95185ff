//! Options of the analyses of a cache. All have `Default`, and -1 or the number of layers means the end of the last block.

use crate::slice::Slice;

/// Options of [`super::ActivationCache::accumulated_resid`].
#[derive(Clone, Debug)]
pub struct AccumulatedOptions {
    /// Up to the stream that enters this block.
    pub layer: isize,
    /// Also the stream between attention and MLP of each block.
    pub incl_mid: bool,
    /// Also the middle of block `layer` itself: up to the input of its MLP.
    pub mlp_input: bool,
    /// Applies the norm that reads this place: at the end, the final norm recomputed for each slice (the true logit
    /// lens); elsewhere the cached scale of the block's norm.
    pub apply_ln: bool,
    /// Which positions.
    pub pos: Slice,
}

impl Default for AccumulatedOptions {
    fn default() -> Self {
        Self { layer: -1, incl_mid: false, mlp_input: false, apply_ln: false, pos: Slice::All }
    }
}

/// Which kinds of component a decomposition has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Components {
    /// Attention and MLP outputs.
    #[default]
    All,
    /// Attention outputs.
    Attn,
    /// MLP outputs.
    Mlp,
}

/// Options of [`super::ActivationCache::decompose_resid`].
#[derive(Clone, Debug)]
pub struct DecomposeOptions {
    /// What is written before this block.
    pub layer: isize,
    /// Also the attention output of block `layer` itself: what its MLP reads.
    pub mlp_input: bool,
    /// Which kinds of component.
    pub mode: Components,
    /// Token and position embeddings too.
    pub incl_embeds: bool,
    /// Applies the cached scale of the norm that reads this place.
    pub apply_ln: bool,
    /// Which positions.
    pub pos: Slice,
}

impl Default for DecomposeOptions {
    fn default() -> Self {
        Self { layer: -1, mlp_input: false, mode: Components::All, incl_embeds: true, apply_ln: false, pos: Slice::All }
    }
}

/// Options of [`super::ActivationCache::stack_head_results`].
#[derive(Clone, Debug)]
pub struct HeadOptions {
    /// The heads of the blocks before this one.
    pub layer: isize,
    /// One more component: the stream there minus all heads.
    pub incl_remainder: bool,
    /// Applies the cached scale of the norm that reads this place.
    pub apply_ln: bool,
    /// Which positions.
    pub pos: Slice,
}

impl Default for HeadOptions {
    fn default() -> Self {
        Self { layer: -1, incl_remainder: false, apply_ln: false, pos: Slice::All }
    }
}

/// Options of [`super::ActivationCache::stack_neuron_results`].
#[derive(Clone, Debug)]
pub struct NeuronOptions {
    /// The neurons of the blocks before this one.
    pub layer: isize,
    /// Which neurons of each layer.
    pub neurons: Slice,
    /// One more component: the stream there minus these neurons.
    pub incl_remainder: bool,
    /// Applies the cached scale of the norm that reads this place.
    pub apply_ln: bool,
    /// Which positions.
    pub pos: Slice,
}

impl Default for NeuronOptions {
    fn default() -> Self {
        Self { layer: -1, neurons: Slice::All, incl_remainder: false, apply_ln: false, pos: Slice::All }
    }
}

/// Options of [`super::ActivationCache::get_full_resid_decomposition`].
#[derive(Clone, Debug)]
pub struct FullOptions {
    /// What is written before this block.
    pub layer: isize,
    /// Also the heads of block `layer` itself: what its MLP reads.
    pub mlp_input: bool,
    /// Each neuron a component of its own; otherwise each MLP is one.
    pub expand_neurons: bool,
    /// Applies the cached scale of the norm that reads this place.
    pub apply_ln: bool,
    /// Which positions.
    pub pos: Slice,
}

impl Default for FullOptions {
    fn default() -> Self {
        Self { layer: -1, mlp_input: false, expand_neurons: true, apply_ln: false, pos: Slice::All }
    }
}

/// Options of [`super::ActivationCache::apply_ln_to_stack`].
#[derive(Clone, Debug)]
pub struct LnOptions {
    /// The norm that reads this block's input; at the end, the final norm.
    pub layer: isize,
    /// The norm of the block's MLP instead of its attention's.
    pub mlp_input: bool,
    /// Takes the scale of each slice itself instead of the cached one of the whole stream.
    pub recompute: bool,
}

impl Default for LnOptions {
    fn default() -> Self {
        Self { layer: -1, mlp_input: false, recompute: false }
    }
}
