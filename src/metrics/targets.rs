//! The token with which each row is compared.

use super::positions::{Positions, Rows};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::TokenRef;

/// One token for each row.
#[derive(Clone)]
pub(super) enum Targets {
    /// One for each prompt, or for each row.
    Given(Vec<u32>),
    /// The next tokens of the prompts.
    Next,
}

impl Targets {
    pub fn given<T: Into<TokenRef>>(model: &HookedTransformer, tokens: impl IntoIterator<Item = T>) -> Result<Self> {
        Ok(Self::Given(model.token_ids(tokens)?))
    }

    pub fn are_next(&self) -> bool {
        matches!(self, Self::Next)
    }

    /// The positions at which they are read by default.
    pub fn positions(&self) -> Positions {
        if self.are_next() { Positions::All } else { Positions::Last }
    }

    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Given(tokens) => Some(tokens.len()),
            Self::Next => None,
        }
    }

    pub fn largest(&self) -> Option<u32> {
        match self {
            Self::Given(tokens) => tokens.iter().max().copied(),
            Self::Next => None,
        }
    }

    pub fn tokens(&self) -> &[u32] {
        match self {
            Self::Given(tokens) => tokens,
            Self::Next => &[],
        }
    }

    /// The token of each row.
    pub fn of(&self, rows: &Rows) -> Vec<u32> {
        match self {
            Self::Given(tokens) => rows.spread(tokens).expect("answers were counted when the metric was bound"),
            Self::Next => rows.next().to_vec(),
        }
    }
}
