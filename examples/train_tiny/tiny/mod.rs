//! What `tiny` learnt and how it is examined: its vocabulary, its training text, its exam and the card that the exam gives. None
//! of it is needed to use the library, so it is here; the test suite and other examples share it by its path.
#![allow(dead_code, reason = "each of them needs a part of it")]

pub mod corpus;
pub mod exam;
mod introductions;
pub mod scorecard;
pub mod vocabulary;
