//! Heads by their patterns against TransformerLens 3.9 (tests/fixtures/heads.py), and by what they copy against the
//! circuits written out.

use candle_lens::Result;
use candle_lens::analysis::{
    DetectOptions, DetectionPattern, ErrorMeasure, RepeatOptions, copying_scores, detect_head,
    eigenvalue_copying_scores, induction_scores,
};
use candle_lens::cache::Sink;
use candle_lens::candle::Tensor;
use candle_lens::model::{HookedTransformer, Processing};
use candle_lens::tokens::{PaddingSide, Tokens};
use ndarray::Array2;

use crate::support::fixture::{Agreement, Reference, tiny_model};
use crate::support::sentence::sentence;
use crate::support::tolerance::{LAST_DIGITS, REORDERED};

/// Half of the third decimal, to which TransformerLens rounds these scores, and what f32 adds to it.
const PRINTED: f64 = 5.1e-4;

/// The attention of a head that does not do this, less than one key position in 20.
const LEAST_ATTENTION: f32 = 0.05;

const ROWS: [[u32; 9]; 2] = [[3, 50, 17, 101, 3, 50, 17, 9, 9], [8, 8, 9, 10, 8, 9, 12, 10, 8]];

#[test]
fn scores_are_those_of_transformer_lens() -> Result<()> {
    let reference = Reference::load("heads.safetensors");
    let model = tiny_model(Processing::NONE);
    let (_, cache) = model.run_with_cache(ROWS.map(|row| row.to_vec()).to_vec())?;
    let (mut exact, mut rounded) = (Agreement::default(), 0f64);
    for (name, pattern) in [
        ("previous", DetectionPattern::PreviousToken),
        ("duplicate", DetectionPattern::DuplicateToken),
        ("induction", DetectionPattern::Induction),
    ] {
        for (measure, error_measure) in [("mul", ErrorMeasure::Mul), ("abs", ErrorMeasure::Abs)] {
            for (exclude_bos, exclude_current_token) in [(false, false), (true, false), (false, true), (true, true)] {
                let options = DetectOptions { exclude_current_token, error_measure };
                let cache = cache.clone().with_sink(if exclude_bos { Sink::LeftOut } else { Sink::Counted });
                let scores = detect_head(&cache, &pattern, options)?;
                let title = format!("{name}.{measure}.{}{}", u8::from(exclude_bos), u8::from(exclude_current_token));
                let got =
                    Tensor::from_vec(scores.values().iter().copied().collect(), (2, 4), &candle_core::Device::Cpu)?;
                match error_measure {
                    ErrorMeasure::Mul => exact.check(&title, &got, reference.get(&title)),
                    // TransformerLens rounds each prompt's to three decimals.
                    ErrorMeasure::Abs => {
                        let apart = (got - reference.get(&title))?.abs()?.max_all()?.to_scalar::<f32>()?;
                        rounded = rounded.max(f64::from(apart));
                    }
                }
            }
        }
    }
    exact.finish("head detection");
    assert!(rounded <= PRINTED, "{rounded}");
    Ok(())
}

#[test]
fn padding_does_not_count() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let rows = vec![ROWS[0].to_vec(), ROWS[1][..5].to_vec()];
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let (_, together) = model.run_with_cache(Tokens::padded(rows.clone(), 0, side)?)?;
        let both = detect_head(&together, &DetectionPattern::DuplicateToken, DetectOptions::default())?;
        let mut alone = vec![0f32; 8];
        for row in &rows {
            let (_, cache) = model.run_with_cache(vec![row.clone()])?;
            let own = detect_head(&cache, &DetectionPattern::DuplicateToken, DetectOptions::default())?;
            alone.iter_mut().zip(&own.values()).for_each(|(sum, own)| *sum += own / 2.);
        }
        for (a, b) in both.values().iter().zip(alone) {
            assert!((a - b).abs() < REORDERED, "{side}: {a} {b}");
        }
    }
    Ok(())
}

#[test]
fn the_embedded_model_has_induction_and_copying_heads() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let induction = induction_scores(&model, RepeatOptions { seq_len: 25, batch: 8, seed: 1 })?;
    assert!(induction.top(1)[0].value > 0.5, "{:?}", induction.top(3));
    assert!(induction.bottom(1)[0].value < LEAST_ATTENTION);
    // The same by the general detector, on the same kind of text.
    let names = [" John", " Mary", " Tom", " James", " Amy", " Martin"];
    let scores = copying_scores(&model, names, 5)?;
    assert_eq!(scores.shape(), [2, 4, 8]);
    assert!(scores.select("kind", 0)?.top(1)[0].value > 0.9, "some head copies names: {:?}", scores.top(3));
    let eigenvalues = eigenvalue_copying_scores(&model)?;
    // Against the circuit of one head, written out: the trace is the sum of its eigenvalues.
    let circuit = model.OV()?.get(&[1, 2])?.left_matmul(&model.W_E())?.right_matmul(&model.W_U())?;
    let trace = circuit.BA()?.to_vec2::<f32>()?.iter().enumerate().map(|(i, row)| row[i]).sum::<f32>();
    assert_eq!(trace > 0., eigenvalues.values()[[1, 2]] > 0.);
    assert!(eigenvalues.values().iter().all(|score| (-1.0..=1.0).contains(score)));
    Ok(())
}

#[test]
fn patterns_of_ones_own_are_checked() -> Result<()> {
    let model = tiny_model(Processing::NONE);
    let (_, cache) = model.run_with_cache(vec![vec![1u32, 2, 3]])?;
    let score = |pattern| detect_head(&cache, &DetectionPattern::Custom(pattern), DetectOptions::default());
    sentence(score(Array2::zeros((2, 2))), &["[3, 3]", "[2, 2]"]);
    sentence(score(Array2::ones((3, 3))), &["lower triangular"]);
    let all = Array2::from_shape_fn((3, 3), |(to, from)| if from <= to { 1. } else { 0. });
    assert!(score(all)?.values().iter().all(|score| (score - 1.).abs() < LAST_DIGITS), "all attention is somewhere");
    sentence(copying_scores(&model, [5u32], 0), &["k is 0"]);
    sentence(
        detect_head(&cache.remove_batch_dim()?, &DetectionPattern::Induction, DetectOptions::default()),
        &["batch axis"],
    );
    Ok(())
}
