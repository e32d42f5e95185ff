//! What is done with the vectors of a Jacobian lens, against TransformerLens 4.3 (tests/fixtures/jacobian.py) and by identities;
//! and what is refused.

use candle_lens::Result;
use candle_lens::candle::{D, DType, Device, IndexOp, Tensor};
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::lenses::{JacobianLens, JacobianOptions};
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::random::Random;
use candle_lens::tokens::{PaddingSide, Tokens};

use super::jacobian::{far, raw, raw_as, references};
use crate::support::fixture::{Agreement, Reference, path};
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED, TWO_WAYS, VISIBLE};

/// Differences of sums of numbers near 1 that are not held in f64.
const DIFFERENCES: f32 = 1e-3;

/// TransformerLens adds the unit of a vector, scaled by the median length of the residual stream that it meets.
#[test]
fn steering_is_that_of_transformer_lens() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model, tokens, reference) in references() {
        let (lens, prompt) = (JacobianLens::fit(&model, &tokens, JacobianOptions::default())?, vec![tokens.row(0)]);
        let mut plan = HookPlan::new();
        for layer in lens.layers() {
            let (_, cache) = model.run_with_hooks(prompt.clone(), plan.clone().capture(("resid_post", layer)))?;
            let mut lengths =
                cache.get(("resid_post", layer))?.sqr()?.sum(2)?.sqrt()?.flatten_all()?.to_vec1::<f32>()?;
            lengths.sort_by(f32::total_cmp);
            // The lower of the two in the middle.
            let scale = 0.5 * lengths[(lengths.len() - 1) / 2];
            let vector = lens.direction(&model, 7u32, layer as isize)?.unit()?;
            assert_eq!(vector.name(), format!("{:?} of the Jacobian lens", model.piece(7)));
            plan = plan.edit(("resid_post", layer), Edit::add((vector.values() * f64::from(scale))?));
        }
        let (logits, _) = model.run_with_hooks(prompt, &plan)?;
        agreement.check(&format!("{name}, steered"), &logits, reference.get(&format!("{name}.steered")));
    }
    agreement.finish("steering");
    Ok(())
}

#[test]
fn vectors_and_interventions_are_those_of_transformer_lens() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model, tokens, reference) in references() {
        let lens = JacobianLens::fit(&model, &tokens, JacobianOptions::default())?;
        let prompt = vec![tokens.row(0)];
        let (_, clean) = model.run_with_cache(prompt.clone())?;
        let (mut ablated, mut swapped, mut clamped) = (HookPlan::new(), HookPlan::new(), HookPlan::new());
        for layer in lens.layers() {
            let at = layer as isize;
            let expected = reference.get(&format!("{name}.vectors.{layer}"));
            agreement.check(&format!("{name}, vectors"), &lens.vectors(&model, [7u32, 9, 11], at)?, expected);
            let edit = lens.ablate(&model, [7u32, 9, 11], at)?.pos([-1, 3]);
            ablated = ablated.edit(("resid_post", layer), edit);
            swapped = swapped.edit(("resid_post", layer), lens.swap(&model, 7u32, 9u32, at, 2)?);
            clamped = clamped.edit(("resid_post", layer), lens.clamp(&model, &clean, 7u32, 9u32, at, 1)?);
        }
        for (what, plan) in [("ablated", ablated), ("swapped", swapped), ("clamped", clamped)] {
            let (logits, _) = model.run_with_hooks(prompt.clone(), &plan)?;
            agreement.check(&format!("{name}, {what}"), &logits, reference.get(&format!("{name}.{what}")));
        }
    }
    agreement.finish("interventions");
    Ok(())
}

#[test]
fn decompositions_are_those_of_transformer_lens() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model, tokens, reference) in references() {
        let lens = JacobianLens::fit(&model, &tokens, JacobianOptions::default())?;
        let (_, cache) = model.run_with_cache(vec![tokens.row(0)])?;
        let resid = cache.get(("resid_post", -2))?.i((0, tokens.pos() - 1))?;
        let split = lens.decompose(&model, &resid, -2, 6)?;
        let expected = reference.get(&format!("{name}.split.tokens")).to_vec1::<i64>()?;
        assert_eq!(split.tokens.iter().map(|id| i64::from(*id)).collect::<Vec<_>>(), expected, "{name}");
        let got = Tensor::new(&split.coefficients[..], &Device::Cpu)?;
        agreement.check(&format!("{name}, coefficients"), &got, reference.get(&format!("{name}.split.coefficients")));
        for (what, got) in [("reconstruction", &split.reconstruction), ("projection", &split.projection)] {
            agreement.check(&format!("{name}, {what}"), got, reference.get(&format!("{name}.split.{what}")));
        }
    }
    agreement.finish("decompositions");
    Ok(())
}

