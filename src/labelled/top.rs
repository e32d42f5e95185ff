//! The largest and smallest numbers of a result: where they are, what they belong to, and which heads.

use std::cmp::Ordering;
use std::fmt;

use ndarray::IxDyn;

use super::Labelled;
use crate::error::{Error, Result};
use crate::head::Head;
use crate::visible::visible;

/// One number of a result, from [`Labelled::top`] or [`Labelled::bottom`].
///
/// ```
/// use candle_lens::labelled::{Axis, Labelled};
/// let scores = Labelled::new("scores", vec![Axis::numbered("layer", 2), Axis::new("token", ["a", "b"])], vec![0.1, -0.9, 0.3, 0.2])?;
/// let best = scores.top(1).remove(0);
/// assert_eq!((best.index, best.labels.join(" "), best.value), (vec![1, 0], "1 a".to_string(), 0.3));
/// assert_eq!(scores.bottom(1)[0].to_string(), "0 b  -0.9000");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The index along each axis, from 0.
    pub index: Vec<usize>,
    /// The label along each axis.
    pub labels: Vec<String>,
    /// The number.
    pub value: f32,
}

/// The head that an index of a result belongs to.
type HeadAt = Box<dyn Fn(&IxDyn) -> Option<Head>>;

impl fmt::Display for Entry {
    /// The labels, then the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible(&format!("{}  {:.4}", self.labels.join(" "), self.value)))
    }
}

impl Labelled {
    /// The `k` largest numbers with their indices and labels, largest first; NaN never counts.
    pub fn top(&self, k: usize) -> Vec<Entry> {
        self.sorted(k, |a, b| b.total_cmp(&a))
    }

    /// The `k` smallest numbers with their indices and labels, smallest first; NaN never counts.
    pub fn bottom(&self, k: usize) -> Vec<Entry> {
        self.sorted(k, |a, b| a.total_cmp(&b))
    }

