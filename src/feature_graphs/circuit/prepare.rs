//! From an experiment to its circuits of features.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use candle_core::Tensor;

use super::place::Place;
use super::set::FeatureCircuit;
use crate::dictionaries::{Dictionaries, Dictionary, ErrorTerm, FeatureActs};
use crate::error::{Error, Result};
use crate::experiment::{Experiment, Source, captured, check_difference};
use crate::hooks::{HookPlan, HookPoint, Site};
use crate::metrics::{BoundMetric, mean};
use crate::model::HookedTransformer;
use crate::progress::Progress;
use crate::tokens::Tokens;
use crate::visible::visible;

/// The inner points that are kept and changed.
pub(super) const ACTS: &str = "hook_sae_acts_post";
pub(super) const ERROR: &str = "hook_sae_error";

/// What becomes of errors outside a circuit. Those inside are computed on the activations of the run
/// ([`ErrorTerm::Recomputed`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorsOutside {
    /// They are computed on the activations of the run as well: all errors are part of every circuit, and error nodes count for
    /// nothing. A change upstream passes through them to the layers behind.
    Live,
    /// They are held at their values in the clean run: nothing passes, and what they say about the answer stays.
    Held,
    /// They are replaced by the baseline's, as features are: by 0, a mean, those of the corrupted run.
    Replaced,
}

impl fmt::Display for ErrorsOutside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Live => "errors live",
            Self::Held => "errors outside held",
            Self::Replaced => "errors outside replaced",
        })
    }
}

/// Circuits of features of an experiment's model, ready to be run. Made by [`Experiment::feature_circuits`].
#[derive(Clone)]
pub struct FeatureCircuits {
    pub(super) model: HookedTransformer,
    /// The dictionaries spliced in.
    pub(super) plan: HookPlan,
    /// By layer, attention first.
    pub(super) places: Arc<Vec<Place>>,
    pub(super) tokens: Tokens,
    /// At which prompts and positions dictionaries act: not on padding or a BOS.
    pub(super) acts: Arc<Vec<bool>>,
    pub(super) metric: BoundMetric,
    pub(super) errors: ErrorsOutside,
    intervention: &'static str,
    pub(super) clean_logits: Tensor,
    clean: Vec<f32>,
    empty: Vec<f32>,
    /// How many features and errors there are in all.
    pub(super) nodes: usize,
    pub(super) budget: Option<u64>,
}

