//! C00: a first look at a model, as an introduction to TransformerLens takes it: tokens, loss, guesses, activations, attention.

use crate::course::notebook::{Part, Section};

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(MODEL),
        Part::Code("model"),
        Part::Text(TOKENS),
        Part::Code(SENTENCE),
        Part::Text(LOSS),
        Part::Code(PARAGRAPH),
        Part::Text(GUESSES),
        Part::Code(RIGHT),
        Part::Code("token_log_probs(&model, &paragraph, &logits)"),
        Part::Text(CACHE),
        Part::Code("let (_, cache) = model.run_with_cache(&tokens)?;\ncache"),
        Part::Code(
            "let q = cache.get((\"q\", 0))?;\nprintln!(\"queries of layer 0, [batch, pos, head, d_head]: {:?}\", q.dims());",
        ),
        Part::Text(ATTENTION),
        Part::Code(PATTERN),
        Part::Code("attention_patterns(&model.to_str_tokens(sentence)?, (&cache, 0))"),
        Part::Text(END),
    ];
    Section { file: "c00_first_look", parts }
}

const INTRODUCTION: &str = "# C00 · A first look at a model

Nothing to solve here: run the cells, and see what a language model is made of. It reads *tokens*; at every position it guesses the next one; and everything that it computes on the way, its *activations*, can be looked at and changed.

The first line chooses the model, and the rest works for any:

| name | what it is | what it needs |
|---|---|---|
| `\"tiny\"` | 4 layers of 8 heads, trained on a few kinds of sentences | nothing, it is part of the crate |
| `\"smollm2\"` | SmolLM2-135M-Instruct, 30 layers of 9 heads | `cargo lab fetch smollm2`, once |
| `\"gpt2\"` | GPT-2 small, 12 layers of 12 heads | a network connection, once |

If Rust is new to you, run the cells of `c00_rust` first: ten ideas are enough for the whole course.";

const MODEL: &str = r#"let name = "tiny";
let model = HookedTransformer::from_pretrained(name)?;
model.cfg()"#;

const TOKENS: &str = "The table is the model's configuration. The tree shows every point at which an activation can be read or changed, by its TransformerLens name.

## Tokens

A model does not read letters but *tokens*, pieces of text with a number each. Most words have their leading space in them: `\" John\"` is one token, and not the same as `\"John\"`. Most models get a token at the very beginning that stands for nothing, the BOS.";

const SENTENCE: &str = r#"let sentence = "When John and Mary went to the shops, John gave the bag to Mary.";
let tokens = model.to_tokens(sentence)?;
println!("{:?}", model.to_str_tokens(sentence)?);
println!("{:?}", tokens.row(0));
println!("{:?}", model.to_string(tokens.row(0))?);"#;

const LOSS: &str = "## Loss

How surprised is the model by a text? The loss is the mean of minus the log probability that it gives to each next token: 0 would be certainty throughout.

`tiny` reads one sentence of a kind that it was trained on. For other models there is the paragraph with which TransformerLens' main demo begins: GPT-2 small has a loss of 4.3443 on it and guesses 33 of 111 tokens right, SmolLM2 3.9105 and 37.";

const PARAGRAPH: &str = r###"let text = match name {
    "tiny" => "When John and Mary went to the shops, John gave the bag to Mary.",
    _ => "## Loading Models\n\nHookedTransformer comes loaded with >40 open source GPT-style models. You can load any of them in with `HookedTransformer.from_pretrained(MODEL_NAME)`. Each model is loaded into the consistent HookedTransformer architecture, designed to be clean, consistent and interpretability-friendly.\n\nFor this demo notebook we'll look at GPT-2 Small, an 80M parameter model. To try the model the model out, let's find the loss on this paragraph!",
};
let paragraph = model.to_tokens(text)?;
let loss = model.loss(&paragraph)?.item()?;
println!("{} tokens, loss {loss:.4}: each had a probability of {:.3}, in the geometric mean", paragraph.pos(), (-loss).exp());"###;

const GUESSES: &str = "## What it gets right

The model gives a number to every token of its vocabulary, at every position: the *logits*, `[batch, pos, d_vocab]`. The largest one is its guess of what comes **next**: the guess at one position is compared with the token one further.

Which tokens does it get right? `tiny` guesses neither name where it first appears, since nothing says who will go to the shops. It guesses both where they appear again. How it knows the last one is the question of C6.";

const RIGHT: &str = r#"let logits = model.forward(&paragraph)?;
println!("logits {:?}", logits.dims());
let guesses = logits.i(0)?.argmax(1)?.to_vec1::<u32>()?;
let ids = paragraph.row(0);
let mut right = Vec::new();
for pos in 1..ids.len() {
    if guesses[pos - 1] == ids[pos] {
        right.push(model.to_string([ids[pos]])?);
    }
}
println!("{} of {} right: {right:?}", right.len(), ids.len() - 1);"#;

const CACHE: &str = "In the figure each token has the colour of the probability that the model gave it; point at one to see what it would have said instead.

## Everything it computed

`run_with_cache` keeps all activations of a run. Ask for one by name and layer: where TransformerLens writes `cache[\"q\", 0]`, it is `cache.get((\"q\", 0))?` here.";

const ATTENTION: &str = "## Attention, by hand

Each head makes a *query*, a *key* and a *value* at every position. What it attends to is decided by queries and keys alone: their products are scaled, later positions are masked, and softmax makes probabilities of them. That is all there is to an attention pattern, so it can be recomputed from the cache.

Two lines are there for models that are not built like GPT-2: with rotary embeddings the pattern is made of the rotated queries and keys, and with grouped-query attention several heads use the same key head.";

const PATTERN: &str = r#"let cfg = model.cfg();
let (queries, keys) = if cfg.rotary_dim() > 0 { ("rot_q", "rot_k") } else { ("q", "k") };
let (q, k) = (cache.get((queries, 0))?, cache.get((keys, 0))?);
let (batch, pos, n_keys, d_head) = k.dims4()?;
let heads_for_each = cfg.n_heads / n_keys;
let k = k.unsqueeze(3)?.broadcast_as((batch, pos, n_keys, heads_for_each, d_head))?.reshape((batch, pos, cfg.n_heads, d_head))?;
let scores = (einsum("batch q_pos head d_head, batch k_pos head d_head -> batch head q_pos k_pos", &[&q, &k])? / (d_head as f64).sqrt())?;
let future = Tensor::tril2(pos, DType::U8, scores.device())?.eq(0u8)?;
let pattern = softmax(&scores.masked_fill(&future, f32::NEG_INFINITY)?)?;
assert_close(&pattern, &cache.get(("pattern", 0))?, 1e-4)?;
println!("the same pattern as the model's: {:?}", pattern.dims());"#;

const END: &str = "## Where to go from here

You have seen the parts: tokens, logits, loss, activations, attention patterns. The course takes them apart:

- `c0_tensors`, `c1_transformer`: the tensor code that you need, and a transformer from nothing;
- `c3_attention` to `c5_circuit`: which heads do induction, and how two layers work together for it;
- `c6_ioi`, `c7_patching` and on: how a model knows that *Mary* comes next.";
