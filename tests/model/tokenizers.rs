//! Models with the tokenizers that real ones have: each family's BOS, more rows than tokens, several ends of a text, two files
//! instead of one.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor, safetensors};
use candle_lens::model::Processing;
use candle_lens::prelude::*;
use serde_json::{Value, json as value};

use crate::support::fixture::{json, path, tiny_gpt2};
use crate::support::models::FOLDERS;
use crate::support::scratch;
use crate::support::sentence::sentence;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

/// Rows that `padded_tiny` has beyond its tokenizer's 2827 tokens.
const MORE: usize = 173;

fn load(folder: &Path) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained(folder.to_str().expect("UTF-8"))
}

fn set(folder: &Path, name: &str, changes: Value) {
    let file = folder.join(name);
    let mut json: Value = fs::read(&file).map_or(value!({}), |bytes| serde_json::from_slice(&bytes).unwrap());
    for (key, value) in changes.as_object().unwrap() {
        json[key] = value.clone();
    }
    fs::write(file, json.to_string()).unwrap();
}

/// The embedded model in a folder.
fn tiny(name: &str) -> Result<PathBuf> {
    let folder = scratch(name);
    HookedTransformer::from_pretrained_with("tiny", Processing::NONE)?.save_pretrained(&folder)?;
    Ok(folder)
}

/// The embedded model with more rows than tokens, as Pythia, Qwen 2 and Phi 2 have them. The likeliest answer of `PROMPT`
/// and everything else that the model may say is one of them: their unembedding is that of " Mary", made longer.
fn padded_tiny(name: &str) -> Result<PathBuf> {
    let folder = tiny(name)?;
    let mary = HookedTransformer::from_pretrained("tiny")?.to_single_token(" Mary")?;
    let file = folder.join("model.safetensors");
    let mut tensors: HashMap<String, Tensor> = safetensors::load(&file, &Device::Cpu)?;
    let mut padded = 0;
    for name in ["transformer.wte.weight", "lm_head.weight"] {
        let Some(rows) = tensors.get(name).cloned() else { continue };
        let own = rows.get(mary as usize)?.unsqueeze(0)?;
        let more = (own * 1.5)?.broadcast_as((MORE, rows.dim(1)?))?.contiguous()?;
        tensors.insert(name.into(), Tensor::cat(&[&rows, &more], 0)?);
        padded += 1;
    }
    assert!(padded > 0);
    safetensors::save(&tensors, file)?;
    set(&folder, "config.json", value!({ "vocab_size": 2827 + MORE }));
    Ok(folder)
}

#[test]
fn each_family_begins_texts_as_transformer_lens_does() -> Result<()> {
    let defaults = json("tokenizers/cases.json")["prepends_by_default"].clone();
    let defaults = defaults.as_object().unwrap();
    assert_eq!(defaults.len(), 17);
    let mut seen = std::collections::BTreeSet::new();
    for family in FOLDERS.into_iter().map(|family| path("families").join(family)).chain([tiny_gpt2()]) {
        let config: Value = serde_json::from_slice(&fs::read(family.join("config.json")).unwrap()).unwrap();
        let kind = config["model_type"].as_str().unwrap().to_string();
        let folder = scratch(&format!("bos_of_{}", family.file_name().unwrap().to_str().unwrap()));
        for name in ["config.json", "model.safetensors"] {
            fs::copy(family.join(name), folder.join(name)).unwrap();
        }
        fs::copy(path("tokenizers/gpt2.json"), folder.join("tokenizer.json")).unwrap();
        set(&folder, "tokenizer_config.json", value!({ "bos_token": "<|endoftext|>" }));
        let model = load(&folder)?;
        let prepends = defaults[&kind].as_bool().unwrap();
        assert_eq!(model.cfg().default_prepend_bos, prepends, "{kind}");
        let tokenizer = model.tokenizer()?;
        let plain = tokenizer.to_tokens_with("the", Bos::Omit)?.row(0).to_vec();
        let begun = [tokenizer.bos_id().into_iter().filter(|_| prepends).collect(), plain].concat();
        assert_eq!(tokenizer.to_tokens("the")?.row(0), begun, "{kind}");
        seen.insert(kind);
    }
    assert_eq!(seen.len(), 17, "each family has a model here: {seen:?}");
    Ok(())
}

