//! Every public type shows itself as the last expression of a cell, without an import.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use candle_lens::analysis::{
    DetectOptions, DetectionPattern, ErrorMeasure, RepeatOptions, RunOrInput, SingularOf, Unit,
};
use candle_lens::cache::{
    Accumulated, ActivationCache, Components, Everything, Heads, LnScale, Neurons, Point, Provenance, ResidualStack,
    Sink, Target,
};
use candle_lens::circuits::{
    Aggregation, Circuit, CircuitScore, CircuitUnit, Edge, EdgeMethod, Edges, FaithfulnessCurve, FaithfulnessCurves,
    Node, NodeScores, PositionScore, PositionScores, Qkv, RandomCurves, RankBy, Spans, Stability,
};
use candle_lens::course::{
    About, AttnWeights, BlockWeights, For, Help, MlpWeights, Outcome, Part, Section, Standing, UnembedWeights, Verdict,
};
use candle_lens::dictionaries::{
    Activation, Architecture, AtBos, Card, Dictionaries, Dictionary, DictionaryFormat, DictionaryOptions,
    DictionaryParts, DictionarySet, ErrorTerm, Expects, FeatureAct, FeatureActs, InputNorm, SpliceOptions,
};
use candle_lens::dims::{Dims, ReadBy};
use candle_lens::error::Error;
use candle_lens::experiment::{Baseline, Comparison, Effect, Experiment, Miss, Quadrature, Scale};
use candle_lens::factored_matrix::{Eigenvalues, FactoredMatrix, Svd};
use candle_lens::feature_graphs::{
    AttributionGraph, BiasOf, ChainedTest, EditMode, ErrorsOutside, FeatureCircuit, FeatureCircuits,
    FeatureEditOptions, FeatureEditRun, FeatureEdits, GraphChange, GraphEdge, GraphNode, GraphOptions, GraphTargets,
    GroupEdge, GroupGraph, GroupNode, Influence, NodeRanking, ScoreAttribution, Supernode, Supernodes,
};
use candle_lens::feature_graphs::{
    ChainOptions, ChainedEdge, ChainedGraph, ChainedNode, EdgeCounts, EdgeVia, EdgesLeftOut, ErrorNodes,
};
use candle_lens::features::{
    ActiveFeature, ActiveFeatures, CardCheck, DictionaryScore, DictionaryScores, ExampleOptions, FeatureAttribution,
    FeatureDashboard, FeatureDirections, FeatureExample, FeatureExamples, FeatureHistogram, FeatureLogits,
    FeatureRanking, FeatureReads, FeatureTexts, Neighbour, Neighbours, ScoreOptions, SharedFeature, SharedFeatures,
    SplicedScore, TokenValue,
};
use candle_lens::generate::{GenerateOptions, GenerateStream, Generated, Sampling, Step};
use candle_lens::gradients::{AttentionAttribution, Attribution, AttributionOptions, IgOptions, IntegratedGradients};
use candle_lens::head::Head;
use candle_lens::hooks::{
    AxisName, Edit, Gradients, HookPlan, HookPoint, HookQueries, HookQuery, InnerPoint, InnerSite, Kind, MeanOver,
    MemoryPlan, Needs, PointBytes, Selection, Site, SiteRow, Stage, Taps, TextPart,
};
use candle_lens::interchange::{
    AlignBy, DasOptions, FittedAndHeldOut, Interchange, InterchangeOptions, InterchangeScore, InterchangeStudy,
    InterchangeSweep, Subspace,
};
use candle_lens::labelled::{Axis, Entry, Labelled};
use candle_lens::lenses::{JacobianLens, JacobianOptions, LensDecomposition};
use candle_lens::lenses::{
    LensOptions, LensReading, LensTarget, LogitLens, TokenReading, TunedFit, TunedLens, TunedTraining,
};
use candle_lens::metrics::{Answers, Direction, Metric, Metrics, Positions, Score, TaskBatch};
use candle_lens::model::{
    ActFn, AttentionDir, AttentionType, Biases, CheckpointOptions, Composition, Frozen, HookedTransformer,
    HookedTransformerConfig, KvCache, LoadOptions, LongRope, Loss, ModelProvenance, NormalizationType,
    PositionalEmbeddingType, Processing, QkNormType, RotaryScaling, Run, RunOptions,
};
use candle_lens::patching::{Mlps, PatchResult, PatchSite, Receiver, Sender, Untouched};
use candle_lens::probes::{
    Probe, ProbeMethod, ProbeOptions, ProbeScore, ProbeSplit, ProbeStudy, ProbeSweep, ProbeTarget,
};
use candle_lens::progress::Progress;
use candle_lens::progress::rehearsal::{Event, Moment};
use candle_lens::random::Random;
use candle_lens::shard::{Shard, TextShard};
use candle_lens::shards::ShardResult;
use candle_lens::slice::Slice;
use candle_lens::statistics::{Alternative, Center, Statistics, StatisticsOptions};
use candle_lens::steering::{Contrast, IndirectEffects, SteeredText, Steering, SteeringVector, Transplant};
use candle_lens::storage::{Hub, Tensors};
use candle_lens::tasks::repeated::RepeatedTokens;
use candle_lens::tasks::words::{Category, Profession, Verb};
use candle_lens::tasks::{DatasetShard, LeftOut, Question, Split, Task, TaskDataset, TaskPrompt, VerbList};
use candle_lens::tokens::{Bos, Input, Occurrence, PaddingSide, TokenRef, TokenizeOptions, Tokenizer, Tokens};
use candle_lens::train::{
    ActivationBatch, ActivationStore, AdamW, AdamWOptions, Checkpoint, CrossLayerTrainer, Decay, DictionaryTrainer,
    Recipe, Schedule, SkipTokens, Sparsity, StepReport, StoreOptions, Texts, TrainingLog,
};
use candle_lens::variables::{Held, Variable, Variables};
use candle_lens::views::{
    Animation, Bar, Cell, CircuitEdge, CircuitGraph, CircuitNode, EdgeKind, Facets, FeatureGraphView, Figure, HeatMap,
    Histogram, HoverMode, Html, LensColor, Line, Numbers, Page, Rendered, Scatter, Table, Widget,
};

