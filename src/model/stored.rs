//! Tensors that lie in a file (or in this binary): where they are, of which type and shape. They are read one by one,
//! in small pieces, so that loading needs little more memory than the numbers that come out.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::rc::Rc;

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::Metadata;

use crate::error::{Error, Result};
use crate::files::read_json;

/// How the text begins that Git LFS keeps in place of a large file.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Refuses the text that Git LFS keeps in place of a file, of which `start` is the beginning.
///
/// # Errors
/// [`Error::File`] that says what it is and how to get the file.
pub(super) fn check_pointer(path: &Path, start: &[u8]) -> Result<()> {
    if start.starts_with(POINTER) {
        let message = "is not the file itself but a pointer of Git LFS to it: run `git lfs pull` in its folder, or \
                       download the file anew.";
        return Err(Error::file(path, message));
    }
    Ok(())
}

/// How many numbers are read at once.
const PIECE: usize = 1 << 18;

/// What holds the bytes.
pub(super) enum Source {
    /// This binary.
    Memory(&'static [u8]),
    /// A file, and how long it is.
    File(File, u64),
}

impl Source {
    /// # Errors
    /// [`Error::File`] when it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let open = || -> io::Result<Self> {
            let file = File::open(path)?;
            let data = file.metadata()?;
            if data.is_dir() {
                return Err(io::Error::other("it is a folder"));
            }
            Ok(Self::File(file, data.len()))
        };
        let source = open().map_err(|error| {
            Error::file(
                path,
                format!(
                    "cannot be read ({error}): a model's folder needs config.json and model.safetensors, and \
                     tokenizer.json for text."
                ),
            )
        })?;
        let mut start = [0; POINTER.len()];
        if source.read(0, &mut start).is_ok() {
            check_pointer(path, &start)?;
        }
        Ok(source)
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, len) => *len,
        }
    }

    /// Fills `out` with the bytes from `start`.
    ///
    /// # Errors
    /// That of the disk, or an end that comes too early.
    pub(super) fn read(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        match self {
            Self::Memory(bytes) => {
                let rest = usize::try_from(start).ok().and_then(|start| bytes.get(start..));
                let part = rest.and_then(|rest| rest.get(..out.len())).ok_or(io::ErrorKind::UnexpectedEof)?;
                out.copy_from_slice(part);
                Ok(())
            }
            Self::File(file, _) => {
                let mut file = file;
                file.seek(SeekFrom::Start(start))?;
                file.read_exact(out)
            }
        }
    }
}

/// One tensor of a file.
pub(super) struct Stored {
    pub source: Rc<Source>,
    /// Its first byte.
    pub start: u64,
    /// The type of its numbers, or the name of one that cannot be read.
    pub dtype: std::result::Result<DType, String>,
    pub shape: Vec<usize>,
    /// Numbers from one entry of each axis to the next; `None` where all lie in a row.
    pub strides: Option<Vec<usize>>,
}

impl Stored {
    /// Gives out the numbers as f32, in order and piece by piece.
    ///
    /// # Errors
    /// A type that is not a number's, a file that has become shorter, or what `take` says: half a sentence.
    pub(super) fn pieces(&self, mut take: impl FnMut(Vec<f32>) -> Outcome<()>) -> Outcome<()> {
        let dtype = match &self.dtype {
            Ok(dtype @ (DType::F32 | DType::F16 | DType::BF16 | DType::F64)) => *dtype,
            Ok(other) => return Err(format!("is of type {other:?}, not of floating point numbers")),
            Err(name) => return Err(format!("is of type {name}, which cannot be read")),
        };
        let Some(strides) = &self.strides else {
            return self.in_a_row(dtype, self.shape.iter().product(), &mut take);
        };
        let mut numbers = Vec::new();
        self.in_a_row(dtype, span(&self.shape, strides).unwrap_or(0), &mut |piece| {
            numbers.extend(piece);
            Ok(())
        })?;
        take(in_order(&numbers, &self.shape, strides))
    }

