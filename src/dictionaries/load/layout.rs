//! How the tensors of a file become a dictionary: their names, which way matrices lie, what the activation needs. Shapes are checked
//! when the file is opened, and numbers are read last.

use std::rc::Rc;

use candle_core::{DType, Tensor};

use super::unread::Opened;
use super::weights::Weights;
use crate::dictionaries::architecture::Architecture;
use crate::dictionaries::expects::Expects;
use crate::dictionaries::input::InputNorm;
use crate::dictionaries::parts::{Activation, DictionaryParts};
use crate::error::Result;

/// A tensor's name, and which way it lies.
#[derive(Clone)]
pub(super) enum Matrix {
    /// As the parts have it: `W_enc [d_in, d_sae]`, `W_dec [d_sae, d_out]`, `W_skip [d_in, d_out]`.
    As(String),
    /// Its axes the other way round.
    Turned(String),
}

impl Matrix {
    fn name(&self) -> &str {
        match self {
            Self::As(name) | Self::Turned(name) => name,
        }
    }

    /// The shape in the file of one that has this shape among the parts.
    fn lies(&self, shape: [usize; 2]) -> [usize; 2] {
        match self {
            Self::As(_) => shape,
            Self::Turned(_) => [shape[1], shape[0]],
        }
    }

    /// The tensor with its axes in order; one that is turned is a view, so that it is in memory once.
    fn take(&self, weights: &Weights) -> Result<Tensor> {
        let tensor = weights.take(self.name())?;
        match self {
            Self::As(_) => Ok(tensor),
            Self::Turned(_) => Ok(tensor.t()?),
        }
    }
}

/// The activation function, with the names of its tensors.
#[derive(Clone)]
pub(super) enum Active {
    Relu,
    TopK(usize),
    AbsTopK(usize),
    GroupMax(usize),
    /// A tensor of a threshold for each feature, which are at least 0 where negative ones would mean something else in the
    /// library that wrote them.
    JumpRelu {
        threshold: String,
        from_zero: bool,
    },
    /// A tensor of one threshold for all.
    OneThreshold(String),
    Gated {
        b_gate: &'static str,
        b_mag: &'static str,
        r_mag: &'static str,
    },
}

/// The tensors of a dictionary.
#[derive(Clone)]
pub(super) struct Layout {
    pub name: String,
    pub expects: Expects,
    pub w_enc: Matrix,
    /// None for a gated dictionary.
    pub b_enc: Option<String>,
    pub w_dec: Matrix,
    pub b_dec: String,
    pub b_in: Option<String>,
    pub w_skip: Option<Matrix>,
    pub active: Active,
    pub input_norm: InputNorm,
    pub scaled_by_decoder_norm: bool,
    /// Tensors of the file that no part is made of.
    pub unused: &'static [&'static str],
    /// How many layers a cross-layer transcoder writes.
    pub writes: Option<usize>,
}

/// What the configuration says about sizes, where it does.
#[derive(Clone, Copy, Default)]
pub(super) struct Said {
    pub d_in: Option<usize>,
    pub d_sae: Option<usize>,
}

impl Layout {
    /// An autoencoder with ReLU whose tensors are called as here, and lie so.
    pub(super) fn plain(name: String, expects: Expects) -> Self {
        Self {
            name,
            expects,
            w_enc: Matrix::As("W_enc".into()),
            b_enc: Some("b_enc".into()),
            w_dec: Matrix::As("W_dec".into()),
            b_dec: "b_dec".into(),
            b_in: None,
            w_skip: None,
            active: Active::Relu,
            input_norm: InputNorm::None,
            scaled_by_decoder_norm: false,
            unused: &[],
            writes: None,
        }
    }

    /// As [`Layout::plain`] with the names and shapes of `torch.nn.Linear`, `[out, in]`.
    pub(super) fn of_linears(name: String, expects: Expects) -> Self {
        Self {
            w_enc: Matrix::Turned("encoder.weight".into()),
            b_enc: Some("encoder.bias".into()),
            w_dec: Matrix::Turned("decoder.weight".into()),
            ..Self::plain(name, expects)
        }
    }

    /// The dictionary in a file whose header was read; `decoder` is the file of `W_dec` where that is another one.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) for shapes that disagree with each other or with what was said of them.
    pub(super) fn opened(self, weights: Weights, decoder: Option<Weights>, said: Said) -> Result<Opened> {
        let [rows, columns] = weights.dims::<2>(self.w_enc.name(), "two axes, features and what they read,")?;
        let [d_in, d_sae] = self.w_enc.lies([rows, columns]);
        let [d_out] = weights.dims::<1>(&self.b_dec, "one axis")?;
        for (what, said, got) in [("inputs", said.d_in, d_in), ("features", said.d_sae, d_sae)] {
            if let Some(said) = said.filter(|said| *said != got) {
                return Err(weights
                    .wrong(format!("its configuration says that it has {said} {what}, and its tensors have {got}")));
            }
        }
        self.check_k(&weights, d_sae)?;
        let of_decoder = decoder.as_ref().unwrap_or(&weights);
        let shape = match self.writes {
            Some(writes) => vec![d_sae, writes, d_out],
            None => self.w_dec.lies([d_sae, d_out]).to_vec(),
        };
        of_decoder.expect(self.w_dec.name(), &shape)?;
        let vectors = self.vectors(d_in, d_sae);
        for (name, shape) in &vectors {
            weights.expect(name, shape)?;
        }
        let mut known: Vec<&str> = vectors.iter().map(|(name, _)| name.as_str()).collect();
        known.extend([self.w_enc.name(), self.b_dec.as_str()]);
        known.extend(self.unused);
        match &decoder {
            Some(decoder) => decoder.only(&[self.w_dec.name()])?,
            None => known.push(self.w_dec.name()),
        }
        if let Some(w_skip) = &self.w_skip {
            weights.expect(w_skip.name(), &w_skip.lies([d_in, d_out]))?;
            known.push(w_skip.name());
        }
        weights.only(&known)?;
        for name in vectors.iter().map(|(name, _)| name.as_str()).chain([self.w_enc.name(), &self.b_dec]) {
            weights.dtype(name)?;
        }
        let dtype = of_decoder.dtype(self.w_dec.name())?;
        let bytes = weights.bytes() + decoder.as_ref().map_or(0, Weights::bytes);
        let (architecture, weights) = (self.architecture(), Rc::new(weights));
        let read = Box::new(move || self.parts(&weights, decoder.as_ref(), d_sae));
        Ok(Opened { architecture, d_in, d_sae, d_out, dtype, bytes, read })
    }