/// One of the kinds of stack; the others are shown by the same code.
type Stack = candle_lens::cache::Stack<Heads>;

/// The names of types with their own `evcxr_display`, and a text form for `println!("{result}")`: the trait `Show` is not
/// in scope here, so this does not compile for a type without either.
macro_rules! shown {
    ($($kind:ident),+ $(,)?) => {
        [$({
            let _: fn(&$kind) = $kind::evcxr_display;
            let _: fn(&$kind) -> String = printed;
            stringify!($kind)
        }),+]
    };
}

fn printed(value: &impl std::fmt::Display) -> String {
    value.to_string()
}

fn types_that_show_themselves() -> BTreeSet<String> {
    let shown = shown! {
        Activation, Architecture, AtBos, Card, Dictionaries, Dictionary, DictionaryFormat, DictionaryOptions, DictionaryParts, DictionarySet, DictionaryTrainer, ErrorTerm, Expects,
        FeatureAct, FeatureActs, InputNorm, Recipe, Sparsity, SpliceOptions, StepReport, TextPart,
        ActivationBatch, ActivationStore, AdamW, AdamWOptions, Checkpoint, CrossLayerTrainer, Decay, Schedule, SkipTokens, StoreOptions, Texts, TrainingLog,
        AlignBy, DasOptions, FittedAndHeldOut, Interchange, InterchangeOptions, InterchangeScore, InterchangeStudy, InterchangeSweep, Subspace,
        Probe, ProbeMethod, ProbeOptions, ProbeScore, ProbeSplit, ProbeStudy, ProbeSweep, ProbeTarget,
        ChainedTest, EditMode, FeatureEditOptions, FeatureEditRun, FeatureEdits, GraphChange,
        ChainOptions, ChainedEdge, ChainedGraph, ChainedNode, EdgeCounts, EdgeVia, EdgesLeftOut, ErrorNodes,
        AttributionGraph, BiasOf, GraphEdge, GraphNode, GraphOptions, GraphTargets, Influence, ScoreAttribution,
        GroupEdge, GroupGraph, GroupNode, Supernode, Supernodes,
        CardCheck, DictionaryScore, DictionaryScores, ScoreOptions, SplicedScore,
        ExampleOptions, FeatureAttribution, FeatureDirections, SharedFeature, SharedFeatures,
        ActiveFeature, ActiveFeatures, FeatureDashboard, FeatureExample, FeatureExamples, FeatureHistogram, FeatureLogits, FeatureReads, FeatureTexts, Neighbour, Neighbours, FeatureRanking,
        TokenValue,
        Aggregation, Circuit, CircuitScore, CircuitUnit, Edge, EdgeMethod, Edges, FaithfulnessCurve, FaithfulnessCurves, Node, NodeScores, Qkv, RankBy,
        PositionScore, PositionScores, RandomCurves, Spans, Stability,
        ErrorsOutside, FeatureCircuit, FeatureCircuits, NodeRanking,
        AttentionAttribution, Attribution, AttributionOptions, Comparison, Effect, Scale, IgOptions, Quadrature, IntegratedGradients, Miss, Gradients, Taps, Task, TaskBatch, TaskDataset, TaskPrompt, Frozen, LeftOut, VerbList,
        DatasetShard, Shard, ShardResult, TextShard,
        About, AttnWeights, BlockWeights, For, Help, MlpWeights, Outcome, Part, Section, Standing, UnembedWeights, Verdict,
        Contrast, IndirectEffects, SteeredText, Steering, SteeringVector, Transplant,
        Accumulated, Biases, Everything, Heads, LnScale, Neurons, Point, ReadBy, RepeatOptions, RunOrInput, Stack, Target,
        DetectOptions, DetectionPattern, Direction, ErrorMeasure, Baseline, Metric, Mlps, PatchResult, PatchSite, Experiment, Receiver, Sender, Untouched,
        GenerateOptions, GenerateStream, Generated, KvCache, Sampling, Step, Composition, Eigenvalues, FactoredMatrix, SingularOf, Svd, Unit,
        JacobianLens, JacobianOptions, LensDecomposition,
        LensColor, LensOptions, LensReading, LensTarget, LogitLens, TokenReading, TunedFit, TunedLens, TunedTraining,
        Alternative, Center, Metrics, Sink, Statistics, StatisticsOptions,
        ActFn, ActivationCache, Answers, AttentionDir, AttentionType, Axis, AxisName, Bos,
        Category, Cell, CheckpointOptions, Components, Dims, Edit, Entry,
        Error,
        Animation, Bar, Facets, Figure, HeatMap, Histogram, HoverMode, Line, Scatter,
        CircuitEdge, CircuitGraph, CircuitNode, EdgeKind, Event, FeatureGraphView, Head, HookPlan, HookPoint, HookQueries, HookQuery,
        HookedTransformer, HookedTransformerConfig, Html, Hub, Tensors, Input, Labelled,
        Held, Variable, Variables,
        LoadOptions, LongRope, Loss, MeanOver, MemoryPlan, ModelProvenance, Moment, NormalizationType, Numbers, Occurrence, PaddingSide, Page,
        PointBytes, PositionalEmbeddingType, Positions, Processing, Profession, Progress, Provenance, QkNormType, Question,
        Random, Rendered, RepeatedTokens, ResidualStack, RotaryScaling, Run, RunOptions, Score, Site,
        SiteRow, InnerPoint, InnerSite, Kind, Needs, Selection, Stage, Slice, Split, Table, TokenRef, TokenizeOptions, Tokenizer, Tokens, Verb, Widget,
    };
    shown.into_iter().map(String::from).collect()
}

