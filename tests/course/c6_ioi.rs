//! C6 beside loops and the library's own attribution, and what its text says of the embedded model.

use candle_lens::course::{Outcome, ex};
use candle_lens::prelude::*;

/// Contributions of parts in f32, summed in another order.
const SUMMED_OTHERWISE: f64 = 1e-3;
/// Numbers that a text quotes with two decimals.
const AS_QUOTED: f64 = 0.006;

/// Numbers by loops.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[test]
fn references_are_what_loops_and_the_library_give() -> Result<()> {
    let by_loops = |logits: &Tensor, right: &[u32], wrong: &[u32]| -> Result<Tensor> {
        let of = |row: &Vec<Vec<f32>>, id: u32| row[row.len() - 1][id as usize];
        let rows = logits.to_vec3::<f32>()?;
        let each = (0..rows.len()).map(|b| of(&rows[b], right[b]) - of(&rows[b], wrong[b]));
        Ok(Tensor::new(each.collect::<Vec<f32>>(), &Device::Cpu)?)
    };
    ex::logit_diff().check(by_loops).expect()?;

    let library = |model: &HookedTransformer, right: &[u32], wrong: &[u32]| -> Result<Tensor> {
        model.answers(right.iter().copied().zip(wrong.iter().copied()))?.directions(model)
    };
    ex::answer_directions().check(library).expect()?;

    let by_hand = |stack: &Tensor, cache: &ActivationCache, directions: &Tensor| -> Result<Tensor> {
        let (parts, directions) = (stack.to_vec3::<f32>()?, directions.to_vec2::<f32>()?);
        let scales = cache.get("ln_final.hook_scale")?.to_vec3::<f32>()?;
        let scales: Vec<f32> = scales.iter().map(|row| row[row.len() - 1][0]).collect();
        let mean = |part: &Vec<Vec<f32>>| {
            let each = (0..part.len()).map(|b| dot(&part[b], &directions[b]) / scales[b]);
            each.sum::<f32>() / part.len() as f32
        };
        Ok(Tensor::new(parts.iter().map(mean).collect::<Vec<f32>>(), &Device::Cpu)?)
    };
    ex::stack_to_logit_diff().check(by_hand).expect()
}

#[test]
fn streams_and_heads_are_the_library_s() -> Result<()> {
    let along = |cache: &ActivationCache, stack: &ResidualStack, directions: &Tensor| -> Result<Labelled> {
        cache.apply_ln_to_stack(stack, ReadBy::End)?.project(directions)?.mean_over("prompt")
    };
    let streams = |cache: &ActivationCache, directions: &Tensor| -> Result<Tensor> {
        along(cache, &cache.accumulated_resid(Stack::accumulated().with_mid().pos(-1))?, directions)?.to_tensor()
    };
    ex::accumulated_logit_diff().check(streams).expect()?;
    let heads = |model: &HookedTransformer, cache: &ActivationCache, directions: &Tensor| -> Result<Tensor> {
        let flat = along(cache, &cache.stack(model, Stack::heads().pos(-1))?, directions)?.to_tensor()?;
        Ok(flat.reshape((model.cfg().n_layers, model.cfg().n_heads))?)
    };
    ex::head_logit_diffs().check(heads).expect()
}

#[test]
fn ranks_and_looks_are_those_of_loops() -> Result<()> {
    let sorted = |scores: &Tensor, k: usize| -> Result<Vec<(usize, usize)>> {
        let rows = scores.to_vec2::<f32>()?;
        let mut all: Vec<(usize, usize)> =
            (0..rows.len()).flat_map(|layer| (0..rows[layer].len()).map(move |head| (layer, head))).collect();
        all.sort_by(|a, b| rows[b.0][b.1].abs().total_cmp(&rows[a.0][a.1].abs()));
        Ok(all[..k].to_vec())
    };
    ex::top_heads().check(sorted).expect()?;

    let looks = |cache: &ActivationCache, heads: &[(usize, usize)], positions: &[usize]| -> Result<Tensor> {
        let mean = |&(layer, head): &(usize, usize)| -> Result<f32> {
            let rows = cache.get(("pattern", layer))?.i((.., head))?.to_vec3::<f32>()?;
            let each = rows.iter().zip(positions).map(|(rows, pos)| rows[rows.len() - 1][*pos]);
            Ok(each.sum::<f32>() / rows.len() as f32)
        };
        Ok(Tensor::new(heads.iter().map(mean).collect::<Result<Vec<f32>>>()?, &Device::Cpu)?)
    };
    ex::attention_to().check(looks).expect()
}