    /// The first `count` numbers as they lie.
    fn in_a_row(&self, dtype: DType, count: usize, take: &mut impl FnMut(Vec<f32>) -> Outcome<()>) -> Outcome<()> {
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

/// What went wrong is half a sentence, behind the name of a tensor.
pub(super) type Outcome<T> = std::result::Result<T, String>;

/// How many numbers a tensor of these strides reaches over; `None` for more than there can be.
pub(super) fn span(shape: &[usize], strides: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    let steps = shape.iter().zip(strides).map(|(size, stride)| (size - 1).checked_mul(*stride));
    steps.chain([Some(1)]).try_fold(0usize, |sum, step| sum.checked_add(step?))
}

/// The numbers of a tensor with strides, in the order of its axes.
fn in_order(numbers: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let count = shape.iter().product();
    let mut place = vec![0; shape.len()];
    let mut ordered = Vec::with_capacity(count);
    for _ in 0..count {
        let at: usize = place.iter().zip(strides).map(|(index, stride)| index * stride).sum();
        ordered.push(numbers[at]);
        for axis in (0..shape.len()).rev() {
            place[axis] += 1;
            if place[axis] < shape[axis] {
                break;
            }
            place[axis] = 0;
        }
    }
    ordered
}

/// The tensors of a safetensors file. Its header is checked against the length of the file before anything is read.
///
/// # Errors
/// [`Error::File`] when the bytes are not a whole safetensors file.
pub(super) fn safetensors(path: &Path, source: Source) -> Result<Vec<(String, Stored)>> {
    let len = source.len();
    let (data, header) = header(&source).map_err(|why| {
        let message = format!(
            "these {len} bytes are no whole safetensors file ({why}): it may be cut off or something else; fetch it again."
        );
        Error::file(path, message)
    })?;
    let source = Rc::new(source);
    let tensors = header.tensors().into_iter().map(|(name, info)| {
        let stored = Stored {
            source: source.clone(),
            start: data + info.data_offsets.0 as u64,
            dtype: DType::try_from(info.dtype).map_err(|_| format!("{:?}", info.dtype)),
            shape: info.shape.clone(),
            strides: None,
        };
        (name, stored)
    });
    Ok(tensors.collect())
}

/// The longest header that is read, in bytes, as in safetensors itself.
const LONGEST_HEADER: u64 = 100_000_000;

/// What a file of another kind is, by its first bytes.
fn other_kind(start: [u8; 8]) -> Option<&'static str> {
    match &start[..4] {
        b"GGUF" => Some("it is a GGUF file under another name, which cannot be loaded: fetch the model's safetensors"),
        b"PK\x03\x04" => Some("it is a zip archive, as PyTorch writes: name it .pt and load it with from_checkpoint"),
        _ => None,
    }
}

/// Where the numbers begin, and what the header says of them: without gaps or overlaps, to the last byte.
fn header(source: &Source) -> std::result::Result<(u64, Metadata), String> {
    let mut length = [0; 8];
    source.read(0, &mut length).map_err(|_| "it ends within the length of its header")?;
    if let Some(kind) = other_kind(length) {
        return Err(kind.into());
    }
    let length = u64::from_le_bytes(length);
    let data = length.checked_add(8).filter(|data| *data <= source.len());
    let data = data.ok_or_else(|| format!("it says that its header has {length} bytes, more than there are"))?;
    if length > LONGEST_HEADER {
        return Err(format!("it says that its header has {length} bytes, but at most {LONGEST_HEADER} are valid"));
    }
    let mut header = vec![0; usize::try_from(length).map_err(|_| "its header is too large")?];
    source.read(8, &mut header).map_err(|error| error.to_string())?;
    let header: Metadata = read_json(&header).map_err(|error| format!("its header is wrong: {error}"))?;
    let end = data.checked_add(header.data_len() as u64);
    if end != Some(source.len()) {
        return Err(format!(
            "its header tells of {} bytes behind it, but there are {}",
            header.data_len(),
            source.len() - data
        ));
    }
    Ok((data, header))
}
