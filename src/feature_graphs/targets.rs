//! What a graph explains: directions of what the unembedding reads.

use candle_core::{D, DType, Tensor};

use super::options::GraphTargets;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::visible::visible;
use crate::wide;

/// What is explained.
pub(super) struct Targets {
    pub names: Vec<String>,
    /// What is the logit of a token.
    tokens: Vec<Option<u32>>,
    /// Each `[d_model]`.
    pub directions: Vec<Tensor>,
    pub biases: Vec<f32>,
    /// Probabilities of tokens, otherwise 1.
    pub weights: Vec<f64>,
    /// By the run.
    pub values: Vec<f32>,
}

impl Targets {
    /// # Shapes
    /// `logits [1, pos, d_vocab_out]`; `last [d_model]` is what the unembedding reads at the last position.
    ///
    /// # Errors
    /// Targets that the model does not have.
    pub(super) fn new(
        model: &HookedTransformer,
        logits: &Tensor,
        last: &Tensor,
        targets: &GraphTargets,
    ) -> Result<Self> {
        let mut chosen = Self::chosen(model, logits, targets)?;
        for (direction, bias) in chosen.directions.iter().zip(&chosen.biases) {
            chosen.values.push((direction * last)?.sum_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()? + bias);
        }
        Ok(chosen)
    }

    /// A number for each, all of them different: the token's id, or one behind the vocabulary.
    pub(super) fn ids(&self, d_vocab: usize) -> Vec<usize> {
        let mut ids: Vec<usize> = Vec::with_capacity(self.tokens.len());
        for (number, token) in self.tokens.iter().enumerate() {
            let own = token.map(|id| id as usize).filter(|id| !ids.contains(id));
            ids.push(own.unwrap_or(d_vocab + number));
        }
        ids
    }

    fn chosen(model: &HookedTransformer, logits: &Tensor, targets: &GraphTargets) -> Result<Self> {
        let last = wide::widened(&logits.get(0)?)?;
        let last = last.get(last.dim(0)? - 1)?;
        let probabilities = candle_nn::ops::softmax(&last, D::Minus1)?.to_dtype(DType::F32)?.to_vec1::<f32>()?;
        match targets {
            GraphTargets::Top { most, probability } => {
                let mut order: Vec<u32> = (0..probabilities.len() as u32).collect();
                order.sort_by(|&a, &b| probabilities[b as usize].total_cmp(&probabilities[a as usize]));
                let mut sum = 0.0;
                let enough = |id: &u32| {
                    let before = sum;
                    sum += f64::from(probabilities[*id as usize]);
                    before < *probability
                };
                let chosen: Vec<u32> = order.into_iter().take(*most).take_while(enough).collect();
                Self::tokens(model, chosen, &probabilities)
            }
            GraphTargets::Tokens(tokens) => Self::tokens(model, model.token_ids(tokens.clone())?, &probabilities),
            GraphTargets::Difference(correct, incorrect) => {
                let [correct, incorrect] = model.token_ids([correct.clone(), incorrect.clone()])?[..] else {
                    return Err(Error::argument("a difference is between two tokens."));
                };
                let (own, other) = (direction(model, correct)?, direction(model, incorrect)?);
                Ok(Self {
                    names: vec![format!("{} - {}", model.piece(correct), model.piece(incorrect))],
                    tokens: vec![None],
                    directions: vec![(own.0 - other.0)?],
                    biases: vec![own.1 - other.1],
                    weights: vec![1.0],
                    values: Vec::new(),
                })
            }
            GraphTargets::Direction { name, direction } => {
                let d_model = model.cfg().d_model;
                if direction.dims() != [d_model] {
                    let what = format!("the direction \"{}\"", visible(name));
                    return Err(Error::shape(what, format!("[{d_model}]"), direction.dims()));
                }
                Ok(Self {
                    names: vec![name.clone()],
                    tokens: vec![None],
                    directions: vec![wide::widened(direction)?],
                    biases: vec![0.0],
                    weights: vec![1.0],
                    values: Vec::new(),
                })
            }
        }
    }

    /// Each logit less the mean of all.
    fn tokens(model: &HookedTransformer, ids: Vec<u32>, probabilities: &[f32]) -> Result<Self> {
        if ids.is_empty() {
            return Err(Error::argument("a graph without targets explains nothing: give at least one token."));
        }
        let w_u = wide::widened(&model.W_U())?;
        let mean = w_u.mean(1)?;
        let biases = wide::widened(&model.b_U())?;
        let bias = biases.mean_all()?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
        let parts = ids.iter().map(|&id| direction(model, id)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            names: ids.iter().map(|&id| model.piece(id)).collect(),
            tokens: ids.iter().copied().map(Some).collect(),
            directions: parts.iter().map(|(own, _)| Ok((own - &mean)?)).collect::<Result<_>>()?,
            biases: parts.iter().map(|(_, own)| own - bias).collect(),
            weights: ids.iter().map(|&id| f64::from(probabilities[id as usize])).collect(),
            values: Vec::new(),
        })
    }
}

/// The column of the unembedding for a token, and its bias.
fn direction(model: &HookedTransformer, id: u32) -> Result<(Tensor, f32)> {
    let column = wide::widened(&model.tokens_to_residual_directions([id])?.squeeze(0)?)?;
    let bias = model.b_U().get(id as usize)?.to_dtype(DType::F32)?.to_scalar::<f32>()?;
    Ok((column, bias))
}
