//! Queries of the residual stream: which components, and where, as one value.

use super::stack::ResidualStack;
use super::store::ActivationCache;
use crate::dims::ReadBy;
use crate::error::Result;
use crate::hooks::HookQuery;
use crate::model::HookedTransformer;
use crate::slice::Slice;

/// A query for residual-stream vectors: which components, written before which point, at which positions.
///
/// A constructor chooses the components; by default they are those of the whole model (everything written before the end), at all
/// positions. [`ActivationCache::stack`] answers it, and so do TransformerLens' names
/// ([`ActivationCache::stack_head_results`], ..).
///
/// | query | components | TransformerLens |
/// |---|---|---|
/// | [`Stack::accumulated`] | the residual stream at the start of each block | `accumulated_resid` |
/// | [`Stack::components`] | embeddings, and each attention and MLP output | `decompose_resid` |
/// | [`Stack::heads`] | each head's output | `stack_head_results` |
/// | [`Stack::neurons`] | each neuron's output | `stack_neuron_results` |
/// | [`Stack::everything`] | heads, neurons, embeddings and biases | `get_full_resid_decomposition` |
/// | [`Stack::point`] | one activation | |
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
/// // What the heads of layers 0 to 2 wrote at the last position, and everything else that enters block 3.
/// let heads = cache.stack(&model, Stack::heads().before(3).with_remainder().pos(-1))?;
/// assert_eq!(heads.len(), 3 * model.cfg().n_heads + 1);
/// assert_eq!(heads.labels()[8], "L1H0");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Stack<K = Components> {
    pub(super) kind: K,
    pub(super) read_by: ReadBy,
    pub(super) pos: Slice,
    pub(super) normed: bool,
}

/// The residual stream as it grows: [`Stack::accumulated`].
#[derive(Clone, Debug)]
pub struct Accumulated {
    pub(super) with_mid: bool,
}

/// What each sublayer wrote: [`Stack::components`].
#[derive(Clone, Debug)]
pub struct Components {
    pub(super) attention: bool,
    pub(super) mlps: bool,
    pub(super) embeddings: bool,
}

/// What each head wrote: [`Stack::heads`].
#[derive(Clone, Debug)]
pub struct Heads {
    pub(super) with_remainder: bool,
}

/// What each neuron wrote: [`Stack::neurons`].
#[derive(Clone, Debug)]
pub struct Neurons {
    pub(super) neurons: Slice,
    pub(super) with_remainder: bool,
}

/// Everything that was written, at the finest resolution: [`Stack::everything`].
#[derive(Clone, Debug)]
pub struct Everything {
    pub(super) neurons: bool,
}

/// One activation: [`Stack::point`].
#[derive(Clone, Debug)]
pub struct Point {
    pub(super) query: HookQuery,
}

impl<K> Stack<K> {
    fn of(kind: K) -> Self {
        Self { kind, read_by: ReadBy::End, pos: Slice::All, normed: false }
    }

    /// At these positions; without it, at all.
    pub fn pos(mut self, pos: impl Into<Slice>) -> Self {
        self.pos = pos.into();
        self
    }

    /// Puts the components through the norm that reads them, with the scale that it had in the run and without its weights
    /// ([`ActivationCache::apply_ln_to_stack`]). Only [`Stack::accumulated`] up to the end of the model goes through the final norm
    /// slice by slice, each with its own scale and with the norm's weights: the logit lens.
    pub fn normed(mut self) -> Self {
        self.normed = true;
        self
    }
}

/// The methods that limit a query to what was written before a point, for each kind of component.
macro_rules! up_to {
    ($($kind:ty),+) => {$(
        impl Stack<$kind> {
            /// What was written before this block, which reads it; layers below 0 count from the end, so -1 is the last block.
            /// Without it, everything up to the end of the model (`layer=-1` in TransformerLens).
            pub fn before(self, layer: isize) -> Self {
                self.read_by(ReadBy::Block(layer))
            }

            /// What was written before this point.
            pub fn read_by(mut self, read_by: ReadBy) -> Self {
                self.read_by = read_by;
                self
            }
        }
    )+};
}
up_to!(Accumulated, Components, Heads, Neurons, Everything);

/// The same for the kinds that include the attention output of a block whose MLP reads.
macro_rules! up_to_mlp {
    ($($kind:ty),+) => {$(
        impl Stack<$kind> {
            /// What was written before the MLP of this block: its own attention output as well (`mlp_input=True` in
            /// TransformerLens).
            pub fn before_mlp(self, layer: isize) -> Self {
                self.read_by(ReadBy::Mlp(layer))
            }
        }
    )+};
}
up_to_mlp!(Accumulated, Components, Everything);

impl Stack<Accumulated> {
    /// The residual stream that enters each block, and at the end of the model that which leaves the last: labels `0_pre`,
    /// `1_pre`, .., `final_post`.
    pub fn accumulated() -> Self {
        Self::of(Accumulated { with_mid: false })
    }

