//! A rectangular batch of token ids that knows its padding.

use std::fmt;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::error::{Context, Error, Result};
use crate::variables::holds;

/// The side of a row that the padding is on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PaddingSide {
    /// Before the text, so that every row ends at the last position.
    Left,
    /// After the text, so that every row begins at position 0 (the default, as in TransformerLens).
    #[default]
    Right,
}

impl fmt::Display for PaddingSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "left",
            Self::Right => "right",
        })
    }
}

/// A batch of token ids `[batch, pos]` in host memory. Rows that are shorter than the batch are padded, and the
/// batch remembers how long each row really is: padding is known, never guessed from the ids, so that a BOS or
/// an end of text inside a row is not mistaken for padding where these share one id (as in GPT-2).
///
/// ```
/// use candle_lens::tokens::{PaddingSide, Tokens};
/// # fn main() -> candle_lens::Result<()> {
/// let tokens = Tokens::padded(vec![vec![5, 6, 7], vec![5]], 0, PaddingSide::Left)?;
/// assert_eq!((tokens.batch(), tokens.pos()), (2, 3));
/// assert_eq!(tokens.row(1), [0, 0, 5]);
/// assert_eq!(tokens.first_positions(), [0, 2]);
/// assert!(!tokens.is_real(1, 1));
/// # Ok(())
/// # }
/// ```
///
/// Cheap to clone: clones share their ids.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Stored", into = "Stored")]
pub struct Tokens {
    pub(super) ids: Arc<[u32]>,
    pub(super) pos: usize,
    pub(super) lengths: Arc<[usize]>,
    pub(super) side: PaddingSide,
}

holds! {
    Tokens { ids, lengths } = |tokens| format!("[{}, {}]", tokens.lengths.len(), tokens.pos);
}

/// A batch as it is in files.
#[derive(Serialize, Deserialize)]
struct Stored {
    ids: Vec<u32>,
    pos: usize,
    lengths: Vec<usize>,
    side: PaddingSide,
}

impl From<Stored> for Tokens {
    fn from(Stored { ids, pos, lengths, side }: Stored) -> Self {
        Self { ids: ids.into(), pos, lengths: lengths.into(), side }
    }
}

impl From<Tokens> for Stored {
    fn from(tokens: Tokens) -> Self {
        Self { ids: tokens.ids.to_vec(), pos: tokens.pos, lengths: tokens.lengths.to_vec(), side: tokens.side }
    }
}

impl Tokens {
    /// A batch of rows that have the same length, none of it padding.
    ///
    /// # Errors
    /// No rows, an empty row, or rows of unequal lengths (use [`Tokens::padded`]).
    pub fn from_rows(rows: Vec<Vec<u32>>) -> Result<Self> {
        let pos = longest(&rows)?;
        if let Some((index, row)) = rows.iter().enumerate().find(|(_, row)| row.len() != pos) {
            let longest = rows.iter().position(|row| row.len() == pos).unwrap_or(0);
            return Err(Error::tokens(format!(
                "row {index} has {} tokens and row {longest} has {pos}, but the rows of a batch need one length: \
                 pad them with Tokens::padded(rows, pad_id, PaddingSide::Right), or pass the texts themselves.",
                row.len()
            )));
        }
        let lengths = vec![pos; rows.len()];
        Ok(Self { ids: rows.concat().into(), pos, lengths: lengths.into(), side: PaddingSide::Right })
    }

    /// A batch of rows of any lengths; the shorter ones are filled with `pad_id` on this side.
    ///
    /// # Errors
    /// No rows, or an empty row.
    pub fn padded(rows: Vec<Vec<u32>>, pad_id: u32, side: PaddingSide) -> Result<Self> {
        let pos = longest(&rows)?;
        let mut ids = Vec::with_capacity(rows.len() * pos);
        for row in &rows {
            let padding = std::iter::repeat_n(pad_id, pos - row.len());
            match side {
                PaddingSide::Left => ids.extend(padding.chain(row.iter().copied())),
                PaddingSide::Right => ids.extend(row.iter().copied().chain(padding)),
            }
        }
        Ok(Self { ids: ids.into(), pos, lengths: rows.iter().map(Vec::len).collect(), side })
    }

