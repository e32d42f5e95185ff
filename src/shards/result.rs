//! The results of the prompts of a shard, and what they are together.

use super::about::About;
use super::by_prompt::reason;
use super::made::Made;
use super::numbers::Numbers;
use crate::circuits::{Circuit, Layout, NodeScores, Scored};
use crate::error::{Error, Result};
use crate::experiment::{Effect, EffectNumbers};
use crate::interrupt::check_interrupt;
use crate::labelled::{Axis, Labelled};
use crate::metrics::mean;
use crate::model::ModelProvenance;
use crate::patching::{PatchResult, SweptPrompts};
use crate::progress::Progress;
use crate::shard::{Cut, Shard};
use crate::variables::holds;

/// What is done with the numbers of many prompts.
const MEANS: &str = "taking means over prompts";

/// The results of each prompt of a shard, of which results of all of its prompts are made: of one process, or, of
/// [`gather`](super::gather), of the whole.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let prompts = Task::Ioi.prompts(tasks::Split::Templates, 6, 0)?.aligned(&model)?;
/// let all = prompts.shard(Shard::whole()).each_prompt(&model, |batch| {
///     batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos()
/// })?;
/// assert_eq!((all.len(), all.is_complete()), (6, true));
/// println!("{:?}", all.sweep()?.statistics(StatisticsOptions::default())?.estimate.top_heads(3)?);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct ShardResult {
    pub(crate) cut: Cut,
    pub(super) made: Made,
    pub(super) about: Option<About>,
    pub(super) numbers: Numbers,
}

holds! {
    ShardResult { cut, numbers } = |result| format!("[{} prompts]", result.len());
}

impl ShardResult {
    /// The shard; of joined parts the whole.
    pub fn shard(&self) -> Shard {
        self.cut.shard
    }

    /// How many prompts there are results of.
    pub fn len(&self) -> usize {
        self.numbers.rows()
    }

    /// Whether there are none, as of a shard without prompts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all prompts of the shard are done.
    pub fn is_complete(&self) -> bool {
        self.len() == self.cut.places.len()
    }

    /// The places in the whole data set of the prompts that there are results of, in this order.
    pub fn places(&self) -> Vec<usize> {
        self.cut.places[..self.len()].to_vec()
    }

    /// How many prompts the whole data set has.
    pub fn of_prompts(&self) -> usize {
        self.cut.count
    }

    /// Which weights the model had, and what was done to them.
    pub fn model(&self) -> ModelProvenance {
        self.made.model.clone()
    }

    /// What the results are, in a few words.
    pub(crate) fn what(&self) -> String {
        self.about.as_ref().map_or("nothing yet".into(), |about| format!("{}: {}", about.kind(), about.title()))
    }

    /// The sweep over these prompts: what [`Experiment::sweep`](crate::experiment::Experiment::sweep) makes of the same numbers of each
    /// prompt.
    ///
    /// # Shapes
    /// As the sweep of each prompt; `per_prompt` has all of them.
    ///
    /// # Errors
    /// Results of another kind, no prompt; a metric whose mean over these prompts is the same clean and corrupted.
    pub fn sweep(&self) -> Result<PatchResult> {
        let _means = Progress::opaque(MEANS);
        match self.about()? {
            About::Sweep { title, axes, is_noising, setting } => {
                let sites = axes.iter().map(|axis| axis.labels.len()).product();
                let codes = self.numbers.by_row("untouched");
                let of = |site: usize| reason(codes.iter().copied().skip(site).step_by(sites));
                PatchResult::of_prompts(SweptPrompts {
                    title: title.clone(),
                    axes: axes.clone(),
                    is_noising: *is_noising,
                    setting: setting.clone(),
                    values: self.numbers.prompts_last("values"),
                    clean: self.numbers.prompts_last("clean"),
                    corrupted: self.numbers.prompts_last("corrupted"),
                    untouched: (0..sites).map(of).collect(),
                })
            }
            other => Err(other_kind("a sweep", other)),
        }
    }

    /// The mean effect over these prompts, in the convention in which it was returned for each; shares are those of the means.
    ///
    /// # Shapes
    /// As the effect of each prompt.
    ///
    /// # Errors
    /// As [`ShardResult::sweep`]. The effect of a sweep is `sweep()?.effect()`.
    pub fn effect(&self) -> Result<Effect> {
        let _means = Progress::opaque(MEANS);
        match self.about()? {
            About::Effect { what, axes, scale } => {
                let (values, clean) = (self.numbers.prompts_last("values"), self.numbers.prompts_last("clean"));
                let corrupted = self.numbers.prompts_last("corrupted");
                let (what, axes, scale) = (what.clone(), axes.clone(), *scale);
                Effect::of_numbers(EffectNumbers { what, axes, scale, values, clean, corrupted }, self.len())
            }
            other => Err(other_kind("an effect", other)),
        }
    }

