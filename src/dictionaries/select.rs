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
            Rule::Relu => self.above(product, |_, pre| pre > 0.),
            Rule::Above(thresholds) => self.above(product, |i, pre| (pre > 0.) & (pre > thresholds[i])),
            Rule::Gated { b_gate, gain } => {
                let open = (0..self.d_sae).filter(|&i| product[i] + b_gate[i] > 0.);
                let strength = open.map(|i| (i as u32, scaled(i, product[i] * gain[i] + self.offset[i])));
                strength.filter(|(_, strength)| *strength > 0.).collect()
            }
            Rule::Largest(k) => self.largest_above_0(product, *k),
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

    /// Gives `work` the pre-activations, a few at a time and in order, each few with the place of the first. Loops over all
    /// numbers are plain ones, here and below: an iterator's methods are not always compiled into the loop that calls them.
    fn by_pieces(&self, product: &[f32], mut work: impl FnMut(usize, &[f32])) {
        let mut piece = [0.; PIECE];
        for first in (0..self.d_sae).step_by(PIECE) {
            let count = PIECE.min(self.d_sae - first);
            let (piece, product) = (&mut piece[..count], &product[first..first + count]);
            let offset = &self.offset[first..first + count];
            for i in 0..count {
                piece[i] = product[i] + offset[i];
            }
            if let Some(norms) = &self.norms {
                let norms = &norms[first..first + count];
                for i in 0..count {
                    piece[i] *= norms[i];
                }
            }
            work(first, piece);
        }
    }

    /// The features that pass, of which few do: all of a piece are tried before one is looked at.
    fn above(&self, product: &[f32], passes: impl Fn(usize, f32) -> bool) -> Vec<(u32, f32)> {
        let mut active = Vec::new();
        self.by_pieces(product, |first, piece| {
            let (mut any, mut place) = (false, first);
            for &pre in piece {
                any |= passes(place, pre);
                place += 1;
            }
            if any {
                let all = piece.iter().enumerate().map(|(i, &pre)| (first + i, pre));
                active.extend(all.filter(|&(i, pre)| passes(i, pre)).map(|(i, pre)| (i as u32, pre)));
            }
        });
        active
    }

    /// The `k` largest of those above 0: others would be 0 if they were chosen.
    fn largest_above_0(&self, product: &[f32], k: usize) -> Vec<(u32, f32)> {
        // Once there are `k`, only what is larger than the smallest of them can be among the largest. Of equal ones the first counts.
        let (mut active, mut bar) = (Vec::new(), 0.);
        let room = (4 * k).max(PIECE);
        self.by_pieces(product, |first, piece| {
            let mut any = false;
            for &pre in piece {
                any |= pre > bar;
            }
            if any {
                let all = piece.iter().enumerate().map(|(i, &pre)| ((first + i) as u32, pre));
                active.extend(all.filter(|(_, pre)| *pre > bar));
                if active.len() > room {
                    active = largest(std::mem::take(&mut active), k, |pre| pre);
                    bar = active.iter().map(|(_, pre)| *pre).fold(f32::INFINITY, f32::min);
                }
            }
        });
        largest(active, k, |pre| pre)
    }
}

/// How many pre-activations are looked at together.
const PIECE: usize = 32;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// Against all that are above 0, sorted: of many rooms and of one, with equal numbers and with scales.
    #[test]
    fn the_largest_are_those_of_all() {
        let mut random = Random::new(5);
        for (d_sae, k) in [(5000, 3), (5000, 400), (700, 32), (40, 40), (33, 1)] {
            for norms in [None, Some((0..d_sae).map(|i| 1. + (i % 3) as f32).collect::<Vec<f32>>())] {
                // Rounded, so that many are equal.
                let mut numbers =
                    || (0..d_sae).map(|_| (random.uniform() * 40. - 20.).round() as f32 / 20.).collect::<Vec<f32>>();
                let (product, offset) = (numbers(), numbers());
                let selection = Selection { rule: Rule::Largest(k), offset, norms, d_sae };
                let pre = |i: usize| {
                    (product[i] + selection.offset[i]) * selection.norms.as_ref().map_or(1., |norms| norms[i])
                };
                let mut all: Vec<(u32, f32)> =
                    (0..d_sae).map(|i| (i as u32, pre(i))).filter(|(_, pre)| *pre > 0.).collect();
                all.sort_by(|a, b| b.1.total_cmp(&a.1));
                all.truncate(k);
                all.sort_by_key(|(feature, _)| *feature);
                assert_eq!(selection.active(&product), all, "{k} of {d_sae}");
            }
        }
    }
}
