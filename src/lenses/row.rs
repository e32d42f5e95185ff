//! The numbers of one row of logits.

/// What is wanted of a row.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// How many of the most likely tokens.
    pub k: usize,
    /// The token that is read, if there is one here.
    pub target: Option<u32>,
    /// A chosen part of the vocabulary.
    pub chosen: &'a [u32],
}

/// A distribution: logits, with what normalises them.
pub(super) struct Row<'a> {
    logits: &'a [f32],
    max: f32,
    /// `log sum exp(logit - max)`.
    log_sum: f64,
}

/// The numbers of one row.
pub(super) struct RowNumbers {
    /// The most likely tokens with their probabilities, the most likely first.
    pub best: Vec<(u32, f32)>,
    /// In nats.
    pub entropy: f32,
    /// In nats; NaN without a distribution to compare with.
    pub kl: f32,
    /// Logit, log-probability and rank; NaN without a target.
    pub target: [f32; 3],
    /// The same for each chosen token.
    pub chosen: Vec<[f32; 3]>,
}

impl<'a> Row<'a> {
    pub(super) fn new(logits: &'a [f32]) -> Self {
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from((logit - max).exp())).sum();
        Self { logits, max, log_sum: sum.ln() }
    }

    fn log_prob(&self, logit: f32) -> f64 {
        f64::from(logit - self.max) - self.log_sum
    }

    /// The probabilities.
    pub(super) fn probabilities(&self, into: &mut [f32]) {
        let share = (-self.log_sum).exp();
        for (p, logit) in into.iter_mut().zip(self.logits) {
            *p = (f64::from((logit - self.max).exp()) * share) as f32;
        }
    }

    /// What is wanted; `own` are the model's own distribution and its probabilities.
    pub(super) fn numbers(&self, wanted: Wanted, own: Option<(&Row, &[f32])>) -> RowNumbers {
        RowNumbers {
            best: self.best(wanted.k),
            entropy: self.entropy() as f32,
            kl: own.map_or(f32::NAN, |(own, p)| self.kl_from(own, p) as f32),
            target: wanted.target.map_or([f32::NAN; 3], |id| self.of_token(id)),
            chosen: wanted.chosen.iter().map(|&id| self.of_token(id)).collect(),
        }
    }

    fn entropy(&self) -> f64 {
        let share = (-self.log_sum).exp();
        let mean: f64 = self
            .logits
            .iter()
            .map(|logit| logit - self.max)
            .filter(|below| *below != f32::NEG_INFINITY)
            .map(|below| f64::from(below.exp()) * share * f64::from(below))
            .sum();
        self.log_sum - mean
    }

    /// `sum p log(p / q)`, with the probabilities `p` of `own`. Exactly 0 of the same row.
    fn kl_from(&self, own: &Row, p: &[f32]) -> f64 {
        let pairs = own.logits.iter().zip(self.logits).zip(p).filter(|(_, p)| **p != 0.);
        let apart = |(own_logit, logit): (&f32, &f32)| f64::from(own_logit - own.max) - f64::from(logit - self.max);
        let mean: f64 = pairs.map(|(logits, p)| f64::from(*p) * apart(logits)).sum();
        let kl = mean + (self.log_sum - own.log_sum);
        // Rounding can leave it just below 0.
        if kl < 0. { 0. } else { kl }
    }

    /// Logit, log-probability and rank of a token.
    fn of_token(&self, id: u32) -> [f32; 3] {
        let logit = self.logits[id as usize];
        let larger = self.logits.iter().filter(|other| **other > logit).count();
        let rank = if logit.is_nan() { f32::NAN } else { larger as f32 };
        [logit, self.log_prob(logit) as f32, rank]
    }

    /// The `k` most likely tokens; of equal ones those with the smaller ids first.
    fn best(&self, k: usize) -> Vec<(u32, f32)> {
        let mut order: Vec<u32> = (0..self.logits.len() as u32).collect();
        let at = |id: &u32| self.logits[*id as usize];
        let falling = |a: &u32, b: &u32| at(b).total_cmp(&at(a)).then(a.cmp(b));
        if k < order.len() {
            order.select_nth_unstable_by(k - 1, falling);
            order.truncate(k);
        }
        order.sort_by(falling);
        order.into_iter().map(|id| (id, self.log_prob(at(&id)).exp() as f32)).collect()
    }
}