    /// All edges with their scores, the mean over these prompts.
    ///
    /// # Errors
    /// As [`ShardResult::sweep`].
    pub fn circuit(&self) -> Result<Circuit> {
        let _means = Progress::opaque(MEANS);
        match self.about()? {
            About::Edges { layout, method, has_levels } => {
                Ok(Circuit::of_scored(self.scored(*layout, method, *has_levels)))
            }
            other => Err(other_kind("scores of edges", other)),
        }
    }

    /// All nodes with their scores, the mean over these prompts.
    ///
    /// # Errors
    /// As [`ShardResult::sweep`].
    pub fn nodes(&self) -> Result<NodeScores> {
        let _means = Progress::opaque(MEANS);
        match self.about()? {
            About::Nodes { layout, method, has_levels } => {
                Ok(NodeScores::of_scored(self.scored(*layout, method, *has_levels)))
            }
            other => Err(other_kind("scores of nodes", other)),
        }
    }

    /// The numbers of each prompt, of results that are plain numbers.
    ///
    /// # Shapes
    /// `[.., prompt]`: as the numbers of each prompt, prompts last.
    ///
    /// # Errors
    /// As [`ShardResult::sweep`].
    pub fn numbers(&self) -> Result<Labelled> {
        let _means = Progress::opaque(MEANS);
        match self.about()? {
            About::Numbers { title, axes } => {
                let axes = [&axes[..], &[Axis::numbered("prompt", self.len())]].concat();
                Labelled::new(title.clone(), axes, self.numbers.prompts_last("values"))
            }
            other => Err(other_kind("plain numbers", other)),
        }
    }

    /// Mean scores, and the mean levels of the metric where there are any.
    fn scored(&self, layout: Layout, method: &str, has_levels: bool) -> Scored {
        let level = |name: &str| mean(self.numbers.by_row(name));
        let levels = has_levels.then(|| (level("clean"), level("corrupted")));
        Scored { layout, method: method.into(), scores: self.numbers.means("scores"), levels }
    }

    fn about(&self) -> Result<&About> {
        check_interrupt()?;
        self.about.as_ref().ok_or_else(|| {
            Error::argument(format!(
                "shard {} has no prompt, so there is no result of it alone: gather all shards.",
                self.cut.shard
            ))
        })
    }

    /// # Errors
    /// Counts of numbers that do not belong to what they are said to be.
    pub(super) fn check_counts(&self) -> Result<()> {
        let Some(about) = &self.about else { return Ok(()) };
        let of = |axes: &[Axis]| axes.iter().try_fold(1_usize, |all, axis| all.checked_mul(axis.labels.len()));
        let metrics =
            |axes: &[Axis]| axes.first().filter(|axis| axis.name == "metric").map_or(1, |axis| axis.labels.len());
        let expected: Vec<(&str, Option<usize>)> = match about {
            About::Sweep { axes, .. } => {
                let levels = Some(metrics(axes));
                vec![("values", of(axes)), ("untouched", of(axes)), ("clean", levels), ("corrupted", levels)]
            }
            About::Effect { axes, .. } => vec![("values", of(axes)), ("clean", of(axes)), ("corrupted", of(axes))],
            About::Numbers { axes, .. } => vec![("values", of(axes))],
            About::Edges { layout, has_levels, .. } => {
                [("scores", Some(layout.count(false)?))].into_iter().chain(levels(*has_levels)).collect()
            }
            About::Nodes { layout, has_levels, .. } => {
                [("scores", Some(layout.count(true)?))].into_iter().chain(levels(*has_levels)).collect()
            }
        };
        let fits = |(name, width): &(&str, Option<usize>)| {
            width.is_some_and(|width| self.numbers.by_row(name).len() == width * self.len())
        };
        match expected.iter().all(fits) {
            true => Ok(()),
            false => Err(Error::argument(
                "its numbers do not belong to the axes or the model that it names: remove it, and compute this shard again.",
            )),
        }
    }
}

/// The numbers that levels of the metric are in.
fn levels(there: bool) -> Vec<(&'static str, Option<usize>)> {
    if there { vec![("clean", Some(1)), ("corrupted", Some(1))] } else { Vec::new() }
}

fn other_kind(wanted: &str, about: &About) -> Error {
    let method = match about {
        About::Sweep { .. } => "sweep",
        About::Effect { .. } => "effect",
        About::Edges { .. } => "circuit",
        About::Nodes { .. } => "nodes",
        About::Numbers { .. } => "numbers",
    };
    let kind = about.kind();
    Error::argument(format!("{wanted} was asked for, but the results of each prompt are {kind}: use {method}()."))
}

impl std::fmt::Debug for ShardResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (done, own, count) = (self.len(), self.cut.places.len(), self.cut.count);
        write!(f, "ShardResult({}, {done} of {own} prompts of {count}; {})", self.cut.shard, self.what())
    }
}
