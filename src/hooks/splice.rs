//! What a plan puts into the model at a point: a function of the activation there, such as a sparse dictionary that encodes
//! and decodes it, with its own points inside.
//!
//! The order at a point is SAELens': edits of the point act first, the splice reads what they leave, and the run goes on with
//! what the splice returns. What is captured or watched at the point is what the splice reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Tensor;

use super::inner::{InnerPoint, InnerSite};
use super::point::HookPoint;
use super::run::HookRun;
use super::stage::Kind;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::visible::visible;

/// A function that replaces an activation ([`HookPlan::splice`](super::HookPlan::splice)), and the points inside it.
///
/// A run may give it several copies of the prompts as one batch, and, where it says that it works
/// [position by position](Splice::is_by_position), only some positions of them. Gradients flow through whatever it does with
/// candle's differentiable operations.
///
/// ```
/// use candle_lens::hooks::{InnerSite, Splice};
/// use candle_lens::prelude::*;
///
/// /// A linear dictionary: `encode` is `[d_model, d_sae]` and `decode` is `[d_sae, d_model]`.
/// struct Dictionary { encode: Tensor, decode: Tensor }
///
/// impl Splice for Dictionary {
///     fn name(&self) -> String {
///         "a linear dictionary".into()
///     }
///     fn inner(&self) -> Vec<InnerSite> {
///         vec![InnerSite::features("hook_sae_acts_post", self.decode.dims()[0])]
///     }
///     fn is_by_position(&self) -> bool {
///         true
///     }
///     fn run(
///         &self,
///         x: &Tensor,
///         at: &mut dyn FnMut(usize, Tensor) -> candle_lens::Result<Tensor>,
///     ) -> candle_lens::Result<Tensor> {
///         let acts = at(0, x.broadcast_matmul(&self.encode)?.relu()?)?;
///         Ok(acts.broadcast_matmul(&self.decode)?)
///     }
/// }
///
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let d_model = model.cfg().d_model;
/// let encode = (Random::new(0).normal((d_model, 32))? * 0.1)?;
/// let dictionary = Dictionary { decode: encode.t()?.contiguous()?, encode };
/// let plan = HookPlan::new()
///     .splice(("resid_post", 2), dictionary)
///     .edit("blocks.2.hook_resid_post.hook_sae_acts_post", Edit::zero().feature(7))
///     .capture(("sae_acts_post", 2));
/// let (_, cache) = model.run_with_hooks("The keys on the cabinet", &plan)?;
/// let acts = cache.get("blocks.2.hook_resid_post.hook_sae_acts_post")?;
/// assert_eq!(acts.dim(2)?, 32);
/// assert_eq!(acts.narrow(2, 7, 1)?.abs()?.sum_all()?.to_scalar::<f32>()?, 0.0);
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub trait Splice: Send + Sync {
    /// What plans and errors call it.
    fn name(&self) -> String;

    /// The sites inside, in the order in which [`Splice::run`] shows them.
    fn inner(&self) -> Vec<InnerSite>;

    /// That it can be put at this point of a model of these sizes; called before anything is computed.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    fn check(&self, point: HookPoint, dims: &Dims) -> Result<()> {
        let _ = (point, dims);
        Ok(())
    }

    /// Whether what it does at a position depends on that position alone, as with every dictionary. Then generation keeps
    /// keys and values, and sweeps run the positions that a patch changes; otherwise they run whole texts.
    fn is_by_position(&self) -> bool {
        false
    }

    /// What the run goes on with instead of `x`. Each inner site is shown once, `let acts = at(number, acts)?`, and what
    /// comes back, edited as the plan says, is what to go on with.
    ///
    /// # Shapes
    /// `x` and the result have the shape of the point.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn run(&self, x: &Tensor, at: &mut dyn FnMut(usize, Tensor) -> Result<Tensor>) -> Result<Tensor>;
}

impl<S: Splice + ?Sized> Splice for Arc<S> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn inner(&self) -> Vec<InnerSite> {
        (**self).inner()
    }

    fn check(&self, point: HookPoint, dims: &Dims) -> Result<()> {
        (**self).check(point, dims)
    }

    fn is_by_position(&self) -> bool {
        (**self).is_by_position()
    }

    fn run(&self, x: &Tensor, at: &mut dyn FnMut(usize, Tensor) -> Result<Tensor>) -> Result<Tensor> {
        (**self).run(x, at)
    }
}

/// A splice at its point, with the points inside it.
#[derive(Clone)]
struct Spliced {
    splice: Arc<dyn Splice>,
    inner: Vec<HookPoint>,
}

/// The splices of a plan, checked against a model.
#[derive(Clone, Default)]
pub(crate) struct Splices {
    by_point: BTreeMap<HookPoint, Spliced>,
    dims: Option<Dims>,
}

impl Splices {
    pub(super) fn new(dims: &Dims) -> Self {
        Self { by_point: BTreeMap::new(), dims: Some(*dims) }
    }

