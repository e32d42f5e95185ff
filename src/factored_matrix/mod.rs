//! Low-rank matrices, kept as the product of two thin factors and never multiplied out.
//!
//! The circuits of a head, `QK = W_Q W_K^T` and `OV = W_V W_O` (Elhage et al. 2021, "A Mathematical Framework for
//! Transformer Circuits"), are `[d_model, d_model]` of rank `d_head`. [`FactoredMatrix`] keeps the factors `A [l, m]` and
//! `B [m, r]`, with any leading axes, and takes products, singular values, eigenvalues and norms of `A B` from them.
//!
//! Names and semantics are TransformerLens'. Decompositions are computed in f64 by nalgebra, matrix by matrix.
//! Limits: decompositions have no gradient; singular vectors are unique up to sign, and only where singular values differ.

mod composition;
mod decompose;
mod matrix;
mod product;

pub use composition::composition_scores;
pub use decompose::{Eigenvalues, Svd};
pub(crate) use decompose::{from_matrix, product_svd, to_matrix};
pub use matrix::FactoredMatrix;
