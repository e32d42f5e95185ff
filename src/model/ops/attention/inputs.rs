//! What attention reads: queries, keys and values where they lie, and which keys each query attends to.

use std::ops::Range;

use candle_core::{CpuStorage, Error, Layout, Result, Storage, Tensor};

/// Queries, keys or values, `[batch, pos, head, d_head]`, where the storage of their tensor has them.
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    pub numbers: &'a [f32],
    pub strides: [usize; 3],
    pub batch: usize,
    pub pos: usize,
    pub heads: usize,
    pub d_head: usize,
}

impl<'a> Heads<'a> {
    pub(super) fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let (batch, pos, heads, d_head) = layout.shape().dims4()?;
        let stride = layout.stride();
        if d_head > 1 && stride[3] != 1 {
            return Err(Error::RequiresContiguous { op: "attention" });
        }
        let numbers = &storage.as_slice::<f32>()?[layout.start_offset()..];
        Ok(Self { numbers, strides: [stride[0], stride[1], stride[2]], batch, pos, heads, d_head })
    }

    /// The numbers of a head at a position.
    #[inline(always)]
    pub(super) fn row(&self, batch: usize, pos: usize, head: usize) -> &'a [f32] {
        let first = batch * self.strides[0] + pos * self.strides[1] + head * self.strides[2];
        &self.numbers[first..first + self.d_head]
    }

    /// The rows of a head, position by position.
    #[inline(always)]
    pub(super) fn rows(self, batch: usize, head: usize) -> impl Iterator<Item = &'a [f32]> {
        (0..self.pos).map(move |pos| self.row(batch, pos, head))
    }
}

/// The numbers of a tensor on the CPU that is given to `read` with its layout.
pub(super) fn on_cpu<T>(x: &Tensor, read: impl FnOnce(&CpuStorage, &Layout) -> Result<T>) -> Result<T> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => read(storage, layout),
        _ => candle_core::bail!("attention of the CPU was given a tensor of another device"),
    }
}

/// The keys from the first to the last that a query attends to.
#[derive(Clone)]
pub(super) struct Span {
    pub keys: Range<usize>,
    /// Which of all keys are hidden, where some between the first and the last are: padding in a window, for one.
    hidden: Option<Box<[u8]>>,
}

impl Span {
    /// Which keys of the span are hidden, if any are.
    #[inline(always)]
    pub(super) fn hidden(&self) -> Option<&[u8]> {
        self.hidden.as_deref()
    }
}

/// Which keys each query attends to.
pub(super) struct Visible {
    /// `[batch, query]`, where the axes along which all are alike have size 1.
    spans: Vec<Span>,
    of_batch: usize,
    of_query: usize,
}

impl Visible {
    /// From 1 where a key is hidden, broadcastable to `[batch, head, query, key]`; alike for all heads.
    pub(super) fn new(masked: Option<&Tensor>, keys: usize) -> Result<Self> {
        let Some(masked) = masked else {
            return Ok(Self { spans: vec![Span { keys: 0..keys, hidden: None }], of_batch: 0, of_query: 0 });
        };
        let (batch, _, queries, _) = masked.dims4()?;
        let bytes = masked.flatten_all()?.to_vec1::<u8>()?;
        let spans = bytes.chunks_exact(keys).map(span).collect();
        let stride = |size: usize, stride: usize| if size > 1 { stride } else { 0 };
        Ok(Self { spans, of_batch: stride(batch, queries), of_query: stride(queries, 1) })
    }

    #[inline(always)]
    pub(super) fn of(&self, batch: usize, query: usize) -> &Span {
        &self.spans[batch * self.of_batch + query * self.of_query]
    }
}

fn span(hidden: &[u8]) -> Span {
    let first = hidden.iter().position(|&hidden| hidden == 0).unwrap_or(0);
    let end = hidden.iter().rposition(|&hidden| hidden == 0).map_or(first, |last| last + 1);
    let keys = first..end;
    let between = &hidden[keys.clone()];
    let hidden = between.contains(&1).then(|| between.into());
    Span { keys, hidden }
}
