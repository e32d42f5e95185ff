//! What is made of runs in half precision: the stream taken apart, projections, lenses, gradients, attributions, patching,
//! edges. Each number is compared with that of the same weights in f32.

use candle_lens::Result;
use candle_lens::analysis::{Unit, direct_logit_attribution, residual_stack_to_logit_diff};
use candle_lens::cache::{ActivationCache, Stack, Target};
use candle_lens::candle::{DType, Device, Tensor, Var};
use candle_lens::circuits::EdgeMethod;
use candle_lens::dims::ReadBy;
use candle_lens::experiment::{Baseline, Experiment};
use candle_lens::gradients::{AttributionOptions, IgOptions};
use candle_lens::hooks::AxisName;
use candle_lens::hooks::MeanOver;
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::labelled::Labelled;
use candle_lens::lenses::{LensOptions, logit_lens, logit_lens_to_logit_diff};
use candle_lens::metrics::{Answers, Metric};
use candle_lens::model::{Biases, HookedTransformer, HookedTransformerConfig, Processing, RELP, RunOptions};
use candle_lens::slice::Slice;

use crate::support::fixture::numbers;
use crate::support::half::{D_MODEL, HALF, Misses, Pair, WIDE, kind, miss, miss_of, prompts};

fn of(result: &Labelled) -> Vec<f64> {
    result.values().iter().map(|&value| f64::from(value)).collect()
}

