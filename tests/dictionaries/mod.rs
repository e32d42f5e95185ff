//! Sparse dictionaries.

mod fit;
mod splice;