    /// A batch whose rows are already padded to one length, as a foreign tokenizer returns them: the run of
    /// `pad_id` at the end (right) or at the beginning (left) of a row is padding.
    ///
    /// With `starts_with_bos` each row is known to begin with a BOS, which is real even where `pad_id` is its id.
    ///
    /// # Errors
    /// No rows, an empty row, rows of unequal lengths, or a row that is nothing but padding.
    pub fn from_padded_rows(
        rows: Vec<Vec<u32>>,
        pad_id: u32,
        side: PaddingSide,
        starts_with_bos: bool,
    ) -> Result<Self> {
        let mut tokens = Self::from_rows(rows)?;
        tokens.side = side;
        let mut lengths = tokens.lengths.to_vec();
        for (b, length_of_row) in lengths.iter_mut().enumerate() {
            let is_pad = |id: &&u32| **id == pad_id;
            let row = tokens.ids_of(b);
            let pads = match side {
                PaddingSide::Right => row.iter().rev().take_while(is_pad).count(),
                PaddingSide::Left => row.iter().take_while(is_pad).count(),
            };
            // Where BOS and padding share an id, one of a left run, or the first of a row of nothing else, is the BOS.
            let bos_in_run = starts_with_bos
                && match side {
                    PaddingSide::Left => pads > 0,
                    PaddingSide::Right => pads == tokens.pos,
                };
            let length = tokens.pos - pads + usize::from(bos_in_run);
            if length == 0 {
                return Err(Error::tokens(format!("row {b} is nothing but padding (id {pad_id}): leave it out.")));
            }
            *length_of_row = length;
        }
        tokens.lengths = lengths.into();
        Ok(tokens)
    }

    /// The batch that a tensor of ids holds, none of it padding; one row when it has one axis.
    ///
    /// # Shapes
    /// `[batch, pos]` or `[pos]`, of an integer type.
    ///
    /// # Errors
    /// Another shape, numbers that are not integers, or negative ids.
    pub fn from_tensor(ids: &Tensor) -> Result<Self> {
        if !ids.dtype().is_int() {
            return Err(Error::tokens(format!(
                "token ids are integers, but this tensor holds {:?}: convert it with to_dtype(DType::U32).",
                ids.dtype()
            )));
        }
        let ids = ids.to_dtype(DType::I64).context("the conversion of token ids")?;
        let rows: Vec<Vec<i64>> = match ids.rank() {
            1 => vec![ids.to_vec1()?],
            2 => ids.to_vec2()?,
            _ => return Err(Error::shape("the tensor of token ids", "[batch, pos] or [pos]", ids.dims())),
        };
        let id = |id: i64| {
            u32::try_from(id)
                .map_err(|_| Error::tokens(format!("{id} is not a token id: ids are at least 0 and below 2^32.")))
        };
        Self::from_rows(rows.into_iter().map(|row| row.into_iter().map(id).collect()).collect::<Result<_>>()?)
    }

    /// How many rows there are.
    pub fn batch(&self) -> usize {
        self.lengths.len()
    }

    /// How many positions each row has, padding included.
    pub fn pos(&self) -> usize {
        self.pos
    }

