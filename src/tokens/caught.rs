//! The `tokenizers` crate panics on some damaged files, sometimes only when a text is encoded or decoded.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// The result of `work`, or an error if the `tokenizers` crate panics. A tokenizer's only state is caches of what it has computed, so
/// it can be used again afterwards.
pub(super) fn caught<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err("the tokenizers crate fails on it: a part of tokenizer.json is damaged".into()))
}
