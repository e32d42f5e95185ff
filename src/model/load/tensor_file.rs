//! The named tensors of a model's files, taken one by one; every mistake in them is found and named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use super::tensor_names::{is_adapter, is_image_part, is_other_head};
use crate::error::{Error, Result};
use crate::progress::Progress;
use crate::storage::{Named, Outcome, Stored};

/// How many faults a message lists.
const SHOWN: usize = 12;

/// The named tensors of one or several files; all faults are collected and reported together at the end.
pub(in crate::model) struct TensorFile {
    path: PathBuf,
    tensors: BTreeMap<String, Stored>,
    faults: Vec<String>,
    /// What the user should know of a file that fits.
    notes: Vec<String>,
    /// What to do about a file that does not.
    advice: Option<String>,
    /// How many matrices have the shape of the config the other way round.
    transposed: usize,
    device: Device,
    dtype: DType,
    crc: flate2::Crc,
    progress: Progress,
    /// What ended the reading of a tensor, after which no other is read.
    interrupted: Option<Error>,
}

impl TensorFile {
    /// `path` is what errors name; the tensors are given out as `dtype` on `device`.
    pub(in crate::model) fn new(path: &Path, tensors: Vec<Named>, dtype: DType, device: &Device) -> Self {
        let size = |stored: &Stored| stored.bytes_of(stored.shape.iter().product());
        let bytes: u64 = tensors.iter().map(|(_, stored)| size(stored)).sum();
        let mut faults = Vec::new();
        let mut named = BTreeMap::new();
        for (name, stored) in tensors {
            if named.insert(name.clone(), stored).is_some() {
                faults.push(format!("{name} is there twice"));
            }
        }
        let what = format!("reading {}", path.display());
        Self {
            path: path.into(),
            tensors: named,
            faults,
            notes: Vec::new(),
            advice: None,
            transposed: 0,
            device: device.clone(),
            dtype,
            crc: flate2::Crc::new(),
            progress: Progress::of(what, bytes, Progress::BYTES),
            interrupted: None,
        }
    }

    /// Takes `prefix` off the names that begin with it.
    pub(in crate::model) fn strip_prefix(&mut self, prefix: &str) {
        let mut renamed = BTreeMap::new();
        for (name, stored) in std::mem::take(&mut self.tensors) {
            let short = name.strip_prefix(prefix).unwrap_or(&name).to_string();
            if renamed.insert(short, stored).is_some() {
                self.faults.push(format!("{name} is there with and without {prefix:?}"));
            }
        }
        self.tensors = renamed;
    }

