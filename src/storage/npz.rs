//! NumPy files: `.npz`, a zip archive of arrays, and `.npy`, one array. Nothing in them is run: an array of Python
//! objects is a pickle, which is listed but not read.
//!
//! The format is documented in NumPy's `numpy.lib.format`: a magic number, a version, the length of the header, the
//! header (a Python dictionary of `descr`, `fortran_order` and `shape`), the numbers.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use candle_core::DType;
use zip::CompressionMethod;

use super::npy_header::Header;
use super::stored::{Named, Source, Stored};
use crate::error::{Error, Result};

/// The first bytes of an array.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";

/// The longest array header that is read, in bytes; NumPy writes about a hundred.
const LONGEST_HEADER: usize = 1 << 16;

/// The arrays of a `.npz` file.
///
/// # Errors
/// [`Error::File`] if it is not one, is cut off, or an array does not have the length that its header says.
pub(super) fn npz(path: &Path, source: Source) -> Result<Vec<Named>> {
    arrays(path, Rc::new(source)).map_err(|why| {
        Error::file(path, format!("is not a complete NumPy .npz file ({why}): it may be cut off or in another format."))
    })
}

/// The array of a `.npy` file, named after the file.
///
/// # Errors
/// [`Error::File`] if it is not one, is cut off, or does not have the length that its header says.
pub(super) fn npy(path: &Path, source: Source) -> Result<Vec<Named>> {
    let name = path.file_stem().map_or("array".into(), |stem| stem.to_string_lossy().into_owned());
    let len = source.len();
    let stored = array(Rc::new(source), 0, len).map_err(|why| {
        Error::file(path, format!("is not a complete NumPy .npy file ({why}): it may be cut off or in another format."))
    })?;
    Ok(vec![(name, stored)])
}

fn arrays(path: &Path, source: Rc<Source>) -> Result<Vec<Named>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let mut found: Vec<Named> = Vec::new();
    for index in 0..zip.len() {
        let entry = zip.by_index_raw(index).map_err(|error| error.to_string())?;
        let name = String::from_utf8_lossy(entry.name_raw()).into_owned();
        let Some(name) = name.strip_suffix(".npy") else {
            return Err(format!("its entry {name:?} is not an array"));
        };
        let start = entry.data_start().ok_or("an entry has no position")?;
        let (packed, len) = (entry.compressed_size(), entry.size());
        if start.checked_add(packed).is_none_or(|end| end > source.len()) {
            return Err(format!("its entry {name:?} extends past the end of the file"));
        }
        if entry.encrypted() {
            return Err(format!("its entry {name:?} is encrypted"));
        }
        let stored = match entry.compression() {
            CompressionMethod::Stored if packed == len => array(source.clone(), start, len),
            CompressionMethod::DEFLATE => array(Rc::new(Source::packed(source.clone(), (start, packed), len)), 0, len),
            other => Err(format!("has a compression that NumPy never uses ({other})")),
        };
        let stored = stored.map_err(|why| format!("the array {name:?} {why}"))?;
        found.push((name.to_string(), stored));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    match found.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        Some(pair) => Err(format!("it contains the array {:?} twice", pair[0].0)),
        None => Ok(found),
    }
}

/// The array in the `len` bytes from `start`; reads its header, but not its numbers.
fn array(source: Rc<Source>, start: u64, len: u64) -> Result<Stored, String> {
    let (header, before) = header(&source, start, len)?;
    let room = len - before;
    let (dtype, width) = dtype(&header.descr);
    let count = header.shape.iter().try_fold(1u64, |all, size| all.checked_mul(*size as u64));
    if width.is_some_and(|width| count.and_then(|count| count.checked_mul(width)) != Some(room)) {
        let shape = &header.shape;
        return Err(format!("has the shape {shape:?} and dtype {:?}, but {room} bytes of numbers", header.descr));
    }
    let in_a_row = header.shape.iter().filter(|size| **size != 1).count() < 2 || count == Some(0);
    let strides = (header.fortran_order && !in_a_row).then(|| {
        let steps = header.shape.iter().scan(1usize, |step, size| {
            let this = *step;
            *step = this.saturating_mul(*size);
            Some((*size, this))
        });
        steps.collect()
    });
    Ok(Stored { source, start: start + before, dtype, shape: header.shape, strides, blocks: None, shift: 0.0 })
}

/// The header of an array, and the number of bytes before its numbers.
fn header(source: &Source, start: u64, len: u64) -> Result<(Header, u64), String> {
    let mut bytes = source.reader(start, len);
    let mut take = |count: usize| -> Result<Vec<u8>, String> {
        let mut part = vec![0; count];
        bytes.read_exact(&mut part).map_err(|_| "ends within its header")?;
        Ok(part)
    };
    let begin = take(MAGIC.len() + 2)?;
    if !begin.starts_with(MAGIC) {
        return Err("does not start like a NumPy array".into());
    }
    let (length, before) = match begin[MAGIC.len()] {
        1 => (take(2)?.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)), 10),
        2 | 3 => (take(4)?.iter().rev().fold(0, |all, byte| all << 8 | usize::from(*byte)), 12),
        version => return Err(format!("has format version {version}, but only 1, 2 and 3 are supported")),
    };
    if length > LONGEST_HEADER {
        return Err(format!("has a header of {length} bytes, but at most {LONGEST_HEADER} are valid"));
    }
    Ok((Header::parse(&take(length)?)?, before + length as u64))
}

/// The dtype that NumPy calls `descr`, or that name if the dtype is not supported; and the number of bytes per number.
fn dtype(descr: &str) -> (std::result::Result<DType, String>, Option<u64>) {
    let known = match descr {
        "<f2" => DType::F16,
        "<f4" => DType::F32,
        "<f8" => DType::F64,
        "<i2" => DType::I16,
        "<i4" => DType::I32,
        "<i8" => DType::I64,
        "<u4" => DType::U32,
        // Booleans are bytes of 0 and 1.
        "|u1" | "|b1" => DType::U8,
        other => return (Err(other.chars().take(40).collect()), None),
    };
    (Ok(known), Some(known.size_in_bytes() as u64))
}
