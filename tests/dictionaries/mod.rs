//! Sparse dictionaries.

mod fit;
mod formats;
mod formats_bad;
mod saelens;
mod splice;