/// A name, and the numbers that a model gives with the cache of one run.
type Number = (&'static str, fn(&HookedTransformer, &ActivationCache) -> Result<Vec<f64>>);

fn answers_of(model: &HookedTransformer) -> Result<Answers> {
    model.answers([(3u32, 10u32), (20, 7)])
}

fn metric(model: &HookedTransformer) -> Result<Metric> {
    Ok(Metric::logit_diff(&answers_of(model)?))
}

fn last() -> Slice {
    (-1).into()
}

/// -3 to 3, again and again: exact in every type. (A processed model writes next to nothing along a direction with a mean.)
fn saw(dtype: DType) -> Result<Tensor> {
    let numbers: Vec<f32> = (0..D_MODEL).map(|i| (i % 7) as f32 - 3.).collect();
    Ok(Tensor::from_vec(numbers, D_MODEL, &Device::Cpu)?.to_dtype(dtype)?)
}

/// What is made of a cache.
const OF_A_CACHE: &[Number] = &[
    ("sum of a stack", |_, cache| Ok(numbers(&cache.decompose_resid(Stack::components())?.sum()?))),
    ("sum of heads and remainder", |model, cache| {
        let options = Stack::heads().with_remainder();
        Ok(numbers(&cache.stack_head_results(model, options)?.sum()?))
    }),
    ("sum of neurons and remainder", |model, cache| {
        let options = Stack::neurons().with_remainder().pos(last());
        Ok(numbers(&cache.stack_neuron_results(model, options)?.sum()?))
    }),
    ("sum of everything", |model, cache| {
        let options = Stack::everything().pos(last());
        Ok(numbers(&cache.get_full_resid_decomposition(model, options)?.sum()?))
    }),
    ("projection", |model, cache| {
        let stack = cache.decompose_resid(Stack::components())?;
        Ok(of(&stack.project(&answers_of(model)?.directions(model)?)?))
    }),
    ("projection on a saw", |_, cache| {
        let stack = cache.decompose_resid(Stack::components())?;
        Ok(of(&stack.project(&saw(stack.tensor().dtype())?)?))
    }),
    ("logit_attrs", |model, cache| {
        let stack = cache.stack_head_results(model, Stack::heads())?;
        Ok(of(&cache.logit_attrs(model, &stack, Target::differences([(3u32, 10u32), (20, 7)]))?))
    }),
    ("residual_stack_to_logit_diff", |model, cache| {
        let stack = cache.accumulated_resid(Stack::accumulated().pos(last()))?;
        Ok(of(&residual_stack_to_logit_diff(model, cache, &stack, &answers_of(model)?)?))
    }),
    ("direct attribution of components", |model, cache| {
        Ok(of(&direct_logit_attribution(model, cache, &answers_of(model)?, Unit::Component)?))
    }),
    ("direct attribution of layers", |model, cache| {
        Ok(of(&direct_logit_attribution(model, cache, &answers_of(model)?, Unit::Layer)?))
    }),
    ("direct attribution of heads", |model, cache| {
        Ok(of(&direct_logit_attribution(model, cache, &answers_of(model)?, Unit::Head)?))
    }),
    ("direct attribution of neurons", |model, cache| {
        Ok(of(&direct_logit_attribution(model, cache, &answers_of(model)?, Unit::Neuron)?))
    }),
    ("neurons along a direction", |model, cache| {
        let options = Stack::neurons().normed().with_remainder().pos(last());
        Ok(of(&cache.project_neuron_results(model, &answers_of(model)?.directions(model)?, options)?))
    }),
    ("lens of logit differences", |model, cache| Ok(of(&logit_lens_to_logit_diff(model, cache, &answers_of(model)?)?))),
    ("logit lens", |model, cache| {
        let options = LensOptions { k: model.cfg().d_vocab, ..Default::default() };
        let lens = logit_lens(model, cache, options.clone())?;
        // By token, not by rank: two that are nearly equal may change places.
        let mut by_token: Vec<f64> = vec![0.; lens.tokens.len()];
        for (place, (token, p)) in lens.tokens.iter().zip(&lens.probabilities.values()).enumerate() {
            by_token[place / options.k * options.k + *token as usize] = f64::from(*p);
        }
        Ok(by_token)
    }),
    ("OV and QK applied", |model, _| {
        let vector = saw(model.dtype())?;
        let (ov, qk) = (model.OV()?.apply(&vector)?, model.QK()?.apply(&vector)?);
        Ok([numbers(&ov), numbers(&qk)].concat())
    }),
    ("accumulated bias", |model, _| Ok(numbers(&model.accumulated_bias(ReadBy::End, Biases::All)?))),
];

#[test]
fn the_stream_taken_apart() -> Result<()> {
    let mut misses = Misses::default();
    for name in ["gpt2", "neox", "llama", "qwen3"] {
        let cfg = kind(name);
        for (dtype, tolerance) in HALF {
            for processing in [Some(Processing::NONE), None] {
                let pair = Pair::new(&format!("apart_{name}"), &cfg, dtype, processing)?;
                let tokens = prompts(2, 12, cfg.d_vocab);
                let (_, half) = pair.half.run_with_cache(tokens.clone())?;
                let (_, full) = pair.full.run_with_cache(tokens)?;
                for (what, number) in OF_A_CACHE {
                    let miss = miss(&number(&pair.half, &half)?, &number(&pair.full, &full)?);
                    let processed = if processing.is_some() { "as it is" } else { "processed" };
                    misses.add(format!("{name} {dtype:?} {processed}: {what}"), miss, 4. * tolerance);
                }
            }
        }
    }
    misses.finish();
    Ok(())
}

/// Dot products alone: the same vectors in both types, so that nothing is off but their sum.
#[test]
fn a_projection_of_the_same_vectors_is_the_same() -> Result<()> {
    let cfg = HookedTransformerConfig { d_model: 2048, n_layers: 1, ..kind("attn_only") };
    for (dtype, _) in HALF {
        let pair = Pair::new("projection", &cfg, dtype, Some(Processing::NONE))?;
        let (_, cache) = pair.half.run_with_cache(prompts(2, 6, cfg.d_vocab))?;
        let stack = cache.decompose_resid(Stack::components())?;
        let direction = stack.tensor().flatten_to(2)?.get(0)?;
        let got = of(&stack.project(&direction)?);
        let wide = (stack.tensor().to_dtype(DType::F64)?.broadcast_mul(&direction.to_dtype(DType::F64)?))?.sum(3)?;
        let wrong = miss(&got, &numbers(&wide));
        println!("{dtype:?}: {wrong:.1e}");
        assert!(wrong < WIDE, "{dtype:?}: {wrong}");
    }
    Ok(())
}

/// Gradients at every kind of point, those of norms among them.
#[test]
fn gradients_are_those_of_f32() -> Result<()> {
    let mut misses = Misses::default();
    let points = ["resid_pre", "z", "pattern", "post", "attn_out", "mlp_out", "q", "k", "v"];
    let more = ["ln1.hook_scale", "ln1.hook_normalized", "ln2.hook_scale", "ln2.hook_normalized"];
    for name in ["gpt2", "llama", "gemma2", "qwen3", "solu_ln"] {
        let cfg = kind(name);
        for (dtype, tolerance) in HALF {
            let pair = Pair::new(&format!("gradients_{name}"), &cfg, dtype, Some(Processing::NONE))?;
            let tokens = prompts(2, 16, cfg.d_vocab);
            let metric = metric(&pair.half)?;
            let run = |model: &HookedTransformer| -> Result<Vec<_>> {
                let (_, plain) = model.run_with_grads(tokens.clone(), &metric, points)?;
                let of_norms = more.iter().flat_map(|name| (0..2).map(move |layer| format!("blocks.{layer}.{name}")));
                let (_, of_norms) = model.run_with_grads(tokens.clone(), &metric, of_norms.collect::<Vec<_>>())?;
                let both = plain.iter().chain(of_norms.iter());
                Ok(both.map(|(point, _, gradient)| (point, gradient.clone())).collect())
            };
            for ((point, half), (_, full)) in run(&pair.half)?.into_iter().zip(run(&pair.full)?) {
                misses.add(format!("{name} {dtype:?} {point}"), miss_of(&half, &full), 6. * tolerance);
            }
            let split = ["q_input", "k_input", "v_input", "result"];
            let gradients = |model: &HookedTransformer| model.run_with_grads(tokens.clone(), &metric, split);
            let (half, full) = (gradients(&pair.half)?.1, gradients(&pair.full)?.1);
            for (point, _, gradient) in half.iter() {
                misses.add(format!("{name} {dtype:?} {point}"), miss_of(gradient, &full.get(point)?), 6. * tolerance);
            }
        }
    }
    misses.finish();
    Ok(())
}

/// A vector that an edit adds at every position gets the sum of all their gradients.
#[test]
fn the_gradient_of_an_edits_value_is_a_sum() -> Result<()> {
    let cfg = kind("gpt2");
    for (dtype, tolerance) in HALF {
        let pair = Pair::new("steering", &cfg, dtype, Some(Processing::NONE))?;
        let tokens = prompts(4, 100, cfg.d_vocab);
        let gradient = |model: &HookedTransformer, dtype: DType| -> Result<Tensor> {
            let steering = Var::zeros(D_MODEL, dtype, &Device::Cpu)?;
            let plan = HookPlan::new().edit(("resid_pre", 1), Edit::add(steering.as_tensor().clone()));
            let run = model.run(tokens.clone(), plan, RunOptions::default())?;
            let gradients = run.logits.expect("asked for").to_dtype(DType::F32)?.sqr()?.mean_all()?.backward()?;
            Ok(gradients.get(&steering).expect("a gradient").clone())
        };
        for of in [dtype, DType::F32] {
            let miss = miss_of(&gradient(&pair.half, of)?, &gradient(&pair.full, DType::F32)?);
            println!("{dtype:?}: {miss:.2e}");
            assert!(miss < 6. * tolerance, "{dtype:?}, of a value in {of:?}: {miss}");
        }
    }
    Ok(())
}

type OfAModel = (&'static str, fn(&HookedTransformer, &[Vec<u32>], &[Vec<u32>]) -> Result<Vec<f64>>);

/// What needs runs of its own.
const OF_A_MODEL: &[OfAModel] = &[
    ("integrated gradients", |model, clean, other| {
        let experiment = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?;
        let options = IgOptions { steps: 4, ..Default::default() };
        let attributed = experiment.integrated_gradients(("z", "post"), options)?;
        Ok([of(&attributed.heads()?.values), of(&attributed.neurons()?.values)].concat())
    }),
    ("attention attribution", |model, clean, _| {
        let attributed = model.attention_attribution(clean.to_vec(), &metric(model)?)?;
        Ok([of(&attributed.heads), of(&attributed.entries)].concat())
    }),
    ("attribution patching", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?;
        let estimate = patching.attribution(("z", "resid_pre", "mlp_out"))?;
        let heads = estimate.sweep("z", &[AxisName::Layer, AxisName::Head])?.raw;
        let places = estimate.sweep("resid_pre", &[AxisName::Layer, AxisName::Pos])?.raw;
        Ok([of(&heads), of(&places)].concat())
    }),
    ("attribution patching and edges by the rules of RelP", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?.with_frozen(RELP)?;
        let heads = patching.attribution(("z", "mlp_out"))?.sweep("z", &[AxisName::Layer, AxisName::Head])?.raw;
        Ok([of(&heads), of(&patching.edges()?.attribute_nodes(EdgeMethod::Eap)?.scores())].concat())
    }),
    ("AtP*", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?;
        let estimate = patching.attribution_with(("q", "k", "z"), AttributionOptions::ATP_STAR)?;
        let axes = [AxisName::Layer, AxisName::Head];
        let keys = of(&estimate.sweep("k", &axes)?.raw);
        Ok([keys, of(&estimate.sweep("q", &axes)?.raw), of(&estimate.grad_drop("z", &axes)?)].concat())
    }),
    ("edges by EAP", |model, clean, other| edges(model, clean, other, EdgeMethod::Eap)),
    ("edges by EAP-IG", |model, clean, other| edges(model, clean, other, EdgeMethod::EapIgInputs { steps: 2 })),
    ("edges by position", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?.edges()?;
        let scores = patching.attribute_by_position(EdgeMethod::Eap)?;
        Ok([of(&scores.by_node()), of(&scores.through_heads())].concat())
    }),
    ("edges by EAP-GP", |model, clean, other| edges(model, clean, other, EdgeMethod::EapGp { steps: 2 })),
    ("information flow routes", |model, clean, other| edges(model, clean, other, EdgeMethod::InformationFlowRoutes)),
    ("nodes by EAP under the mean", |model, clean, other| {
        let ablation = Baseline::mean_of(MeanOver::BatchAndPos, other.to_vec());
        let patching = Experiment::new(model, clean.to_vec(), ablation, metric(model)?)?.edges()?;
        Ok(of(&patching.attribute_nodes(EdgeMethod::Eap)?.scores()))
    }),
];

