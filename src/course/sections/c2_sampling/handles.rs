//! The exercises on losses, training, and the distribution of one token.

use super::{answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise, lent};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::model::HookedTransformerConfig;
use crate::tokens::Tokens;
use candle_core::Tensor;

lent!(HookedTransformerConfig;);

exercise! {
    /// The log-probability of each token given those before it.
    GetLogProbs, "1.1.j", get_log_probs(logits: &Tensor, tokens: &Tokens) -> Tensor;
    task: "Compute the log-probability that the model gave to each token of every prompt, from the second on. It is the score behind every loss, and the number to look at when you ask what surprises a model.

- `logits`: `[batch, pos, d_vocab]`
- returns `[batch, pos - 1]`: at index `p`, the log-probability of the token at position `p + 1`

`candle_nn::ops::log_softmax(&x, axis)?` is there; `gather` picks one number of each row.";
    axes: &[&["batch", "pos"]];
    inputs: inputs::guesses => (Tensor, Tokens);
    hints: &[
        "The guess about the token at position p + 1 is in the logits at position p.",
        "log_softmax over the vocabulary; all positions but the last one; all tokens but the first one; then gather along the vocabulary.",
        "let next = tokens.to_tensor(logits.device())?.narrow(1, 1, pos - 1)?.unsqueeze(2)?.contiguous()?; log_probs.gather(&next, 2)?.squeeze(2)?;",
    ];
    wrong: [
        "each token is scored by the guess at its own position, which is about the next one. Shift by one." => answers::of_itself,
        "there is one number for every position, the last one included. Its guess is about a token that is not there; and each guess is about the next token, not its own." => answers::of_itself_everywhere,
        "the shift goes the other way: each token is scored by the guess one position after it." => answers::of_the_token_before,
        "these are probabilities. Take their logarithm (log_softmax)." => answers::probabilities,
        "these are the logits themselves. Normalise them over the vocabulary first (log_softmax)." => answers::raw_logits,
        "log_softmax goes over positions. The probabilities of all tokens at one position sum to 1." => answers::over_positions,
    ];
    accepted: [];
}

exercise! {
    /// The mean cross-entropy of the next tokens.
    NextTokenLoss, "1.1.k", next_token_loss(logits: &Tensor, tokens: &Tokens) -> Tensor;
    task: "Turn it into one number, the loss that language models are trained with: the mean over all prompts and positions of *minus* the log-probability of the next token. Return it as a tensor with a single number, so that the next exercise can take its gradient.

- `logits`: `[batch, pos, d_vocab]`
- returns a tensor of shape `[]`

A model that gives every token of `tiny`'s vocabulary the same probability has a loss of ln 2827 = 7.947.";
    axes: &[&[]];
    inputs: inputs::guesses => (Tensor, Tokens);
    hints: &[
        "You have written the log-probabilities already: get_log_probs.",
        "Their mean over everything, with the opposite sign.",
        "get_log_probs(logits, tokens)?.mean_all()?.neg()?;",
    ];
    wrong: [
        "the sign is missing: a loss is minus the log-probability, so that less is better." => answers::not_negated,
        "this is a sum over all predictions. Take the mean, so that the loss does not grow with the text." => answers::summed,
        "this is a mean over prompts and a sum over positions. Take the mean over both." => answers::per_prompt,
        "the sum is divided by the number of tokens. The first one is never predicted, so there are pos - 1 predictions." => answers::by_all_tokens,
        "this is the logarithm of the mean probability. Take the mean of the logarithms." => answers::log_of_the_mean,
        "this is in bits. Use the natural logarithm." => answers::in_bits,
    ];
    accepted: [];
}