impl Experiment {
    /// The model with these dictionaries spliced in, so that circuits of their features can be run alone: every feature outside is
    /// replaced by the experiment's baseline, errors outside as `errors` says.
    ///
    /// `dictionaries` are of attention outputs (`hook_z`) and of MLPs (transcoders, or autoencoders of `hook_mlp_out`), at most one of
    /// each for a layer; they are made to fit the model. What has no dictionary is never replaced. The direction of patching
    /// (noising or not) makes no difference.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let set = DictionarySet::open("tiny")?.only(["z0", "z1", "z2", "z3", "mlp0", "mlp1", "mlp2", "mlp3"])?;
    /// let clean = "When John and Mary went to the shops, John gave the bag to";
    /// let corrupted = "When John and Mary went to the shops, Mary gave the bag to";
    /// let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    /// let experiment = Experiment::new(&model, clean, corrupted, metric)?;
    /// let circuits = experiment.feature_circuits(&set, ErrorsOutside::Replaced)?;
    /// // With nothing in the circuit the run is the corrupted one, with everything the clean one.
    /// assert!((circuits.empty() - experiment.corrupted()).abs() < 1e-3);
    /// assert!((circuits.evaluate(&FeatureCircuit::full())?.metric - experiment.clean()).abs() < 1e-3);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No dictionaries, or such as write elsewhere, are of one head, or do not fit the model; an experiment that splices functions in
    /// already; a metric that stays the same with nothing in the circuit; a budget that one prompt exceeds; and as
    /// [`HookedTransformer::run`].
    pub fn feature_circuits(
        &self,
        dictionaries: impl Into<Dictionaries>,
        errors: ErrorsOutside,
    ) -> Result<FeatureCircuits> {
        let metric = self.one_metric("a circuit of features")?;
        if !self.model.splices().is_empty() {
            return Err(Error::argument(
                "circuits of features splice their dictionaries into the model themselves, and this experiment splices \
                 functions in already (with_splices): make it without them.",
            ));
        }
        let mut progress = Progress::of("preparing circuits of features", 3, "steps");
        let dictionaries = dictionaries.into().to_vec()?;
        let kinds = dictionaries.iter().map(kind).collect::<Result<Vec<_>>>()?;
        let plan = self.model.splice(dictionaries.clone(), ErrorTerm::Recomputed)?;
        let acts = acts(&self.model, &self.tokens);
        progress.step(1)?;
        let mut sizes: Vec<_> = kinds.into_iter().zip(dictionaries.iter().map(Dictionary::d_sae)).collect();
        sizes.sort_unstable();
        drop(dictionaries);
        let mut circuits = FeatureCircuits {
            model: self.model.clone(),
            plan,
            places: Arc::default(),
            tokens: self.tokens.clone(),
            acts: Arc::new(acts),
            metric: metric.clone(),
            errors,
            intervention: self.source.name(),
            clean_logits: self.clean_logits.clone(),
            clean: self.clean_values.clone(),
            empty: Vec::new(),
            nodes: 0,
            budget: self.budget,
        };
        circuits.places = Arc::new(circuits.read(&sizes, &self.source)?);
        circuits.nodes = circuits.size(&circuits.named(&FeatureCircuit::full())?);
        progress.step(1)?;
        circuits.empty = circuits.values_of(&circuits.named(&FeatureCircuit::empty())?)?;
        progress.step(1)?;
        check_difference(circuits.metric.name(), &circuits.clean, &circuits.empty)?;
        Ok(circuits)
    }
}

/// Where a dictionary writes: the layer, and whether it is an MLP's.
fn kind(dictionary: &Dictionary) -> Result<(usize, bool)> {
    let refused = |why: &str| Error::argument(format!("the dictionary \"{}\" {why}", visible(&dictionary.name())));
    if dictionary.expects().head.is_some() {
        return Err(refused("is of one head, and a circuit takes dictionaries of all heads of a layer together."));
    }
    match dictionary.expects().writes() {
        Some(HookPoint::Block(layer, Site::Z)) => Ok((layer, false)),
        Some(HookPoint::Block(layer, Site::MlpOut)) => Ok((layer, true)),
        _ => Err(refused(
            "writes neither to a hook_z nor to a hook_mlp_out: the features of a circuit are those of attention outputs and MLPs \
             (set.only([..]) leaves others out).",
        )),
    }
}

/// At which prompts and positions dictionaries act: not on padding, nor on a BOS, which is left alone.
fn acts(model: &HookedTransformer, tokens: &Tokens) -> Vec<bool> {
    let bos = model.own_tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id());
    let first = tokens.first_positions();
    let of = |prompt: usize| {
        let is_bos = |pos: usize| pos == first[prompt] && tokens.row(prompt).get(pos).copied() == bos && bos.is_some();
        (0..tokens.pos()).map(|pos| tokens.is_real(prompt, pos) && !is_bos(pos)).collect::<Vec<_>>()
    };
    (0..tokens.batch()).flat_map(of).collect()
}

