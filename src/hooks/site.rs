//! The one table of the places inside a block: name, axes, cost, and what is found there.
//!
//! Names and axes are TransformerLens'. Everything else that needs them, parsing, printing,
//! shapes and `HOOKS.md`, reads this table.

use crate::dims::Dims;

/// An axis of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AxisName {
    /// Prompts of the batch.
    Batch,
    /// Token positions.
    Pos,
    /// Token positions that attend (destination).
    QPos,
    /// Token positions attended to (source).
    KPos,
    /// Attention heads.
    Head,
    /// Heads of keys and values, which several attention heads may share.
    KeyValueHead,
    /// The residual stream.
    DModel,
    /// One head's inner width.
    DHead,
    /// MLP neurons.
    DMlp,
    /// An axis of size 1.
    One,
}

impl AxisName {
    /// The axis' size in a run of `batch` prompts and `pos` positions.
    pub fn size(self, dims: &Dims, batch: usize, pos: usize) -> usize {
        match self {
            Self::Batch => batch,
            Self::Pos | Self::QPos | Self::KPos => pos,
            Self::Head => dims.n_heads,
            Self::KeyValueHead => dims.n_key_value_heads,
            Self::DModel => dims.d_model,
            Self::DHead => dims.d_head,
            Self::DMlp => dims.d_mlp,
            Self::One => 1,
        }
    }

    /// The name as written in shapes: `batch`, `pos`, `q_pos`, `head`, `d_model`, ...
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Pos => "pos",
            Self::QPos => "q_pos",
            Self::KPos => "k_pos",
            Self::Head | Self::KeyValueHead => "head",
            Self::DModel => "d_model",
            Self::DHead => "d_head",
            Self::DMlp => "d_mlp",
            Self::One => "1",
        }
    }
}

impl std::fmt::Display for AxisName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A place inside a block. [`Site::row`] has its name, axes and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the table below documents each of them once
pub enum Site {
    ResidPre,
    AttnIn,
    QInput,
    KInput,
    VInput,
    Ln1Scale,
    Ln1Normalized,
    Q,
    K,
    V,
    QNormScale,
    QNormNormalized,
    KNormScale,
    KNormNormalized,
    RotQ,
    RotK,
    AttnScores,
    Pattern,
    Z,
    Result,
    Ln1PostScale,
    Ln1PostNormalized,
    AttnOut,
    ResidMid,
    MlpIn,
    Ln2Scale,
    Ln2Normalized,
    MlpPre,
    MlpPreLinear,
    MlpMid,
    MlpLnScale,
    MlpLnNormalized,
    MlpPost,
    Ln2PostScale,
    Ln2PostNormalized,
    MlpOut,
    ResidPost,
}

/// What the table says of a site.
#[derive(Debug)]
pub struct SiteRow {
    /// The site.
    pub site: Site,
    /// The name after `blocks.{layer}.`.
    pub name: &'static str,
    /// TransformerLens' shorthands; the first is the usual one. A norm's are qualified by ln1 or ln2.
    pub shorthands: &'static [&'static str],
    /// The axes in order.
    pub axes: &'static [AxisName],
    /// Computed only when a plan names it, because it costs extra time or memory.
    pub on_demand: bool,
    /// What is found there.
    pub doc: &'static str,
}

use AxisName::{Batch, DHead, DMlp, DModel, Head, KPos, KeyValueHead, One, Pos, QPos};

const RESID: &[AxisName] = &[Batch, Pos, DModel];
const HEAD_RESID: &[AxisName] = &[Batch, Pos, Head, DModel];
const KEY_VALUE_RESID: &[AxisName] = &[Batch, Pos, KeyValueHead, DModel];
const HEAD_VECTOR: &[AxisName] = &[Batch, Pos, Head, DHead];
const KEY_VALUE: &[AxisName] = &[Batch, Pos, KeyValueHead, DHead];
const QUERY_SCALE: &[AxisName] = &[Batch, Pos, Head, One];
const KEY_SCALE: &[AxisName] = &[Batch, Pos, KeyValueHead, One];
const ATTENTION: &[AxisName] = &[Batch, Head, QPos, KPos];
const NEURONS: &[AxisName] = &[Batch, Pos, DMlp];
const SCALE: &[AxisName] = &[Batch, Pos, One];

