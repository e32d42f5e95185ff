//! What holds exactly: all of an activation is activation patching, strength 0 changes nothing, any rotation of a basis is the same.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, IndexOp, Tensor};
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

use crate::support::fixture::path;
use crate::support::models::{architecture, pretrained};
use crate::support::tolerance::{REORDERED, TWO_WAYS};

/// One of each kind: absolute and rotated positions, grouped queries and gates, parallel blocks, attention alone, processed and raw.
fn models() -> Vec<(&'static str, HookedTransformer)> {
    let family = |name: &str| path(&format!("families/{name}")).to_str().expect("the path is UTF-8").to_string();
    let all = [
        ("tiny", pretrained("tiny", None)),
        ("tiny, raw", pretrained("tiny", Some(Processing::NONE))),
        ("llama3", pretrained(&family("llama3"), None)),
        ("qwen3", pretrained(&family("qwen3"), Some(Processing::NONE))),
        ("gptj", pretrained(&family("gptj"), None)),
        ("gemma2", pretrained(&family("gemma2"), Some(Processing::NONE))),
        ("bloom", pretrained(&family("bloom"), None)),
        ("shortformer", architecture("shortformer_mlp", Some(Processing::NONE))),
    ];
    all.map(|(name, model)| (name, model.unwrap_or_else(|error| panic!("{name}: {error}")))).into()
}

fn rows(model: &HookedTransformer, lengths: &[usize], seed: u64) -> Vec<Vec<u32>> {
    let mut random = Random::new(seed);
    let most = model.cfg().d_vocab.min(model.cfg().d_vocab_out());
    lengths.iter().map(|length| (0..*length).map(|_| random.below(most) as u32).collect()).collect()
}

/// Pairs of bases and sources of several lengths, padded on this side.
fn pairs(model: &HookedTransformer, side: PaddingSide) -> Result<(Interchange, Tokens, Tokens)> {
    let base = Tokens::padded(rows(model, &[5, 3, 6], 1), 0, side)?;
    let source = Tokens::padded(rows(model, &[4, 6, 4], 2), 0, side)?;
    let pairs = Interchange::new(model, &base, &source, [1, 2, 3])?;
    Ok((pairs, base, source))
}

fn floats(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32).and_then(|x| x.flatten_all()?.to_vec1()).expect("numbers")
}

fn most_apart(a: &Labelled, b: &Labelled) -> f32 {
    a.values().iter().zip(b.values().iter()).map(|(a, b)| (a - b).abs()).fold(0., f32::max)
}

/// The logits of the answers 1, 2 and 3 when the activation of each source's last token is put at the last token of its base, in whole runs.
fn patched(model: &HookedTransformer, base: &Tokens, source: &Tokens, point: (&str, i32)) -> Result<Vec<f32>> {
    let (_, cache) = model.run_with_hooks(source, HookPlan::new().capture(point))?;
    let x = cache.get(point)?;
    let mut plan = HookPlan::new();
    for (pair, (from, to)) in source.last_positions().into_iter().zip(base.last_positions()).enumerate() {
        plan = plan.edit(point, Edit::replace(x.i((pair, from))?).batch(pair).pos(to));
    }
    let logits = model.run_with_hooks(base, plan)?.0;
    let at = base.last_positions().into_iter().enumerate();
    Ok(at.flat_map(|(pair, at)| floats(&logits.i((pair, at, 1..4)).expect("three answers"))).collect())
}

#[test]
fn all_of_an_activation_is_activation_patching() -> Result<()> {
    for (name, model) in models() {
        for side in [PaddingSide::Right, PaddingSide::Left] {
            let (pairs, base, source) = pairs(&model, side)?;
            for point in [("resid_pre", 0), ("resid_post", -1), ("attn_out", 1), ("z", 0)] {
                let width = model.collect_activations(&source, point, Positions::Last)?.dim(1)?;
                let got = pairs.logits(point, &Subspace::whole(width)?)?;
                let expected = patched(&model, &base, &source, point)?;
                let apart = got.values().iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
                assert!(apart < REORDERED, "{name}, {point:?}, {side}: {apart}");
            }
        }
    }
    Ok(())
}

/// The engine of sweeps, which runs only the positions that change.
#[test]
fn it_is_the_engines_patching_too() -> Result<()> {
    let model = pretrained("tiny", None)?;
    let batch = Task::Ioi.prompts(Split::Train, 60, 0)?.one_length(&model)?.head(6).batch(&model)?;
    let metric = Metric::logit(&model, vec![7u32; batch.clean.batch()])?;
    let experiment = Experiment::new(&model, &batch.clean, &batch.corrupted, metric)?.noising()?;
    let predicted = vec![7u32; batch.clean.batch()];
    let pairs = Interchange::new(&model, &batch.clean, &batch.corrupted, predicted)?.among([8u32])?;
    let whole = Subspace::whole(model.cfg().d_model)?;
    for at in [5, 9] {
        let result = experiment.sites(&[experiment.site(("resid_post", 1))?.pos(at)])?;
        let got = pairs.clone().at(at)?.logits(("resid_post", 1), &whole)?;
        let (a, b) = (got.select("answer", 0)?, result.per_prompt);
        assert!(a.values().iter().zip(b.values().iter()).all(|(a, b)| (a - b).abs() < TWO_WAYS), "position {at}");
    }
    // Several positions at once, and all of them.
    let all = pairs.clone().at(..)?.logits(("resid_post", 1), &whole)?;
    let own =
        Interchange::new(&model, &batch.corrupted, &batch.corrupted, vec![7u32; batch.clean.batch()])?.among([8u32])?;
    let corrupted = own.logits(("resid_post", 1), &Subspace::random(model.cfg().d_model, 1, 0)?)?;
    assert!(most_apart(&all, &corrupted) < TWO_WAYS);
    Ok(())
}

