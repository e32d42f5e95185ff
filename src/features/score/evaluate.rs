//! The work: every batch of texts is run clean, each dictionary is compared with the activations of that run, and what it writes
//! takes their place.

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::batches::{Batch, batches, check_positions, left_alone};
use super::card::Begun;
use super::result::{DictionaryScore, DictionaryScores, SplicedScore, SplicedSums};
use super::runs::{Clean, Compared};
use super::stand_in::{StandIn, is_cross_layer, stand_ins};
use super::sums::Sums;
use crate::dictionaries::{AtBos, Dictionaries, Dictionary, ErrorTerm, SpliceOptions};
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPlan, HookPoint, Site};
use crate::model::{HookedTransformer, Run, RunOptions};
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};

/// How dictionaries are evaluated.
///
/// ```
/// use candle_lens::prelude::*;
/// let options = ScoreOptions { runs: false, ..Default::default() };
/// assert_eq!(options.bos, AtBos::LeftAlone);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreOptions {
    /// Whether the model is also run with the dictionaries spliced in and with the activation ablated; without, one run of each text is
    /// enough, up to the last point that a dictionary reads or writes.
    pub runs: bool,
    /// Whether the position of a BOS counts and is replaced as well. Most dictionaries never saw one.
    pub bos: AtBos,
}

impl Default for ScoreOptions {
    fn default() -> Self {
        Self { runs: true, bos: AtBos::LeftAlone }
    }
}

impl From<&Self> for ScoreOptions {
    fn from(options: &Self) -> Self {
        *options
    }
}

/// What the runs of one stand-in gave.
#[derive(Clone, Default)]
struct Found {
    sums: Sums,
    runs: SplicedSums,
}

/// Sums of the clean runs.
#[derive(Default)]
struct Totals {
    positions: u64,
    predictions: u64,
    left_out: u64,
    ce: f64,
}

impl HookedTransformer {
    /// What dictionaries are worth on some texts (or ids): how much of the activations they explain, with how many features, and how
    /// the model does with each of them spliced in without an error term. The formulas, and which positions count, are at
    /// [`features`](crate::features).
    ///
    /// Each dictionary is [made to fit the model](Dictionary::for_model). Texts are run a few at a time, and only sums are kept.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let z = Dictionary::from_pretrained("tiny/z2")?;
    /// let texts = Task::Ioi.prompts(tasks::Split::Templates, 12, 0)?.prompts.into_iter().map(|prompt| prompt.clean);
    /// let scores = model.evaluate_dictionaries(&z, texts.collect::<Vec<_>>(), ScoreOptions::default())?;
    /// let score = &scores.scores[0];
    /// assert!(score.explained_variance > 0.5 && score.spliced.unwrap().ce_score() > 0.5);
    /// assert!(score.card.fits, "{}", score.card);
    /// println!("{scores}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// A dictionary that does not belong to this model; texts of which fewer than two positions count, or none with a next token where
    /// runs are asked for, or that the model cannot read;
    /// activations that are not finite.
    pub fn evaluate_dictionaries(
        &self,
        dictionaries: impl Into<Dictionaries>,
        input: impl Into<Input>,
        options: impl Into<ScoreOptions>,
    ) -> Result<DictionaryScores> {
        let (model, options) = (self.without_weight_gradients(), options.into());
        let given = dictionaries.into().to_vec()?;
        if given.is_empty() {
            return Err(Error::argument("no dictionary was given to evaluate: name at least one."));
        }
        let dictionaries = given.iter().map(|dictionary| dictionary.for_model(&model)).collect::<Result<Vec<_>>>()?;
        let stand_ins = stand_ins(&dictionaries)?;
        let tokens = model.to_tokens(input)?;
        let bos = left_alone(&model, options.bos);
        let begun = begun(&model, &tokens);
        let widest = dictionaries.iter().map(Dictionary::d_sae).max().unwrap_or(0);
        let batches = batches(&tokens, bos, widest.max(model.cfg().d_vocab_out()))?;
        check_positions(&batches, tokens.batch(), options.runs)?;
        let splice = |dictionaries: Dictionaries| {
            model.splice(dictionaries, SpliceOptions { error: ErrorTerm::None, bos: options.bos })
        };
        let alone = |stand_in: &StandIn| match options.runs && stand_in.layers.is_empty() {
            true => splice((&dictionaries[stand_in.of]).into()).map(Some),
            false => Ok(None),
        };
        let alone = stand_ins.iter().map(alone).collect::<Result<Vec<_>>>()?;
        let together = match options.runs && are_more_together(&dictionaries, &stand_ins) {
            true => Some(splice((&dictionaries).into())?),
            false => None,
        };
        let work = Work { model, dictionaries, stand_ins, alone, together, runs: options.runs, begun };
        work.scores(&batches)
    }
}

