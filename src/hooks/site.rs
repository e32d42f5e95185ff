//! Sites: the activations inside a block, and what the table says of each and of the points outside the blocks.

use super::axis::AxisName;
use super::point::HookPoint;
use super::stage::{Kind, Needs, Stage};
use super::table::TABLE;
use crate::dims::Dims;

/// An activation inside a block. [`Site::row`] has its name, axes and meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the table documents each of them once
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
    MlpHookIn,
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

/// What the table says of a hook point, or of a site in all blocks.
#[derive(Debug)]
pub struct SiteRow {
    /// The point; of a site, the one in block 0.
    pub point: HookPoint,
    /// The name; of a site, what follows `blocks.{layer}.`.
    pub name: &'static str,
    /// TransformerLens' shorthands; the first is the usual one. Those of a block's norms are qualified by `ln1` or `ln2`.
    pub shorthands: &'static [&'static str],
    /// The axes in order.
    pub axes: &'static [AxisName],
    /// Where in the forward pass it is.
    pub stage: Stage,
    /// What a model must have to have it.
    pub needs: &'static [Needs],
    /// What kind of numbers it holds.
    pub kind: Kind,
    /// Computed only when a plan names it, because it costs extra time or memory.
    pub on_demand: bool,
    /// Whether the rest of the block is a function of this activation and the residual stream alone, so that a run can go on
    /// from here.
    pub resumes: bool,
    /// What is found there.
    pub doc: &'static str,
}

impl SiteRow {
    /// The site, where the row is of one in a block.
    pub fn site(&self) -> Option<Site> {
        match self.point {
            HookPoint::Block(_, site) => Some(site),
            _ => None,
        }
    }

    /// The module that it belongs to: `attn`, `ln1`; none for what belongs to the block, or the model, itself.
    pub fn module(&self) -> Option<&'static str> {
        self.name.split_once('.').map(|(module, _)| module)
    }

    /// Why a model of these `dims` lacks it, or `None` where it has it.
    pub fn absent(&self, dims: &Dims) -> Option<&'static str> {
        self.needs.iter().find_map(|part| part.missing(dims))
    }

    /// Whether each head has a residual stream of its own there, as its input.
    pub fn is_split_input(&self) -> bool {
        let of_heads = self.axes.iter().any(|axis| axis.key() == AxisName::Head);
        self.stage.is_before_mixing() && of_heads && self.axes.contains(&AxisName::DModel)
    }

    /// The table, in the order of the forward pass.
    pub fn all() -> &'static [Self] {
        TABLE
    }

    /// The rows of the sites of a block, in the order in which it computes them.
    pub fn of_blocks() -> impl Iterator<Item = (Site, &'static Self)> {
        TABLE.iter().filter_map(|row| Some((row.site()?, row)))
    }

    /// The rows of the points outside the blocks.
    pub(super) fn outside() -> impl Iterator<Item = &'static Self> {
        TABLE.iter().filter(|row| row.site().is_none())
    }
}

impl Site {
    /// The site's row of the table.
    pub fn row(self) -> &'static SiteRow {
        TABLE.iter().find(|row| row.site() == Some(self)).expect("each site has a row")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made_up(stage: Stage, needs: &'static [Needs], kind: Kind) -> SiteRow {
        let axes: &[AxisName] = &[AxisName::Batch, AxisName::Pos, AxisName::Head, AxisName::DModel];
        let (point, name) = (HookPoint::Block(0, Site::Z), "made.hook_up");
        SiteRow { point, name, shorthands: &[], axes, stage, needs, kind, on_demand: false, resumes: false, doc: "" }
    }

