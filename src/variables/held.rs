//! The count of what one value holds.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, DType, Storage, Tensor};

use super::Holds;

/// The bytes that a value holds: its own, and the pieces of memory that other values may share.
///
/// ```
/// use candle_lens::prelude::*;
/// let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
/// let mut held = Held::default();
/// held.add(&x);
/// held.add(&x.t()?); // The same numbers.
/// assert_eq!(held.bytes(), 24);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    own: u64,
    /// By address.
    shared: BTreeMap<usize, Piece>,
    at_least: bool,
}

/// Memory that has an address and may have several owners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Piece {
    bytes: u64,
    on_device: bool,
}

impl Held {
    /// Counts what another value owns, without the value itself.
    pub fn add(&mut self, value: &(impl Holds + ?Sized)) {
        value.holds(self);
    }

    /// Counts bytes that nobody shares.
    pub fn add_bytes(&mut self, bytes: usize) {
        self.own += bytes as u64;
    }

    /// Counts memory at an address that several values may share; what it owns itself is counted by `inside`, once.
    pub fn add_shared(&mut self, address: usize, bytes: usize, inside: impl FnOnce(&mut Self)) {
        if self.shared.contains_key(&address) {
            return;
        }
        self.shared.insert(address, Piece::default());
        let before = std::mem::take(&mut self.own);
        inside(self);
        let own = std::mem::replace(&mut self.own, before);
        self.shared.insert(address, Piece { bytes: own + bytes as u64, on_device: false });
    }

    /// Says that there is more than what is counted.
    pub fn at_least(&mut self) {
        self.at_least = true;
    }

    /// Whether there is more than what is counted.
    pub fn is_at_least(&self) -> bool {
        self.at_least
    }

    /// All bytes, each piece of memory once.
    pub fn bytes(&self) -> u64 {
        self.own + self.shared.values().map(|piece| piece.bytes).sum::<u64>()
    }

    /// Those of them that are in the memory of a device other than the CPU.
    pub fn bytes_on_device(&self) -> u64 {
        self.shared.values().filter(|piece| piece.on_device).map(|piece| piece.bytes).sum()
    }

    /// Those of them that one of `others` holds as well.
    pub(super) fn bytes_shared_with<'a>(&self, others: impl IntoIterator<Item = &'a Self>) -> u64 {
        let others: Vec<&Self> = others.into_iter().collect();
        let is_shared = |address: &usize| others.iter().any(|other| other.shared.contains_key(address));
        self.shared.iter().filter(|(address, _)| is_shared(address)).map(|(_, piece)| piece.bytes).sum()
    }

    /// What both hold, each piece of memory once.
    pub(super) fn join(&mut self, other: &Self) {
        self.own += other.own;
        self.at_least |= other.at_least;
        for (address, piece) in &other.shared {
            let known = self.shared.entry(*address).or_insert(*piece);
            known.bytes = known.bytes.max(piece.bytes);
        }
    }

    /// The numbers of a tensor, and all numbers that it is a view of. Those on a device are counted as far as the tensor shows
    /// them: how long the whole is only the device's library knows.
    pub(super) fn add_tensor(&mut self, tensor: &Tensor) {
        // A result that knows how it was computed keeps what it was computed from.
        self.at_least |= tensor.track_op() && !tensor.is_variable();
        let (storage, layout) = tensor.storage_and_layout();
        let address = (&raw const *storage).addr();
        let piece = match &*storage {
            Storage::Cpu(numbers) => Piece { bytes: cpu_bytes(numbers), on_device: false },
            _ => {
                let bytes = layout.shape().elem_count() as u64 * tensor.dtype().size_in_bytes() as u64;
                Piece { bytes, on_device: true }
            }
        };
        let known = self.shared.entry(address).or_insert(piece);
        known.bytes = known.bytes.max(piece.bytes);
    }
}

fn cpu_bytes(numbers: &CpuStorage) -> u64 {
    let (count, dtype) = match numbers {
        CpuStorage::U8(v) | CpuStorage::F6E2M3(v) | CpuStorage::F6E3M2(v) => (v.capacity(), DType::U8),
        CpuStorage::F4(v) | CpuStorage::F8E8M0(v) => (v.capacity(), DType::U8),
        CpuStorage::U32(v) => (v.capacity(), DType::U32),
        CpuStorage::I16(v) => (v.capacity(), DType::I16),
        CpuStorage::I32(v) => (v.capacity(), DType::I32),
        CpuStorage::I64(v) => (v.capacity(), DType::I64),
        CpuStorage::BF16(v) => (v.capacity(), DType::BF16),
        CpuStorage::F16(v) => (v.capacity(), DType::F16),
        CpuStorage::F32(v) => (v.capacity(), DType::F32),
        CpuStorage::F64(v) => (v.capacity(), DType::F64),
        CpuStorage::F8E4M3(v) => (v.capacity(), DType::U8),
    };
    (count * dtype.size_in_bytes()) as u64
}
