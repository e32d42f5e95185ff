//! The model's circuits as low-rank matrices, what heads compose with, and sums of biases.
//!
//! `QK = W_Q W_K^T` says which tokens a head attends to, `OV = W_V W_O` what it then moves (Elhage et al. 2021). Both
//! are taken as they act on the residual stream, so they are exact where norms are folded; rotary positions, what
//! ALiBi takes off scores for the distance, norms of queries and keys, and biases are not in them.

use candle_core::Tensor;

use super::transformer::HookedTransformer;
use crate::dims::{ReadBy, Reader};
use crate::error::{Error, Result};
use crate::factored_matrix::{FactoredMatrix, composition_scores};
use crate::head::Head;
use crate::host;
use crate::labelled::{Axis, Labelled};
use crate::progress::Progress;
use crate::wide::{wide_type, widened};

/// Which input of a later head an earlier head's output feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Composition {
    /// Its queries: where it attends from.
    Q,
    /// Its keys: where it attends to.
    K,
    /// Its values: what it moves.
    V,
}

/// Which biases [`HookedTransformer::accumulated_bias`] sums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Biases {
    /// Those of attention and of MLPs.
    #[default]
    All,
    /// Those of attention only.
    Attention,
}

impl HookedTransformer {
    /// Each head's query-key circuit, `W_Q W_K^T`, `[n_layers, n_heads, d_model, d_model]`, not multiplied out.
    ///
    /// # Errors
    /// When the model has no blocks.
    #[allow(non_snake_case)]
    pub fn QK(&self) -> Result<FactoredMatrix> {
        FactoredMatrix::new(&self.W_Q()?, &self.W_K()?.transpose(2, 3)?)
    }

    /// Each head's output-value circuit, `W_V W_O`, `[n_layers, n_heads, d_model, d_model]`, not multiplied out.
    ///
    /// # Errors
    /// When the model has no blocks.
    #[allow(non_snake_case)]
    pub fn OV(&self) -> Result<FactoredMatrix> {
        FactoredMatrix::new(&self.W_V()?, &self.W_O()?)
    }

    /// Token embeddings with position embeddings below, `[d_vocab + n_ctx, d_model]`: all that enters the stream, and
    /// in a shortformer, whose positions do not, all that queries and keys read at first.
    ///
    /// # Errors
    /// When the model has no position embeddings.
    #[allow(non_snake_case)]
    pub fn W_E_pos(&self) -> Result<Tensor> {
        Ok(Tensor::cat(&[self.W_E(), self.W_pos()?], 0)?)
    }

    /// How much each head's output feeds each later head: [`composition_scores`] of `OV` with `QK` (queries), `QK^T`
    /// (keys) or `OV` (values). NaN where the second head is not in a later layer, so there is no path (TransformerLens
    /// puts 0 there).
    ///
    /// # Shapes
    /// `[writer layer, writer head, reader layer, reader head]`.
    ///
    /// # Errors
    /// Weights that are not finite; a model without blocks.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let scores = model.all_composition_scores(Composition::K)?;
    /// let best = &scores.top(1)[0];
    /// assert!(best.index[0] < best.index[2], "earlier layers write, later ones read");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn all_composition_scores(&self, composition: Composition) -> Result<Labelled> {
        let _work = Progress::opaque("composition scores");
        let reader = match composition {
            Composition::Q => self.QK()?,
            Composition::K => self.QK()?.T()?,
            Composition::V => self.OV()?,
        };
        let scores = composition_scores(&self.OV()?, &reader)?;
        let (layers, heads) = (self.cfg.n_layers, self.cfg.n_heads);
        let axes = ["writer", "reader"].iter().flat_map(|who| {
            [Axis::numbered(format!("{who} layer"), layers), Axis::numbered(format!("{who} head"), heads)]
        });
        let title = format!("{composition:?}-composition");
        let mut scores = Labelled::from_tensor(title, axes.collect::<Vec<_>>(), &scores)?;
        scores
            .values_mut()
            .indexed_iter_mut()
            .filter(|(at, _)| at[0] >= at[2])
            .for_each(|(_, score)| *score = f32::NAN);
        Ok(scores)
    }

    /// `L0H0`, `L0H1`, ..: the labels of all heads, layer by layer.
    pub fn all_head_labels(&self) -> Vec<String> {
        let heads = |layer| (0..self.cfg.n_heads).map(move |head| Head::new(layer, head).to_string());
        (0..self.cfg.n_layers).flat_map(heads).collect()
    }

    /// `L0N0`, `L0N1`, ..: the labels of all neurons, layer by layer; none where blocks are attention only.
    pub fn all_neuron_labels(&self) -> Vec<String> {
        let neurons = |layer| (0..self.dims().d_mlp).map(move |neuron| format!("L{layer}N{neuron}"));
        (0..self.cfg.n_layers).flat_map(neurons).collect()
    }

    /// What the biases alone have added to the residual stream before what `read_by` names reads it: each `b_O`, and
    /// each `b_out` unless `biases` leaves them out.
    ///
    /// # Shapes
    /// `[d_model]`.
    ///
    /// # Errors
    /// A layer that does not exist; the MLP of a model whose attention and MLP read the same input; biases that go
    /// through a norm before they are added.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let before = model.accumulated_bias(ReadBy::Block(0), Biases::All)?;
    /// assert_eq!(before.abs()?.max_all()?.to_scalar::<f32>()?, 0.0, "no block has written yet");
    /// assert_eq!(model.accumulated_bias(ReadBy::End, Biases::Attention)?.dims(), [model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn accumulated_bias(&self, read_by: ReadBy, biases: Biases) -> Result<Tensor> {
        let Reader { layer, is_mlp } = read_by.resolve(&self.dims())?;
        let with_mlps = biases == Biases::All;
        let attention = self.weights.blocks[..layer + usize::from(is_mlp)].iter().map(|block| &block.attn.b_o);
        let mlps = self.weights.blocks[..layer].iter().filter_map(|block| block.mlp.as_ref()).map(|mlp| &mlp.b_out);
        let biases: Vec<&Tensor> = attention.chain(mlps.filter(|_| with_mlps)).collect();
        let added = if self.dims().norms_after { host::numbers_of_all::<f32>(&biases)? } else { Vec::new() };
        if added.iter().flatten().any(|&bias| bias != 0.) {
            return Err(Error::argument(
                "in this model a norm follows attention and MLP before anything is added to the residual stream, so \
                 their biases have no share of their own in it: decompose_resid gives what each layer wrote.",
            ));
        }
        let none = Tensor::zeros(self.cfg.d_model, wide_type(self.dtype()), self.weights.device())?;
        let sum = biases.into_iter().try_fold(none, |sum, bias| Ok::<_, Error>((sum + widened(bias)?)?))?;
        Ok(sum.to_dtype(self.dtype())?)
    }
}