impl FeatureCircuits {
    /// What each dictionary's features and errors are in the clean run, and what takes their place.
    fn read(&self, sizes: &[((usize, bool), usize)], source: &Source) -> Result<Vec<Place>> {
        let model = self.model.with_splices_of(&self.plan)?;
        let inner: BTreeMap<String, HookPoint> =
            model.splices().inner().into_iter().map(|point| (point.to_string(), point)).collect();
        let most = self.dictionaries_at_once(sizes.iter().map(|(_, d_sae)| *d_sae).max().unwrap_or(1));
        let mut progress = Progress::of("reading features", sizes.len() as u64, "dictionaries");
        let mut places = Vec::new();
        for together in sizes.chunks(most) {
            let point =
                |(layer, is_mlp): (usize, bool)| HookPoint::Block(layer, if is_mlp { Site::MlpOut } else { Site::Z });
            let at = |kind: (usize, bool), name: &str| inner[&format!("{}.{name}", point(kind))];
            let points = together.iter().flat_map(|(kind, _)| [at(*kind, ACTS), at(*kind, ERROR)]);
            let clean = captured(&model, &self.tokens, points.collect::<Vec<_>>().iter())?;
            let mut instead = source.activations(&model, &self.tokens, &clean)?;
            for &(kind, d_sae) in together {
                let (acts, error) = (at(kind, ACTS), at(kind, ERROR));
                let share = self.share_of_tokens(source);
                let errors = match self.errors {
                    ErrorsOutside::Live => None,
                    ErrorsOutside::Held => Some(clean[&error].clone()),
                    ErrorsOutside::Replaced => instead.remove(&error).map(|error| error * share).transpose()?,
                };
                places.push(Place {
                    point: point(kind),
                    layer: kind.0,
                    is_attn: !kind.1,
                    d_sae,
                    clean: self.only_where_it_acts(&clean[&acts], 1.0)?,
                    instead: self.only_where_it_acts(&instead[&acts], share)?,
                    counts_instead: matches!(source, Source::Run(_) | Source::Others(_)),
                    errors,
                });
                progress.step(1)?;
            }
        }
        Ok(places)
    }

    /// The features of rows on which dictionaries act, times a factor.
    fn only_where_it_acts(&self, acts: &Tensor, factor: f64) -> Result<FeatureActs> {
        let all = FeatureActs::from_dense(acts)?;
        let row = |row: usize| {
            let (features, values) = all.row(row);
            let pairs = features.iter().zip(values).filter(|_| self.acts[row]);
            pairs.map(|(&feature, &value)| (feature, (f64::from(value) * factor) as f32)).collect()
        };
        let rows: Vec<Vec<(u32, f32)>> = (0..all.positions()).map(row).collect();
        FeatureActs::from_rows(&all.shape(), all.d_sae(), &rows)
    }

    /// By what a mean over all tokens is multiplied, so that it is one over those on which dictionaries act: a BOS counts as 0 there.
    fn share_of_tokens(&self, source: &Source) -> f64 {
        let (real, acting) = match source {
            Source::Everywhere(None) => (self.tokens.lengths(), self.acts.to_vec()),
            Source::Everywhere(Some(tokens)) => (tokens.lengths(), acts(&self.model, tokens)),
            _ => return 1.0,
        };
        let acting = acting.iter().filter(|acts| **acts).count();
        real.iter().sum::<usize>() as f64 / acting.max(1) as f64
    }

    /// The metric of the clean run, the mean over prompts: that of the full circuit.
    pub fn clean(&self) -> f32 {
        mean(&self.clean)
    }

    /// The metric with nothing in the circuit, the mean over prompts.
    pub fn empty(&self) -> f32 {
        mean(&self.empty)
    }

    /// What results are about: the metric, what takes the place of features, and what becomes of errors.
    pub(super) fn about(&self) -> String {
        format!("{}, {}, {}", self.metric.name(), self.intervention, self.errors)
    }
}

impl fmt::Display for FeatureCircuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layers = |is_attn: bool| {
            let of = self.places.iter().filter(|place| place.is_attn == is_attn).map(|place| place.layer.to_string());
            let layers = of.collect::<Vec<_>>().join(", ");
            if layers.is_empty() { "no layer".to_string() } else { format!("layers {layers}") }
        };
        write!(
            f,
            "circuits of features of {} prompts; attention of {}, MLPs of {}; {}: clean {:.4}, empty {:.4}",
            self.tokens.batch(),
            layers(true),
            layers(false),
            visible(&self.about()),
            self.clean(),
            self.empty()
        )
    }
}

impl fmt::Debug for FeatureCircuits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
