//! The texts in batches, and which positions of a batch count.

use candle_core::{Device, Tensor};

use crate::dictionaries::AtBos;
use crate::error::{Error, Result};
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

/// The most positions of one batch.
const POSITIONS: usize = 2048;

/// The most numbers of one row of the batch's widest table (logits, dense activations) times its positions.
const NUMBERS: usize = 1 << 24;

/// The id of the BOS that is left out, if one is.
pub(in crate::features) fn left_alone(model: &HookedTransformer, bos: AtBos) -> Option<u32> {
    match bos {
        AtBos::LeftAlone => model.tokenizer().ok().and_then(|tokenizer| tokenizer.bos_id()),
        AtBos::Spliced => None,
    }
}

/// Some texts, and which of their positions count.
pub(in crate::features) struct Batch {
    pub tokens: Tokens,
    /// How many texts come before those of the batch.
    pub first: usize,
    /// The positions that count, as `row * pos + position`.
    pub counted: Vec<u32>,
    /// Of each of them, how many tokens of its text are before it.
    pub depth: Vec<usize>,
    /// Of those behind which the text goes on: its index in `counted` and the next token.
    pub next: Vec<(u32, u32)>,
    /// At how many positions a BOS was left out.
    pub left_out: usize,
}

impl Batch {
    /// A BOS is the first token of a text, where that has its id, as for splices.
    pub fn of(tokens: Tokens, bos: Option<u32>) -> Self {
        let (mut counted, mut depth, mut next, mut left_out) = (vec![], vec![], vec![], 0);
        let (first, last) = (tokens.first_positions(), tokens.last_positions());
        for b in 0..tokens.batch() {
            for p in first[b]..=last[b] {
                if p == first[b] && Some(tokens.id(b, p)) == bos {
                    left_out += 1;
                    continue;
                }
                if p < last[b] {
                    next.push((counted.len() as u32, tokens.id(b, p + 1)));
                }
                counted.push((b * tokens.pos() + p) as u32);
                depth.push(p - first[b]);
            }
        }
        Self { tokens, first: 0, counted, depth, next, left_out }
    }

    /// [`Batch::counted`] for the selection of rows.
    pub fn rows(&self, device: &Device) -> Result<Tensor> {
        Ok(Tensor::new(self.counted.as_slice(), device)?)
    }

    /// 1 at the positions that do not count, `[batch * pos, 1]`.
    pub fn untouched(&self) -> Result<Tensor> {
        let mut mask = vec![1f32; self.tokens.batch() * self.tokens.pos()];
        self.counted.iter().for_each(|&row| mask[row as usize] = 0.);
        let positions = mask.len();
        Ok(Tensor::from_vec(mask, (positions, 1), &Device::Cpu)?)
    }
}

/// The texts in batches of their own length, so that one long text pads no others; `width` is that of the widest table of numbers
/// for each position. Batches of which no position counts are left out.
pub(in crate::features) fn batches(tokens: &Tokens, bos: Option<u32>, width: usize) -> Result<Vec<Batch>> {
    let most = POSITIONS.min(NUMBERS / width.max(1));
    let (mut batches, mut first) = (Vec::new(), 0);
    let (mut rows, mut longest): (Vec<Vec<u32>>, usize) = (Vec::new(), 0);
    let mut close = |rows: &mut Vec<Vec<u32>>| -> Result<()> {
        if !rows.is_empty() {
            let tokens = Tokens::padded(std::mem::take(rows), 0, tokens.padding_side())?;
            batches.push(Batch { first, ..Batch::of(tokens, bos) });
            first += batches.last().map_or(0, |batch: &Batch| batch.tokens.batch());
        }
        Ok(())
    };
    for b in 0..tokens.batch() {
        let row = tokens.real_row(b);
        if longest.max(row.len()) * (rows.len() + 1) > most {
            close(&mut rows)?;
            longest = 0;
        }
        longest = longest.max(row.len());
        rows.push(row);
    }
    close(&mut rows)?;
    batches.retain(|batch| !batch.counted.is_empty());
    Ok(batches)
}

/// # Errors
/// Texts of which fewer than two positions count, which have no variance; for runs, also texts of which no position that counts has
/// a next token.
pub(super) fn check_positions(batches: &[Batch], texts: usize, runs: bool) -> Result<()> {
    let counted: usize = batches.iter().map(|batch| batch.counted.len()).sum();
    if counted < 2 {
        return Err(Error::argument(format!(
            "{counted} positions of these {texts} texts count, a BOS not among them, so there is no variance to explain: give \
             more text."
        )));
    }
    if runs && batches.iter().all(|batch| batch.next.is_empty()) {
        return Err(Error::argument(format!(
            "none of the {counted} positions that count in these {texts} texts has a next token, which runs are to predict: give \
             longer texts, or leave the runs out (`runs: false`)."
        )));
    }
    Ok(())
}
