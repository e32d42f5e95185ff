//! What dictionaries are worth, and what their features mean.

mod score;
