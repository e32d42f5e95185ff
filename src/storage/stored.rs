//! Tensors in a file (or in this binary): their location, dtype and shape. They are read one by one, in small pieces,
//! so that loading needs little more memory than the loaded numbers themselves.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use candle_core::quantized::GgmlDType;
use candle_core::{CpuStorage, DType, Device, Tensor};
use flate2::read::DeflateDecoder;

use crate::error::{Error, Result};

/// The beginning of the text that Git LFS keeps in place of a large file.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Rejects a file that begins with `start` if it is the text that Git LFS keeps in place of the real file.
///
/// # Errors
/// [`Error::File`], which says what it is and how to get the real file.
pub(crate) fn check_pointer(path: &Path, start: &[u8]) -> Result<()> {
    if start.starts_with(POINTER) {
        let message = "is not the file itself but a Git LFS pointer to it: run `git lfs pull` in its folder, or \
                       download the file again.";
        return Err(Error::file(path, message));
    }
    Ok(())
}

/// The number of numbers that are read at once.
const PIECE: usize = 1 << 18;

/// Where the bytes are.
pub(crate) enum Source {
    /// This binary.
    Memory(&'static [u8]),
    /// A file and its length.
    File(File, u64),
    /// A deflated part of another source, which is unpacked on first use.
    Packed(Box<Packed>),
}

/// A deflated part of a file.
pub(crate) struct Packed {
    source: Rc<Source>,
    start: u64,
    len: u64,
    /// The unpacked length that the file states.
    unpacked_len: u64,
    unpacked: OnceCell<Vec<u8>>,
}

impl Packed {
    fn unpacked(&self) -> io::Result<&[u8]> {
        if let Some(bytes) = self.unpacked.get() {
            return Ok(bytes);
        }
        let mut bytes = Vec::new();
        // The buffer grows with the unpacked bytes: nothing is reserved on the word of the file.
        self.reader().take(self.unpacked_len + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != self.unpacked_len {
            return Err(io::Error::other("its unpacked length is not the one that the file states"));
        }
        Ok(self.unpacked.get_or_init(|| bytes))
    }

    fn reader(&self) -> impl Read {
        DeflateDecoder::new(Piece { source: &self.source, at: self.start, end: self.start + self.len })
    }
}

/// A range of a source's bytes.
struct Piece<'a> {
    source: &'a Source,
    at: u64,
    end: u64,
}

impl Read for Piece<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = (self.end - self.at).min(out.len() as u64) as usize;
        self.source.read(self.at, &mut out[..count])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Source {
    /// # Errors
    /// [`Error::File`] if it cannot be opened.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let data = file.metadata()?;
            if data.is_dir() {
                return Err(io::Error::other("it is a folder"));
            }
            Ok(Self::File(file, data.len()))
        };
        let source = open().map_err(|error| Error::file(path, format!("cannot be read ({error}): check the path.")))?;
        let mut start = [0; POINTER.len()];
        if source.read(0, &mut start).is_ok() {
            check_pointer(path, &start)?;
        }
        Ok(source)
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, len) => *len,
            Self::Packed(packed) => packed.unpacked_len,
        }
    }

    /// The `len` deflated bytes of `source` from `start`, which unpack to `unpacked_len` bytes.
    pub(super) fn packed(source: Rc<Self>, (start, len): (u64, u64), unpacked_len: u64) -> Self {
        Self::Packed(Box::new(Packed { source, start, len, unpacked_len, unpacked: OnceCell::new() }))
    }

    /// Reads the `len` bytes from `start` in order; a packed source is only unpacked as far as it is read.
    pub(super) fn reader(&self, start: u64, len: u64) -> Box<dyn Read + '_> {
        match self {
            Self::Packed(packed) if start == 0 => Box::new(packed.reader().take(len)),
            _ => Box::new(Piece { source: self, at: start, end: start.saturating_add(len) }),
        }
    }

    /// The `len` bytes from `start`. Memory is only allocated once the bytes are known to exist.
    ///
    /// # Errors
    /// As [`Source::read`].
    fn bytes(&self, start: u64, len: u64) -> io::Result<Vec<u8>> {
        let there = match self {
            Self::Packed(packed) => packed.unpacked()?.len() as u64,
            _ => self.len(),
        };
        if start.checked_add(len).is_none_or(|end| end > there) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        self.read(start, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `out` with the bytes from `start`.
    ///
    /// # Errors
    /// I/O errors, and an end that comes too early.
    pub(crate) fn read(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => fill(out, bytes, start),
            Self::Packed(packed) => fill(out, packed.unpacked()?, start),
            Self::File(file, _) => {
                let mut file = file;
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(out)
            }
        }
    }
}

