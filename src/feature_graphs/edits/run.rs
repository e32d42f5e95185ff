//! Running a model under edits of features.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::acts::{ValueEdits, activation};
use super::changes::FeatureEditRun;
use super::direction::residual_point;
use super::list::{Action, FeatureEdits, OneEdit};
use super::options::{EditMode, FeatureEditOptions};
use super::places::{Fitted, Place, Setting, check_active, fitted};
use super::subtract::{Subtract, Term};
use crate::cache::ActivationCache;
use crate::dictionaries::{AtBos, Dictionaries, Dictionary, ErrorTerm, InputNorm, SpliceOptions};
use crate::error::{Error, Result};
use crate::hooks::{Edit, HookPlan, HookPoint, HookQueries, HookQuery, Site};
use crate::model::{HookedTransformer, RunOptions};
use crate::progress::Progress;
use crate::tokens::{Input, Tokens};
use crate::visible::visible;

impl HookedTransformer {
    /// Runs prompts twice, plainly and under edits of features, with dictionaries spliced in with their error terms: what the edits do
    /// to logits, a metric, and any activation. [`EditMode`] says what happens behind the edits.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?;
    /// let dictionaries = [set.get("z0")?, set.get("mlp0")?];
    /// let prompt = "When John and Mary went to the shops, John gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// // The strongest attention feature of layer 0 at the second "John".
    /// let plan = model.splice(&set.get("z0")?, ErrorTerm::Recomputed)?.capture(("sae_acts_post", 0));
    /// let acts = model.run_with_hooks(prompt, plan)?.1.get(("sae_acts_post", 0))?;
    /// let feature = acts.get(0)?.get(10)?.argmax(0)?.to_scalar::<u32>()? as usize;
    /// let node = GraphNode::AttnFeature { layer: 0, pos: 10, feature };
    /// let options = FeatureEditOptions::new(EditMode::Free).metric(&metric).capture("pattern");
    /// let run = model.run_with_feature_edits(&dictionaries, prompt, node, options)?;
    /// println!("without {node} the {} is {:.1} % lower", run.metric()?.title, run.reduction()?);
    /// assert!(run.reduction()? > 0.0);
    /// assert_eq!(run.attention(3)?.shape(), [2, model.to_tokens(prompt)?.pos()]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// Found before anything is computed: dictionaries that do not fit the model or write neither `hook_mlp_out` nor `hook_z`; nodes
    /// that are no features, or whose layer, feature, position or prompt is not there; hook points at which an edit cannot be or would
    /// do nothing. Found before the edited run: features that are not active where they are ablated, scaled or subtracted. And as
    /// [`HookedTransformer::splice`] and [`HookedTransformer::run`].
    pub fn run_with_feature_edits(
        &self,
        dictionaries: impl Into<Dictionaries>,
        prompts: impl Into<Input>,
        edits: impl Into<FeatureEdits>,
        options: impl Into<FeatureEditOptions>,
    ) -> Result<FeatureEditRun> {
        let (edits, options) = (edits.into(), options.into());
        let tokens = self.to_tokens(prompts)?;
        let metric =
            options.metric.as_ref().map(|metric| metric.bind(&tokens, self.cfg().d_vocab_out())).transpose()?;
        let editor = Editor::new(self, dictionaries.into(), options.mode, options.bos)?;
        let runs = editor.run((&tokens, 1), &edits, &options.captures)?;
        let values = match &metric {
            Some(metric) => {
                let clean = metric.read(&runs.clean.0.to_dtype(DType::F32)?)?;
                let of = |logits: &Tensor| metric.of_logits(logits, Some(&clean));
                Some((metric.name().to_string(), [of(&runs.clean.0)?, of(&runs.edited.0)?]))
            }
            None => None,
        };
        let labels = self.position_labels(&tokens);
        Ok(FeatureEditRun::new(edits, options.mode, runs, values, labels))
    }
}

/// Logits and activations of a clean run and of one under edits.
pub(super) struct Runs {
    pub clean: (Tensor, ActivationCache),
    pub edited: (Tensor, ActivationCache),
}

