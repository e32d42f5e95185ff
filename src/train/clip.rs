//! Gradients whose norm is bounded.

use crate::error::{Error, Result};

/// Scales gradients so that their norm, taken over all of them together, is at most `most`; returns what it was. As PyTorch's
/// `torch.nn.utils.clip_grad_norm_` (Pascanu et al. 2013, arXiv 1211.5063), which divides by the norm plus 1e-6.
///
/// ```
/// use candle_lens::prelude::*;
/// let (mut a, mut b) = (vec![3f32, 0.], vec![4f32]);
/// let norm = clip_gradients([&mut a[..], &mut b[..]], 1.)?;
/// assert_eq!(norm, 5.);
/// assert!((a[0] - 0.6).abs() < 1e-6 && (b[0] - 0.8).abs() < 1e-6);
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] for a bound that is not above 0, and gradients whose norm is not finite; nothing has changed then.
pub fn clip_gradients<'a>(gradients: impl IntoIterator<Item = &'a mut [f32]>, most: f64) -> Result<f64> {
    if !(most.is_finite() && most > 0.) {
        return Err(Error::argument(format!("gradients cannot be clipped to the norm {most}: give one above 0.")));
    }
    let mut gradients: Vec<&mut [f32]> = gradients.into_iter().collect();
    let squares = gradients.iter().flat_map(|gradient| gradient.iter()).map(|&g| f64::from(g) * f64::from(g));
    let norm = squares.sum::<f64>().sqrt();
    if !norm.is_finite() {
        return Err(Error::argument(
            "the norm of the gradients is not finite: training has diverged. Lower the learning rate, or warm up longer.",
        ));
    }
    let factor = most / (norm + 1e-6);
    if factor < 1. {
        for g in gradients.iter_mut().flat_map(|gradient| gradient.iter_mut()) {
            *g *= factor as f32;
        }
    }
    Ok(norm)
}
