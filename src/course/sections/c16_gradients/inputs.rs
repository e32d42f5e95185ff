//! Small inputs for the exercises of this section.

use candle_core::{Device, Tensor};

use crate::course::data::NAMES;
use crate::course::models::{other, tiny};
use crate::course::seed::reordered;
use crate::error::Result;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

type Pair = (HookedTransformer, Tokens, Tokens);

/// A pair of prompts of the embedded model with its two answers, and one of random tokens for the random model.
fn pairs() -> Result<[(Pair, (usize, usize)); 2]> {
    let model = tiny()?;
    let names = reordered(NAMES, 161);
    let (john, mary) = (names[0], names[1]);
    let clean = model.to_tokens(format!("Then {john} and {mary} left, and {john} gave it to"))?;
    let corrupted = model.to_tokens(format!("Then {john} and {mary} left, and {mary} gave it to"))?;
    let id = |name: &str| Ok::<_, crate::Error>(model.to_single_token(&format!(" {name}"))? as usize);
    let answers = (id(mary)?, id(john)?);
    let mut ids: Vec<u32> = reordered(vec![3, 17, 8, 25, 11], 162);
    let row = Tokens::from_rows(vec![ids.clone()])?;
    ids[2] = 2;
    let small = (other()?, row, Tokens::from_rows(vec![ids])?);
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
    let more = [
        [(0.9, 0.95), (-0.2, -0.3), (0.1, 0.12), (0.4, -0.5), (0.0, 0.12)],
        [(0.3, 0.45), (2.0, 1.8), (-0.5, -0.42), (0.2, 0.5), (0.6, 0.1)],
        [(-0.1, 0.6), (0.7, 0.71), (1.2, 0.95), (0.05, -0.01), (-0.8, -0.58)],
    ];
    let fewer = [
        [(0.5, 0.6), (-1.0, -0.98)],
        [(0.2, -0.4), (0.8, 0.85)],
        [(1.5, 1.8), (-0.3, -0.7)],
        [(0.1, 0.25), (0.6, 0.4)],
    ];
    Ok(vec![table(more, 163)?, table(fewer, 164)?])
}

/// The first numbers of all pairs, and the second.
fn table<const L: usize, const H: usize>(rows: [[(f32, f32); H]; L], place: u64) -> Result<(Tensor, Tensor)> {
    let (exact, estimated): (Vec<f32>, Vec<f32>) = reordered(rows.concat(), place).into_iter().unzip();
    let of = |numbers: Vec<f32>| Tensor::from_vec(numbers, (L, H), &Device::Cpu);
    Ok((of(exact)?, of(estimated)?))
}
