//! The parts of an attention score sum to it in every architecture, and are what a run says from which sources were taken.

use candle_lens::Result;
use candle_lens::feature_graphs::{GraphNode, ScoreAttribution};
use candle_lens::prelude::*;

use super::sums::{Kind, transcoder};
use crate::support::fixture;
use crate::support::models::architecture;

/// Sums of some hundred products in f32, relative to the size of the score or 1.
const ROUNDING: f32 = 2e-5;

/// Differences of two scores of a run in f32; scores are below 30.
const DIFFERENCES: f32 = 2e-4;

/// A random autoencoder of what a layer's heads write before it is projected, some of whose features are active.
fn of_heads(model: &HookedTransformer, layer: usize) -> Result<Dictionary> {
    let (width, d_sae) = (model.cfg().n_heads * model.cfg().d_head(), 24);
    let mut random = Random::new(layer as u64 + 40);
    let at: HookPoint = format!("blocks.{layer}.attn.hook_z").parse()?;
    Dictionary::new(DictionaryParts {
        name: format!("random z {layer}"),
        w_enc: (random.normal((width, d_sae))? * 0.5)?,
        b_enc: (random.normal(d_sae)? * 0.1)?,
        w_dec: (random.normal((d_sae, width))? * 0.1)?,
        b_dec: (random.normal(width)? * 0.1)?,
        b_in: None,
        w_skip: None,
        activation: Activation::Relu,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::between(at, at),
    })
}

/// One of each kind for every layer.
fn dictionaries(model: &HookedTransformer, kind: Kind) -> Result<Vec<Dictionary>> {
    let layers = 0..model.cfg().n_layers;
    let heads = layers.clone().map(|layer| of_heads(model, layer));
    let mlps = layers.map(|layer| transcoder(model, layer, "mlp.hook_in", kind));
    match model.cfg().attn_only {
        true => heads.collect(),
        false => heads.chain(mlps).collect(),
    }
}

fn has(score: &ScoreAttribution, is: impl Fn(&GraphNode) -> bool) -> bool {
    score.key_sources().iter().any(is)
}

/// The sums at some heads, queries and keys, and the scores of the run.
fn check(model: &HookedTransformer, what: &str) -> Result<()> {
    for kind in [Kind::Plain, Kind::Skip] {
        check_kind(model, kind, &format!("{what}, {kind:?}"))?;
    }
    Ok(())
}

fn check_kind(model: &HookedTransformer, kind: Kind, what: &str) -> Result<()> {
    let dictionaries = dictionaries(model, kind)?;
    let prompt = Tokens::from_rows(vec![vec![5, 3, 9, 1, 4]])?;
    let (n_heads, last) = (model.cfg().n_heads, model.cfg().n_layers - 1);
    for (layer, head, query, key) in
        [(last, n_heads - 1, 4isize, 2isize), (last, 0, -1, 4), (last, 0, 3, 0), (0, 0, 4, 1)]
    {
        let score = model.attention_score_attribution(&dictionaries, prompt.clone(), (layer, head), query, key)?;
        let miss = score.residual() / score.score().abs().max(1.0);
        assert!(miss < ROUNDING, "{what}, layer {layer}: the parts of {score} miss {miss}");
        if layer > 0 {
            assert!(has(&score, |node| matches!(node, GraphNode::AttnFeature { .. })), "{what}: {score}");
        }
        let seen = model.run_with_hooks(prompt.clone(), HookPlan::new().capture(("attn_scores", layer as isize)))?.1;
        let seen =
            seen.get(("attn_scores", layer as isize))?.get(0)?.get(head)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        let seen = seen[score.query()][score.key()];
        let expected = match model.cfg().attn_scores_soft_cap {
            Some(cap) => cap as f32 * (score.score() / cap as f32).tanh(),
            None => score.score(),
        };
        // What ALiBi takes off for the distance comes after the score; its slopes are powers of two where the number of heads is one.
        let taken = match model.cfg().positional_embedding_type {
            PositionalEmbeddingType::Alibi if !n_heads.is_power_of_two() => continue,
            PositionalEmbeddingType::Alibi => {
                2f32.powf(-8.0 * (head as f32 + 1.0) / n_heads as f32) * (score.query() - score.key()) as f32
            }
            _ => 0.0,
        };
        let miss = (expected - taken - seen).abs() / seen.abs().max(1.0);
        assert!(miss < ROUNDING, "{what}: {score}, {seen} in the run");
    }
    Ok(())
}

