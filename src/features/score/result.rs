//! The figures of dictionaries, and how they are written.

use super::card::{Begun, CardCheck};
use super::runs::Compared;
use super::sums::Sums;
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::hooks::HookPoint;
use crate::labelled::{Axis, Labelled};
use crate::visible::visible;

/// A feature that is active at a larger share of positions is dense.
const DENSE: f32 = 0.1;

/// In nats: where zero ablation costs less than this, no share of it is shown.
const LITTLE: f64 = 0.05;

/// In place of a number that would say nothing.
const UNKNOWN: &str = "\u{2013}";

/// The figures of one dictionary; the formulas are at [`features`](crate::features).
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryScore {
    /// Its name.
    pub name: String,
    /// The point that it writes, where it is compared with the model.
    pub writes: HookPoint,
    /// At how many positions.
    pub positions: u64,
    /// At how many positions a BOS was left out.
    pub left_out: u64,
    /// `1 - sum |y - yhat|^2 / sum |y - mean y|^2`; NaN where the activation is the same at every position.
    pub explained_variance: f64,
    /// `sum |y - yhat|^2 / sum |y - mean y|^2` (FVU).
    pub unexplained_variance: f64,
    /// The mean of `|y - yhat|^2`, summed over the width.
    pub mse: f64,
    /// The mean cosine of `y` and `yhat`; where either is zero it counts as 0.
    pub cosine: f64,
    /// The mean of `|yhat| / |y|`: below 1 for a dictionary that shrinks.
    pub norm_ratio: f64,
    /// `mean |yhat|^2 / mean y yhat`, the relative reconstruction bias of Rajamanoharan et al. 2024: below 1 for a dictionary that shrinks.
    pub reconstruction_bias: f64,
    /// The mean number of active features.
    pub l0: f64,
    /// The mean sum of their absolute activations.
    pub l1: f64,
    /// The share of positions at which each feature is active.
    pub firing: Vec<f32>,
    /// What the model does with it spliced in; `None` where that was not asked for, and for the layers of a cross-layer transcoder,
    /// which are spliced in together.
    pub spliced: Option<SplicedScore>,
    /// Whether these are the figures of its card.
    pub card: CardCheck,
    /// As in the sums.
    by_depth: Vec<(u64, f64)>,
}

impl DictionaryScore {
    pub(super) fn new(
        dictionary: &Dictionary,
        writes: HookPoint,
        sums: Sums,
        left_out: u64,
        begun: Option<Begun>,
    ) -> Self {
        let n = sums.positions as f64;
        let unexplained = match sums.variance() {
            variance if variance > 0. => sums.residual / variance,
            _ => f64::NAN,
        };
        Self {
            name: dictionary.name(),
            writes,
            positions: sums.positions,
            left_out,
            explained_variance: 1. - unexplained,
            unexplained_variance: unexplained,
            mse: sums.residual / n,
            cosine: sums.cosine / n,
            norm_ratio: sums.ratio / n,
            reconstruction_bias: sums.written / sums.product,
            l0: sums.l0 as f64 / n,
            l1: sums.l1 / n,
            firing: sums.firing.iter().map(|&count| (count as f64 / n) as f32).collect(),
            spliced: None,
            card: CardCheck::new(unexplained, sums.l0 as f64 / n, &dictionary.expects(), begun),
            by_depth: sums.by_depth,
        }
    }

    /// How many features were active at no position.
    pub fn dead(&self) -> usize {
        self.firing.iter().filter(|share| **share == 0.).count()
    }

    /// How many features were active at more than a tenth of the positions.
    pub fn dense(&self) -> usize {
        self.firing.iter().filter(|share| **share > DENSE).count()
    }

    /// The mean of `|y - yhat|^2` by how many tokens of the text are before the position, as a share of the mean
    /// `|y - mean y|^2` of all positions; their mean over positions is the unexplained variance. NaN where no position counts,
    /// such as that of a BOS.
    ///
    /// # Shapes
    /// `[pos]`.
    ///
    /// # Errors
    /// None that its own numbers can cause.
    pub fn by_position(&self) -> Result<Labelled> {
        let variance = self.mse / self.unexplained_variance;
        let share = |&(count, residual): &(u64, f64)| (residual / count as f64 / variance) as f32;
        let title = format!("unexplained variance of {} by position", visible(&self.name));
        let shares: Vec<f32> = self.by_depth.iter().map(share).collect();
        Labelled::new(title, vec![Axis::numbered("pos", shares.len())], shares)
    }
}

/// What the model predicts with dictionaries spliced in without error terms, compared with the clean run. Means, in nats.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplicedScore {
    /// How many next tokens the cross-entropies are of.
    pub predictions: u64,
    /// Cross-entropy of the clean run.
    pub ce_clean: f64,
    /// With the dictionary spliced in.
    pub ce_spliced: f64,
    /// With zeros in place of the activation.
    pub ce_zero: f64,
    /// With the activation's mean over all counted positions in its place.
    pub ce_mean: f64,
    /// The Kullback-Leibler divergence of the spliced run's predictions from the clean run's.
    pub kl: f64,
    /// That of the run with zeros.
    pub kl_zero: f64,
    /// How often the spliced run and the clean run hold the same token for the likeliest.
    pub same_top1: f64,
}

impl SplicedScore {
    pub(super) fn new((positions, predictions): (u64, u64), clean: f64, runs: &SplicedSums) -> Self {
        let (all, next) = (positions as f64, predictions as f64);
        Self {
            predictions,
            ce_clean: clean / next,
            ce_spliced: runs.spliced.ce / next,
            ce_zero: runs.zero.ce / next,
            ce_mean: runs.mean_ce / next,
            kl: runs.spliced.kl / all,
            kl_zero: runs.zero.kl / all,
            same_top1: runs.spliced.same as f64 / all,
        }
    }