#[test]
fn interventions_do_what_they_say() -> Result<()> {
    let (model, reference) = (raw("jacobian/model"), Reference::load("jacobian/reference.safetensors"));
    let lens = JacobianLens::load(path("jacobian/lens.pt"), &model)?;
    let rows = reference.tokens("gpt2.tokens");
    let padded = Tokens::padded(vec![rows.row(0), rows.row(1)[..9].to_vec()], 0, PaddingSide::Left)?;
    let clean = model.run_with_cache(&padded)?.1;
    let after = |edits: Vec<Edit>| -> Result<Tensor> {
        let plan = edits.into_iter().fold(HookPlan::new(), |plan, edit| plan.edit(("resid_post", 1), edit));
        model.run_with_hooks(&padded, plan.capture(("resid_post", 1)))?.1.get(("resid_post", 1))
    };
    let before = clean.get(("resid_post", 1))?;
    let swap = |strength: i32| lens.swap(&model, 7u32, 9u32, 1, strength);
    assert!(far(&after(vec![swap(1)?])?, &before)? > VISIBLE);
    assert_eq!(far(&after(vec![swap(0)?])?, &before)?, 0.);
    assert!(far(&after(vec![swap(1)?, swap(1)?])?, &before)? < REORDERED, "twice is not at all");
    let clamp = || lens.clamp(&model, &clean, 7u32, 9u32, 1, 1);
    let once = after(vec![clamp()?])?;
    assert!(far(&once, &after(vec![swap(1)?])?)? < REORDERED, "the first time it is a swap");
    assert!(far(&once, &after(vec![clamp()?, clamp()?])?)? < REORDERED, "the second time nothing changes");
    // What is orthogonal to both vectors stays.
    let vectors = lens.vectors(&model, [7u32, 9], 1)?;
    let removed = after(vec![lens.ablate(&model, [7u32, 9], 1)?])?;
    assert!(removed.broadcast_matmul(&vectors.t()?)?.abs()?.max_all()?.to_scalar::<f32>()? < TWO_WAYS);
    let left = after(vec![swap(1)?, lens.ablate(&model, [7u32, 9], 1)?])?;
    assert!(far(&left, &removed)? < REORDERED);
    // A token and its double span one direction.
    let double = after(vec![lens.ablate(&model, [7u32, 7], 1)?])?;
    assert!(far(&double, &after(vec![lens.ablate(&model, [7u32], 1)?])?)? < REORDERED);
    Ok(())
}

#[test]
fn a_sum_of_vectors_is_found_again() -> Result<()> {
    let model = raw("jacobian/model");
    let lens = JacobianLens::load(path("jacobian/lens.pt"), &model)?;
    let vectors = lens.vectors(&model, [3u32, 30], 2)?;
    let sum = (vectors.get(0)? * 2.)?.add(&(vectors.get(1)? * 0.5)?)?;
    let split = lens.decompose(&model, &sum, 2, 16)?;
    let mut found: Vec<_> = split.tokens.iter().zip(&split.coefficients).filter(|(_, times)| **times > 0.1).collect();
    found.sort_by_key(|(id, _)| **id);
    assert!(far(&split.reconstruction, &sum)? < DIFFERENCES, "{split}");
    assert!(split.share > 0.999, "{split}");
    // Errors do not grow with k, and what is left is orthogonal to what was projected on.
    let mut last = f32::INFINITY;
    let resid = Random::new(5).normal(16)?;
    for k in 1..=16 {
        let split = lens.decompose(&model, &resid, 2, k)?;
        let left = (&resid - &split.reconstruction)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
        assert!(left <= last + LAST_DIGITS, "{k}: {left}");
        last = left;
        assert!(split.coefficients.iter().all(|times| *times > 0.));
        let product = ((&resid - &split.projection)? * &split.projection)?.sum_all()?.to_scalar::<f32>()?;
        assert!(product.abs() < TWO_WAYS, "{k}: {product}");
    }
    Ok(())
}

