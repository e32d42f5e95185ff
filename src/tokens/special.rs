//! The special tokens of a model, from the files around its tokenizer.
//!
//! They are distributed over `tokenizer_config.json`, `special_tokens_map.json`, the post-processor of `tokenizer.json`,
//! `config.json` and `generation_config.json`, and no model has them in all of these. Only this file reads
//! them; those of a GGUF file come from its metadata. Their meaning follows `transformers` (`PreTrainedTokenizerBase.from_pretrained`).

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::AddedToken;

use crate::error::{Error, Result};
use crate::files::read_json;
use crate::tokens::PaddingSide;

/// What GPT-2 and related models use as BOS, EOS and padding where their files do not say.
const END_OF_TEXT: &str = "<|endoftext|>";

/// The file that names special tokens, and the one that this crate writes.
pub(super) const CONFIG: &str = "tokenizer_config.json";

/// The file with the ids that end a generated text; this crate writes it, too.
pub(super) const GENERATION: &str = "generation_config.json";

/// What the files say about one token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Said {
    /// Nothing.
    #[default]
    Nothing,
    /// That there is none: `null`.
    None,
    /// Its text.
    Token(String),
}

/// What the files say.
#[derive(Debug, Default)]
pub(super) struct Declared {
    pub bos: Said,
    pub eos: Said,
    pub pad: Said,
    /// Other special tokens, which are never split where the vocabulary has them.
    pub others: Vec<String>,
    /// Tokens that are added to the vocabulary, in the order of their ids, and whether they are special.
    pub added: Vec<(String, bool)>,
    pub bos_id: Option<u32>,
    pub pad_id: Option<u32>,
    pub end_ids: Vec<u32>,
    /// Python's class of the tokenizer.
    pub class: Option<String>,
    /// Whether a text is tokenized as if a space came before it.
    pub add_prefix_space: bool,
    /// Whether texts get a BOS by default, where this crate saved it.
    pub prepend_bos: Option<bool>,
    pub padding_side: Option<PaddingSide>,
}

/// The ids that a model needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Special {
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub pad: Option<u32>,
    /// Every id that ends a text, EOS first.
    pub ends: Vec<u32>,
}

impl Declared {
    /// Reads the files that there are; `find` gives the contents of one.
    ///
    /// # Errors
    /// [`Error::File`] for one that is damaged, and what `find` answers.
    pub(super) fn read(place: &Path, find: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>) -> Result<Self> {
        let mut object = |name: &str| -> Result<Map<String, Value>> {
            let Some(bytes) = find(name)? else { return Ok(Map::new()) };
            read_json(&bytes).map_err(|error| {
                let message =
                    format!("it is not a valid JSON object ({error}): copy it again from the model's folder.");
                Error::file(place.join(name), message)
            })
        };
        let (config, map) = (object(CONFIG)?, object("special_tokens_map.json")?);
        let (added, model, generation) = (object("added_tokens.json")?, object("config.json")?, object(GENERATION)?);
        let text = |key: &str| config.get(key).or_else(|| model.get(key)).and_then(Value::as_str).map(String::from);
        let class = text("tokenizer_class").or_else(|| match model.get("model_type").and_then(Value::as_str) {
            Some("qwen2" | "qwen3") => Some("Qwen2Tokenizer".into()),
            _ => None,
        });
        // The map is older: where the newer file lists all added tokens, that file has the last word.
        let newer = config.contains_key("added_tokens_decoder");
        let said = |key: &str| {
            let (first, second) = if newer { (&config, &map) } else { (&map, &config) };
            match Said::of(first.get(key)) {
                Said::Nothing => Said::of(second.get(key)),
                said => said,
            }
        };
        let mut others: Vec<String> = Vec::new();
        for object in [&config, &map] {
            let lists = ["additional_special_tokens", "extra_special_tokens"].map(|key| object.get(key));
            let listed = lists.into_iter().flatten().filter_map(Value::as_array).flatten();
            let single = ["unk_token", "sep_token", "cls_token", "mask_token"].map(|key| object.get(key));
            others.extend(listed.chain(single.into_iter().flatten()).filter_map(token_text));
        }
        let mut end_ids = ids(model.get("eos_token_id"));
        end_ids.extend(ids(generation.get("eos_token_id")));
        let id = |key| ids(model.get(key)).first().or(ids(generation.get(key)).first()).copied();
        Ok(Self {
            bos: said("bos_token"),
            eos: said("eos_token"),
            pad: said("pad_token"),
            others,
            added: added_tokens(config.get("added_tokens_decoder").and_then(Value::as_object), &added),
            bos_id: id("bos_token_id"),
            pad_id: id("pad_token_id"),
            end_ids,
            class,
            add_prefix_space: config.get("add_prefix_space").and_then(Value::as_bool).unwrap_or(false),
            prepend_bos: config.get(PREPEND_BOS).and_then(Value::as_bool),
            padding_side: match config.get("padding_side").and_then(Value::as_str) {
                Some("left") => Some(PaddingSide::Left),
                Some("right") => Some(PaddingSide::Right),
                _ => None,
            },
        })
    }

    /// The ids that `config.json` and `generation_config.json` name as ends of a text.
    pub(super) fn end_ids(&self) -> &[u32] {
        &self.end_ids
    }

