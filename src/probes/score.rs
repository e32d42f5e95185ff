//! How well a probe reads what it was not fitted to.
//!
//! With true and false positives and negatives at logit 0, `F1 = 2 tp / (2 tp + fp + fn)`. ROC-AUC is the share of pairs of a true and a false
//! example in which the true one has the larger logit, equal ones counting half (Mann and Whitney 1947). Average precision is
//! `sum_n (recall_n - recall_(n-1)) precision_n` over the distinct logits as thresholds, so that equal logits share one. Both as scikit-learn's
//! `roc_auc_score` and `average_precision_score`.

use std::fmt;

use super::newton::softplus;

/// How well a probe reads what it was not fitted to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeScore {
    /// How many examples.
    pub count: usize,
    /// The mean loss: cross-entropy in nats for labels, the mean square error for numbers.
    pub loss: f64,
    /// The share of labels that are right, for labels.
    pub accuracy: Option<f64>,
    /// The harmonic mean of precision and recall of the true label, where an example is or is said to be true.
    pub f1: Option<f64>,
    /// The share of pairs of a true and a false example that are in the right order, where there are both.
    pub roc_auc: Option<f64>,
    /// The precision of the true label, averaged over the thresholds at which its recall grows, where there is one.
    pub average_precision: Option<f64>,
    /// The share of variance that is explained, for numbers, where they vary.
    pub explained: Option<f64>,
}

impl ProbeScore {
    /// Of the logits that a probe gives examples with these labels; at least one.
    pub(super) fn of_labels(logits: &[f64], labels: &[bool]) -> Self {
        let both = || logits.iter().copied().zip(labels.iter().copied());
        let counted =
            |said: bool, is: bool| both().filter(|&(z, label)| (z > 0.) == said && label == is).count() as f64;
        let [hits, wrong, missed] = [counted(true, true), counted(true, false), counted(false, true)];
        let right = hits + counted(false, false);
        let loss = both().map(|(z, label)| softplus(if label { -z } else { z })).sum::<f64>();
        let (count, some) = (labels.len(), hits + wrong + missed > 0.);
        Self {
            count,
            loss: loss / count as f64,
            accuracy: Some(right / count as f64),
            f1: some.then(|| 2. * hits / (2. * hits + wrong + missed)),
            roc_auc: roc_auc(logits, labels),
            average_precision: average_precision(logits, labels),
            explained: None,
        }
    }

    /// Of what a probe says of examples with these numbers; at least one.
    pub(super) fn of_numbers(outputs: &[f64], numbers: &[f64]) -> Self {
        let count = numbers.len();
        let error: f64 = outputs.iter().zip(numbers).map(|(output, y)| (output - y).powi(2)).sum();
        let mean = numbers.iter().sum::<f64>() / count as f64;
        let variance: f64 = numbers.iter().map(|y| (y - mean).powi(2)).sum();
        let explained = (variance > 0.).then(|| 1. - error / variance);
        let loss = error / count as f64;
        Self { count, loss, accuracy: None, f1: None, roc_auc: None, average_precision: None, explained }
    }

    /// The measures that it has, by name; the first is what a sweep shows.
    pub(crate) fn measures(&self) -> Vec<(&'static str, f64)> {
        let all = [
            ("accuracy", self.accuracy),
            ("F1", self.f1),
            ("ROC-AUC", self.roc_auc),
            ("average precision", self.average_precision),
            ("explained variance", self.explained),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

/// For each distinct logit from the largest: how many examples with it are true and how many false.
fn thresholds(logits: &[f64], labels: &[bool]) -> Vec<(f64, f64)> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    let alike = |a: &usize, b: &usize| logits[*a] == logits[*b];
    let of = |group: &[usize], kind: bool| group.iter().filter(|&&at| labels[at] == kind).count() as f64;
    order.chunk_by(alike).map(|group| (of(group, true), of(group, false))).collect()
}

fn roc_auc(logits: &[f64], labels: &[bool]) -> Option<f64> {
    let thresholds = thresholds(logits, labels);
    let (mut above, mut ordered) = (0., 0.);
    for (positive, negative) in &thresholds {
        ordered += negative * (above + positive / 2.);
        above += positive;
    }
    let negatives: f64 = thresholds.iter().map(|(_, negative)| negative).sum();
    (above > 0. && negatives > 0.).then(|| ordered / (above * negatives))
}

fn average_precision(logits: &[f64], labels: &[bool]) -> Option<f64> {
    let (mut positives, mut said, mut sum) = (0., 0., 0.);
    for (positive, negative) in thresholds(logits, labels) {
        positives += positive;
        said += positive + negative;
        sum += positive * positives / said;
    }
    (positives > 0.).then(|| sum / positives)
}

impl fmt::Display for ProbeScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.measures().into_iter().try_for_each(|(name, value)| write!(f, "{name} {value:.4}, "))?;
        write!(f, "loss {:.4} on {} examples", self.loss, self.count)
    }
}
