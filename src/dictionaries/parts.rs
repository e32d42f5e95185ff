//! The parts of a dictionary: what every format is read into, and what training makes.

use candle_core::Tensor;

use super::expects::Expects;
use super::input::InputNorm;
use crate::error::{Error, Result};
use crate::variables::{Held, Holds, holds};

/// How pre-activations become the activations of features.
#[derive(Clone, Debug)]
pub enum Activation {
    /// `max(pre, 0)`.
    Relu,
    /// `max(pre, 0)` where `pre > threshold`, otherwise 0: JumpReLU, and what batch top-k and Matryoshka dictionaries are once
    /// they are trained.
    JumpRelu {
        /// `[d_sae]`.
        threshold: Tensor,
    },
    /// The `k` largest pre-activations of a position, those below 0 as 0.
    TopK {
        /// How many features may be active at a position.
        k: usize,
    },
    /// The `k` pre-activations of a position with the largest absolute values, with their signs.
    AbsTopK {
        /// How many features are active at a position.
        k: usize,
    },
    /// Features in `k` groups of neighbours; of each group the largest pre-activation, those below 0 as 0.
    GroupMax {
        /// How many groups there are.
        k: usize,
    },
    /// `max(u exp(r_mag) + b_mag, 0)` where `u + b_gate > 0`, with `u = (s(x) - b_in) W_enc`; `b_enc` is not used.
    Gated {
        /// `[d_sae]`.
        b_gate: Tensor,
        /// `[d_sae]`.
        b_mag: Tensor,
        /// `[d_sae]`.
        r_mag: Tensor,
    },
    /// Matching pursuit (Costa et al. 2025, arXiv 2506.03093): the feature whose decoder row has the largest product with what
    /// remains of the input is added until little enough remains. `w_enc` is not used.
    MatchingPursuit {
        /// How many times a feature is added at most.
        max_iterations: usize,
        /// It stops once the norm of what remains is below this.
        residual_threshold: f64,
        /// It stops once a feature is chosen that is active already.
        stop_on_duplicate_support: bool,
    },
}

/// The weights of a dictionary with all that they need to be read correctly: [`Dictionary::new`](super::Dictionary::new) checks
/// them.
///
/// # Shapes
/// As given for each; `d_in` and `d_out` are `d_model`, or `n_heads d_head` at `hook_z`.
#[derive(Clone, Debug)]
pub struct DictionaryParts {
    /// What messages and figures call it.
    pub name: String,
    /// `[d_in, d_sae]`.
    pub w_enc: Tensor,
    /// `[d_sae]`.
    pub b_enc: Tensor,
    /// `[d_sae, d_out]`; of a layer of a cross-layer transcoder `[d_sae, n_writes, d_out]`, for its own layer and those behind it.
    pub w_dec: Tensor,
    /// `[d_out]`.
    pub b_dec: Tensor,
    /// `[d_in]`, subtracted from the (normalised) input: `b_dec` in most autoencoders, nothing in most transcoders.
    pub b_in: Option<Tensor>,
    /// `[d_in, d_out]`: a skip transcoder adds `x W_skip`.
    pub w_skip: Option<Tensor>,
    /// How pre-activations become activations.
    pub activation: Activation,
    /// What is done to the input before anything else, and undone at the end.
    pub input_norm: InputNorm,
    /// Pre-activations are multiplied by the norms of the decoder's rows before features are chosen, and reported so; decoding divides
    /// by them.
    pub scaled_by_decoder_norm: bool,
    /// The model it belongs to.
    pub expects: Expects,
}

holds! {
    DictionaryParts { name, w_enc, b_enc, w_dec, b_dec, b_in, w_skip, activation }
}

impl Holds for Activation {
    fn holds(&self, held: &mut Held) {
        match self {
            Self::JumpRelu { threshold } => held.add(threshold),
            Self::Gated { b_gate, b_mag, r_mag } => [b_gate, b_mag, r_mag].into_iter().for_each(|part| held.add(part)),
            _ => {}
        }
    }
}

impl DictionaryParts {
    /// Every tensor with the name that it has in messages.
    pub(super) fn tensors(&mut self) -> Vec<(&'static str, &mut Tensor)> {
        let mut all = vec![
            ("W_enc", &mut self.w_enc),
            ("b_enc", &mut self.b_enc),
            ("W_dec", &mut self.w_dec),
            ("b_dec", &mut self.b_dec),
        ];
        all.extend(self.b_in.as_mut().map(|b| ("b_in", b)));
        all.extend(self.w_skip.as_mut().map(|w| ("W_skip", w)));
        match &mut self.activation {
            Activation::JumpRelu { threshold } => all.push(("threshold", threshold)),
            Activation::Gated { b_gate, b_mag, r_mag } => {
                all.extend([("b_gate", b_gate), ("b_mag", b_mag), ("r_mag", r_mag)]);
            }
            _ => (),
        }
        all
    }

    /// Makes a dictionary of inputs that were multiplied by `factor` one of inputs as they are: `W_enc` is multiplied by it, `W_dec` and
    /// the biases of inputs and outputs are divided by it.
    ///
    /// # Errors
    /// [`Error::Argument`] for a factor that is not above 0, or a dictionary of which it cannot be said so.
    pub(super) fn fold_factor(&mut self, factor: f64) -> Result<()> {
        let refused = |why: &str| Err(Error::argument(format!("norm_factor is {factor}, but {why}: leave it out.")));
        if !(factor.is_finite() && factor > 0.0) {
            return refused("it is a number above 0");
        }
        if factor == 1.0 {
            return Ok(());
        }
        if self.input_norm != InputNorm::None || self.expects.is_transcoder() || self.w_skip.is_some() {
            return refused(
                "the dictionary normalises its input in another way, or writes another point than it reads",
            );
        }
        let times = |tensor: &Tensor, by: f64| -> Result<Tensor> {
            Ok((crate::wide::widened(tensor)? * by)?.to_dtype(tensor.dtype())?)
        };
        if let Activation::MatchingPursuit { residual_threshold, .. } = &mut self.activation {
            // Its encoder is its decoder, whose rows keep their length; the threshold is on the scale of the input.
            *residual_threshold /= factor;
        } else {
            self.w_enc = times(&self.w_enc, factor)?;
            self.w_dec = times(&self.w_dec, factor.recip())?;
        }
        self.b_dec = times(&self.b_dec, factor.recip())?;
        self.b_in = self.b_in.as_ref().map(|b| times(b, factor.recip())).transpose()?;
        Ok(())
    }

    /// Replaces every tensor.
    ///
    /// # Errors
    /// The first of `change`.
    pub(super) fn each(&mut self, change: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        self.tensors().into_iter().try_for_each(|(_, tensor)| {
            *tensor = change(tensor)?;
            Ok(())
        })
    }
}
