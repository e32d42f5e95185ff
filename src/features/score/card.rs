//! Whether the figures of a dictionary on real activations are those of its card.

use std::fmt;

use crate::dictionaries::Card;

/// How far the number of active features may be from the card's, as a factor.
const FACTOR: f64 = 3.;

/// Of the variance that its card says it explains, how much it must explain.
const SHARE: f64 = 0.5;

/// Whether a dictionary fits the model and the point it was put at, by what it does there.
///
/// It does not where it explains less than nothing (an unexplained variance above 1) or less than half of what its card says, or
/// has three times as many features active as its card says, or a third of them. Then the model, the layer, the point or the
/// processing is not that of its training, or the texts are of another kind.
#[derive(Clone, Debug, PartialEq)]
pub struct CardCheck {
    /// Whether it fits.
    pub fits: bool,
    /// What the card says and what was measured, in words.
    pub why: String,
}

impl CardCheck {
    pub(super) fn new(unexplained: f64, l0: f64, card: &Card) -> Self {
        let mut faults = Vec::new();
        if unexplained.is_nan() || unexplained > 1. {
            faults.push(format!("it leaves {unexplained:.2} of the variance unexplained, more than a constant would"));
        }
        if let Some(said) = card.l0.filter(|said| *said > 0. && (l0 > FACTOR * said || l0 < said / FACTOR)) {
            faults.push(format!("{l0:.1} features are active at a position, and its card says {said:.1}"));
        }
        let explained = 1. - unexplained;
        if let Some(said) = card.explained_variance.filter(|said| explained < SHARE * said) {
            faults.push(format!("it explains {explained:.3} of the variance, and its card says {said:.3}"));
        }
        if !faults.is_empty() {
            return Self {
                fits: false,
                why: format!("{}: is it the right model, point and processing?", faults.join("; ")),
            };
        }
        let said = [
            card.l0.map(|said| format!("L0 {l0:.1}, {said:.1} on its card")),
            card.explained_variance.map(|said| format!("explained variance {explained:.3}, {said:.3} on its card")),
        ];
        let said: Vec<String> = said.into_iter().flatten().collect();
        let why = if said.is_empty() { "its card has no figures to compare with".into() } else { said.join("; ") };
        Self { fits: true, why }
    }
}

impl fmt::Display for CardCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.fits { "fits" } else { "does not fit" }, self.why)
    }
}
