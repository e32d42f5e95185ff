//! Hook points, plans and edits.

mod edits;
mod names;
mod plans;
mod splices;
mod unembed;
