//! Edits of features against circuit-tracer 0.5.0's interventions (tests/fixtures/feature_edits.py), and against edits of the model
//! made by hand.

use candle_lens::Result;
use candle_lens::feature_graphs::{EditMode, FeatureEditOptions, FeatureEdits, GraphNode};
use candle_lens::prelude::*;

use super::chained::autoencoder;
use super::parity::dictionary;
use super::sums::{Kind, transcoder};
use crate::support::fixture::{self, Reference, numbers};

/// circuit-tracer's own sums are in f32 too.
const ROUNDING: f64 = 1e-5;

/// Logits are below 30, added up in another order in f32.
const SAME: f32 = 2e-4;

/// f16 has 11 bits, logits are below 30, and dictionaries sit in every layer.
const HALF: f32 = 0.2;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

const MODES: [EditMode; 4] = [EditMode::Free, EditMode::FrozenPatterns, EditMode::FrozenErrors, EditMode::Held];

/// Random dictionaries of every layer's attention and MLP.
pub fn dictionaries(model: &HookedTransformer, kind: Kind) -> Result<Vec<Dictionary>> {
    let layers = 0..model.cfg().n_layers;
    let z = layers.clone().map(|layer| autoencoder(model, layer, Activation::Relu));
    z.chain(layers.map(|layer| transcoder(model, layer, "mlp.hook_in", kind))).collect()
}

pub fn largest(difference: Tensor) -> Result<f32> {
    Ok(difference.abs()?.flatten_all()?.max(0)?.to_dtype(DType::F32)?.to_scalar()?)
}

/// The strongest feature of a dictionary of `tiny` at a position.
fn strongest(model: &HookedTransformer, dictionary: &Dictionary, pos: usize) -> Result<usize> {
    let point = dictionary.expects().hook_in.expect("it says what it reads");
    let cache = model.run_with_hooks(PROMPT, HookPlan::new().capture(point))?.1;
    let acts = dictionary.encode(&cache.get(point)?)?.dense()?.get(0)?.get(pos)?;
    Ok(acts.argmax(0)?.to_scalar::<u32>()? as usize)
}