/// A model with dictionaries, ready to be run under edits.
pub(super) struct Editor {
    model: HookedTransformer,
    pub fitted: Vec<Fitted>,
    mode: EditMode,
    bos: AtBos,
}

/// Activations of a clean run, by the names of their points.
type Kept = BTreeMap<String, Tensor>;

impl Editor {
    /// # Errors
    /// As [`fitted`]; dictionaries that cannot be held.
    pub(super) fn new(
        model: &HookedTransformer,
        dictionaries: Dictionaries,
        mode: EditMode,
        bos: AtBos,
    ) -> Result<Self> {
        let fitted = fitted(model, dictionaries)?;
        let normalises = |fitted: &&Fitted| fitted.dictionary.parts().input_norm != InputNorm::None;
        if mode == EditMode::Held
            && let Some(own) = fitted.iter().find(normalises)
        {
            return Err(Error::argument(format!(
                "the dictionary \"{}\" normalises its input, so that what its features write is not held when they are: run free.",
                visible(&own.dictionary.name())
            )));
        }
        Ok(Self { model: model.without_weight_gradients(), fitted, mode, bos })
    }

    /// How dictionaries are spliced in. Held, a BOS is held as everything else, which leaving it alone would not do.
    fn splice(&self, error: ErrorTerm) -> Result<HookPlan> {
        let dictionaries: Vec<Dictionary> = self.fitted.iter().map(|fitted| fitted.dictionary.clone()).collect();
        let bos = if self.mode == EditMode::Held { AtBos::Spliced } else { self.bos };
        self.model.splice(dictionaries, SpliceOptions { error, bos })
    }

