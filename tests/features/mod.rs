//! What dictionaries are worth, and what their features mean.

mod dashboard;
mod lens;
mod made;
mod prompts;
mod score;
mod similar;
mod texts;
