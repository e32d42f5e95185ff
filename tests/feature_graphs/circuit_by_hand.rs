//! Circuits of features against the same computation written out by hand in hooks, prompt by prompt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::hooks::HookQuery;
use candle_lens::prelude::*;

use super::circuit::{ANSWERS, CLEAN, CLEAR, CORRUPTED, EIGHT, SAME, all, metric};

const ERRORS: [ErrorsOutside; 3] = [ErrorsOutside::Live, ErrorsOutside::Held, ErrorsOutside::Replaced];

/// A layer, and whether it is its attention.
pub type Where = (usize, bool);

/// What a dictionary makes of a run of one prompt: features `[pos, d_sae]` and error `[pos, d]`.
pub type Parts = BTreeMap<Where, (Tensor, Tensor)>;

/// One dictionary by hand.
pub struct ByHand {
    pub at: Where,
    dictionary: Dictionary,
}

impl ByHand {
    pub fn of(dictionaries: &[Dictionary]) -> Vec<Self> {
        let at = |dictionary: &Dictionary| {
            let point = dictionary.expects().writes().expect("a point").to_string();
            let layer = point.split('.').nth(1).expect("a layer").parse().expect("a number");
            (layer, point.contains("attn"))
        };
        dictionaries.iter().map(|dictionary| Self { at: at(dictionary), dictionary: dictionary.clone() }).collect()
    }

    fn reads(&self) -> HookQuery {
        if self.at.1 { ("z", self.at.0 as i32).into() } else { ("normalized", self.at.0 as i32, "ln2").into() }
    }

    fn writes(&self) -> HookQuery {
        if self.at.1 { ("z", self.at.0 as i32).into() } else { ("mlp_out", self.at.0 as i32).into() }
    }

    /// Features of `x [pos, ..]`, none at the BOS.
    fn features(&self, x: &Tensor) -> Result<Tensor> {
        let features = self.dictionary.encode(&x.flatten_from(1)?)?.dense()?;
        Ok(Tensor::cat(&[features.narrow(0, 0, 1)?.zeros_like()?, features.narrow(0, 1, x.dim(0)? - 1)?], 0)?)
    }

    fn decode(&self, features: &Tensor) -> Result<Tensor> {
        let parts = self.dictionary.parts();
        let [w_dec, b_dec] = [&parts.w_dec, &parts.b_dec].map(|weights| weights.to_dtype(DType::F32));
        Ok(features.matmul(&w_dec?)?.broadcast_add(&b_dec?)?)
    }

    /// Features and error of a prompt's plain run.
    pub fn parts(&self, model: &HookedTransformer, prompt: &str) -> Result<(Tensor, Tensor)> {
        let (_, cache) = model.run_with_cache(prompt)?;
        let features = self.features(&cache.get(self.reads())?.squeeze(0)?)?;
        let error = (cache.get(self.writes())?.squeeze(0)?.flatten_from(1)? - self.decode(&features)?)?;
        Ok((features, error))
    }

    fn feature(&self, pos: usize, feature: usize) -> GraphNode {
        let layer = self.at.0;
        match self.at.1 {
            true => GraphNode::AttnFeature { layer, pos, feature },
            false => GraphNode::Feature { layer, pos, feature },
        }
    }

    fn error(&self, pos: usize) -> GraphNode {
        let layer = self.at.0;
        if self.at.1 { GraphNode::AttnError { layer, pos } } else { GraphNode::Error { layer, pos } }
    }

