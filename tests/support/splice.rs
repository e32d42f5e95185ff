//! A linear dictionary to splice in, whose every number can be made by hand.

use candle_lens::candle::{Device, Tensor};
use candle_lens::dims::Dims;
use candle_lens::hooks::{AxisName, HookPoint, InnerSite, Splice, SpliceRun};
use candle_lens::{Error, Result};

pub const FEATURES: usize = 12;

/// `decode(encode(x))`, with the error term or without it: with one, the run goes on as if nothing were spliced in.
pub struct Linear {
    pub encode: Tensor,
    pub decode: Tensor,
    pub error_term: bool,
    pub by_position: bool,
}

impl Linear {
    pub fn new(width: usize, error_term: bool) -> Self {
        let numbers =
            |n: usize, phase: f32| (0..n).map(|i| (i as f32 * 0.37 + phase).sin() * 0.4).collect::<Vec<f32>>();
        let encode = Tensor::from_vec(numbers(width * FEATURES, 0.2), (width, FEATURES), &Device::Cpu).unwrap();
        let decode = Tensor::from_vec(numbers(width * FEATURES, 1.1), (FEATURES, width), &Device::Cpu).unwrap();
        Self { encode, decode, error_term, by_position: true }
    }
}

impl Splice for Linear {
    fn name(&self) -> String {
        "linear dictionary".into()
    }

    fn inner(&self) -> Vec<InnerSite> {
        vec![
            InnerSite::features("hook_sae_acts_post", FEATURES),
            InnerSite::new("hook_sae_recons", [AxisName::Batch, AxisName::Pos, AxisName::DModel]),
        ]
    }

    fn check(&self, point: HookPoint, dims: &Dims) -> Result<()> {
        let width = point.shape(dims, 1, 1)[2..].iter().product::<usize>();
        match self.decode.dims()[1] == width {
            true => Ok(()),
            false => Err(Error::argument(format!("the dictionary does not fit {point}: it reads {width} numbers."))),
        }
    }

    fn is_by_position(&self) -> bool {
        self.by_position
    }

    fn run(&self, x: &Tensor, at: &mut SpliceRun) -> Result<Tensor> {
        // Of z, heads are read one behind the other.
        let flat = x.flatten_from(2)?;
        let acts = at.show(0, flat.broadcast_matmul(&self.encode)?)?;
        let recons = at.show(1, acts.broadcast_matmul(&self.decode)?)?;
        let result = match self.error_term {
            // The error of the dictionary without edits.
            true => (recons + (&flat - flat.broadcast_matmul(&self.encode)?.broadcast_matmul(&self.decode)?)?)?,
            false => recons,
        };
        Ok(result.reshape(x.shape())?)
    }
}
