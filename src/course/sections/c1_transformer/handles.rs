//! The exercises of this section.

use super::answers::{blocks, parts};
use super::{inputs, rules};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise, lent};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::course::weights::{AttnWeights, BlockWeights, MlpWeights, UnembedWeights};
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

lent!(AttnWeights, MlpWeights, BlockWeights, UnembedWeights;);

exercise! {
    /// Each position's vector, centred, scaled and moved.
    LayerNorm, "1.1.a", layer_norm(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Tensor;
    task: "Normalise each position's vector: subtract its mean, divide by the square root of its variance plus `eps`, multiply by `w`, add `b`. Every part of the model reads the residual stream through such a norm, so what a direction in the stream is worth depends on all the others.

- `x`: `[batch, pos, d_model]`
- `w`, `b`: `[d_model]`
- returns `[batch, pos, d_model]`";
    axes: &[&["batch", "pos", "d_model"]];
    inputs: inputs::norms => (Tensor, Tensor, Tensor, f64);
    hints: &[
        "Mean and variance are those of the last axis: each position has its own. The variance here divides by d_model.",
        "Centre with mean_keepdim(D::Minus1) and broadcast_sub. The variance is the mean of the centred numbers' squares; eps is added to it before the root.",
        "let normalised = centred.broadcast_div(&(variance + eps)?.sqrt()?)?; then broadcast_mul(w) and broadcast_add(b).",
    ];
    wrong: [
        "eps is added after the root. It belongs to the variance, inside the root." => parts::eps_outside,
        "the variance is divided by d_model - 1, as candle's var does. Take the mean of the squares." => parts::unbiased,
        "the root is missing: divide by the square root of the variance plus eps." => parts::no_root,
        "the variance is right, but x was not centred: subtract the mean from what is divided, too." => parts::not_centred,
        "this divides by the root of the mean square and subtracts no mean: an RMS norm, as in Llama. Subtract the mean first." => parts::root_mean_square,
        "eps is left out. Here it is large enough to be seen." => parts::no_eps,
        "w is left out: multiply by it at the end, before b is added." => parts::no_w,
        "b is left out: add it at the end." => parts::no_b,
        "mean and variance are taken over positions. Each position has its own, over d_model." => parts::over_positions,
    ];
    accepted: [];
}

exercise! {
    /// The embedding of each token.
    Embed, "1.1.b", embed(tokens: &Tokens, w_e: &Tensor) -> Tensor;
    task: "Look up the vector of each token: row `id` of the embedding matrix. This is all that the residual stream knows about a token at first.

- `tokens.to_tensor(device)`: the ids, `[batch, pos]`, u32
- `w_e`: `[d_vocab, d_model]`
- returns `[batch, pos, d_model]`";
    axes: &[&["batch", "pos", "d_model"]];
    inputs: inputs::embeddings => (Tokens, Tensor);
    hints: &[
        "index_select takes rows by one list of ids. The ids here have two axes.",
        "Flatten the ids with flatten_all(), select rows along axis 0, and reshape to [batch, pos, d_model].",
        "let ids = tokens.to_tensor(w_e.device())?.flatten_all()?; then w_e.index_select(&ids, 0)? and reshape((tokens.batch(), tokens.pos(), w_e.dim(1)?)).",
    ];
    wrong: [
        "prompts and positions are still one long list: reshape to [batch, pos, d_model]." => parts::one_long_list,
        "prompts and positions are mixed up: the list of ids goes through the first prompt before the second, so batch is the first axis." => parts::axes_mixed_up,
        "rows are taken by position. Take them by token id." => parts::by_position,
    ];
    accepted: [];
}

exercise! {
    /// The embedding of each position.
    PosEmbed, "1.1.c", pos_embed(tokens: &Tokens, w_pos: &Tensor) -> Tensor;
    task: "Give every position its own vector, the same in each prompt: the first row of `w_pos` for the first position, and so on. Attention by itself does not see order; these vectors are how it learns where a token stands.

- `w_pos`: `[n_ctx, d_model]`
- returns `[batch, pos, d_model]`";
    axes: &[&["batch", "pos", "d_model"]];
    inputs: inputs::positions => (Tokens, Tensor);
    hints: &[
        "The tokens only tell how many prompts and positions there are.",
        "narrow(0, 0, pos) keeps the first rows; broadcast_left(batch) repeats them for each prompt.",
        "Ok(w_pos.narrow(0, 0, tokens.pos())?.broadcast_left(tokens.batch())?).",
    ];
    wrong: [
        "the batch axis is missing. The sum with the token embeddings wants equal shapes." => parts::no_batch,
        "rows are taken by token id. Take them by position." => parts::by_token,
        "these are all n_ctx positions. Keep those that the prompts have." => parts::whole_context,
        "positions begin at 1 here. They begin at 0." => parts::counted_from_one,
    ];
    accepted: [];
}

exercise! {
    /// Scores of keys that come later, out of sight.
    ApplyCausalMask, "1.1.d", apply_causal_mask(scores: &Tensor) -> Tensor;
    task: "Give all scores of keys that come after their query a value that softmax turns into 0. During training each position predicts the next token; a model that could look at it would learn nothing.

- `scores`: `[batch, head, q_pos, k_pos]`
- returns the same shape, to be handed to softmax";
    axes: &[&["batch", "head", "q_pos", "k_pos"]];
    inputs: inputs::scores => (Tensor,);
    rule: rules::hides_what_comes_later;
    hints: &[
        "Softmax makes 0 of minus infinity, and of a number so far below the others that its exponential is 0. Which scores have k_pos > q_pos?",
        "Tensor::tril2(pos, DType::U8, device)? is 1 where a query may look; eq(0u8)? turns it round. Then masked_fill.",
        "let future = Tensor::tril2(scores.dim(3)?, DType::U8, scores.device())?.eq(0u8)?; scores.masked_fill(&future, f32::NEG_INFINITY), without a ? and Ok.",
    ];
    wrong: [
        "masked scores are 0, and softmax gives 0 a share like any other score. Use minus infinity." => parts::masked_with_zero,
        "the diagonal is masked: the first query has nothing left to attend to. Only later keys are masked." => parts::diagonal_masked,
        "the mask is upside down: earlier keys are masked instead of later ones." => parts::upside_down,
        "the mask is inverted: masked_fill replaces where the mask is 1, and tril2 is 1 where a query may attend. Fill where k_pos > q_pos and keep the rest." => parts::past_masked,
        "the mask is one too wide: each query still sees the next position." => parts::one_too_wide,
        "this is the pattern already. Return the scores; softmax comes next." => parts::already_a_pattern,
    ];
    accepted: [];
}

exercise! {
    /// What an attention layer adds to the residual stream.
    Attention, "1.1.e", attention(x: &Tensor, weights: &AttnWeights) -> Tensor;
    task: "Compute attention from what it reads to what it writes: queries, keys and values with their biases; scores, divided by the square root of `d_head`; causal mask and softmax; each head's mean of values `z`; the output, summed over heads, with its bias. This is the only place where positions exchange information.

- `x`: `[batch, pos, d_model]`, already normalised
- `weights.W_Q`, `W_K`, `W_V`: `[head, d_model, d_head]`; `b_Q`, `b_K`, `b_V`: `[head, d_head]`
- `weights.W_O`: `[head, d_head, d_model]`; `b_O`: `[d_model]`
- returns `[batch, pos, d_model]`";
    axes: &[&["batch", "pos", "d_model"]];
    inputs: inputs::attentions => (Tensor, AttnWeights);
    hints: &[
        "Five einsums: three projections, the scores, and the mean of values; and a sixth to the output. Give each axis a letter of its own: b, q, k, h, d, m.",
        r#"q is einsum("b p m, h m d -> b p h d", &[x, &weights.W_Q])?.broadcast_add(&weights.b_Q)?, and k and v likewise. The scores are summed over d, the values over k_pos, the output over head and d together."#,
        r#"let pattern = softmax(&apply_causal_mask(&scores)?)?; let z = einsum("b h q k, b k h d -> b q h d", &[&pattern, &v])?; then einsum("b q h d, h d m -> b q m", &[&z, &weights.W_O])? plus b_O."#,
    ];
    wrong: [
        "the scores are not scaled. Divide them by the square root of d_head." => parts::no_scale,
        "the scores are divided by d_head, not by its square root." => parts::scale_without_root,
        "the scores are divided by the square root of d_model. The dot products are over d_head." => parts::scale_of_the_stream,
        "b_Q is left out." => parts::no_b_q,
        "b_V is left out." => parts::no_b_v,
        "b_O is left out." => parts::no_b_o,
        "queries and values have no biases." => parts::no_biases_inside,
        "b_O is added once for each head. It is there once for all: add it after the sum over heads." => parts::b_o_for_each_head,
        "queries and keys are exchanged." => parts::queries_and_keys_exchanged,
        "there is no causal mask." => parts::no_mask,
        "the mask is inverted: masked_fill replaces where the mask is 1, and those must be the keys that come after their query." => parts::pattern_of_the_future,
        "there is no softmax: the scores themselves weigh the values." => parts::no_softmax,
        "softmax goes over queries. It goes over keys, the last axis." => parts::over_queries,
        "heads and positions of z are mixed up by a reshape. Transpose, or name the axes in einsum." => parts::heads_mixed_up,
    ];
    accepted: [];
}

exercise! {
    /// What an MLP adds to the residual stream.
    Mlp, "1.1.f", mlp(x: &Tensor, weights: &MlpWeights) -> Tensor;
    task: "Compute the MLP: to `d_mlp` neurons, through the activation function, and back. It treats each position by itself and holds most of a block's weights. GPT-2's activation is gelu in its approximation by tanh, called `gelu_new`; in candle that is `gelu()`.

- `x`: `[batch, pos, d_model]`, already normalised
- `weights.W_in`: `[d_model, d_mlp]`, `b_in`: `[d_mlp]`, `W_out`: `[d_mlp, d_model]`, `b_out`: `[d_model]`
- returns `[batch, pos, d_model]`";
    axes: &[&["batch", "pos", "d_model"]];
    inputs: inputs::mlps => (Tensor, MlpWeights);
    tolerance: 1e-5;
    hints: &[
        "Two products with a bias each, and the activation between them.",
        r#"einsum("b p m, m n -> b p n", &[x, &weights.W_in])? and b_in give the neurons before the activation."#,
        r#"let post = pre.gelu()?; then einsum("b p n, n m -> b p m", &[&post, &weights.W_out])? plus b_out."#,
    ];
    wrong: [
        "this is the exact gelu, gelu_erf. The model was trained with the approximation by tanh, gelu(), which differs in the fourth digit." => parts::exact_gelu,
        "the activation is relu. It should be gelu." => parts::relu,
        "there is no activation between the two products, so they are one linear map." => parts::no_activation,
        "b_in is left out: add it before the activation." => parts::no_b_in,
        "b_out is left out." => parts::no_b_out,
        "x is added to the result. The sum with the residual stream belongs to the block, and x here is normalised." => parts::stream_added,
    ];
    accepted: [];
}

exercise! {
    /// The residual stream after attention and after the MLP of a block.
    Block, "1.1.g", block(x: &Tensor, weights: &BlockWeights) -> (Tensor, Tensor);
    task: "Put a block together. Attention reads the residual stream through the first norm and adds its output to it; the MLP reads *that sum* through the second norm and adds its own. Nothing is ever overwritten, which is why later notebooks can take the stream apart again.

- `x`: `[batch, pos, d_model]`, the residual stream that enters
- `weights.ln1_w`, `ln1_b`, `ln2_w`, `ln2_b`, `eps`: of the norms; `weights.attn`, `weights.mlp`
- returns the stream between attention and MLP (`resid_mid`), and the stream that leaves (`resid_post`)";
    axes: &[&["batch", "pos", "d_model"], &["batch", "pos", "d_model"]];
    inputs: inputs::blocks => (Tensor, BlockWeights);
    hints: &[
        "Norms are on the way into attention and MLP, never on the stream itself.",
        "mid is x plus attention of the normalised x; post is mid plus the MLP of the normalised mid.",
        "let read = layer_norm(x, &weights.ln1_w, &weights.ln1_b, weights.eps)?; let mid = (x + attention(&read, &weights.attn)?)?; and the same again with ln2, mid and mlp.",
    ];
    wrong: [
        "the MLP reads the stream that entered the block. It should read the stream after attention." => blocks::side_by_side,
        "attention's output replaces the stream. Add it." => blocks::no_first_sum,
        "the MLP's output replaces the stream. Add it." => blocks::no_second_sum,
        "the MLP's output is added to the stream that entered, so attention's is lost. Add it to mid." => blocks::second_sum_with_the_first,
        "the norms come after the sums, as in the first transformers. Here they are on the way into attention and MLP, and the stream itself is not normalised." => blocks::norms_after_the_sums,
        "the norms are missing: attention and MLP read through them." => blocks::no_norms,
        "outputs are added to the normalised stream. Add them to the stream as it is." => blocks::normalised_is_added,
        "the MLP reads through the first norm's weights. It has its own: ln2_w and ln2_b." => blocks::first_norm_twice,
        "the two are in the other order: first mid, then post." => blocks::other_order,
    ];
    accepted: [];
}

exercise! {
    /// Logits from the last residual stream.
    Unembed, "1.1.h", unembed(x: &Tensor, weights: &UnembedWeights) -> Tensor;
    task: "Turn the last residual stream into logits: the final norm, the product with `W_U`, its bias. Column `v` of `W_U` is the direction in which the stream must point for token `v` to become likely.

- `x`: `[batch, pos, d_model]`
- `weights.ln_final_w`, `ln_final_b`, `eps`: of the norm; `weights.W_U`: `[d_model, d_vocab]`, `b_U`: `[d_vocab]`
- returns `[batch, pos, d_vocab]`";
    axes: &[&["batch", "pos", "d_vocab"]];
    inputs: inputs::unembeddings => (Tensor, UnembedWeights);
    hints: &[
        "The unembedding reads through a norm as well.",
        "layer_norm with ln_final_w, ln_final_b and eps; then the product over d_model, and b_U.",
        r#"einsum("b p m, m v -> b p v", &[&read, &weights.W_U])?.broadcast_add(&weights.b_U)?."#,
    ];
    wrong: [
        "the final norm is left out." => blocks::no_final_norm,
        "b_U is left out." => blocks::no_b_u,
        "these are probabilities. Logits are wanted, before softmax." => blocks::probabilities,
        "this is the last position only. Logits of all positions are wanted." => blocks::last_position_only,
    ];
    accepted: [];
}

exercise! {
    /// The residual stream through a whole model, and its logits.
    DemoTransformer, "1.1.i", demo_transformer(model: &HookedTransformer, tokens: &Tokens) -> Vec<Tensor>;
    task: "Run the whole model with your functions and keep the residual stream on the way, so that the check can say up to where it is right.

- `model.weight(\"embed.W_E\")?`, `model.weight(\"pos_embed.W_pos\")?`: weights by name
- `block_weights(model, layer)?`, `unembed_weights(model)?`: what your functions take; `model.cfg().n_layers` blocks
- returns, in order: the sum of the embeddings; for each block the stream after attention and the stream after the MLP; the logits";
    axes: &[];
    inputs: inputs::models => (HookedTransformer, Tokens);
    rule: rules::follows_the_model;
    hints: &[
        "What each block returns last is what the next one reads.",
        "Begin with embed plus pos_embed; keep x in a mutable variable; in each block push mid and post, and go on with post; push the logits at the end.",
        "for layer in 0..model.cfg().n_layers { let (mid, post) = block(&x, &block_weights(model, layer)?)?; x = post.clone(); stream.extend([mid, post]); }.",
    ];
    wrong: [
        "the position embeddings are left out." => blocks::no_positions,
        "every block has the weights of block 0." => blocks::same_block_each_time,
        "every block reads the embeddings. It should read what the block before it left." => blocks::blocks_not_chained,
        "the blocks are run from the last to the first." => blocks::blocks_backwards,
        "the embeddings and the stream after each attention are missing from the list." => blocks::blocks_only,
        "the final norm is left out before the unembedding." => blocks::unembedded_without_norm,
    ];
    accepted: [];
}
