//! The lists and ids of a GGUF file's tokenizer, which are not trusted.

use std::collections::{HashMap, HashSet};

use super::{INSTEAD, KEYS};
use crate::error::{Error, Result};
use crate::storage::GgufMetadata;

/// llama.cpp's types of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// What texts are made of.
    Normal,
    /// Stands for what the vocabulary does not have.
    Unknown,
    /// Special: BOS, EOS and others.
    Control,
    /// Never split, but not special.
    UserDefined,
    /// Never produced.
    Unused,
    /// `<0x0A>` and so on, for what no other token spells.
    Byte,
}

/// The vocabulary, by id. An id can be without a token: the text is empty then.
pub(super) struct Vocabulary<'a> {
    metadata: &'a GgufMetadata,
    tokens: Vec<String>,
    kinds: Vec<TokenKind>,
    /// Whether this is the kind `llama`.
    is_llama: bool,
}

impl<'a> Vocabulary<'a> {
    /// # Errors
    /// [`Error::File`]: no tokens, types that are unknown or of another number, a token that is there twice.
    pub fn read(metadata: &'a GgufMetadata) -> Result<Self> {
        let is_llama = metadata.string("tokenizer.ggml.model")? == Some("llama");
        let mut this = Self { metadata, tokens: Vec::new(), kinds: Vec::new(), is_llama };
        let texts = metadata.strings("tokenizer.ggml.tokens")?.unwrap_or_default();
        if texts.is_empty() {
            return Err(this.wrong("its tokenizer has no tokens (tokenizer.ggml.tokens)"));
        }
        this.kinds = match metadata.ints("tokenizer.ggml.token_type")? {
            None => vec![TokenKind::Normal; texts.len()],
            Some(numbers) => {
                this.check_length("token_type", numbers.len(), texts.len())?;
                numbers.into_iter().enumerate().map(|(id, number)| this.kind(id, number)).collect::<Result<_>>()?
            }
        };
        this.tokens = texts.iter().enumerate().map(|(id, text)| this.spelled(id, text)).collect();
        this.check_unique()?;
        Ok(this)
    }

    fn kind(&self, id: usize, number: i64) -> Result<TokenKind> {
        Ok(match number {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => return Err(self.wrong(format!("its token {id} has the type {number}, and types go from 1 to 6"))),
        })
    }

    /// A token as the original vocabulary has it. Converters name ids that have no token (`[PAD7]`), and write real spaces in
    /// Gemma's tokens of several spaces.
    fn spelled(&self, id: usize, text: &str) -> String {
        let spaces = text.len() > 1 && text.bytes().all(|byte| byte == b' ');
        match self.kinds[id] {
            TokenKind::Unused if text == format!("[PAD{id}]") => String::new(),
            TokenKind::UserDefined if spaces && self.is_gemma() => "▁".repeat(text.len()),
            _ => text.into(),
        }
    }

    fn check_unique(&self) -> Result<()> {
        let mut ids = HashMap::with_capacity(self.tokens.len());
        for (id, token, _) in self.tokens() {
            if let Some(first) = ids.insert(token, id) {
                return Err(self.wrong(format!("its tokens {first} and {id} are both {token:?}")));
            }
        }
        Ok(())
    }

    /// The list of this name, which has one item for each token.
    pub fn check_length(&self, name: &str, length: usize, tokens: usize) -> Result<()> {
        match length == tokens {
            true => Ok(()),
            false => Err(self.wrong(format!("it has {tokens} tokens, but {length} items in {KEYS}{name}"))),
        }
    }

