//! A study at each of several points and positions.

use std::fmt;

use super::split::ProbeSplit;
use super::study::{ProbeOptions, ProbeStudy, mean_of};
use super::target::ProbeTarget;
use crate::cache::collected;
use crate::error::{Error, Result};
use crate::hooks::HookQueries;
use crate::labelled::{Axis, Labelled};
use crate::metrics::Positions;
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::slice::absolute;
use crate::tokens::Input;

/// Studies at each of several points and positions, all with the same split. Made by [`HookedTransformer::probe_sweep`].
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeSweep {
    points: Vec<String>,
    positions: Vec<String>,
    /// By point, then position.
    studies: Vec<ProbeStudy>,
}

impl HookedTransformer {
    /// Fits a probe with its controls at each of these points (a site without a layer is meant in every layer) and positions, each of which
    /// gets a name and one token of each prompt.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = Task::Sva.prompts(tasks::Split::Train, 100, 0)?.of_length(&model, 6)?;
    /// let batch = prompts.batch(&model)?;
    /// let plural: Vec<bool> = prompts.prompts.iter().map(|prompt| prompt.plural == Some(true)).collect();
    /// let split = ProbeSplit::stratified(&plural, 0.3, 0)?;
    /// let positions = [("The", Positions::from(1)), ("noun", Positions::from(2)), ("end", Positions::Last)];
    /// let sweep = model.probe_sweep(&batch.clean, "resid_post", positions, &plural, &split, ProbeMethod::default())?;
    /// let accuracy = sweep.scores("accuracy")?;
    /// assert_eq!(accuracy.shape(), [3, model.cfg().n_layers, 3]);
    /// assert!(accuracy.get(&["held out", "blocks.1.hook_resid_post", "noun"])? > 0.9);
    /// let direction = sweep.study(1, "noun")?.probe.direction()?;
    /// assert_eq!(direction.dims(), [model.cfg().d_model]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No point or position, a position that is not one token of each prompt; and as [`HookedTransformer::collect_activations`] and
    /// [`ProbeStudy::new`].
    pub fn probe_sweep<N: Into<String>>(
        &self,
        input: impl Into<Input>,
        points: impl Into<HookQueries>,
        positions: impl IntoIterator<Item = (N, Positions)>,
        target: impl Into<ProbeTarget>,
        split: &ProbeSplit,
        options: impl Into<ProbeOptions>,
    ) -> Result<ProbeSweep> {
        let (tokens, points) = (self.to_tokens(input)?, self.points_of_all(&points.into())?);
        let (target, options) = (target.into(), options.into());
        let (names, positions): (Vec<String>, Vec<Positions>) =
            positions.into_iter().map(|(name, positions)| (name.into(), positions)).unzip();
        if points.is_empty() || positions.is_empty() {
            return Err(Error::argument(format!(
                "a sweep over {} points and {} positions has no probe: give at least one of each.",
                points.len(),
                positions.len()
            )));
        }
        if target.len() != tokens.batch() {
            return Err(Error::argument(format!(
                "{} targets were given for {} prompts: give one for each.",
                target.len(),
                tokens.batch()
            )));
        }
        let rows = positions.iter().map(|positions| positions.rows(&tokens, false)).collect::<Result<Vec<_>>>()?;
        if let Some(at) = rows.iter().position(|rows| rows.positions().iter().any(|of| of.len() != 1)) {
            return Err(Error::argument(format!(
                "{:?} is {}, which is not one token of each prompt: give Positions::Last, one position, or Positions::each.",
                names[at], positions[at]
            )));
        }
        let mut widths = points.iter().map(|point| point.shape(&self.dims(), 1, 1).iter().product());
        widths.try_for_each(|width| options.check(&target, split, width))?;
        let choices: Vec<&[Vec<usize>]> = rows.iter().map(|rows| rows.positions()).collect();
        let mut progress = Progress::of("fitting probes", (1 + points.len() * names.len()) as u64, "studies");
        let activations = collected(self, &tokens, &points, &choices)?;
        progress.step(1)?;
        let studies = activations.iter().flatten().map(|x| {
            let study = ProbeStudy::new(x, &target, split, options)?;
            progress.step(1)?;
            Ok(study)
        });
        let studies = studies.collect::<Result<_>>()?;
        Ok(ProbeSweep { points: points.iter().map(ToString::to_string).collect(), positions: names, studies })
    }
}

impl ProbeSweep {
    /// The scores of the held-out examples by one measure, beside the means of both controls: "accuracy", "F1", "ROC-AUC", "average precision",
    /// or for numbers "explained variance". NaN where a study does not have it.
    ///
    /// # Shapes
    /// `[fit, point, position]`; the fits are "held out", "shuffled labels", and "random coordinates" or "random directions".
    ///
    /// # Errors
    /// Another measure; the error lists those that there are.
    pub fn scores(&self, measure: &str) -> Result<Labelled> {
        let known: Vec<&str> = self.studies[0].test.measures().into_iter().map(|(name, _)| name).collect();
        if !known.contains(&measure) {
            return Err(Error::argument(format!("these probes have no {measure:?}: choose one of {known:?}.")));
        }
        let fits: Vec<&str> = self.studies[0].rows()[1..].iter().map(|(name, _)| *name).collect();
        let of_fit = |fit: usize| self.studies.iter().map(move |study| mean_of(study.rows()[fit].1, measure) as f32);
        let values = (1..=fits.len()).flat_map(of_fit).collect();
        let axes = vec![
            Axis::new("fit", fits),
            Axis::new("point", self.points.clone()),
            Axis::new("position", self.positions.clone()),
        ];
        Labelled::new(format!("{measure} of probes ({})", self.studies[0].probe.method()), axes, values)
    }

    /// The study at one point, by its index among the points (negative ones count from the end), and the name of a position.
    ///
    /// # Errors
    /// An index outside the points; a position that there is not.
    pub fn study(&self, point: isize, position: &str) -> Result<ProbeStudy> {
        let point = absolute(point, self.points.len(), "point")?;
        let at = self.positions.iter().position(|name| name == position).ok_or_else(|| {
            Error::argument(format!("there is no position {position:?} in this sweep: there are {:?}.", self.positions))
        })?;
        Ok(self.studies[point * self.positions.len() + at].clone())
    }

    /// What views draw: the first measure that the studies have.
    pub(crate) fn shown(&self) -> Result<Labelled> {
        match self.studies[0].test.measures().first() {
            Some((measure, _)) => self.scores(measure),
            None => {
                Err(Error::argument("the held-out numbers are all alike, so no share of their variance is explained."))
            }
        }
    }
}

impl fmt::Display for ProbeSweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (points, positions) = (self.points.len(), self.positions.len());
        write!(f, "probes at {points} points and {positions} positions ({})", self.studies[0].probe.method())
    }
}
