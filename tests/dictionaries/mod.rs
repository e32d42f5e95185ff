//! Sparse dictionaries.

mod acts;
mod fit;
mod saelens;
mod sparse;
mod splice;