    /// Finds the ids in a tokenizer, to which tokens are added that it does not have yet, as `transformers` does: one
    /// that is named is never split, and a new one gets the next id.
    ///
    /// # Errors
    /// A sentence, if a token cannot be added to the tokenizer.
    pub(super) fn settle(&self, inner: &mut tokenizers::Tokenizer) -> Result<Special, String> {
        self.add(inner)?;
        let id = |said: &Said| said.token().and_then(|token| inner.token_to_id(token));
        let special = |id: &u32| is_special(inner, *id);
        let end_of_text = inner.token_to_id(END_OF_TEXT);
        let eos = id(&self.eos).or_else(|| self.end_ids.iter().copied().find(special)).or(end_of_text);
        let is_llama = self.class.as_deref().is_some_and(|class| class.starts_with("Llama"));
        let eos = eos.or_else(|| inner.token_to_id("</s>").filter(|_| is_llama));
        let bos = match (&self.bos, &self.class) {
            (Said::Token(_), _) => id(&self.bos),
            (Said::None, _) => None,
            (Said::Nothing, Some(class)) if class.starts_with("Qwen") => None,
            (Said::Nothing, _) => prepended(inner).or(self.bos_id.filter(special)).or(end_of_text),
        };
        let pad = id(&self.pad).or(eos).or(self.pad_id.filter(special));
        let mut ends: Vec<u32> = Vec::new();
        for id in eos.iter().chain(&self.end_ids) {
            if !ends.contains(id) {
                ends.push(*id);
            }
        }
        Ok(Special { bos, eos, pad, ends })
    }

    /// Adds the tokens that are named and are not among the added ones yet.
    fn add(&self, inner: &mut tokenizers::Tokenizer) -> Result<(), String> {
        let named = [&self.bos, &self.eos, &self.pad].into_iter().filter_map(Said::token).cloned();
        let end_of_text = String::from(END_OF_TEXT);
        let known =
            self.others.iter().chain([&end_of_text]).filter(|token| inner.token_to_id(token).is_some()).cloned();
        let by_id = self.bos_id.iter().chain(&self.pad_id).chain(&self.end_ids).filter(|id| is_special(inner, **id));
        let by_id = by_id.filter_map(|id| inner.id_to_token(*id));
        let special: Vec<String> = named.chain(known).chain(by_id).collect();
        let added = self.added.iter().map(|(token, marked)| (token.clone(), *marked || special.contains(token)));
        let mut wanted: Vec<(String, bool)> = added.collect();
        wanted.extend(special.iter().map(|token| (token.clone(), true)));
        let already = inner.get_added_tokens_decoder();
        for (token, special) in wanted {
            if token.is_empty() || already.values().any(|added| added.content == token) {
                continue;
            }
            let added = AddedToken::from(token.clone(), special);
            let added = if special { inner.add_special_tokens([added]) } else { inner.add_tokens([added]) };
            added.map_err(|error| format!("the token {token:?} cannot be added to the tokenizer ({error})."))?;
        }
        Ok(())
    }
}

/// The key under which this crate keeps whether texts get a BOS; Python does not know it.
pub(super) const PREPEND_BOS: &str = "default_prepend_bos";

impl Said {
    fn of(value: Option<&Value>) -> Self {
        match value {
            None => Self::Nothing,
            Some(value) => token_text(value).map_or(Self::None, Self::Token),
        }
    }

    fn token(&self) -> Option<&String> {
        match self {
            Self::Token(token) => Some(token),
            _ => None,
        }
    }
}

impl From<Option<String>> for Said {
    fn from(token: Option<String>) -> Self {
        token.map_or(Self::Nothing, Self::Token)
    }
}

/// A token is a text, or an object with its text as `content`.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(String::from)
}

/// One id or a list of ids.
fn ids(value: Option<&Value>) -> Vec<u32> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match value {
        Some(Value::Array(list)) => list.iter().filter_map(id).collect(),
        Some(value) => id(value).into_iter().collect(),
        None => Vec::new(),
    }
}

/// The tokens that are not in the vocabulary itself, in the order of the ids that they had.
fn added_tokens(decoder: Option<&Map<String, Value>>, added: &Map<String, Value>) -> Vec<(String, bool)> {
    let mut found: Vec<(u64, String, bool)> = match decoder {
        Some(decoder) => decoder
            .iter()
            .filter_map(|(id, token)| {
                let special = token.get("special").and_then(Value::as_bool).unwrap_or(false);
                Some((id.parse().ok()?, token_text(token)?, special))
            })
            .collect(),
        None => added.iter().filter_map(|(token, id)| Some((id.as_u64()?, token.clone(), false))).collect(),
    };
    found.sort();
    found.into_iter().map(|(_, token, special)| (token, special)).collect()
}

/// The token that the tokenizer's own post-processor puts before a text.
fn prepended(inner: &tokenizers::Tokenizer) -> Option<u32> {
    let processor = serde_json::to_value(inner.get_post_processor()?).ok()?;
    let parts = processor["processors"].as_array().cloned().unwrap_or_else(|| vec![processor]);
    let token = parts.iter().find_map(|part| part["single"].get(0)?.get("SpecialToken")?.get("id")?.as_str())?;
    inner.token_to_id(token)
}

/// Whether an id in a config is that of a special token: some defaults of configs are not.
fn is_special(inner: &tokenizers::Tokenizer, id: u32) -> bool {
    let framed = |text: &str, frame: [char; 2]| text.starts_with(frame[0]) && text.ends_with(frame[1]);
    let marked = |text: String| text.len() > 2 && (framed(&text, ['<', '>']) || framed(&text, ['[', ']']));
    inner.get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
        || inner.id_to_token(id).is_some_and(marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_one_or_a_list() {
        assert_eq!(ids(Some(&serde_json::json!([1, 107]))), [1, 107]);
        assert_eq!(ids(Some(&serde_json::json!(2))), [2]);
        assert_eq!(ids(Some(&Value::Null)), [0u32; 0]);
        assert_eq!(ids(Some(&serde_json::json!(-1))), [0u32; 0]);
    }
}
