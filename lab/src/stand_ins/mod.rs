//! The stand-ins: where the kernel puts itself between evcxr and the tools that evcxr calls, because what evcxr does by itself is too
//! slow for a notebook or too hard to read.
//!
//! | file | stands in for | because |
//! |---|---|---|
//! | [`tools`] | the `cargo`, `rustup` and compiler that evcxr calls | the others need a place from which they see these calls |
//! | [`cells`] | `cargo build` and `cargo check` of a cell | cargo looks at 300 crates, 0.3 s, before it calls the compiler |
//! | [`level`] | the optimisation level of a cell | level 3 takes four times as long to compile, and only nested loops gain by it |
//! | [`metadata`] | `cargo metadata` as rust-analyzer reads it | all 300 crates take it 20 s and 2 GB before the first variable |
//! | [`standard`] | the standard library's sources as rust-analyzer reads them | two thirds of them are vector instructions: 2 s |
//! | [`explain`] | the compiler's messages | "cannot find value" has four causes in a notebook |
//! | [`variables`] | the first lines of a cell that calls `variables()` | a function does not see its caller's variables |
//!
//! Beside them, [`interrupted`] makes an interrupt end the compiler of a cell, and a library whose sources have changed is compiled on the
//! workbench of all clones (`template/workbench.rs`), which the template is too.
//!
//! None is needed: each call that a stand-in does not know goes to the real tool. With [`PLAIN`] set in the kernel's
//! environment, which `cargo lab --plain` does, all are off, and a kernel is evcxr's own with the library loaded: to find out whether
//! something that is wrong is wrong with evcxr too. `cargo lab doctor` tries each in a real kernel ([`trial`]).

pub mod cells;
pub mod explain;
mod interrupted;
pub mod level;
pub mod metadata;
pub mod standard;
pub mod tools;
pub mod trial;
mod variables;

/// The environment variable that turns all stand-ins off, unless it is empty.
pub const PLAIN: &str = "CANDLE_LENS_PLAIN";

/// Whether a kernel that starts now is to be evcxr's own.
pub fn are_off() -> bool {
    std::env::var_os(PLAIN).is_some_and(|value| !value.is_empty())
}
