//! Edits of activations where dictionaries decode them: `a` becomes `m a + c`, all features of a dictionary at once.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::list::Action;
use super::places::Place;
use crate::error::Result;

/// What becomes of the activations of one dictionary.
#[derive(Clone)]
pub(super) struct ValueEdits {
    /// Factor and shift of a prompt, position and feature.
    entries: BTreeMap<(usize, usize, usize), (f32, f32)>,
    /// What plans call them.
    pub name: String,
}

impl ValueEdits {
    /// The edits of one dictionary's activations; none where there are none.
    pub(super) fn of(places: &[Place], dictionary: usize) -> Option<Self> {
        let mut entries: BTreeMap<(usize, usize, usize), (f32, f32)> = BTreeMap::new();
        let mut texts = Vec::new();
        for place in places.iter().filter(|place| place.dictionary == dictionary) {
            let Action::Value { factor, shift } = place.edit.action else { continue };
            for &(prompt, pos) in &place.rows {
                let (m, c) = entries.entry((prompt, pos, place.feature)).or_insert((1.0, 0.0));
                (*m, *c) = (factor * *m, factor * *c + shift);
            }
            texts.push(place.edit.to_string());
        }
        let name = match texts.len() {
            0 => return None,
            1..=3 => texts.join("; "),
            edits => format!("{edits} edits of features, the first: {}", texts[0]),
        };
        Some(Self { entries, name })
    }

    /// # Shapes
    /// `acts [batch, pos, d_sae]` gives the same.
    pub(super) fn apply(&self, acts: &Tensor) -> Result<Tensor> {
        let (_, pos, d_sae) = acts.dims3()?;
        let (mut factors, mut shifts) = (vec![1f32; acts.elem_count()], vec![0f32; acts.elem_count()]);
        for (&(prompt, place, feature), &(factor, shift)) in &self.entries {
            let index = (prompt * pos + place) * d_sae + feature;
            (factors[index], shifts[index]) = (factor, shift);
        }
        let like = |numbers: Vec<f32>| -> Result<Tensor> {
            Ok(Tensor::from_vec(numbers, acts.shape(), acts.device())?.to_dtype(acts.dtype())?)
        };
        Ok(((acts * like(factors)?)? + like(shifts)?)?)
    }
}

/// The activation at one place.
///
/// # Shapes
/// `acts [batch, pos, d_sae]`.
pub(super) fn activation(acts: &Tensor, (prompt, pos): (usize, usize), feature: usize) -> Result<f32> {
    Ok(acts.get(prompt)?.get(pos)?.get(feature)?.to_dtype(DType::F32)?.to_scalar()?)
}