#[test]
fn parts_sum_to_the_score_in_every_architecture() -> Result<()> {
    for processing in [Processing::NONE, Processing::default()] {
        check(&HookedTransformer::from_pretrained_with("tiny", processing)?, &format!("tiny, {processing:?}"))?;
    }
    for name in ["attn_only", "solu_ln", "shortformer", "shortformer_mlp", "classifier"] {
        check(&architecture(name, Some(Processing::NONE))?, name)?;
    }
    let mut checked = 0;
    for family in std::fs::read_dir(fixture::path("families")).expect("the families") {
        let family = family.expect("a model").path();
        if family.is_dir() {
            check(
                &HookedTransformer::from_pretrained_no_processing(family.to_string_lossy())?,
                &family.display().to_string(),
            )?;
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} models");
    Ok(())
}

/// The run from a stream that enters a layer, the scales of its norms held.
struct Held<'a> {
    model: &'a HookedTransformer,
    clean: ActivationCache,
    layer: usize,
}

impl Held<'_> {
    /// The score after this is taken from the stream at these positions.
    fn score(&self, head: usize, [query, key]: [usize; 2], taken: &[(usize, &Tensor)]) -> Result<f32> {
        let name = |site: &str| format!("blocks.{}.{site}", self.layer);
        let mut stream = self.clean.get(name("hook_resid_pre").as_str())?;
        for &(pos, vector) in taken {
            let more = vector.reshape((1, 1, vector.elem_count()))?;
            stream = (&stream - more.pad_with_zeros(1, pos, stream.dim(1)? - pos - 1)?)?;
        }
        let mut plan = HookPlan::new().capture(name("attn.hook_attn_scores").as_str());
        plan = plan.edit(name("hook_resid_pre"), Edit::replace(stream));
        for scale in ["ln1.hook_scale", "attn.q_norm.hook_scale", "attn.k_norm.hook_scale"] {
            if let Ok(value) = self.clean.get(name(scale).as_str()) {
                plan = plan.edit(name(scale), Edit::replace(value));
            }
        }
        let run = self.model.run_with_hooks(self.clean.tokens(), plan)?.1;
        let scores = run.get(name("attn.hook_attn_scores").as_str())?.get(0)?.get(head)?;
        Ok(scores.get(query)?.get(key)?.to_dtype(DType::F32)?.to_scalar()?)
    }

    /// What two vectors make of a score together: what is lost without both, less what is lost without each.
    fn together(&self, head: usize, at: [usize; 2], query: &Tensor, key: &Tensor) -> Result<f32> {
        let (query, key) = ((at[0], query), (at[1], key));
        let of = |taken: &[(usize, &Tensor)]| self.score(head, at, taken);
        Ok(of(&[])? - of(&[query])? - of(&[key])? + of(&[query, key])?)
    }
}

#[test]
fn a_part_is_what_the_run_loses_without_both_of_its_sources() -> Result<()> {
    let families = std::fs::read_dir(fixture::path("families")).expect("the families");
    let families = families.map(|entry| entry.expect("a model").path()).filter(|path| path.is_dir());
    for name in families.map(|path| path.to_string_lossy().into_owned()).chain(["tiny".into()]) {
        let model = HookedTransformer::from_pretrained_no_processing(name.as_str())?;
        // A cap squashes what is taken; the sums are checked above.
        if model.cfg().attn_scores_soft_cap.is_some() {
            continue;
        }
        let (layer, head, at) = (model.cfg().n_layers - 1, model.cfg().n_heads - 1, [4, 2]);
        let prompt = Tokens::from_rows(vec![vec![5, 3, 9, 1, 4]])?;
        let all = dictionaries(&model, Kind::Plain)?;
        let score =
            model.attention_score_attribution(&all, prompt.clone(), (layer, head), at[0] as isize, at[1] as isize)?;
        let clean = model.run_with_cache(prompt)?.1;
        let token =
            |pos: usize| -> Result<Tensor> { Ok(clean.get("hook_embed")?.get(0)?.get(pos)?.to_dtype(DType::F32)?) };
        let held = Held { model: &model, clean: clean.clone(), layer };
        let expected = held.together(head, at, &token(4)?, &token(2)?)?;
        let part = score.part(GraphNode::Token { pos: 4 }, GraphNode::Token { pos: 2 })?;
        assert!((part - expected).abs() < DIFFERENCES, "{name}: {part}, the run says {expected}");
        // What a norm after attention does to features is a part of the sums above, and not written out here again.
        if model.cfg().use_normalization_before_and_after || model.cfg().use_normalization_after_only {
            continue;
        }
        let z = clean.get("blocks.0.attn.hook_z")?.get(0)?.get(2)?.flatten_all()?.to_dtype(DType::F32)?;
        let acts = all[0].encode_dense(&z.unsqueeze(0)?)?.squeeze(0)?.to_vec1::<f32>()?;
        let feature = acts.iter().position(|&value| value > 0.0).expect("an active feature");
        let value = f64::from(acts[feature]);
        let w_o = model.weight("blocks.0.attn.W_O")?.flatten(0, 1)?.to_dtype(DType::F32)?;
        let written = (all[0].w_dec().get(feature)? * value)?.unsqueeze(0)?.matmul(&w_o)?.squeeze(0)?;
        let expected = held.together(head, at, &token(4)?, &written)?;
        let part = score.part(GraphNode::Token { pos: 4 }, GraphNode::AttnFeature { layer: 0, pos: 2, feature })?;
        assert!((part - expected).abs() < DIFFERENCES, "{name}: {part}, the run says {expected}");
    }
    Ok(())
}

