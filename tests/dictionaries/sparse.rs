//! The sparse maths, which read only what is active, against the dense ones and against sums written out.

use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::dictionaries::{Activation, Dictionary, DictionaryParts, Expects, FeatureActs, InputNorm};
use candle_lens::random::Random;
use candle_lens::{Error, Result};

use crate::support::allocations::held_at_most;
use crate::support::tolerance::REORDERED;

const D_IN: usize = 8;
const F: usize = 32;

fn activations() -> Result<Vec<Activation>> {
    let mut random = Random::new(9);
    let mut vector = |scale: f64| -> Result<Tensor> { Ok((random.normal(F)? * scale)?) };
    Ok(vec![
        Activation::Relu,
        // Half of the thresholds are below 0.
        Activation::JumpRelu { threshold: vector(0.5)? },
        Activation::TopK { k: 5 },
        Activation::TopK { k: F },
        Activation::AbsTopK { k: 5 },
        Activation::GroupMax { k: 4 },
        Activation::Gated { b_gate: vector(0.5)?, b_mag: vector(0.5)?, r_mag: vector(0.3)? },
    ])
}

fn parts(activation: Activation, dtype: DType, writes: Option<usize>) -> Result<DictionaryParts> {
    let mut random = Random::new(4);
    let mut tensor = |shape: &[usize]| -> Result<Tensor> { Ok((random.normal(shape)? * 0.5)?.to_dtype(dtype)?) };
    let w_dec: Vec<usize> = [F].into_iter().chain(writes).chain([D_IN]).collect();
    Ok(DictionaryParts {
        name: "random".into(),
        w_enc: tensor(&[D_IN, F])?,
        b_enc: tensor(&[F])?,
        w_dec: tensor(&w_dec)?,
        b_dec: tensor(&[D_IN])?,
        b_in: Some(tensor(&[D_IN])?),
        w_skip: None,
        activation,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::default(),
    })
}

/// Every kind of dictionary with what its messages call it.
fn dictionaries() -> Result<Vec<(String, Dictionary)>> {
    let mut all = Vec::new();
    for activation in activations()? {
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            for scaled in [false, true] {
                for norm in [InputNorm::None, InputNorm::LayerNorm, InputNorm::ConstantNorm] {
                    let what = format!("{activation:?} {dtype:?} {scaled} {norm:?}");
                    let parts = parts(activation.clone(), dtype, None)?;
                    let parts = DictionaryParts { scaled_by_decoder_norm: scaled, input_norm: norm, ..parts };
                    all.push((what, Dictionary::new(parts)?));
                }
            }
        }
    }
    Ok(all)
}

fn worst(a: &Tensor, b: &Tensor) -> Result<f32> {
    assert_eq!(a.dims(), b.dims());
    if a.elem_count() == 0 {
        return Ok(0.);
    }
    Ok((a.to_dtype(DType::F32)? - b.to_dtype(DType::F32)?)?.abs()?.flatten_all()?.max(0)?.to_scalar()?)
}

/// `b_dec + sum_f a_f W_dec[f, write]` by loops over all features.
fn decoded_by_hand(parts: &DictionaryParts, acts: &Tensor, write: usize) -> Result<Vec<f32>> {
    let floats = |t: &Tensor| t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (w_dec, b_dec) = (floats(&parts.w_dec)?, floats(&parts.b_dec)?);
    let row = w_dec.len() / F;
    let mut all = Vec::new();
    for acts in floats(acts)?.chunks(F) {
        for d in 0..D_IN {
            let mut sum = if write == 0 { f64::from(b_dec[d]) } else { 0. };
            for (f, a) in acts.iter().enumerate() {
                let row = &w_dec[f * row..][..row];
                let norm =
                    if parts.scaled_by_decoder_norm { row.iter().map(|w| w * w).sum::<f32>().sqrt() } else { 1. };
                sum += f64::from(*a) * f64::from(row[write * D_IN + d]) / f64::from(norm);
            }
            all.push(sum as f32);
        }
    }
    Ok(all)
}

