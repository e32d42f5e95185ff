//! That the parts of a dictionary belong together.

use candle_core::Tensor;

use super::parts::{Activation, DictionaryParts};
use crate::error::{Error, Result};
use crate::visible::visible;

/// How many features matching pursuit adds at most, far more than any that was trained.
const MOST_ITERATIONS: usize = 1 << 16;

/// # Errors
/// [`Error::Argument`] or [`Error::Shape`] for parts that do not belong together.
pub(super) fn check(parts: &DictionaryParts) -> Result<()> {
    let name = visible(&parts.name).to_string();
    let refused = |why: String| Err(Error::argument(format!("the dictionary \"{name}\" {why}")));
    let [d_in, d_sae] = *parts.w_enc.dims() else { return wrong(&name, "W_enc", "[d_in, d_sae]", &parts.w_enc) };
    if d_in == 0 || d_sae == 0 {
        return refused(format!("has no features or no inputs: W_enc is {:?}.", parts.w_enc.dims()));
    }
    let [d_out] = *parts.b_dec.dims() else { return wrong(&name, "b_dec", "[d_out]", &parts.b_dec) };
    match *parts.w_dec.dims() {
        [f, d] if (f, d) == (d_sae, d_out) => (),
        [f, writes, d] if writes > 0 && (f, d) == (d_sae, d_out) => (),
        _ => {
            return wrong(
                &name,
                "W_dec",
                &format!("[{d_sae}, {d_out}], or [{d_sae}, n_writes, {d_out}]"),
                &parts.w_dec,
            );
        }
    }
    let mut vectors = vec![("b_enc", &parts.b_enc, d_sae)];
    vectors.extend(parts.b_in.iter().map(|b| ("b_in", b, d_in)));
    match &parts.activation {
        Activation::JumpRelu { threshold } => vectors.push(("threshold", threshold, d_sae)),
        Activation::Gated { b_gate, b_mag, r_mag } => {
            vectors.extend([("b_gate", b_gate, d_sae), ("b_mag", b_mag, d_sae), ("r_mag", r_mag, d_sae)]);
        }
        Activation::TopK { k } | Activation::AbsTopK { k } | Activation::GroupMax { k } => {
            if *k == 0 || *k > d_sae {
                return refused(format!("keeps {k} features of {d_sae} at each position: k is from 1 to {d_sae}."));
            }
            if matches!(parts.activation, Activation::GroupMax { .. }) && d_sae % k != 0 {
                return refused(format!("has {d_sae} features, which are not {k} groups of the same size."));
            }
        }
        Activation::MatchingPursuit { max_iterations: 0, .. } => {
            return refused("adds no feature at all: max_iterations is at least 1.".into());
        }
        Activation::MatchingPursuit { max_iterations, .. } if *max_iterations > MOST_ITERATIONS => {
            return refused(format!(
                "adds up to {max_iterations} features: max_iterations is at most {MOST_ITERATIONS}."
            ));
        }
        Activation::Relu | Activation::MatchingPursuit { .. } => (),
    }
    for (part, tensor, size) in vectors {
        if tensor.dims() != [size] {
            return wrong(&name, part, &format!("[{size}]"), tensor);
        }
    }
    if let Some(w_skip) = parts.w_skip.as_ref().filter(|w| w.dims() != [d_in, d_out]) {
        return wrong(&name, "W_skip", &format!("[{d_in}, {d_out}]"), w_skip);
    }
    finite(&name, parts)
}

fn wrong(name: &str, part: &str, expected: &str, tensor: &Tensor) -> Result<()> {
    Err(Error::shape(format!("{part} of the dictionary \"{name}\""), expected, tensor.dims()))
}

/// How many numbers are added up at once, so that half precision is not widened as a whole.
const PIECE: usize = 1 << 20;

/// # Errors
/// [`Error::Argument`] for a part with numbers that are infinite or not numbers.
fn finite(name: &str, parts: &DictionaryParts) -> Result<()> {
    for (part, tensor) in parts.clone().tensors() {
        // A matrix that is a view of its transpose is added up as it lies in memory.
        let tensor = if tensor.rank() == 2 && !tensor.is_contiguous() { tensor.t()? } else { tensor.clone() };
        let flat = tensor.flatten_all()?;
        for start in (0..flat.elem_count()).step_by(PIECE) {
            let piece = flat.narrow(0, start, PIECE.min(flat.elem_count() - start))?;
            // Finite numbers may have a sum that is not; 0 times them has.
            let sum = |numbers: Tensor| -> Result<f32> {
                Ok(numbers.sum_all()?.to_dtype(candle_core::DType::F32)?.to_scalar::<f32>()?)
            };
            let piece = crate::wide::widened(&piece)?;
            if !sum(piece.clone())?.is_finite() && !sum((piece * 0.0)?)?.is_finite() {
                return Err(Error::argument(format!(
                    "the dictionary \"{name}\" has numbers in {part} that are not finite: the file is damaged, or training diverged."
                )));
            }
        }
    }
    Ok(())
}
