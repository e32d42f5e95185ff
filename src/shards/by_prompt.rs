//! What can be computed prompt by prompt and joined.

use std::collections::BTreeMap;

use super::about::About;
use crate::circuits::{Circuit, NodeScores, Scored};
use crate::error::{Error, Result};
use crate::experiment::{Effect, EffectNumbers};
use crate::labelled::{Axis, Labelled};
use crate::patching::{PatchResult, Untouched};

/// Results of one prompt that are joined into those of all: a [`PatchResult`], an [`Effect`], a [`Circuit`] with the scores of all
/// edges (as it is, or the list of one that `attribute_each` returns), [`NodeScores`], a [`Labelled`] with or without an axis
/// `prompt`, and a plain `f32`.
pub trait ByPrompt {
    /// What it is, as JSON, and its numbers by name.
    #[doc(hidden)]
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)>;
}

/// Numbers with their names, and what they are.
fn found<const N: usize>(about: &About, numbers: [(&str, Vec<f32>); N]) -> (String, BTreeMap<String, Vec<f32>>) {
    let about = serde_json::to_string(about).expect("plain data is JSON");
    (about, numbers.into_iter().map(|(name, values)| (name.to_string(), values)).collect())
}

/// Refuses a result of several prompts, whose own numbers are not known.
fn check_one(what: &str, prompts: usize) -> Result<()> {
    match prompts {
        1 => Ok(()),
        _ => Err(Error::argument(format!(
            "{what} is of {prompts} prompts, but shards are joined from the results of each prompt: compute it from the batch \
             that is given, which has one."
        ))),
    }
}

/// Why a site was not computed, as a number of a file.
pub(super) fn code(untouched: Option<Untouched>) -> f32 {
    match untouched {
        None => 0.,
        Some(Untouched::Identical) => 1.,
        Some(Untouched::NoPath) => 2.,
    }
}

/// Of a site's codes of all prompts, why it was not computed for any; both reasons at once are [`Untouched::Identical`].
pub(super) fn reason(codes: impl Iterator<Item = f32> + Clone) -> Option<Untouched> {
    let all = |wanted: &[f32]| codes.clone().all(|code| wanted.contains(&code));
    match () {
        () if all(&[2.]) => Some(Untouched::NoPath),
        () if all(&[1., 2.]) => Some(Untouched::Identical),
        () => None,
    }
}

impl ByPrompt for PatchResult {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        let prompts = self.per_prompt.shape().last().copied().unwrap_or(0);
        check_one(&format!("{:?}", self.raw.title), prompts)?;
        let swept = self.by_prompt()?;
        let untouched = swept.untouched.into_iter().map(code).collect();
        let (title, axes, is_noising, setting) = (swept.title, swept.axes, swept.is_noising, swept.setting);
        let numbers = [
            ("values", swept.values),
            ("clean", swept.clean),
            ("corrupted", swept.corrupted),
            ("untouched", untouched),
        ];
        Ok(found(&About::Sweep { title, axes, is_noising, setting }, numbers))
    }
}

impl ByPrompt for Effect {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        check_one(&format!("{:?}", self.values.title), self.prompts().unwrap_or(1))?;
        let EffectNumbers { what, axes, scale, values, clean, corrupted } = self.to_numbers();
        let numbers = [("values", values), ("clean", clean), ("corrupted", corrupted)];
        Ok(found(&About::Effect { what, axes, scale }, numbers))
    }
}

/// Scores, with the levels of the metric where there are any.
fn scored(about: impl Fn(bool) -> About, scored: Scored) -> (String, BTreeMap<String, Vec<f32>>) {
    let about = about(scored.levels.is_some());
    match scored.levels {
        None => found(&about, [("scores", scored.scores)]),
        Some((clean, corrupted)) => {
            found(&about, [("scores", scored.scores), ("clean", vec![clean]), ("corrupted", vec![corrupted])])
        }
    }
}

impl ByPrompt for Circuit {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        let scores = self.to_scored()?;
        // What `attribute_each` adds: the prompt's number in its batch.
        let method = scores.method.strip_suffix(", prompt 0").unwrap_or(&scores.method).to_string();
        let layout = scores.layout;
        Ok(scored(|has_levels| About::Edges { layout, method: method.clone(), has_levels }, scores))
    }
}

impl ByPrompt for Vec<Circuit> {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        check_one("a list of circuits", self.len())?;
        self[0].of_prompt()
    }
}

impl ByPrompt for NodeScores {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        let scores = self.to_scored();
        let (layout, method) = (scores.layout, scores.method.clone());
        Ok(scored(|has_levels| About::Nodes { layout, method: method.clone(), has_levels }, scores))
    }
}

impl ByPrompt for Labelled {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        let one = match self.labels("prompt") {
            Err(_) => self.clone(),
            Ok(labels) => {
                check_one(&format!("{:?}", self.title), labels.len())?;
                self.select("prompt", 0)?.titled(self.title.clone())
            }
        };
        let about = About::Numbers { title: one.title.clone(), axes: one.axes().to_vec() };
        Ok(found(&about, [("values", one.values().iter().copied().collect())]))
    }
}

impl ByPrompt for f32 {
    fn of_prompt(&self) -> Result<(String, BTreeMap<String, Vec<f32>>)> {
        let about = About::Numbers { title: "number of each prompt".into(), axes: Vec::<Axis>::new() };
        Ok(found(&about, [("values", vec![*self])]))
    }
}
