//! The features that are active in prompts, and their shares: against dense activations, finite differences and the residual
//! stream's own decomposition.

use candle_lens::Result;
use candle_lens::prelude::*;

use super::made::{PROMPT, at, dot, every_kind, less_mean, made, row, rows, tiny, transcoder, unprocessed, written};
use crate::support::sentence::sentence;
use crate::support::tolerance::TWO_WAYS;

/// The same text alone and in a batch with others.
const IN_A_BATCH: f32 = 1e-4;

/// Shares in a logit of 10, each from f32 sums of 128.
const SHARES: f32 = 1e-3;

/// A central difference of f32 logits with steps of 5 % of an activation, relative to the largest share.
const DIFFERENCES: f32 = 2e-2;

fn padded(model: &HookedTransformer, side: PaddingSide) -> Result<Tokens> {
    let rows = [PROMPT, "Then Mary and John had a drink, and Mary gave it to"].map(|text| model.to_tokens(text));
    let rows = rows.into_iter().map(|tokens| Ok(tokens?.row(0))).collect::<Result<Vec<_>>>()?;
    Tokens::padded(rows, model.tokenizer()?.pad_id().unwrap_or(0), side)
}

#[test]
fn features_of_are_the_dense_activations() -> Result<()> {
    let model = tiny();
    let all = every_kind();
    let (tokens, padded) = (padded(&model, PaddingSide::Right)?, padded(&model, PaddingSide::Left)?);
    for tokens in [tokens, padded] {
        let found = model.features_of(&all[..4], &tokens)?;
        let mut count = 0;
        for dictionary in &all[..4] {
            let point = dictionary.expects().hook_in.expect("it has a point").to_string();
            let (_, cache) = model.run_with_hooks(&tokens, HookPlan::new().capture(point.as_str()))?;
            let acts = dictionary.encode_dense(&cache.get(point.as_str())?)?.to_vec3::<f32>()?;
            let of = found.of(&dictionary.name())?;
            for active in &of.features {
                let (b, p) = (active.prompt, active.position);
                assert!((acts[b][p][active.feature] - active.activation).abs() < IN_A_BATCH, "{active}");
                assert_eq!(active.token, model.piece(tokens.id(b, p)));
                assert_eq!(active.share, active.activation);
            }
            let first = tokens.first_positions();
            let counts = |b: usize, p: usize| tokens.is_real(b, p) && p != first[b];
            let expected = (0..2).flat_map(|b| (0..tokens.pos()).map(move |p| (b, p))).filter(|&(b, p)| counts(b, p));
            count += expected.map(|(b, p)| acts[b][p].iter().filter(|value| **value != 0.).count()).sum::<usize>();
        }
        assert_eq!(found.len(), count);
        assert!(found.without_bos && found.features.windows(2).all(|pair| pair[0].share.abs() >= pair[1].share.abs()));
        let last = found.at(-1)?;
        assert!(!last.is_empty() && last.features.iter().all(|active| active.position == tokens.pos() - 1));
        assert_eq!(found.top(3).features, found.features[..3]);
        assert!(found.prompt(1)?.features.iter().all(|active| active.prompt == 1));
    }
    Ok(())
}

#[test]
fn gradient_shares_are_finite_differences() -> Result<()> {
    for model in [tiny(), unprocessed()] {
        let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
        for dictionary in [made(2, at("z2"), |parts| parts), made(3, transcoder(1), |parts| parts)] {
            let found = model.features_by_gradient(&dictionary, PROMPT, &metric)?;
            let plain = model.features_of(&dictionary, PROMPT)?;
            assert_eq!(found.len(), plain.len());
            let point = format!("{}.hook_sae_acts_post", dictionary.expects().writes().expect("a point"));
            let tokens = model.to_tokens(PROMPT)?;
            let scaled = |active: &ActiveFeature, factor: f64| {
                let edit = Edit::scale(factor).feature(active.feature as isize).pos(active.position as isize);
                let plan = model.splice(&dictionary, ErrorTerm::Recomputed)?.edit(point.as_str(), edit);
                let (logits, _) = model.run_with_hooks(&tokens, &plan)?;
                model.answers([(" Mary", " John")])?.logit_diff(&logits, &tokens)?.scalar()
            };
            let largest = found.features[0].share.abs();
            for active in &found.top(4).features {
                let difference = (scaled(active, 1.05)? - scaled(active, 0.95)?) / 0.1;
                assert!((difference - active.share).abs() < DIFFERENCES * largest, "{active}: {difference}");
            }
            assert!(matches!(&found.ranked_by, FeatureRanking::Gradient(name) if *name == metric.name()));
        }
    }
    Ok(())
}

/// For what component of the residual stream a dictionary stands.
fn component(dictionary: &Dictionary) -> Option<String> {
    let expects = dictionary.expects();
    let point = expects.writes()?.to_string();
    let layer = point.split('.').nth(1)?.to_string();
    match point.rsplit('.').next()? {
        "hook_z" if expects.head.is_none() => Some(format!("{layer}_attn_out")),
        "hook_attn_out" => Some(format!("{layer}_attn_out")),
        "hook_mlp_out" | "hook_post" => Some(format!("{layer}_mlp_out")),
        _ => None,
    }
}