    /// What it writes: what is in the circuit of this run, the rest of the baseline.
    fn written(
        &self,
        (x, y): (&Tensor, &Tensor),
        circuit: &BTreeSet<GraphNode>,
        (instead, errors): (&(Tensor, Tensor), Option<&Tensor>),
    ) -> Result<Tensor> {
        let (positions, d_sae) = (x.dim(0)?, self.dictionary.d_sae());
        let live = self.features(x)?;
        let error = (y.flatten_from(1)? - self.decode(&live)?)?.to_vec2::<f32>()?;
        let (live, mut chosen) = (live.to_vec2::<f32>()?, instead.0.to_vec2::<f32>()?);
        for (pos, row) in chosen.iter_mut().enumerate() {
            for (feature, value) in row.iter_mut().enumerate() {
                if circuit.contains(&self.feature(pos, feature)) {
                    *value = live[pos][feature];
                }
            }
        }
        let mut chosen_error = error.clone();
        if let Some(errors) = errors {
            let errors = errors.to_vec2::<f32>()?;
            for pos in (0..positions).filter(|&pos| !circuit.contains(&self.error(pos))) {
                chosen_error[pos].clone_from(&errors[pos]);
            }
        }
        let chosen = Tensor::from_vec(chosen.concat(), (positions, d_sae), x.device())?;
        let width = chosen_error[0].len();
        let error = Tensor::from_vec(chosen_error.concat(), (positions, width), x.device())?;
        let written = (self.decode(&chosen)? + error)?.reshape(y.shape())?;
        Ok(Tensor::cat(&[y.narrow(0, 0, 1)?, written.narrow(0, 1, positions - 1)?], 0)?)
    }
}

/// The logit difference of one prompt with every dictionary's output computed by hand in hooks.
fn by_hand(
    model: &HookedTransformer,
    dictionaries: &Arc<Vec<ByHand>>,
    prompt: usize,
    circuit: &BTreeSet<GraphNode>,
    (instead, clean, errors): (&Parts, &Parts, ErrorsOutside),
) -> Result<f32> {
    let mut plan = HookPlan::new();
    let seen: Arc<Mutex<BTreeMap<Where, Tensor>>> = Arc::default();
    for number in 0..dictionaries.len() {
        let at = dictionaries[number].at;
        let (all, circuit, keep) = (dictionaries.clone(), circuit.clone(), seen.clone());
        if !at.1 {
            let keep = seen.clone();
            let read = Edit::custom("keep", move |x, _| {
                keep.lock().expect("one thread").insert(at, x.clone());
                Ok::<_, candle_lens::Error>(x.clone())
            });
            plan = plan.edit(dictionaries[number].reads(), read);
        }
        let parts = instead[&at].clone();
        let errors = match errors {
            ErrorsOutside::Live => None,
            ErrorsOutside::Held => Some(clean[&at].1.clone()),
            ErrorsOutside::Replaced => Some(instead[&at].1.clone()),
        };
        let write = Edit::custom("by hand", move |y, _| {
            let y = y.squeeze(0)?;
            let x = if at.1 { y.clone() } else { keep.lock().expect("one thread")[&at].squeeze(0)? };
            Ok::<_, candle_lens::Error>(
                all[number].written((&x, &y), &circuit, (&parts, errors.as_ref()))?.unsqueeze(0)?,
            )
        });
        plan = plan.edit(dictionaries[number].writes(), write);
    }
    let logits = model.run_with_hooks(CLEAN[prompt], plan)?.0.squeeze(0)?;
    let last = logits.get(logits.dim(0)? - 1)?.to_vec1::<f32>()?;
    let of = |text: &str| -> Result<f32> { Ok(last[model.to_single_token(text)? as usize]) };
    Ok(of(ANSWERS[prompt].0)? - of(ANSWERS[prompt].1)?)
}

/// The mean of parts of several prompts, by position, or over all positions but the BOS.
fn mean_parts(of: &[Parts], by_position: bool) -> Result<Parts> {
    let mean = |each: Vec<Tensor>| -> Result<Tensor> {
        let all = Tensor::stack(&each, 0)?.mean(0)?;
        match by_position {
            true => Ok(all),
            false => Ok(all.narrow(0, 1, all.dim(0)? - 1)?.mean_keepdim(0)?.broadcast_as(all.shape())?.contiguous()?),
        }
    };
    of[0]
        .keys()
        .map(|at| {
            let features = mean(of.iter().map(|parts| parts[at].0.clone()).collect())?;
            Ok((*at, (features, mean(of.iter().map(|parts| parts[at].1.clone()).collect())?)))
        })
        .collect()
}

