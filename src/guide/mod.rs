//! Pages to read rather than call: for users of TransformerLens and of tools for feature circuits, the axes of every shape, the
//! errors, and the Rust that the course needs.
//!
//! Each page is Rust documentation, so its examples are compiled and run with the tests.

#[doc = include_str!("for_transformer_lens_users.md")]
pub mod for_transformer_lens_users {}

#[doc = include_str!("feature_circuits.md")]
pub mod feature_circuits {}

#[doc = include_str!("axes.md")]
pub mod axes {}

#[doc = include_str!("errors.md")]
pub mod errors {}

#[doc = include_str!("rust_for_the_course.md")]
pub mod rust_for_the_course {}
