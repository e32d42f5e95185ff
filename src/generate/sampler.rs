//! The choice of the next token from its logits: the repetition penalty, then the temperature, then the frequency penalty,
//! then top-k and top-p, in TransformerLens' order (`sample_logits`).

use std::collections::BTreeMap;

use super::options::{GenerateOptions, Sampling};
use crate::error::{Error, Result};
use crate::random::Random;

/// Chooses one token after another.
pub(super) struct Sampler {
    sampling: Sampling,
    repetition_penalty: f64,
    freq_penalty: f64,
    random: Random,
}

impl Sampler {
    pub(super) fn new(options: &GenerateOptions) -> Self {
        let seed = match options.sampling {
            Sampling::Greedy => 0,
            Sampling::Random { seed, .. } => seed,
        };
        Self {
            sampling: options.sampling,
            repetition_penalty: options.repetition_penalty,
            freq_penalty: options.freq_penalty,
            random: Random::new(seed),
        }
    }

    /// Whether the choice depends on the logits themselves, not only on their differences.
    pub(super) fn needs_level(&self) -> bool {
        self.repetition_penalty != 1.
    }

    /// The next token of a text whose tokens so far are `seen`.
    ///
    /// # Errors
    /// Logits that are NaN.
    pub(super) fn choose(&mut self, mut logits: Vec<f32>, seen: &[u32]) -> Result<u32> {
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(Error::argument(
                "the model's logits are NaN, so no token can be chosen: look for the first activation that is NaN \
                 (run_with_cache).",
            ));
        }
        self.weigh(&mut logits, seen);
        let Sampling::Random { top_k, top_p, .. } = self.sampling else {
            return Ok(ranked(&logits)[0]);
        };
        let kept = kept(&logits, top_k, top_p);
        let mut left = self.random.uniform() * kept.iter().map(|(_, p)| p).sum::<f64>();
        for &(id, probability) in &kept {
            left -= probability;
            if left < 0. {
                return Ok(id);
            }
        }
        Ok(kept[kept.len() - 1].0)
    }

    /// Applies penalties and temperature to the logits.
    fn weigh(&self, logits: &mut [f32], seen: &[u32]) {
        let mut counts = BTreeMap::new();
        if self.repetition_penalty != 1. || self.freq_penalty != 0. {
            seen.iter().for_each(|&id| *counts.entry(id as usize).or_insert(0u32) += 1);
        }
        let repetition = self.repetition_penalty as f32;
        for id in counts.keys() {
            if let Some(logit) = logits.get_mut(*id) {
                *logit = if *logit > 0. { *logit / repetition } else { *logit * repetition };
            }
        }
        if let Sampling::Random { temperature, .. } = self.sampling {
            logits.iter_mut().for_each(|logit| *logit = (f64::from(*logit) / temperature) as f32);
        }
        for (id, count) in counts {
            if let Some(logit) = logits.get_mut(id) {
                *logit -= count as f32 * self.freq_penalty as f32;
            }
        }
    }
}

/// All ids, the most likely first; ties go to the smallest id.
fn ranked(logits: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..logits.len() as u32).collect();
    order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
    order
}

