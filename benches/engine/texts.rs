//! Generated text, and the attention of all heads as a widget.

use candle_lens::prelude::*;
use serde_json::{Value, json};

use crate::bench::Bench;
use crate::rows;

const NEW_TOKENS: usize = 64;

pub fn all(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    let mut random = Random::new(3);
    for prompts in [1, 8] {
        let rows = rows(model, &mut random, (prompts, 15));
        let tokens = Tokens::from_rows(rows.clone())?;
        let options = GenerateOptions { max_new_tokens: NEW_TOKENS, stop_at_eos: false, ..Default::default() };
        let name = format!("generate_{prompts}x15_{NEW_TOKENS}");
        let inputs = json!({ "tokens": rows, "new_tokens": NEW_TOKENS });
        let work = || model.generate(&tokens, &options);
        bench.row(&name, inputs, work, |text| Ok(json!(text.new_tokens().concat())))?;
    }
    explorer(bench, model)
}

/// Every head over 64 tokens: the time to draw what a cache holds, and how many bytes the page of it takes.
fn explorer(bench: &mut Bench, model: &HookedTransformer) -> candle_lens::Result<()> {
    let name = format!("attention_explorer_{}x64", model.cfg().n_layers * model.cfg().n_heads);
    if !bench.wants(&name) {
        return Ok(());
    }
    let rows = rows(model, &mut Random::new(4), (1, 64));
    let words: Vec<String> = rows[0].iter().map(ToString::to_string).collect();
    let (_, cache) = model.run_with_cache(Tokens::from_rows(rows)?)?;
    let work = || attention_explorer(&words, &cache).render();
    bench.row(&name, Value::Null, work, |page| Ok(json!([page.html().len()])))
}