/// Metrics of changed runs: differences of two logits.
const OF_CHANGED_RUNS: &[OfAModel] = &[
    ("activation patching", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?;
        let scales = patching.sweep("blocks.0.ln1.hook_scale", &[AxisName::Pos])?.raw;
        Ok([of(&patching.sweep("z", &[AxisName::Layer, AxisName::Head])?.raw), of(&scales)].concat())
    }),
    ("mean ablation", |model, clean, _| {
        let patching = Experiment::new(model, clean.to_vec(), Baseline::mean(MeanOver::Batch), metric(model)?)?;
        Ok(of(&patching.sweep("mlp_out", &[AxisName::Layer])?.raw))
    }),
    ("how far ACDC goes", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?.edges()?;
        let scores = patching.acdc(f64::INFINITY)?;
        Ok(vec![scores.all_edges().into_iter().map(|edge| scores.score(edge).map(f64::from)).sum::<Result<f64>>()?])
    }),
    ("a circuit without its small edges", |model, clean, other| {
        let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?.edges()?;
        let circuit = patching.attribute(EdgeMethod::Eap)?.without("input->m0")?.without("m0->logits")?;
        Ok(vec![f64::from(patching.evaluate(&circuit)?.metric)])
    }),
];

fn edges(model: &HookedTransformer, clean: &[Vec<u32>], other: &[Vec<u32>], method: EdgeMethod) -> Result<Vec<f64>> {
    let patching = Experiment::new(model, clean.to_vec(), other.to_vec(), metric(model)?)?.edges()?;
    let circuit = patching.attribute(method)?.full();
    circuit.edges().into_iter().map(|edge| Ok(f64::from(circuit.score(edge)?))).collect()
}