/// Fills `out` with `bytes` from `start` on.
fn fill(out: &mut [u8], bytes: &[u8], start: u64) -> io::Result<()> {
    let rest = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
    let part = rest.and_then(|rest| rest.get(..out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
    out.copy_from_slice(part);
    Ok(())
}

/// A tensor of a file, with its name in the file.
pub(crate) type Named = (String, Stored);

/// One tensor of a file.
pub(crate) struct Stored {
    pub source: Rc<Source>,
    /// The offset of its first byte.
    pub start: u64,
    /// Its dtype, or the name of a dtype that cannot be read; `F32` for quantised numbers, which become that.
    pub dtype: std::result::Result<DType, String>,
    pub shape: Vec<usize>,
    /// The order in which its numbers are stored: axes of these sizes, with as many numbers as those of the shape, and the
    /// step from one index of each to the next; `None` if contiguous.
    pub strides: Option<Vec<(usize, usize)>>,
    /// How quantised numbers share a scale; their rows hold whole blocks.
    pub blocks: Option<GgmlDType>,
    /// What is added to every number.
    pub shift: f32,
}

impl Stored {
    /// Passes the numbers to `take` as f32, in order and piece by piece.
    ///
    /// # Errors
    /// A dtype that is not floating point, a file that has become shorter, or an error from `take`: the end of a
    /// sentence.
    pub(crate) fn pieces(&self, mut take: impl FnMut(Vec<f32>) -> Outcome<()>) -> Outcome<()> {
        let dtype = match &self.dtype {
            Ok(dtype @ (DType::F32 | DType::F16 | DType::BF16 | DType::F64)) => *dtype,
            Ok(other) => return Err(format!("has the dtype {other:?}, which is not floating point")),
            Err(name) => return Err(format!("has the dtype {name}, which cannot be read")),
        };
        let mut take = |mut piece: Vec<f32>| {
            if self.shift != 0.0 {
                piece.iter_mut().for_each(|number| *number += self.shift);
            }
            take(piece)
        };
        let Some(strides) = &self.strides else {
            return self.in_a_row(dtype, self.shape.iter().product(), &mut take);
        };
        let mut numbers = Vec::new();
        self.in_a_row(dtype, span(strides).unwrap_or(0), &mut |piece| {
            numbers.extend(piece);
            Ok(())
        })?;
        take(in_order(&numbers, strides))
    }

    /// The tensor as it is in the file, in its own dtype, on the CPU.
    ///
    /// # Errors
    /// As [`Stored::pieces`], but any dtype that tensors can have is read.
    pub(crate) fn tensor(&self) -> Outcome<Tensor> {
        if self.blocks.is_some() || self.shift != 0.0 {
            let mut numbers = Vec::new();
            self.pieces(|piece| {
                numbers.extend(piece);
                Ok(())
            })?;
            let tensor = Tensor::from_vec(numbers, self.shape.as_slice(), &Device::Cpu);
            return tensor.map_err(|error| format!("could not be read as F32 ({error})"));
        }
        let dtype = *self.dtype.as_ref().map_err(|name| format!("has the dtype {name}, which cannot be read"))?;
        let count = match &self.strides {
            Some(strides) => span(strides).unwrap_or(0),
            None => self.shape.iter().product(),
        };
        let size = dtype.size_in_bytes();
        let mut bytes = self
            .source
            .bytes(self.start, (count as u64).saturating_mul(size as u64))
            .map_err(|error| format!("could not be read ({error})"))?;
        let unread = |error: candle_core::Error| format!("could not be read as {dtype:?} ({error})");
        if let Some(order) = self.strides.as_ref().and_then(|strides| turned(strides, &self.shape)) {
            let stored: Vec<usize> = order.iter().map(|axis| self.shape[*axis]).collect();
            let mut back = vec![0; order.len()];
            order.iter().enumerate().for_each(|(place, axis)| back[*axis] = place);
            let tensor = Tensor::from_raw_buffer(&bytes, dtype, &stored, &Device::Cpu).map_err(unread)?;
            drop(bytes);
            return tensor.permute(back).and_then(|tensor| tensor.contiguous()).map_err(unread);
        }
        if let Some(strides) = &self.strides {
            let numbers: Vec<&[u8]> = bytes.chunks(size.max(1)).collect();
            bytes = in_order(&numbers, strides).concat();
        }
        Tensor::from_raw_buffer(&bytes, dtype, &self.shape, &Device::Cpu).map_err(unread)
    }

    /// The name of the type in which the numbers are stored.
    pub(crate) fn kind(&self) -> String {
        match (&self.dtype, self.blocks) {
            (Err(name), _) => name.clone(),
            (_, Some(blocks)) => name_of(blocks),
            (Ok(dtype), None) => dtype.as_str().into(),
        }
    }

    /// How many bytes `count` of its numbers take in the file.
    pub(crate) fn bytes_of(&self, count: usize) -> u64 {
        match (&self.dtype, self.blocks) {
            (_, Some(blocks)) => (count / blocks.block_size()) as u64 * blocks.type_size() as u64,
            (dtype, None) => (count * dtype.as_ref().map_or(0, DType::size_in_bytes)) as u64,
        }
    }

    /// The first `count` quantised numbers. A piece holds whole blocks, whose size divides [`PIECE`].
    fn dequantised(
        &self,
        blocks: GgmlDType,
        count: usize,
        take: &mut impl FnMut(Vec<f32>) -> Outcome<()>,
    ) -> Outcome<()> {
        let bytes_of = |count: usize| count / blocks.block_size() * blocks.type_size();
        let unread = |error: String| format!("could not be read as {} ({error})", name_of(blocks));
        // candle looks at the bytes as blocks, which must begin where an f32 could.
        let mut bytes = vec![0; bytes_of(PIECE.min(count)) + align_of::<f32>()];
        let skip = bytes.as_ptr().align_offset(align_of::<f32>());
        for first in (0..count).step_by(PIECE) {
            let length = PIECE.min(count - first);
            let piece =
                bytes.get_mut(skip..skip + bytes_of(length)).ok_or_else(|| unread("no aligned memory".into()))?;
            let start = self.start + bytes_of(first) as u64;
            self.source.read(start, piece).map_err(|error| format!("could not be read ({error})"))?;
            let numbers = blocks.from_data(Cow::Borrowed(piece)).dequantize(length);
            match numbers.map_err(|error| unread(error.to_string()))? {
                CpuStorage::F32(numbers) => take(numbers)?,
                _ => return Err(unread("they are not f32".into())),
            }
        }
        Ok(())
    }

    /// The first `count` numbers in the order in which they are stored.
    fn in_a_row(&self, dtype: DType, count: usize, take: &mut impl FnMut(Vec<f32>) -> Outcome<()>) -> Outcome<()> {
        if let Some(blocks) = self.blocks {
            return self.dequantised(blocks, count, take);
        }
        let size = dtype.size_in_bytes();
        let mut bytes = vec![0; PIECE.min(count) * size];
        for first in (0..count).step_by(PIECE) {
            let piece = &mut bytes[..PIECE.min(count - first) * size];
            let start = self.start + (first * size) as u64;
            self.source.read(start, piece).map_err(|error| format!("could not be read ({error})"))?;
            if dtype == DType::F32 {
                take(piece.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number)).collect())?;
            } else {
                let read = Tensor::from_raw_buffer(piece, dtype, &[piece.len() / size], &Device::Cpu);
                let read = read.and_then(|piece| piece.to_dtype(DType::F32)?.to_vec1::<f32>());
                take(read.map_err(|error| format!("could not be read as {dtype:?} ({error})"))?)?;
            }
        }
        Ok(())
    }
}