exercise! {
    /// A training loop.
    Train, "1.1.l", train(cfg: &HookedTransformerConfig, batches: &[Tokens], rate: f64, seed: u64) -> Vec<f32>;
    task: "Make a new model and train it: one step of AdamW for each batch, with your loss. Return the loss of each batch as it was *before* the step on it. This is the loop behind every model in this course, and behind the large ones.

- `HookedTransformer::trainable(cfg.clone(), seed, &Device::Cpu)?` returns the model and its variables
- `AdamW::new(AdamWOptions::default())`, then `step_vars(rate, &vars, &gradients)?` for each step
- returns the losses, one for each batch

The check compares the first four losses with those of this loop, and then wants the loss to fall below half.";
    axes: &[&["step"]];
    inputs: inputs::trainings => (HookedTransformerConfig, Vec<Tokens>, f64, u64);
    rule: answers::has_learnt;
    hints: &[
        "Make the model and the optimiser once, before the loop. In it: logits, loss, gradients, step.",
        "loss.backward()? returns the gradients of all variables, and step_vars changes the variables, which the model shares.",
        "let loss = next_token_loss(&model.forward(tokens)?, tokens)?; adam.step_vars(rate, &vars, &loss.backward()?)?; losses.push(loss.item()?);",
    ];
    wrong: [
        "the weights never change: the gradients are computed, but no step is taken." => answers::no_step,
        "the loss is a sum over predictions. Train on the mean." => answers::of_sums,
        "there is a new optimiser at each step, which has forgotten its averages of the gradients. Make it once, before the loop." => answers::forgetful,
        "every step goes along the gradients of the first batch. Call backward on the loss of each batch." => answers::old_slopes,
        "these are the losses after each step. Keep the loss that was computed before it." => answers::afterwards,
    ];
    accepted: [];
}

exercise! {
    /// Logits at another temperature.
    WithTemperature, "1.1.m1", with_temperature(logits: &Tensor, temperature: f64) -> Tensor;
    task: "Divide the logits by the temperature. Below 1 the probable tokens become more probable, close to 0 only the best one is left; above 1 all become more alike.

- `logits`: `[d_vocab]`, of one position
- returns `[d_vocab]`, logits again";
    axes: &[&["token"]];
    inputs: inputs::temperatures => (Tensor, f64);
    hints: &[
        "The temperature acts on logits, before softmax.",
        "A tensor divided by an f64 is a candle operation: it returns a Result.",
        "Ok((logits / temperature)?);",
    ];
    wrong: [
        "the logits are multiplied by the temperature. Divide: a high one makes tokens more alike." => answers::multiplied,
        "the temperature divides probabilities, which then no longer sum to 1. It acts on the logits." => answers::probabilities_divided,
        "these are probabilities. Leave softmax to the step that follows: this function returns logits." => answers::softmax_as_well,
    ];
    accepted: [];
}

exercise! {
    /// Logits of which those of tokens already in the text are lowered.
    FrequencyPenalty, "1.1.m2", frequency_penalty(logits: &Tensor, ids: &[u32], penalty: f64) -> Tensor;
    task: "Lower the logit of each token by `penalty` times the number of times that it occurs in the text so far. It stops a model from repeating itself.

- `logits`: `[d_vocab]`
- `ids`: the tokens of the text so far
- returns `[d_vocab]`";
    axes: &[&["token"]];
    inputs: inputs::repeated => (Tensor, Vec<u32>, f64);
    hints: &[
        "Count first: how often does each id of the vocabulary occur?",
        "A Vec of d_vocab zeros, and one more at each id of the text. It has an entry for every token, also for those above the largest id that occurs.",
        "let counts = Tensor::new(counts, logits.device())?; Ok((logits - (counts * penalty)?)?);",
    ];
    wrong: [
        "a token that occurs several times is lowered once. Count its occurrences." => answers::once_each,
        "the logits of repeated tokens are raised. Subtract." => answers::rewarded,
        "only the last token of the text is lowered." => answers::of_the_last_token,
        "every token is lowered, which changes no probability. Lower those that occur in the text." => answers::of_every_token,
    ];
    accepted: [];
}