    /// The ids of row `b`, padding included.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, b: usize) -> Vec<u32> {
        self.ids_of(b).to_vec()
    }

    fn ids_of(&self, b: usize) -> &[u32] {
        &self.ids[b * self.pos..(b + 1) * self.pos]
    }

    /// The ids of row `b` without its padding.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn real_row(&self, b: usize) -> Vec<u32> {
        let first = self.first_position(b);
        self.ids_of(b)[first..first + self.lengths[b]].to_vec()
    }

    /// The id of row `b` at position `p`.
    ///
    /// # Panics
    /// If there is no such row or position.
    pub fn id(&self, b: usize, p: usize) -> u32 {
        self.ids_of(b)[p]
    }

    /// Whether some row has padding.
    pub fn is_padded(&self) -> bool {
        self.lengths.iter().any(|&length| length < self.pos)
    }

    /// The side that the padding is on, if there is any.
    pub fn padding_side(&self) -> PaddingSide {
        self.side
    }

    /// How many tokens of each row are real.
    pub fn lengths(&self) -> Vec<usize> {
        self.lengths.to_vec()
    }

    /// Whether position `p` of row `b` is a token of the text (BOS included) rather than padding: the attention mask.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn is_real(&self, b: usize, p: usize) -> bool {
        let first = self.first_position(b);
        (first..first + self.lengths[b]).contains(&p)
    }

    /// How many rows have a real token at each position.
    pub(crate) fn prompts_at(&self) -> Vec<usize> {
        (0..self.pos()).map(|p| (0..self.batch()).filter(|&b| self.is_real(b, p)).count()).collect()
    }

    /// The position of each row's first real token: 0, or the first after padding on the left.
    pub fn first_positions(&self) -> Vec<usize> {
        (0..self.batch()).map(|b| self.first_position(b)).collect()
    }

    /// The position of each row's last real token, where the prediction of the next one is read.
    pub fn last_positions(&self) -> Vec<usize> {
        (0..self.batch()).map(|b| self.first_position(b) + self.lengths[b] - 1).collect()
    }

    fn first_position(&self, b: usize) -> usize {
        match self.side {
            PaddingSide::Left => self.pos - self.lengths[b],
            PaddingSide::Right => 0,
        }
    }

    /// The ids as a tensor `[batch, pos]` of `u32`.
    ///
    /// # Errors
    /// candle's, if it does not fit on the device.
    pub fn to_tensor(&self, device: &Device) -> Result<Tensor> {
        Tensor::from_slice(&self.ids, (self.batch(), self.pos), device).context("the transfer of token ids")
    }

    /// Checks that a model with this vocabulary and context can read the batch.
    ///
    /// # Errors
    /// More positions than `n_ctx`, or an id that is not below `d_vocab`, with its row and position.
    pub fn check(&self, d_vocab: usize, n_ctx: usize) -> Result<()> {
        if self.pos > n_ctx {
            return Err(Error::tokens(format!(
                "the batch has {} positions, but the model reads at most n_ctx = {n_ctx} tokens: pass fewer.",
                self.pos
            )));
        }
        match self.ids.iter().position(|&id| id as usize >= d_vocab) {
            None => Ok(()),
            Some(place) => Err(Error::tokens(format!(
                "token id {} (row {}, position {}) does not exist: the vocabulary has {d_vocab} entries, so 0 to {} are valid.",
                self.ids[place],
                place / self.pos,
                place % self.pos,
                d_vocab.saturating_sub(1)
            ))),
        }
    }
}

/// Deliberately brief: a batch of prompts is often the last value of a cell.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens [batch {}, pos {}", self.batch(), self.pos)?;
        if self.is_padded() {
            write!(f, ", padded {}", self.side)?;
        }
        f.write_str("]")?;
        const SHOWN: usize = 8;
        for b in 0..self.batch().min(SHOWN) {
            write!(f, "\n{:?}", self.row(b))?;
        }
        if self.batch() > SHOWN { write!(f, "\n… {} more rows", self.batch() - SHOWN) } else { Ok(()) }
    }
}