    /// Where edits are made, and what they add and subtract where.
    ///
    /// # Errors
    /// Whatever makes an edit impossible in any run of these prompts.
    fn places(&self, tokens: &Tokens, edits: &FeatureEdits) -> Result<(Vec<Place>, Vec<At>)> {
        let bos = match self.bos {
            AtBos::LeftAlone => self.model.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id()),
            AtBos::Spliced => None,
        };
        let places = Setting { fitted: &self.fitted, tokens, bos }.places(edits)?;
        let mut at: Vec<At> = Vec::new();
        for (number, place) in places.iter().enumerate() {
            let (hook, scale) = match &place.edit.action {
                Action::Value { .. } => continue,
                Action::Add { scale, hook } => (hook, Some(*scale)),
                Action::Subtract { hook } => (hook, None),
            };
            let point = self.point(hook, &place.edit)?;
            let fitted = &self.fitted[place.dictionary];
            let before = (scale.is_none() || fitted.dictionary.n_writes() > 1).then_some(point);
            let direction = fitted.direction(&self.model, &place.edit, place.feature, before)?;
            at.push(At { point, place: number, scale, direction });
        }
        Ok((places, at))
    }

    /// # Errors
    /// A point at which nothing can be added or subtracted in this mode.
    fn point(&self, hook: &HookQuery, edit: &OneEdit) -> Result<HookPoint> {
        let point = residual_point(&self.model, hook, edit)?;
        if self.fitted.iter().any(|fitted| fitted.point == point) {
            return Err(Error::argument(format!(
                "\"{edit}\": a dictionary is spliced in at {point}: give hook_resid_post of that layer, or edit the feature's value."
            )));
        }
        if self.mode.holds_patterns() && matches!(point, HookPoint::Block(_, Site::QInput | Site::KInput)) {
            return Err(Error::argument(format!(
                "\"{edit}\": patterns are those of the clean run, so that a change at {point} has no effect: run EditMode::Free."
            )));
        }
        Ok(point)
    }

    /// The clean run of prompts, and the edited one of so many copies of them, in which prompts are counted through; with what both
    /// capture.
    pub(super) fn run(
        &self,
        (tokens, copies): (&Tokens, usize),
        edits: &FeatureEdits,
        captures: &[HookQuery],
    ) -> Result<Runs> {
        let all = tokens.repeated(copies);
        let (places, at) = self.places(&all, edits)?;
        let mut progress = Progress::of("running with edited features", 2, "runs");
        let plan = self.splice(ErrorTerm::Recomputed)?.capture(captures.to_vec());
        let (logits, cache, kept) = self.clean(tokens, &plan, captures, &places)?;
        progress.step(1)?;
        let values = clean_values(&kept, &places, &self.fitted, tokens.batch())?;
        check_active(&places, |place, row| values[&(place.dictionary, row, place.feature)])?;
        let kept = kept.into_iter().map(|(point, x)| Ok((point, copied(&x, copies)?))).collect::<Result<Kept>>()?;
        let error = match self.mode.freezes_errors() {
            true => ErrorTerm::frozen(tokens.clone()),
            false => ErrorTerm::Recomputed,
        };
        let plan = self.holding(self.splice(error)?, &kept);
        let plan = self.editing(plan, &places, &kept)?;
        let plan = self.moving(plan, &places, &at, &all)?.capture(captures.to_vec());
        let edited = self.model.run_with_hooks(all, plan)?;
        progress.step(1)?;
        Ok(Runs { clean: (logits, cache), edited })
    }

    /// The clean run: its logits, what it was asked to capture, and what the edited run needs.
    fn clean(
        &self,
        tokens: &Tokens,
        plan: &HookPlan,
        captures: &[HookQuery],
        places: &[Place],
    ) -> Result<(Tensor, ActivationCache, Kept)> {
        let dims = self.model.dims();
        let wanted: HookQueries = captures.to_vec().into();
        let wanted = wanted.resolve_all_among(&dims, &plan.splices(&dims)?.inner())?;
        let is_edited = |number: usize| places.iter().any(|place| place.dictionary == number);
        let acts = self.fitted.iter().enumerate();
        let acts = acts.filter(|(number, _)| self.mode == EditMode::Held || is_edited(*number));
        let needed: Vec<HookQuery> = acts.map(|(_, fitted)| fitted.acts().as_str().into()).collect();
        let held: Vec<HookQuery> = self.held().into_iter().map(HookQuery::from).collect();
        let plan = plan.clone().capture(needed).capture(held);
        let mut run = self.model.run(tokens, &plan, RunOptions::default())?;
        let kept = run.captured.iter().map(|(point, x)| (point.to_string(), x.clone())).collect();
        run.captured.retain(|point, _| wanted.contains(point));
        Ok((run.logits()?, self.model.cache_of(run, &plan)?, kept))
    }

    /// The points that keep the values of the clean run.
    fn held(&self) -> Vec<HookPoint> {
        let dims = self.model.dims();
        let mut points = Vec::new();
        for layer in 0..dims.n_layers {
            let at = |site| HookPoint::Block(layer, site);
            if self.mode.holds_patterns() {
                points.push(at(Site::Pattern));
            }
            if self.mode == EditMode::Held {
                points.extend([Site::Ln1Scale, Site::Ln1PostScale, Site::Ln2Scale].map(at));
                let explained = self.fitted.iter().any(|fitted| fitted.point == at(Site::MlpOut));
                points.extend((!explained).then_some(at(Site::MlpOut)));
            }
        }
        if self.mode == EditMode::Held {
            points.push(HookPoint::LnFinalScale);
        }
        points.retain(|point| point.check(&dims).is_ok());
        points
    }

    /// The plan with what is held.
    fn holding(&self, plan: HookPlan, kept: &Kept) -> HookPlan {
        let held = self.held().into_iter();
        held.fold(plan, |plan, point| plan.edit(point, Edit::replace(kept[&point.to_string()].clone())))
    }

    /// The plan with edits of values.
    fn editing(&self, mut plan: HookPlan, places: &[Place], kept: &Kept) -> Result<HookPlan> {
        for (number, fitted) in self.fitted.iter().enumerate() {
            let edits = ValueEdits::of(places, number);
            let acts = fitted.acts();
            let edit = match (self.mode, edits) {
                (EditMode::Held, Some(edits)) => Edit::replace(edits.apply(&kept[&acts])?),
                (EditMode::Held, None) => Edit::replace(kept[&acts].clone()),
                (_, Some(edits)) => Edit::custom(edits.name.clone(), move |acts, _| edits.apply(acts)),
                (_, None) => continue,
            };
            plan = plan.edit(acts.as_str(), edit);
        }
        Ok(plan)
    }

    /// The plan with what is added and subtracted.
    fn moving(&self, mut plan: HookPlan, places: &[Place], at: &[At], tokens: &Tokens) -> Result<HookPlan> {
        let mut points: Vec<HookPoint> = at.iter().map(|at| at.point).collect();
        points.sort_unstable();
        points.dedup();
        for point in points {
            let here = || at.iter().filter(move |at| at.point == point);
            let flat = |at: &At| -> Vec<u32> {
                let rows = places[at.place].rows.iter();
                rows.map(|(prompt, pos)| (prompt * tokens.pos() + pos) as u32).collect()
            };
            let added = here().filter_map(|at| at.scale.map(|scale| (at, scale)));
            let mut sum: Option<Tensor> = None;
            for (at, scale) in added {
                let indices = flat(at);
                let places = Tensor::new(indices.as_slice(), at.direction.device())?;
                let rows = (&at.direction * f64::from(scale))?.unsqueeze(0)?.repeat((indices.len(), 1))?;
                let all = match sum {
                    Some(sum) => sum,
                    None => rows.get(0)?.zeros_like()?.unsqueeze(0)?.repeat((tokens.batch() * tokens.pos(), 1))?,
                };
                sum = Some(all.index_add(&places, &rows, 0)?);
            }
            if let Some(sum) = sum {
                let shape = point.shape(&self.model.dims(), tokens.batch(), tokens.pos());
                let mut own = vec![1; shape.len()];
                (own[0], own[1], own[shape.len() - 1]) = (shape[0], shape[1], shape[shape.len() - 1]);
                plan = plan.edit(point, Edit::add(sum.reshape(own)?));
            }
            let mut splice = Subtract { name: String::new(), reads: Vec::new(), terms: Vec::new() };
            for at in here().filter(|at| at.scale.is_none()) {
                let place = &places[at.place];
                let acts = self.fitted[place.dictionary].acts();
                let known = splice.reads.iter().position(|read| *read == acts);
                let read = known.unwrap_or(splice.reads.len());
                if known.is_none() {
                    splice.reads.push(acts);
                }
                let direction = at.direction.clone();
                splice.terms.push(Term { read, feature: place.feature, places: flat(at), direction });
                splice.name += &format!("{}{}", if splice.name.is_empty() { "" } else { "; " }, place.edit);
            }
            if !splice.terms.is_empty() {
                plan = plan.splice(point, splice);
            }
        }
        Ok(plan)
    }
}

/// A direction that is added or subtracted at a point.
struct At {
    point: HookPoint,
    /// The number of its place.
    place: usize,
    /// None for what is subtracted.
    scale: Option<f32>,
    direction: Tensor,
}

/// Activations of places by dictionary, row and feature.
type AtPlaces = BTreeMap<(usize, (usize, usize), usize), f32>;

/// The activations that a clean run has at all places, which are among copies of its prompts.
///
/// # Errors
/// candle's.
fn clean_values(kept: &Kept, places: &[Place], fitted: &[Fitted], prompts: usize) -> Result<AtPlaces> {
    let mut values = AtPlaces::new();
    for place in places {
        let acts = &kept[&fitted[place.dictionary].acts()];
        for &(row, pos) in &place.rows {
            let value = activation(acts, (row % prompts, pos), place.feature)?;
            values.insert((place.dictionary, (row, pos), place.feature), value);
        }
    }
    Ok(values)
}

/// So many copies of a batch, one after the other.
fn copied(x: &Tensor, copies: usize) -> Result<Tensor> {
    match copies {
        1 => Ok(x.clone()),
        _ => Ok(Tensor::cat(&vec![x; copies], 0)?),
    }
}
