//! Generation against `transformers` (tests/fixtures/generation.py) and against runs of the whole text.

use candle_lens::Result;
use candle_lens::candle::{IndexOp, Tensor};
use candle_lens::generate::{GenerateOptions, Sampling};
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::model::{HookedTransformer, KvCache, Processing, RunOptions};
use candle_lens::tokens::{PaddingSide, Tokens};
use serde_json::Value;

use crate::support::fixture::{Agreement, json, path, tiny_model};
use crate::support::sentence::sentence;

fn raw(folder: &str) -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_with(path(folder).to_str().expect("the path is UTF-8"), Processing::NONE)
}

fn rows(value: &Value) -> Vec<Vec<u32>> {
    serde_json::from_value(value.clone()).expect("rows of ids")
}

/// Twelve new tokens that end only where the test says.
fn twelve() -> GenerateOptions {
    GenerateOptions { max_new_tokens: 12, stop_at_eos: false, ..Default::default() }
}

#[test]
fn greedy_tokens_are_those_of_transformers() -> Result<()> {
    let references = json("generation.json");
    let references = references.as_object().expect("an object");
    assert!(references.len() >= 14);
    for (folder, reference) in references {
        let model = raw(folder)?;
        let prompts = Tokens::padded(rows(&reference["prompts"]), 0, PaddingSide::Left)?;
        let generated = model.generate(&prompts, twelve())?;
        assert_eq!(generated.new_tokens(), rows(&reference["greedy"]), "{folder}");
        let penalised = GenerateOptions { repetition_penalty: 1.3, ..twelve() };
        assert_eq!(model.generate(&prompts, &penalised)?.new_tokens(), rows(&reference["penalised"]), "{folder}");
        // Here a text that has ended has no more tokens; transformers pads it.
        let end = reference["end"].as_u64().expect("an id") as u32;
        let ended = model.generate(&prompts, GenerateOptions { stop_tokens: vec![end], ..twelve() })?;
        for (ours, theirs) in ended.new_tokens().iter().zip(rows(&reference["ended"])) {
            assert_eq!(*ours, theirs[..ours.len()], "{folder}");
            assert!(ours.last() == Some(&end) || ours.len() == 12, "{folder}");
            assert!(theirs[ours.len()..].iter().all(|&id| id == 0), "{folder}");
        }
    }
    Ok(())
}

/// A repetition penalty depends on where 0 is, and centring the unembedding moves it.
#[test]
fn penalties_do_not_depend_on_the_processing() -> Result<()> {
    let references = json("generation.json");
    let greedy = GenerateOptions { repetition_penalty: 1.3, ..twelve() };
    let drawn =
        |seed| GenerateOptions { sampling: Sampling::temperature(0.8).seed(seed), freq_penalty: 0.3, ..greedy.clone() };
    let mut shifted = 0;
    for (folder, reference) in references.as_object().expect("an object") {
        let raw = raw(folder)?;
        let prompts = Tokens::padded(rows(&reference["prompts"]), 0, PaddingSide::Left)?;
        let whole = HookedTransformer::from_pretrained(path(folder).to_str().expect("the path is UTF-8"))?;
        shifted += usize::from(whole.processing().center_unembed);
        // Where folding follows centring, what centring subtracted has to be folded as well.
        let centre = Processing { center_unembed: whole.processing().center_unembed, ..Processing::NONE };
        let twice = raw.clone().process(centre)?.process(whole.processing())?;
        for model in [&whole, &twice] {
            assert_eq!(model.generate(&prompts, &greedy)?.new_tokens(), rows(&reference["penalised"]), "{folder}");
        }
        for seed in 0..3 {
            let expected = raw.generate(&prompts, drawn(seed))?.new_tokens();
            assert_eq!(whole.generate(&prompts, drawn(seed))?.new_tokens(), expected, "{folder}, seed {seed}");
        }
    }
    assert!(shifted >= 12, "{shifted} models were centred");
    Ok(())
}

