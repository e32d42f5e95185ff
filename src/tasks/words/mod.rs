//! The words that the tasks are made of: people, places, things, countries, categories and verbs.
//!
//! They are facts of the language, written down for this crate. What is *held out* is written apart,
//! so that nobody trains on it by mistake.

mod categories;
mod geography;
mod history;
mod people;
mod things;
mod verbs;

pub use categories::{CATEGORIES, Category};
pub use geography::CAPITALS;
pub use history::{CENTURIES, EVENTS, HELD_OUT_EVENTS};
pub use people::{HELD_OUT_NAMES, NAMES, PROFESSIONS, Profession};
pub use things::{NOUNS, OBJECTS, PLACES};
pub use verbs::{VERBS, Verb};
