//! Gradients of a metric along activations, and the attributions made of them.
//!
//! One forward and one backward pass give `d metric / d activation` at every watched point at once; no gradients of
//! weights are computed.

mod run;
