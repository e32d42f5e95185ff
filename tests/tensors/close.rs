//! What a comparison says.

use candle_lens::prelude::*;

const TOLERANCE: f64 = 1e-5;

fn said(got: &Tensor, wanted: &Tensor) -> String {
    assert_close(got, wanted, TOLERANCE).expect_err("they differ").to_string()
}

#[test]
fn differences_are_named() -> Result<()> {
    let x = Random::new(5).normal((2, 3, 4))?.abs()?;
    let wanted = (&x + 0.1)?;
    let shifted = Tensor::cat(&[&wanted.narrow(2, 3, 1)?, &wanted.narrow(2, 0, 3)?], 2)?;
    let cases = [
        ((&wanted * 8.0)?, "All are 8 times what was wanted."),
        (wanted.neg()?, "All have the opposite sign."),
        ((&wanted + 2.5)?, "All are 2.5 more than what was wanted."),
        ((&wanted - 2.5)?, "All are 2.5 less than what was wanted."),
        ((1.0 - &wanted)?, "All are 1 less what was wanted."),
        (wanted.log()?, "All are the logarithm of what was wanted."),
        (wanted.exp()?, "All are exp of what was wanted."),
        (shifted, "Along axis 2 everything stands one place later than it was wanted."),
        (wanted.permute((1, 2, 0))?, "permute([2, 0, 1]) of what was given is what was wanted."),
        (wanted.permute((1, 2, 0))?.contiguous()?.reshape((2, 3, 4))?, "The same numbers are there in another order"),
        ((&wanted / 0.0)?, "24 are NaN or infinite"),
        (wanted.narrow(0, 0, 1)?, "the shape is [1, 3, 4], and [2, 3, 4] was wanted."),
    ];
    for (got, sentence) in cases {
        let said = said(&got, &wanted);
        assert!(said.contains(sentence), "{said} instead of {sentence}");
    }
    let square = Random::new(6).normal((3, 3))?;
    assert!(said(&square.t()?, &square).contains("permute([1, 0])"));
    Ok(())
}

#[test]
fn the_first_place_is_named() -> Result<()> {
    let wanted = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let got = Tensor::new(&[[0f32, 0., 0.], [0., 0.25, 0.]], &Device::Cpu)?;
    assert!(said(&got, &wanted).contains("1 of 6 numbers differ; the first at [1, 1]: 0.25 instead of 0."));
    Ok(())
}

#[test]
fn what_is_within_the_tolerance_passes() -> Result<()> {
    let x = Tensor::new(&[1e6f32, 1.0, f32::NEG_INFINITY, 0.0], &Device::Cpu)?;
    assert_close(&(&x * (1.0 + 1e-6))?, &x, TOLERANCE)?;
    assert_close(&x.to_dtype(DType::F64)?, &x, 0.0)?;
    let empty = Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?;
    assert_close(&empty, &empty, 0.0)?;
    let masked = Tensor::new(&[f32::NEG_INFINITY, 0.0], &Device::Cpu)?;
    for got in [[0.3f32, 0.0], [f32::INFINITY, 0.0]] {
        assert!(assert_close(&Tensor::new(&got, &Device::Cpu)?, &masked, TOLERANCE).is_err(), "{got:?}");
    }
    let zeros = Tensor::zeros(2, DType::F32, &Device::Cpu)?;
    assert!(!said(&Tensor::new(&[1f32, 2.0], &Device::Cpu)?, &zeros).contains("logarithm"));
    let nan = Tensor::new(&[f32::NAN; 2], &Device::Cpu)?;
    assert!(assert_close(&nan, &nan, TOLERANCE).is_err(), "NaN is never right");
    for tolerance in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(assert_close(&x, &x, tolerance).expect_err("no tolerance").to_string().contains("tolerance"));
    }
    Ok(())
}
