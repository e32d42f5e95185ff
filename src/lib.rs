//! candle-lens: mechanistic interpretability of transformers in Rust notebooks.
#![warn(missing_docs)]

pub mod analysis;
pub mod cache;
pub mod dims;
pub mod error;
pub mod hooks;
pub mod labelled;
pub mod model;
pub mod prelude;
pub mod slice;
pub mod tasks;
pub mod tokens;
pub mod views;

pub use candle_core as candle;
pub use candle_nn;
#[cfg(feature = "candle-transformers")]
pub use candle_transformers;
pub use error::{Error, Result};
