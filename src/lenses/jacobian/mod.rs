//! The Jacobian lens: what the residual stream at a layer says about the end of the model, by its average first-order effect
//! there (Gurnee et al. 2026, "Verbalizable Representations Form a Global Workspace in Language Models",
//! <https://transformer-circuits.pub/2026/workspace>).
//!
//! `J_l[i, j]` is the mean, over prompts and over positions `t`, of the sum over positions `t' >= t` of
//! `d h_L[t', i] / d h_l[t, j]`, with `h_l` the residual stream behind block `l` and `h_L` that behind the last one, before the
//! final norm. Positions are those from 16 to the last but one: the first tokens are attention sinks, and the last predicts
//! nothing that is there. `J_L` is the identity.
//!
//! The lens reads `softmax(norm(J_l h) W_U + b_U)`; with `J_l = I` it is the logit lens. A token has the vector
//! `v = J_l^T W_U[:, token]`, along which the stream can be steered, ablated and swapped, and of which a few add up to much of it.
//!
//! Limits: a mean over contexts says what a direction does usually, not in this prompt, and nothing of what is not linear. Lenses
//! are of weights as they are stored: processing moves the basis of the residual stream, and such models are refused.

mod about;
mod edits;
mod files;
mod fit;
mod pursuit;
mod split;

use std::collections::BTreeMap;
use std::fmt;

use candle_core::{DType, Device, Tensor};

use crate::dims::ReadBy;
use crate::error::{Error, Result};
use crate::lenses::Lens;
use crate::model::HookedTransformer;
use crate::slice::bound;
use crate::tokens::TokenRef;
use crate::variables::holds;
use crate::visible::visible;
use crate::wide::{matmul, widened};

use about::About;

pub use fit::JacobianOptions;
pub use split::LensDecomposition;

/// A linear map from the residual stream behind each of some layers to that behind the last one. Made by [`JacobianLens::fit`], or
/// read by [`JacobianLens::load`].
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
/// let prompts = [
///     "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.",
///     "When Tom and Anna went to the park, Anna gave the ball to Tom. Then Tom gave the ball to Anna.",
/// ];
/// let lens = JacobianLens::fit(&model, prompts, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
/// println!("{lens}");
/// let (_, cache) = model.run_with_cache(prompts[0])?;
/// let layer = lens.layers()[0];
/// let moved = lens.transport(&cache.get(("resid_post", layer))?, layer as isize)?;
/// assert_eq!(moved.dims(), cache.get(("resid_post", -1))?.dims());
/// // The tokens that it reads there, and at the end the model's own.
/// let reading = lens.read(&model, &cache, LensOptions { pos: (-1).into(), ..Default::default() })?;
/// assert_eq!(reading.probabilities.labels("component")?.len(), 2);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone)]
pub struct JacobianLens {
    /// By layer, without the last one: `[d_model, d_model]`, f32 on the CPU.
    matrices: BTreeMap<usize, Tensor>,
    d_model: usize,
    n_layers: usize,
    prompts: usize,
    skipped: usize,
    about: About,
}

holds! {
    JacobianLens { matrices } = |lens| format!("{} layers of [{d}, {d}]", lens.matrices.len(), d = lens.d_model);
}

impl JacobianLens {
    /// A lens of matrices of your own, for layers before the last one: of other estimates, or to compare with.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let identity = Tensor::eye(model.cfg().d_model, DType::F32, &Device::Cpu)?;
    /// let logit_lens = JacobianLens::new(&model, [(0, identity.clone()), (1, identity)])?;
    /// assert_eq!(logit_lens.layers(), [0, 1]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// `[d_model, d_model]` for each layer.
    ///
    /// # Errors
    /// A model with processed weights; no matrix, matrices of other shapes or with numbers that are not finite, layers that are not
    /// before the last one.
    pub fn new(model: &HookedTransformer, matrices: impl IntoIterator<Item = (usize, Tensor)>) -> Result<Self> {
        about::check_raw(model)?;
        let mut by_layer = BTreeMap::new();
        for (layer, matrix) in matrices {
            let matrix = matrix.detach().to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
            if by_layer.insert(layer, matrix).is_some() {
                return Err(Error::argument(format!(
                    "the matrix of layer {layer} was given twice: give each layer once."
                )));
            }
        }
        let lens = Self {
            matrices: by_layer,
            d_model: model.cfg().d_model,
            n_layers: model.cfg().n_layers,
            prompts: 0,
            skipped: 0,
            about: About { model: Some(model.provenance()), ..About::default() },
        };
        lens.check()?;
        Ok(lens)
    }

