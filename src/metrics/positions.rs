//! Which positions of each prompt a metric reads.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use candle_core::Tensor;

use crate::error::{Error, Result};
use crate::slice::Slice;
use crate::tokens::Tokens;

/// The positions of each prompt at which a metric reads the logits. Anything that converts to a [`Slice`] (`0`, `-2`, `2..5`,
/// `[3, 5]`, `..`) converts to the same positions of all prompts; [`Positions::each`] gives each prompt its own.
///
/// Positions count along the position axis of the batch, as in edits and patching sites, so padding on the left counts. Padding
/// itself is never read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// The last token of each prompt, after which the next one is predicted.
    #[default]
    Last,
    /// The first token of each prompt, where many classifiers are read.
    First,
    /// Every token of each prompt.
    All,
    /// The same part of the position axis for all prompts.
    Slice(Slice),
    /// Each prompt's own part of the position axis.
    Each(Vec<Slice>),
}

impl Positions {
    /// Each prompt's own position, or positions: one index, range or list for each.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let prompts = ["When John and Mary went to the shops", "John and Mary went"];
    /// // The logit of " to" after " went", which is at a different position in each prompt.
    /// let metric = Metric::logit(&model, [" to", " to"])?.at(Positions::each([5, 4]));
    /// let values = metric.measure(&model, prompts)?;
    /// let logits = model.forward(prompts)?;
    /// let by_hand = logits.i((1, 4, model.to_single_token(" to")? as usize))?.to_scalar::<f32>()?;
    /// assert!((values.at(&[1])? - by_hand).abs() < 1e-4);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn each<S: Into<Slice>>(positions: impl IntoIterator<Item = S>) -> Self {
        Self::Each(positions.into_iter().map(Into::into).collect())
    }
}

impl<S: Into<Slice>> From<S> for Positions {
    fn from(positions: S) -> Self {
        match positions.into() {
            Slice::All => Self::All,
            positions => Self::Slice(positions),
        }
    }
}

impl fmt::Display for Positions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Last => f.write_str("the last token"),
            Self::First => f.write_str("the first token"),
            Self::All => f.write_str("all tokens"),
            Self::Slice(Slice::At(position)) => write!(f, "position {position}"),
            Self::Slice(slice) => write!(f, "positions {slice}"),
            Self::Each(_) => f.write_str("each prompt's own positions"),
        }
    }
}

/// The rows of logits that a metric reads: the chosen positions of each prompt, prompt after prompt.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// The positions of each prompt, at least one.
    of: Vec<Vec<usize>>,
    /// The token that follows each row in its prompt; 0 after the last.
    next: Vec<u32>,
    /// How many rows come before those of each prompt, and at the end the number of all rows.
    starts: Vec<usize>,
    /// The size of the position axis.
    pos: usize,
}

impl Positions {
    /// The rows of these prompts; `before_a_token` leaves out the last token of each prompt, which no token follows.
    ///
    /// # Errors
    /// Positions outside the batch, a prompt of which nothing would be read, positions for another number of prompts.
    pub(crate) fn rows(&self, tokens: &Tokens, before_a_token: bool) -> Result<Rows> {
        let last = tokens.last_positions();
        let mut of = self.of(tokens)?;
        if before_a_token {
            of.iter_mut().zip(&last).for_each(|(positions, last)| positions.retain(|position| position != last));
        }
        if let Some(prompt) = of.iter().position(Vec::is_empty) {
            return Err(Error::argument(match before_a_token {
                true => format!(
                    "the metric compares each prediction with the next token, but prompt {prompt} has no next token at \
                     {self}: give prompts of at least two tokens, and positions before the last token."
                ),
                false => format!("prompt {prompt} has only padding at {self}: give positions of its tokens."),
            }));
        }
        let next = of.iter().zip(last).enumerate().flat_map(|(prompt, (positions, last))| {
            positions.iter().map(move |&at| if at < last { tokens.id(prompt, at + 1) } else { 0 })
        });
        let next = next.collect();
        let starts = std::iter::once(0).chain(of.iter().scan(0, |sum, positions| {
            *sum += positions.len();
            Some(*sum)
        }));
        Ok(Rows { next, starts: starts.collect(), pos: tokens.pos(), of })
    }

    fn of(&self, tokens: &Tokens) -> Result<Vec<Vec<usize>>> {
        let prompts = 0..tokens.batch();
        let one = |positions: Vec<usize>| positions.into_iter().map(|position| vec![position]).collect();
        Ok(match self {
            Self::Last => one(tokens.last_positions()),
            Self::First => one(tokens.first_positions()),
            Self::All => prompts.map(|b| (0..tokens.pos()).filter(|&p| tokens.is_real(b, p)).collect()).collect(),
            Self::Slice(slice) => prompts.map(|prompt| real(tokens, prompt, slice)).collect::<Result<_>>()?,
            Self::Each(of) if of.len() != tokens.batch() => {
                return Err(Error::argument(format!(
                    "the metric has positions for {} prompts, but there are {}: give each prompt its own.",
                    of.len(),
                    tokens.batch()
                )));
            }
            Self::Each(of) => prompts.map(|prompt| real(tokens, prompt, &of[prompt])).collect::<Result<_>>()?,
        })
    }
}

