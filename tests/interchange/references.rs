//! Interchanges as TransformerLens 4.3's, and a basis that is learnt as in PyTorch (tests/fixtures/interchange.py).

use candle_lens::Result;
use candle_lens::candle::Tensor;
use candle_lens::interchange::{AlignBy, DasOptions, Interchange, InterchangeOptions, Subspace};
use candle_lens::metrics::Positions;
use candle_lens::model::Processing;

use crate::support::fixture::{Agreement, Reference, numbers, tiny_model};

/// A basis after steps of Adam, which divide rounding errors by their size.
const LEARNT: f64 = 1e-3;

fn indices(of: &Tensor) -> Vec<u32> {
    numbers(of).into_iter().map(|number| number as u32).collect()
}

fn pairs(reference: &Reference) -> Result<Interchange> {
    let model = tiny_model(Processing::NONE);
    let answers = indices(reference.get("answers"));
    let predicted = indices(reference.get("targets")).into_iter().map(|target| answers[target as usize]);
    let at = |name: &str| Positions::each(indices(reference.get(name)).into_iter().map(|at| at as usize));
    let (base, source) = (reference.tokens("base"), reference.tokens("source"));
    Interchange::new(&model, base, source, predicted)?.between(at("base_at"), at("source_at"))
}

/// Our answers are in the order of the pairs; those of the reference in another.
fn compared(
    agreement: &mut Agreement,
    name: &str,
    pairs: &Interchange,
    point: &str,
    subspace: &Subspace,
    reference: &Reference,
) -> Result<()> {
    let got = pairs.logits(point, subspace)?;
    let (targets, answers) = (indices(reference.get("targets")), reference.get("answers").elem_count());
    let mut order: Vec<u32> = Vec::new();
    targets.iter().for_each(|target| {
        if !order.contains(target) {
            order.push(*target);
        }
    });
    let expected = reference.get(name).to_vec2::<f32>()?;
    assert_eq!((order.len(), got.shape()), (answers, vec![expected.len(), answers]));
    let pairs = got
        .values()
        .into_iter()
        .enumerate()
        .map(|(at, got)| (f64::from(got), f64::from(expected[at / answers][order[at % answers] as usize])));
    agreement.check_numbers(name, pairs);
    Ok(())
}

#[test]
fn logits_are_those_of_transformer_lens() -> Result<()> {
    let reference = Reference::load("interchange.safetensors");
    let mut agreement = Agreement::default();
    for point in ["resid_post1", "post0", "attn_out1"] {
        let get = |name: &str| reference.get(&format!("{point}.{name}"));
        let subspace = Subspace::new(get("basis"))?;
        for strength in ["1", "-0.5"] {
            let pairs = pairs(&reference)?.strength(strength.parse().expect("a number"))?;
            compared(&mut agreement, &format!("{point}.along.{strength}"), &pairs, point, &subspace, &reference)?;
        }
        let whole = Subspace::whole(subspace.width())?;
        compared(&mut agreement, &format!("{point}.whole"), &pairs(&reference)?, point, &whole, &reference)?;
        // The span of means is theirs, whatever the basis.
        let labels = indices(reference.get("targets")).into_iter().map(|target| target % 3);
        let (means, theirs) = (Subspace::means(get("source"), labels)?, Subspace::new(get("means"))?);
        assert_eq!(means.rank(), theirs.rank());
        assert!(1. - means.overlap(&theirs)? < LEARNT, "{point}");
    }
    agreement.finish("interchanges");
    Ok(())
}

/// The losses of each step, and where they lead.
#[test]
fn a_basis_is_learnt_as_in_pytorch() -> Result<()> {
    let reference = Reference::load("interchange.safetensors");
    let mut agreement = Agreement::default();
    for rank in [1, 3] {
        let get = |name: &str| reference.get(&format!("das.{rank}.{name}"));
        let losses = numbers(get("losses"));
        let start = Some(Subspace::new(get("start"))?);
        let align = AlignBy::Das(DasOptions { rank, epochs: losses.len(), start, ..Default::default() });
        let pairs = pairs(&reference)?;
        let study = pairs.study(&pairs, "resid_post1", InterchangeOptions { align, repeats: 1, seed: 0 })?;
        agreement.check_numbers(&format!("das {rank}"), study.losses.iter().copied().zip(losses));
        let overlap = study.subspace.overlap(&Subspace::new(get("basis"))?)?;
        assert!(1. - overlap < LEARNT, "{overlap}");
    }
    agreement.finish("losses of learning");
    Ok(())
}