/// What llama.cpp calls a type of blocks: candle leaves out a `_`.
fn name_of(blocks: GgmlDType) -> String {
    let name = format!("{blocks:?}");
    match name.strip_suffix('K') {
        Some(bits) => format!("{bits}_K"),
        None => name,
    }
}

/// An error is the end of a sentence that starts with the name of a tensor.
pub(crate) type Outcome<T> = std::result::Result<T, String>;

/// The number of stored numbers that axes of these sizes and steps span; `None` on overflow.
pub(crate) fn span(strides: &[(usize, usize)]) -> Option<usize> {
    if strides.iter().any(|(size, _)| *size == 0) {
        return Some(0);
    }
    let steps = strides.iter().map(|(size, step)| (size - 1).checked_mul(*step));
    steps.chain([Some(1)]).try_fold(0usize, |sum, step| sum.checked_add(step?))
}

/// The axes in the order in which they are stored, if they are those of this shape with their numbers in a row, only in another
/// order: a transposed matrix.
fn turned(strides: &[(usize, usize)], shape: &[usize]) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..strides.len()).collect();
    order.sort_by_key(|axis| std::cmp::Reverse(strides[*axis].1));
    let mut step = 1;
    let in_a_row = order.iter().rev().all(|axis| {
        let (size, stride) = strides[*axis];
        let fits = stride == step;
        step = step.saturating_mul(size);
        fits
    });
    (in_a_row && strides.iter().map(|(size, _)| size).eq(shape)).then_some(order)
}

/// The numbers in the order of axes of these sizes and steps.
fn in_order<T: Copy>(numbers: &[T], strides: &[(usize, usize)]) -> Vec<T> {
    // Numbers of the last axis that are side by side are copied together.
    let (run, outer) = match strides.split_last() {
        Some(((size, 1), outer)) => (*size, outer),
        _ => (1, strides),
    };
    let count: usize = outer.iter().map(|(size, _)| size).product();
    let mut place = vec![0; outer.len()];
    let mut ordered = Vec::with_capacity(count * run);
    for _ in 0..count {
        let at: usize = place.iter().zip(outer).map(|(index, (_, step))| index * step).sum();
        ordered.extend_from_slice(&numbers[at..at + run]);
        for axis in (0..outer.len()).rev() {
            place[axis] += 1;
            if place[axis] < outer[axis].0 {
                break;
            }
            place[axis] = 0;
        }
    }
    ordered
}