/// The positions of this slice at which a prompt has a token.
fn real(tokens: &Tokens, prompt: usize, slice: &Slice) -> Result<Vec<usize>> {
    let chosen = slice.indices(tokens.pos(), "position")?;
    Ok(chosen.into_iter().filter(|&position| tokens.is_real(prompt, position)).collect())
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.next.len()
    }

    /// How many prompts there are.
    pub fn prompts(&self) -> usize {
        self.of.len()
    }

    /// The positions that are read of each prompt.
    pub fn positions(&self) -> &[Vec<usize>] {
        &self.of
    }

    /// The token that follows each row in its prompt.
    pub(super) fn next(&self) -> &[u32] {
        &self.next
    }

    /// All rows that these have of the same prompts, by position.
    pub(super) fn union(parts: &[&Self]) -> Self {
        let prompts = parts.iter().map(|rows| rows.prompts()).max().unwrap_or(0);
        let mut next_of: BTreeMap<(usize, usize), u32> = BTreeMap::new();
        for rows in parts {
            let places = rows.of.iter().enumerate().flat_map(|(prompt, of)| of.iter().map(move |&at| (prompt, at)));
            places.zip(&rows.next).for_each(|(place, &next)| {
                next_of.insert(place, next);
            });
        }
        let mut of = vec![Vec::new(); prompts];
        next_of.keys().for_each(|&(prompt, position)| of[prompt].push(position));
        let starts = std::iter::once(0).chain(of.iter().scan(0, |sum, positions| {
            *sum += positions.len();
            Some(*sum)
        }));
        let pos = parts.first().map_or(0, |rows| rows.pos);
        Self { starts: starts.collect(), next: next_of.into_values().collect(), pos, of }
    }

    /// The index in `all` of each of these rows, which `all` has.
    pub(super) fn within(&self, all: &Self) -> Vec<u32> {
        let places = self.of.iter().zip(&all.of).zip(&all.starts);
        let of_prompt = |((own, all), start): ((&Vec<usize>, &Vec<usize>), &usize)| -> Vec<u32> {
            own.iter().map(|at| (start + all.binary_search(at).expect("a row of the union")) as u32).collect()
        };
        places.flat_map(of_prompt).collect()
    }

    /// The rows of `count` prompts from prompt `from` on.
    pub fn of_prompts(&self, from: usize, count: usize) -> Range<usize> {
        self.starts[from]..self.starts[from + count]
    }

    /// These rows of a run.
    ///
    /// # Shapes
    /// `x [copy * prompt, pos, ..]`, a stream or logits of copies of all prompts one after the other; the result is
    /// `[copy * row, ..]`.
    pub fn read(&self, x: &Tensor) -> Result<Tensor> {
        self.read_of(x, (0, self.prompts()))
    }

    /// As [`Rows::read`], of copies of `count` prompts from prompt `from` on.
    pub fn read_of(&self, x: &Tensor, (from, count): (usize, usize)) -> Result<Tensor> {
        let places = self.places(from, count, x.dim(0)? / count);
        Ok(x.flatten(0, 1)?.index_select(&Tensor::new(places, x.device())?, 0)?)
    }

    /// The largest number of rows of a prompt.
    pub fn most(&self) -> usize {
        self.of.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// The first position that is read in any prompt.
    pub fn first(&self) -> usize {
        self.of.iter().flatten().copied().min().unwrap_or(0)
    }

    /// Whether this position is read in some prompt.
    pub fn contains(&self, position: usize) -> bool {
        self.of.iter().flatten().any(|&read| read == position)
    }

    /// Whether this position or a later one is read in some prompt.
    pub fn reaches(&self, position: usize) -> bool {
        self.of.iter().flatten().any(|&read| read >= position)
    }

    /// The indices of the rows in copies of `count` prompts from prompt `from` on, with prompt and position axes flattened.
    fn places(&self, from: usize, count: usize, copies: usize) -> Vec<u32> {
        let of_copy = |copy: usize| {
            let prompts = self.of[from..from + count].iter().enumerate();
            prompts.flat_map(move |(prompt, positions)| {
                positions.iter().map(move |&position| ((copy * count + prompt) * self.pos + position) as u32)
            })
        };
        (0..copies).flat_map(of_copy).collect()
    }

    /// Values given for each prompt or for each row, for each row; `None` where their number is neither.
    pub(super) fn spread<T: Clone>(&self, given: &[T]) -> Option<Vec<T>> {
        if given.len() == self.len() {
            return Some(given.to_vec());
        }
        let of_prompt = |(one, positions): (&T, &Vec<usize>)| vec![one.clone(); positions.len()];
        (given.len() == self.prompts()).then(|| given.iter().zip(&self.of).flat_map(of_prompt).collect())
    }
}
