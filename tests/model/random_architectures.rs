//! Identities on random architectures: what is computed cleverly against whole runs, and what claims to sum, summed. Norms, windows,
//! caps, shared keys, both directions, positions of all kinds, padding on either side, as the dice fall; the seeds are fixed.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::model::{AttentionType, PositionalEmbeddingType, QkNormType};
use candle_lens::prelude::*;

use crate::support::damage::{Damage, cases};
use crate::support::fixture::numbers;

/// How far an identity may be off, as a share of its numbers where they are above 1: f32 through three blocks whose weights are
/// large.
const ROUNDING: f64 = 2e-4;

/// A config as the dice fall; some are of no model.
pub fn config(dice: &mut Damage) -> HookedTransformerConfig {
    let n_heads = [1, 2, 4][dice.below(3)];
    let n_layers = 1 + dice.below(3);
    let mut yes = |one_in: usize| dice.below(one_in) == 0;
    let norms = [NormalizationType::LN, NormalizationType::LNPre, NormalizationType::RMS, NormalizationType::RMSPre];
    let windows = yes(4);
    let cfg = HookedTransformerConfig {
        n_layers,
        d_model: 8,
        n_heads,
        n_key_value_heads: yes(3).then_some(1),
        d_head: Some(4),
        d_mlp: Some(12),
        d_vocab: 17,
        n_ctx: 9,
        attn_only: yes(4),
        parallel_attn_mlp: yes(4),
        gated_mlp: yes(3),
        use_normalization_before_and_after: yes(5),
        use_normalization_after_only: yes(5),
        use_qk_norm: yes(4),
        rotary_base_local: yes(3).then_some(50.0),
        scale_attn_by_inverse_layer_idx: yes(6),
        attention_dir: if yes(5) { AttentionDir::Bidirectional } else { AttentionDir::Causal },
        attn_scores_soft_cap: yes(5).then_some(3.0),
        output_logits_soft_cap: yes(5).then_some(5.0),
        attn_scale: yes(5).then_some(1.5),
        window_size: windows.then_some(2),
        initializer_range: Some(0.4),
        ..Default::default()
    };
    let types = [AttentionType::Global, AttentionType::Local];
    let attn_types = windows.then(|| (0..n_layers).map(|_| types[dice.below(2)]).collect());
    let act_fns = [ActFn::Gelu, ActFn::GeluNew, ActFn::Relu, ActFn::Silu, ActFn::QuickGelu, ActFn::Solu, ActFn::SoluLn];
    let positions = [
        PositionalEmbeddingType::Standard,
        PositionalEmbeddingType::Rotary,
        PositionalEmbeddingType::Shortformer,
        PositionalEmbeddingType::Alibi,
    ];
    let qk_norms = [QkNormType::RMS, QkNormType::LN, QkNormType::LNPerHead, QkNormType::RMSAcrossHeads];
    HookedTransformerConfig {
        use_normalization_before_and_after: cfg.use_normalization_before_and_after && !cfg.use_normalization_after_only,
        qk_norm_type: qk_norms[dice.below(qk_norms.len())],
        gated_mlp_biases: cfg.gated_mlp && dice.below(2) == 0,
        attn_types,
        act_fn: act_fns[dice.below(act_fns.len())],
        normalization_type: if dice.below(6) == 0 { NormalizationType::None } else { norms[dice.below(norms.len())] },
        positional_embedding_type: positions[dice.below(positions.len())],
        ..cfg
    }
}

/// A model whose biases and norms are not those of a new one.
pub fn model(cfg: HookedTransformerConfig, seed: u64) -> Result<HookedTransformer> {
    let (model, variables) = HookedTransformer::trainable(cfg, seed, &Device::Cpu)?;
    for (salt, variable) in variables.iter().enumerate() {
        let noise = (0..variable.elem_count()).map(|i| ((i * 7919 + salt * 104_729) as f32 * 0.618_034).sin() * 0.2);
        let noise = Tensor::from_vec(noise.collect::<Vec<_>>(), variable.dims(), &Device::Cpu)?;
        variable.set(&(variable.as_tensor() + noise)?)?;
    }
    Ok(model.without_weight_gradients())
}