#[test]
fn tables_of_the_largest_sum_to_the_score_and_sides_to_the_table() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "When John and Mary went to the shops, John gave the bag to";
    // Without dictionaries all that attention and MLPs write are errors.
    let bare = model.attention_score_attribution(Vec::<Dictionary>::new(), prompt, (3, 0), -1, 10)?;
    assert!(has(&bare, |node| matches!(node, GraphNode::AttnError { .. })));
    assert!(!has(&bare, |node| matches!(node, GraphNode::Feature { .. } | GraphNode::AttnFeature { .. })));
    let score = model.attention_score_attribution(&dictionaries(&model, Kind::Plain)?, prompt, (3, 0), -1, 10)?;
    assert!((bare.score() - score.score()).abs() < ROUNDING * score.score().abs());
    let sum = |table: Labelled| table.values().iter().sum::<f32>();
    for count in [0, 3, 1000] {
        let top = score.top(count)?;
        assert!((sum(top.clone()) - score.score()).abs() < DIFFERENCES, "{count}");
        assert!(top.shape()[0] <= count + 1);
    }
    assert!((sum(score.by_key()?) - score.score()).abs() < DIFFERENCES);
    assert!((sum(score.by_query()?) - score.score()).abs() < DIFFERENCES);
    let (query, key) = (score.query_sources()[1], score.key_sources()[2]);
    let labels = [query.to_string(), key.to_string()];
    assert_eq!(score.part(query, key)?, score.table()?.get(&[&labels[0], &labels[1]])?);
    Ok(())
}

#[test]
fn what_cannot_be_split_is_refused() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let none = Vec::<Dictionary>::new;
    let error = |result: Result<ScoreAttribution>| result.expect_err("refused").to_string();
    let says = |result: Result<ScoreAttribution>, words: &str| {
        let error = error(result);
        assert!(error.contains(words), "{error}");
    };
    let prompt = "John gave the bag to";
    says(model.attention_score_attribution(none(), prompt, (1, 0), 1, 3), "does not see position 3 from position 1");
    says(model.attention_score_attribution(none(), prompt, (9, 0), 3, 1), "9");
    says(model.attention_score_attribution(none(), prompt, (1, 0), 3, 99), "99");
    says(model.attention_score_attribution(none(), [prompt, prompt], (1, 0), 3, 1), "of one prompt, and 2 were given");
    let twice = vec![of_heads(&model, 0)?, of_heads(&model, 0)?];
    says(model.attention_score_attribution(twice, prompt, (1, 0), 3, 1), "is the second one of hook_z in layer 0");
    let parts = DictionaryParts { input_norm: InputNorm::ConstantNorm, ..of_heads(&model, 0)?.parts() };
    says(
        model.attention_score_attribution(vec![Dictionary::new(parts)?], prompt, (1, 0), 3, 1),
        "normalises its input",
    );
    let stream = DictionarySet::open("tiny")?.get("resid1")?;
    says(model.attention_score_attribution(vec![stream], prompt, (3, 0), 3, 1), "does not write to a hook_mlp_out");
    Ok(())
}
