//! The models that exercises run, read once for all checks.

use std::sync::OnceLock;

use crate::error::Result;
use crate::model::HookedTransformer;

/// The embedded model.
pub(super) fn tiny() -> Result<HookedTransformer> {
    static TINY: OnceLock<HookedTransformer> = OnceLock::new();
    if let Some(model) = TINY.get() {
        return Ok(model.clone());
    }
    let model = HookedTransformer::from_pretrained("tiny")?;
    Ok(TINY.get_or_init(|| model).clone())
}
