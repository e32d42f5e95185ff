//! Positions by ALiBi: scores by hand, padding on either side, runs behind a past, from a layer and of a suffix, on BLOOMs
//! of 4 and of 6 heads. (Its logits and activations are held with the other families', in `families.rs`.)

use candle_lens::Result;
use candle_lens::candle::{IndexOp, Tensor};
use candle_lens::prelude::*;

use crate::support::fixture::{Agreement, path};
use crate::support::models::pretrained;
use crate::support::sentence::sentence;

fn bloom(folder: &str) -> Result<HookedTransformer> {
    pretrained(path(&format!("families/{folder}")).to_str().unwrap(), Some(Processing::NONE))
}

/// The slopes of these numbers of heads, written out.
const MODELS: [(&str, &[f32]); 2] = [
    ("bloom", &[0.25, 0.0625, 0.015625, 0.00390625]),
    ("bloom_6_heads", &[0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]),
];

const IDS: [u32; 6] = [3, 17, 5, 29, 11, 4];

#[test]
fn scores_fall_with_the_distance_at_the_slope_of_each_head() -> Result<()> {
    let mut agreement = Agreement::default();
    for (folder, slopes) in MODELS {
        let model = bloom(folder)?;
        let (_, cache) = model.run_with_cache(IDS.to_vec())?;
        let (q, k) = (cache.get(("q", 1))?, cache.get(("k", 1))?);
        let scores = cache.get(("attn_scores", 1))?;
        let mut pairs = Vec::new();
        for (head, slope) in slopes.iter().enumerate() {
            for query in 0..IDS.len() {
                for key in 0..=query {
                    let product = (q.i((0, query, head))? * k.i((0, key, head))?)?.sum_all()?.to_scalar::<f32>()?;
                    let by_hand = product / (model.cfg().d_head() as f32).sqrt() - slope * (query - key) as f32;
                    let ours = scores.i((0, head, query, key))?.to_scalar::<f32>()?;
                    pairs.push((f64::from(ours), f64::from(by_hand)));
                }
            }
        }
        agreement.check_numbers(folder, pairs.into_iter());
    }
    agreement.finish("scores by hand");
    Ok(())
}

#[test]
fn padding_on_either_side_changes_nothing() -> Result<()> {
    let mut agreement = Agreement::default();
    for (folder, _) in MODELS {
        let model = bloom(folder)?;
        let rows = vec![IDS.to_vec(), vec![7, 31, 8]];
        for side in [PaddingSide::Left, PaddingSide::Right] {
            let logits = model.forward(Tokens::padded(rows.clone(), 0, side)?)?;
            for (b, row) in rows.iter().enumerate() {
                let start = if side == PaddingSide::Left { IDS.len() - row.len() } else { 0 };
                let padded = logits.i(b)?.narrow(0, start, row.len())?;
                agreement.check(&format!("{folder}, {side}, row {b}"), &padded, &model.forward(row.clone())?.i(0)?);
            }
        }
    }
    agreement.finish("padded rows");
    Ok(())
}

#[test]
fn a_run_behind_a_past_is_the_end_of_the_whole() -> Result<()> {
    let mut agreement = Agreement::default();
    for (folder, _) in MODELS {
        let model = bloom(folder)?;
        let whole = model.forward(IDS.to_vec())?;
        let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
        let past = model.run(IDS[..4].to_vec(), HookPlan::new(), &keep)?.kv_cache;
        let on = RunOptions { past_kv_cache: past, ..Default::default() };
        let run = model.run(IDS[4..].to_vec(), HookPlan::new().capture(("attn_scores", 0)), &on)?;
        agreement.check(folder, &run.logits()?, &whole.narrow(1, 4, 2)?);
        // Greedy generation, one token behind the past at a time, is that of whole runs.
        let options = GenerateOptions { max_new_tokens: 5, stop_at_eos: false, ..Default::default() };
        let generated = model.generate(IDS.to_vec(), options)?;
        let mut text = IDS.to_vec();
        for _ in 0..5 {
            let logits = model.forward(text.clone())?;
            let last = logits.i((0, text.len() - 1))?;
            text.push(last.argmax(0)?.to_scalar::<u32>()?);
        }
        assert_eq!(generated.new_tokens()[0], &text[IDS.len()..], "{folder}");
    }
    agreement.finish("runs behind a past");
    Ok(())
}

