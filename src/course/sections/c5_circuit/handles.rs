//! The exercises of this section.

use super::{answers, inputs};
use crate::cache::ActivationCache;
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use crate::factored_matrix::FactoredMatrix;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;
use candle_core::Tensor;

exercise! {
    /// What looking at each token adds to each logit.
    FullOv, "1.2.m", full_ov(model: &HookedTransformer, layer: usize, head: usize) -> FactoredMatrix;
    task: "Build the full OV circuit of a head, `W_E W_V W_O W_U`, without ever making the large matrix: the two factors you return meet in `d_head` dimensions, and the check looks.

- `model.W_E()`, `model.W_U()`; `model.W_V()?` and `model.W_O()?` have those of all heads, `[layer, head, ..]`
- returns a `FactoredMatrix` of `[d_vocab, d_vocab]`: row `i` is what looking at token `i` adds to the logits";
    axes: &[&["token", "logit"]];
    inputs: inputs::heads => (HookedTransformer, usize, usize);
    hints: &[
        "Four matrices in a row. Where is the thinnest place between two of them?",
        "Two products: W_E W_V is [d_vocab, d_head], W_O W_U is [d_head, d_vocab]. They are the two factors.",
        "FactoredMatrix::new(&model.W_E().matmul(&w_v)?, &w_o.matmul(&model.W_U())?), with w_v = model.W_V()?.get(layer)?.get(head)?.",
    ];
    wrong: [
        "rows and columns are exchanged: what is seen is a row, what it does to the logits goes along it." => answers::transposed,
        "this is W_V W_O alone, from stream to stream. Put W_E before it and W_U behind." => answers::between_streams,
        "there is W_K in the place of W_V. Keys say where to look, values what is moved." => answers::of_the_keys,
        "layer and head are exchanged." => answers::layer_and_head_exchanged,
        "the circuit is multiplied out, and in GPT-2 would have 2.5 billion numbers. W_E W_V is one factor, W_O W_U the other." => answers::circuit_multiplied_out,
    ];
    accepted: [];
}

exercise! {
    /// How many tokens a circuit copies.
    Top1Acc, "1.2.n", top_1_acc(circuit: &FactoredMatrix) -> f32;
    task: "Does a circuit copy? Give the share of the tokens whose own logit is the one that looking at them raises most: the rows whose highest number is on the diagonal.";
    axes: &[&[]];
    inputs: inputs::circuits => (FactoredMatrix,);
    hints: &[
        "For each row: in which column is its highest number?",
        "argmax over axis 1 of the product gives a column for each row; count where it is the row's own number; divide by the number of rows.",
        "let best = circuit.AB()?.argmax(1)?.to_vec1::<u32>()?; then (0..best.len()).filter(|&token| best[token] as usize == token).count().",
    ];
    wrong: [
        "this asks of each logit which token raises it most. Ask of each token: argmax over axis 1." => answers::over_columns,
        "this takes the largest size, also of negative numbers." => answers::by_size,
        "this finds the lowest logit." => answers::lowest,
        "this is a count. Divide it by the number of tokens." => answers::a_count,
    ];
    accepted: [];
}

exercise! {
    /// The OV circuits of a layer's heads, added up.
    JointOv, "1.2.o", joint_ov(model: &HookedTransformer, layer: usize) -> FactoredMatrix;
    task: "Heads that look at the same place add up. Build the OV circuit of all heads of a layer together, the *sum* of theirs, again as two thin factors, which meet in `heads * d_head` dimensions. (Then try `top_1_acc` on both in a cell of your own: no head of `induction` copies every token, and together they nearly do.)

- returns a `FactoredMatrix` of `[d_vocab, d_vocab]`";
    axes: &[&["token", "logit"]];
    inputs: inputs::layers => (HookedTransformer, usize);
    hints: &[
        "A product of two wide matrices is a sum over what lies side by side in them.",
        "W_V of the layer as [d_model, heads * d_head], W_O as [heads * d_head, d_model]. W_V is [head, d_model, d_head], so its axes have to change places before they are merged.",
        "let w_v = model.W_V()?.get(layer)?.transpose(0, 1)?.flatten_from(1)?; let w_o = model.W_O()?.get(layer)?.flatten_to(1)?; then as full_ov.",
    ];
    wrong: [
        "this is the mean of the heads. They add up." => answers::averaged,
        "this is head 0 alone." => answers::first_head,
        "the sum is multiplied out. Put the heads side by side instead: all of W_V, all of W_O." => answers::sum_multiplied_out,
        "the numbers of W_V are scrambled: it is [head, d_model, d_head], and reshape does not exchange axes. Transpose first." => answers::scrambled,
    ];
    accepted: [];
}