    /// # Errors
    /// [`Error::Argument`] for matrices that are not those of a lens.
    fn check(&self) -> Result<()> {
        let (width, last) = (self.d_model, self.n_layers.saturating_sub(1));
        if self.matrices.is_empty() {
            return Err(Error::argument("there is no matrix of any layer: a lens needs at least one."));
        }
        for (layer, matrix) in &self.matrices {
            if *layer >= last {
                return Err(Error::argument(format!(
                    "there is a matrix of layer {layer}, and the last layer, to which a lens leads, is {last}: it is of another model."
                )));
            }
            if matrix.dims() != [width, width] || matrix.dtype() != DType::F32 {
                return Err(Error::argument(format!(
                    "the matrix of layer {layer} is {:?} of shape {:?}, where F32 of [{width}, {width}] is needed.",
                    matrix.dtype(),
                    matrix.dims()
                )));
            }
            if !matrix.abs()?.sum_all()?.to_scalar::<f32>()?.is_finite() {
                return Err(Error::argument(format!(
                    "the matrix of layer {layer} has numbers that are not finite, so nothing can be read by it: check the weights, or the file."
                )));
            }
        }
        Ok(())
    }

    /// The layers that it was fitted at, in order. The last one, whose matrix is the identity, is not among them.
    pub fn layers(&self) -> Vec<usize> {
        self.matrices.keys().copied().collect()
    }

    /// How many prompts it is the mean over.
    pub fn prompts(&self) -> usize {
        self.prompts
    }

    /// How many prompts were too short to count.
    pub fn skipped(&self) -> usize {
        self.skipped
    }

    /// The matrix of a layer; negative layers count from the end, and the last one has the identity.
    ///
    /// # Shapes
    /// `[d_model, d_model]`, f32: `J[i, j]` is the effect on coordinate `i` at the end of coordinate `j` at the layer.
    ///
    /// # Errors
    /// A layer that the model does not have, or at which the lens was not fitted.
    pub fn matrix(&self, layer: isize) -> Result<Tensor> {
        let layer = self.layer(layer)?;
        match self.matrices.get(&layer) {
            Some(matrix) => Ok(matrix.clone()),
            None => Ok(Tensor::eye(self.d_model, DType::F32, &Device::Cpu)?),
        }
    }

    /// `J_l h`: residual streams of a layer in the basis of the last one.
    ///
    /// # Shapes
    /// `resid [.., d_model]` gives `[.., d_model]`, f32 or wider, on its device.
    ///
    /// # Errors
    /// As [`JacobianLens::matrix`]; vectors of another width.
    pub fn transport(&self, resid: &Tensor, layer: isize) -> Result<Tensor> {
        let layer = self.layer(layer)?;
        self.check_width(resid)?;
        let resid = widened(resid)?;
        let Some(matrix) = self.matrices.get(&layer) else { return Ok(resid) };
        let matrix = matrix.to_device(resid.device())?.to_dtype(resid.dtype())?;
        let rows = resid.reshape(((), self.d_model))?.matmul(&matrix.t()?)?;
        Ok(rows.reshape(resid.dims())?)
    }

