//! From the product of an input with the encoder to the features that are active in it, one row at a time: what
//! [`Dictionary::encode_dense`](super::Dictionary::encode_dense) computes for all features, kept only where it is not 0.

use candle_core::{DType, Tensor};

use super::parts::{Activation, DictionaryParts};
use crate::error::Result;

/// The rule by which a dictionary's features become active, its vectors in f32.
pub(super) struct Selection {
    rule: Rule,
    /// Added to the product: `b_enc`, `b_mag` of a gated dictionary.
    offset: Vec<f32>,
    /// Multiplies pre-activations before features are chosen.
    norms: Option<Vec<f32>>,
    d_sae: usize,
}

enum Rule {
    Relu,
    Above(Vec<f32>),
    Gated { b_gate: Vec<f32>, gain: Vec<f32> },
    Largest(usize),
    LargestAbs(usize),
    Groups(usize),
}

impl Selection {
    /// The rule of a dictionary; none where features are not chosen by one product, as in matching pursuit.
    pub(super) fn of(parts: &DictionaryParts, norms: Option<&Tensor>) -> Result<Option<Self>> {
        let floats = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.to_dtype(DType::F32)?.to_vec1()?) };
        let rule = match &parts.activation {
            Activation::Relu => Rule::Relu,
            Activation::JumpRelu { threshold } => Rule::Above(floats(threshold)?),
            Activation::TopK { k } => Rule::Largest(*k),
            Activation::AbsTopK { k } => Rule::LargestAbs(*k),
            Activation::GroupMax { k } => Rule::Groups(*k),
            Activation::Gated { b_gate, r_mag, .. } => {
                Rule::Gated { b_gate: floats(b_gate)?, gain: floats(&r_mag.to_dtype(DType::F32)?.exp()?)? }
            }
            Activation::MatchingPursuit { .. } => return Ok(None),
        };
        let offset = match &parts.activation {
            Activation::Gated { b_mag, .. } => floats(b_mag)?,
            _ => floats(&parts.b_enc)?,
        };
        Ok(Some(Self { rule, d_sae: offset.len(), offset, norms: norms.map(floats).transpose()? }))
    }

    /// The active features of one row of the product, in order, with their activations.
    pub(super) fn active(&self, product: &[f32]) -> Vec<(u32, f32)> {
        let scaled = |i: usize, pre: f32| self.norms.as_ref().map_or(pre, |norms| pre * norms[i]);
        let pre = |i: usize| scaled(i, product[i] + self.offset[i]);
        let all = || (0..self.d_sae).map(|i| (i as u32, pre(i)));
        match &self.rule {
            Rule::Relu => all().filter(|(_, pre)| *pre > 0.).collect(),
            Rule::Above(thresholds) => all().filter(|(i, pre)| *pre > 0. && *pre > thresholds[*i as usize]).collect(),
            Rule::Gated { b_gate, gain } => {
                let open = (0..self.d_sae).filter(|&i| product[i] + b_gate[i] > 0.);
                let strength = open.map(|i| (i as u32, scaled(i, product[i] * gain[i] + self.offset[i])));
                strength.filter(|(_, strength)| *strength > 0.).collect()
            }
            // Those that are not above 0 would be 0 if they were chosen.
            Rule::Largest(k) => largest(all().filter(|(_, pre)| *pre > 0.).collect(), *k, |pre| pre),
            Rule::LargestAbs(k) => {
                let mut active = largest(all().collect(), *k, f32::abs);
                active.retain(|(_, pre)| *pre != 0.);
                active
            }
            Rule::Groups(k) => {
                let first_largest = |best: (u32, f32), next: (u32, f32)| if next.1 > best.1 { next } else { best };
                let group = self.d_sae / k;
                let of_group =
                    |g: usize| (g * group..(g + 1) * group).map(|i| (i as u32, pre(i))).reduce(first_largest);
                (0..*k).filter_map(of_group).filter(|(_, pre)| *pre > 0.).collect()
            }
        }
    }
}

/// The `k` with the largest keys, the first of equal ones, in order of feature.
fn largest(mut rows: Vec<(u32, f32)>, k: usize, key: impl Fn(f32) -> f32) -> Vec<(u32, f32)> {
    if k < rows.len() {
        rows.select_nth_unstable_by(k, |a, b| key(b.1).total_cmp(&key(a.1)).then(a.0.cmp(&b.0)));
        rows.truncate(k);
        // The rows of a piece are held together.
        rows.shrink_to_fit();
        rows.sort_unstable_by_key(|(feature, _)| *feature);
    }
    rows
}
