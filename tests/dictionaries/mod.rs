//! Sparse dictionaries.

mod embedded;
mod fit;
mod saelens;
mod splice;