/// Two batches of like lengths: whole, or padded on one side.
fn batches(dice: &mut Damage) -> (Tokens, Tokens) {
    let side = [None, Some(PaddingSide::Left), Some(PaddingSide::Right)][dice.below(3)];
    let lengths = if side.is_some() { [6, 3, 5] } else { [6, 6, 6] };
    let mut batch = || {
        let rows = lengths.map(|length| (0..length).map(|_| 1 + dice.below(16) as u32).collect()).to_vec();
        Tokens::padded(rows, 0, side.unwrap_or_default()).expect("rows")
    };
    (batch(), batch())
}

/// How far two lists are apart, as a share of what they hold.
fn apart(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
    let off = got.iter().zip(expected).map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() / size });
    off.fold(0.0, |worst, off| if off.is_nan() { f64::INFINITY } else { worst.max(off) })
}

/// The rows of `[batch, pos, d]` that are of tokens.
fn real(x: &Tensor, tokens: &Tokens) -> Result<Vec<f64>> {
    let pos = tokens.pos();
    let rows: Vec<u32> =
        (0..tokens.batch() * pos).filter(|&i| tokens.is_real(i / pos, i % pos)).map(|i| i as u32).collect();
    Ok(numbers(&x.flatten_to(1)?.index_select(&Tensor::new(rows, &Device::Cpu)?, 0)?))
}

/// What must be 0, by name.
type Found = Vec<(String, f64)>;

fn parts_that_sum(model: &HookedTransformer, tokens: &Tokens, found: &mut Found) -> Result<()> {
    let (_, cache) = model.run_with_cache(tokens.clone())?;
    let n_layers = model.cfg().n_layers;
    for layer in 0..=n_layers as isize {
        let stream = match layer as usize == n_layers {
            true => cache.get(("resid_post", layer - 1))?,
            false => cache.get(("resid_pre", layer))?,
        };
        let stream = real(&stream, tokens)?;
        let parts = cache.decompose_resid(Stack::components().before(layer))?;
        found.push((format!("decompose_resid before {layer}"), apart(&real(&parts.sum()?, tokens)?, &stream)));
        if model.dims().norms_after {
            continue;
        }
        for expand_neurons in [false, true] {
            let everything = Stack::everything().before(layer);
            let query = if expand_neurons { everything } else { everything.whole_mlps() };
            let parts = cache.get_full_resid_decomposition(model, query)?;
            let what = format!("the full decomposition before {layer}, neurons {expand_neurons}");
            found.push((what, apart(&real(&parts.sum()?, tokens)?, &stream)));
        }
    }
    Ok(())
}

fn sites_and_whole_runs(
    model: &HookedTransformer,
    (clean, corrupted): (&Tokens, &Tokens),
    dice: &mut Damage,
    found: &mut Found,
) -> Result<()> {
    let answers = model.answers((0..clean.batch() as u32).map(|b| (b + 1, b + 5)))?;
    let metric = Metric::logit_diff(&answers);
    let patching = Experiment::new(model, clean.clone(), corrupted.clone(), metric)?.budget(1 << (12 + dice.below(12)));
    let (_, cache) = model.run_with_cache(clean.clone())?;
    let points = cache.iter().map(|(point, _)| point).filter(|point| point.layer().is_some());
    let points: Vec<HookPoint> = points.collect();
    for _ in 0..3 {
        let point = points[dice.below(points.len())];
        let result = patching.sites(&[PatchSite::new(model, point)?]);
        // A budget may be too small for a single site.
        let Ok(result) = result else { return Ok(()) };
        let plan = HookPlan::new().edit(point, Edit::replace(cache.get(point)?));
        let (logits, _) = model.run_with_hooks(corrupted.clone(), &plan)?;
        let whole = answers.logit_diff(&logits, corrupted)?;
        let whole: Vec<f64> = whole.values().iter().map(|x| f64::from(*x)).collect();
        let ours: Vec<f64> = result.per_prompt.values().iter().map(|x| f64::from(*x)).collect();
        found.push((format!("{point} patched"), apart(&ours, &whole)));
    }
    Ok(())
}