exercise! {
    /// Probabilities of the most probable tokens.
    TopKProbs, "1.1.m3", top_k_probs(logits: &Tensor, k: usize) -> Tensor;
    task: "Keep the `k` tokens with the largest logits, and return their probabilities: those of all others are 0, and the `k` sum to 1.

- `logits`: `[d_vocab]`
- returns `[d_vocab]`, probabilities in the order of the vocabulary";
    axes: &[&["token"]];
    inputs: inputs::cut_at_k => (Tensor, usize);
    hints: &[
        "What is the smallest logit that stays?",
        "logits.top_k(k)? has the largest values, the largest first. Set all logits below the last of them to minus infinity, then softmax.",
        "let least = logits.top_k(k)?.0.at(&[-1])?; then logits.broadcast_lt(&least)? is the mask for masked_fill.",
    ];
    wrong: [
        "what is left does not sum to 1. Drop tokens before softmax, or divide by the sum." => answers::k_not_renormalised,
        "these are the probabilities in the order of the sorted list, the largest first. Keep the order of the vocabulary, or the ids are lost." => answers::k_in_order,
        "dropped tokens get a logit of 0, which is a probability like any other. Give them minus infinity." => answers::zeros_for_logits,
        "k + 1 tokens are left." => answers::one_more,
        "k - 1 tokens are left." => answers::one_less,
        "the k least probable tokens are left." => answers::the_smallest,
        "the mask is inverted: masked_fill replaces where the mask is 1, so the k largest are gone and the others left." => answers::the_others,
    ];
    accepted: [];
}

exercise! {
    /// Probabilities of the smallest set of tokens that is probable enough.
    TopPProbs, "1.1.m4", top_p_probs(logits: &Tensor, p: f64) -> Tensor;
    task: "A fixed `k` is too large where the model is sure, and too small where it is not. Keep the most probable tokens until their probabilities sum to at least `p`: the token that crosses `p` is the last one that stays, so that one always does. Return probabilities that sum to 1 again. This is nucleus sampling (Holtzman et al. 2019).

- `logits`: `[d_vocab]`
- returns `[d_vocab]`, probabilities in the order of the vocabulary";
    axes: &[&["token"]];
    inputs: inputs::cut_at_p => (Tensor, f64);
    hints: &[
        "Go through the tokens from the most probable one down, and stop when the sum so far has reached p.",
        "Sort the ids by probability, not the probabilities themselves; a Vec of zeros takes those that stay; divide it by their sum.",
        "order.sort_by(|&a, &b| probs[b].total_cmp(&probs[a])); then for id in order { if sum >= p { break; } kept[id] = probs[id]; sum += f64::from(probs[id]); } and a division by sum at the end.",
    ];
    wrong: [
        "the token that crosses p is dropped, so that less than p is left (and nothing at all where the best token alone is enough). It stays." => answers::crossing_dropped,
        "what is left does not sum to 1. Divide it by its sum." => answers::p_not_renormalised,
        "these are the probabilities in the order of the sorted list. Keep the order of the vocabulary, or the ids are lost." => answers::p_in_order,
        "a token is kept if it has p alone. Where none has, all is 0. It is the sum, from the most probable one down, that must reach p." => answers::at_least_p_each,
        "a token is kept if it has p alone. Where none has, 0 is divided by 0. It is the sum, from the most probable one down, that must reach p." => answers::at_least_p_each_divided,
        "the sum goes through the vocabulary in the order of ids. Go from the most probable token down." => answers::in_the_order_of_ids,
    ];
    accepted: [];
}

exercise! {
    /// A token drawn from probabilities.
    Sample, "1.1.n", sample(probs: &Tensor, uniform: f64) -> u32;
    task: "Draw a token: `uniform` is a random number from 0 up to, not including, 1 (`random.uniform()` of a `Random` makes them). Lay the probabilities side by side, in the order of ids, on the line from 0 to 1; the token whose piece `uniform` falls into is the answer. Each piece includes its left end and not its right one.

- `probs`: `[d_vocab]`
- returns an id";
    axes: &[&[]];
    inputs: inputs::draws => (Tensor, f64);
    hints: &[
        "The piece of token i ends at the sum of the probabilities up to and including its own.",
        "Add up the probabilities one by one; the first sum that is larger than uniform belongs to the answer.",
        "sum += f64::from(probability); if uniform < sum { return Ok(id as u32); } for each of them in turn.",
    ];
    wrong: [
        "this is the most probable token, whatever uniform is." => answers::always_the_best,
        "all tokens are drawn alike. Their pieces of the line are as long as their probabilities." => answers::all_alike,
        "a piece includes its right end here: uniform = 0 draws a token of probability 0. Compare with <." => answers::edge_included,
        "this is one token too far: the first sum that is larger than uniform belongs to the answer itself." => answers::one_further,
        "uniform is compared with single probabilities. Compare it with their sum so far." => answers::single_probabilities,
    ];
    accepted: [];
}
