//! The exercises of this section.

use super::{answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use candle_core::Tensor;

exercise! {
    /// All products of two vectors' numbers.
    Outer, "0.a", outer(a: &Tensor, b: &Tensor) -> Tensor;
    task: "Multiply every number of `a` by every number of `b`. All that is compared *pairwise* begins like this: queries with keys, positions with positions.

- `a`: `[i]`, `b`: `[j]`
- returns `[i, j]`";
    axes: &[&["i", "j"]];
    inputs: inputs::two_vectors => (Tensor, Tensor);
    hints: &[
        "Both need two axes before they can be multiplied: one a column, the other a row.",
        "a.unsqueeze(1)? is [i, 1] and b.unsqueeze(0)? is [1, j]. broadcast_mul repeats each along its axis of size 1.",
        "Ok(a.unsqueeze(1)?.broadcast_mul(&b.unsqueeze(0)?)?). A matrix product of a column and a row does it too.",
    ];
    wrong: [
        "the axes are exchanged: a runs along the first axis, so it is a that becomes the column." => answers::outer_exchanged,
        "these are the sums of all pairs. Multiply." => answers::outer_sum,
    ];
    accepted: [];
}

exercise! {
    /// Which keys each query may attend to.
    CausalMask, "0.b", causal_mask(n: usize) -> Tensor;
    task: "For `n` positions: 1 where a query may attend to a key (itself and everything before it), 0 where it may not. No parameter of a language model says that it reads from left to right; this mask does.

- returns `[q_pos, k_pos]`, of dtype u8";
    axes: &[&["q_pos", "k_pos"]];
    inputs: inputs::sizes => (usize,);
    hints: &[
        "Row q has q + 1 ones. Compare every query position with every key position.",
        "Tensor::arange(0u32, n as u32, &Device::Cpu)? counts positions. As a column they are the queries, as a row the keys; broadcast_ge compares all pairs.",
        "Ok(pos.unsqueeze(1)?.broadcast_ge(&pos.unsqueeze(0)?)?). candle has this mask ready as Tensor::tril2.",
    ];
    wrong: [
        "the diagonal is 0: a position may attend to itself." => answers::mask_without_itself,
        "the mask is upside down: queries, which are the rows, see what comes after them." => answers::mask_upside_down,
        "zeros and ones are exchanged: 1 is where a query may attend." => answers::mask_of_the_future,
        "its numbers are floats, and where_cond wants integers. Comparisons give u8; to_dtype(DType::U8)? converts." => answers::mask_of_floats,
    ];
    accepted: [];
}

exercise! {
    /// A value where a mask is not 0.
    MaskedFill, "0.c", masked_fill(x: &Tensor, mask: &Tensor, value: f32) -> Tensor;
    task: "Put `value` where the mask is 1 and leave the other numbers as they are. Attention scores are masked like this, with minus infinity, before softmax.

- `x`: any shape, such as `[batch, head, q_pos, k_pos]`
- `mask`: u8, of a shape that broadcasts to it, such as `[q_pos, k_pos]`
- returns the shape of `x`

The prelude has this as `x.masked_fill(&mask, value)`; here, build it.";
    axes: &[&["batch", "head", "q_pos", "k_pos"]];
    inputs: inputs::masked => (Tensor, Tensor, f32);
    hints: &[
        "mask.where_cond(&a, &b) takes from a where the mask is 1 and from b where it is 0. All three must have one shape.",
        "mask.broadcast_as(x.shape())? repeats the mask; Tensor::full(value, x.shape(), x.device())? is a tensor of nothing but the value.",
        "let mask = mask.broadcast_as(x.shape())?; let filled = Tensor::full(value, x.shape(), x.device())?; Ok(mask.where_cond(&filled, x)?).",
    ];
    wrong: [
        "the branches are exchanged: the value goes where the mask is 1." => answers::filled_elsewhere,
        "masked numbers are 0, as after a product with the mask. They should be the value." => answers::filled_with_zero,
        "the value is added to masked numbers. It should take their place." => answers::value_added,
    ];
    accepted: [];
}

exercise! {
    /// The logit of one token per position.
    RowsAt, "0.d", rows_at(logits: &Tensor, ids: &Tensor) -> Tensor;
    task: "Of all logits at each position, take the one of the token that `ids` names there. Losses, log probabilities and logit differences all pick tokens out of `d_vocab` numbers in this way.

- `logits`: `[batch, pos, d_vocab]`
- `ids`: `[batch, pos]`, u32
- returns `[batch, pos]`";
    axes: &[&["batch", "pos"]];
    inputs: inputs::logits_and_ids => (Tensor, Tensor);
    hints: &[
        "gather picks along one axis, by an index with the same number of axes as the tensor.",
        "ids.unsqueeze(2)? is [batch, pos, 1]; gather along axis 2 gives that shape, and squeeze(2)? takes the last axis off again.",
        "Ok(logits.gather(&ids.unsqueeze(2)?, 2)?.squeeze(2)?).",
    ];
    wrong: [
        "these are the largest logits at each position, whatever the token." => answers::the_largest,
        "the first prompt's ids are used for every prompt." => answers::first_prompt_for_all,
        "these are probabilities. The logits are wanted as they are." => answers::probabilities_at,
    ];
    accepted: [];
}

exercise! {
    /// A diagonal below the main one, by hand.
    Diagonal, "0.e", diagonal(x: &Tensor, offset: usize) -> Tensor;
    task: "Take the diagonal that is `offset` below the main one: for every row from `offset` on, the number that is `offset` columns left of the main diagonal. In an attention pattern it says how much each query attends `offset` positions back, which is how most heads in this course are recognised.

- `x`: `[head, n, n]`
- returns `[head, n - offset]`

The prelude has this as `x.diagonal(-1)`, with negative numbers below the main diagonal; here, build it from an index.";
    axes: &[&["head", "diagonal"]];
    inputs: inputs::squares => (Tensor, usize);
    hints: &[
        "Flattened, a matrix is its rows one after another: the number in row r and column c is at r * n + c.",
        "Collect the indices row * n + row - offset for the rows from offset to n - 1 as u32 in a Vec; flatten the last two axes; index_select.",
        "let index = Tensor::from_vec(index, n - offset, x.device())?; Ok(x.flatten_from(1)?.index_select(&index, 1)?).",
    ];
    wrong: [
        "this diagonal is above the main one. Rows are queries; the column is smaller than the row." => answers::above_the_diagonal,
        "this is one further from the main diagonal than asked." => answers::one_further,
        "this is the main diagonal, whatever the offset." => answers::the_main_one,
        "this is already the mean. The numbers themselves are wanted." => answers::averaged,
    ];
    accepted: [];
}

exercise! {
    /// An axis of its own for the heads.
    SplitHeads, "0.f", split_heads(x: &Tensor, n_heads: usize) -> Tensor;
    task: "The last axis of `x` holds the vectors of all heads side by side: first all of head 0, then all of head 1. Give the heads an axis of their own, in front of the positions.

- `x`: `[batch, pos, n_heads * d_head]`
- returns `[batch, head, pos, d_head]`";
    axes: &[&["batch", "head", "pos", "d_head"]];
    inputs: inputs::heads_side_by_side => (Tensor, usize);
    hints: &[
        "reshape keeps the numbers in their order. Which shape splits the last axis and nothing else?",
        "First reshape to [batch, pos, head, d_head], then exchange the two middle axes.",
        "let (batch, pos, width) = x.dims3()?; Ok(x.reshape((batch, pos, n_heads, width / n_heads))?.transpose(1, 2)?).",
    ];
    wrong: [
        "the shape is right and the numbers are mixed up: reshape does not move axes. Split the last axis first, then transpose." => answers::reshaped_only,
        "the last axis is split the wrong way round: the numbers of one head stand side by side, so it is [head, d_head]." => answers::head_axis_behind,
        "the heads have their axis, but behind the positions: transpose." => answers::heads_not_in_front,
    ];
    accepted: [];
}

exercise! {
    /// The product of every query with every key, head by head.
    Scores, "0.g", scores(q: &Tensor, k: &Tensor) -> Tensor;
    task: "For each prompt and head, compute the dot product of every query with every key. Nothing is scaled or masked yet.

- `q`, `k`: `[batch, pos, head, d_head]`
- returns `[batch, head, q_pos, k_pos]`

Try it twice: with `transpose` and `matmul`, then with `einsum`.";
    axes: &[&["batch", "head", "q_pos", "k_pos"]];
    inputs: inputs::queries_and_keys => (Tensor, Tensor);
    hints: &[
        "The axis that is summed over is d_head; batch and head are in both tensors and in the result.",
        "By hand: make both [batch, head, pos, d_head], the keys then [batch, head, d_head, pos], contiguous() after each transpose, and matmul. In einsum, name the axes: what is missing in the result is summed over.",
        r#"einsum("b q h d, b k h d -> b h q k", &[q, k])."#,
    ];
    wrong: [
        "heads are multiplied with heads, at one position: matmul takes the last two axes, and here they are [head, d_head]. Move the heads in front of the positions." => answers::heads_with_heads,
        "queries and keys are exchanged: the query is the row." => answers::keys_before_queries,
        "the sum goes over positions. It should go over d_head." => answers::over_positions,
        "the keys were reshaped where they had to be transposed, and their numbers are mixed up." => answers::keys_reshaped,
    ];
    accepted: [];
}

exercise! {
    /// The largest numbers and their indices.
    TopK, "0.h", top_k(x: &Tensor, k: usize) -> (Vec<f32>, Vec<u32>);
    task: "Find the `k` largest numbers of a vector, the largest first, and their indices. With logits, the indices are token ids: what does the model expect next?

- `x`: `[n]`
- returns the numbers and their indices";
    axes: &[&["rank"], &["rank"]];
    inputs: inputs::numbers_to_sort => (Tensor, usize);
    hints: &[
        "Sort the indices, not the numbers: then both are there at the end.",
        "x.to_vec1::<f32>()? gives a Vec. Sort the indices 0..n by the number at each, backwards, and keep the first k. f32 has no total order in Rust; total_cmp gives one.",
        "order.sort_by(|&a, &b| numbers[b as usize].total_cmp(&numbers[a as usize])); order.truncate(k);",
    ];
    wrong: [
        "these are the smallest numbers. Sort the other way round." => answers::the_smallest,
        "the right numbers, but the smallest of them first." => answers::ascending,
        "the indices are those after sorting. Those in x are wanted." => answers::places_after_sorting,
        "these are the largest in size. A large negative number is small." => answers::largest_in_size,
    ];
    accepted: [];
}

exercise! {
    /// Logarithms of probabilities.
    LogSoftmax, "0.i", log_softmax(x: &Tensor) -> Tensor;
    task: "Turn logits into log probabilities along the last axis: each number minus the logarithm of the sum of all exponentials. Some inputs are in the thousands, and `exp` of 89 is already beyond f32. The loss of every model is made of these numbers.

- `x`: `[.., n]`
- returns the same shape";
    axes: &[&["batch", "pos", "d_vocab"]];
    inputs: inputs::small_and_large => (Tensor,);
    hints: &[
        "Adding one number to all logits changes no probability. Which one keeps every exponential at 1 or below?",
        "Subtract the maximum of the last axis (max_keepdim, broadcast_sub); then subtract the log of the sum of the exponentials.",
        "let x = x.broadcast_sub(&x.max_keepdim(D::Minus1)?)?; let total = x.exp()?.sum_keepdim(D::Minus1)?; Ok(x.broadcast_sub(&total.log()?)?).",
    ];
    wrong: [
        "exp of large numbers is infinite, and so is the sum. Subtract the maximum first." => answers::overflowing,
        "exp of large numbers is infinite, and infinite by infinite is NaN. Subtract the maximum first, and never leave the logarithms." => answers::log_of_a_quotient,
        "the probabilities are computed first. Small ones become 0 in f32, and the logarithm of 0 is minus infinity: never leave the logarithms." => answers::log_of_softmax,
        "these are the probabilities. Their logarithms are wanted." => answers::not_the_log,
        "the sum goes along the first axis. It should go along the last." => answers::along_the_first_axis,
        "the sum goes over all numbers. It should go along the last axis only." => answers::over_everything,
    ];
    accepted: [];
}

exercise! {
    /// Means over the positions that are not padding.
    MeanReal, "0.j", mean_real(x: &Tensor, lengths: &[usize]) -> Tensor;
    task: "Prompts of different lengths are padded at the end until all are equally long. Average over the real positions of each prompt. Mean ablation and probes need such means, and padding that slips into them is hard to notice later.

- `x`: `[batch, pos, d_model]`
- `lengths`: how many positions of each prompt are real
- returns `[batch, d_model]`";
    axes: &[&["batch", "d_model"]];
    inputs: inputs::padded => (Tensor, Vec<usize>);
    hints: &[
        "The prompts have different lengths, so take them one by one.",
        "For each prompt: x.get(row)? is [pos, d_model], narrow(0, 0, length)? keeps the real positions, mean(0)? averages. Stack the results.",
        "for (row, &length) in lengths.iter().enumerate() { means.push(x.get(row)?.narrow(0, 0, length)?.mean(0)?); } and Tensor::stack(&means, 0) at the end.",
    ];
    wrong: [
        "padding is in the mean. Only the first lengths[b] positions of prompt b are real." => answers::padding_counted,
        "every sum is divided by the longest length. Each prompt has its own." => answers::divided_by_the_longest,
        "the padding is left out of the sum and not out of the count." => answers::divided_by_all_positions,
        "this is the sum. Divide it by the prompt's length." => answers::not_divided,
        "these are the last positions. The padding is at the end." => answers::at_the_end,
    ];
    accepted: [];
}