/// The length of the longest row.
fn longest(rows: &[Vec<u32>]) -> Result<usize> {
    if rows.is_empty() {
        return Err(Error::tokens("a batch of no rows was given: pass at least one text or row of token ids."));
    }
    if let Some(empty) = rows.iter().position(Vec::is_empty) {
        return Err(Error::tokens(format!("row {empty} has no tokens: every row needs at least one.")));
    }
    Ok(rows.iter().map(Vec::len).max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_known_on_either_side() -> Result<()> {
        let rows = vec![vec![9, 5, 6], vec![9], vec![9, 9]];
        let right = Tokens::padded(rows.clone(), 9, PaddingSide::Right)?;
        assert_eq!([right.row(0), right.row(1), right.row(2)], [[9, 5, 6], [9, 9, 9], [9, 9, 9]]);
        assert_eq!(right.lengths(), [3, 1, 2]);
        assert_eq!(right.last_positions(), [2, 0, 1]);
        assert_eq!(right.first_positions(), [0, 0, 0]);
        let left = Tokens::padded(rows, 9, PaddingSide::Left)?;
        assert_eq!(left.last_positions(), [2, 2, 2]);
        assert_eq!(left.first_positions(), [0, 2, 1]);
        assert_eq!((0..3).map(|p| left.is_real(2, p)).collect::<Vec<_>>(), [false, true, true]);
        assert_eq!((0..3).map(|p| right.is_real(2, p)).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(left.real_row(1), [9]);
        assert!(left.is_padded() && !Tokens::from_rows(vec![vec![9, 9]])?.is_padded());
        Ok(())
    }

    #[test]
    fn foreign_padding_is_read_as_a_run() -> Result<()> {
        let right = |bos| Tokens::from_padded_rows(vec![vec![0, 5, 0, 6, 0, 0]], 0, PaddingSide::Right, bos);
        assert_eq!(right(true)?.lengths(), [4]);
        assert_eq!(right(false)?.lengths(), [4]);
        let left = |bos| Tokens::from_padded_rows(vec![vec![0, 0, 0, 5, 0, 6]], 0, PaddingSide::Left, bos);
        assert_eq!(left(true)?.lengths(), [4], "the last of the leading run is the BOS");
        assert_eq!(left(false)?.lengths(), [3]);
        let only_bos = |side, bos| Tokens::from_padded_rows(vec![vec![0, 0]], 0, side, bos);
        assert_eq!(only_bos(PaddingSide::Right, true)?.last_positions(), [0]);
        assert_eq!(only_bos(PaddingSide::Left, true)?.first_positions(), [1]);
        assert!(only_bos(PaddingSide::Left, false).unwrap_err().to_string().contains("nothing but padding"));
        Ok(())
    }

    #[test]
    fn ragged_and_empty_rows_are_refused() {
        let message = |rows| Tokens::from_rows(rows).unwrap_err().to_string();
        let ragged = message(vec![vec![1, 2, 3], vec![1, 2]]);
        assert!(ragged.contains("row 1 has 2 tokens and row 0 has 3") && ragged.contains("padded"), "{ragged}");
        assert!(message(vec![]).contains("no rows"));
        assert!(message(vec![vec![1], vec![]]).contains("row 1 has no tokens"));
        assert!(Tokens::padded(vec![vec![]], 0, PaddingSide::Left).is_err());
    }

    #[test]
    fn tensors_of_ids_round_trip() -> Result<()> {
        let tokens = Tokens::from_rows(vec![vec![1, 2], vec![3, 4]])?;
        let tensor = tokens.to_tensor(&Device::Cpu)?;
        assert_eq!((tensor.dims(), tensor.dtype()), (&[2, 2][..], DType::U32));
        assert_eq!(Tokens::from_tensor(&tensor)?, tokens);
        assert_eq!(Tokens::from_tensor(&Tensor::new(&[7i64, 8], &Device::Cpu)?)?.row(0), [7, 8]);
        let message = |tensor: &Tensor| Tokens::from_tensor(tensor).unwrap_err().to_string();
        assert!(message(&Tensor::new(&[-1i64], &Device::Cpu)?).contains("-1 is not a token id"));
        assert!(message(&Tensor::new(&[0.5f32], &Device::Cpu)?).contains("F32"));
        assert!(message(&Tensor::new(&[[[1u32]]], &Device::Cpu)?).contains("[1, 1, 1]"));
        assert!(message(&Tensor::new(1u32, &Device::Cpu)?).contains("[batch, pos]"));
        Ok(())
    }

    #[test]
    fn a_model_checks_ids_and_length() -> Result<()> {
        let tokens = Tokens::from_rows(vec![vec![1, 2, 3], vec![4, 99, 6]])?;
        tokens.check(100, 3)?;
        let message = tokens.check(99, 3).unwrap_err().to_string();
        assert!(message.contains("token id 99 (row 1, position 1)") && message.contains("0 to 98"), "{message}");
        let message = tokens.check(100, 2).unwrap_err().to_string();
        assert!(message.contains("3 positions") && message.contains("n_ctx = 2"), "{message}");
        Ok(())
    }
}
