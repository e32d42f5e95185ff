//! Sparse dictionaries.

mod fit;
