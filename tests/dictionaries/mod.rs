//! Sparse dictionaries.

mod embedded;
mod fit;
mod formats;
mod formats_bad;
mod saelens;
mod splice;