#[test]
fn ids_beyond_the_tokenizer_are_shown_everywhere() -> Result<()> {
    let model = load(&padded_tiny("padded_vocabulary")?)?;
    assert_eq!(model.cfg().d_vocab, 2827 + MORE);
    let beyond = 2900;
    let shown = "⟨2900⟩";
    assert_eq!(model.to_string([beyond])?, shown);
    sentence(model.to_string([3000]), &["3000", "2999"]);
    let mut row = model.to_tokens(PROMPT)?.row(0).to_vec();
    row.push(beyond);
    assert_eq!(model.to_str_tokens(vec![row.clone()])?.last().map(String::as_str), Some(shown));
    let (logits, cache) = model.run_with_cache(vec![row.clone()])?;

    let lens = logit_lens(&model, &cache, LensOptions { pos: (-2).into(), k: 5, ..Default::default() })?;
    let place = lens.probabilities.labels("position")?[0].parse::<usize>().unwrap();
    let best = lens.at("final_post", 0, place)?;
    assert!(best.iter().all(|(token, _)| token.starts_with('⟨')), "the padded rows are the likeliest: {best:?}");

    let answers = model.answers([(beyond, model.to_single_token(" John")?)])?;
    assert_eq!(answers.texts().next().unwrap().0, shown);
    direct_logit_attribution(&model, &cache, &answers, Unit::Component)?;

    for text in [
        token_log_probs(&model, vec![row.clone()], &logits).render()?.text(),
        visualize_model_performance(&model, vec![row], &logits).render()?.text(),
        test_prompt(&model, PROMPT, " Mary")?.render()?.text(),
        attention_heads(&model, &cache).render()?.html(),
    ] {
        assert!(text.contains('⟨') && text.contains('⟩'), "{text}");
    }
    let hot = GenerateOptions { max_new_tokens: 8, sampling: Sampling::temperature(1.5).seed(1), ..Default::default() };
    let generated = model.generate(PROMPT, &hot)?;
    assert_eq!(
        generated.completions()[0].matches('⟨').count(),
        generated.new_tokens()[0].iter().filter(|id| **id >= 2827).count()
    );
    assert!(generated.completions()[0].contains('⟨'), "{:?}", generated.completions());
    Ok(())
}

#[test]
fn generation_stops_at_each_end_that_the_files_name() -> Result<()> {
    let folder = tiny("several_ends")?;
    let model = load(&folder)?;
    let end = |text: &str| model.to_single_token(text);
    let options = GenerateOptions { max_new_tokens: 6, ..Default::default() };
    let said = model.generate(PROMPT, &options)?;
    assert!(said.new_tokens()[0].len() > 1, "{:?}", said.completions());
    for file in ["config.json", "generation_config.json"] {
        let folder = tiny(&format!("ends_in_{file}"))?;
        set(&folder, file, value!({ "eos_token_id": [end("<|endoftext|>")?, end(" Mary")?] }));
        let model = load(&folder)?;
        assert_eq!(model.end_ids().len(), 2, "{file}");
        assert_eq!(model.generate(PROMPT, &options)?.completions(), [" Mary"], "{file}");
        // It is kept with the model.
        let again = scratch(&format!("ends_again_{file}"));
        HookedTransformer::from_pretrained_with(folder.to_str().unwrap(), Processing::NONE)?.save_pretrained(&again)?;
        assert_eq!(load(&again)?.generate(PROMPT, &options)?.completions(), [" Mary"], "{file}");
    }
    Ok(())
}

#[test]
fn vocab_and_merges_make_a_tokenizer() -> Result<()> {
    let folder = tiny("vocab_and_merges")?;
    let whole = load(&folder)?;
    let file = folder.join("tokenizer.json");
    let tokenizer: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let mut vocabulary = tokenizer["model"]["vocab"].as_object().unwrap().clone();
    for added in tokenizer["added_tokens"].as_array().unwrap() {
        vocabulary.insert(added["content"].as_str().unwrap().into(), added["id"].clone());
    }
    let merge = |merge: &Value| match merge {
        Value::String(pair) => format!("{pair}\n"),
        pair => format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    let merges: String = tokenizer["model"]["merges"].as_array().unwrap().iter().map(merge).collect();
    fs::write(folder.join("vocab.json"), Value::Object(vocabulary).to_string()).unwrap();
    fs::write(folder.join("merges.txt"), format!("#version: 0.2\n{merges}")).unwrap();
    fs::remove_file(file).unwrap();
    let made = load(&folder)?;
    for text in [PROMPT, "It's 1741, naïve  café", " "] {
        assert_eq!(made.to_tokens(text)?.row(0), whole.to_tokens(text)?.row(0), "{text:?}");
    }
    assert_eq!(made.end_ids(), whole.end_ids());
    Ok(())
}