/// The tokens that may be drawn, the most likely first, with their probabilities before top-p. Tokens tied with the `top_k`-th
/// stay, as in Hugging Face's implementation.
fn kept(logits: &[f32], top_k: Option<usize>, top_p: Option<f64>) -> Vec<(u32, f64)> {
    let mut order = ranked(logits);
    if let Some(k) = top_k.filter(|&k| k < order.len()) {
        let least = logits[order[k - 1] as usize];
        order.retain(|&id| logits[id as usize] >= least);
    }
    let best = f64::from(logits[order[0] as usize]);
    let weight = |id: u32| (f64::from(logits[id as usize]) - best).exp();
    let whole: f64 = order.iter().map(|&id| weight(id)).sum();
    let mut kept: Vec<(u32, f64)> = order.into_iter().map(|id| (id, weight(id) / whole)).collect();
    if let Some(p) = top_p {
        let mut sum = 0.;
        let enough = kept.iter().position(|(_, probability)| {
            sum += probability;
            sum >= p
        });
        kept.truncate(enough.map_or(kept.len(), |last| last + 1));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Five logits whose probabilities are 0.4, 0.3, 0.15, 0.1, 0.05 at the ids 3, 0, 4, 1, 2.
    fn logits() -> [f32; 5] {
        [0.3f32, 0.1, 0.05, 0.4, 0.15].map(f32::ln)
    }

    fn ids(kept: &[(u32, f64)]) -> Vec<u32> {
        kept.iter().map(|(id, _)| *id).collect()
    }

    #[test]
    fn cuts_keep_the_most_likely() {
        assert_eq!(ids(&kept(&logits(), None, None)), [3, 0, 4, 1, 2]);
        assert_eq!(ids(&kept(&logits(), Some(2), None)), [3, 0]);
        assert_eq!(ids(&kept(&logits(), None, Some(0.69))), [3, 0]);
        assert_eq!(ids(&kept(&logits(), None, Some(0.71))), [3, 0, 4]);
        assert_eq!(ids(&kept(&logits(), None, Some(1e-9))), [3], "one always stays");
        // The first three have 0.47, 0.35 and 0.18 of the probability: top-p comes second.
        assert_eq!(ids(&kept(&logits(), Some(3), Some(0.81))), [3, 0]);
        // A temperature of one half doubles the logits and makes the best token likelier: 0.4^2 of 0.285 is 0.56.
        assert_eq!(ids(&kept(&logits().map(|logit| logit * 2.), None, Some(0.55))), [3]);
        assert_eq!(ids(&kept(&[1., 2., 1., 1.], Some(2), None)), [1, 0, 2, 3], "tokens tied with the second stay");
        assert_eq!(ids(&kept(&[f32::NEG_INFINITY, 0.], None, None)).first(), Some(&1));
    }

    #[test]
    fn drawn_tokens_have_the_models_distribution() -> Result<()> {
        let options = GenerateOptions { sampling: Sampling::temperature(1.).seed(3), ..Default::default() };
        let mut sampler = Sampler::new(&options);
        let mut counts = [0u32; 5];
        for _ in 0..20_000 {
            counts[sampler.choose(logits().to_vec(), &[])? as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([0.3, 0.1, 0.05, 0.4, 0.15]) {
            // Four standard deviations of a share of 20,000 draws are 0.014 at most.
            assert!((f64::from(count) / 20_000. - expected).abs() < 0.014, "{counts:?}");
        }
        Ok(())
    }

    /// tests/fixtures/sampling.py: the distributions from which TransformerLens draws.
    #[test]
    fn distributions_are_those_of_transformer_lens() -> Result<()> {
        let cases: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/fixtures/sampling.json")).expect("JSON");
        for case in cases.as_array().expect("a list") {
            let number = |name: &str| case[name].as_f64().expect("a number");
            let numbers = |name: &str| serde_json::from_value::<Vec<f32>>(case[name].clone()).expect("numbers");
            let options = GenerateOptions {
                repetition_penalty: number("repetition_penalty"),
                freq_penalty: number("freq_penalty"),
                sampling: Sampling::temperature(number("temperature")),
                ..Default::default()
            };
            let mut logits = numbers("logits");
            let seen: Vec<u32> = serde_json::from_value(case["tokens"].clone()).expect("ids");
            Sampler::new(&options).weigh(&mut logits, &seen);
            let kept = kept(&logits, case["top_k"].as_u64().map(|k| k as usize), case["top_p"].as_f64());
            let whole: f64 = kept.iter().map(|(_, probability)| probability).sum();
            let mut found = vec![0.; logits.len()];
            kept.iter().for_each(|(id, probability)| found[*id as usize] = probability / whole);
            for (found, expected) in found.iter().zip(numbers("probabilities")) {
                assert!((found - f64::from(expected)).abs() < 1e-6, "{found} is not {expected} in {case}");
            }
        }
        Ok(())
    }

    #[test]
    fn penalties_make_what_was_said_less_likely() -> Result<()> {
        let choose = |repetition_penalty, freq_penalty, seen: &[u32]| {
            let options = GenerateOptions { repetition_penalty, freq_penalty, ..Default::default() };
            Sampler::new(&options).choose(vec![2., 1.5, -1.], seen)
        };
        assert_eq!(choose(1., 0., &[0, 0])?, 0);
        assert_eq!(choose(2., 0., &[0, 0])?, 1, "2 becomes 1");
        assert_eq!(choose(1., 0.3, &[0])?, 0, "2 becomes 1.7");
        assert_eq!(choose(1., 0.3, &[0, 0])?, 1, "2 becomes 1.4");
        assert!(Sampler::new(&GenerateOptions::default()).choose(vec![f32::NAN, 1.], &[]).is_err());
        Ok(())
    }
}
