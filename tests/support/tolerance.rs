//! How near numbers must be, by the reason for which they may differ. A tolerance of one file alone stands in that file.

/// The same few operations of f32 on the same numbers: only the last digits differ.
pub const LAST_DIGITS: f32 = 1e-6;

/// The same f32 numbers, added up in another order.
pub const REORDERED: f32 = 1e-5;

/// A metric that a model computes in two ways, each of which rounds in every block.
pub const TWO_WAYS: f32 = 1e-4;

/// The same formula in f64 on both sides.
pub const IN_F64: f64 = 1e-9;

/// Effects are visible from here on, ten times [`REORDERED`]: with smaller ones a test would compare rounding with rounding.
pub const VISIBLE: f32 = 1e-4;

/// The same where effects are compared within [`TWO_WAYS`].
pub const CLEAR: f32 = 1e-3;
