//! Neurons, full decompositions, direct attribution and the logit lens: against TransformerLens 3.9
//! (tests/fixtures/toolbox.py), and against the identities that define them.

use candle_lens::Result;
use candle_lens::analysis::{Unit, direct_logit_attribution, residual_stack_to_logit_diff};
use candle_lens::cache::{ActivationCache, Stack};
use candle_lens::candle::Tensor;
use candle_lens::dims::ReadBy;
use candle_lens::lenses::{LensOptions, logit_lens, logit_lens_to_logit_diff};
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::slice::Slice;
use candle_lens::tokens::{PaddingSide, Tokens};
use serde_json::Value;

use crate::support::fixture::{Agreement, Reference, json, tiny_model};
use crate::support::sentence::sentence;

/// The two lenses differ by a factor, so by more than any rounding.
const DIFFERENT: f32 = 1e-2;

fn both() -> [(&'static str, Processing); 2] {
    [("raw", Processing::NONE), ("processed", Processing::default())]
}

fn slice(value: &Value) -> Slice {
    match value {
        Value::Number(at) => (at.as_i64().unwrap() as isize).into(),
        Value::Array(list) if list.len() == 2 && list[0].as_i64() < list[1].as_i64() => {
            (list[0].as_i64().unwrap() as isize..list[1].as_i64().unwrap() as isize).into()
        }
        Value::Array(list) => list.iter().map(|i| i.as_i64().unwrap() as isize).collect::<Vec<_>>().into(),
        _ => Slice::All,
    }
}

/// The numbers and labels that a recorded call gives here.
fn answer(
    call: &Value,
    model: &HookedTransformer,
    cache: &ActivationCache,
    one: &Tensor,
) -> Result<(Tensor, Vec<String>)> {
    let arguments = &call["arguments"];
    let layer = arguments["layer"].as_i64().unwrap_or(-1) as isize;
    let flag = |name: &str| arguments[name].as_bool().unwrap_or(false);
    let (pos, neurons) = (slice(&arguments["pos_slice"]), slice(&arguments["neuron_slice"]));
    let (apply_ln, projected) = (flag("apply_ln"), arguments["project"].is_string());
    let read_by = match (layer, flag("mlp_input")) {
        (-1, _) => ReadBy::End,
        (layer, false) => ReadBy::Block(layer),
        (layer, true) => ReadBy::Mlp(layer),
    };
    let at_the_end = layer == -1 || layer == model.cfg().n_layers as isize;
    let along = &match apply_ln && at_the_end && !model.processing().fold_ln {
        true => (one / Reference::load("tiny_gpt2/model.safetensors").get("transformer.ln_f.weight"))?,
        false => one.clone(),
    };
    if call["method"] == "get_neuron_results" {
        return Ok((cache.get_neuron_results(model, layer, neurons, pos)?, Vec::new()));
    }
    let (stack, along) = if call["method"] == "stack_neuron_results" {
        let mut query = Stack::neurons().only(neurons).read_by(read_by).pos(pos);
        if flag("incl_remainder") {
            query = query.with_remainder();
        }
        let query = if apply_ln { query.normed() } else { query };
        (cache.stack_neuron_results(model, query.clone())?, cache.project_neuron_results(model, along, query)?)
    } else {
        let mut query = Stack::everything().read_by(read_by).pos(pos);
        if arguments["expand_neurons"] == false {
            query = query.whole_mlps();
        }
        let query = if apply_ln { query.normed() } else { query };
        (
            cache.get_full_resid_decomposition(model, query.clone())?,
            cache.project_full_resid_decomposition(model, along, query)?,
        )
    };
    // Whichever the reference is, both ways give the same, but for the weights of a final norm that is not folded: projections
    // through that norm have them, TransformerLens' have not.
    let mut agreement = Agreement::default();
    agreement.check("projected before and after", &along.to_tensor()?, &stack.project(one)?.to_tensor()?);
    agreement.finish("projections");
    assert_eq!(along.labels("component")?, stack.labels());
    let labels = stack.labels().to_vec();
    Ok((if projected { along.to_tensor()? } else { stack.tensor().clone() }, labels))
}

#[test]
fn decompositions_agree() -> Result<()> {
    let calls = json("toolbox/calls.json");
    for (name, processing) in both() {
        let (model, reference) = (tiny_model(processing), Reference::load(&format!("toolbox/{name}.safetensors")));
        let (_, cache) = model.run_with_cache(reference.tokens("tokens"))?;
        let mut agreement = Agreement::default();
        for call in calls.as_array().unwrap() {
            let title = format!("{} {}", call["method"], call["arguments"]);
            let (got, labels) = answer(call, &model, &cache, reference.get("one"))?;
            agreement.check(&title, &got, reference.get(call["name"].as_str().unwrap()));
            if let Some(expected) = call["labels"].as_array() {
                let expected: Vec<&str> = expected.iter().map(|label| label.as_str().unwrap()).collect();
                let kept = match labels.len() {
                    0..30 => labels,
                    count => [&labels[..4], &labels[count - 4..]].concat(),
                };
                assert_eq!(kept, expected, "{title}");
            }
        }
        agreement.finish(&format!("decompositions of the {name} model"));
    }
    Ok(())
}

#[test]
fn direct_attribution_agrees_and_sums_to_the_logit_difference() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, processing) in both() {
        let (model, reference) = (tiny_model(processing), Reference::load(&format!("toolbox/{name}.safetensors")));
        let (logits, cache) = model.run_with_cache(reference.tokens("tokens"))?;
        let ids = |name: &str| reference.get(name).to_vec1::<i64>().unwrap().into_iter().map(|id| id as u32);
        let answers = model.answers(ids("right").zip(ids("wrong")))?;
        let whole = answers.logit_diff(&logits, cache.tokens())?;
        let b_u = model.b_U().to_vec1::<f32>()?;
        for (unit, kind) in
            [(Unit::Component, "component"), (Unit::Layer, "layer"), (Unit::Head, "head"), (Unit::Neuron, "")]
        {
            let shares = direct_logit_attribution(&model, &cache, &answers, unit)?;
            // TransformerLens reads the raw model without the final norm's weights; ours are part of the direction.
            if name == "processed" && unit != Unit::Neuron {
                agreement.check(kind, &shares.to_tensor()?, reference.get(&format!("direct_{kind}")));
            }
            let total = match unit {
                Unit::Layer => shares.select("component", -1)?,
                _ => shares.sum_over("component")?,
            };
            if name == "processed" {
                let missing = ids("right").zip(ids("wrong")).map(|(r, w)| b_u[r as usize] - b_u[w as usize]);
                let sums = total.values().into_iter().zip(missing).map(|(share, bias)| f64::from(share + bias));
                agreement.check_numbers("sum", sums.zip(whole.values().iter().map(|&v| f64::from(v))));
            }
        }
    }
    agreement.finish("direct logit attribution");
    Ok(())
}