    /// The residual stream between attention and MLP as well: labels `0_mid`, ..
    pub fn with_mid(mut self) -> Self {
        self.kind.with_mid = true;
        self
    }
}

impl Stack<Components> {
    /// The embeddings, and the output of each attention and each MLP: labels `embed`, `pos_embed`, `0_attn_out`,
    /// `0_mlp_out`, ..
    pub fn components() -> Self {
        Self::of(Components { attention: true, mlps: true, embeddings: true })
    }

    /// Without the outputs of MLPs.
    pub fn without_mlps(mut self) -> Self {
        self.kind.mlps = false;
        self
    }

    /// Without the outputs of attention.
    pub fn without_attention(mut self) -> Self {
        self.kind.attention = false;
        self
    }

    /// Without the embeddings.
    pub fn without_embeddings(mut self) -> Self {
        self.kind.embeddings = false;
        self
    }
}

impl Stack<Heads> {
    /// The output of each head, `z W_O`, without `b_O`: labels `L0H0`, `L0H1`, ..
    pub fn heads() -> Self {
        Self::of(Heads { with_remainder: false })
    }

    /// One more component, `remainder`: the residual stream minus the heads.
    pub fn with_remainder(mut self) -> Self {
        self.kind.with_remainder = true;
        self
    }
}

impl Stack<Neurons> {
    /// The output of each neuron, `post[n] W_out[n]`, without `b_out`: labels `L0N0`, `L0N1`, ..
    pub fn neurons() -> Self {
        Self::of(Neurons { neurons: Slice::All, with_remainder: false })
    }

    /// These neurons of each layer only.
    pub fn only(mut self, neurons: impl Into<Slice>) -> Self {
        self.kind.neurons = neurons.into();
        self
    }

    /// One more component, `remainder`: the residual stream minus the chosen neurons.
    pub fn with_remainder(mut self) -> Self {
        self.kind.with_remainder = true;
        self
    }
}

impl Stack<Everything> {
    /// Each head, each neuron, the embeddings, and all biases in one component: labels `L0H0`, .., `L0N0`, .., `embed`,
    /// `pos_embed`, `bias`. They sum to the residual stream.
    pub fn everything() -> Self {
        Self::of(Everything { neurons: true })
    }

    /// Each MLP as one component, `0_mlp_out`, .., with its bias, in place of its neurons.
    pub fn whole_mlps(mut self) -> Self {
        self.kind.neurons = false;
        self
    }
}

impl Stack<Point> {
    /// One activation of the residual stream's width as a stack of one component: `Stack::point(("resid_post", -1))`.
    pub fn point(point: impl Into<HookQuery>) -> Self {
        Self::of(Point { query: point.into() })
    }
}

/// The kinds of component that a [`Stack`] can select.
pub trait StackKind: Sized + sealed::Sealed {
    /// Answers a query of this kind.
    ///
    /// # Errors
    /// As [`ActivationCache::stack`].
    fn stack(cache: &ActivationCache, model: &HookedTransformer, query: Stack<Self>) -> Result<ResidualStack>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! kinds {
    ($($kind:ident |$cache:ident, $model:ident, $query:ident| $answer:expr;)+) => {$(
        impl sealed::Sealed for $kind {}
        impl StackKind for $kind {
            fn stack($cache: &ActivationCache, $model: &HookedTransformer, $query: Stack<Self>) -> Result<ResidualStack> {
                $answer
            }
        }
    )+};
}
kinds! {
    Accumulated |cache, _model, query| cache.accumulated_resid(query);
    Components |cache, _model, query| cache.decompose_resid(query);
    Heads |cache, model, query| cache.stack_head_results(model, query);
    Neurons |cache, model, query| cache.stack_neuron_results(model, query);
    Everything |cache, model, query| cache.get_full_resid_decomposition(model, query);
    Point |cache, _model, query| cache.stack_point(query);
}

impl ActivationCache {
    /// The residual-stream vectors that a query selects, with a label for each.
    ///
    /// # Shapes
    /// `[component, (batch), (pos), d_model]`; a single position removes its axis.
    ///
    /// # Errors
    /// A model that did not make the cache; activations that are not cached; layers, neurons or positions that do not exist; a
    /// query that leaves no component; heads or neurons of a model with norms after them.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
    /// let parts = cache.stack(&model, Stack::components().pos(-1))?;
    /// let end = cache.stack(&model, Stack::point(("resid_post", -1)).pos(-1))?;
    /// // The components sum to the residual stream.
    /// assert!((parts.sum()? - end.sum()?)?.abs()?.max_all()?.to_scalar::<f32>()? < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn stack<K: StackKind>(&self, model: &HookedTransformer, query: Stack<K>) -> Result<ResidualStack> {
        self.check_model(model)?;
        K::stack(self, model, query)
    }
}
