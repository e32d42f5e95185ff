//! Answers of this section that are wrong.

pub(super) mod blocks;
pub(super) mod parts;