/// A metric may be small by chance, and is off by what its logits are off by; so it is compared with their size.
#[test]
fn attributions_and_patching() -> Result<()> {
    let mut misses = Misses::default();
    for name in ["gpt2", "llama"] {
        let cfg = HookedTransformerConfig { n_key_value_heads: None, ..kind(name) };
        for (dtype, tolerance) in HALF {
            let pair = Pair::new(&format!("attributions_{name}"), &cfg, dtype, Some(Processing::NONE))?;
            let clean = prompts(2, 10, cfg.d_vocab);
            let mut other = clean.clone();
            other.iter_mut().for_each(|row| row.iter_mut().for_each(|id| *id = (*id + 101) % cfg.d_vocab as u32));
            for (what, number) in OF_A_MODEL {
                let (half, full) = (number(&pair.half, &clean, &other)?, number(&pair.full, &clean, &other)?);
                // Of other scores, the softmax is computed: its exponential doubles what queries and keys are off by. A run's own
                // pattern is of scores that were never rounded, so what is compared with it is off by as much again.
                let times = match *what {
                    "AtP*" => 24.,
                    what if what.contains("RelP") => 12.,
                    _ => 6.,
                };
                misses.add(format!("{name} {dtype:?}: {what}"), miss(&half, &full), times * tolerance);
            }
            let size = |numbers: &[f64]| (numbers.iter().map(|x| x * x).sum::<f64>() / numbers.len() as f64).sqrt();
            let logits = size(&numbers(&pair.full.forward(clean.clone())?));
            for (what, number) in OF_CHANGED_RUNS {
                let (half, full) = (number(&pair.half, &clean, &other)?, number(&pair.full, &clean, &other)?);
                let apart: Vec<f64> = half.iter().zip(&full).map(|(a, b)| a - b).collect();
                misses.add(format!("{name} {dtype:?}: {what}"), size(&apart) / logits, 3. * tolerance);
            }
        }
    }
    misses.finish();
    Ok(())
}
