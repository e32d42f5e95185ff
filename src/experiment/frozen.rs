//! Experiments whose gradients follow rules.

use super::experiment::Experiment;
use crate::error::{Error, Result};
use crate::model::{Frozen, RELP};

impl Experiment {
    /// The same experiment, whose gradients follow these rules in place of those it had: attribution patching and the scores of
    /// edges and nodes are then estimates by the rules, with [`RELP`] those of RelP. No run changes, so sweeps and exact scores
    /// are what they were. No rule at all gives derivatives again.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let scores = experiment.with_frozen(RELP)?.edges()?.attribute(EdgeMethod::EapIgInputs { steps: 5 })?;
    /// assert!(scores.method().contains("with RelP"), "{}", scores.method());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A rule of a part that the model does not have, which would change no gradient. [`RELP`] as a whole is taken as far as the
    /// model has its parts.
    pub fn with_frozen(&self, parts: impl IntoIterator<Item = Frozen>) -> Result<Self> {
        let parts: Vec<Frozen> = parts.into_iter().collect();
        let (cfg, is_relp) = (self.model.cfg(), RELP.iter().all(|part| parts.contains(part)));
        let missing = |part: &&Frozen| !(cfg.has_part(**part) || is_relp && RELP.contains(part));
        if let Some(part) = parts.iter().find(missing) {
            return Err(Error::argument(format!(
                "{part:?} is a rule of {}, of which {:?} has none, so it would change no gradient: leave it out, or give \
                 RELP, which is taken as far as a model has its parts.",
                part.needs(),
                cfg.model_name
            )));
        }
        let mut experiment = self.clone();
        experiment.model = self.model.with_frozen(parts);
        Ok(experiment)
    }
}