#[test]
fn patched_suffixes_are_whole_runs() -> Result<()> {
    let model = bloom("bloom_6_heads")?;
    let clean = Tokens::from_rows(vec![IDS.to_vec()])?;
    let corrupted = Tokens::from_rows(vec![vec![3, 17, 5, 22, 11, 4]])?;
    let answers = model.answers([(9u32, 31u32)])?;
    let patching = Experiment::new(&model, clean.clone(), corrupted.clone(), Metric::logit_diff(&answers))?;
    let sweep = patching.sweep("resid_pre", &[AxisName::Layer, AxisName::Pos])?;
    let (_, clean) = model.run_with_cache(clean)?;
    let (_, other) = model.run_with_cache(corrupted.clone())?;
    let mut agreement = Agreement::default();
    for layer in 0..2usize {
        for pos in 0..IDS.len() {
            let (clean, other) = (clean.get(("resid_pre", layer))?, other.get(("resid_pre", layer))?);
            let behind = other.narrow(1, pos + 1, IDS.len() - pos - 1)?;
            let patched = Tensor::cat(&[other.narrow(1, 0, pos)?, clean.narrow(1, pos, 1)?, behind], 1)?;
            let plan = HookPlan::new().edit(("resid_pre", layer), Edit::replace(patched));
            let (logits, _) = model.run_with_hooks(corrupted.clone(), &plan)?;
            let whole = answers.logit_diff(&logits, &corrupted)?.values()[[0]];
            let ours = sweep.raw.values()[[layer, pos]];
            agreement.check_numbers(&format!("{layer} {pos}"), [(f64::from(ours), f64::from(whole))].into_iter());
        }
    }
    agreement.finish("suffixes");
    Ok(())
}

#[test]
fn positions_without_vectors_say_so() -> Result<()> {
    let model = bloom("bloom")?;
    sentence(model.W_pos(), &["no position embeddings", "distance"]);
    let (_, cache) = model.run_with_cache(IDS.to_vec())?;
    sentence(cache.get("pos_embed"), &["distance between query and key"]);
    let folder = crate::support::scratch("alibi_saved");
    model.save_transformer_lens(folder.join("four"))?;
    sentence(bloom("bloom_6_heads")?.save_transformer_lens(folder.join("six")), &["ALiBi", "power of two"]);
    sentence(model.save_pretrained(folder.join("gpt2")), &["GPT-2"]);
    Ok(())
}

/// The norm of the embedding is in `W_E`, and not in the unembedding, which is the same matrix in the file.
#[test]
fn the_embedding_has_been_through_its_norm() -> Result<()> {
    let model = bloom("bloom")?;
    let file = path("families/bloom/model.safetensors");
    let tensors = candle_lens::candle::safetensors::load(file, &Device::Cpu)?;
    let named = |part: &str| tensors.iter().find(|(name, _)| name.ends_with(part)).expect("a tensor").1.clone();
    let rows = named("word_embeddings.weight");
    let centred = rows.broadcast_sub(&rows.mean_keepdim(1)?)?;
    let scale = (centred.sqr()?.mean_keepdim(1)? + 1e-5)?.sqrt()?;
    let normed: Tensor = centred
        .broadcast_div(&scale)?
        .broadcast_mul(&named("word_embeddings_layernorm.weight"))?
        .broadcast_add(&named("word_embeddings_layernorm.bias"))?;
    let mut agreement = Agreement::default();
    agreement.check("W_E", &model.W_E(), &normed);
    agreement.check("W_U", &model.W_U(), &rows.t()?.contiguous()?);
    agreement.finish("the embedding of BLOOM");
    Ok(())
}