    /// Whether zero ablation costs so much that shares of it say something.
    fn zero_matters(&self) -> bool {
        self.ce_zero - self.ce_clean >= LITTLE
    }

    /// `(CE_zero - CE_spliced) / (CE_zero - CE_clean)`: 1 where nothing is lost, 0 where zeros would do as well. Where zero ablation
    /// costs hardly anything, it is a ratio of two small numbers that says nothing: then `ce_spliced - ce_clean` does.
    pub fn ce_score(&self) -> f64 {
        (self.ce_zero - self.ce_spliced) / (self.ce_zero - self.ce_clean)
    }
}

/// The runs with something in place of an activation.
#[derive(Clone, Copy, Default)]
pub(super) struct SplicedSums {
    pub spliced: Compared,
    pub zero: Compared,
    /// The sum of cross-entropies with the mean in place.
    pub mean_ce: f64,
}

/// The figures of several dictionaries on the same texts.
#[derive(Clone, Debug, PartialEq)]
pub struct DictionaryScores {
    /// Those of each, in the order given.
    pub scores: Vec<DictionaryScore>,
    /// What the model does with all of them spliced in at once; `None` for a single autoencoder or transcoder, for several at one
    /// point, and where no runs were asked for.
    pub together: Option<SplicedScore>,
}

impl DictionaryScores {
    /// The columns of the table.
    pub(crate) const COLUMNS: [&str; 10] =
        ["dictionary", "explained", "L0", "dead", "dense", "CE lost", "CE score", "KL", "top-1", "card"];

    /// The rows of the table.
    pub(crate) fn rows(&self) -> Vec<Vec<String>> {
        let runs = |spliced: &Option<SplicedScore>| match spliced {
            Some(spliced) => {
                let score = if spliced.zero_matters() { format!("{:.3}", spliced.ce_score()) } else { UNKNOWN.into() };
                let [lost, kl, same] = [spliced.ce_spliced - spliced.ce_clean, spliced.kl, spliced.same_top1];
                [format!("{lost:.3}"), score, format!("{kl:.3}"), format!("{same:.3}")]
            }
            None => Default::default(),
        };
        let row = |score: &DictionaryScore| {
            let [lost, ce, kl, same] = runs(&score.spliced);
            vec![
                visible(&score.name).to_string(),
                format!("{:.3}", score.explained_variance),
                format!("{:.1}", score.l0),
                score.dead().to_string(),
                score.dense().to_string(),
                lost,
                ce,
                kl,
                same,
                if score.card.fits { "fits" } else { "does not fit" }.into(),
            ]
        };
        let mut rows: Vec<Vec<String>> = self.scores.iter().map(row).collect();
        if self.together.is_some() {
            let mut together = vec![String::new(); Self::COLUMNS.len()];
            together[0] = "all at once".into();
            together[5..9].clone_from_slice(&runs(&self.together));
            rows.push(together);
        }
        rows
    }

    /// What the figures are of, and what is wrong with those that do not fit.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if let Some(first) = self.scores.first() {
            let left_out = match first.left_out {
                0 => String::new(),
                count => format!("; the BOS left out and left alone {count} times"),
            };
            notes.push(format!("{} positions{left_out}", first.positions));
        }
        let mut runs = self.scores.iter().filter_map(|score| score.spliced.as_ref()).chain(&self.together);
        if !runs.all(SplicedScore::zero_matters) {
            notes.push(format!("no CE score where zero ablation costs less than {LITTLE} nats"));
        }
        let misfits = self.scores.iter().filter(|score| !score.card.fits);
        notes.extend(misfits.map(|score| format!("{} {}", visible(&score.name), score.card)));
        notes
    }
}

impl DictionaryScore {
    /// Names and numbers, as they are shown.
    pub(crate) fn figures(&self) -> Vec<(&'static str, String)> {
        let number = |x: f64| format!("{x:.4}");
        let mut figures = vec![
            ("point", self.writes.to_string()),
            ("positions", self.positions.to_string()),
            ("positions of a BOS, left out", self.left_out.to_string()),
            ("explained variance", number(self.explained_variance)),
            ("unexplained variance", number(self.unexplained_variance)),
            ("mean squared error", number(self.mse)),
            ("cosine", number(self.cosine)),
            ("norm ratio", number(self.norm_ratio)),
            ("relative reconstruction bias", number(self.reconstruction_bias)),
            ("L0", number(self.l0)),
            ("L1", number(self.l1)),
            ("dead features", format!("{} of {}", self.dead(), self.firing.len())),
            ("dense features", format!("{} of {}", self.dense(), self.firing.len())),
        ];
        figures.extend(self.spliced.iter().flat_map(SplicedScore::figures));
        figures.push(("its card", self.card.to_string()));
        figures
    }
}

impl SplicedScore {
    /// Names and numbers, as they are shown.
    pub(crate) fn figures(&self) -> Vec<(&'static str, String)> {
        let number = |x: f64| format!("{x:.4}");
        vec![
            ("cross-entropy, clean", number(self.ce_clean)),
            ("cross-entropy, spliced", number(self.ce_spliced)),
            ("cross-entropy, zero-ablated", number(self.ce_zero)),
            ("cross-entropy, mean-ablated", number(self.ce_mean)),
            (
                "CE score against zero ablation",
                if self.zero_matters() { number(self.ce_score()) } else { UNKNOWN.into() },
            ),
            ("KL divergence, spliced", number(self.kl)),
            ("KL divergence, zero-ablated", number(self.kl_zero)),
            ("same top-1", number(self.same_top1)),
        ]
    }
}
