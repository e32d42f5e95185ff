//! Verbs with the ending that a sentence may have after them.

/// A verb in the third person, and how a sentence may go on after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verb {
    /// After "the key".
    pub singular: &'static str,
    /// After "the keys".
    pub plural: &'static str,
    /// What may follow in the training text.
    pub rest: &'static str,
}

/// The verbs of the agreement task.
pub const VERBS: [Verb; 20] = [
    verb("is", "are", "very old"),
    verb("was", "were", "very small"),
    verb("has", "have", "been here before"),
    verb("does", "do", "nothing"),
    verb("seems", "seem", "very old"),
    verb("looks", "look", "very good"),
    verb("appears", "appear", "very small"),
    verb("remains", "remain", "here"),
    verb("stays", "stay", "here"),
    verb("stands", "stand", "there"),
    verb("falls", "fall", "down"),
    verb("moves", "move", "away"),
    verb("goes", "go", "away"),
    verb("comes", "come", "back"),
    verb("needs", "need", "help"),
    verb("makes", "make", "a sound"),
    verb("takes", "take", "up space"),
    verb("gets", "get", "wet"),
    verb("belongs", "belong", "there"),
    verb("waits", "wait", "there"),
];

const fn verb(singular: &'static str, plural: &'static str, rest: &'static str) -> Verb {
    Verb { singular, plural, rest }
}