#[test]
fn every_activation_is_as_in_the_dense_maths() -> Result<()> {
    let x = Random::new(1).normal((3, 5, D_IN))?;
    for (what, dictionary) in dictionaries()? {
        let (sparse, dense) = (dictionary.encode(&x)?, dictionary.encode_dense(&x)?);
        assert_eq!((sparse.shape(), sparse.positions()), (vec![3, 5], 15), "{what}");
        assert!(sparse.active() > 0 && sparse.active() <= 15 * F, "{what}");
        let off = worst(&sparse.dense()?, &dense)?;
        assert!(off < REORDERED, "{what}: {off}");
        let decoded = dictionary.decode(&sparse)?;
        let expected = Tensor::new(decoded_by_hand(&dictionary.parts(), &dense, 0)?, &Device::Cpu)?;
        let off = worst(&decoded.flatten_all()?, &expected)?;
        assert!(off < 10. * REORDERED, "decoded, {what}: {off}");
    }
    Ok(())
}

/// Of a variable, candle's operations make a graph, and the dense way is taken.
#[test]
fn reconstructions_are_the_same_with_and_without_gradients() -> Result<()> {
    let x = Random::new(1).normal((2, 5, D_IN))?;
    for (what, dictionary) in dictionaries()? {
        let with = dictionary.reconstruct(candle_lens::candle::Var::from_tensor(&x)?.as_tensor())?;
        let off = worst(&dictionary.reconstruct(&x)?, &with)?;
        assert!(off < 10. * REORDERED, "{what}: {off}");
        assert!(with.track_op(), "{what}");
    }
    Ok(())
}

/// It takes five rows of all features a position, not one.
#[test]
fn matching_pursuit_says_what_it_needs() -> Result<()> {
    let x = Random::new(2).normal((40, D_IN))?;
    let pursuit =
        Activation::MatchingPursuit { max_iterations: 4, residual_threshold: 0., stop_on_duplicate_support: true };
    let dictionary = Dictionary::new(parts(pursuit, DType::F32, None)?)?;
    let of_position = ((D_IN + 5 * F) * size_of::<f32>()) as u64;
    let whole = dictionary.encode(&x)?;
    assert_eq!(dictionary.encode_within(&x, 7 * of_position)?.counts(), whole.counts());
    let message = dictionary.encode_within(&x, of_position - 1).expect_err("less than a position").to_string();
    assert!(message.contains("for one position"), "{message}");
    Ok(())
}

#[test]
fn pieces_are_as_small_as_the_budget_needs() -> Result<()> {
    let x = Random::new(2).normal((40, D_IN))?;
    let of_position = ((D_IN + F) * size_of::<f32>()) as u64;
    for activation in activations()? {
        let dictionary = Dictionary::new(parts(activation, DType::F32, None)?)?;
        let whole = dictionary.encode(&x)?;
        for positions in [1, 7, 40, 1000] {
            let pieces = dictionary.encode_within(&x, positions * of_position)?;
            assert_eq!(pieces.counts(), whole.counts());
            assert!(worst(&pieces.dense()?, &whole.dense()?)? < REORDERED);
        }
        let message = dictionary.encode_within(&x, of_position - 1).expect_err("less than a position").to_string();
        assert!(
            message.contains("160 B") && message.contains("159 B") && message.contains("one position"),
            "{message}"
        );
    }
    Ok(())
}

/// Dense, the activations of 4,096 features at 2,000 positions are 33 MB; a hundredth of them is active.
#[test]
fn no_dense_tensor_is_made() -> Result<()> {
    let (d_sae, positions) = (4096, 2000);
    let w_dec = Random::new(0).normal((d_sae, D_IN))?;
    let parts = DictionaryParts {
        w_enc: w_dec.t()?.contiguous()?,
        b_enc: Tensor::zeros(d_sae, DType::F32, &Device::Cpu)?,
        w_dec,
        ..parts(Activation::TopK { k: 40 }, DType::F32, None)?
    };
    let dictionary = Dictionary::new(parts)?;
    let x = Random::new(1).normal((positions, D_IN))?;
    let budget = 1_000_000;
    let (acts, held) = held_at_most(|| dictionary.encode_within(&x, budget));
    let acts = acts?;
    assert_eq!(acts.active(), 40 * positions);
    let kept = acts.active() * 8;
    // The lists double as they grow, and rows are found before they are put together.
    assert!(held < budget as usize + 4 * kept + 500_000, "{held} bytes for {kept} that are kept");
    let (decoded, held) = held_at_most(|| dictionary.decode(&acts));
    assert_eq!(decoded?.dims(), [positions, D_IN]);
    assert!(held < 4 * positions * D_IN * size_of::<f32>(), "{held} bytes");
    Ok(())
}

