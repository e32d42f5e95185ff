//! Sparse dictionaries.

mod fit;
mod saelens;
mod splice;