/// Runs `tokens` in pieces that end before these columns, each continuing the one before.
fn in_pieces(model: &HookedTransformer, tokens: &Tokens, ends: &[usize]) -> Result<(Vec<Tensor>, KvCache)> {
    let mut past: Option<KvCache> = None;
    let mut logits = Vec::new();
    for &end in ends {
        let from = past.as_ref().map_or(0, |past| past.tokens().pos());
        let input = match from {
            // Only the first piece has padding.
            0 => {
                let cut = (0..tokens.batch())
                    .map(|b| tokens.real_row(b)[..tokens.lengths()[b] + end - tokens.pos()].to_vec());
                Tokens::padded(cut.collect(), 0, PaddingSide::Left)?
            }
            _ => Tokens::from_rows((0..tokens.batch()).map(|b| tokens.row(b)[from..end].to_vec()).collect())?,
        };
        let options = RunOptions { past_kv_cache: past, keep_kv_cache: true, ..Default::default() };
        let run = model.run(input, HookPlan::new(), &options)?;
        logits.push(run.logits.expect("logits are asked for"));
        past = run.kv_cache;
    }
    Ok((logits, past.expect("it is kept")))
}

#[test]
fn pieces_give_the_logits_of_the_whole() -> Result<()> {
    let mut agreement = Agreement::default();
    for folder in ["tiny_gpt2", "families/qwen2_window", "families/gemma2", "families/gpt_neo", "families/llama3"] {
        let model = raw(folder)?;
        let row = |length: usize, from: u32| (0..length as u32).map(|i| (from + 7 * i) % 29).collect::<Vec<_>>();
        let tokens = Tokens::padded(vec![row(11, 1), row(8, 2), row(10, 3)], 0, PaddingSide::Left)?;
        let whole = model.forward(&tokens)?;
        let (pieces, past) = in_pieces(&model, &tokens, &[5, 6, 9, 11])?;
        assert_eq!(past.tokens(), tokens);
        let joined = Tensor::cat(&pieces, 1)?;
        for b in 0..3 {
            // Logits at padding mean nothing.
            let from = tokens.first_positions()[b];
            agreement.check(folder, &joined.i((b, from..))?, &whole.i((b, from..))?);
        }
    }
    agreement.finish("runs in pieces");
    Ok(())
}

#[test]
fn one_beginning_has_many_ends() -> Result<()> {
    let model = tiny_model(Processing::default());
    let begin = vec![3u32, 50, 17, 101, 9];
    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    let past = model.run(vec![begin.clone()], HookPlan::new(), &keep)?.kv_cache.expect("it is kept");
    let mut agreement = Agreement::default();
    for end in [vec![5u32, 80], vec![200u32, 1, 4]] {
        let on = RunOptions { past_kv_cache: Some(past.clone()), ..Default::default() };
        // Positions of the plan are the text's: 5 is the first token of each end.
        let plan =
            HookPlan::new().edit(("resid_pre", 1), Edit::zero().pos(5)).capture(("z", 1)).capture(("pattern", 0));
        let run = model.run(vec![end.clone()], &plan, &on)?;
        assert!(run.kv_cache.is_none());
        let whole = vec![[begin.clone(), end.clone()].concat()];
        let (logits, cache) = model.run_with_hooks(whole, &plan)?;
        let of_end = |x: &Tensor, axis| x.narrow(axis, 5, end.len()).expect("the end");
        agreement.check("logits", &run.logits.expect("asked for"), &of_end(&logits, 1));
        for (point, captured) in &run.captured {
            let axis = if captured.dim(1)? == end.len() { 1 } else { 2 };
            agreement.check("captured", captured, &of_end(&cache.get(*point)?, axis));
        }
        assert_eq!(run.captured.len(), 2);
    }
    agreement.finish("ends");
    assert_eq!(past.tokens().pos(), 5, "a cache is never changed");
    Ok(())
}