    /// The `k` heads with the largest numbers, largest first; NaN never counts.
    ///
    /// The result has a `layer` and a `head` axis, or one axis with labels such as `L0H0`, on which whatever is not a head
    /// (a `remainder`, say) is left out. Any other axis has one index.
    ///
    /// # Errors
    /// [`Error::Argument`] for a result with other axes: [`Labelled::select`] or [`Labelled::mean_over`] removes one.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let answers = model.answers([(" Mary", " John")])?;
    /// let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
    /// let shares = direct_logit_attribution(&model, &cache, &answers, Unit::Head)?;
    /// let best = shares.top_heads(3)?;
    /// let (head, share) = best[0];
    /// assert_eq!(shares.get(&[&head.to_string(), "0"])?, share);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn top_heads(&self, k: usize) -> Result<Vec<(Head, f32)>> {
        self.sorted_heads(k, |a, b| b.total_cmp(&a))
    }

    /// The `k` heads with the smallest numbers, smallest first; otherwise as [`Labelled::top_heads`].
    ///
    /// # Errors
    /// As [`Labelled::top_heads`].
    pub fn bottom_heads(&self, k: usize) -> Result<Vec<(Head, f32)>> {
        self.sorted_heads(k, |a, b| a.total_cmp(&b))
    }

    fn sorted(&self, k: usize, order: impl Fn(f32, f32) -> Ordering) -> Vec<Entry> {
        let mut all: Vec<(IxDyn, f32)> =
            self.values.indexed_iter().map(|(at, &value)| (at, value)).filter(|(_, value)| !value.is_nan()).collect();
        all.sort_by(|a, b| order(a.1, b.1));
        let entry = |(at, value): (IxDyn, f32)| {
            let index: Vec<usize> = (0..self.axes.len()).map(|axis| at[axis]).collect();
            let labels = self.axes.iter().zip(&index).map(|(axis, &at)| axis.labels[at].clone()).collect();
            Entry { index, labels, value }
        };
        all.into_iter().take(k).map(entry).collect()
    }

    fn sorted_heads(&self, k: usize, order: impl Fn(f32, f32) -> Ordering) -> Result<Vec<(Head, f32)>> {
        let head_at = self.head_at().ok_or_else(|| {
            let sizes: Vec<_> = self.axes.iter().map(|axis| format!("{} {}", axis.name, axis.labels.len())).collect();
            Error::argument(format!(
                "{:?} does not have one number for each head: its axes are {}. Heads are read from a layer and a head \
                 axis, or from one axis with labels such as \"L0H0\"; reduce every other axis to one index, with \
                 `select` or `mean_over`.",
                self.title,
                sizes.join(", ")
            ))
        })?;
        let number = |(at, &value): (IxDyn, &f32)| Some((head_at(&at)?, value)).filter(|(_, value)| !value.is_nan());
        let mut heads: Vec<(Head, f32)> = self.values.indexed_iter().filter_map(number).collect();
        heads.sort_by(|a, b| order(a.1, b.1));
        heads.truncate(k);
        Ok(heads)
    }

    /// The head that the number at an index belongs to, by the axes' labels; none if they do not name heads.
    fn head_at(&self) -> Option<HeadAt> {
        let others_have_one_index = |chosen: &[usize]| {
            let mut others = self.axes.iter().enumerate().filter(|(at, _)| !chosen.contains(at));
            others.all(|(_, axis)| axis.labels.len() == 1)
        };
        let axis = |name: &str| self.axes.iter().position(|axis| axis.name == name);
        let numbers = |at: usize| self.axes[at].labels.iter().map(|label| label.parse().ok()).collect();
        if let (Some(layer), Some(head)) = (axis("layer"), axis("head")) {
            let (layers, heads): (Option<Vec<usize>>, Option<Vec<usize>>) = (numbers(layer), numbers(head));
            let (layers, heads) = (layers?, heads?);
            return others_have_one_index(&[layer, head])
                .then(|| Box::new(move |at: &IxDyn| Some(Head::new(layers[at[layer]], heads[at[head]]))) as _);
        }
        let named = |axis: &super::Axis| axis.labels.iter().any(|label| Head::named(label).is_some());
        let at = self.axes.iter().position(named)?;
        let heads: Vec<Option<Head>> = self.axes[at].labels.iter().map(|label| Head::named(label)).collect();
        others_have_one_index(&[at]).then(|| Box::new(move |place: &IxDyn| heads[place[at]]) as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labelled::Axis;

    /// Numbers that are all different, in no order.
    fn mixed(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7919) % 101) as f32 - 50.0).collect()
    }

    /// Every head with its number, from two loops over what `values` was filled with.
    fn by_hand(layers: &[usize], heads: usize, value: impl Fn(usize, usize) -> f32) -> Vec<(Head, f32)> {
        let mut all = Vec::new();
        for (row, &layer) in layers.iter().enumerate() {
            for head in 0..heads {
                all.push((Head::new(layer, head), value(row, head)));
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        all
    }

    #[test]
    fn heads_are_the_same_whatever_the_axes() -> Result<()> {
        let values = mixed(12);
        let expected = by_hand(&[0, 1, 2], 4, |layer, head| values[layer * 4 + head]);
        let (layer, head) = (Axis::numbered("layer", 3), Axis::numbered("head", 4));
        let table = Labelled::new("scores", vec![layer.clone(), head.clone()], values.clone())?;
        let turned: Vec<f32> = (0..12).map(|i| values[(i % 3) * 4 + i / 3]).collect();
        let turned = Labelled::new("scores", vec![head, Axis::numbered("prompt", 1), layer], turned)?;
        let labels = (0..3).flat_map(|l| (0..4).map(move |h| format!("L{l}H{h}"))).chain(["remainder".into()]);
        let list = [&values[..], &[1e9]].concat();
        let list = Labelled::new("shares", vec![Axis::new("component", labels), Axis::numbered("prompt", 1)], list)?;
        for result in [table, turned, list] {
            assert_eq!(result.top_heads(99)?, expected, "{result:?}");
            assert_eq!(result.top_heads(2)?, expected[..2], "{result:?}");
            let last: Vec<_> = expected.iter().rev().take(3).copied().collect();
            assert_eq!(result.bottom_heads(3)?, last, "{result:?}");
        }
        Ok(())
    }

    #[test]
    fn layers_are_those_of_the_labels_and_nan_is_no_number() -> Result<()> {
        let axes = vec![Axis::new("layer", ["5", "7"]), Axis::numbered("head", 2)];
        let scores = Labelled::new("scores", axes, vec![0.5, f32::NAN, -1.0, 0.25])?;
        let expected = [(Head::new(5, 0), 0.5), (Head::new(7, 1), 0.25), (Head::new(7, 0), -1.0)];
        assert_eq!(scores.top_heads(9)?, expected);
        assert_eq!(scores.top(1)[0].index, [0, 0]);
        Ok(())
    }

    #[test]
    fn results_that_are_not_by_head_say_so() -> Result<()> {
        let layer = || Axis::numbered("layer", 2);
        for axes in [
            vec![layer(), Axis::numbered("position", 2)],
            vec![layer(), Axis::numbered("head", 2), Axis::numbered("position", 2)],
            vec![Axis::new("component", ["embed", "0_attn_out"]), Axis::numbered("prompt", 2)],
            vec![Axis::new("component", ["L0H0", "L0H1"]), Axis::numbered("prompt", 2)],
            vec![Axis::new("source", ["L0H0", "L0H1"]), Axis::new("destination", ["L1H0", "L1H1"])],
            vec![Axis::new("layer", ["all", "none"]), Axis::numbered("head", 2)],
            vec![],
        ] {
            let count = axes.iter().map(|axis| axis.labels.len()).product();
            let error = Labelled::new("odd", axes, mixed(count))?.top_heads(1).expect_err("no heads").to_string();
            assert!(error.contains("\"odd\" does not have one number for each head"), "{error}");
        }
        Ok(())
    }
}
