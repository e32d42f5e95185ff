//! Small inputs for the exercises of this section.

use candle_core::{Device, Tensor};

use crate::course::models::{other, tiny};
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

type Pair = (HookedTransformer, Tokens, Tokens);

/// A pair of prompts of the embedded model with its two answers, and one of random tokens for the random model.
fn pairs() -> Result<[(Pair, (usize, usize)); 2]> {
    let model = tiny()?;
    let clean = model.to_tokens("Then John and Mary left, and John gave it to")?;
    let corrupted = model.to_tokens("Then John and Mary left, and Mary gave it to")?;
    let answers = (model.to_single_token(" Mary")? as usize, model.to_single_token(" John")? as usize);
    let random = |ids: &[u32]| Tokens::from_rows(vec![ids.to_vec()]);
    let small = (other()?, random(&[3, 17, 8, 25, 11])?, random(&[3, 17, 2, 25, 11])?);
    Ok([((model, clean, corrupted), answers), (small, (7, 20))])
}

type Nodes = (HookedTransformer, Tokens, Tokens, (usize, usize));

pub(in crate::course::sections) fn nodes() -> Result<Vec<Nodes>> {
    Ok(pairs()?.into_iter().map(|((model, clean, corrupted), answers)| (model, clean, corrupted, answers)).collect())
}

type Path = (HookedTransformer, Tokens, Tokens, usize, (usize, usize), usize);

pub(in crate::course::sections) fn paths() -> Result<Vec<Path>> {
    let with = [(2, 3), (1, 4)];
    let paths = pairs()?.into_iter().zip(with);
    Ok(paths
        .map(|(((model, clean, corrupted), answers), (layer, steps))| (model, clean, corrupted, layer, answers, steps))
        .collect())
}

type Reader = (HookedTransformer, Tokens, Tokens, usize, (usize, usize));

pub(in crate::course::sections) fn readers() -> Result<Vec<Reader>> {
    let readers = pairs()?.into_iter().zip([2, 1]);
    Ok(readers
        .map(|(((model, clean, corrupted), answers), reader)| (model, clean, corrupted, reader, answers))
        .collect())
}

/// Effects, and estimates of them: the worst misses are too large as well as too small, and not at the largest effects.
pub(in crate::course::sections) fn estimates() -> Result<Vec<(Tensor, Tensor)>> {
    let exact = [
        [0.9f32, -0.2, 0.1, 0.4, 0.0], //
        [0.3, 2.0, -0.5, 0.2, 0.6],
        [-0.1, 0.7, 1.2, 0.05, -0.8],
    ];
    let estimated = [
        [0.95f32, -0.3, 0.12, -0.5, 0.12], //
        [0.45, 1.8, -0.42, 0.5, 0.1],
        [0.6, 0.71, 0.95, -0.01, -0.58],
    ];
    let (fewer, estimated_fewer) = (
        [[0.5f32, -1.0], [0.2, 0.8], [1.5, -0.3], [0.1, 0.6]],
        [[0.6f32, -0.98], [-0.4, 0.85], [1.8, -0.7], [0.25, 0.4]],
    );
    let cpu = &Device::Cpu;
    Ok(vec![
        (Tensor::new(&exact, cpu)?, Tensor::new(&estimated, cpu)?),
        (Tensor::new(&fewer, cpu)?, Tensor::new(&estimated_fewer, cpu)?),
    ])
}
