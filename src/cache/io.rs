//! Caches and stacks in files: safetensors with the metadata that the tensors need.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::sink::Sink;
use super::stack::ResidualStack;
use super::store::{ActivationCache, Provenance};
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::hooks::{HookPlan, HookPoint, InnerPoint, InnerSite};
use crate::model::FinalNorm;
use crate::slice::Slice;
use crate::storage;
use crate::tokens::Tokens;

const CACHE: &str = "activation cache";
const STACK: &str = "residual stack";

/// What a cache is besides its tensors.
#[derive(Serialize, Deserialize)]
struct CacheAbout {
    provenance: Provenance,
    dims: Dims,
    tokens: Tokens,
    pos: Slice,
    has_batch_dim: bool,
    #[serde(default)]
    soft_cap: bool,
    #[serde(default)]
    sink: Sink,
    #[serde(default)]
    edited: Vec<String>,
    points: Vec<String>,
    /// The points inside splices, with what they are: no table knows them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inner: Vec<InnerAbout>,
}

/// A point inside a splice.
#[derive(Serialize, Deserialize)]
struct InnerAbout {
    outer: String,
    number: usize,
    site: InnerSite,
}

impl CacheAbout {
    /// The point of this name.
    ///
    /// # Errors
    /// A name that is not a point of these sizes, or a point inside a splice that the file does not describe.
    fn point(&self, name: &str) -> Result<HookPoint> {
        let of = |inner: &InnerAbout| {
            let outer = inner.outer.parse::<HookPoint>()?.check(&self.dims)?;
            InnerPoint::new(outer, inner.number, inner.site.clone()).map(HookPoint::Inner)
        };
        match self.inner.iter().find(|inner| format!("{}.{}", inner.outer, inner.site.name()) == name) {
            Some(inner) => of(inner),
            None => name.parse::<HookPoint>()?.check(&self.dims),
        }
    }
}

impl ActivationCache {
    /// Saves the whole cache in one file: activations, tokens, sizes, the final norm and the provenance. The file is
    /// written completely or not at all, and numbers are preserved bit for bit.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained("tiny")?;
    /// let (_logits, cache) = model.run_with_cache("The keys on the cabinet")?;
    /// let path = std::env::temp_dir().join("cabinet.safetensors");
    /// cache.save(&path)?;
    /// assert_eq!(ActivationCache::load(&path)?.len(), cache.len());
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut tensors: BTreeMap<String, Tensor> =
            self.captured.iter().map(|(point, tensor)| (point.to_string(), tensor.clone())).collect();
        let about = CacheAbout {
            provenance: self.provenance.clone(),
            dims: self.dims,
            tokens: self.tokens.clone(),
            pos: self.pos.clone(),
            has_batch_dim: self.has_batch_dim,
            soft_cap: self.soft_cap,
            sink: self.sink,
            edited: self.edited.iter().map(HookPoint::to_string).collect(),
            points: tensors.keys().cloned().collect(),
            inner: self.captured.keys().chain(&self.edited).filter_map(about_inner).collect(),
        };
        tensors.extend(self.final_norm.tensors()?);
        storage::store(path.as_ref(), CACHE, &about, &tensors)
    }

    /// Loads a cache that [`ActivationCache::save`] wrote, on the CPU.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged, or not of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (about, mut tensors): (CacheAbout, _) = storage::restore(path, CACHE)?;
        let unsound = |error: Error| error.in_file(path);
        about.tokens.check_whole().map_err(unsound)?;
        let mut captured = BTreeMap::new();
        for (point, shape) in shapes(&about).map_err(unsound)? {
            let tensor = storage::take(path, &mut tensors, &point.to_string())?;
            if point != HookPoint::Tokens {
                check_floats(path, &point.to_string(), &tensor)?;
            }
            if tensor.dims() != shape {
                return Err(Error::file(
                    path,
                    format!("{point} has the shape {:?}, but {shape:?} belongs to this cache.", tensor.dims()),
                ));
            }
            captured.insert(point, tensor);
        }
        let final_norm = FinalNorm::from_tensors(&mut tensors, &about.dims).map_err(unsound)?;
        if let Some(name) = tensors.keys().next() {
            return Err(Error::file(path, format!("the tensor {name:?} does not belong to this cache.")));
        }
        let edited = about.edited.iter().map(|name| about.point(name)).collect::<Result<_>>().map_err(unsound)?;
        let CacheAbout { provenance, dims, tokens, pos, has_batch_dim, soft_cap, .. } = about;
        let any_model = false;
        Ok(Self {
            captured,
            dims,
            tokens,
            pos,
            has_batch_dim,
            final_norm,
            soft_cap,
            edited,
            any_model,
            provenance,
            sink: about.sink,
        })
    }
}

