//! What lasts from one year to another, and the centuries in which it does.

/// Nouns of the greater-than sentences that the embedded model is trained on.
#[rustfmt::skip]
pub const EVENTS: [&str; 32] = [
    "alliance", "campaign", "case", "colony", "conflict", "contract", "crisis", "debate", "drought", "dynasty",
    "effort", "empire", "famine", "feud", "journey", "marriage", "mission", "peace", "plague", "plan", "project",
    "regime", "reign", "revolt", "search", "siege", "strike", "struggle", "trade", "trial", "voyage", "war",
];

/// Nouns that no greater-than sentence of the training text contains.
pub const HELD_OUT_EVENTS: [&str; 8] =
    ["dispute", "expedition", "occupation", "partnership", "pilgrimage", "rebellion", "treaty", "truce"];

/// The first two digits of the years.
pub const CENTURIES: [u32; 9] = [11, 12, 13, 14, 15, 16, 17, 18, 19];
