//! What is asked of resampled latents, whatever the directions are.

use candle_core::Tensor;

use super::inputs::Sae;
use crate::course::answer::Answer;
use crate::error::Result;

/// A unit vector may be this far from one: a sum of a few squares in f32.
const UNIT: f32 = 1e-4;

pub(super) fn resampled((w_enc, b_enc, w_dec, times, scale, _): &Sae, answer: &Answer) -> Result<Option<String>> {
    let [new_enc, new_b, new_dec] = &answer.parts[..] else { return Ok(Some("three tensors are wanted.".into())) };
    for (name, new, old) in [("w_enc", new_enc, w_enc), ("b_enc", new_b, b_enc), ("w_dec", new_dec, w_dec)] {
        if new.dims() != old.dims() {
            return Ok(Some(format!("{name} has the shape {:?}, and {:?} is wanted.", new.dims(), old.dims())));
        }
    }
    let rows = |of: &Tensor| -> Result<Vec<Vec<f32>>> { Ok(of.contiguous()?.to_vec2::<f32>()?) };
    let (new_columns, columns) = (rows(&new_enc.t()?)?, rows(&w_enc.t()?)?);
    let (new_rows, old_rows) = (rows(new_dec)?, rows(w_dec)?);
    let (new_biases, biases) = (new_b.to_vec1::<f32>()?, b_enc.to_vec1::<f32>()?);
    let dead: Vec<usize> = (0..times.len()).filter(|&latent| times[latent] == 0).collect();
    for latent in 0..times.len() {
        let what = if times[latent] > 0 {
            let is_kept = new_columns[latent] == columns[latent]
                && new_rows[latent] == old_rows[latent]
                && new_biases[latent] == biases[latent];
            (!is_kept).then_some("it is alive and has changed.")
        } else {
            let length = new_rows[latent].iter().map(|x| x * x).sum::<f32>().sqrt();
            let points = |(new, row): (&f32, &f32)| (new - row * *scale as f32).abs() < UNIT;
            if new_rows[latent] == old_rows[latent] {
                Some("it is dead, and its row of w_dec is the old one.")
            } else if (length - 1.).abs() > UNIT {
                Some("its new row of w_dec is not a unit vector.")
            } else if new_rows[latent].contains(&0.) {
                // Of a random direction no entry is 0 exactly.
                Some("its new row of w_dec has entries of 0: it is an axis or a plane, and no random direction.")
            } else if !new_columns[latent].iter().zip(&new_rows[latent]).all(points) {
                Some("its column of w_enc is not scale times its new row of w_dec.")
            } else if new_biases[latent] != 0. {
                Some("it is dead, and its entry of b_enc is not 0.")
            } else if dead.iter().any(|&other| other < latent && new_rows[other] == new_rows[latent]) {
                Some("its direction is that of another dead latent. Draw one for each.")
            } else {
                None
            }
        };
        if let Some(what) = what {
            return Ok(Some(format!("latent {latent}, active {} times: {what}", times[latent])));
        }
    }
    Ok(None)
}