    /// The vectors of tokens at a layer, `J_l^T W_U[:, token]`: along them the tokens' logits rise at the end, before the final
    /// norm and to first order.
    ///
    /// # Shapes
    /// `[token, d_model]`, f32.
    ///
    /// # Errors
    /// As [`JacobianLens::matrix`] and [`HookedTransformer::token_ids`]; a model that is not the lens'.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let prompt = "When John and Mary went to the shops, John gave the bag to Mary. Then Mary gave the bag to John.";
    /// let lens = JacobianLens::fit(&model, prompt, JacobianOptions { layers: (-2).into(), ..Default::default() })?;
    /// let vectors = lens.vectors(&model, [" Mary", " John"], -2)?;
    /// assert_eq!(vectors.dims(), [2, model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn vectors<T: Into<TokenRef>>(
        &self,
        model: &HookedTransformer,
        tokens: impl IntoIterator<Item = T>,
        layer: isize,
    ) -> Result<Tensor> {
        self.check_model(model)?;
        let matrix = self.matrix(layer)?.to_device(&model.device())?;
        let directions = model.tokens_to_residual_directions(tokens)?.to_dtype(DType::F32)?;
        Ok(matmul(&directions, &matrix)?)
    }

    /// The number of a layer that the lens has, the last one included.
    fn layer(&self, layer: isize) -> Result<usize> {
        let n_layers = self.n_layers;
        let number = bound(layer, n_layers).filter(|number| *number < n_layers);
        let number = number.ok_or(Error::LayerOutOfRange { layer, n_layers })?;
        if number + 1 == n_layers || self.matrices.contains_key(&number) {
            return Ok(number);
        }
        Err(Error::argument(format!(
            "the lens was not fitted at layer {number}: it has {:?}, and the last, {}, by definition.",
            self.layers(),
            n_layers - 1
        )))
    }

    fn check_width(&self, x: &Tensor) -> Result<()> {
        match x.dims().last() {
            Some(width) if *width == self.d_model => Ok(()),
            _ => Err(Error::shape("what the lens reads", format!("[.., {}] (d_model)", self.d_model), x.dims())),
        }
    }
}

impl Lens for JacobianLens {
    fn name(&self) -> String {
        "Jacobian lens".into()
    }

    fn check_model(&self, model: &HookedTransformer) -> Result<()> {
        about::check_raw(model)?;
        let cfg = model.cfg();
        if (cfg.d_model, cfg.n_layers) != (self.d_model, self.n_layers) {
            return Err(Error::argument(format!(
                "the lens is of a model of {} layers and d_model {}, and {:?} has {} and {}: give the model it was fitted on.",
                self.n_layers, self.d_model, cfg.model_name, cfg.n_layers, cfg.d_model
            )));
        }
        self.about.check(model)
    }

    fn reads(&self, at: ReadBy) -> bool {
        match at {
            ReadBy::End => true,
            ReadBy::Block(layer) => self.matrices.keys().any(|fitted| Ok(fitted + 1) == usize::try_from(layer)),
            ReadBy::Mlp(_) => false,
        }
    }

    fn carry(&self, x: &Tensor, at: ReadBy) -> Result<Tensor> {
        match at {
            // What enters a block left the one before it.
            ReadBy::Block(layer) => Ok(self.transport(x, layer - 1)?.to_dtype(x.dtype())?),
            ReadBy::End => Ok(x.clone()),
            ReadBy::Mlp(_) => Err(Error::argument(
                "the Jacobian lens has no map between attention and MLP: give a point between blocks (ReadBy::Block).",
            )),
        }
    }
}

impl fmt::Display for JacobianLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.about.name().map_or(String::new(), |name| format!(" of {}", visible(name)));
        let layers = self.layers();
        write!(f, "Jacobian lens{name}: ")?;
        match (layers.first(), layers.last()) {
            (Some(first), Some(last)) if layers.len() == last - first + 1 => write!(f, "layers {first} to {last}")?,
            _ => write!(f, "layers {layers:?}")?,
        }
        write!(f, " of {}, d_model {}", self.n_layers, self.d_model)?;
        if self.prompts > 0 {
            write!(f, ", the mean over {} prompts", self.prompts)?;
        }
        if self.skipped > 0 {
            write!(f, " ({} were too short)", self.skipped)?;
        }
        self.about.facts().iter().try_for_each(|(fact, value)| write!(f, "\n{fact}: {}", visible(value)))
    }
}

impl fmt::Debug for JacobianLens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
