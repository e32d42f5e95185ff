//! The exercises on generating text.

use super::{decoding_answers as answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// Text of the most probable tokens.
    GenerateGreedy, "1.1.o", generate_greedy(model: &HookedTransformer, tokens: &Tokens, new: usize) -> Vec<u32>;
    task: "Append `new` tokens to a prompt, each the most probable one. Where the text has become longer than the model's context (`model.cfg().n_ctx`), show the model the last `n_ctx` tokens of it only.

- `tokens`: one prompt; its first token is a BOS already if the model wants one
- returns the ids of the whole text, the prompt included";
    axes: &[&["pos"]];
    inputs: inputs::prompts => (HookedTransformer, Tokens, usize);
    hints: &[
        "One step: run the model on the ids so far, look at the last position's logits, append their argmax.",
        "model.forward(vec![ids])? takes ids; logits.at(&[0, -1])? is the last position; ids[ids.len().saturating_sub(n_ctx)..] is the end of the text.",
        "let window = ids[ids.len().saturating_sub(model.cfg().n_ctx)..].to_vec(); ids.push(model.forward(vec![window])?.at(&[0, -1])?.argmax(0)?.to_scalar()?);",
    ];
    wrong: [
        "a text that is longer than the context is cut at its end, so that the model never sees the new tokens. Cut its beginning." => answers::first_window,
        "another BOS is put in front at each step. The prompt has one." => answers::bos_each_time,
        "the model sees only the last token. Show it the whole text." => answers::last_token_only,
        "each token is the guess of the first position. Read the last position's logits." => answers::first_guess,
        "the model sees only the prompt at each step, and repeats its guess. Append the new token to what it sees." => answers::prompt_alone,
        "these are the new tokens alone. Return the prompt as well." => answers::without_prompt,
    ];
    accepted: [];
}

exercise! {
    /// The most probable texts that a search with several beginnings finds.
    BeamSearch, "1.1.p", beam_search(model: &HookedTransformer, tokens: &Tokens, beams: usize, new: usize) -> Vec<(f32, Vec<u32>)>;
    task: "(Harder.) Search for probable continuations of `new` tokens. At each step extend every text that you keep by every possible token, and keep the `beams` best of all these. A text's score is the sum of the log-probabilities of its new tokens. With one beam this is greedy decoding; with enough of them it finds the most probable text of all.

- `tokens`: one prompt
- returns the texts that are left after the last step with their scores, the best first: `beams` pairs of a score and the ids of the whole text";
    axes: &[&["beam"], &["beam", "pos"]];
    inputs: inputs::searches => (HookedTransformer, Tokens, usize, usize);
    hints: &[
        "Begin with one text, the prompt with a score of 0. Each step makes a longer list of texts out of the list before.",
        "For each text: log_softmax of the last position's logits; each of its top_k(beams) tokens gives a new text, with the old score plus the log-probability. Sort all of these by score and truncate.",
        "longer.push((score + log_prob, [&ids[..], &[id]].concat())); then longer.sort_by(|a, b| b.0.total_cmp(&a.0)); longer.truncate(beams);",
    ];
    wrong: [
        "these are products of probabilities, which become 0 for long texts. Add up log-probabilities." => answers::product,
        "the score is the last token's log-probability alone. Add it to the score that the text had." => answers::last_score,
        "all texts come from the best one of the step before. Extend every text that is kept." => answers::one_parent,
        "each beginning keeps one continuation. The best ones of all together stay, even if they have the same beginning." => answers::one_child_each,
        "the scores are divided by the number of new tokens. Return the sums." => answers::by_length,
        "the best text is at the end. Put it first." => answers::best_last,
    ];
    accepted: [];
}

exercise! {
    /// Attention of new positions, given the keys and values of those before.
    AttendWithCache, "1.1.q1", attend_with_cache(q: &Tensor, k: &Tensor, v: &Tensor, past_k: &Tensor, past_v: &Tensor) -> Tensor;
    task: "(Harder.) Causal attention where the keys and values of the first positions are known from an earlier run. The new positions attend to all of the past, and to themselves and each other as far as the mask allows. It must give just what attention over the whole text gives at the new positions.

- `q`, `k`, `v`: `[batch, new, head, d_head]`
- `past_k`, `past_v`: `[batch, past, head, d_head]`, the positions before
- returns `z`, `[batch, new, head, d_head]`: the values of each head, averaged by its pattern";
    axes: &[&["batch", "new", "head", "d_head"]];
    inputs: inputs::pasts => (Tensor, Tensor, Tensor, Tensor, Tensor);
    hints: &[
        "Join past and new keys along the positions, and the values too. Only the mask is different then.",
        "New query i stands at position past + i, and may see the keys 0 to past + i: the last rows of the whole text's mask.",
        "let seen = Tensor::tril2(past + new, DType::U8, q.device())?.narrow(0, past, new)?; the rest is as in attention of C1, and z is einsum(\"b h q k, b k h d -> b q h d\", &[&pattern, &v]).",
    ];
    wrong: [
        "the mask counts new queries from 0, so that they see only the beginning of the past. The first one stands at position past." => answers::mask_from_the_start,
        "there is no mask: new positions see those after them." => answers::no_mask,
        "the mask is inverted: masked_fill replaces where the mask is 1, and those must be the keys that come after their query." => answers::past_masked,
        "the scores are not scaled. Divide them by the square root of d_head." => answers::not_scaled,
        "the past is joined after the new positions, where the mask does not expect it. It comes first." => answers::past_behind,
        "the past is left out." => answers::without_past,
        "the new keys and values are left out: a position sees itself too." => answers::past_alone,
    ];
    accepted: [];
}

exercise! {
    /// Greedy text, with nothing computed twice.
    GenerateCached, "1.1.q2", generate_cached(model: &HookedTransformer, tokens: &Tokens, new: usize) -> (Vec<u32>, usize);
    task: "(Harder.) Greedy text again, with the library's key-value cache: run the prompt once, then at each step only the token that is new. Return the ids, and how many positions the model has computed in all its runs together; without a cache that number grows with the square of the length. The texts of the check fit into the context.

- `RunOptions { keep_kv_cache: true, .. }` makes `model.run(vec![ids], HookPlan::new(), &options)?` keep keys and values: `run.kv_cache()?`
- `RunOptions::past_kv_cache: Some(..)` continues them: the ids that you give come after those of the cache
- returns the ids of the whole text, and the number of positions";
    axes: &[&["pos"], &[]];
    inputs: inputs::continued => (HookedTransformer, Tokens, usize);
    hints: &[
        "What does the model have to be shown at the second step, if it remembers the first?",
        "First all ids of the prompt, then vec![id] with the token that was just chosen, and with the newest run's cache. The last token is never run.",
        "options.past_kv_cache = Some(run.kv_cache()?); rest = vec![id]; at the end of each step.",
    ];
    wrong: [
        "the ids are right, but each step runs the whole text again. Give it the cache and the new token alone." => answers::nothing_kept,
        "the whole text is given after its own cache, so that the model reads it twice. Give it the new token alone." => answers::twice,
        "the last two tokens are given at each step. The first of them is in the cache already." => answers::last_twice,
        "one position too many is computed: nothing has to be run after the last token." => answers::one_more_run,
        "every step goes on from the prompt's cache, and what was generated in between is forgotten. Go on from the newest run's." => answers::cache_of_the_prompt,
    ];
    accepted: [];
}
