//! Notes about the variables of a cell, which the launcher's lines in the cell take.
//!
//! The variables have any type. The macro calls a method of three traits whose receivers differ by their references, and the compiler
//! takes the first that fits: a type that can be counted, a list of anything, anything.

use std::sync::{Mutex, PoisonError};

use super::{Held, Holds};

/// What is noted of a variable.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub name: &'static str,
    pub measure: Measure,
}

/// The type as the compiler writes it, the shape in words, and what the value holds.
pub type Measure = (&'static str, Option<String>, Held);

/// What the running cell got from earlier ones; `None` where nobody notes it.
static NOTES: Mutex<Option<Vec<Note>>> = Mutex::new(None);

/// Begins the notes of a cell.
pub fn begin() {
    *NOTES.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
}

/// Adds a variable to the notes.
pub fn note(name: &'static str, measure: Measure) {
    if let Some(notes) = &mut *NOTES.lock().unwrap_or_else(PoisonError::into_inner) {
        notes.push(Note { name, measure });
    }
}

/// The notes of the last cell that took any.
pub(super) fn notes() -> Option<Vec<Note>> {
    NOTES.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// A variable, to be measured.
pub struct Noted<'a, T>(pub &'a T);

impl<T> Noted<'_, T> {
    fn count(&self, shape: Option<String>, inside: impl FnOnce(&mut Held)) -> Measure {
        let mut held = Held::default();
        held.add_bytes(size_of::<T>());
        inside(&mut held);
        (std::any::type_name::<T>(), shape, held)
    }
}

/// Types whose memory can be counted.
pub trait Measured {
    /// Its type, shape and bytes.
    fn measured(&self) -> Measure;
}

/// Lists of what cannot be counted.
pub trait Listed {
    /// Its type, shape and bytes.
    fn measured(&self) -> Measure;
}

/// Everything else.
pub trait Unmeasured {
    /// Its type, shape and bytes.
    fn measured(&self) -> Measure;
}

impl<T: Holds> Measured for &&Noted<'_, T> {
    fn measured(&self) -> Measure {
        self.count(self.0.shape(), |held| held.add(self.0))
    }
}

impl<T> Listed for &Noted<'_, Vec<T>> {
    fn measured(&self) -> Measure {
        self.count(Some(format!("[{}]", self.0.len())), |held| {
            held.add_bytes(self.0.capacity() * size_of::<T>());
            if std::mem::needs_drop::<T>() {
                held.at_least();
            }
        })
    }
}

impl<T> Unmeasured for Noted<'_, T> {
    fn measured(&self) -> Measure {
        self.count(None, |held| {
            if std::mem::needs_drop::<T>() {
                held.at_least();
            }
        })
    }
}

/// Notes a variable; the launcher writes it into cells.
#[doc(hidden)]
#[macro_export]
macro_rules! note_variable {
    ($name:ident) => {{
        #[allow(unused_imports)]
        use $crate::variables::{Listed as _, Measured as _, Unmeasured as _};
        $crate::variables::note(stringify!($name), (&&&$crate::variables::Noted(&$name)).measured());
    }};
}
