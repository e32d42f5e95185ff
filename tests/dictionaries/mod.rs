//! Sparse dictionaries.

mod acts;
mod fit;
mod sparse;
mod splice;