    /// Puts a splice at a point.
    ///
    /// # Errors
    /// A point that has one already, or at which none can be; inner sites that no run can show; what the splice refuses.
    pub(super) fn put(&mut self, point: HookPoint, splice: Arc<dyn Splice>, dims: &Dims) -> Result<()> {
        let name = visible(&splice.name()).to_string();
        if matches!(point, HookPoint::Inner(_)) || !matches!(point.kind(), Kind::Vector | Kind::Logits) {
            return Err(Error::argument(format!(
                "nothing can be spliced in at {point}: splice at a point of the model that holds vectors, such as \
                 resid_post, mlp_out or z."
            )));
        }
        if let Some(there) = self.by_point.get(&point) {
            return Err(Error::argument(format!(
                "two splices are at {point}, \"{}\" and \"{name}\": a point takes one. Put one function in that does \
                 both, or splice the second at the next point.",
                visible(&there.splice.name())
            )));
        }
        splice.check(point, dims)?;
        let sites = splice.inner();
        if let Some(twice) = (1..sites.len()).find(|&i| sites[..i].iter().any(|site| site.name() == sites[i].name())) {
            return Err(Error::argument(format!(
                "\"{name}\" has two inner sites called \"{}\": give each its own name.",
                visible(sites[twice].name())
            )));
        }
        let named = sites.into_iter().enumerate();
        let inner = named.map(|(number, site)| InnerPoint::new(point, number, site).map(HookPoint::Inner));
        self.by_point.insert(point, Spliced { inner: inner.collect::<Result<_>>()?, splice });
        Ok(())
    }

    /// What is spliced in, and at which points.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HookPoint, &Arc<dyn Splice>)> {
        self.by_point.iter().map(|(point, spliced)| (*point, &spliced.splice))
    }

    /// The points at which something is spliced in.
    pub(crate) fn points(&self) -> impl Iterator<Item = HookPoint> {
        self.by_point.keys().copied()
    }

    /// The points inside, in the order of the forward pass.
    pub(crate) fn inner(&self) -> Vec<HookPoint> {
        self.by_point.values().flat_map(|spliced| &spliced.inner).copied().collect()
    }

    /// Whether something is spliced in at this point.
    pub(super) fn is_at(&self, point: HookPoint) -> bool {
        self.by_point.contains_key(&point)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_point.is_empty()
    }

    /// Whether something is spliced into this block.
    pub(crate) fn is_in(&self, layer: usize) -> bool {
        self.by_point.keys().any(|point| point.layer() == Some(layer))
    }

    /// Whether all of them treat each position by itself.
    pub(crate) fn are_by_position(&self) -> bool {
        self.by_point.values().all(|spliced| spliced.splice.is_by_position())
    }

    /// How many numbers the largest of them shows in a run of this many prompts and positions.
    pub(crate) fn numbers(&self, dims: &Dims, batch: usize, pos: usize) -> usize {
        let of = |point: &HookPoint| {
            point.shape(dims, batch, pos).into_iter().fold(1usize, |product, size| product.saturating_mul(size))
        };
        let all = |spliced: &Spliced| spliced.inner.iter().map(of).fold(0usize, usize::saturating_add);
        self.by_point.values().map(all).max().unwrap_or(0)
    }

    /// What the run goes on with where the activation `x` is at `point`; `x` itself where nothing is spliced in.
    ///
    /// # Errors
    /// What the splice returns; shapes other than those that it declares; an inner site that the plan names and the splice
    /// does not show, or shows twice.
    pub(super) fn go(run: &mut HookRun, point: HookPoint, x: Tensor) -> Result<Tensor> {
        let splices = run.splices();
        let (Some(spliced), Some(dims)) = (splices.by_point.get(&point).cloned(), splices.dims) else { return Ok(x) };
        let (batch, pos) = (x.dim(0)?, x.dim(point.pos_axis())?);
        let name = visible(&spliced.splice.name()).to_string();
        let mut shown = vec![false; spliced.inner.len()];
        let result = spliced.splice.run(&x, &mut |number, value| {
            let Some((&inner, seen)) = spliced.inner.get(number).zip(shown.get_mut(number)) else {
                return Err(Error::argument(format!(
                    "\"{name}\" shows its inner site {number}, but it declares {}: number them from 0.",
                    spliced.inner.len()
                )));
            };
            if std::mem::replace(seen, true) {
                return Err(Error::argument(format!(
                    "\"{name}\" shows {inner} twice in one run: show each site once."
                )));
            }
            let expected = inner.shape(&dims, batch, pos);
            if value.dims() != expected {
                return Err(Error::shape(
                    format!("what \"{name}\" shows at {inner}"),
                    format!("{expected:?}"),
                    value.dims(),
                ));
            }
            run.show(inner, value)
        })?;
        if let Some((inner, _)) = spliced.inner.iter().zip(&shown).find(|(inner, seen)| !**seen && run.names(**inner)) {
            return Err(Error::argument(format!(
                "the plan names {inner}, but \"{name}\" did not show it in this run: leave it out of the plan, or let \
                 the splice show it."
            )));
        }
        match result.dims() == x.dims() {
            true => Ok(result.to_dtype(x.dtype())?),
            false => {
                let what = format!("what \"{name}\" returns for {point}");
                Err(Error::shape(what, format!("{:?}", x.dims()), result.dims()))
            }
        }
    }
}
