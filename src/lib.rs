//! Mechanistic interpretability of transformers in Rust notebooks: load a model, look at every activation, intervene on it,
//! attribute logits to it, plot it.
//!
//! Names, axes and shorthands are TransformerLens'. Tensors are those of [candle](https://github.com/huggingface/candle), which is
//! re-exported as [`candle`], so that a notebook needs no other dependency.
//!
//! ```
//! use candle_lens::prelude::*;
//!
//! let model = HookedTransformer::from_pretrained("tiny")?;
//! let prompt = "When John and Mary went to the shops, John gave the bag to";
//! let answers = model.answers([(" Mary", " John")])?;
//!
//! // Every activation of one run, and what each head adds to the logit difference.
//! let (logits, cache) = model.run_with_cache(prompt)?;
//! let heads = cache.stack(&model, Stack::heads().pos(-1))?;
//! let shares = residual_stack_to_logit_diff(&model, &cache, &heads, &answers)?;
//! let (head, share) = shares.top_heads(1)?[0];
//! println!("{head} adds {share:.2} of {:.2}", answers.logit_diff(&logits, cache.tokens())?.scalar()?);
//!
//! // The same run without that head.
//! let plan = HookPlan::new().edit(("z", head.layer), Edit::zero().head(head.head));
//! let (without, cache) = model.run_with_hooks(prompt, &plan)?;
//! println!("without it: {:.2}", answers.logit_diff(&without, cache.tokens())?.scalar()?);
//! assert!(answers.logit_diff(&without, cache.tokens())?.scalar()? < answers.logit_diff(&logits, cache.tokens())?.scalar()?);
//! # Ok::<(), candle_lens::Error>(())
//! ```
//!
//! # The house
//!
//! Each room knows only those before it.
//!
//! | room | what is in it |
//! |---|---|
//! | [`error`], [`interrupt`], [`progress`], [`slice`](mod@slice), [`dims`], [`mod@head`], [`labelled`], [`random`], [`statistics`] | the error, the stop button of a notebook, what long work says, parts of an axis, sizes, heads, results with named axes, random choices, how sure a mean over prompts is |
//! | [`variables`] | what the variables of a notebook hold |
//! | [`shard`](mod@shard) | which part of many prompts a process computes |
//! | [`storage`] | files of tensors and where they come from, the Hugging Face hub among them |
//! | [`tensors`] | small words for tensors: products by the names of axes, masks, diagonals, a comparison that says what differs |
//! | [`factored_matrix`] | matrices of low rank, their singular values and compositions |
//! | [`tokens`] | text to ids and back |
//! | [`tasks`] | prompts with known answers |
//! | [`hooks`] | points of a run that can be captured, edited, watched or spliced, and the plan of it |
//! | [`model`] | the hooked transformer |
//! | [`generate`] | text from the model, token by token |
//! | [`metrics`] | what a run is evaluated by: one number for each prompt, from its logits |
//! | [`cache`] | what a run left, and the residual stream taken apart |
//! | [`analysis`] | one method a file |
//! | [`experiment`] | what is compared, what takes an activation's place, and how effects are reported |
//! | [`patching`] | what happens when a run gets an activation of another run |
//! | [`gradients`] | gradients of a metric along activations, and attributions computed from them |
//! | [`circuits`] | edges between heads and MLPs: their scores, and what a circuit of them does alone |
//! | [`shards`] | prompts computed by several processes, and their results joined |
//! | [`probes`] | linear probes with their controls: what can be read off an activation, and along which direction |
//! | [`dictionaries`] | sparse autoencoders and transcoders: their formats, their features, and the model with them spliced in |
//! | [`steering`] | directions, where they come from, and what the model does under them |
//! | [`features`] | what a dictionary is worth, and what its features mean |
//! | [`feature_graphs`] | which features, errors and tokens a feature's activation or a logit comes from |
//! | [`train`] | training of dictionaries |
//! | [`lenses`] | what the model would predict if it stopped at a layer |
//! | [`interchange`] | subspaces of an activation, exchanged between runs: which variable they carry, beside controls |
#![cfg_attr(feature = "course", doc = " | [`course`] | exercises in cells, and the check of what was written |")]
//! | [`views`] | tables, figures, pages |
//! | [`prelude`] | the one `use` of a notebook |
//! | [`guide`] | pages to read: for users of TransformerLens, axes and shapes, errors |
#![warn(missing_docs)]

pub mod analysis;
pub mod cache;
pub mod circuits;
#[cfg(feature = "course")]
pub mod course;
pub mod dictionaries;
pub mod dims;
pub mod error;
pub mod experiment;
pub mod factored_matrix;
pub mod feature_graphs;
pub mod features;
mod files;
pub mod generate;
pub mod gradients;
pub mod guide;
pub mod head;
pub mod hooks;
#[doc(hidden)]
pub mod host;
pub mod interchange;
pub mod interrupt;
pub mod labelled;
pub mod lenses;
pub mod metrics;
pub mod model;
pub mod patching;
pub mod prelude;
pub mod probes;
pub mod progress;
pub mod random;
pub mod shard;
pub mod shards;
pub mod slice;
pub mod statistics;
pub mod steering;
pub mod storage;
pub mod tasks;
pub mod tensors;
pub mod tokens;
pub mod train;
pub mod variables;
pub mod views;
mod visible;
mod wide;

pub use candle_core as candle;
pub use candle_nn;
#[cfg(feature = "candle-transformers")]
pub use candle_transformers;
pub use error::{Error, Result};
pub use ndarray;
pub use plotly;