exercise! {
    /// The pattern that positions alone would give.
    PosByPos, "1.2.p", pos_by_pos(model: &HookedTransformer, layer: usize, head: usize) -> Tensor;
    task: "The pattern of a head that sees positions and no tokens: queries and keys from `W_pos`, scaled, masked, softmax, as in C3. (Leave biases out; `induction` has none.)

- `model.W_pos()?`: `[n_ctx, d_model]`
- returns `[q_pos, k_pos]`, `n_ctx` of each";
    axes: &[&["q_pos", "k_pos"]];
    inputs: inputs::heads => (HookedTransformer, usize, usize);
    hints: &[
        "It is attention_pattern of C3 for one head, with W_pos as what queries and keys read.",
        "q = W_pos W_Q and k = W_pos W_K, both [n_ctx, d_head]; scores = q k^T / sqrt(d_head); minus infinity where k_pos > q_pos; softmax.",
        "let q = w_pos.matmul(&model.W_Q()?.get(layer)?.get(head)?)?; the same for k; let scores = (q.matmul(&k.t()?)? / (d_head as f64).sqrt())?; then masked_fill and softmax.",
    ];
    wrong: [
        "queries and keys are made of W_E: that is tokens by tokens." => answers::of_tokens,
        "the scores are not divided by the square root of d_head." => answers::no_scale,
        "there is no causal mask." => answers::no_mask,
        "the mask is inverted: masked_fill replaces where the mask is 1, and tril2 is 1 where a query may attend. Compare it with 0 first: past.eq(0u8)?." => answers::past_masked,
        "queries and keys are exchanged." => answers::swapped,
    ];
    accepted: [];
}

exercise! {
    /// What queries and keys of layer 1 are the sum of.
    DecomposeQkInput, "1.2.q1", decompose_qk_input(cache: &ActivationCache) -> Tensor;
    task: "Queries and keys of layer 1 read a sum. Give its terms for the first prompt of the cache: the embedding, the position, and what each head of layer 0 wrote.

- `cache.get(\"embed\")?` and `cache.get(\"pos_embed\")?`: `[batch, pos, d_model]`; `cache.get((\"result\", 0))?`: `[batch, pos, head, d_model]` (in this cache because the plan named it, `.capture(\"result\")`; it costs extra)
- returns `[2 + heads, pos, d_model]`, in that order";
    axes: &[&["part", "pos", "d_model"]];
    inputs: inputs::caches => (ActivationCache,);
    hints: &[
        "Put the parts one after another along a new first axis.",
        "unsqueeze(0) for embedding and position; the results need their head axis in front: transpose(0, 1). Tensor::cat of the three.",
        "Tensor::cat(&[embed.unsqueeze(0)?, pos_embed.unsqueeze(0)?, heads], 0), with heads = cache.get((\"result\", 0))?.get(0)?.transpose(0, 1)?.",
    ];
    wrong: [
        "the position is missing. In a shortformer queries and keys read it too, of every layer." => answers::no_positions,
        "the position comes before the embedding." => answers::positions_first,
        "the position is in twice: in a shortformer the embedding in the stream is without it, so leave it as it is." => answers::positions_twice,
        "these are the heads of layer 1, which write only afterwards. Layer 1 reads those of layer 0." => answers::results_of_layer_1,
    ];
    accepted: [];
}

exercise! {
    /// Scores, split by what query and key are made of.
    DecomposeScores, "1.2.q2", decompose_scores(parts: &Tensor, w_q: &Tensor, w_k: &Tensor) -> Tensor;
    task: "Split the scores of a head of layer 1 into one table for each pair of parts: the query's part and the key's. Their sum is the whole score. On `induction`, one pair of parts has most of the stripe.

- `parts`: `[part, pos, d_model]`; `w_q`, `w_k`: `[d_model, d_head]`
- returns `[query's part, key's part, q_pos, k_pos]`, divided by the square root of `d_head`";
    axes: &[&["query's part", "key's part", "q_pos", "k_pos"]];
    inputs: inputs::parts => (Tensor, Tensor, Tensor);
    hints: &[
        "Each part has a query and a key of its own. Multiply every query with every key.",
        "Two einsums make queries and keys, [part, pos, d_head] each; a third multiplies them with two names for parts and two for positions.",
        r#"let q = einsum("a q d, d h -> a q h", &[parts, w_q])?; k alike with b and k; einsum("a q h, b k h -> a b q k", &[&q, &k])? / sqrt(d_head)."#,
    ];
    wrong: [
        "the key's part comes first. The query's does." => answers::parts_exchanged,
        "W_Q and W_K are exchanged." => answers::weights_exchanged,
        "the key's position comes before the query's." => answers::keys_first,
        "the scores are divided by d_head, not by its square root." => answers::scaled_by_d_head,
    ];
    accepted: [
        "You did not divide by the square root of d_head: right up to that factor, and the same parts stand out." => answers::not_scaled,
    ];
}