/// Whether the dictionaries spliced in together are something else than one at a time, and can be.
fn are_more_together(dictionaries: &[Dictionary], stand_ins: &[StandIn]) -> bool {
    let points: BTreeSet<HookPoint> = stand_ins.iter().map(|stand_in| stand_in.writes).collect();
    (dictionaries.len() > 1 || is_cross_layer(&dictionaries[0])) && points.len() == dictionaries.len()
}

/// What is to be done with each batch.
struct Work {
    model: HookedTransformer,
    dictionaries: Vec<Dictionary>,
    stand_ins: Vec<StandIn>,
    /// Each spliced in alone, where that is to be run.
    alone: Vec<Option<HookPlan>>,
    /// All spliced in.
    together: Option<HookPlan>,
    runs: bool,
    begun: Option<Begun>,
}

/// How many texts begin with the model's BOS; of a model of which no BOS is known, nothing is said.
fn begun(model: &HookedTransformer, tokens: &Tokens) -> Option<Begun> {
    let bos = model.tokenizer().ok()?.bos_id()?;
    let first = tokens.first_positions();
    let with_bos = (0..tokens.batch()).filter(|&b| tokens.id(b, first[b]) == bos).count();
    Some(Begun { texts: tokens.batch(), with_bos })
}

impl Work {
    fn scores(&self, batches: &[Batch]) -> Result<DictionaryScores> {
        let mut totals = Totals::default();
        let (mut found, mut all) = (vec![Found::default(); self.stand_ins.len()], SplicedSums::default());
        let passes = if self.runs { 2 } else { 1 };
        let prompts = batches.iter().map(|batch| batch.tokens.batch() as u64).sum::<u64>();
        let mut progress = Progress::of("evaluating dictionaries", passes * prompts, "prompts");
        for batch in batches {
            progress.together(batch.tokens.batch());
            self.compare(batch, &mut totals, &mut found, &mut all)?;
            progress.step(batch.tokens.batch() as u64)?;
        }
        for (stand_in, found) in self.stand_ins.iter().zip(&found) {
            found.sums.check(&self.dictionaries[stand_in.of].name())?;
        }
        if self.runs {
            let means = found.iter().map(|found| found.sums.mean()).collect::<Result<Vec<_>>>()?;
            for batch in batches {
                progress.together(batch.tokens.batch());
                self.ablate_to_means(batch, &means, &mut found, &mut all)?;
                progress.step(batch.tokens.batch() as u64)?;
            }
        }
        let left_out = totals.left_out;
        let score = |(stand_in, found): (&StandIn, Found)| {
            let dictionary = &self.dictionaries[stand_in.of];
            let mut score = DictionaryScore::new(dictionary, stand_in.writes, found.sums, left_out, self.begun);
            score.spliced = self.alone[stand_in.of].as_ref().map(|_| totals.score(&found.runs));
            score
        };
        let scores = self.stand_ins.iter().zip(found).map(score).collect();
        Ok(DictionaryScores { scores, together: self.together.is_some().then(|| totals.score(&all)) })
    }

    /// One batch: the clean run, each dictionary on its activations, and the runs with it or zeros in their place.
    fn compare(&self, batch: &Batch, totals: &mut Totals, found: &mut [Found], all: &mut SplicedSums) -> Result<()> {
        let run = self.clean(batch)?;
        let rows = batch.rows(&self.model.device())?;
        let xs = self.stand_ins.iter().map(|stand_in| stand_in.x(&run, &rows)).collect::<Result<Vec<_>>>()?;
        let acts = self.dictionaries.iter().zip(&xs).map(|(dictionary, x)| dictionary.encode(x));
        let acts = acts.collect::<Result<Vec<_>>>()?;
        let clean = run.logits.as_ref().map(|logits| Clean::new(logits, batch)).transpose()?;
        totals.add(batch, clean.as_ref());
        for ((stand_in, x), found) in self.stand_ins.iter().zip(&xs).zip(found) {
            let written = stand_in.written(&self.dictionaries, x, &acts)?;
            found.sums.add(&stand_in.y(&run, &rows)?, &written, &acts[stand_in.of], &batch.depth)?;
            if let (Some(clean), Some(spliced)) = (&clean, &self.alone[stand_in.of]) {
                let begin = begin(&run, stand_in);
                found.runs.spliced += self.compared(clean, batch, spliced, begin.clone())?;
                let zeros = HookPlan::new().edit(stand_in.writes, stand_in.ablation(batch, None)?);
                found.runs.zero += self.compared(clean, batch, &zeros, begin)?;
            }
        }
        if let (Some(clean), Some(plan)) = (&clean, &self.together) {
            all.spliced += self.compared(clean, batch, plan, None)?;
            let zeros = self.stand_ins.iter().map(|stand_in| Ok((stand_in.writes, stand_in.ablation(batch, None)?)));
            all.zero += self.compared(clean, batch, &edits(zeros)?, None)?;
        }
        Ok(())
    }

