//! Sparse dictionaries.

mod fit;
mod gemma_scope;
mod hub;
mod saelens;
mod splice;