#[test]
fn interventions_are_those_of_circuit_tracer() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    let (weights, reference) =
        (Reference::load("feature_graphs.safetensors"), Reference::load("feature_edits.safetensors"));
    for name in ["plain", "skip", "clt"] {
        let transcoders = (0..4).map(|layer| dictionary(&weights, name, layer)).collect::<Result<Vec<_>>>()?;
        let ids: Vec<u32> = numbers(weights.get(&format!("{name}.ids"))).into_iter().map(|id| id as u32).collect();
        let edits = numbers(reference.get(&format!("{name}.edits")));
        let edits = edits.chunks(4).fold(FeatureEdits::new(), |edits, at| {
            let node = GraphNode::Feature { layer: at[0] as usize, pos: at[1] as usize, feature: at[2] as usize };
            edits.set(node, at[3] as f32)
        });
        for (mode, called) in
            [(EditMode::Held, "held"), (EditMode::FrozenPatterns, "patterns"), (EditMode::Free, "free")]
        {
            let options = FeatureEditOptions::new(mode).capture("sae_acts_pre");
            let run =
                model.run_with_feature_edits(&transcoders, Tokens::from_rows(vec![ids.clone()])?, &edits, options)?;
            let logits = run.logits().get(0)?.get(ids.len() - 1)?.to_vec1::<f32>()?;
            let theirs = numbers(reference.get(&format!("{name}.{called}.logits")));
            let ours = logits.iter().step_by(16);
            let worst = ours.zip(&theirs).fold(0f64, |worst, (own, their)| worst.max((f64::from(*own) - their).abs()));
            assert!(worst < ROUNDING, "{name}, {called}: logits differ by {worst}");
            let theirs = numbers(reference.get(&format!("{name}.{called}.pre")));
            for layer in 0..4 {
                let pre = run.after().get(("sae_acts_pre", layer as isize))?.get(0)?;
                let features = pre.dim(1)?;
                for (pos, own) in pre.to_vec2::<f32>()?.into_iter().enumerate().skip(1) {
                    for (feature, own) in own.into_iter().enumerate() {
                        let their = theirs[(layer * ids.len() + pos) * features + feature];
                        let miss = (f64::from(own) - their).abs();
                        assert!(miss < ROUNDING, "{name}, {called}: {layer}/{feature} at {pos} is {own}, not {their}");
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn without_edits_logits_are_the_models_own_in_every_family() -> Result<()> {
    let families = std::fs::read_dir(fixture::path("families")).expect("the families");
    for family in families.map(|entry| entry.expect("a folder").path()).filter(|path| path.is_dir()) {
        let model = HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?;
        let dictionaries = dictionaries(&model, Kind::Skip)?;
        let tokens = Tokens::padded(vec![vec![5, 3, 9, 1, 4], vec![2, 8, 6]], 0, PaddingSide::Left)?;
        let plain = model.forward(&tokens)?;
        for mode in MODES {
            let run = model.run_with_feature_edits(&dictionaries, &tokens, FeatureEdits::new(), mode)?;
            for (row, pos) in [(0, 4), (1, 4), (1, 2)] {
                let of = |logits: &Tensor| logits.get(row)?.get(pos);
                let change = largest((of(&run.logits())? - of(&plain)?)?)?;
                assert!(change < SAME, "{}, {mode}: prompt {row} moves by {change}", family.display());
            }
        }
        // A feature that was silent is set: everything behind it moves.
        let node = GraphNode::Feature { layer: 0, pos: 1, feature: 3 };
        let run = model.run_with_feature_edits(
            &dictionaries,
            &tokens,
            FeatureEdits::new().set(node, 40.0),
            EditMode::Held,
        )?;
        let before = (run.logits() - run.clean_logits())?;
        assert!(largest(before.get(0)?.get(0)?)? < SAME, "{}: something before the position moves", family.display());
        assert!(largest(before.get(0)?.get(1)?)? > SAME, "{}", family.display());
    }
    Ok(())
}

#[test]
fn ablation_zeroes_the_activation_and_half_precision_and_processing_change_nothing_of_it() -> Result<()> {
    for (processing, dtype, tolerance) in [
        (Processing::NONE, DType::F32, SAME),
        (Processing::default(), DType::F32, SAME),
        (Processing::NONE, DType::F16, HALF),
    ] {
        let model = HookedTransformer::from_pretrained_with("tiny", LoadOptions { dtype, ..processing.into() })?;
        let dictionaries = dictionaries(&model, Kind::Plain)?;
        let nodes = [
            (GraphNode::Feature { layer: 1, pos: 4, feature: 0 }, "blocks.1.hook_mlp_out", &dictionaries[5]),
            (GraphNode::AttnFeature { layer: 2, pos: 10, feature: 0 }, "blocks.2.attn.hook_z", &dictionaries[2]),
        ];
        for mode in [EditMode::Free, EditMode::FrozenErrors] {
            let mut edits = FeatureEdits::new();
            let error = match mode {
                EditMode::Free => ErrorTerm::Recomputed,
                _ => ErrorTerm::frozen(PROMPT),
            };
            let mut plan = model.splice(&dictionaries, error)?;
            for (node, point, dictionary) in nodes {
                let pos = match node {
                    GraphNode::Feature { pos, .. } | GraphNode::AttnFeature { pos, .. } => pos,
                    _ => unreachable!("features only"),
                };
                let feature = strongest(&model, dictionary, pos)?;
                edits = edits.ablate(with_feature(node, feature));
                let zeroed = Edit::custom("zero", move |acts: &Tensor, _| {
                    let mut rows = acts.to_vec3::<f32>()?;
                    rows[0][pos][feature] = 0.0;
                    Tensor::new(rows, acts.device())
                });
                plan = plan.edit(format!("{point}.hook_sae_acts_post").as_str(), zeroed);
            }
            let run = model.run_with_feature_edits(&dictionaries, PROMPT, &edits, mode)?;
            let by_hand = model.run_with_hooks(PROMPT, plan)?.0;
            let miss = largest((run.logits() - by_hand)?)?;
            assert!(miss < tolerance / 100.0, "{mode}, {dtype:?}: {miss}");
            let moved = largest((run.logits() - run.clean_logits())?)?;
            assert!(moved > tolerance / 10.0, "{mode}, {dtype:?}: ablation moves logits by {moved}");
        }
    }
    Ok(())
}

fn with_feature(node: GraphNode, feature: usize) -> GraphNode {
    match node {
        GraphNode::Feature { layer, pos, .. } => GraphNode::Feature { layer, pos, feature },
        GraphNode::AttnFeature { layer, pos, .. } => GraphNode::AttnFeature { layer, pos, feature },
        other => other,
    }
}

#[test]
fn what_is_subtracted_is_the_features_own_contribution() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let dictionaries = [set.get("z0")?, set.get("mlp0")?, set.get("mlp2")?];
    let (pos, z) = (10, strongest(&model, &dictionaries[0], 10)?);
    let mlp = strongest(&model, &dictionaries[1], pos)?;
    let feature = GraphNode::Feature { layer: 0, pos, feature: mlp };
    let attention = GraphNode::AttnFeature { layer: 0, pos, feature: z };
    // Nothing comes between what the feature writes and these points, so that all of it is gone.
    for (node, hook) in [(attention, "attn_out0"), (feature, "resid_post0"), (feature, "resid_pre1")] {
        let of = |edits: FeatureEdits| -> Result<Tensor> {
            Ok(model.run_with_feature_edits(&dictionaries, PROMPT, edits, EditMode::Free)?.logits())
        };
        let ablated = of(node.into())?;
        let miss = largest((of(FeatureEdits::new().subtract_at(node, hook))? - &ablated)?)?;
        assert!(miss < SAME, "{node} at {hook}: {miss}");
        assert!(largest((ablated - model.forward(PROMPT)?)?)? > SAME, "{node} does something");
    }
    // Later, by hand: the activation of the run, in which it is doubled, times the decoder through W_O.
    let acts = "blocks.0.attn.hook_z.hook_sae_acts_post";
    let doubled = Edit::scale(2.0).feature(z as isize).pos(pos as isize);
    let plan = model.splice(&dictionaries, ErrorTerm::Recomputed)?.edit(acts, doubled).capture(acts);
    let activation = model.run_with_hooks(PROMPT, &plan)?.1.get(acts)?.get(0)?.get(pos)?.get(z)?;
    let w_o = model.weight("blocks.0.attn.W_O")?.flatten(0, 1)?;
    let row = dictionaries[0].for_model(&model)?.w_dec().get(z)?.to_dtype(DType::F32)?;
    let contribution = row.unsqueeze(0)?.matmul(&w_o)?.squeeze(0)?.broadcast_mul(&activation)?;
    for hook in ["resid_pre2", "mlp_in1", "resid_post3", "k_input3"] {
        let by_hand = plan.clone().edit(hook, Edit::add(contribution.neg()?).pos(pos as isize));
        let by_hand = model.run_with_hooks(PROMPT, by_hand)?.0;
        let edits = FeatureEdits::new().scale(attention, 2.0).subtract_at(attention, hook);
        let run = model.run_with_feature_edits(&dictionaries, PROMPT, edits, EditMode::Free)?;
        let miss = largest((run.logits() - &by_hand)?)?;
        assert!(miss < SAME, "{hook}: {miss}");
        assert!(largest((by_hand - model.run_with_hooks(PROMPT, &plan)?.0)?)? > 0.0, "{hook}");
        // A direction with that activation as its scale is the same again.
        let scale = -activation.to_scalar::<f32>()?;
        let edits = FeatureEdits::new().scale(attention, 2.0).add_direction(attention, scale, hook);
        let added = model.run_with_feature_edits(&dictionaries, PROMPT, edits, EditMode::Free)?;
        assert!(largest((added.logits() - run.logits())?)? < SAME, "{hook}");
    }
    Ok(())
}

#[test]
fn a_cross_layer_feature_is_subtracted_with_all_that_it_has_written() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionaries = (0..4).map(|layer| transcoder(&model, layer, "mlp.hook_in", Kind::CrossLayer));
    let dictionaries = dictionaries.collect::<Result<Vec<_>>>()?;
    let node = GraphNode::Feature { layer: 1, pos: 12, feature: strongest(&model, &dictionaries[1], 12)? };
    let GraphNode::Feature { feature, .. } = node else { unreachable!("a feature") };
    let acts = "blocks.1.hook_mlp_out.hook_sae_acts_post";
    let plan = model.splice(&dictionaries, ErrorTerm::Recomputed)?.capture(acts);
    let activation = model.run_with_hooks(PROMPT, &plan)?.1.get(acts)?.get(0)?.get(12)?.get(feature)?;
    let writes = dictionaries[1].w_dec().get(feature)?;
    for (hook, layers) in [("resid_post1", 1), ("resid_pre3", 2), ("mlp_in3", 2), ("resid_post3", 3)] {
        let written = writes.narrow(0, 0, layers)?.sum(0)?.broadcast_mul(&activation)?.neg()?;
        let by_hand = model.run_with_hooks(PROMPT, plan.clone().edit(hook, Edit::add(written).pos(12)))?.0;
        let edits = FeatureEdits::new().subtract_at(node, hook);
        let run = model.run_with_feature_edits(&dictionaries, PROMPT, edits, EditMode::Free)?;
        assert!(largest((run.logits() - by_hand)?)? < SAME, "{hook}");
    }
    Ok(())
}

#[test]
fn each_prompt_of_a_batch_has_edits_of_its_own() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let dictionaries = [set.get("z0")?, set.get("mlp1")?];
    let short = "The capital of France is";
    let feature = strongest(&model, &dictionaries[0], 10)?;
    let of = |pos| GraphNode::AttnFeature { layer: 0, pos, feature };
    let first = FeatureEdits::new().ablate(of(10)).set(GraphNode::Feature { layer: 1, pos: 3, feature: 7 }, 2.0);
    let second = FeatureEdits::new().set(of(2), 1.5);
    let metric = Metric::logit(&model, [" Mary", " Paris"])?;
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let rows = [PROMPT, short].map(|text| model.to_tokens(text).map(|tokens| tokens.row(0)));
        let both = Tokens::padded(rows.into_iter().collect::<Result<Vec<_>>>()?, 0, side)?;
        for mode in MODES {
            let edits = FeatureEdits::of_prompts([&first, &second]);
            let options = FeatureEditOptions::new(mode).metric(&metric);
            let together = model.run_with_feature_edits(&dictionaries, &both, edits, options)?;
            for (row, (prompt, edits)) in [(PROMPT, &first), (short, &second)].into_iter().enumerate() {
                let alone = model.run_with_feature_edits(&dictionaries, prompt, edits, mode)?;
                let last = alone.logits().get(0)?.get(model.to_tokens(prompt)?.pos() - 1)?;
                let own = together.logits().get(row)?.get(both.last_positions()[row])?;
                let miss = largest((own - last)?)?;
                assert!(miss < SAME, "{side:?}, {mode}, prompt {row}: {miss}");
            }
            let values = together.metric()?.values();
            let own = together.reductions()?.values();
            for row in 0..2 {
                let percent = 100.0 * (values[[0, row]] - values[[1, row]]) / values[[0, row]];
                assert!((percent - own[[row]]).abs() < ROUNDING as f32 * 100.0, "{percent}, {own}");
            }
            let clean = values[[0, 0]] + values[[0, 1]];
            let percent = 100.0 * (clean - values[[1, 0]] - values[[1, 1]]) / clean;
            assert!((percent - together.reduction()?).abs() < ROUNDING as f32 * 100.0);
            assert!(together.attention(1).is_err(), "positions of padded prompts mean different things");
        }
    }
    Ok(())
}

#[test]
fn attention_of_the_last_position_is_that_of_the_patterns() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let z0 = set.get("z0")?;
    let prompts = [PROMPT, "When Mary and John went to the shops, Mary gave the bag to"];
    let node = GraphNode::AttnFeature { layer: 0, pos: 10, feature: strongest(&model, &z0, 10)? };
    let edits = FeatureEdits::new().only_in(0, node.into());
    let options = FeatureEditOptions::new(EditMode::Free).capture(("pattern", ("z", 1)));
    let run = model.run_with_feature_edits(&z0, prompts, edits, options)?;
    assert_eq!((run.before().len(), run.after().len()), (5, 5), "what was asked for and nothing else");
    for (row, cache) in [run.before(), run.after()].iter().enumerate() {
        let pattern = cache.get(("pattern", 3))?;
        let last = pattern.dim(2)? - 1;
        for key in 0..=last {
            let mut of_heads = [0f32; 8];
            for (head, sum) in of_heads.iter_mut().enumerate() {
                for prompt in 0..2 {
                    let at = pattern.get(prompt)?.get(head)?.get(last)?.get(key)?.to_scalar::<f32>()?;
                    *sum += at / 2.0;
                }
            }
            let mean = of_heads.iter().sum::<f32>() / 8.0;
            assert!((run.attention(3)?.values()[[row, key]] - mean).abs() < ROUNDING as f32);
            assert!((run.attention_of_head(-1, 2)?.values()[[row, key]] - of_heads[2]).abs() < ROUNDING as f32);
            assert!((run.attention_to(3, key)?.values()[[row, 5]] - of_heads[5]).abs() < ROUNDING as f32);
        }
    }
    let labels = run.attention(3)?.labels("key_pos")?;
    assert_eq!((labels[2].as_str(), labels[11].as_str()), ("2", "11: gave"), "a token that all prompts share is named");
    assert!(run.attention(4).is_err() && run.attention_of_head(3, 8).is_err() && run.attention_to(3, 15).is_err());
    let without = model.run_with_feature_edits(&z0, prompts, FeatureEdits::new(), EditMode::Free)?;
    assert!(without.attention(3).is_err() && without.metric().is_err() && without.reduction().is_err());
    Ok(())
}

