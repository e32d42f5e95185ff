//! What the cards of the course's models claim, measured: by the example that trains them, and again by the tests.

mod brackets;
mod icl;
mod induction;
mod modular;

use candle_lens::Result;
use candle_lens::model::HookedTransformer;

/// A row of a card's table: what is measured, and the number.
pub type Claim = (String, f64);

/// What measures a model.
pub type Measure = fn(&HookedTransformer) -> Result<Vec<Claim>>;

/// Each model with what measures it, as it is loaded without processing.
pub const CLAIMS: &[(&str, Measure)] = &[
    ("brackets", brackets::measure),
    ("icl", icl::measure),
    ("induction", induction::measure),
    ("modular", modular::measure),
];

/// The rows of the card's table.
pub fn table(claims: &[Claim]) -> String {
    claims.iter().map(|(what, value)| format!("| {what} | {value:.3} |\n")).collect()
}
