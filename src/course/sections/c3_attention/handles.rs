//! The exercises of this section.

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// How often the most probable token is the next one.
    NCorrect, "1.2.a", n_correct(logits: &Tensor, tokens: &Tokens) -> usize;
    task: "Count at how many positions of all prompts the most probable token (the largest logit) is the token that comes next. This is the first number to look at for any model: what does it get right?

- `logits`: `[batch, pos, d_vocab]`
- `tokens.row(b)`: the ids of prompt `b`";
    axes: &[&[]];
    inputs: inputs::guesses => (Tensor, Tokens);
    hints: &[
        "The logits at a position are a guess about the position after it.",
        "argmax over the last axis gives a guess for every position. Compare the guess at pos - 1 with the token at pos; the first token was never guessed.",
        "let guesses = logits.argmax(2)?.to_vec2::<u32>()?; then for each row count the positions pos from 1 on with guesses[row][pos - 1] == ids[pos].",
    ];
    wrong: [
        "each guess is compared with the token at its own position. It is about the next one." => answers::counts_itself,
        "each guess is compared with the token before it. It is about the next one." => answers::counts_the_token_before,
    ];
    accepted: [];
}

exercise! {
    /// The attention pattern from queries and keys.
    AttentionPattern, "1.2.b", attention_pattern(q: &Tensor, k: &Tensor) -> Tensor;
    task: "Compute the attention pattern of every head from its queries and keys: scaled scores, causal mask, softmax. All that follows in this course is read off such patterns.

- `q`, `k`: `[batch, pos, head, d_head]`
- returns `[batch, head, q_pos, k_pos]`: for each query position the probabilities of all positions up to it";
    axes: &[&["batch", "head", "q_pos", "k_pos"]];
    inputs: inputs::queries_and_keys => (Tensor, Tensor);
    hints: &[
        "A query's scores are its products with all keys; einsum takes the axes by name.",
        "Scores, divided by the square root of d_head; minus infinity where k_pos > q_pos; softmax over the keys, which is the last axis.",
        r#"let scores = (einsum("b q h d, b k h d -> b h q k", &[q, k])? / (d_head as f64).sqrt())?; then masked_fill with f32::NEG_INFINITY, then softmax."#,
    ];
    wrong: [
        "the scores are not scaled. Divide them by the square root of d_head." => answers::no_scale,
        "the scores are divided by d_head, not by its square root." => answers::scale_without_root,
        "there is no causal mask: positions look at what comes after them." => answers::no_mask,
        "the mask hides a position from itself. Only what comes after it is hidden." => answers::diagonal_masked,
        "the mask is upside down: positions see what comes after them, not what came before." => answers::upside_down,
        "the mask is one too wide: each position sees the next one." => answers::one_too_many,
        "softmax goes over the queries. Each query's probabilities over the keys sum to 1." => answers::over_queries,
        "queries and keys are exchanged." => answers::swapped,
        "the mask comes after softmax, so that a query's probabilities no longer sum to 1. Hide scores before softmax, with minus infinity." => answers::probability_kept_zero,
    ];
    accepted: [];
}

exercise! {
    /// How much each head attends to the current token.
    CurrentTokenScores, "1.2.c", current_token_scores(cache: &ActivationCache) -> Tensor;
    task: "How much of its attention does each head give to the query's own position? Average over queries and prompts.

- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::caches => (ActivationCache,);
    hints: &[
        "The query's own position is the diagonal of the pattern.",
        "For each layer: pattern.diagonal(0)? is [batch, head, pos]; average over batch and pos; stack the layers.",
        r#"layers.push(cache.get(("pattern", layer))?.diagonal(0)?.mean((0, 2))?); and Tensor::stack(&layers, 0) at the end."#,
    ];
    wrong: [
        "this is the first prompt alone. Average over prompts as well." => answers::one_prompt_current,
        "this is a sum over positions. Take the mean." => answers::summed_current,
    ];
    accepted: [];
}

exercise! {
    /// How much each head attends to the token before.
    PreviousTokenScores, "1.2.d", previous_token_scores(cache: &ActivationCache) -> Tensor;
    task: "How much does each head attend to the position just before? Average over the queries that have one, and over prompts. Induction needs such a head.

- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::caches => (ActivationCache,);
    hints: &[
        "The position before the query is the diagonal below the main one.",
        "pattern.diagonal(-1)? has pos - 1 entries: the first query has nothing before it.",
        "As current_token_scores, with diagonal(-1).",
    ];
    wrong: [
        "this is the diagonal above the main one: the token after, which the mask hides." => answers::the_next_token,
        "this is two positions before." => answers::two_before,
        "the sum is divided by all positions. The first query has nothing before it, so there is one less." => answers::all_queries_count,
        "this is the first prompt alone. Average over prompts as well." => answers::one_prompt_previous,
    ];
    accepted: [];
}

exercise! {
    /// How much each head attends to the first token.
    FirstTokenScores, "1.2.e", first_token_scores(cache: &ActivationCache) -> Tensor;
    task: "How much does each head attend to the first position? Heads that have nothing to do rest there.

- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::caches => (ActivationCache,);
    hints: &[
        "The first position as a key: one column of the pattern.",
        "pattern.narrow(3, 0, 1)? keeps key 0; average over batch and queries.",
        r#"layers.push(cache.get(("pattern", layer))?.narrow(3, 0, 1)?.squeeze(3)?.mean((0, 2))?);"#,
    ];
    wrong: [
        "this is what the last query looks at. The first position is a key here, the last axis." => answers::first_query,
        "this is the last key." => answers::last_key,
    ];
    accepted: [
        "You left out the first query, which can look nowhere else: a fair choice, and slightly smaller numbers." => answers::without_the_first_query,
    ];
}

exercise! {
    /// How much each head attends to the token after the earlier occurrence of the current one.
    InductionScores, "1.2.f", induction_scores(cache: &ActivationCache, seq_len: usize) -> Tensor;
    task: "The prompts of this cache are a BOS and `seq_len` random tokens, twice. An induction head looks, from a token of the second half, at the token *after* its first occurrence. Average that attention over the second half's queries and over prompts.

- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::repeats => (ActivationCache, usize);
    hints: &[
        "How far back, from a token of the second half, is the token after its first occurrence?",
        "The first occurrence is seq_len back, the token after it seq_len - 1: a diagonal of the pattern, from query seq_len + 1 on.",
        "pattern.diagonal(1 - seq_len as isize)? begins at query seq_len - 1: leave out two and keep seq_len.",
    ];
    wrong: [
        "this looks at the first occurrence itself: a duplicate-token head. The token after it is one nearer." => answers::the_same_token,
        "this looks at the token before the first occurrence. The one after it is two nearer." => answers::the_token_before_it,
        "this is a sum along the stripe. Take the mean." => answers::summed,
        "this is the first prompt alone. Average over prompts as well." => answers::one_prompt,
    ];
    accepted: [
        "You averaged over the whole stripe, which has two queries of the first half in it: as ARENA does, and slightly smaller numbers." => answers::whole_stripe,
    ];
}