#[test]
fn what_cannot_be_edited_is_refused_by_name() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = DictionarySet::open("tiny")?;
    let dictionaries = [set.get("z0")?, set.get("mlp1")?];
    let feature = strongest(&model, &dictionaries[1], 6)?;
    let at = |layer, pos, feature| GraphNode::Feature { layer, pos, feature };
    let node = at(1, 6, feature);
    let silent = (0..512).find(|other| {
        let run = model.run_with_feature_edits(&dictionaries, PROMPT, at(1, 6, *other), EditMode::Free);
        run.is_err_and(|error| error.to_string().contains("not active"))
    });
    let silent = at(1, 6, silent.expect("few features are active"));
    let new = FeatureEdits::new;
    let cases: Vec<(FeatureEdits, EditMode, &str)> = vec![
        (new().ablate(GraphNode::Error { layer: 1, pos: 3 }), EditMode::Free, "is not a feature"),
        (new().ablate(at(2, 6, 0)), EditMode::Free, "no dictionary writes blocks.2.hook_mlp_out"),
        (new().ablate(at(1, 6, 512)), EditMode::Free, "512 features (0 to 511)"),
        (new().ablate(at(1, 15, 0)), EditMode::Free, "has 15 tokens"),
        (new().ablate(at(1, 0, 0)), EditMode::Free, "begins with a BOS"),
        (new().only_in(1, node.into()), EditMode::Free, "there are 1 prompts"),
        (new().only_in(1, new().only_in(0, node.into())), EditMode::Free, "to prompt 0 and to prompt 1, so to none"),
        (new().set(node, f32::NAN), EditMode::Free, "not finite"),
        (new().scale(silent, 2.0), EditMode::Free, "not active"),
        (new().subtract_at(silent, "resid_post1"), EditMode::Free, "not active"),
        (new().subtract_at(node, "resid_mid1"), EditMode::Free, "is not behind that"),
        (new().subtract_at(node, "resid_pre0"), EditMode::Held, "is not behind that"),
        (new().subtract_at(node, "mlp_out1"), EditMode::Free, "a dictionary is spliced in"),
        (new().add_direction(node, 1.0, ("normalized", 2, "ln2")), EditMode::Free, "does not hold the residual stream"),
        (new().add_direction(node, 1.0, "q_input3"), EditMode::Held, "has no effect"),
        (new().add_direction(node, 1.0, "resid_pre9"), EditMode::Free, "layer"),
    ];
    for (edits, mode, words) in cases {
        let error = model.run_with_feature_edits(&dictionaries, PROMPT, &edits, mode).expect_err(words).to_string();
        assert!(error.contains(words), "{edits}: {error}");
        assert!(error.ends_with('.'), "{error}");
    }
    let residual = model.run_with_feature_edits(set.get("resid1")?, PROMPT, new(), EditMode::Free);
    assert!(residual.expect_err("no nodes").to_string().contains("does not write a hook_mlp_out or a hook_z"));
    let twice = model.run_with_feature_edits([set.get("z0")?, set.get("z0")?], PROMPT, new(), EditMode::Free);
    assert!(twice.expect_err("two").to_string().contains("second one"));
    // What is set need not be active, and is active from then on.
    assert!(model.run_with_feature_edits(&dictionaries, PROMPT, new().set(silent, 1.0), EditMode::Free).is_ok());
    let scaled = new().set(silent, 1.0).scale(silent, 2.0);
    let options = || FeatureEditOptions::new(EditMode::Free).capture("resid_post3");
    let scaled = model.run_with_feature_edits(&dictionaries, PROMPT, scaled, options())?;
    let set = model.run_with_feature_edits(&dictionaries, PROMPT, new().set(silent, 2.0), options())?;
    let apart =
        (scaled.after().get("resid_post3")? - set.after().get("resid_post3")?)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert_eq!(apart, 0.0);
    Ok(())
}
