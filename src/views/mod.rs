//! Tables, figures and widgets: what makes results visible in a notebook, offline, and without scripts as well.
//!
//! - [`line()`], [`imshow()`], [`bar()`], [`hist`], [`scatter()`] draw a result, a tensor, an array or a list. Each kind is
//!   a type with its own options ([`Line`], [`HeatMap`], [`Bar`], [`Histogram`], [`Scatter`], [`Animation`], [`Facets`]);
//!   a [`Figure`] is one of any kind.
//! - [`attention_heads`], [`attention_explorer`], [`colored_tokens`], [`token_log_probs`], [`circuit_graph`], [`lens_grid`] and others
//!   make a [`Widget`], [`feature_graph`] a [`FeatureGraphView`], that responds to mouse and keyboard.
//! - [`Table`] sets labels and numbers in columns; [`Html`] is markup of your own; [`Page`] is several views as one.
//! - Each has `show()`, and shows itself as the last expression of a cell; so does every value of this crate, and by
//!   the trait [`Show`] every tensor, array, number, text, list or tuple. `"text".show()?` puts words between figures;
//!   printed lines appear above everything that a cell shows.
//!
//! A view is always written twice, as HTML and as plain text; a terminal gets the text. No figure needs a network:
//! plotly.js is part of the library.

mod envelope;
mod figure;
mod html;
mod loader;
mod number;
mod of_attention_scores;
mod of_chained_graphs;
mod of_circuits;
mod of_config;
#[cfg(feature = "course")]
mod of_course;
mod of_dictionaries;
mod of_faithfulness;
mod of_feature_circuits;
mod of_feature_edits;
mod of_feature_graphs;
mod of_features;
mod of_gradients;
mod of_interchange;
mod of_jacobian;
mod of_lenses;
mod of_lists;
mod of_matrices;
mod of_numbers;
mod of_plotly;
mod of_positions;
mod of_probes;
mod of_results;
mod of_scores;
mod of_shards;
mod of_statistics;
mod of_steering;
mod of_supernodes;
mod of_tasks;
mod of_training;
mod of_values;
mod of_variables;
mod page;
mod picture;
mod show;
mod source;
mod table;
mod terminal;
mod widget;

pub use figure::{
    Animation, Bar, Facets, Figure, HeatMap, Histogram, HoverMode, Line, Scatter, bar, hist, imshow, imshow_animation,
    imshow_facets, imshow_patching_result, imshow_patching_results, line, plot_comp_scores, plot_logit_attribution,
    plot_loss_difference, scatter,
};
pub use html::{Html, escape, json_in_script, visible};
pub use page::{Page, Rendered, View};
pub use show::Show;
pub use source::{Number, Numbers, Source};
pub use table::{Cell, Row, Table};
pub use widget::{
    CircuitEdge, CircuitGraph, CircuitNode, EdgeKind, FeatureGraphView, LensColor, Patterns, Widget, Words,
    attention_comparison, attention_explorer, attention_heads, attention_pattern, attention_patterns, circuit_graph,
    colored_tokens, colored_tokens_multi, feature_graph, lens_grid, test_prompt, text_neuron_activations,
    token_log_probs, topk_samples, topk_tokens, visualize_model_performance,
};
