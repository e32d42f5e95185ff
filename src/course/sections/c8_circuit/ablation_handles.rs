//! The exercises about means.

use super::{ablation_answers as answers, inputs};
use crate::course::answer::{Answer, IntoAnswer};
use crate::course::exercise::{About, Lend, exercise};
use crate::course::judge::{Known, Rule, judge, prove};
use crate::course::verdict::Verdict;
use candle_core::Tensor;

exercise! {
    /// Each prompt's activations replaced by the mean of its group.
    MeanByGroup, "1.3.s", mean_by_group(z: &Tensor, groups: &[usize]) -> Tensor;
    task: "Replace what every head writes for a prompt by the mean over the prompts of the same group, position by position.

- `z`: `[batch, pos, head, d_head]`; `groups`: the group's number for each prompt
- returns the same shape; prompts of one group have equal rows";
    axes: &[&["batch", "pos", "head", "d_head"]];
    inputs: inputs::grouped => (Tensor, Vec<usize>);
    hints: &[
        "For each prompt: which prompts have its group's number? It is one of them itself.",
        "Collect their indices as u32, index_select them along axis 0, take the mean over axis 0, and stack these for all prompts.",
        "z.index_select(&Tensor::new(same, z.device())?, 0)?.mean(0)?; Tensor::stack(&rows, 0) at the end.",
    ];
    wrong: [
        "this is the mean over all prompts. Templates and orders of names get mixed in it: take each group's own." => answers::over_all,
        "this is a mean over positions too. Keep positions apart." => answers::over_positions,
        "these are sums over the groups. Divide by the number of members." => answers::summed,
        "this is the first prompt of the group, not the group's mean." => answers::first_of_the_group,
    ];
    accepted: [
        "Your means go over the other members of the group, so that nothing of the prompt itself is in its own mean: the cleaner baseline. The exercises below take it as well; the numbers in the texts are those of means over whole groups." => answers::without_itself,
    ];
}

exercise! {
    /// Means everywhere but at some heads' own positions.
    KeepAt, "1.3.s2", keep_at(z: &Tensor, means: &Tensor, heads: &[usize], positions: &[usize]) -> Tensor;
    task: "In GPT-2 small a head belongs to the circuit at *one* position only: a name mover at the end, a duplicate-token head at S2. Keep `z` for these heads of a layer at the prompt's own position, and put the means everywhere else: at other positions of these heads, and at all positions of all other heads.

The position differs from prompt to prompt, and `positions[b]` is that of prompt `b` alone.

- `z`, `means`: `[batch, pos, head, d_head]`
- returns the same shape";
    axes: &[&["batch", "pos", "head", "d_head"]];
    inputs: inputs::kept => (Tensor, Tensor, Vec<usize>, Vec<usize>);
    hints: &[
        "Make a mask [batch, pos, head, 1] first: how many ones does it have?",
        "A vector of zeros of batch * pos * n_heads entries, in which prompt, its position and each head give the place of a 1. As a u8 tensor, broadcast to z's shape, where_cond chooses.",
        "mask[(row * pos + position) * n_heads + head] = 1; then Tensor::from_vec(mask, (batch, pos, n_heads, 1), z.device())?.broadcast_as(z.shape())?.where_cond(z, means)?;",
    ];
    wrong: [
        "every prompt keeps the positions of all prompts. Position b belongs to prompt b alone: go through both together, not through all pairs." => answers::all_pairs,
        "the heads keep all positions." => answers::all_positions,
        "all heads keep the position. Only those listed do." => answers::all_heads,
        "it is the other way round: the means are at the heads' positions, and z everywhere else." => answers::the_other_way_round,
        "every prompt keeps the first prompt's position." => answers::first_position,
    ];
    accepted: [];
}