fn about_inner(point: &HookPoint) -> Option<InnerAbout> {
    let HookPoint::Inner(inner) = point else { return None };
    Some(InnerAbout { outer: inner.outer().to_string(), number: inner.number(), site: inner.site().clone() })
}

/// The points of a cache with the shapes that a run gives them.
fn shapes(about: &CacheAbout) -> Result<Vec<(HookPoint, Vec<usize>)>> {
    let plan = HookPlan::new().pos(about.pos.clone());
    let plan = if about.has_batch_dim { plan } else { plan.remove_batch_dim() };
    let points = about.points.iter().map(|name| about.point(name)).collect::<Result<Vec<_>>>()?;
    let plan = points.into_iter().fold(plan, HookPlan::capture);
    let memory = plan.memory(&about.dims, about.tokens.batch(), about.tokens.pos(), DType::F32)?;
    Ok(memory.points.into_iter().map(|kept| (kept.point, kept.shape)).collect())
}

/// Rejects dtypes that are not floating point.
fn check_floats(path: &Path, name: &str, tensor: &Tensor) -> Result<()> {
    match tensor.dtype() {
        DType::F32 | DType::F16 | DType::BF16 | DType::F64 => Ok(()),
        other => Err(Error::file(
            path,
            format!("{name} has the dtype {other:?}, but a floating-point one is needed: save it again."),
        )),
    }
}

/// What a stack is besides its values.
#[derive(Serialize, Deserialize)]
struct StackAbout {
    labels: Vec<String>,
    pos: Slice,
    positions: Vec<usize>,
    has_batch_dim: bool,
    #[serde(default)]
    normed: bool,
}

impl ResidualStack {
    /// Saves the stack with its labels in one file, which is written completely or not at all.
    ///
    /// # Errors
    /// [`Error::File`] if the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let about = StackAbout {
            labels: self.labels.clone(),
            pos: self.pos.clone(),
            positions: self.positions.clone(),
            has_batch_dim: self.has_batch_dim,
            normed: self.normed,
        };
        storage::store(path.as_ref(), STACK, &about, &BTreeMap::from([("values".to_string(), self.values.clone())]))
    }

    /// Loads a stack that [`ResidualStack::save`] wrote, on the CPU.
    ///
    /// # Errors
    /// [`Error::File`] for a file that is missing, truncated, damaged, or not of this kind.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let (about, mut tensors): (StackAbout, _) = storage::restore(path, STACK)?;
        let StackAbout { labels, pos, positions, has_batch_dim, normed } = about;
        let values = storage::take(path, &mut tensors, "values")?;
        check_floats(path, "values", &values)?;
        let axes = values.dims();
        let with_batch = 1 + usize::from(has_batch_dim);
        let fits = axes.first() == Some(&labels.len())
            && match axes.len().checked_sub(with_batch) {
                Some(1) => positions.len() == 1,
                Some(2) => positions.len() == axes[with_batch],
                _ => false,
            };
        if !fits {
            return Err(Error::file(path, format!("its labels do not match its values of the shape {axes:?}.")));
        }
        Ok(Self { values, labels, pos, positions, has_batch_dim, normed })
    }
}
