//! The `tokenizers` crate panics at some damaged files, some of them only when a text is encoded or decoded.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `work` of the `tokenizers` crate gives, or an error where it panics. A tokenizer keeps nothing but caches of what it has
/// computed, so it can be used again afterwards.
pub(super) fn caught<T>(work: impl FnOnce() -> tokenizers::Result<T>) -> tokenizers::Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err("the tokenizers crate fails at it: one of the parts of tokenizer.json is damaged".into())
    })
}
