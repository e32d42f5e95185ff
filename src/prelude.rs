//! The one `use` of a notebook: `use candle_lens::prelude::*;`.
//!
//! It must not export a name that evcxr's generated code uses (`Option`, `Ok`, `Box`, `String`, ..): a glob import would shadow it
//! and break later cells. `tests/prelude.rs` checks that. [`Result`] is the exception: with its second parameter it is the standard
//! library's, so `Result<Tensor>` and `Result<i32, String>` both compile.

pub use crate::analysis::{
    DetectOptions, DetectionPattern, ErrorMeasure, RepeatOptions, SingularOf, Unit, copying_scores, detect_head,
    direct_logit_attribution, eigenvalue_copying_scores, induction_scores, repeated_tokens,
    residual_stack_to_logit_diff, singular_vectors, sink_mass,
};
pub use crate::cache::{ActivationCache, LnScale, Provenance, ResidualStack, Sink, Stack, Target};
pub use crate::candle::{D, DType, Device, IndexOp, Tensor, Var};
pub use crate::candle_nn;
pub use crate::circuits::{
    Aggregation, Circuit, CircuitScore, CircuitUnit, Edge, EdgeMethod, Edges, FaithfulnessCurve, FaithfulnessCurves,
    Node, NodeScores, PositionScore, PositionScores, Qkv, RandomCurves, RankBy, Spans, Stability,
};
pub use crate::dictionaries::{
    Activation, Architecture, AtBos, Card, Dictionaries, Dictionary, DictionaryFormat, DictionaryOptions,
    DictionaryParts, DictionarySet, ErrorTerm, Expects, FeatureAct, FeatureActs, InputNorm, SpliceOptions,
};
pub use crate::dims::ReadBy;
pub use crate::error::Result;
pub use crate::experiment::{Baseline, Compare, Comparison, Effect, Experiment, Quadrature, Scale};
pub use crate::factored_matrix::{Eigenvalues, FactoredMatrix, Svd, composition_scores};
pub use crate::feature_graphs::{
    AttributionGraph, BiasOf, ChainedTest, EditMode, ErrorsOutside, FeatureCircuit, FeatureCircuits,
    FeatureEditOptions, FeatureEditRun, FeatureEdits, GraphChange, GraphEdge, GraphNode, GraphOptions, GraphTargets,
    GroupEdge, GroupGraph, GroupNode, Influence, NodeRanking, ScoreAttribution, Supernode, Supernodes,
};
pub use crate::feature_graphs::{
    ChainOptions, ChainedEdge, ChainedGraph, ChainedNode, EdgeCounts, EdgeVia, EdgesLeftOut, ErrorNodes,
};
pub use crate::features::{
    ActiveFeature, ActiveFeatures, ExampleOptions, FeatureAttribution, FeatureDashboard, FeatureDirections,
    FeatureExample, FeatureExamples, FeatureHistogram, FeatureLogits, FeatureRanking, FeatureReads, FeatureTexts,
    Neighbour, Neighbours, SharedFeature, SharedFeatures, TokenValue,
};
pub use crate::features::{CardCheck, DictionaryScore, DictionaryScores, ScoreOptions, SplicedScore};
pub use crate::generate::{GenerateOptions, GenerateStream, Generated, Sampling};
pub use crate::gradients::{AttentionAttribution, Attribution, AttributionOptions, IgOptions, IntegratedGradients};
pub use crate::head::Head;
pub use crate::hooks::{
    AxisName, Edit, Gradients, HookPlan, HookPoint, HookQueries, InnerSite, MeanOver, MemoryPlan, Selection, Site,
    Splice, SpliceRun, Taps, TextPart,
};
pub use crate::interchange::{
    AlignBy, DasOptions, FittedAndHeldOut, Interchange, InterchangeOptions, InterchangeScore, InterchangeStudy,
    InterchangeSweep, Subspace,
};
pub use crate::interrupt::check_interrupt;
pub use crate::labelled::{Axis, Entry, Labelled};
pub use crate::lenses::{JacobianLens, JacobianOptions, LensDecomposition};
pub use crate::lenses::{
    Lens, LensOptions, LensReading, LensTarget, LogitLens, TokenReading, TunedFit, TunedLens, TunedTraining,
    logit_lens, logit_lens_to_logit_diff,
};
pub use crate::metrics::{Answers, Direction, Metric, Metrics, Positions, Score, TaskBatch, score_questions};
pub use crate::model::ops::{cross_entropy, softmax};
pub use crate::model::{
    ActFn, AttentionDir, Biases, CheckpointOptions, Composition, Frozen, HookedTransformer, HookedTransformerConfig,
    KvCache, LoadOptions, Loss, ModelProvenance, NormalizationType, PositionalEmbeddingType, Processing, RELP,
    RunOptions, best_device, log_probs_of,
};
pub use crate::patching::{Mlps, PatchResult, PatchSite, Receiver, Sender, Untouched};
pub use crate::probes::{
    Probe, ProbeMethod, ProbeOptions, ProbeScore, ProbeSplit, ProbeStudy, ProbeSweep, ProbeTarget,
};
pub use crate::progress::{Progress, set_progress};
pub use crate::random::Random;
pub use crate::shard::{Shard, TextShard, results_folder};
pub use crate::shards::{ByPrompt, ShardResult, gather};
pub use crate::slice::Slice;
pub use crate::statistics::{Alternative, Center, Statistics, StatisticsOptions};
pub use crate::steering::{Contrast, IndirectEffects, SteeredText, Steering, SteeringVector, Transplant};
pub use crate::storage::{Hub, Tensors};
pub use crate::tasks::{self, DatasetShard, LeftOut, Task, TaskDataset, TaskPrompt, VerbList};
pub use crate::tensors::{TensorWords, assert_close, einsum};
pub use crate::tokens::{Bos, PaddingSide, Tokenizer, Tokens};
pub use crate::train::{
    ActivationBatch, ActivationStore, AdamW, AdamWOptions, Checkpoint, CrossLayerTrainer, Decay, DictionaryTrainer,
    Recipe, Schedule, SkipTokens, Sparsity, StepReport, StoreOptions, Texts, TrainingLog, clip_gradients,
};
pub use crate::variables::{Held, Holds, Variable, Variables, variables};
pub use crate::views::{
    Animation, Bar, CircuitEdge, CircuitGraph, CircuitNode, EdgeKind, Facets, FeatureGraphView, Figure, HeatMap,
    Histogram, HoverMode, Html, LensColor, Line, Page, Scatter, Show, Table, View, Widget, attention_comparison,
    attention_explorer, attention_heads, attention_pattern, attention_patterns, bar, circuit_graph, colored_tokens,
    colored_tokens_multi, feature_graph, hist, imshow, imshow_animation, imshow_facets, imshow_patching_result,
    imshow_patching_results, lens_grid, line, plot_comp_scores, plot_logit_attribution, plot_loss_difference, scatter,
    test_prompt, text_neuron_activations, token_log_probs, topk_samples, topk_tokens, visualize_model_performance,
};
