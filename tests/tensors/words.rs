//! The small words against loops.

use candle_lens::prelude::*;

use crate::support::tolerance::LAST_DIGITS;

#[test]
fn diagonals_of_all_offsets() -> Result<()> {
    let x = Random::new(3).normal((2, 3, 5))?;
    let numbers = x.to_vec3::<f32>()?;
    for offset in -2..=4 {
        let wanted: Vec<Vec<f32>> = numbers
            .iter()
            .map(|of| {
                let places = (0..3isize).map(|row| (row, row + offset)).filter(|(_, column)| (0..5).contains(column));
                places.map(|(row, column)| of[row as usize][column as usize]).collect()
            })
            .collect();
        assert_eq!(x.diagonal(offset)?.to_vec2::<f32>()?, wanted, "{offset}");
        assert_eq!(x.transpose(1, 2)?.diagonal(-offset)?.to_vec2::<f32>()?, wanted, "{offset}, transposed");
    }
    assert!(x.diagonal(-3).expect_err("beyond").to_string().contains("from -2 to 4"));
    assert!(x.diagonal(isize::MIN).is_err() && x.diagonal(isize::MAX).is_err());
    assert!(Tensor::new(1f32, &Device::Cpu)?.diagonal(0).is_err());
    Ok(())
}

#[test]
fn masks_are_broadcast_and_keep_the_dtype() -> Result<()> {
    let x = Random::new(4).normal((2, 3))?;
    let mask = Tensor::new(&[1u8, 0, 1], &Device::Cpu)?;
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let x = x.to_dtype(dtype)?;
        let filled = x.masked_fill(&mask, -7.0)?;
        assert_eq!(filled.dtype(), dtype);
        let (filled, x) = (filled.to_dtype(DType::F32)?.to_vec2::<f32>()?, x.to_dtype(DType::F32)?.to_vec2::<f32>()?);
        for (row, of) in filled.iter().zip(&x) {
            assert_eq!(row, &[-7.0, of[1], -7.0]);
        }
    }
    assert!(x.masked_fill(&mask.to_dtype(DType::F32)?, 0.0).expect_err("floats").to_string().contains("u8 or u32"));
    let two = Tensor::new(&[1u8, 0], &Device::Cpu)?;
    assert!(x.masked_fill(&two, 0.0).expect_err("two of three").to_string().contains("[2, 3]"));
    Ok(())
}

#[test]
fn the_largest_come_first() -> Result<()> {
    let x = Tensor::new(&[[3f32, 1., 3., 2.], [f32::NEG_INFINITY, 0., -1., 5.]], &Device::Cpu)?;
    let (values, places) = x.top_k(3)?;
    assert_eq!(values.to_vec2::<f32>()?, [[3., 3., 2.], [5., 0., -1.]]);
    assert_eq!(places.to_vec2::<u32>()?, [[0, 2, 3], [3, 1, 2]]);
    assert_eq!(x.t()?.top_k(1)?.1.to_vec2::<u32>()?, [[0], [0], [0], [1]]);
    for k in [0, 5] {
        assert!(x.top_k(k).expect_err("no such k").to_string().contains("from 1 to 4"));
    }
    Ok(())
}

#[test]
fn indices_count_from_either_end() -> Result<()> {
    let x = Tensor::arange(0f32, 24., &Device::Cpu)?.reshape((2, 3, 4))?;
    assert_eq!(x.at(&[0, -1])?.to_vec1::<f32>()?, [8., 9., 10., 11.]);
    assert_eq!((x.at(&[-1, -1, -1])?.item()?, x.at(&[])?.dims()), (23., x.dims()));
    assert!(x.at(&[0, 3]).expect_err("out").to_string().contains("second"));
    assert!(x.at(&[0, 0, 0, 0]).is_err() && x.at(&[isize::MIN]).is_err() && x.item().is_err());
    assert_eq!(Tensor::new(&[[7u32]], &Device::Cpu)?.item()?, 7.0);
    Ok(())
}

#[test]
fn log_probabilities_are_those_of_next_tokens() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let tokens = model.to_tokens(["When John and Mary went to the shops,", "The capital of France is"])?;
    let logits = model.forward(&tokens)?;
    let log_probs = log_probs_of(&logits, &tokens)?.to_vec2::<f32>()?;
    let logits_of = logits.to_dtype(DType::F64)?.to_vec3::<f64>()?;
    for (row, of) in log_probs.iter().enumerate() {
        for (pos, log_prob) in of.iter().enumerate() {
            let logits = &logits_of[row][pos];
            let wanted = match tokens.is_real(row, pos) && tokens.is_real(row, pos + 1) {
                true => logits[tokens.row(row)[pos + 1] as usize] - logits.iter().map(|x| x.exp()).sum::<f64>().ln(),
                false => 0.0,
            };
            assert!((f64::from(*log_prob) - wanted).abs() < ROUNDING, "{row}, {pos}: {log_prob}, {wanted}");
        }
    }
    let short = logits.narrow(1, 1, 3)?;
    assert!(log_probs_of(&short, &tokens).expect_err("other tokens").to_string().contains("d_vocab_out"));
    assert!(log_probs_of(&logits.narrow(2, 0, 5)?, &tokens).expect_err("few classes").to_string().contains("no logit"));
    Ok(())
}

/// The logarithm of a sum of 2,827 exponentials in f32.
const ROUNDING: f64 = 1e-4;

#[test]
fn what_is_visited_is_what_is_cached() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompt = "When John and Mary went to the shops,";
    let names = ["embed", "pattern", "resid_pre", "ln_final.hook_scale", "unembed.hook_out"];
    let (_, cache) = model.run_with_hooks(prompt, HookPlan::new().capture(names))?;
    for name in names {
        let mut seen = Vec::new();
        model.visit(prompt, name, |x, point| {
            // A visitor could change what it sees, so its pattern is composed of other products than one that is kept.
            assert_close(x, &cache.get(point)?, LAST_DIGITS.into())?;
            seen.push(point);
            Ok(())
        })?;
        let count = if ["pattern", "resid_pre"].contains(&name) { model.cfg().n_layers } else { 1 };
        assert_eq!(seen.len(), count, "{name}");
        assert!(seen.is_sorted());
    }
    Ok(())
}

#[test]
fn who_looks_can_end_the_run() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let mut visits = 0;
    let ended = model.visit("John gave", "resid_pre", |x, _| {
        visits += 1;
        x.at(&[5]).map(|_| ())
    });
    assert_eq!(visits, 1);
    assert!(ended.expect_err("there is one prompt").to_string().contains("first"));
    let unknown = model.visit("John gave", "patern", |_, _| Ok(()));
    assert!(unknown.expect_err("a typo").to_string().contains("pattern"));
    let long = "John ".repeat(500);
    assert!(model.visit(long, "pattern", |_, _| Ok(())).is_err());
    Ok(())
}
