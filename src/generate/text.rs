//! Generated tokens as text.

use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::{PaddingSide, Tokenizer, Tokens};
use crate::variables::holds;
use crate::visible::print_line;

/// A printed line is broken at the first space after this many characters.
const LINE: usize = 80;

/// The texts of the prompts and of the tokens added to them; without a tokenizer, the ids.
#[derive(Clone)]
pub(super) struct Texts {
    tokenizer: Option<Tokenizer>,
    /// Where the text of each row begins: after its BOS.
    first: Vec<usize>,
    /// The number of tokens of each prompt, BOS included.
    lengths: Vec<usize>,
    prompts: Vec<String>,
    completions: Vec<String>,
    /// How many tokens of each row its text covers: fewer than the row has while a character is incomplete.
    said: Vec<usize>,
}

holds! {
    Texts { first, lengths, prompts, completions, said }
}

impl Texts {
    pub(super) fn new(model: &HookedTransformer, rows: &[Vec<u32>]) -> Result<Self> {
        let tokenizer = model.tokenizer().ok();
        let bos = tokenizer.as_ref().and_then(Tokenizer::bos_id);
        let first: Vec<usize> =
            rows.iter().map(|row| usize::from(bos.is_some() && row.first() == bos.as_ref())).collect();
        let mut texts = Self {
            tokenizer,
            lengths: rows.iter().map(Vec::len).collect(),
            prompts: Vec::new(),
            completions: vec![String::new(); rows.len()],
            said: rows.iter().map(Vec::len).collect(),
            first,
        };
        texts.prompts = (0..rows.len()).map(|b| texts.text(b, &rows[b])).collect::<Result<_>>()?;
        Ok(texts)
    }

    pub(super) fn prompts(&self) -> &[String] {
        &self.prompts
    }

    /// The text of row `b` without its BOS.
    fn text(&self, b: usize, row: &[u32]) -> Result<String> {
        match &self.tokenizer {
            Some(tokenizer) => tokenizer.to_string(&row[self.first[b]..]),
            None => Ok(row.iter().map(|id| format!(" {id}")).collect()),
        }
    }

    /// What the text of row `b` gained: nothing while its last character is incomplete, unless this token is the `last` one.
    pub(super) fn grow(&mut self, b: usize, row: &[u32], last: bool) -> Result<String> {
        let whole = self.text(b, row)?;
        // A decoder may decode the end of the prompt differently once something follows it: then the new tokens are decoded alone.
        let completion = match whole.strip_prefix(self.prompts[b].as_str()) {
            Some(completion) => completion.to_string(),
            None => match &self.tokenizer {
                Some(tokenizer) => tokenizer.text_behind(&row[self.lengths[b]..]),
                None => whole,
            },
        };
        if completion.ends_with(char::REPLACEMENT_CHARACTER) {
            return Ok(if last { self.flush(b, row) } else { String::new() });
        }
        let gained = completion.strip_prefix(self.completions[b].as_str()).unwrap_or("").to_string();
        self.completions[b] = completion;
        self.said[b] = row.len();
        Ok(gained)
    }

    /// The tokens of row `b` that its text does not cover yet, as pieces: nothing will complete them.
    pub(super) fn flush(&mut self, b: usize, row: &[u32]) -> String {
        let Some(tokenizer) = &self.tokenizer else { return String::new() };
        let gained: String = row[self.said[b]..].iter().map(|&id| tokenizer.piece(id)).collect();
        self.completions[b] += &gained;
        self.said[b] = row.len();
        gained
    }
}

/// Prompts and the text that the model added to them.
#[derive(Clone)]
pub struct Generated {
    texts: Texts,
    rows: Vec<Vec<u32>>,
}

holds! {
    Generated { texts, rows }
}

impl Generated {
    pub(super) fn new(texts: Texts, rows: Vec<Vec<u32>>) -> Self {
        Self { texts, rows }
    }

    /// The text of each prompt, without BOS; ids where the model has no tokenizer.
    pub fn prompts(&self) -> Vec<String> {
        self.texts.prompts.clone()
    }

    /// The text that was added to each prompt.
    pub fn completions(&self) -> Vec<String> {
        self.texts.completions.clone()
    }

    /// Each prompt with the text that was added to it.
    pub fn texts(&self) -> Vec<String> {
        self.texts.prompts.iter().zip(&self.texts.completions).map(|(prompt, more)| format!("{prompt}{more}")).collect()
    }

    /// The ids of the tokens that were added to each prompt.
    pub fn new_tokens(&self) -> Vec<Vec<u32>> {
        self.rows.iter().zip(&self.texts.lengths).map(|(row, &length)| row[length..].to_vec()).collect()
    }

    /// The prompts with the added tokens, ready to be run: shorter texts are padded on the left.
    ///
    /// # Errors
    /// Rows that do not make a batch, which generated ones always do.
    pub fn tokens(&self) -> Result<Tokens> {
        let pad = self.texts.tokenizer.as_ref().and_then(Tokenizer::filler).unwrap_or(0);
        Tokens::padded(self.rows.clone(), pad, PaddingSide::Left)
    }
}

impl std::fmt::Debug for Generated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.texts()).finish()
    }
}

/// Writes a text to standard output as it grows. A notebook receives whole lines only, so long lines are broken at a space.
pub(super) struct Printer {
    line: String,
}

impl Printer {
    pub(super) fn new(prompt: &str) -> Self {
        let mut printer = Self { line: String::new() };
        printer.add(prompt);
        printer
    }

    pub(super) fn add(&mut self, text: &str) {
        for c in text.chars() {
            let full = c == ' ' && self.line.chars().count() >= LINE;
            if c == '\n' || full {
                print_line(&std::mem::take(&mut self.line));
            } else {
                self.line.push(c);
            }
        }
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        print_line(&self.line);
    }
}