#[test]
fn both_lenses_end_at_the_models_answer() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, processing) in both() {
        let model = tiny_model(processing);
        let rows = vec![vec![5, 9, 200, 31], vec![77, 3], vec![12, 8, 140]];
        for side in [PaddingSide::Left, PaddingSide::Right] {
            let tokens = Tokens::padded(rows.clone(), 0, side)?;
            let answers = model.answers([(5u32, 6u32), (7, 250), (0, 9)])?;
            let (logits, cache) = model.run_with_cache(&tokens)?;
            let whole = answers.logit_diff(&logits, &tokens)?;
            let lens = logit_lens_to_logit_diff(&model, &cache, &answers)?;
            agreement.check(name, &lens.select("component", -1)?.to_tensor()?, &whole.to_tensor()?);
            // The most likely token after the last slice is the model's own.
            let read = logit_lens(&model, &cache, LensOptions { k: 3, incl_mid: true, ..Default::default() })?;
            let predicted = logits.argmax(2)?.to_vec2::<u32>()?;
            let last = read.tokens.len() - 3 * 4 * 3;
            for (i, &id) in predicted.iter().flatten().enumerate() {
                assert_eq!(read.tokens[last + 3 * i], id, "{name}, {side}, place {i}");
            }
            assert_eq!(read.probabilities.shape(), [5, 3, 4, 3]);
            let at = tokens.last_positions()[1];
            let (text, probability) = read.at("final_post", 1, at)?.swap_remove(0);
            assert_eq!(text, model.tokenizer()?.to_single_str_token(predicted[1][at])?);
            let exact = candle_nn::ops::softmax(&logits.get(1)?.get(at)?, 0)?.max(0)?.to_scalar::<f32>()?;
            agreement.check_numbers("probability", [(f64::from(probability), f64::from(exact))].into_iter());
        }
    }
    agreement.finish("lenses");
    Ok(())
}

#[test]
fn the_two_lenses_differ_before_the_end() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(vec![vec![5u32, 9, 200, 31]])?;
    let answers = model.answers([(5u32, 6u32)])?;
    let own = logit_lens_to_logit_diff(&model, &cache, &answers)?.mean_over("prompt")?;
    let options = Stack::accumulated().with_mid().pos(-1);
    let stack = cache.accumulated_resid(options)?;
    let frozen = residual_stack_to_logit_diff(&model, &cache, &stack, &answers)?;
    assert_eq!(own.labels("component")?, frozen.labels("component")?);
    assert!(
        (own.values()[0] - frozen.values()[0]).abs() > DIFFERENT,
        "the embedding is much smaller than the final residual stream"
    );
    Ok(())
}

#[test]
fn mistakes_are_reported() -> Result<()> {
    let model = tiny_model(Processing::default());
    let (_, cache) = model.run_with_cache(vec![vec![5u32, 9, 200, 31]])?;
    let two = model.answers([(5u32, 6u32), (7, 8)])?;
    sentence(direct_logit_attribution(&model, &cache, &two, Unit::Head), &["answers for 2 prompts", "has 1"]);
    sentence(logit_lens(&model, &cache, LensOptions { k: 0, ..Default::default() }), &["k is 0"]);
    sentence(cache.get_neuron_results(&model, 2, .., ..), &["layer 2"]);
    sentence(cache.get_neuron_results(&model, 0, 96, ..), &["neuron"]);
    let none = Stack::neurons().before(0);
    sentence(cache.stack_neuron_results(&model, none), &["no neurons come before layer 0"]);
    let width = Tensor::zeros(7, candle_core::DType::F32, &model.device())?;
    sentence(cache.project_neuron_results(&model, &width, Stack::neurons()), &["directions", "[7]"]);
    let end = Stack::everything().before_mlp(2);
    sentence(cache.get_full_resid_decomposition(&model, end), &["layer 2"]);
    Ok(())
}