    /// The tokens with their ids.
    pub fn tokens(&self) -> impl Iterator<Item = (u32, &str, TokenKind)> {
        let all = self.tokens.iter().zip(&self.kinds).enumerate();
        // A header has less than 4 GiB, so all ids fit.
        all.filter(|(_, (token, _))| !token.is_empty()).map(|(id, (token, kind))| (id as u32, token.as_str(), *kind))
    }

    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize).map(String::as_str).filter(|token| !token.is_empty())
    }

    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    pub fn is_control(&self, id: u32) -> bool {
        self.kinds.get(id as usize) == Some(&TokenKind::Control)
    }

    pub fn is_llama(&self) -> bool {
        self.is_llama
    }

    /// Whether this is one of Gemma's, which spell some tokens in their own way.
    pub fn is_gemma(&self) -> bool {
        self.is_llama && self.architecture().is_some_and(|name| name.starts_with("gemma"))
    }

    /// Whether the spaces behind this token belong to it. Phi 3's original files say so for all tokens of dialogues.
    pub fn takes_spaces_behind(&self, id: u32) -> bool {
        let without = ["<unk>", "<s>", "<|endoftext|>"];
        self.is_llama
            && self.architecture() == Some("phi3")
            && self.token(id).is_some_and(|token| !without.contains(&token))
    }

    pub fn architecture(&self) -> Option<&str> {
        // A value of another type is reported where the model is loaded.
        self.metadata.string("general.architecture").ok().flatten()
    }

    /// The merges of the file, as pairs of tokens.
    ///
    /// # Errors
    /// A merge that is not a pair, or one of whose tokens the vocabulary does not have.
    pub fn merges(&self) -> Result<Option<Vec<(String, String)>>> {
        let Some(merges) = self.metadata.strings("tokenizer.ggml.merges")? else { return Ok(None) };
        let known: HashSet<&str> = self.tokens().map(|(_, token, _)| token).collect();
        let pair = |(number, merge): (usize, &&str)| {
            let parts = merge
                .split_once(' ')
                .filter(|(first, second)| !first.is_empty() && !second.is_empty() && !second.contains(' '));
            let (first, second) = parts
                .ok_or_else(|| self.wrong(format!("its merge {number} is {merge:?}, which is not a pair of tokens")))?;
            let merged = format!("{first}{second}");
            match [first, second, &merged].into_iter().find(|token| !known.contains(token)) {
                None => Ok((first.to_string(), second.to_string())),
                Some(missing) => {
                    Err(self.wrong(format!("its merge {number} is {merge:?}, but {missing:?} is not among its tokens")))
                }
            }
        };
        merges.iter().enumerate().map(pair).collect::<Result<_>>().map(Some)
    }

    pub fn scores(&self) -> Result<Option<Vec<f64>>> {
        let Some(scores) = self.metadata.floats("tokenizer.ggml.scores")? else { return Ok(None) };
        self.check_length("scores", scores.len(), self.len())?;
        match scores.iter().position(|score| score.is_nan()) {
            None => Ok(Some(scores)),
            Some(id) => Err(self.wrong(format!("the score of its token {id} is not a number"))),
        }
    }

    pub fn pre_tokenizer(&self) -> Result<Option<&str>> {
        self.metadata.string("tokenizer.ggml.pre")
    }

    pub fn flag(&self, name: &str) -> Result<Option<bool>> {
        self.metadata.bool(&format!("{KEYS}{name}"))
    }

    /// Whether a table that rewrites texts comes with the vocabulary.
    pub fn has_charsmap(&self) -> bool {
        let map = self.metadata.ints("tokenizer.ggml.precompiled_charsmap");
        map.map_or(true, |map| map.is_some_and(|map| !map.is_empty()))
    }

    /// The id of a special token: `bos`, `eos`, `padding`.
    ///
    /// # Errors
    /// An id that the vocabulary does not have.
    pub fn id(&self, name: &str) -> Result<Option<u32>> {
        let key = format!("{KEYS}{name}_token_id");
        let id = self.metadata.u32(&key)?;
        match id.filter(|id| self.token(*id).is_none()) {
            None => Ok(id),
            Some(id) => {
                Err(self.wrong(format!("{key} is {id}, but none of its {} tokens has this id", self.tokens.len())))
            }
        }
    }

    /// The error for a file that contradicts itself.
    pub fn wrong(&self, what: impl std::fmt::Display) -> Error {
        let message = format!("{what}: download or convert the file again, or {INSTEAD}.");
        Error::file(self.metadata.path(), message)
    }

    /// The error for a file that asks for what is not supported.
    pub fn unsupported(&self, what: impl std::fmt::Display) -> Error {
        Error::file(self.metadata.path(), format!("{what}: {INSTEAD}."))
    }
}
