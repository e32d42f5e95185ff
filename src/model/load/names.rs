//! Names of models: TransformerLens' own, and those on the Hugging Face hub.

use crate::error::{Error, Result, nearest};
use crate::storage::Embedded;

/// One id a line, followed by its other names.
const TABLE: &str = include_str!("names.txt");

/// Each name of the table with its id.
fn names() -> impl Iterator<Item = (&'static str, &'static str)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| {
        let mut words = line.split_whitespace();
        let id = words.next().unwrap_or_default();
        words.map(move |name| (name, id))
    })
}

/// The hub's id of a model that is given by its id or by one of TransformerLens' names.
///
/// # Errors
/// [`Error::Argument`] with the nearest name, for any other name.
pub(in crate::model) fn id_of(name: &str) -> Result<&str> {
    if let Some((_, id)) = names().find(|(known, _)| *known == name) {
        return Ok(id);
    }
    if let Some((_, id)) = names().find(|(known, _)| known.eq_ignore_ascii_case(name)) {
        return Ok(id);
    }
    // TransformerLens knows older names of some models with their owner: EleutherAI/pythia-19m is pythia-70m.
    let part = |part: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        !part.is_empty() && part.chars().all(plain) && !part.starts_with('.') && !part.contains("..")
    };
    if name.split('/').count() == 2 && name.split('/').all(part) {
        return Ok(name);
    }
    let known = names().map(|(known, _)| known).chain(Embedded::all());
    let nearest = nearest(name, known).expect("there are names");
    let embedded: Vec<String> = Embedded::all().map(|name| format!("{name:?}")).collect();
    Err(Error::argument(format!(
        "no model is called {name:?}, and there is no such folder; the nearest name is {nearest:?}. \
         Give one that is embedded ({}), a folder, a .gguf file, or a hub id such as \"openai-community/gpt2\".",
        embedded.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_of_transformer_lens_are_those_models() {
        for (name, id) in [
            ("gpt2", "openai-community/gpt2"),
            ("gpt2-small", "openai-community/gpt2"),
            ("gpt2-medium", "openai-community/gpt2-medium"),
            ("gpt2-large", "openai-community/gpt2-large"),
            ("gpt2-xl", "openai-community/gpt2-xl"),
            ("distilgpt2", "distilbert/distilgpt2"),
            ("distillgpt2", "distilbert/distilgpt2"),
            ("pythia-14m", "EleutherAI/pythia-14m"),
            ("pythia-12b-deduped", "EleutherAI/pythia-12b-deduped"),
            ("EleutherAI/pythia-19m", "EleutherAI/pythia-70m"),
            ("gpt-j-6b", "EleutherAI/gpt-j-6B"),
            ("attn-only-2l", "NeelNanda/Attn_Only_2L512W_C4_Code"),
            ("someone/some_model-1.0", "someone/some_model-1.0"),
        ] {
            assert_eq!(id_of(name).ok(), Some(id), "{name}");
        }
        for wrong in ["", "gpt2-smal", "a/b/c", "a b/c", "../x", "a/..", "a/", "/b", "a/b?c", "a/b#c", "a/b%2f"] {
            assert!(id_of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_stands_for_one_model() {
        let mut seen = HashSet::new();
        assert!(names().count() > 400);
        for (name, id) in names() {
            assert!(seen.insert(name), "{name} twice");
            assert_eq!(id.split('/').count(), 2, "{id}");
        }
    }
}