#[test]
fn the_question_does_not_print_its_answer() {
    let wrong = ex::which_name().check(|| Ok::<_, candle_lens::Error>("IO".to_string()));
    assert!(matches!(wrong.outcome(), Outcome::Wrong { likely: Some((0, _)), .. }), "{wrong}");
    assert!(wrong.to_string().contains("GPT-2"), "{wrong}");
    let unknown = ex::which_name().check(|| Ok::<_, candle_lens::Error>("Mary".to_string())).to_string();
    assert!(!unknown.contains("\"S2\"") && unknown.contains("\"Mary\""), "{unknown}");
    for said in ["s2", "the second John"] {
        assert!(ex::which_name().check(|| Ok::<_, candle_lens::Error>(said.to_string())).passed(), "{said}");
    }
    assert!(!ex::which_name().check(|| Ok::<_, candle_lens::Error>("not S2".to_string())).passed());
}

/// What the section says of the embedded model.
#[test]
fn the_texts_say_what_the_model_does() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let sentences = [
        ("When John and Mary went to the shops,", "gave the bag to", " Mary", " John"),
        ("When Tom and James went to the park,", "gave the ball to", " Tom", " James"),
        ("When Dan and Sid went to the shops,", "gave an apple to", " Dan", " Sid"),
        ("After Martin and Amy went to the park,", "gave a drink to", " Martin", " Amy"),
    ];
    let both = sentences.iter().flat_map(|&(before, after, a, b)| {
        [(a, b), (b, a)].map(|(right, wrong)| (format!("{before}{wrong} {after}"), right, wrong))
    });
    let both: Vec<_> = both.collect();
    let prompts: Vec<&str> = both.iter().map(|prompt| prompt.0.as_str()).collect();
    let answers = model.answers(both.iter().map(|&(_, right, wrong)| (right, wrong)))?;
    let (logits, cache) = model.run_with_cache(&prompts)?;
    let each = answers.logit_diff(&logits, cache.tokens())?;
    assert!(each.values().iter().all(|&difference| difference > 0.0), "{each}");
    assert!((each.mean() - 7.32).abs() < AS_QUOTED, "{each}");

    let streams = cache.stack(&model, Stack::accumulated().with_mid().pos(-1))?;
    let lens = residual_stack_to_logit_diff(&model, &cache, &streams, &answers)?;
    assert!((f64::from(lens.at(&[-1])?) - each.mean()).abs() < SUMMED_OTHERWISE);
    let step = |to: isize| Ok::<f32, candle_lens::Error>(lens.at(&[to])? - lens.at(&[to - 1])?);
    let by_attention = step(5)? + step(7)?;
    assert!(lens.at(&[4])?.abs() < 0.1 && f64::from(by_attention) > 0.8 * each.mean(), "{lens}");

    let mary_and_john = model.answers([(" Mary", " John")])?;
    let (logits, first) = model.run_with_cache(prompts[0])?;
    let end = first.stack(&model, Stack::accumulated().pos(-1))?;
    let product = f64::from(residual_stack_to_logit_diff(&model, &first, &end, &mary_and_john)?.at(&[-1])?);
    let difference = mary_and_john.logit_diff(&logits, first.tokens())?.mean();
    assert!((product - 7.35).abs() < AS_QUOTED && (difference - 7.24).abs() < AS_QUOTED, "{product}, {difference}");

    let heads = cache.stack(&model, Stack::heads().pos(-1))?;
    let heads = residual_stack_to_logit_diff(&model, &cache, &heads, &answers)?
        .split("component", vec![Axis::numbered("layer", 4), Axis::numbered("head", 8)])?;
    let top = heads.top_heads(4)?;
    let named: Vec<String> = top.iter().map(|(head, _)| head.to_string()).collect();
    assert_eq!(named, ["L3H6", "L3H0", "L3H7", "L2H6"]);
    assert!(top.iter().map(|(_, share)| f64::from(*share)).sum::<f64>() > 0.75 * each.mean());

    for head in [6, 0] {
        let pattern = cache.get(("pattern", 3))?;
        let from_end = |key: usize| -> Result<f32> { pattern.i((.., head, 14, key))?.mean_all()?.item() };
        // S2 is at 10 in every prompt, and the other two names at 2 and 4.
        assert!(from_end(10)? > 0.8 && from_end(2)? + from_end(4)? < 0.1, "head {head}");
    }
    Ok(())
}