exercise! {
    /// Which key a query finds, through a head of layer 0.
    KCompCircuit, "1.2.r", k_comp_circuit(model: &HookedTransformer, writer: usize, reader: usize) -> FactoredMatrix;
    task: "The circuit that matches. Rows are tokens as head `reader` of layer 1 asks for them: its queries, made of the embedding. Columns are tokens as head `writer` of layer 0 passed them on to the position behind: its keys. Where the highest number of a row is on the diagonal, layer 1 finds the place behind the earlier occurrence. (Then try `top_1_acc` on it for each writer.)

- query: `W_E W_Q`; key: `W_E W_V W_O W_K`, with `W_V` and `W_O` of the writer
- returns a `FactoredMatrix` of `[d_vocab, d_vocab]`, whose factors meet in `d_head` dimensions";
    axes: &[&["query's token", "token before the key"]];
    inputs: inputs::pairs => (HookedTransformer, usize, usize);
    hints: &[
        "Queries times keys, transposed: the two sides are the two factors.",
        "q = W_E W_Q of layer 1 is [d_vocab, d_head]; k = W_E W_V W_O (of layer 0) W_K (of layer 1) is [d_vocab, d_head] too.",
        "FactoredMatrix::new(&q, &k.t()?), with k = model.W_E().matmul(&w_v)?.matmul(&w_o)?.matmul(&w_k)?.",
    ];
    wrong: [
        "the key is the embedding's own: nothing goes through layer 0. Put W_V W_O of the writer between W_E and W_K." => answers::nothing_moved,
        "the head of layer 0 is on the query's side: that is Q-composition." => answers::queries_moved,
        "rows and columns are exchanged: queries are the rows." => answers::sides_exchanged,
        "W_V and W_O are those of layer 1. The writer is in layer 0." => answers::moved_by_layer_1,
        "writer and reader are exchanged." => answers::heads_exchanged,
        "the circuit is multiplied out. The queries are one factor, the keys, transposed, the other." => answers::matches_multiplied_out,
    ];
    accepted: [];
}

exercise! {
    /// How much of what one matrix writes the next one reads.
    CompositionScore, "1.2.s", composition_score(left: &FactoredMatrix, right: &FactoredMatrix) -> f32;
    task: "Compute `|left right| / (|left| |right|)`, in Frobenius norms. For K-composition, `left` is `W_V W_O` of the writer and `right` is `(W_Q W_K^T)^T` of the reader.

- `left.matmul(right)?` is a product, `.norm()?` the Frobenius norm of each, and `.item()?` a tensor's only number";
    axes: &[&[]];
    inputs: inputs::matrices => (FactoredMatrix, FactoredMatrix);
    hints: &[
        "Three norms: of the product, and of each matrix.",
        "left.matmul(right)?.norm()?.item()? divided by the product of the two others.",
        "Ok(left.matmul(right)?.norm()?.item()? / (left.norm()?.item()? * right.norm()?.item()?)) is all of it.",
    ];
    wrong: [
        "this is its square." => answers::squared,
        "this is right times left. What is written comes first." => answers::other_order,
        "right is transposed. The caller does that where it is needed." => answers::transposed_right,
        "the norm of the product is not divided by the norms of both." => answers::not_divided,
        "these are the largest singular values. The Frobenius norm takes all of them." => answers::largest_singular_values,
    ];
    accepted: [];
}

exercise! {
    /// Layer 1's induction scores without a head of layer 0.
    InductionWithout, "1.2.t", induction_without(model: &HookedTransformer, tokens: &Tokens, seq_len: usize, head: usize) -> Tensor;
    task: "Take a head of layer 0 away, and give the induction scores of layer 1 in the same run.

- a plan may edit and capture: `HookPlan::new().edit((\"z\", 0), Edit::zero().head(head)).capture((\"pattern\", 1))`
- the induction score is that of C3: the mean of `pattern.diagonal(1 - seq_len as isize)?`, without its first two entries, over queries and prompts
- returns `[head]`";
    axes: &[&["head"]];
    inputs: inputs::rows => (HookedTransformer, Tokens, usize, usize);
    hints: &[
        "One run does both: the edit comes first, and the patterns of layer 1 are those that follow from it.",
        "model.run_with_hooks(tokens.clone(), plan)? gives logits and a cache with the captured pattern. Then as in C3.",
        "cache.get((\"pattern\", 1))?.diagonal(1 - seq_len as isize)?.narrow(2, 2, seq_len)?.mean((0, 2))?.",
    ];
    wrong: [
        "these are the scores of the whole model: nothing that comes before the patterns of layer 1 is taken away. (\"z\", 1) comes after them; take the head of layer 0, (\"z\", 0)." => answers::nothing_ablated,
        "all heads of layer 0 are taken away. Take one." => answers::all_ablated,
        "a pattern of layer 1 is put to zero. Take the head of layer 0, (\"z\", 0)." => answers::ablated_in_layer_1,
        "these are the stripes of layer 0. Capture the pattern of layer 1." => answers::stripe_of_layer_0,
    ];
    accepted: [];
}