#[test]
fn mistakes_are_explained() -> Result<()> {
    let folder = path("jacobian/model");
    let processed = HookedTransformer::from_pretrained(folder.to_str().expect("UTF-8"))?;
    let (model, tokens) = (raw("jacobian/model"), vec![vec![1u32; 20]]);
    let fit = |model: &HookedTransformer, options| JacobianLens::fit(model, tokens.clone(), options);
    let plain = JacobianOptions::default;
    sentence(fit(&processed, plain()), &["fold_ln", "from_pretrained_no_processing"]);
    let lens = JacobianLens::load(path("jacobian/lens.pt"), &model)?;
    sentence(lens.vectors(&processed, [7u32], 1), &["fold_ln"]);
    sentence(fit(&model, JacobianOptions { first: 19, ..plain() }), &["too short", "21 tokens"]);
    sentence(fit(&model, JacobianOptions { layers: (-1).into(), ..plain() }), &["layer 3", "0 to 2"]);
    sentence(fit(&model, JacobianOptions { layers: 9.into(), ..plain() }), &["layer 9"]);
    let half = raw_as("jacobian/model", DType::BF16);
    sentence(fit(&half, plain()), &["BF16", "f32"]);
    let cfg = HookedTransformerConfig { n_layers: 1, ..(*model.cfg()).clone() };
    let (one, _) = HookedTransformer::trainable(cfg, 1, &Device::Cpu)?;
    sentence(fit(&one, plain()), &["two layers"]);
    let some = fit(&model, JacobianOptions { layers: 1.into(), ..plain() })?;
    let eye = |width: usize| Tensor::eye(width, DType::F32, &Device::Cpu);
    sentence(JacobianLens::new(&model, []), &["no matrix"]);
    sentence(JacobianLens::new(&model, [(3, eye(16)?)]), &["layer 3"]);
    sentence(JacobianLens::new(&model, [(0, eye(16)?), (0, eye(16)?)]), &["layer 0 was given twice"]);
    sentence(JacobianLens::new(&model, [(0, eye(8)?)]), &["[8, 8]", "[16, 16]"]);
    sentence(JacobianLens::new(&model, [(0, (eye(16)? / 0.)?)]), &["not finite"]);
    sentence(some.matrix(0), &["not fitted at layer 0", "[1]"]);
    sentence(some.matrix(4), &["layer 4"]);
    sentence(lens.transport(&Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?, 0), &["[.., 16]"]);
    sentence(lens.swap(&model, 7u32, 7u32, 1, 1), &["twice"]);
    sentence(lens.swap(&model, 7u32, 8u32, 1, f64::NAN), &["NaN"]);
    sentence(lens.vectors(&model, [400u32], 1), &["400"]);
    let elsewhere = HookPlan::new().edit(("resid_post", 0), lens.swap(&model, 7u32, 8u32, 1, 1)?);
    sentence(
        model.run_with_hooks(tokens.clone(), elsewhere),
        &["blocks.1.hook_resid_post", "blocks.0.hook_resid_post"],
    );
    let (_, clean) = model.run_with_cache(vec![vec![1u32; 5]])?;
    let clamped = HookPlan::new().edit(("resid_post", 1), lens.clamp(&model, &clean, 7u32, 8u32, 1, 1)?);
    sentence(model.run_with_hooks(tokens.clone(), clamped), &["as in the clean run"]);
    let zeros = Tensor::zeros(16, DType::F32, &Device::Cpu)?;
    sentence(lens.decompose(&model, &zeros, 1, 5), &["zero"]);
    sentence(lens.decompose(&model, &zeros.ones_like()?, 1, 0), &["k is 0"]);
    sentence(lens.decompose(&model, &Tensor::zeros((1, 16), DType::F32, &Device::Cpu)?, 1, 5), &["[16]"]);
    Ok(())
}

/// Half-precision models are read with a lens of their f32 weights, in f32.
#[test]
fn half_precision_is_read() -> Result<()> {
    /// The precision of bf16 through four layers.
    const COARSE: f32 = 0.2;
    let model = raw("jacobian/model");
    let lens = JacobianLens::fit(&model, vec![(0..20u32).collect::<Vec<_>>()], JacobianOptions::default())?;
    let half = raw_as("jacobian/model", DType::BF16);
    let vectors = lens.vectors(&half, [7u32, 9], 1)?;
    assert_eq!(vectors.dtype(), DType::F32);
    assert!(far(&vectors, &lens.vectors(&model, [7u32, 9], 1)?)? < COARSE);
    let plan = |model: &HookedTransformer| -> Result<HookPlan> {
        Ok(HookPlan::new().edit(("resid_post", 1), lens.ablate(model, [7u32, 9], 1)?).capture(("resid_post", 1)))
    };
    let (_, cache) = half.run_with_hooks(vec![vec![1u32, 2, 3]], plan(&half)?)?;
    assert_eq!(cache.get(("resid_post", 1))?.dtype(), DType::BF16);
    let moved = lens.transport(&cache.get(("resid_post", 1))?, 1)?;
    assert_eq!((moved.dtype(), moved.dim(D::Minus1)?), (DType::F32, 16));
    Ok(())
}