const fn row(
    site: Site,
    name: &'static str,
    shorthands: &'static [&'static str],
    axes: &'static [AxisName],
    doc: &'static str,
) -> SiteRow {
    SiteRow { site, name, shorthands, axes, on_demand: false, doc }
}

const fn on_demand(row: SiteRow) -> SiteRow {
    SiteRow { on_demand: true, ..row }
}

/// All sites, in the order in which a block computes them.
pub static SITES: &[SiteRow] = &[
    row(Site::ResidPre, "hook_resid_pre", &["resid_pre"], RESID, "residual stream that enters the block"),
    on_demand(row(
        Site::AttnIn,
        "hook_attn_in",
        &["attn_in"],
        HEAD_RESID,
        "the residual stream as each head's input to q, k and v, before ln1",
    )),
    on_demand(row(
        Site::QInput,
        "hook_q_input",
        &["q_input"],
        HEAD_RESID,
        "each head's input to its query, before ln1",
    )),
    on_demand(row(
        Site::KInput,
        "hook_k_input",
        &["k_input"],
        KEY_VALUE_RESID,
        "each head's input to its key, before ln1",
    )),
    on_demand(row(
        Site::VInput,
        "hook_v_input",
        &["v_input"],
        KEY_VALUE_RESID,
        "each head's input to its value, before ln1",
    )),
    row(Site::Ln1Scale, "ln1.hook_scale", &["scale"], SCALE, "what ln1 divides by: sqrt(variance + eps)"),
    row(
        Site::Ln1Normalized,
        "ln1.hook_normalized",
        &["normalized"],
        RESID,
        "what ln1 makes of its input, before its scale and shift where they are not folded",
    ),
    row(Site::Q, "attn.hook_q", &["q", "query"], HEAD_VECTOR, "queries"),
    row(Site::K, "attn.hook_k", &["k", "key"], KEY_VALUE, "keys"),
    row(Site::V, "attn.hook_v", &["v", "value"], KEY_VALUE, "values"),
    row(Site::QNormScale, "attn.q_norm.hook_scale", &[], QUERY_SCALE, "what the norm of queries divides by"),
    row(
        Site::QNormNormalized,
        "attn.q_norm.hook_normalized",
        &[],
        HEAD_VECTOR,
        "what the norm of queries makes of them, before its scale",
    ),
    row(Site::KNormScale, "attn.k_norm.hook_scale", &[], KEY_SCALE, "what the norm of keys divides by"),
    row(
        Site::KNormNormalized,
        "attn.k_norm.hook_normalized",
        &[],
        KEY_VALUE,
        "what the norm of keys makes of them, before its scale",
    ),
    row(Site::RotQ, "attn.hook_rot_q", &["rot_q"], HEAD_VECTOR, "queries turned by their position"),
    row(Site::RotK, "attn.hook_rot_k", &["rot_k"], KEY_VALUE, "keys turned by their position"),
    row(
        Site::AttnScores,
        "attn.hook_attn_scores",
        &["attn_scores", "attn_logits"],
        ATTENTION,
        "scaled scores before the softmax; masked ones are -inf",
    ),
    row(Site::Pattern, "attn.hook_pattern", &["pattern", "attn"], ATTENTION, "attention: each row sums to 1"),
    row(Site::Z, "attn.hook_z", &["z"], HEAD_VECTOR, "values mixed by the pattern"),
    on_demand(row(
        Site::Result,
        "attn.hook_result",
        &["result"],
        HEAD_RESID,
        "each head's contribution to the residual stream: z W_O, without b_O",
    )),
    row(Site::Ln1PostScale, "ln1_post.hook_scale", &[], SCALE, "what the norm after attention divides by"),
    row(
        Site::Ln1PostNormalized,
        "ln1_post.hook_normalized",
        &[],
        RESID,
        "what the norm after attention makes of its input, before its scale",
    ),
    row(Site::AttnOut, "hook_attn_out", &["attn_out"], RESID, "what attention adds to the residual stream"),
    row(Site::ResidMid, "hook_resid_mid", &["resid_mid"], RESID, "residual stream between attention and MLP"),
    on_demand(row(
        Site::MlpIn,
        "hook_mlp_in",
        &["mlp_in"],
        RESID,
        "the residual stream as input of the MLP, before ln2",
    )),
    row(Site::Ln2Scale, "ln2.hook_scale", &["scale"], SCALE, "what ln2 divides by: sqrt(variance + eps)"),
    row(
        Site::Ln2Normalized,
        "ln2.hook_normalized",
        &["normalized"],
        RESID,
        "what ln2 makes of its input, before its scale and shift where they are not folded",
    ),
    row(Site::MlpPre, "mlp.hook_pre", &["pre", "mlp_pre"], NEURONS, "neurons before the activation function"),
    row(
        Site::MlpPreLinear,
        "mlp.hook_pre_linear",
        &["pre_linear"],
        NEURONS,
        "what a gated MLP multiplies the activation function's value with",
    ),
    row(
        Site::MlpMid,
        "mlp.hook_mid",
        &["mid", "mlp_mid"],
        NEURONS,
        "neurons after the activation function and before the norm of solu_ln",
    ),
    row(Site::MlpLnScale, "mlp.ln.hook_scale", &[], SCALE, "what the norm of solu_ln divides by"),
    row(
        Site::MlpLnNormalized,
        "mlp.ln.hook_normalized",
        &[],
        NEURONS,
        "what the norm of solu_ln makes of the neurons, before its scale and shift where they are not folded",
    ),
    row(Site::MlpPost, "mlp.hook_post", &["post", "mlp_post"], NEURONS, "neurons after the activation function"),
    row(Site::Ln2PostScale, "ln2_post.hook_scale", &[], SCALE, "what the norm after the MLP divides by"),
    row(
        Site::Ln2PostNormalized,
        "ln2_post.hook_normalized",
        &[],
        RESID,
        "what the norm after the MLP makes of its input, before its scale",
    ),
    row(Site::MlpOut, "hook_mlp_out", &["mlp_out"], RESID, "what the MLP adds to the residual stream"),
    row(Site::ResidPost, "hook_resid_post", &["resid_post"], RESID, "residual stream that leaves the block"),
];