#[test]
fn rows_may_be_empty_and_positions_none() -> Result<()> {
    let dictionary = Dictionary::new(parts(Activation::Relu, DType::F32, None)?)?;
    let acts = FeatureActs::from_rows(&[3], F, &[vec![], vec![(2, 1.), (31, 0.5)], vec![]])?;
    let decoded = dictionary.decode(&acts)?;
    let b_dec = dictionary.parts().b_dec;
    for empty in [0, 2] {
        assert_eq!(worst(&decoded.get(empty)?, &b_dec)?, 0.);
    }
    assert!(worst(&decoded.get(1)?, &b_dec)? > 0.1);
    let none = dictionary.encode(&Tensor::zeros((0, 5, D_IN), DType::F32, &Device::Cpu)?)?;
    assert_eq!((none.shape(), none.active(), none.l0()), (vec![0, 5], 0, 0.));
    assert_eq!(dictionary.decode(&none)?.dims(), [0, 5, D_IN]);
    Ok(())
}

#[test]
fn heads_lie_side_by_side_and_half_precision_comes_back() -> Result<()> {
    let dictionary = Dictionary::new(parts(Activation::TopK { k: 3 }, DType::F32, None)?)?;
    let x = Random::new(3).normal((2, 3, D_IN))?;
    let heads = x.reshape((2, 3, 2, D_IN / 2))?;
    assert!(dictionary.encode(&heads)? == dictionary.encode(&x)?);
    assert_eq!(dictionary.reconstruct(&heads)?.dims(), heads.dims());
    let half = dictionary.reconstruct(&x.to_dtype(DType::BF16)?)?;
    assert_eq!(half.dtype(), DType::BF16);
    Ok(())
}

/// A decoder that lies transposed, and layers of a cross-layer transcoder.
#[test]
fn decoders_are_read_however_they_lie() -> Result<()> {
    let x = Random::new(5).normal((4, D_IN))?;
    let of = |parts: DictionaryParts| -> Result<Tensor> {
        let dictionary = Dictionary::new(parts)?;
        dictionary.decode(&dictionary.encode(&x)?)
    };
    let straight = parts(Activation::Relu, DType::F32, None)?;
    let transposed = DictionaryParts { w_dec: straight.w_dec.t()?.contiguous()?.t()?, ..straight.clone() };
    assert!(!transposed.w_dec.is_contiguous());
    assert_eq!(worst(&of(straight)?, &of(transposed)?)?, 0.);
    for scaled in [false, true] {
        let parts =
            DictionaryParts { scaled_by_decoder_norm: scaled, ..parts(Activation::Relu, DType::BF16, Some(3))? };
        let dictionary = Dictionary::new(parts.clone())?;
        let acts = dictionary.encode(&x)?;
        let expected = Tensor::new(decoded_by_hand(&parts, &acts.dense()?, 0)?, &Device::Cpu)?;
        assert!(worst(&dictionary.decode(&acts)?.flatten_all()?, &expected)? < 10. * REORDERED);
    }
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let dictionary = Dictionary::new(parts(Activation::Relu, DType::F32, None)?)?;
    let other = FeatureActs::from_rows(&[1], F + 1, &[vec![]])?;
    assert!(matches!(dictionary.decode(&other), Err(Error::Shape { .. })));
    assert!(matches!(dictionary.encode(&Tensor::zeros((2, 7), DType::F32, &Device::Cpu)?), Err(Error::Shape { .. })));
    let nan = Tensor::new(&[[0f32; D_IN], [f32::NAN; D_IN]], &Device::Cpu)?;
    let message = dictionary.encode(&nan).expect_err("not finite").to_string();
    assert!(message.contains("position 1") && message.contains("not finite"), "{message}");
    // Three quarters of a petabyte.
    let many = FeatureActs::from_rows(&[1 << 16], u32::MAX as usize, &vec![vec![]; 1 << 16])?;
    let message = many.dense().expect_err("no memory").to_string();
    assert!(message.contains("dense activations") && message.contains("`top`"), "{message}");
    // A trillion positions, of which only one is there.
    let one = candle_lens::candle::Var::zeros((1, D_IN), DType::F32, &Device::Cpu)?;
    let many = one.as_tensor().expand((1 << 40, D_IN))?;
    for refused in [dictionary.encode_dense(&many.detach()), dictionary.reconstruct(&many)] {
        let message = refused.expect_err("no memory").to_string();
        assert!(message.contains("dense activations") && message.contains("fewer positions"), "{message}");
    }
    Ok(())
}
