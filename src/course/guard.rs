//! A student's function, run so that whatever happens in it becomes a value.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use super::answer::Answer;

/// What a function did.
pub(super) enum Run {
    Returned(Answer),
    /// It returned an error, by its first line.
    Failed(String),
    /// It panicked.
    Panicked(String),
    /// It is still `todo!()`.
    NotWritten,
}

/// How the standard library's `todo!()` begins.
const TODO: &str = "not yet implemented";

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a function; a panic in it prints nothing.
pub(super) fn run(function: impl FnOnce() -> Result<Answer, String>) -> Run {
    silence_panics();
    SILENT.set(true);
    let result = catch_unwind(AssertUnwindSafe(function));
    SILENT.set(false);
    match result {
        Ok(Ok(answer)) => Run::Returned(answer),
        Ok(Err(error)) => Run::Failed(error.lines().next().unwrap_or_default().to_string()),
        Err(panic) => match message(panic.as_ref()) {
            message if message.starts_with(TODO) => Run::NotWritten,
            message => Run::Panicked(message),
        },
    }
}

/// Puts a hook in place, once, that says nothing of panics in functions that are being checked.
fn silence_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |info| {
            if !SILENT.get() {
                before(info);
            }
        }));
    });
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_string()
}
