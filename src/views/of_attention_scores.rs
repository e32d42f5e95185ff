//! How the parts of an attention score are shown: a heat map of the largest.

use crate::error::Result;
use crate::feature_graphs::ScoreAttribution;
use crate::views::figure::imshow;
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;

/// How many sources of each side are drawn by themselves.
const SOURCES: usize = 12;

impl View for ScoreAttribution {
    /// The twelve largest sources of each side, and all others as one: it sums to the score.
    fn render(&self) -> Result<Rendered> {
        imshow(&self.top(SOURCES)?).render()
    }
}

shown_with_own_display!(ScoreAttribution);
