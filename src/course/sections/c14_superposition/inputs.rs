//! Small inputs for the exercises of this section.

use candle_core::{Device, Tensor};

use crate::course::seed::{seed, seeded};
use crate::error::Result;

pub(super) fn weights() -> Result<Vec<(Tensor, Tensor, Tensor)>> {
    let mut random = seeded(31);
    let mut one = |batch, n, hidden, features| -> Result<_> {
        let (x, w) = (random.normal((batch, n, features))?.abs()?, random.normal((n, hidden, features))?);
        Ok((x, w, random.normal((n, features))?))
    };
    Ok(vec![one(4, 3, 2, 5)?, one(3, 2, 4, 7)?])
}

/// Probabilities, features or pairs, prompts, a seed.
pub(super) type Drawn = (Vec<f32>, usize, usize, u64);

pub(super) fn independent() -> Result<Vec<Drawn>> {
    Ok(vec![(vec![0.5, 0.1, 0.3], 4, 4000, seed(1)), (vec![0.2, 0.7], 3, 3000, seed(2))])
}

pub(super) fn pairs() -> Result<Vec<Drawn>> {
    Ok(vec![(vec![0.4, 0.15, 0.3], 2, 4000, seed(3)), (vec![0.25, 0.35], 3, 3000, seed(4))])
}

pub(super) fn outputs() -> Result<Vec<(Tensor, Tensor, Tensor)>> {
    let mut random = seeded(32);
    let mut one = |batch, n, features| -> Result<_> {
        let importance: Vec<f32> = (0..features).map(|feature| 0.7f32.powi(feature)).collect();
        let shape = (batch, n, features as usize);
        Ok((random.normal(shape)?, random.normal(shape)?, Tensor::new(importance, &Device::Cpu)?))
    };
    Ok(vec![one(6, 3, 4)?, one(5, 2, 3)?])
}

pub(super) fn directions() -> Result<Vec<(Tensor,)>> {
    let mut random = seeded(33);
    Ok(vec![(random.normal((3, 2, 5))?,), (random.normal((2, 4, 6))?,)])
}