/// Checks that each new token is the most likely one when the whole text runs under the plan.
fn check_under(model: &HookedTransformer, prompts: &Tokens, plan: &HookPlan) -> Result<Vec<Vec<u32>>> {
    let generated = model.generate(prompts, GenerateOptions { plan: plan.clone(), ..twelve() })?;
    let (logits, _) = model.run_with_hooks(generated.tokens()?, plan)?;
    let best = logits.argmax(2)?.to_vec2::<u32>()?;
    let new = generated.new_tokens();
    for (row, best) in new.iter().zip(&best) {
        assert_eq!(row[..], best[best.len() - 13..best.len() - 1], "{plan}");
    }
    Ok(new)
}

#[test]
fn a_plan_acts_as_if_the_whole_text_had_run_at_once() -> Result<()> {
    let model = tiny_model(Processing::default());
    let prompts = Tokens::from_rows(vec![vec![3, 50, 17, 101], vec![8, 9, 10, 11]])?;
    let direction = (model.W_U().i((.., 77))? * 3.)?;
    let other = (model.W_U().i((.., 42))? * 4.)?;
    let twice = Edit::custom("twice", |x, _| x * 2.);
    let plain = check_under(&model, &prompts, &HookPlan::new())?;
    for plan in [
        HookPlan::new().edit(("resid_post", 0), Edit::add(direction)),
        HookPlan::new().edit(("z", 1), Edit::scale(-3.).head(2)),
        // The third step generates token 6.
        HookPlan::new().edit(("resid_pre", 1), Edit::scale(-5.).pos(6)),
        HookPlan::new().edit(("resid_post", 0), Edit::add(other.clone()).pos([1, 5])),
        HookPlan::new().edit(("resid_post", 0), Edit::add(other.clone()).keeping_norm().pos(4..)),
        HookPlan::new().edit(("resid_post", 0), Edit::project_out(other)),
        // From the third step on, no query attends to token 1.
        HookPlan::new().edit("attn_scores", Edit::knock_out().pos(5..).key_pos(1..4)),
        HookPlan::new().edit(("mlp_out", 0), twice),
    ] {
        assert_ne!(check_under(&model, &prompts, &plan)?, plain, "{plan} changes nothing");
    }
    Ok(())
}

#[test]
fn a_seed_gives_the_same_text_again() -> Result<()> {
    let model = tiny_model(Processing::default());
    let text = |sampling| -> Result<_> {
        let options = GenerateOptions { sampling, max_new_tokens: 20, ..Default::default() };
        Ok(model.generate(vec![vec![5u32, 6]], &options)?.new_tokens()[0].to_vec())
    };
    let random = Sampling::temperature(2.).top_k(50).top_p(0.95);
    assert_eq!(text(random.seed(1))?, text(random.seed(1))?);
    assert_ne!(text(random.seed(1))?, text(random.seed(2))?);
    assert_eq!(text(Sampling::temperature(1.).top_k(1))?, text(Sampling::Greedy)?);
    assert_eq!(text(Sampling::temperature(1e-6))?, text(Sampling::Greedy)?);
    Ok(())
}

#[test]
fn a_stream_gives_the_text_piece_by_piece() -> Result<()> {
    let model = tiny_model(Processing::default());
    let options = GenerateOptions { max_new_tokens: 15, sampling: Sampling::temperature(5.), ..Default::default() };
    let prompts = ["When Mary and John", "the shops"];
    let whole = model.generate(prompts, &options)?;
    let mut stream = model.generate_stream(prompts, &options)?;
    let mut texts = [String::new(), String::new()];
    let mut tokens = [Vec::new(), Vec::new()];
    for step in &mut stream {
        let step = step?;
        for b in 0..2 {
            texts[b] += &step.texts[b];
            tokens[b].extend(step.tokens[b]);
        }
    }
    assert_eq!(tokens.to_vec(), whole.new_tokens());
    assert_eq!(whole.completions(), texts);
    assert_eq!(whole.prompts(), prompts, "the BOS is not shown");
    // Tokens that are parts of characters are held back until the character is whole.
    assert!(texts.iter().all(|text| !text.ends_with(char::REPLACEMENT_CHARACTER)), "{texts:?}");
    Ok(())
}