#[test]
fn strength_0_and_sources_like_their_bases_change_nothing() -> Result<()> {
    for (name, model) in models() {
        let (pairs, base, _) = pairs(&model, PaddingSide::Right)?;
        let subspace = Subspace::random(model.cfg().d_model, 2, 0)?;
        let logits = model.forward(&base)?;
        let at = base.last_positions().into_iter().enumerate();
        let own: Vec<f32> =
            at.flat_map(|(pair, at)| floats(&logits.i((pair, at, 1..4)).expect("three answers"))).collect();
        let still = pairs.clone().strength(0.)?.logits(("resid_post", 1), &subspace)?;
        let alike = Interchange::new(&model, &base, &base, [1, 2, 3])?.logits(("resid_post", 1), &subspace)?;
        for (what, got) in [("strength 0", still), ("the base itself", alike)] {
            let apart = got.values().iter().zip(&own).map(|(a, b)| (a - b).abs()).fold(0., f32::max);
            assert!(apart < REORDERED, "{name}, {what}: {apart}");
        }
        let moved = pairs.logits(("resid_post", 1), &subspace)?;
        assert!(moved.values().iter().zip(&own).any(|(a, b)| (a - b).abs() > REORDERED), "{name} is moved");
    }
    Ok(())
}

#[test]
fn any_rotation_of_a_basis_is_the_same_subspace() -> Result<()> {
    for (name, model) in models() {
        let (pairs, ..) = pairs(&model, PaddingSide::Left)?;
        let subspace = Subspace::random(model.cfg().d_model, 3, 5)?;
        let rotation = Subspace::random(3, 3, 8)?.basis();
        let rotated = Subspace::new(&subspace.basis().matmul(&rotation)?)?;
        let point = ("resid_mid", 0);
        let point = if model.dims().parallel_attn_mlp { ("resid_pre", 1) } else { point };
        let (a, b) = (pairs.logits(point, &subspace)?, pairs.logits(point, &rotated)?);
        assert!(most_apart(&a, &b) < REORDERED, "{name}: {}", most_apart(&a, &b));
    }
    Ok(())
}

/// By hand: `h + s ((h_source - h) B) B^T` as an edit of a whole run.
#[test]
fn the_formula_is_the_formula() -> Result<()> {
    let model = pretrained("tiny", None)?;
    let (base, source) = (
        model.to_tokens(["The keys on the cabinet", "The old child near the author"])?,
        model.to_tokens("The author by the keys")?,
    );
    let source = Tokens::from_rows(vec![source.row(0), source.row(0)])?;
    let basis = Subspace::random(model.cfg().d_mlp(), 2, 3)?;
    let pairs = Interchange::new(&model, &base, &source, [" is", " are"])?.strength(0.7)?;
    let got = pairs.logits(("post", 2), &basis)?;
    let (of_source, b) = (model.collect_activations(&source, ("post", 2), Positions::Last)?, basis.basis());
    let own = model.collect_activations(&base, ("post", 2), Positions::Last)?;
    let moved = (&own + ((of_source - &own)?.matmul(&b)?.matmul(&b.t()?)? * 0.7)?)?;
    let mut plan = HookPlan::new();
    for (pair, at) in base.last_positions().into_iter().enumerate() {
        plan = plan.edit(("post", 2), Edit::replace(moved.get(pair)?).batch(pair).pos(at));
    }
    let logits = model.run_with_hooks(&base, plan)?.0;
    for (pair, at) in base.last_positions().into_iter().enumerate() {
        for (number, answer) in [" is", " are"].into_iter().enumerate() {
            let by_hand = logits.i((pair, at, model.to_single_token(answer)? as usize))?.to_scalar::<f32>()?;
            assert!((got.at(&[pair as isize, number as isize])? - by_hand).abs() < TWO_WAYS);
        }
    }
    Ok(())
}

/// In half precision an interchange is computed in f32; a basis is not learnt there.
#[test]
fn half_precision_is_moved_and_not_learnt() -> Result<()> {
    let options = LoadOptions { dtype: DType::BF16, ..Default::default() };
    let model = HookedTransformer::from_pretrained_with("tiny", options)?;
    let pairs = Interchange::new(&model, ["The key", "The keys"], ["The children", "The child"], [" are", " is"])?;
    let whole = pairs.logits(("resid_post", 1), &Subspace::whole(model.cfg().d_model)?)?;
    let nearly = Subspace::span(&Tensor::eye(model.cfg().d_model, DType::F32, &Device::Cpu)?)?;
    assert_eq!(most_apart(&whole, &pairs.logits(("resid_post", 1), &nearly)?), 0.);
    let message = pairs.study(&pairs, ("resid_post", 1), DasOptions::default()).expect_err("half").to_string();
    assert!(message.contains("learnt in f32"), "{message}");
    Ok(())
}
