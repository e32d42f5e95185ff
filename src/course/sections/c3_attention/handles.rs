//! The exercises of this section.

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformer;
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
        "the mask hides a position from itself, and the first query has nothing left: its softmax is NaN. Only what comes after a position is hidden." => answers::nothing_left,
        "minus infinity is multiplied by the mask, and 0 times infinity is NaN. Put it where the mask is, with masked_fill." => answers::mask_multiplied,
        "the mask is upside down: positions see what comes after them, not what came before." => answers::upside_down,
        "the mask is inverted: masked_fill replaces where the mask is 1, and tril2 is 1 where a query may attend. Compare it with 0 first: past.eq(0u8)?." => answers::past_masked,
        "the mask is one too wide: each position sees the next one." => answers::one_too_many,
        "softmax goes over the queries. Each query's probabilities over the keys sum to 1." => answers::over_queries,
        "queries and keys are exchanged." => answers::swapped,
        "the mask comes after softmax, so that a query's probabilities no longer sum to 1. Hide scores before softmax, with minus infinity." => answers::probability_kept_zero,
    ];
    accepted: [];
}

exercise! {
    /// How much each head attends to the current token.
    CurrentTokenScores, "1.2.c1", current_token_scores(cache: &ActivationCache) -> Tensor;
    task: "How much of its attention does each head give to the query's own position? Average over queries and prompts.

- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::caches => (ActivationCache,);
    hints: &[
        "The query's own position is the diagonal of the pattern.",
        "For each layer: pattern.diagonal(0)? is [batch, head, pos]; average over batch and pos; stack the layers.",
        r#"layers.push(cache.get(("pattern", layer))?.diagonal(0)?.mean((0, 2))?); and Ok(Tensor::stack(&layers, 0)?) at the end."#,
    ];
    wrong: [
        "this is the first prompt alone. Average over prompts as well." => answers::one_prompt_current,
        "this is a sum over positions. Take the mean." => answers::summed_current,
    ];
    accepted: [];
}

exercise! {
    /// How much each head attends to the token before.
    PreviousTokenScores, "1.2.c2", previous_token_scores(cache: &ActivationCache) -> Tensor;
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
    FirstTokenScores, "1.2.c3", first_token_scores(cache: &ActivationCache) -> Tensor;
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
    /// Random tokens that come twice.
    RepeatedTokens, "1.2.d", repeated_tokens(model: &HookedTransformer, seq_len: usize, batch: usize, seed: u64) -> Tokens;
    task: "Make the text on which induction shows: rows of a BOS and `seq_len` different random tokens, twice. Nothing in the first half can be known in advance; in the second, everything behind its first token can, but only by looking back. No fact about language helps, so what a model gets right here it gets right by induction.

- each row has random tokens of its own, drawn by `Random::new(seed)`, whose `below(n)` is a number below `n`, so that a seed gives the same rows each time, and another seed others
- no token comes twice in a half: which of its successors would be the right one?
- the BOS is the tokenizer's, `model.tokenizer()?.bos_id()`, an `Option<u32>` that is there in all these models, and none of the random tokens is one
- returns `[batch, 1 + 2 * seq_len]`, made by `Tokens::from_rows(rows)?` of a `Vec<Vec<u32>>`";
    axes: &[&["row", "pos"]];
    inputs: inputs::sizes => (HookedTransformer, usize, usize, u64);
    rule: inputs::repeats_as_it_should;
    together: inputs::follows_the_seed;
    hints: &[
        "A row is one list after another: the BOS, the half, the half again.",
        "Make one Random before the loop over rows. Draw ids below d_vocab, and keep those that are not the BOS and not there yet, until there are seq_len; put the row together; Tokens::from_rows at the end.",
        "let id = random.below(model.cfg().d_vocab) as u32; if id != bos && !half.contains(&id) { half.push(id); } and then rows.push([&[bos], &half[..], &half[..]].concat());",
    ];
    wrong: [
        "the BOS is not always token 0. Ask the tokenizer." => answers::bos_is_zero,
        "all rows are the same. Make the Random once, before the loop over rows." => answers::same_rows,
        "the second half is drawn anew. Use the tokens of the first." => answers::two_halves,
        "there is no BOS at the start." => answers::no_bos,
        "the BOS is drawn among the random tokens now and then. Leave it out." => answers::bos_is_drawn,
        "token 0 is left out in the place of the BOS, which is drawn now and then. Leave out the one that the tokenizer names." => answers::zero_is_left_out,
        "a token comes twice in one half, so that it has two successors. Draw again when it is there already." => answers::with_replacement,
        "the seed is not used: every seed gives the same rows." => answers::seed_unused,
    ];
    accepted: [];
}

