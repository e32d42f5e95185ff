//! How small values are shown: models, plans, tokens, options and names as the text they print.

use crate::analysis::{DetectOptions, DetectionPattern, ErrorMeasure, RepeatOptions, RunOrInput, SingularOf, Unit};
use crate::cache::{Accumulated, Components, Everything, Heads, LnScale, Neurons, Point, Stack, Target};
use crate::circuits::{Aggregation, CircuitScore, CircuitUnit, Edge, EdgeMethod, Edges, Node, Qkv, RankBy};
use crate::dictionaries::{
    Activation, Architecture, AtBos, DictionaryFormat, DictionaryOptions, ErrorTerm, FeatureAct, InputNorm,
    SpliceOptions,
};
use crate::dims::ReadBy;
use crate::error::Error;
use crate::experiment::{Baseline, Experiment, Quadrature, Scale};
use crate::feature_graphs::{
    BiasOf, ChainedTest, EditMode, ErrorsOutside, FeatureCircuits, FeatureEditOptions, FeatureEdits, GraphEdge,
    GraphNode, GraphOptions, GraphTargets, GroupEdge, GroupNode, Supernode,
};
use crate::feature_graphs::{ChainOptions, ChainedEdge, ChainedNode, EdgeCounts, EdgeVia, EdgesLeftOut, ErrorNodes};
use crate::features::{
    ActiveFeature, CardCheck, ExampleOptions, FeatureAttribution, FeatureDirections, FeatureRanking, Neighbour,
    ScoreOptions, SharedFeature, SharedFeatures, TokenValue,
};
use crate::generate::{GenerateOptions, GenerateStream, Sampling, Step};
use crate::gradients::IgOptions;
use crate::head::Head;
use crate::hooks::{
    AxisName, Edit, HookPlan, HookPoint, HookQueries, HookQuery, InnerPoint, InnerSite, Kind, MeanOver, Needs,
    PointBytes, Selection, Site, SiteRow, Stage,
};
use crate::labelled::Axis;
use crate::metrics::{Direction, Metric};
use crate::model::{
    ActFn, AttentionDir, AttentionType, Biases, CheckpointOptions, Composition, Frozen, HookedTransformer, KvCache,
    LoadOptions, LongRope, Loss, NormalizationType, PositionalEmbeddingType, QkNormType, RotaryScaling, RunOptions,
};
use crate::patching::{Mlps, PatchSite, Receiver, Sender, Untouched};
use crate::progress::Progress;
use crate::progress::rehearsal::{Event, Moment};
use crate::random::Random;
use crate::slice::Slice;
use crate::storage::{Hub, Tensors};
use crate::tasks::{Split, Task};
use crate::tokens::{Bos, Input, Occurrence, PaddingSide, TokenRef, TokenizeOptions, Tokenizer, Tokens};
use crate::train::{
    ActivationBatch, ActivationStore, AdamW, AdamWOptions, Checkpoint, CrossLayerTrainer, Decay, DictionaryTrainer,
    Recipe, SkipTokens, Sparsity, StepReport, StoreOptions, Texts,
};
use crate::views::show::shown_as_text;
use crate::views::{Cell, HoverMode, Numbers};

shown_as_text! {
    "{}": Head, crate::metrics::Positions, PatchSite, HookedTransformer, HookPlan, HookPoint, HookQueries, HookQuery, Edit, Slice, Split, Task, Quadrature, Scale, AxisName, InnerPoint, Selection, PaddingSide, Error,
        CircuitUnit, Edge, ErrorsOutside, FeatureCircuits, Node, Qkv, GraphNode, GraphEdge, ChainedTest, EditMode, FeatureEditOptions, FeatureEdits, GroupNode, GroupEdge, Supernode, DictionaryFormat, ErrorTerm, FeatureAct,
        ActivationBatch, ActivationStore, AdamW, Checkpoint, CrossLayerTrainer, DictionaryTrainer, Recipe, Sparsity,
        StepReport, Texts,
        Architecture, ActiveFeature, FeatureRanking, Neighbour, TokenValue, CardCheck,
        FeatureAttribution, FeatureDirections, SharedFeature, SharedFeatures;
    "{:?}": BiasOf, Activation, InputNorm, Biases, LnScale, ReadBy, Accumulated, Components, Heads, Neurons, Everything, Point,
        Kind, Needs, Stage, Event, Moment, Frozen, Tokens, Tokenizer, Site, Axis, PointBytes, Loss, MeanOver, ActFn, AttentionDir,
        AttentionType, LongRope, RotaryScaling, NormalizationType, QkNormType, PositionalEmbeddingType, Bos, Occurrence, TokenRef,
        Cell, Random, Composition, SingularOf, Unit, KvCache, GenerateStream, Sampling, Step, Direction, Metric, DetectOptions, DetectionPattern, ErrorMeasure,
        Aggregation, CircuitScore, EdgeMethod, Edges, RankBy, Mlps, Experiment, Receiver, Sender, Untouched, HoverMode;
    "{:#?}": GraphOptions, GraphTargets, AtBos, DictionaryOptions, SpliceOptions, AdamWOptions, Decay, SkipTokens, StoreOptions,
        InnerSite, SiteRow, RunOptions, ScoreOptions,
        Stack<Accumulated>, Stack<Components>, Stack<Heads>, Stack<Neurons>, Stack<Everything>, Stack<Point>, Target, RunOrInput, RepeatOptions,
        GenerateOptions, TokenizeOptions, IgOptions, Baseline,
        ExampleOptions, Input, Numbers, Progress, LoadOptions, CheckpointOptions, Hub;
    "{}": ChainedEdge, ChainedNode, EdgeCounts, EdgeVia, EdgesLeftOut;
    "{:?}": ErrorNodes;
    "{:#?}": ChainOptions;
    "{}": Tensors;
}

#[cfg(feature = "course")]
shown_as_text! {
    "{}": crate::course::Section;
    "{:?}": crate::course::For, crate::course::Part, crate::course::Outcome;
}
