//! What dictionaries are worth, and what their features mean.

mod card;
mod dashboard;
mod lens;
mod made;
mod prompts;
mod score;
mod similar;
mod texts;
