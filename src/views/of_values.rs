//! How small values are shown: models, plans, tokens, options and names as the text they print.

use crate::analysis::{DetectOptions, DetectionPattern, ErrorMeasure, LensOptions, SingularOf, Unit};
use crate::cache::{
    AccumulatedOptions, Components, DecomposeOptions, FullOptions, HeadOptions, LnOptions, NeuronOptions,
};
use crate::circuits::{Aggregation, CircuitScore, Edge, EdgeAblation, EdgeMethod, EdgePatching, Node, Qkv, RankBy};
use crate::error::{Error, Result};
use crate::generate::{GenerateOptions, GenerateStream, Sampling, Step};
use crate::gradients::{IgBaseline, IgOptions, IgRule};
use crate::head::Head;
use crate::hooks::{
    AxisName, Edit, HookPlan, HookPoint, HookQueries, HookQuery, InnerPoint, InnerSite, Kind, MeanOver, Needs,
    PointBytes, Selection, Site, SiteRow, Stage,
};
use crate::labelled::Axis;
use crate::metrics::{Direction, Metric};
use crate::model::{
    Activation, AttentionDir, AttentionType, CheckpointOptions, Composition, Frozen, HookedTransformer, KvCache,
    LoadOptions, LongRope, Loss, NormalizationType, PositionalEmbeddingType, RotaryScaling, RunOptions,
};
use crate::patching::{Ablation, Mlps, PatchSite, Patching, Receiver, Sender, Untouched};
use crate::progress::Progress;
use crate::progress::rehearsal::{Event, Moment};
use crate::random::Random;
use crate::slice::Slice;
use crate::storage::Hub;
use crate::tasks::{Split, Task};
use crate::tokens::{Bos, Input, Occurrence, PaddingSide, TokenRef, TokenizeOptions, Tokenizer, Tokens};
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::{Cell, HoverMode, Numbers};

/// Types whose own text is what there is to see.
macro_rules! shown_as_text {
    ($($format:literal: $($view:ty),+ $(,)?;)+) => {$($(
        impl View for $view {
            fn render(&self) -> Result<Rendered> {
                Ok(preformatted(&format!($format, self)))
            }

            fn render_list(list: &[Self]) -> Result<Rendered> {
                let texts: Vec<String> = list.iter().map(|each| format!($format, each)).collect();
                Ok(preformatted(&texts.join("\n")))
            }
        }
        shown!($view);
    )+)+};
}

shown_as_text! {
    "{}": Head, crate::metrics::Positions, PatchSite, HookedTransformer, HookPlan, HookPoint, HookQueries, HookQuery, Edit, Slice, Split, Task, IgRule, AxisName, InnerPoint, Selection, PaddingSide, Error,
        Edge, Node, Qkv;
    "{:?}": Kind, Needs, Stage, Event, Moment, Frozen, Tokens, Tokenizer, Site, Axis, PointBytes, Loss, Components, MeanOver, Activation, AttentionDir,
        AttentionType, LongRope, RotaryScaling, NormalizationType, PositionalEmbeddingType, Bos, Occurrence, TokenRef,
        Cell, Random, Composition, SingularOf, Unit, KvCache, GenerateStream, Sampling, Step, Ablation, Direction, Metric, DetectOptions, DetectionPattern, ErrorMeasure,
        Aggregation, CircuitScore, EdgeAblation, EdgeMethod, EdgePatching, RankBy, Mlps, Patching, Receiver, Sender, Untouched, HoverMode;
    "{:#?}": InnerSite, SiteRow, RunOptions, AccumulatedOptions, DecomposeOptions, HeadOptions, NeuronOptions, FullOptions,
        LensOptions, GenerateOptions, LnOptions, TokenizeOptions, IgOptions, IgBaseline,
        Input, Numbers, Progress, LoadOptions, CheckpointOptions, Hub;
}