fn a_past_and_the_whole(model: &HookedTransformer, found: &mut Found) -> Result<()> {
    if model.cfg().attention_dir == AttentionDir::Bidirectional {
        return Ok(());
    }
    let ids = [3, 1, 4, 1, 5, 9];
    let whole = model.forward(ids.to_vec())?;
    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    let past = model.run(ids[..4].to_vec(), HookPlan::new(), &keep)?.kv_cache;
    let on = RunOptions { past_kv_cache: past, ..Default::default() };
    let rest = model.run(ids[4..].to_vec(), HookPlan::new(), &on)?.logits.expect("the options ask for logits");
    found.push(("a run behind a past".into(), apart(&numbers(&rest), &numbers(&whole.narrow(1, 4, 2)?))));
    Ok(())
}

fn edges_and_circuits(
    model: &HookedTransformer,
    (clean, corrupted): (&Tokens, &Tokens),
    dice: &mut Damage,
    found: &mut Found,
) -> Result<()> {
    let metric = Metric::logit_diff(&model.answers((0..clean.batch() as u32).map(|b| (b + 1, b + 5)))?);
    let Ok(edges) =
        Experiment::new(model, clean.clone(), corrupted.clone(), metric).and_then(|experiment| experiment.edges())
    else {
        return Ok(());
    };
    let scores = edges.attribute(EdgeMethod::Exact)?;
    let all = scores.full();
    for _ in 0..3 {
        let names = all.edges();
        let edge = names[dice.below(names.len())];
        let without = edges.evaluate(&all.without(edge)?)?.metric;
        let change = f64::from(without - edges.clean());
        let score = f64::from(scores.score(edge)?);
        // Whether what helps has a positive score or a negative one is a matter of convention, held elsewhere.
        let off = (score.abs() - change.abs()).abs() / f64::from(edges.clean().abs()).max(1.0);
        found.push((format!("{edge} corrupted"), off));
    }
    Ok(())
}

#[test]
fn identities_hold_on_random_architectures() -> Result<()> {
    let (mut tried, mut checks) = (0, 0);
    let mut failures = Vec::new();
    for seed in 0..cases(120) as u64 {
        let mut dice = Damage::new(1000 + seed);
        let cfg = config(&mut dice);
        if cfg.check().is_err() {
            continue;
        }
        let what = format!("seed {seed}, {cfg:?}");
        let model = model(cfg, seed)?;
        let (clean, corrupted) = batches(&mut dice);
        tried += 1;
        let mut found = Found::new();
        parts_that_sum(&model, &clean, &mut found)?;
        sites_and_whole_runs(&model, (&clean, &corrupted), &mut dice, &mut found)?;
        a_past_and_the_whole(&model, &mut found)?;
        if seed % 4 == 0 {
            edges_and_circuits(&model, (&clean, &corrupted), &mut dice, &mut found)?;
        }
        checks += found.len();
        let mut wrong = found.into_iter().filter(|(_, off)| *off > ROUNDING);
        if let Some((name, off)) = wrong.next() {
            failures.push(format!("{name} is off by {off:.1e}, as are {} others: {what}", wrong.count()));
        }
    }
    println!("{checks} identities on {tried} architectures");
    assert!(tried * 2 > cases(120), "{tried}: most configs were of no model");
    assert!(failures.is_empty(), "{} of {tried} architectures: {failures:#?}", failures.len());
    Ok(())
}
