//! Small inputs for the exercises of this section, the cheapest first.

use candle_core::Tensor;

use crate::course::data::NAMES;
use crate::course::models::{other, tiny};
use crate::course::seed::{reordered, seeded};
use crate::error::Result;
use crate::head::Head;
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tokens::Tokens;

pub(super) fn grouped() -> Result<Vec<(Tensor, Vec<usize>)>> {
    let mut random = seeded(21);
    // Numbers of groups may have gaps.
    Ok(vec![
        (random.normal((7, 4, 3, 2))?, vec![0, 2, 0, 2, 2, 5, 5]),
        (random.normal((4, 3, 2, 5))?, vec![1, 0, 0, 1]),
    ])
}

type Kept = (Tensor, Tensor, Vec<usize>, Vec<usize>);

pub(super) fn kept() -> Result<Vec<Kept>> {
    let mut random = seeded(22);
    let mut one =
        |shape: (usize, usize, usize, usize)| -> Result<_> { Ok((random.normal(shape)?, random.normal(shape)?)) };
    let ((z, means), (z2, means2)) = (one((3, 6, 4, 2))?, one((2, 4, 3, 5))?);
    Ok(vec![(z, means, vec![0, 2], vec![4, 1, 5]), (z2, means2, vec![1], vec![0, 3])])
}

type Given = (HookedTransformer, Tokens, Vec<usize>, Answers);

fn random_prompts() -> Result<Given> {
    let (model, mut random) = (other()?, seeded(23));
    let mut id = || random.below(model.cfg().d_vocab) as u32;
    let rows = (0..5).map(|_| (0..6).map(|_| id()).collect()).collect();
    let pairs: Vec<(u32, u32)> = (0..5).map(|_| (id(), id())).collect();
    let answers = model.answers(pairs)?;
    Ok((model, Tokens::from_rows(rows)?, vec![1, 0, 1, 0, 0], answers))
}

fn prompts() -> Result<Given> {
    let model = tiny()?;
    let names: Vec<String> = reordered(NAMES, 24).iter().map(|name| format!(" {name}")).collect();
    let [john, mary, paul, anna] = [0, 1, 2, 3].map(|at| names[at].as_str());
    let prompt = |first: &str, second: &str, subject: &str| {
        format!("When{first} and{second} went to the shops,{subject} gave the bag to")
    };
    let clean = model.to_tokens([
        prompt(john, mary, john),
        prompt(anna, paul, anna),
        prompt(john, mary, mary),
        prompt(anna, paul, paul),
    ])?;
    let answers = model.answers([(mary, john), (paul, anna), (john, mary), (anna, paul)])?;
    Ok((model, clean, vec![0, 0, 1, 1], answers))
}

fn heads<const N: usize>(heads: [(usize, usize); N]) -> Vec<Head> {
    heads.into_iter().map(Head::from).collect()
}

const SMALL: [(usize, usize); 3] = [(0, 1), (1, 0), (2, 1)];
const MOVERS: [(usize, usize); 7] = [(3, 6), (3, 7), (3, 0), (2, 6), (0, 7), (0, 3), (1, 0)];

type OfCircuit = (HookedTransformer, Tokens, Vec<usize>, Answers, Vec<Head>);

pub(super) fn circuits() -> Result<Vec<OfCircuit>> {
    let ((small, a, b, c), (model, d, e, f)) = (random_prompts()?, prompts()?);
    Ok(vec![(small, a, b, c, heads(SMALL)), (model, d, e, f, heads(MOVERS))])
}

type WithHead = (HookedTransformer, Tokens, Vec<usize>, Answers, Vec<Head>, Head, Vec<Head>);

pub(super) fn without_one() -> Result<Vec<WithHead>> {
    let ((small, a, b, c), (model, d, e, f)) = (random_prompts()?, prompts()?);
    Ok(vec![
        (small, a, b, c, heads(SMALL), Head::new(1, 0), heads([(2, 1)])),
        (model, d, e, f, heads(MOVERS), Head::new(0, 7), heads([(3, 7), (0, 3)])),
    ])
}

type WithSets = (HookedTransformer, Tokens, Vec<usize>, Answers, Vec<Head>, Vec<Vec<Head>>);

pub(super) fn without_sets() -> Result<Vec<WithSets>> {
    let ((small, a, b, c), (model, d, e, f)) = (random_prompts()?, prompts()?);
    Ok(vec![
        (small, a, b, c, heads(SMALL), vec![heads([(0, 1)]), heads([(1, 0), (2, 1)]), heads([(2, 1)])]),
        (model, d, e, f, heads(MOVERS), vec![heads([(3, 6)]), heads([(3, 6), (0, 7)])]),
    ])
}
