//! Distributed alignment search: the basis with which interchanges have the predicted answers.
//!
//! `B = q(A)`, the orthonormal factor of `A = q r` with a positive diagonal of `r`, minimises the mean cross-entropy of the predicted answers
//! among those that are compared, by Adam on `A`; the model is frozen. `A` begins orthonormal.
//!
//! Reference: Geiger et al. 2024 (arXiv 2303.02536).

use candle_core::{DType, Var};

use super::options::DasOptions;
use super::orthonormal::orthonormal;
use super::place::{Move, Place};
use super::subspace::Subspace;
use crate::error::{Error, Result};
use crate::hooks::check_free;
use crate::model::ops::cross_entropy;
use crate::progress::Progress;
use crate::random::Random;
use crate::train::{AdamW, AdamWOptions};

/// The subspace that was learnt, and the mean loss of each epoch.
pub(super) fn learn(place: &Place, targets: &[u32], options: &DasOptions) -> Result<(Subspace, Vec<f64>)> {
    if place.model.dtype() != DType::F32 {
        return Err(Error::argument(format!(
            "a subspace is learnt in f32, but this model's numbers are {:?}: load it with `dtype: DType::F32`.",
            place.model.dtype()
        )));
    }
    check_memory(place, options.batch_size.min(targets.len()))?;
    let start = match &options.start {
        Some(start) => start.clone(),
        None => Subspace::random(place.width, options.rank, options.seed)?,
    };
    let a = Var::from_tensor(&start.basis().to_device(&place.model.device())?)?;
    let mut adam = AdamW::new(AdamWOptions { weight_decay: 0., ..Default::default() });
    let mut random = Random::new(options.seed.wrapping_add(1));
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let steps = options.epochs * order.len().div_ceil(options.batch_size);
    let mut progress = Progress::of("learning a subspace", steps as u64, "steps");
    let mut losses = Vec::new();
    for _ in 0..options.epochs {
        random.shuffle(&mut order);
        let mut sum = 0.;
        for batch in order.chunks(options.batch_size) {
            let to = Move::Along { basis: orthonormal(a.as_tensor())?, strength: place.pairs.strength };
            let own: Vec<u32> = batch.iter().map(|&pair| targets[pair]).collect();
            let loss = cross_entropy(&place.logits(&to, Some(batch))?, &own)?.mean_all()?;
            let now = loss.to_scalar::<f32>()?;
            if !now.is_finite() {
                return Err(Error::argument(format!(
                    "the loss is {now} in epoch {}: give a smaller learning rate than {}.",
                    losses.len(),
                    options.learning_rate
                )));
            }
            sum += f64::from(now) * batch.len() as f64;
            adam.step_vars(options.learning_rate, [&a], &loss.backward()?)?;
            progress.step(1)?;
        }
        losses.push(sum / order.len() as f64);
    }
    let learnt = Subspace::new(&orthonormal(&a.as_tensor().detach())?).map_err(|error| {
        let why = error.sentence();
        Error::argument(format!(
            "what was learnt is not a subspace: {why} Give a smaller learning rate than {}.",
            options.learning_rate
        ))
    })?;
    Ok((learnt.named(format!("DAS of rank {} at {}", options.rank, place.point)), losses))
}

/// A step keeps what each block behind the point computed for the backward pass.
fn check_memory(place: &Place, together: usize) -> Result<()> {
    let (dims, pos) = (place.model.dims(), place.pairs.base.pos());
    let of_token = 16 * dims.d_model + 4 * dims.n_heads * dims.d_head + 4 * dims.d_mlp + 6 * dims.n_heads * pos;
    let blocks = dims.n_layers - place.point.layer().unwrap_or(0);
    let bytes = 4 * (together * pos) as u64 * (blocks * of_token) as u64;
    let what = format!("learning a subspace in steps of {together} pairs");
    check_free(bytes, &what, "give a smaller batch_size, or shorter prompts")
}
