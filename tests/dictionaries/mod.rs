//! Sparse dictionaries.

mod fit;
mod formats;
mod formats_bad;
||||||| merged common ancestors
mod saelens;
mod splice;