    /// What a site answers follows from its stage, whatever site it is.
    #[test]
    fn a_made_up_site_of_each_stage_answers_by_its_stage() {
        use Stage::{
            AttentionInput, AttentionOutput, Between, Embedding, Entering, Final, KeyValue, Leaving, Mixed, MlpInput,
            MlpOutput, Neurons, Pattern, Query,
        };
        for stage in Stage::ALL {
            let row = made_up(stage, &[], Kind::Vector);
            // By hand: what keys and values are made of reaches other positions in the same block.
            let carried = [Embedding, Entering, AttentionInput, KeyValue].contains(&stage);
            assert_eq!(row.stage.is_carried(), carried, "{stage:?}");
            let before = carried || [Query, Pattern].contains(&stage);
            assert_eq!(row.stage.is_before_mixing(), before, "{stage:?}");
            assert_eq!(row.is_split_input(), before, "{stage:?}: a residual stream for each head");
            let behind = [Mixed, AttentionOutput, Between, MlpInput, Neurons, MlpOutput, Leaving, Final];
            assert_eq!(behind.contains(&stage), !before, "{stage:?}");
        }
        assert!(Stage::ALL.is_sorted(), "the order of the forward pass");
    }

    #[test]
    fn a_made_up_site_is_absent_where_any_part_that_it_needs_is() {
        let all = Dims {
            n_layers: 1,
            n_heads: 2,
            d_model: 4,
            d_head: 2,
            d_mlp: 8,
            d_vocab: 3,
            d_vocab_out: 3,
            n_ctx: 4,
            n_key_value_heads: 2,
            attn_only: false,
            parallel_attn_mlp: false,
            gated_mlp: true,
            norms_after: true,
            reads_unnormed: false,
            rotary: true,
            shortformer: false,
            alibi: false,
            qk_norm: true,
            neuron_norm: true,
            has_norm: true,
        };
        let cases: [(Needs, Dims); 10] = [
            (Needs::Mlp, Dims { attn_only: true, ..all }),
            (Needs::MlpAfterAttention, Dims { parallel_attn_mlp: true, ..all }),
            (Needs::Gate, Dims { gated_mlp: false, ..all }),
            (Needs::NeuronNorm, Dims { neuron_norm: false, ..all }),
            (Needs::Norm, Dims { has_norm: false, ..all }),
            (Needs::NormsBefore, Dims { reads_unnormed: true, ..all }),
            (Needs::NormsAfter, Dims { norms_after: false, ..all }),
            (Needs::QkNorm, Dims { qk_norm: false, ..all }),
            (Needs::Rotary, Dims { rotary: false, ..all }),
            (Needs::KeysOfEachHead, Dims { n_key_value_heads: 1, ..all }),
        ];
        for (part, without) in cases {
            assert_eq!(part.missing(&all), None, "{part:?}");
            assert!(part.missing(&without).is_some(), "{part:?}");
        }
        assert!(Needs::PositionEmbedding.missing(&all).is_some());
        let row = made_up(Stage::MlpInput, &[Needs::Mlp, Needs::Gate], Kind::Vector);
        assert_eq!(row.absent(&all), None);
        assert_eq!(row.absent(&Dims { attn_only: true, ..all }), Needs::Mlp.missing(&Dims { attn_only: true, ..all }));
        assert!(row.absent(&Dims { gated_mlp: false, ..all }).is_some());
    }

    #[test]
    fn the_table_is_in_the_order_of_the_forward_pass_and_says_each_once() {
        let points: Vec<HookPoint> = TABLE.iter().map(|row| row.point).collect();
        assert!(points.is_sorted() && points.windows(2).all(|pair| pair[0] != pair[1]), "{points:?}");
        for row in TABLE {
            assert_eq!(row.point.layer().is_none(), [Stage::Embedding, Stage::Final].contains(&row.stage), "{row:?}");
            assert_eq!(row.kind == Kind::Scale, row.name.ends_with("hook_scale"), "{row:?}");
            assert_eq!(row.axes[0], AxisName::Batch, "{row:?}");
            assert!(!row.resumes || !row.stage.is_before_mixing(), "a run goes on behind attention only: {row:?}");
        }
    }
}