    /// The names of all tensors that nobody took yet.
    pub(in crate::model) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.tensors.keys().map(String::as_str)
    }

    pub(in crate::model) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Gives a tensor another name.
    pub(in crate::model) fn rename(&mut self, name: &str, new: &str) {
        if let Some(stored) = self.tensors.remove(name) {
            self.tensors.insert(new.into(), stored);
        }
    }

    /// Leaves out the part of a model that reads images.
    pub(in crate::model) fn leave_image_parts(&mut self) {
        let count = self.names().filter(|name| is_image_part(name)).count();
        if count > 0 {
            self.notes.push(format!("{count} tensors of the part that reads images left out"));
            self.tensors.retain(|name, _| !is_image_part(name));
        }
    }

    /// Leaves out what belongs to a head for another task than the next token.
    pub(in crate::model) fn leave_other_heads(&mut self) {
        let heads: Vec<String> = self.names().filter(|name| is_other_head(name)).map(String::from).collect();
        if !heads.is_empty() {
            self.notes.push(format!("{} left out, a head for another task", heads.join(", ")));
            self.tensors.retain(|name, _| !is_other_head(name));
            self.advice = Some(format!(
                "The file has {}, a head for another task: where it has no unembedding it is a classifier, which says \
                 nothing of the next token. Load the model that it was made from.",
                heads.join(", ")
            ));
        }
    }

    /// Keeps something that the user should know of the file.
    pub(in crate::model) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Keeps what to do if the file does not fit.
    pub(in crate::model) fn advise(&mut self, advice: String) {
        self.advice = Some(advice);
    }

    /// What the user should know of the file.
    pub(in crate::model) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(in crate::model) fn ignore(&mut self, unneeded: impl Fn(&str) -> bool) {
        self.tensors.retain(|name, _| !unneeded(name));
    }

    /// The tensor of this name; a fault (and zeros, which [`TensorFile::finish`] never lets out) without it.
    pub(in crate::model) fn take(&mut self, name: &str, shape: &[usize]) -> Tensor {
        self.take_optional(name, shape).unwrap_or_else(|| {
            self.faults.push(format!("{name} {shape:?} is missing"));
            self.placeholder(shape)
        })
    }

    pub(in crate::model) fn take_optional(&mut self, name: &str, shape: &[usize]) -> Option<Tensor> {
        let stored = self.tensors.remove(name)?;
        if stored.shape != shape {
            self.transposed += usize::from(shape.len() == 2 && stored.shape.iter().rev().eq(shape));
            self.faults.push(format!("{name} has shape {:?} but the config makes it {shape:?}", stored.shape));
            return Some(self.placeholder(shape));
        }
        if self.is_faulty() {
            // Nothing will come of it: the numbers need not be read.
            return Some(self.placeholder(shape));
        }
        Some(self.read(&stored).unwrap_or_else(|why| {
            self.faults.push(format!("{name} {why}"));
            self.placeholder(shape)
        }))
    }

    /// The numbers, checked and counted in. Those that become half precision do so piece by piece.
    fn read(&mut self, stored: &Stored) -> Outcome<Tensor> {
        let (dtype, shape, count) = (self.dtype, &stored.shape, stored.shape.iter().product());
        let unfit = |error| format!("does not fit on the device as {dtype:?} ({error})");
        self.crc.update(format!("{shape:?}").as_bytes());
        let mut numbers: Vec<f32> = Vec::with_capacity(if dtype == DType::F32 { count } else { 0 });
        let half =
            (dtype != DType::F32).then(|| Tensor::zeros(count, dtype, &self.device)).transpose().map_err(unfit)?;
        let mut done = 0;
        stored.pieces(|piece| {
            if let Some(odd) = piece.iter().position(|number| !number.is_finite()) {
                return Err(format!("holds {} (number {} of {count})", piece[odd], done + odd));
            }
            self.count_in(&piece);
            if let Err(error) = self.progress.step(stored.bytes_of(piece.len())) {
                let why = error.to_string();
                self.interrupted = Some(error);
                return Err(why);
            }
            let (start, length) = (done, piece.len());
            done += length;
            let Some(half) = &half else {
                numbers.extend(piece);
                return Ok(());
            };
            let piece = Tensor::from_vec(piece, length, &self.device).and_then(|piece| piece.to_dtype(dtype));
            piece.and_then(|piece| half.slice_set(&piece, 0, start)).map_err(unfit)
        })?;
        let tensor = match half {
            Some(half) => half.reshape(shape.as_slice()),
            None => Tensor::from_vec(numbers, shape.as_slice(), &self.device),
        };
        tensor.map_err(unfit)
    }

    /// Zeros in place of a bias that a layer does not have.
    pub(in crate::model) fn zeros(&self, size: usize) -> Result<Tensor> {
        Ok(Tensor::zeros(size, self.dtype, &self.device)?)
    }

    /// Whether something is wrong already, so that only what else is wrong matters.
    pub(in crate::model) fn is_faulty(&self) -> bool {
        !self.faults.is_empty()
    }

    /// `tensor` in a row of its own, or as it is when nothing will come of it: a stand-in for something that is
    /// missing may be larger than any memory.
    pub(in crate::model) fn in_a_row(&self, tensor: Tensor) -> Result<Tensor> {
        if self.is_faulty() { Ok(tensor) } else { Ok(tensor.contiguous()?) }
    }

    /// The sum over all that was taken.
    pub(in crate::model) fn crc32(&self) -> String {
        format!("{:08x}", self.crc.sum())
    }

    fn count_in(&mut self, numbers: &[f32]) {
        for piece in numbers.chunks(1 << 14) {
            let bytes: Vec<u8> = piece.iter().flat_map(|number| number.to_le_bytes()).collect();
            self.crc.update(&bytes);
        }
    }

    /// A stand-in of the right shape that takes no memory, so that all faults are found before any is reported.
    fn placeholder(&self, shape: &[usize]) -> Tensor {
        let zero = Tensor::zeros((), DType::F32, &Device::Cpu).expect("one number fits");
        zero.broadcast_as(shape).expect("one number broadcasts to any shape")
    }

    /// What to do about a file that does not fit.
    fn advice(&self) -> String {
        if self.names().any(is_adapter) {
            return "The file holds adapters of peft beside the weights or in place of them: in Python, call \
                    merge_and_unload() on the model, then save_pretrained, and load what that saves."
                .into();
        }
        if self.transposed > 0 {
            return format!(
                "{} of the matrices have their axes the other way round: GPT-2's Conv1D is stored [in, out], PyTorch's \
                 Linear [out, in]. Transpose them and save them again, the square ones too, which no shape gives away.",
                self.transposed
            );
        }
        self.advice.clone().unwrap_or_else(|| "Is this file of the same model?".into())
    }

    /// Reports every fault, and every tensor that was not taken.
    ///
    /// # Errors
    /// [`Error::File`] if there is any, [`Error::Interrupted`].
    pub(in crate::model) fn finish(&mut self) -> Result<()> {
        if let Some(error) = self.interrupted.take() {
            return Err(error);
        }
        self.faults.extend(self.tensors.iter().map(|(name, stored)| match &stored.dtype {
            Err(what) if stored.shape.is_empty() => format!("{name} is unexpected ({what})"),
            _ => format!("{name} is unexpected"),
        }));
        if self.faults.is_empty() {
            return Ok(());
        }
        let advice = self.advice();
        let more = self.faults.len().saturating_sub(SHOWN);
        let mut list = self.faults.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
        if more > 0 {
            list += &format!("; and {more} more");
        }
        Err(Error::file(&self.path, format!("the tensors do not fit the config: {list}. {advice}")))
    }
}
