//! Sparse dictionaries.

mod acts;
mod fit;
mod formats;
mod formats_bad;
mod saelens;
mod sparse;
mod splice;