    /// One batch with means in place of the activations.
    fn ablate_to_means(
        &self,
        batch: &Batch,
        means: &[Tensor],
        found: &mut [Found],
        all: &mut SplicedSums,
    ) -> Result<()> {
        let mut together = HookPlan::new();
        for ((stand_in, mean), found) in self.stand_ins.iter().zip(means).zip(found) {
            let edit = stand_in.ablation(batch, Some(mean))?;
            if self.alone[stand_in.of].is_some() {
                let plan = HookPlan::new().edit(stand_in.writes, edit.clone());
                found.runs.mean_ce += self.cross_entropy(batch, &plan)?;
            }
            together = together.edit(stand_in.writes, edit);
        }
        if self.together.is_some() {
            all.mean_ce += self.cross_entropy(batch, &together)?;
        }
        Ok(())
    }

    /// The clean run, with what dictionaries read and write, and the residual stream from which a run can go on before that.
    fn clean(&self, batch: &Batch) -> Result<Run> {
        let mut points = BTreeSet::new();
        for stand_in in &self.stand_ins {
            points.extend([stand_in.reads, stand_in.writes]);
            points.extend(stand_in.first_layer().map(|layer| HookPoint::Block(layer, Site::ResidPre)));
        }
        let last = points.iter().map(|point| point.layer()).collect::<Option<Vec<usize>>>();
        let stop = last.and_then(|layers| layers.into_iter().max()).filter(|_| !self.runs);
        let options =
            RunOptions { logits: self.runs, stop_at_layer: stop.map(|layer| layer as isize + 1), ..Default::default() };
        self.model.run(&batch.tokens, HookPlan::new().capture(points.into_iter().collect::<Vec<_>>()), options)
    }

    fn logits(&self, batch: &Batch, plan: &HookPlan, begin: Option<(isize, Tensor)>) -> Result<Tensor> {
        let options = RunOptions { start_at_layer: begin, ..Default::default() };
        self.model.run(&batch.tokens, plan, options)?.logits()
    }

    fn compared(
        &self,
        clean: &Clean,
        batch: &Batch,
        plan: &HookPlan,
        begin: Option<(isize, Tensor)>,
    ) -> Result<Compared> {
        clean.compare(&self.logits(batch, plan, begin)?, batch)
    }

    fn cross_entropy(&self, batch: &Batch, plan: &HookPlan) -> Result<f64> {
        Ok(Clean::new(&self.logits(batch, plan, None)?, batch)?.ce)
    }
}

impl Totals {
    fn add(&mut self, batch: &Batch, clean: Option<&Clean>) {
        self.positions += batch.counted.len() as u64;
        self.predictions += batch.next.len() as u64;
        self.left_out += batch.left_out as u64;
        self.ce += clean.map_or(0., |clean| clean.ce);
    }

    fn score(&self, runs: &SplicedSums) -> SplicedScore {
        SplicedScore::new((self.positions, self.predictions), self.ce, runs)
    }
}

/// Where a run with this spliced in can begin: the first block that it concerns and the residual stream before that.
fn begin(run: &Run, stand_in: &StandIn) -> Option<(isize, Tensor)> {
    let layer = stand_in.first_layer()?;
    Some((layer as isize, run.captured.get(&HookPoint::Block(layer, Site::ResidPre))?.clone()))
}

/// A plan of these edits.
fn edits(edits: impl Iterator<Item = Result<(HookPoint, Edit)>>) -> Result<HookPlan> {
    let mut plan = HookPlan::new();
    for edit in edits {
        let (point, edit) = edit?;
        plan = plan.edit(point, edit);
    }
    Ok(plan)
}