#[test]
fn the_parts_of_an_attribution_sum_to_the_share_of_the_component() -> Result<()> {
    for model in [tiny(), unprocessed()] {
        for tokens in [padded(&model, PaddingSide::Right)?, padded(&model, PaddingSide::Left)?] {
            let (all, targets) = (every_kind(), Target::differences([(" Mary", " John"), (" John", " Mary")]));
            let found = model.feature_logit_attribution(&all, &tokens, &targets)?;
            let shares = direct_logit_attribution(&model, &tokens, &targets, Unit::Component)?;
            let mut compared = 0;
            for dictionary in &all {
                for prompt in ["0", "1"] {
                    let part = |part: &str| found.parts.get(&[&dictionary.name(), part, prompt]);
                    let sum = ["features", "bias", "skip", "error"].map(part).into_iter().sum::<Result<f32>>()?;
                    let whole = part("whole")?;
                    assert!((sum - whole).abs() < SHARES, "{dictionary}: the parts sum to {sum}, not {whole}");
                    let of = found.features.of(&dictionary.name())?.prompt(prompt.parse().expect("a number"))?;
                    let features: f32 = of.features.iter().map(|active| active.share).sum();
                    assert!((features - part("features")?).abs() < SHARES, "{dictionary}");
                    if let Some(component) = component(dictionary) {
                        let share = shares.get(&[&component, prompt])?;
                        assert!((whole - share).abs() < SHARES, "{dictionary}: {whole}, {component} has {share}");
                        compared += 1;
                    }
                }
            }
            assert_eq!(compared, 12);
        }
    }
    Ok(())
}

/// Each feature's share from its decoder row and the final norm, in f64; the same identity by `residual_stack_to_logit_diff`.
#[test]
fn shares_are_activation_times_row_along_the_answer() -> Result<()> {
    for model in [tiny(), unprocessed()] {
        let answers = model.answers([(" Mary", " John")])?;
        let z = made(2, at("z2"), |parts| parts);
        let found = model.feature_logit_attribution(&z, PROMPT, &answers)?;
        let (_, cache) = model.run_with_cache(PROMPT)?;
        let tokens = cache.tokens();
        let scale = row(&cache.get("ln_final.hook_scale")?)[tokens.pos() - 1];
        let mut direction = row(&model.tokens_to_residual_directions([" Mary"])?);
        let john = row(&model.tokens_to_residual_directions([" John"])?);
        direction.iter_mut().zip(&john).for_each(|(mary, john)| *mary -= john);
        if let Ok(w) = model.weight("ln_final.w") {
            direction.iter_mut().zip(row(&w)).for_each(|(x, w)| *x *= w);
        }
        assert!(!found.features.is_empty());
        for active in &found.features.features {
            let row = less_mean(&written(&z.for_model(&model)?, &model, active.feature)?);
            let expected = f64::from(active.activation) * dot(&row, &direction) / scale;
            assert!((f64::from(active.share) - expected).abs() < f64::from(SHARES), "{active}: {expected}");
            assert_eq!(active.position, tokens.pos() - 1);
        }
        let parts = cache.stack(&model, Stack::components().pos(-1))?;
        let share = residual_stack_to_logit_diff(&model, &cache, &parts, &answers)?.get(&["2_attn_out"])?;
        assert!((found.parts.get(&["random 2", "whole", "0"])? - share).abs() < TWO_WAYS.max(SHARES), "{share}");
    }
    Ok(())
}

#[test]
fn half_precision_gives_shares_too() -> Result<()> {
    let options = LoadOptions { dtype: DType::BF16, ..Default::default() };
    let model = HookedTransformer::from_pretrained_with("tiny", options)?;
    let all = [made(2, at("z2"), |parts| parts), made(4, transcoder(3), |parts| parts)];
    let found = model.feature_logit_attribution(&all, PROMPT, (" Mary", " John"))?;
    for dictionary in &all {
        let part = |part: &str| found.parts.get(&[&dictionary.name(), part, "0"]);
        let sum = ["features", "bias", "skip", "error"].map(part).into_iter().sum::<Result<f32>>()?;
        assert!((sum - part("whole")?).abs() < SHARES, "{dictionary}");
    }
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let by_gradient = model.features_by_gradient(&all, PROMPT, &metric)?;
    assert!(by_gradient.features.iter().all(|active| active.share.is_finite()) && !by_gradient.is_empty());
    let examples = model.feature_examples(&all[0], .., [PROMPT], ExampleOptions::default())?;
    assert!(examples.features.iter().any(|of| !of.top.is_empty()));
    assert_eq!(rows(&all[0].w_dec()).len(), examples.features.len());
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let (model, z) = (tiny(), made(2, at("z2"), |parts| parts));
    sentence(model.features_of(Vec::<Dictionary>::new(), PROMPT), &["no dictionary"]);
    sentence(model.features_of(&z, ""), &["BOS"]);
    let found = model.features_of(&z, PROMPT)?;
    sentence(found.at(1000), &["position"]);
    sentence(found.at(-1000), &["position"]);
    sentence(found.prompt(1), &["prompt"]);
    sentence(found.of("z2"), &["\"z2\"", "random 2"]);
    let two = Target::differences([(" Mary", " John"), (" John", " Mary")]);
    sentence(model.feature_logit_attribution(&z, PROMPT, two), &["2 prompts"]);
    let crossing =
        made(3, transcoder(1), |parts| DictionaryParts { w_dec: parts.w_dec.unsqueeze(1).unwrap(), ..parts });
    sentence(model.feature_logit_attribution(&crossing, PROMPT, " Mary"), &["cross-layer", "features_by_gradient"]);
    let queries = made(1, at("q1"), |parts| parts);
    sentence(model.feature_logit_attribution(&queries, PROMPT, " Mary"), &["hook_q"]);
    Ok(())
}