exercise! {
    /// The loss on the first and on the second half of repeated tokens.
    LossesByHalf, "1.2.e", losses_by_half(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> (f32, f32);
    task: "How much does the repetition help? Compute the mean loss at the tokens of the first half, and at those of the second. Leave out the first token of the second half: nothing says that the repetition begins just there.

- `tokens`: a BOS and `seq_len` random tokens, twice
- `log_probs_of(&logits, tokens)?` is `[batch, pos - 1]`: at `i` the log-probability of token `i + 1`
- returns the two losses, which are positive";
    axes: &[&[], &[]];
    inputs: inputs::rows => (HookedTransformer, Tokens, usize);
    hints: &[
        "Which entries of the log-probabilities are about the tokens 1 to seq_len, and which about seq_len + 2 to 2 * seq_len?",
        "The loss is minus the log-probability. Entries 0 to seq_len - 1 are the first half; entry seq_len is the first token of the second; seq_len - 1 entries follow.",
        "losses.narrow(1, 0, seq_len)?.mean_all()?.item()? and losses.narrow(1, seq_len + 1, seq_len - 1)?.mean_all()?.item()?.",
    ];
    wrong: [
        "the first token of the second half is in it, which nothing tells. Leave it out." => answers::with_the_turn,
        "these are log-probabilities. The loss is minus that." => answers::log_probabilities,
        "the second half begins one entry too late: entry i is about token i + 1." => answers::one_late,
        "the second half begins one entry too early and ends one too early: its first token, which nothing tells, is in it, and its last is not." => answers::one_early,
        "the halves are exchanged." => answers::exchanged,
    ];
    accepted: [];
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
        "You averaged over the whole stripe, as ARENA does. Two of its queries are of the first half, and the first of these looks at the BOS: heads that rest there score up to 1 / (seq_len + 2) more, and others a little less." => answers::whole_stripe,
    ];
}

exercise! {
    /// The scores of 1.2.f, taken while the model runs.
    InductionScoresInRun, "1.2.g", induction_scores_in_run(model: &HookedTransformer, tokens: &Tokens, seq_len: usize) -> Tensor;
    task: "The same scores without a cache: look at each pattern while the model runs, and keep a few numbers of it instead of all. The patterns of a real model are gigabytes for a hundred prompts; their scores are not.

- `model.visit(tokens.clone(), \"pattern\", |pattern, point| { ..; Ok(()) })?` runs the model and shows you the pattern of every layer, first to last. The closure may write to variables around it; `point.layer()`, an `Option<usize>`, says where it is
- returns `[layer, head]`";
    axes: &[&["layer", "head"]];
    inputs: inputs::rows => (HookedTransformer, Tokens, usize);
    hints: &[
        "What is in the closure is what induction_scores does with one layer.",
        "A list before the run, let mut layers = Vec::new(); the closure pushes [head] for each layer; stack the list after the run.",
        r#"model.visit(tokens.clone(), "pattern", |pattern, _| { layers.push(pattern.diagonal(1 - seq_len as isize)?.narrow(2, 2, seq_len)?.mean((0, 2))?); Ok(()) })?;"#,
    ];
    wrong: [
        "every row is the last layer's: each call of the closure overwrites what the one before found." => answers::last_layer_everywhere,
        "this looks at the first occurrence itself. The token after it is one nearer." => answers::the_same_token_in_run,
        "this is a sum along the stripe. Take the mean." => answers::summed_in_run,
        "this is the first prompt alone. Average over prompts as well." => answers::one_prompt_in_run,
    ];
    accepted: [
        "You averaged over the whole stripe, as ARENA does. Two of its queries are of the first half, and the first of these looks at the BOS: heads that rest there score up to 1 / (seq_len + 2) more, and others a little less." => answers::whole_stripe_in_run,
    ];
}
