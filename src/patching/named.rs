//! TransformerLens' sweeps, by their names there.

use super::result::PatchResult;
use crate::error::Result;
use crate::experiment::Experiment;
use crate::hooks::AxisName::{Head, KPos, Layer, Pos};
use crate::progress::Progress;

macro_rules! sweeps {
    ($($(#[$doc:meta])* $name:ident: $point:literal $axes:expr;)+) => {
        impl Experiment {
            $(
                $(#[$doc])*
                ///
                /// # Errors
                /// As [`Experiment::sweep`].
                pub fn $name(&self) -> Result<PatchResult> {
                    self.sweep($point, &$axes)
                }
            )+
        }
    };
}

sweeps! {
    /// The residual stream that enters each block, at each position: `[layer, position]`.
    get_act_patch_resid_pre: "resid_pre" [Layer, Pos];
    /// The residual stream between attention and MLP: `[layer, position]`.
    get_act_patch_resid_mid: "resid_mid" [Layer, Pos];
    /// What attention writes: `[layer, position]`.
    get_act_patch_attn_out: "attn_out" [Layer, Pos];
    /// What each MLP writes: `[layer, position]`.
    get_act_patch_mlp_out: "mlp_out" [Layer, Pos];
    /// Each head's output `z` at each position: `[layer, position, head]`.
    get_act_patch_attn_head_out_by_pos: "z" [Layer, Pos, Head];
    /// Each head's queries at each position: `[layer, position, head]`.
    get_act_patch_attn_head_q_by_pos: "q" [Layer, Pos, Head];
    /// Each head's keys at each position: `[layer, position, head]`, as many heads as there are keys.
    get_act_patch_attn_head_k_by_pos: "k" [Layer, Pos, Head];
    /// Each head's values at each position: `[layer, position, head]`, as many heads as there are values.
    get_act_patch_attn_head_v_by_pos: "v" [Layer, Pos, Head];
    /// Each head's attention pattern, row by row: `[layer, head, position]`, the query position.
    get_act_patch_attn_head_pattern_by_pos: "pattern" [Layer, Head, Pos];
    /// Each head's attention pattern, entry by entry: `[layer, head, position, key_pos]`.
    get_act_patch_attn_head_pattern_dest_src_pos: "pattern" [Layer, Head, Pos, KPos];
    /// Each head's output `z` at all positions: `[layer, head]`.
    get_act_patch_attn_head_out_all_pos: "z" [Layer, Head];
    /// Each head's queries at all positions: `[layer, head]`.
    get_act_patch_attn_head_q_all_pos: "q" [Layer, Head];
    /// Each head's keys at all positions: `[layer, head]`, as many heads as there are keys.
    get_act_patch_attn_head_k_all_pos: "k" [Layer, Head];
    /// Each head's values at all positions: `[layer, head]`, as many heads as there are values.
    get_act_patch_attn_head_v_all_pos: "v" [Layer, Head];
    /// Each head's whole attention pattern: `[layer, head]`.
    get_act_patch_attn_head_pattern_all_pos: "pattern" [Layer, Head];
}

impl Experiment {
    /// Heads in all five ways at all positions, in TransformerLens' order: out, q, k, v, pattern.
    ///
    /// # Errors
    /// As [`Experiment::sweep`].
    pub fn get_act_patch_attn_head_all_pos_every(&self) -> Result<Vec<PatchResult>> {
        self.refuse_saving("get_act_patch_attn_head_all_pos_every")?;
        let _sweeps = Progress::opaque("patching heads");
        ["z", "q", "k", "v", "pattern"].into_iter().map(|point| self.sweep(point, &[Layer, Head])).collect()
    }

    /// Heads in all five ways at each position: out, q, k, v by `[layer, position, head]`, pattern by
    /// `[layer, head, position]`.
    ///
    /// # Errors
    /// As [`Experiment::sweep`].
    pub fn get_act_patch_attn_head_by_pos_every(&self) -> Result<Vec<PatchResult>> {
        self.refuse_saving("get_act_patch_attn_head_by_pos_every")?;
        let _sweeps = Progress::opaque("patching heads by position");
        let by_pos = ["z", "q", "k", "v"].into_iter().map(|point| self.sweep(point, &[Layer, Pos, Head]));
        by_pos.chain([self.get_act_patch_attn_head_pattern_by_pos()]).collect()
    }

    /// The residual stream, attention and MLPs at each position: `resid_pre`, `attn_out`, `mlp_out`.
    ///
    /// # Errors
    /// As [`Experiment::sweep`].
    pub fn get_act_patch_block_every(&self) -> Result<Vec<PatchResult>> {
        self.refuse_saving("get_act_patch_block_every")?;
        let _sweeps = Progress::opaque("patching blocks");
        ["resid_pre", "attn_out", "mlp_out"].into_iter().map(|point| self.sweep(point, &[Layer, Pos])).collect()
    }
}
