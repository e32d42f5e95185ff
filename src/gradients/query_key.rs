//! The query-key fix of AtP* (Kramár et al. 2024, <https://arxiv.org/abs/2403.00745>): what patching queries or keys does, with the
//! softmax computed and only what follows it taken to first order.
//!
//! A head that is sure where to attend has a softmax without a slope, so attribution patching says that its queries and keys do
//! nothing. Yet other queries may make it attend elsewhere. With `s` the scores of a query and `g = d metric / d pattern`:
//!
//! - queries patched: `sum_k (softmax(s')_k - softmax(s)_k) g_k`, with `s'` the scores of the patched query;
//! - the key at `j` patched: `sum_q sum_k (softmax(s with s'_j at j)_k - softmax(s)_k) g_k`, where `s'_j` is its new score. With
//!   `p = softmax(s)` and `r = exp(s'_j) / sum_k exp(s_k)`, a query's term is `(r - p_j) (g_j - sum_k p_k g_k) / (1 + r - p_j)`;
//! - keys of all positions patched together: as queries, with all scores new.
//!
//! Exact where the metric is linear in the patterns. Of shared keys the terms of all their heads are added up.

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::hooks::{HookPoint, Site};
use crate::model::{HookedTransformer, QkNormType, Suffix};
use crate::tokens::Tokens;

/// From here on the closed form of a key's term has lost digits, and its softmax is computed.
const SMALL: f64 = 1e-3;

/// The scores of a layer with and without patched queries or keys.
pub(super) struct Patched {
    of_keys: bool,
    pub base: Tensor,
    pub patched: Tensor,
    /// Prompts, heads, positions, heads that have queries or keys of their own.
    sizes: [usize; 4],
}

/// Whether the fix is of this point.
pub(super) fn is_fixed(point: HookPoint) -> bool {
    matches!(point, HookPoint::Block(_, Site::Q | Site::K))
}

/// Refuses models and points to which the fix does not apply.
pub(super) fn check(model: &HookedTransformer, points: &[HookPoint]) -> Result<()> {
    let (cfg, fixed) = (model.cfg(), points.iter().any(|&point| is_fixed(point)));
    if !fixed {
        return Err(Error::argument(
            "the query-key fix is of queries and keys, and none are among the points: name \"q\" or \"k\", or leave \
             AttributionOptions::qk_fix out.",
        ));
    }
    if cfg.use_qk_norm && cfg.qk_norm_type == QkNormType::RMSAcrossHeads {
        return Err(Error::argument(format!(
            "the norm of queries and keys of {:?} is over all heads, so patching one head's changes all scores, and the \
             query-key fix does not know how: leave AttributionOptions::qk_fix out.",
            cfg.model_name
        )));
    }
    Ok(())
}

impl Patched {
    /// # Shapes
    /// `there` are queries and keys of the run that is patched, `put_in` what is put in at `point`.
    pub fn new(
        model: &HookedTransformer,
        tokens: &Tokens,
        point: HookPoint,
        there: (&Tensor, &Tensor),
        put_in: &Tensor,
    ) -> Result<Self> {
        let HookPoint::Block(layer, site) = point else {
            return Err(Error::argument(format!("{point} has no queries and keys.")));
        };
        let of_keys = site == Site::K;
        let suffix: Suffix = model.suffix_of_copies(tokens, 0, 1)?;
        let scores = |q: &Tensor, k: &Tensor| model.scores_of(layer, &q.detach(), &k.detach(), &suffix);
        let (q, k) = there;
        let patched = if of_keys { scores(q, put_in)? } else { scores(put_in, k)? };
        let sizes = [q.dim(0)?, q.dim(2)?, q.dim(1)?, put_in.dim(2)?];
        Ok(Self { of_keys, base: scores(q, k)?, patched, sizes })
    }

    /// The terms of each position, `[batch, pos, head]`, and of keys those of all positions together, `[batch, head]`, from the numbers
    /// of both scores and of the gradient at the pattern, `[batch, head, q_pos, k_pos]` each.
    pub fn terms(&self, [base, patched, gradient]: [&[f32]; 3]) -> (Vec<f32>, Option<Vec<f32>>) {
        let [batch, heads, pos, own] = self.sizes;
        let mut each = vec![0f64; batch * pos * own];
        let mut together = vec![0f64; batch * own];
        for row in 0..batch * heads * pos {
            let (prompt, head, query) = (row / (heads * pos), row / pos % heads, row % pos);
            // Heads that share keys lie next to each other.
            let head = head / (heads / own);
            let of_row = row * pos..(row + 1) * pos;
            let (base, patched) = (&base[of_row.clone()], &patched[of_row.clone()]);
            let row = Row::new(base, &gradient[of_row]);
            let all = row.replaced(patched);
            if !self.of_keys {
                each[(prompt * pos + query) * own + head] += all;
                continue;
            }
            together[prompt * own + head] += all;
            for (key, &score) in patched.iter().enumerate() {
                each[(prompt * pos + key) * own + head] += row.replaced_at(key, score);
            }
        }
        let narrow = |numbers: Vec<f64>| numbers.into_iter().map(|number| number as f32).collect();
        (narrow(each), self.of_keys.then(|| narrow(together)))
    }
}

/// The scores of one query, their softmax and the gradient at it.
struct Row<'a> {
    scores: &'a [f32],
    gradient: &'a [f32],
    pattern: Vec<f64>,
    /// `log sum_k exp(s_k)`.
    log_sum: f64,
    /// `sum_k p_k g_k`.
    mean: f64,
}

impl<'a> Row<'a> {
    fn new(scores: &'a [f32], gradient: &'a [f32]) -> Self {
        let (pattern, log_sum) = softmax(scores.iter().copied());
        let mean = products(&pattern, gradient);
        Self { scores, gradient, pattern, log_sum, mean }
    }

    /// What other scores in place of all of these do.
    fn replaced(&self, scores: &[f32]) -> f64 {
        products(&softmax(scores.iter().copied()).0, self.gradient) - self.mean
    }

    /// What another score at one key does.
    fn replaced_at(&self, key: usize, score: f32) -> f64 {
        if score == self.scores[key] {
            return 0.;
        }
        let (p, r) = (self.pattern[key], (f64::from(score) - self.log_sum).exp());
        let total = 1. + r - p;
        if total > SMALL && total.is_finite() {
            return (r - p) * (f64::from(self.gradient[key]) - self.mean) / total;
        }
        let scores = self.scores.iter().enumerate().map(|(at, &old)| if at == key { score } else { old });
        products(&softmax(scores).0, self.gradient) - self.mean
    }
}

/// The softmax, zeros where all scores are masked, and the logarithm of what it divides by.
fn softmax(scores: impl Iterator<Item = f32> + Clone) -> (Vec<f64>, f64) {
    let most = scores.clone().map(f64::from).fold(f64::NEG_INFINITY, f64::max);
    if most == f64::NEG_INFINITY {
        return (scores.map(|_| 0.).collect(), 0.);
    }
    let parts: Vec<f64> = scores.map(|score| (f64::from(score) - most).exp()).collect();
    let sum: f64 = parts.iter().sum();
    (parts.into_iter().map(|part| part / sum).collect(), most + sum.ln())
}

fn products(pattern: &[f64], gradient: &[f32]) -> f64 {
    pattern.iter().zip(gradient).map(|(p, g)| if *p == 0. { 0. } else { p * f64::from(*g) }).sum()
}
