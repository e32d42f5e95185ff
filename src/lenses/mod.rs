//! Lenses: what the model would predict if it stopped at some point of its residual stream.
//!
//! A [`Lens`] maps the residual stream at a point to what it would be at the end of the model; the final norm, the unembedding and
//! the soft cap then give logits. All lenses are read in the same way, by [`Lens::read`] and the methods beside it:
//!
//! | lens | the map at layer `l` |
//! |---|---|
//! | [`LogitLens`] | `h` itself |
//! | [`TunedLens`] | `h A_l + b_l`, fitted to the model's own predictions |
//! | [`JacobianLens`] | `J_l h`, the mean Jacobian of the end with respect to `h` |

mod jacobian;
mod lens;
mod mean;
mod options;
mod reading;
mod row;
mod rows;
mod run;
mod target;
mod tuned;
mod vectors;

pub use jacobian::{JacobianLens, JacobianOptions, LensDecomposition};
pub use lens::{Lens, LogitLens, logit_lens, logit_lens_to_logit_diff};
pub use options::{LensOptions, LensTarget};
pub use reading::{LensReading, TokenReading};
pub use tuned::{TunedFit, TunedLens, TunedTraining};

use crate::model::{HookedTransformer, ModelProvenance};

/// In what the weights of a model differ from those that a lens was fitted on. Its numbers are f32 whatever the dtype of the weights.
fn of_other_weights(fitted: &ModelProvenance, model: &HookedTransformer) -> Vec<String> {
    let own = model.provenance();
    ModelProvenance { dtype: own.dtype.clone(), ..fitted.clone() }.other_weights(&own)
}