    /// The tensors of one axis but `b_dec`, with their shapes.
    fn vectors(&self, d_in: usize, d_sae: usize) -> Vec<(String, Vec<usize>)> {
        let mut all: Vec<(String, Vec<usize>)> = Vec::new();
        all.extend(self.b_enc.iter().map(|name| (name.clone(), vec![d_sae])));
        all.extend(self.b_in.iter().map(|name| (name.clone(), vec![d_in])));
        match &self.active {
            Active::JumpRelu { threshold, .. } => all.push((threshold.clone(), vec![d_sae])),
            Active::OneThreshold(name) => all.push((name.clone(), vec![])),
            Active::Gated { b_gate, b_mag, r_mag } => {
                all.extend([b_gate, b_mag, r_mag].map(|name| (name.to_string(), vec![d_sae])));
            }
            Active::Relu | Active::TopK(_) | Active::AbsTopK(_) | Active::GroupMax(_) => (),
        }
        all
    }

    fn check_k(&self, weights: &Weights, d_sae: usize) -> Result<()> {
        let (Active::TopK(k) | Active::AbsTopK(k) | Active::GroupMax(k)) = self.active else { return Ok(()) };
        if k == 0 || k > d_sae {
            return Err(weights.wrong(format!("its configuration keeps {k} features, and it has {d_sae}")));
        }
        if matches!(self.active, Active::GroupMax(_)) && !d_sae.is_multiple_of(k) {
            return Err(weights.wrong(format!("its {d_sae} features are not {k} groups of the same size")));
        }
        Ok(())
    }

    fn architecture(&self) -> Architecture {
        if self.writes.is_some() {
            return Architecture::CrossLayerTranscoder;
        }
        match (&self.w_skip, self.expects.is_transcoder(), &self.active) {
            (Some(_), ..) => Architecture::SkipTranscoder,
            (_, true, _) => Architecture::Transcoder,
            (.., Active::Relu) => Architecture::Standard,
            (.., Active::TopK(_)) => Architecture::TopK,
            (.., Active::AbsTopK(_)) => Architecture::AbsTopK,
            (.., Active::GroupMax(_)) => Architecture::GroupMax,
            (.., Active::JumpRelu { .. } | Active::OneThreshold(_)) => Architecture::JumpRelu,
            (.., Active::Gated { .. }) => Architecture::Gated,
        }
    }

    fn parts(&self, weights: &Weights, decoder: Option<&Weights>, d_sae: usize) -> Result<DictionaryParts> {
        let w_dec = self.w_dec.take(decoder.unwrap_or(weights))?;
        let b_enc = match &self.b_enc {
            Some(name) => weights.take(name)?,
            None => Tensor::zeros(d_sae, w_dec.dtype(), w_dec.device())?,
        };
        Ok(DictionaryParts {
            name: self.name.clone(),
            w_enc: self.w_enc.take(weights)?,
            b_enc,
            w_dec,
            b_dec: weights.take(&self.b_dec)?,
            b_in: self.b_in.as_ref().map(|name| weights.take(name)).transpose()?,
            w_skip: self.w_skip.as_ref().map(|w_skip| w_skip.take(weights)).transpose()?,
            activation: self.activation(weights, d_sae)?,
            input_norm: self.input_norm,
            scaled_by_decoder_norm: self.scaled_by_decoder_norm,
            expects: self.expects.clone(),
        })
    }

    fn activation(&self, weights: &Weights, d_sae: usize) -> Result<Activation> {
        Ok(match &self.active {
            Active::Relu => Activation::Relu,
            Active::TopK(k) => Activation::TopK { k: *k },
            Active::AbsTopK(k) => Activation::AbsTopK { k: *k },
            Active::GroupMax(k) => Activation::GroupMax { k: *k },
            Active::JumpRelu { threshold, from_zero } => {
                let tensor = weights.take(threshold)?;
                if *from_zero && tensor.to_dtype(DType::F32)?.to_vec1::<f32>()?.iter().any(|theta| *theta < 0.0) {
                    return Err(weights.wrong(format!(
                        "its {threshold} has numbers below 0, with which circuit-tracer gives features negative activations, and \
                         JumpReLU as it is published and computed here gives none"
                    )));
                }
                Activation::JumpRelu { threshold: tensor }
            }
            Active::OneThreshold(name) => {
                Activation::JumpRelu { threshold: weights.take(name)?.broadcast_as(d_sae)?.contiguous()? }
            }
            Active::Gated { b_gate, b_mag, r_mag } => Activation::Gated {
                b_gate: weights.take(b_gate)?,
                b_mag: weights.take(b_mag)?,
                r_mag: weights.take(r_mag)?,
            },
        })
    }
}
