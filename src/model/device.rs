//! Which device to compute on.

use candle_core::Device;

use crate::error::{Error, Result};

/// The first GPU that this build can use (`--features cuda` or `metal`), else the CPU. Numbers of a GPU differ from
/// those of the CPU in their last digits: name the device where that matters.
///
/// ```
/// use candle_lens::prelude::*;
/// let options = LoadOptions { device: best_device()?, ..Default::default() };
/// let model = HookedTransformer::from_pretrained_with("tiny", options)?;
/// assert!(model.device().same_device(&best_device()?));
/// # Ok::<(), candle_lens::Error>(())
/// ```
///
/// # Errors
/// [`Error::Argument`] when there is a GPU that cannot be used.
pub fn best_device() -> Result<Device> {
    let device = match Device::cuda_if_available(0) {
        Ok(Device::Cpu) => Device::metal_if_available(0),
        other => other,
    };
    device.map_err(|error| {
        Error::argument(format!(
            "there is a GPU, but it cannot be used ({error}): repair its driver, or give Device::Cpu."
        ))
    })
}