/// The names of the public types in the sources below a folder.
fn public_types(folder: &Path) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            names.extend(public_types(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is UTF-8");
            let declared = text
                .lines()
                .filter_map(|line| line.strip_prefix("pub struct ").or_else(|| line.strip_prefix("pub enum ")))
                // What borrows cannot be bound by a cell, so no cell shows it.
                .filter(|rest| !rest.contains("<'"));
            names.extend(
                declared.map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()),
            );
        }
    }
    names
}

#[test]
fn every_public_type_shows_itself() {
    let public = public_types(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(public.len() > 50, "the search finds hardly any types: {public:?}");
    let missing: Vec<_> = public.difference(&types_that_show_themselves()).cloned().collect();
    assert!(missing.is_empty(), "give these a `View` and `shown!` in src/views, and a place in this list: {missing:?}");
    let gone: Vec<_> = types_that_show_themselves().difference(&public).cloned().collect();
    assert!(gone.is_empty(), "no longer there: {gone:?}");
}

/// What `{}` prints is what a terminal shows.
#[test]
fn results_print_as_they_are_shown() -> candle_lens::Result<()> {
    use candle_lens::views::View;
    let axes = || vec![Axis::new("component", ["L0H0", "L0H1"]), Axis::numbered("prompt", 1)];
    let scores = Labelled::new("shares", axes(), vec![0.25, -1.5])?;
    assert_eq!(printed(&scores), scores.render()?.text());
    assert!(printed(&scores).contains("shares") && printed(&scores).contains("L0H1"), "{scores}");
    let table = Table::new(["a"]).row((0.5,));
    assert_eq!(printed(&table), table.render()?.text());
    // A view that cannot be drawn says why; an error of `fmt` would be a panic.
    let wrong = candle_lens::views::line([1.0, 2.0]).names(["one", "two", "three"]);
    let error = wrong.render().expect_err("more names than lines").to_string();
    assert_eq!(printed(&wrong), error);
    Ok(())
}
