//! What a plan puts into the model at a point: a function of the activation there, such as a sparse dictionary that encodes
//! and decodes it, with its own points inside.
//!
//! The order at a point is SAELens': edits of the point act first, the splice gets what they leave, and the run goes on with
//! what the splice returns. What is captured or watched at the point is what the splice gets. A splice may also read points
//! before its own: a transcoder reads what enters the MLP and replaces what leaves it.

use std::sync::Arc;

use candle_core::Tensor;

use super::inner::InnerSite;
use super::point::HookPoint;
use super::query::HookQuery;
use super::splice_run::SpliceRun;
use crate::dims::Dims;
use crate::error::Result;

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
///     fn run(&self, x: &Tensor, at: &mut SpliceRun) -> candle_lens::Result<Tensor> {
///         let acts = at.show(0, x.broadcast_matmul(&self.encode)?.relu()?)?;
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

    /// The points that it reads besides its own, each before it in the forward pass: points of the model, or inner points of other
    /// splices of the plan. It reads what the run goes on with there, after edits and splices. A run of a part of the model must
    /// include them.
    fn reads(&self) -> Vec<HookQuery> {
        Vec::new()
    }

    /// Whether an inner site is made only where [`SpliceRun::wants`] it, so that its memory counts only there.
    fn is_on_demand(&self, number: usize) -> bool {
        let _ = number;
        false
    }

    /// Whether the result depends on `x`. Where it does not, as for a transcoder that replaces what an MLP writes, an edit of the
    /// point would change nothing and is refused.
    fn uses_own(&self) -> bool {
        true
    }

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

    /// What the run goes on with instead of `x`. Each inner site is shown once, `let acts = at.show(number, acts)?`, and what
    /// comes back, edited as the plan says, is what to go on with; one that costs much to make need only be shown where
    /// [`SpliceRun::wants`] it. What [`Splice::reads`] names is there as `at.read(number)?`.
    ///
    /// # Shapes
    /// `x` and the result have the shape of the point.
    ///
    /// # Errors
    /// Whatever stops the run.
    fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor>;
}

impl<S: Splice + ?Sized> Splice for Arc<S> {
    fn name(&self) -> String {
        (**self).name()
    }

    fn inner(&self) -> Vec<InnerSite> {
        (**self).inner()
    }

    fn reads(&self) -> Vec<HookQuery> {
        (**self).reads()
    }

    fn is_on_demand(&self, number: usize) -> bool {
        (**self).is_on_demand(number)
    }

    fn uses_own(&self) -> bool {
        (**self).uses_own()
    }

    fn check(&self, point: HookPoint, dims: &Dims) -> Result<()> {
        (**self).check(point, dims)
    }

    fn is_by_position(&self) -> bool {
        (**self).is_by_position()
    }

    fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
        (**self).run(x, at)
    }
}