#[test]
fn mistakes_are_said_before_anything_runs() -> Result<()> {
    let model = tiny_model(Processing::default());
    let try_with = |options: GenerateOptions| model.generate(vec![vec![5u32, 6]], &options);
    let random = |sampling| GenerateOptions { sampling, ..Default::default() };
    sentence(try_with(GenerateOptions { max_new_tokens: 0, ..Default::default() }), &["max_new_tokens is 0"]);
    sentence(try_with(GenerateOptions { max_new_tokens: 31, ..Default::default() }), &["2 tokens", "31", "n_ctx = 32"]);
    sentence(try_with(random(Sampling::temperature(0.))), &["temperature is 0", "Greedy"]);
    sentence(try_with(random(Sampling::temperature(f64::NAN))), &["temperature is NaN"]);
    sentence(try_with(random(Sampling::Greedy.top_k(0))), &["top_k is 0"]);
    sentence(try_with(random(Sampling::Greedy.top_p(1.5))), &["top_p is 1.5"]);
    sentence(try_with(GenerateOptions { repetition_penalty: 0., ..Default::default() }), &["repetition_penalty is 0"]);
    sentence(try_with(GenerateOptions { stop_tokens: vec![9999], ..Default::default() }), &["stop token 9999"]);
    let capture = GenerateOptions { plan: HookPlan::new().capture("z"), ..Default::default() };
    sentence(try_with(capture), &["cannot keep activations", "Generated::tokens"]);
    let last = HookPlan::new().edit(("resid_post", 0), Edit::zero().pos(-1));
    sentence(try_with(GenerateOptions { plan: last, ..Default::default() }), &["counts from the end"]);

    let never = HookPlan::new().edit(("resid_post", 0), Edit::zero().pos(12));
    sentence(try_with(GenerateOptions { plan: never, ..Default::default() }), &["position 12", "0 to 11"]);

    let keep = RunOptions { keep_kv_cache: true, ..Default::default() };
    let past = model.run(vec![vec![1u32, 2, 3]], HookPlan::new(), &keep)?.kv_cache;
    let on = RunOptions { past_kv_cache: past, ..Default::default() };
    sentence(model.run(vec![vec![1u32], vec![2]], HookPlan::new(), &on), &["1 rows", "2"]);
    let earlier = HookPlan::new().capture("z").pos(1);
    sentence(model.run(vec![vec![1u32]], earlier, &on), &["position 1 was run before", "begins at position 3"]);
    sentence(raw("families/llama")?.run(vec![vec![1u32]], HookPlan::new(), &on), &["model with other sizes"]);
    // Its rotary embedding changes when a text becomes longer than 8 tokens.
    let long = raw("families/phi3_long")?;
    let original = long.cfg().long_rope.as_ref().expect("it has one").original_n_ctx as u32;
    let before = long.run(vec![(0..original).collect::<Vec<_>>()], HookPlan::new(), &keep)?.kv_cache;
    let past = RunOptions { past_kv_cache: before, ..Default::default() };
    sentence(long.run(vec![vec![1u32]], HookPlan::new(), &past), &["long_rope", "run the whole text"]);
    let part = RunOptions { stop_at_layer: Some(1), ..on.clone() };
    sentence(model.run(vec![vec![1u32]], HookPlan::new(), &part), &["whole runs only"]);
    let right = Tokens::padded(vec![vec![1, 2], vec![3]], 0, PaddingSide::Right)?;
    let past = model.run(&right, HookPlan::new(), &keep)?.kv_cache;
    let on = RunOptions { past_kv_cache: past, ..Default::default() };
    sentence(model.run(vec![vec![1u32], vec![2]], HookPlan::new(), &on), &["inside the text", "Left"]);
    Ok(())
}
