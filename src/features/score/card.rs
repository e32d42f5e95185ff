//! Whether the figures of a dictionary on real activations are those of its card.

use std::fmt;

use crate::dictionaries::Expects;

/// How far the number of active features may be from the card's, as a factor.
const FACTOR: f64 = 3.;

/// Of the variance that its card says it explains, how much it must explain.
const SHARE: f64 = 0.5;

/// Whether a dictionary fits the model and the point it was put at, by what it does there.
///
/// It does not where it explains less than nothing (an unexplained variance above 1) or less than half of what its card says, or
/// has three times as many features active as its card says, or a third of them. Then the model, the layer, the point or the
/// processing is not that of its training, or the texts are of another kind. Whether texts begin with a BOS as those of its training did
/// is said, and decides nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct CardCheck {
    /// Whether it fits.
    pub fits: bool,
    /// What the card says and what was measured, in words.
    pub why: String,
}

/// How many texts there are, and how many of them begin with a BOS.
#[derive(Clone, Copy)]
pub(super) struct Begun {
    pub texts: usize,
    pub with_bos: usize,
}

impl Begun {
    /// What is to be said where the texts of the training began otherwise.
    fn otherwise(self, prepend_bos: Option<bool>) -> Option<String> {
        let Self { texts, with_bos } = self;
        match prepend_bos? {
            true if with_bos < texts => Some(format!(
                "the texts of its training began with a BOS, and {} of these {texts} do not",
                texts - with_bos
            )),
            false if with_bos > 0 => {
                Some(format!("the texts of its training had no BOS, and {with_bos} of these {texts} begin with one"))
            }
            _ => None,
        }
    }
}

impl CardCheck {
    pub(super) fn new(unexplained: f64, l0: f64, expects: &Expects, begun: Option<Begun>) -> Self {
        let card = &expects.card;
        let begun = begun.and_then(|begun| begun.otherwise(expects.prepend_bos));
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
            faults.extend(begun);
            return Self {
                fits: false,
                why: format!("{}: is it the right model, point and processing?", faults.join("; ")),
            };
        }
        let said = [
            card.l0.map(|said| format!("L0 {l0:.1}, {said:.1} on its card")),
            card.explained_variance.map(|said| format!("explained variance {explained:.3}, {said:.3} on its card")),
        ];
        let mut said: Vec<String> = said.into_iter().flatten().collect();
        if said.is_empty() {
            said.push("its card has no figures to compare with".into());
        }
        said.extend(begun);
        let why = said.join("; ");
        Self { fits: true, why }
    }
}

impl fmt::Display for CardCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", if self.fits { "fits" } else { "does not fit" }, self.why)
    }
}
