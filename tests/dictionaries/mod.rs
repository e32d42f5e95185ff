//! Sparse dictionaries.

mod acts;
mod embedded;
mod fit;
mod formats;
mod formats_bad;
mod gemma_scope;
mod hub;
mod saelens;
mod sparse;
mod splice;