impl Site {
    /// The site's row of the table.
    pub fn row(self) -> &'static SiteRow {
        SITES.iter().find(|row| row.site == self).expect("each site has a row")
    }

    /// Why a model of these `dims` lacks the site, or `None` where it has it.
    pub fn absent(self, dims: &Dims) -> Option<&'static str> {
        use Site::{
            AttnIn, KNormNormalized, KNormScale, Ln1Normalized, Ln1PostNormalized, Ln1PostScale, Ln1Scale,
            Ln2Normalized, Ln2PostNormalized, Ln2PostScale, Ln2Scale, MlpIn, MlpLnNormalized, MlpLnScale, MlpMid,
            MlpOut, MlpPost, MlpPre, MlpPreLinear, QNormNormalized, QNormScale, ResidMid, RotK, RotQ,
        };
        match self {
            ResidMid | MlpIn | MlpPre | MlpPreLinear | MlpMid | MlpLnScale | MlpLnNormalized | MlpPost | MlpOut
            | Ln2Scale | Ln2Normalized
                if dims.attn_only =>
            {
                Some("its blocks have attention only")
            }
            ResidMid if dims.parallel_attn_mlp => Some("its attention and MLP read the same stream"),
            Ln1PostScale | Ln1PostNormalized | Ln2PostScale | Ln2PostNormalized if !dims.norms_after => {
                Some("no norm follows its attention and MLPs")
            }
            MlpMid | MlpLnScale | MlpLnNormalized if !dims.neuron_norm => {
                Some("no norm follows its activation function")
            }
            QNormScale | QNormNormalized | KNormScale | KNormNormalized if !dims.qk_norm => {
                Some("its queries and keys have no norms")
            }
            AttnIn if dims.n_key_value_heads != dims.n_heads => {
                Some("its heads share keys and values: q_input, k_input and v_input are the inputs apart")
            }
            MlpPreLinear if !dims.gated_mlp => Some("its MLPs have no gate"),
            RotQ | RotK if !dims.rotary => Some("positions do not turn its queries and keys"),
            Ln1Scale | Ln1Normalized | Ln2Scale | Ln2Normalized if !dims.has_norm => Some("it has no layer norms"),
            _ => None,
        }
    }

    /// Whether it is what a norm divides by.
    pub fn is_scale(self) -> bool {
        self.row().name.ends_with("hook_scale")
    }

    /// Whether the site is one of `hook_attn_in` and `hook_{q,k,v}_input`, which give each head its own input.
    pub fn is_split_input(self) -> bool {
        matches!(self, Self::AttnIn | Self::QInput | Self::KInput | Self::VInput)
    }
}
