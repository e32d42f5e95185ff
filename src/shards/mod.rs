//! Work that outgrows one machine: each process computes the prompts of one [`Shard`] and saves what it found of each of them, and
//! [`gather`] joins the parts into the result of all.
//!
//! ```
//! use candle_lens::prelude::*;
//! let model = HookedTransformer::from_pretrained("tiny")?;
//! let prompts = Task::Ioi.prompts(tasks::Split::Templates, 12, 0)?.aligned(&model)?;
//! # let folder = std::env::temp_dir().join(format!("candle-lens-shards-{}", std::process::id()));
//! // This would be four processes, each with its own CANDLE_LENS_SHARD.
//! for number in 1..=4 {
//!     let part = prompts.shard(Shard::new(number, 4)?);
//!     part.save_to(&folder).each_prompt(&model, |batch| batch.experiment(&model)?.get_act_patch_attn_head_out_all_pos())?;
//! }
//! let heads = gather(&folder)?.sweep()?;
//! assert_eq!(heads.per_prompt.shape(), [4, 8, prompts.len()]);
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), candle_lens::Error>(())
//! ```
//!
//! # To the last bit
//! A joined result has the same numbers as a run of the whole ([`Shard::whole`]) by the same program, to the last bit, because
//! - prompts run one by one: a matrix product may add its terms up in another order where it has more rows, so the last bits of a
//!   prompt's numbers depend on what it runs with, and what counts as unchanged does too;
//! - the numbers of each prompt are kept, and means are taken over them in the order of the whole data set.
//!
//! # Limits
//! This holds for processors with the same vector instructions; parts say which they were made with, and [`gather`] notes where they
//! differ. Whatever depends on the other prompts (a mean over the batch as baseline, statistics of several prompts) cannot be computed
//! prompt by prompt, and an experiment of one prompt says so; means over prompts that are given do not depend on the shard. Scores of
//! edges are those of each prompt, averaged, as [`Edges::attribute_each`] has them: [`Edges::attribute`] of a batch adds up in another
//! order.
//!
//! [`Shard`]: crate::shard::Shard
//! [`Shard::whole`]: crate::shard::Shard::whole
//! [`Edges::attribute`]: crate::circuits::Edges::attribute
//! [`Edges::attribute_each`]: crate::circuits::Edges::attribute_each

mod about;
mod by_prompt;
mod file;
mod gather;
mod made;
mod numbers;
mod result;
mod run;

pub use by_prompt::ByPrompt;
pub use gather::gather;
pub use result::ShardResult;
