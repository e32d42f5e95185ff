//! A student's function, run so that whatever happens in it becomes a value.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, PoisonError, RwLock};

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

/// What candle's own say: there are operations that it has not written for some dtypes.
const OF_CANDLE: &str = "nary function for ";

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// How many functions are being checked.
static RUNNING: Mutex<usize> = Mutex::new(0);

/// The hook that was there before the first of them.
static BEFORE: RwLock<Option<Hook>> = RwLock::new(None);

thread_local! {
    static SILENT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a function; a panic in it prints nothing.
pub(super) fn run(function: &dyn Fn() -> Result<Answer, String>) -> Run {
    let silence = Silence::begin();
    let result = catch_unwind(AssertUnwindSafe(function));
    drop(silence);
    match result {
        Ok(Ok(answer)) => Run::Returned(answer),
        Ok(Err(error)) => Run::Failed(error.lines().next().unwrap_or_default().to_string()),
        Err(panic) => match message(panic.as_ref()) {
            message if message.starts_with(TODO) && !message.contains(OF_CANDLE) => Run::NotWritten,
            message => Run::Panicked(message),
        },
    }
}

/// While it lives, panics of functions that are being checked say nothing. The hook is put in place anew for each check, because a
/// notebook's cells may set their own, and is given back after it.
struct Silence {
    /// Whether this thread was silent before: a checked function may check another.
    was_silent: bool,
}

impl Silence {
    fn begin() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if *running == 0 {
            let before = take_hook();
            *BEFORE.write().unwrap_or_else(PoisonError::into_inner) = Some(before);
            set_hook(Box::new(say_nothing));
        }
        *running += 1;
        Self { was_silent: SILENT.replace(true) }
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        SILENT.set(self.was_silent);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        *running -= 1;
        if *running == 0 {
            // Waits for panics that are being told, so that nobody reads what is taken next.
            drop(take_hook());
            let before = BEFORE.write().unwrap_or_else(PoisonError::into_inner).take();
            before.into_iter().for_each(set_hook);
        }
    }
}

/// A thread without a name is one that a checked function started, as those of rayon are; others are not its own.
fn say_nothing(info: &PanicHookInfo<'_>) {
    if SILENT.get() || std::thread::current().name().is_none() {
        return;
    }
    if let Some(before) = &*BEFORE.read().unwrap_or_else(PoisonError::into_inner) {
        before(info);
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_string()
}
