//! The one table of hook points: name, axes, what each reads, needs and holds, and what is found there.
//!
//! Names and axes are TransformerLens'. Everything else that needs them, parsing, printing, shapes, which positions a
//! change can reach and `HOOKS.md`, reads this table.

use super::axis::AxisName::{self, Batch, DHead, DMlp, DModel, DVocab, Head, KPos, KeyValueHead, One, Pos, QPos};
use super::point::HookPoint;
use super::site::{Site, SiteRow};
use super::stage::{Kind, Needs, Stage};

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

/// A row with what most rows have: numbers that are vectors, computed in every run.
const fn row(
    point: HookPoint,
    (name, shorthands): (&'static str, &'static [&'static str]),
    axes: &'static [AxisName],
    (stage, needs): (Stage, &'static [Needs]),
    doc: &'static str,
) -> SiteRow {
    let (kind, on_demand, resumes) = (Kind::Vector, false, false);
    SiteRow { point, name, shorthands, axes, stage, needs, kind, on_demand, resumes, doc }
}

/// The row of a site in all blocks.
const fn site(
    site: Site,
    name: (&'static str, &'static [&'static str]),
    axes: &'static [AxisName],
    place: (Stage, &'static [Needs]),
    doc: &'static str,
) -> SiteRow {
    row(HookPoint::Block(0, site), name, axes, place, doc)
}

const fn on_demand(row: SiteRow) -> SiteRow {
    SiteRow { on_demand: true, ..row }
}

const fn resumes(row: SiteRow) -> SiteRow {
    SiteRow { resumes: true, ..row }
}

const fn of_kind(kind: Kind, row: SiteRow) -> SiteRow {
    SiteRow { kind, ..row }
}

const fn scale(row: SiteRow) -> SiteRow {
    of_kind(Kind::Scale, row)
}

const AFTER_NORM: &[Needs] = &[Needs::NormsAfter];
const QK_NORM: &[Needs] = &[Needs::QkNorm];
const NORM: &[Needs] = &[Needs::Norm, Needs::NormsBefore];
const MLP_NORM: &[Needs] = &[Needs::Mlp, Needs::Norm, Needs::NormsBefore];
const NEURON_NORM: &[Needs] = &[Needs::Mlp, Needs::NeuronNorm];
const AFTER_MLP_NORM: &[Needs] = &[Needs::Mlp, Needs::NormsAfter];

/// All points and sites, in the order of the forward pass.
#[rustfmt::skip]
pub(super) static TABLE: &[SiteRow] = &[
    on_demand(of_kind(Kind::Ids, row(
        HookPoint::Tokens, ("hook_tokens", &["tokens"]), &[Batch, Pos], (Stage::Embedding, &[]), "token ids",
    ))),
    row(HookPoint::Embed, ("hook_embed", &["embed"]), RESID, (Stage::Embedding, &[]), "token embeddings"),
    row(
        HookPoint::PosEmbed, ("hook_pos_embed", &["pos_embed"]), RESID, (Stage::Embedding, &[Needs::PositionEmbedding]),
        "position embeddings",
    ),
    site(
        Site::ResidPre, ("hook_resid_pre", &["resid_pre"]), RESID, (Stage::Entering, &[]),
        "residual stream that enters the block",
    ),
    on_demand(site(
        Site::AttnIn, ("hook_attn_in", &["attn_in"]), HEAD_RESID, (Stage::AttentionInput, &[Needs::KeysOfEachHead]),
        "the residual stream as each head's input to q, k and v, before ln1",
    )),
    on_demand(site(
        Site::QInput, ("hook_q_input", &["q_input"]), HEAD_RESID, (Stage::Query, &[]),
        "each head's input to its query, before ln1",
    )),
    on_demand(site(
        Site::KInput, ("hook_k_input", &["k_input"]), KEY_VALUE_RESID, (Stage::KeyValue, &[]),
        "each head's input to its key, before ln1",
    )),
    on_demand(site(
        Site::VInput, ("hook_v_input", &["v_input"]), KEY_VALUE_RESID, (Stage::KeyValue, &[]),
        "each head's input to its value, before ln1",
    )),
    scale(site(
        Site::Ln1Scale, ("ln1.hook_scale", &["scale"]), SCALE, (Stage::AttentionInput, NORM),
        "what ln1 divides by: sqrt(variance + eps)",
    )),
    site(
        Site::Ln1Normalized, ("ln1.hook_normalized", &["normalized"]), RESID, (Stage::AttentionInput, NORM),
        "output of ln1, before its scale and shift where they are not folded",
    ),
    site(Site::Q, ("attn.hook_q", &["q", "query"]), HEAD_VECTOR, (Stage::Query, &[]), "queries"),
    site(Site::K, ("attn.hook_k", &["k", "key"]), KEY_VALUE, (Stage::KeyValue, &[]), "keys"),
    site(Site::V, ("attn.hook_v", &["v", "value"]), KEY_VALUE, (Stage::KeyValue, &[]), "values"),
    scale(site(
        Site::QNormScale, ("attn.q_norm.hook_scale", &[]), QUERY_SCALE, (Stage::Query, QK_NORM),
        "what the norm of queries divides by",
    )),
    site(
        Site::QNormNormalized, ("attn.q_norm.hook_normalized", &[]), HEAD_VECTOR, (Stage::Query, QK_NORM),
        "output of the norm of queries, before its scale",
    ),
    scale(site(
        Site::KNormScale, ("attn.k_norm.hook_scale", &[]), KEY_SCALE, (Stage::KeyValue, QK_NORM),
        "what the norm of keys divides by",
    )),
    site(
        Site::KNormNormalized, ("attn.k_norm.hook_normalized", &[]), KEY_VALUE, (Stage::KeyValue, QK_NORM),
        "output of the norm of keys, before its scale",
    ),
    site(
        Site::RotQ, ("attn.hook_rot_q", &["rot_q"]), HEAD_VECTOR, (Stage::Query, &[Needs::Rotary]),
        "queries after rotary embedding",
    ),
    site(
        Site::RotK, ("attn.hook_rot_k", &["rot_k"]), KEY_VALUE, (Stage::KeyValue, &[Needs::Rotary]),
        "keys after rotary embedding",
    ),
    of_kind(Kind::Score, site(
        Site::AttnScores, ("attn.hook_attn_scores", &["attn_scores", "attn_logits"]), ATTENTION, (Stage::Pattern, &[]),
        "scaled attention scores before the softmax; masked ones are -inf",
    )),
    of_kind(Kind::Share, site(
        Site::Pattern, ("attn.hook_pattern", &["pattern", "attn"]), ATTENTION, (Stage::Pattern, &[]),
        "attention pattern: each row sums to 1",
    )),
    resumes(site(Site::Z, ("attn.hook_z", &["z"]), HEAD_VECTOR, (Stage::Mixed, &[]), "values mixed by the pattern")),
    on_demand(site(
        Site::Result, ("attn.hook_result", &["result"]), HEAD_RESID, (Stage::AttentionOutput, &[]),
        "each head's contribution to the residual stream: z W_O, without b_O",
    )),
    scale(site(
        Site::Ln1PostScale, ("ln1_post.hook_scale", &[]), SCALE, (Stage::AttentionOutput, AFTER_NORM),
        "what the norm after attention divides by",
    )),
    site(
        Site::Ln1PostNormalized, ("ln1_post.hook_normalized", &[]), RESID, (Stage::AttentionOutput, AFTER_NORM),
        "output of the norm after attention, before its scale",
    ),
    resumes(site(
        Site::AttnOut, ("hook_attn_out", &["attn_out"]), RESID, (Stage::AttentionOutput, &[]),
        "attention output, as added to the residual stream",
    )),
    resumes(site(
        Site::ResidMid, ("hook_resid_mid", &["resid_mid"]), RESID,
        (Stage::Between, &[Needs::Mlp, Needs::MlpAfterAttention]), "residual stream between attention and MLP",
    )),
    on_demand(site(
        Site::MlpIn, ("hook_mlp_in", &["mlp_in"]), RESID, (Stage::MlpInput, &[Needs::Mlp]),
        "the residual stream as input of the MLP, before ln2",
    )),
    scale(site(
        Site::Ln2Scale, ("ln2.hook_scale", &["scale"]), SCALE, (Stage::MlpInput, MLP_NORM),
        "what ln2 divides by: sqrt(variance + eps)",
    )),
    site(
        Site::Ln2Normalized, ("ln2.hook_normalized", &["normalized"]), RESID, (Stage::MlpInput, MLP_NORM),
        "output of ln2, before its scale and shift where they are not folded",
    ),
    on_demand(site(
        Site::MlpHookIn, ("mlp.hook_in", &["mlp_hook_in"]), RESID, (Stage::MlpInput, &[Needs::Mlp]),
        "what the MLP reads: output of ln2 with its scale and shift; the point of circuit-tracer's transcoders",
    )),
    site(
        Site::MlpPre, ("mlp.hook_pre", &["pre", "mlp_pre"]), NEURONS, (Stage::MlpInput, &[Needs::Mlp]),
        "neurons before the activation function",
    ),
    site(
        Site::MlpPreLinear, ("mlp.hook_pre_linear", &["pre_linear"]), NEURONS,
        (Stage::MlpInput, &[Needs::Mlp, Needs::Gate]), "the linear branch of a gated MLP, which the activated gate multiplies",
    ),
    site(
        Site::MlpMid, ("mlp.hook_mid", &["mid", "mlp_mid"]), NEURONS, (Stage::MlpInput, NEURON_NORM),
        "neurons after the activation function and before the norm of solu_ln",
    ),
    scale(site(
        Site::MlpLnScale, ("mlp.ln.hook_scale", &[]), SCALE, (Stage::MlpInput, NEURON_NORM),
        "what the norm of solu_ln divides by",
    )),
    site(
        Site::MlpLnNormalized, ("mlp.ln.hook_normalized", &[]), NEURONS, (Stage::MlpInput, NEURON_NORM),
        "output of the norm of solu_ln, before its scale and shift where they are not folded",
    ),
    resumes(site(
        Site::MlpPost, ("mlp.hook_post", &["post", "mlp_post"]), NEURONS, (Stage::Neurons, &[Needs::Mlp]),
        "neurons after the activation function",
    )),
    scale(site(
        Site::Ln2PostScale, ("ln2_post.hook_scale", &[]), SCALE, (Stage::MlpOutput, AFTER_MLP_NORM),
        "what the norm after the MLP divides by",
    )),
    site(
        Site::Ln2PostNormalized, ("ln2_post.hook_normalized", &[]), RESID, (Stage::MlpOutput, AFTER_MLP_NORM),
        "output of the norm after the MLP, before its scale",
    ),
    resumes(site(
        Site::MlpOut, ("hook_mlp_out", &["mlp_out"]), RESID, (Stage::MlpOutput, &[Needs::Mlp]),
        "MLP output, as added to the residual stream",
    )),
    resumes(site(
        Site::ResidPost, ("hook_resid_post", &["resid_post"]), RESID, (Stage::Leaving, &[]),
        "residual stream that leaves the block",
    )),
    scale(row(
        HookPoint::LnFinalScale, ("ln_final.hook_scale", &["scale"]), SCALE, (Stage::Final, &[Needs::Norm]),
        "what the final norm divides by",
    )),
    row(
        HookPoint::LnFinalNormalized, ("ln_final.hook_normalized", &["normalized"]), RESID,
        (Stage::Final, &[Needs::Norm]), "output of the final norm, before its scale and shift where they are not folded",
    ),
    on_demand(row(
        HookPoint::UnembedIn, ("unembed.hook_in", &["unembed_in"]), RESID, (Stage::Final, &[]),
        "what the unembedding reads: the residual stream after the final norm",
    )),
    on_demand(of_kind(Kind::Logits, row(
        HookPoint::UnembedOut, ("unembed.hook_out", &["logits", "unembed"]), &[Batch, Pos, DVocab], (Stage::Final, &[]),
        "logits, before the soft cap where the model has one",
    ))),
];
