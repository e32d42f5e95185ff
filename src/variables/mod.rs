//! What the variables of a notebook hold: each with its type, shape and bytes, and what several share.
//!
//! A function cannot see the variables of the cell that calls it, and evcxr's own `:vars` knows names and types only. So our
//! kernel's launcher, which sees the source of each cell, adds a line of [`note_variable!`](crate::note_variable) behind
//! each variable that evcxr hands to a cell that calls [`variables`] (lab/src/stand_ins/variables.rs); on any other kernel the table says
//! that it knows nothing.
//!
//! Counted are the bytes of the value and all that it owns. Tensors that are clones or views of one another share their numbers,
//! and so do clones of models, dictionaries and results; each piece of memory is counted once per variable and once in the
//! total. Not counted: what candle notes of each tensor (about 300 bytes), the tables of tokenizers, functions, and what a type that is not known here owns (the row then says "at least").

mod held;
mod holds;
mod note;
mod table;

pub use held::Held;
pub use holds::Holds;
pub(crate) use holds::{flat, holds};
#[doc(hidden)]
pub use note::{Listed, Measure, Measured, Noted, Unmeasured, begin, note};
pub use table::{Variable, Variables, variables};