/// Some features that are active in a prompt and a few that are not, and some errors.
pub fn some_nodes(dictionaries: &[ByHand], clean: &Parts, thirds: usize) -> Result<BTreeSet<GraphNode>> {
    let mut nodes = BTreeSet::new();
    for one in dictionaries {
        for (pos, row) in clean[&one.at].0.to_vec2::<f32>()?.iter().enumerate().skip(1) {
            let is_in = |feature: usize, value: f32| match value > 0.0 {
                true => (feature + pos) % 3 < thirds,
                false => (feature + pos).is_multiple_of(29),
            };
            let features = row.iter().enumerate().filter(|(feature, value)| is_in(*feature, **value));
            nodes.extend(features.map(|(feature, _)| one.feature(pos, feature)));
            if (one.at.0 + pos) % 2 == 0 {
                nodes.insert(one.error(pos));
            }
        }
    }
    Ok(nodes)
}

#[test]
fn circuits_are_what_hooks_by_hand_make_of_each_prompt() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = all(&EIGHT)?;
    let hands = Arc::new(ByHand::of(&dictionaries));
    let parts = |prompts: &[&str]| -> Result<Vec<Parts>> {
        let of = |prompt: &&str| hands.iter().map(|one| Ok((one.at, one.parts(&model, prompt)?))).collect();
        prompts.iter().map(of).collect()
    };
    let (clean, corrupted) = (parts(&CLEAN)?, parts(&CORRUPTED)?);
    let zero: Parts = clean[0]
        .iter()
        .map(|(at, (features, error))| Ok((*at, (features.zeros_like()?, error.zeros_like()?))))
        .collect::<Result<_>>()?;
    let baselines: Vec<(Baseline, Vec<Parts>)> = vec![
        (Baseline::Zero, vec![zero; 3]),
        (CORRUPTED.into(), corrupted),
        (Baseline::mean(MeanOver::Batch), vec![mean_parts(&clean, true)?; 3]),
        (Baseline::mean(MeanOver::BatchAndPos), vec![mean_parts(&clean, false)?; 3]),
    ];
    let sets: Vec<BTreeSet<GraphNode>> =
        clean.iter().enumerate().map(|(at, parts)| some_nodes(&hands, parts, 1 + at % 2)).collect::<Result<_>>()?;
    let circuit = FeatureCircuit::per_prompt(sets.iter().map(|set| FeatureCircuit::new(set.iter().copied())))?;
    for (number, (baseline, instead)) in baselines.into_iter().enumerate() {
        let experiment = Experiment::new(&model, CLEAN, baseline.clone(), metric(&model)?)?;
        let mut seen = Vec::new();
        for errors in ERRORS {
            let what = format!("{baseline:?}, {errors}");
            let circuits = experiment.feature_circuits(&dictionaries, errors)?;
            let got = circuits.evaluate(&circuit)?;
            // One prompt of each is enough but for the batch: three of one kind.
            let prompts = if number == 1 { 0..3 } else { number % 3..number % 3 + 1 };
            for prompt in prompts {
                let expected =
                    by_hand(&model, &hands, prompt, &sets[prompt], (&instead[prompt], &clean[prompt], errors))?;
                let found = got.per_prompt.at(&[prompt as isize])?;
                assert!((found - expected).abs() < SAME, "{what}, prompt {prompt}: {found} and {expected}");
            }
            seen.push(got.metric);
            assert!((circuits.evaluate(&FeatureCircuit::full())?.metric - experiment.clean()).abs() < SAME, "{what}");
        }
        assert!((seen[0] - seen[1]).abs() > CLEAR && (seen[1] - seen[2]).abs() > CLEAR, "errors matter: {seen:?}");
    }
    Ok(())
}
