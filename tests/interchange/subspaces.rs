//! Subspaces: orthonormal, of what they say, saved; what is not a subspace is refused.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::prelude::*;

use crate::support::scratch;
use crate::support::tolerance::{LAST_DIGITS, REORDERED};

fn tensor<const R: usize, const C: usize>(rows: [[f32; C]; R]) -> Tensor {
    Tensor::new(&rows, &Device::Cpu).expect("a small tensor")
}

#[track_caller]
fn assert_orthonormal(subspace: &Subspace) {
    let b = subspace.basis();
    let product = b.t().and_then(|t| t.contiguous()?.matmul(&b)).expect("a product");
    let eye = Tensor::eye(subspace.rank(), DType::F32, &Device::Cpu).expect("ones");
    let off = (product - eye).and_then(|x| x.abs()?.max_all()?.to_scalar::<f32>()).expect("a number");
    assert!(off < REORDERED, "{subspace}: {off}");
}

#[test]
fn every_constructor_gives_an_orthonormal_basis() -> Result<()> {
    let x = Random::new(0).normal((40, 12))?;
    let labels: Vec<bool> = (0..40).map(|at| at % 3 == 0).collect();
    let subspaces = [
        Subspace::random(12, 5, 1)?,
        Subspace::means(&x, (0..40).map(|at| at % 4))?,
        Subspace::probe(&Probe::logistic(&x, &labels, 1.)?)?,
        Subspace::neurons(12, [0, -1, 4])?,
        Subspace::span(&x.narrow(0, 0, 6)?)?,
        Subspace::whole(12)?,
    ];
    assert_eq!(subspaces.each_ref().map(Subspace::rank), [5, 3, 1, 3, 6, 12]);
    subspaces.iter().for_each(assert_orthonormal);
    let folder = scratch("subspaces");
    for (number, subspace) in subspaces.iter().enumerate() {
        let file = folder.join(format!("{number}.safetensors"));
        subspace.save(&file)?;
        let loaded = Subspace::load(&file)?;
        assert_eq!(
            (loaded.name(), loaded.basis().to_vec2::<f32>()?),
            (subspace.name(), subspace.basis().to_vec2::<f32>()?)
        );
    }
    assert_ne!(Subspace::random(12, 5, 2)?.basis().to_vec2::<f32>()?, subspaces[0].basis().to_vec2::<f32>()?);
    Ok(())
}

#[test]
fn means_and_probes_are_the_directions_they_are_of() -> Result<()> {
    let x = Random::new(0).normal((40, 6))?;
    let labels: Vec<bool> = (0..40).map(|at| at % 2 == 0).collect();
    let probe = Probe::mean_difference(&x, &labels)?;
    let overlap = Subspace::means(&x, &labels)?.overlap(&Subspace::probe(&probe)?)?;
    assert!((overlap - 1.).abs() < f64::from(LAST_DIGITS), "{overlap}");
    // Three means on one line span one dimension.
    let line = tensor([[0., 0., 0.], [1., 2., 0.], [2., 4., 0.]]);
    assert_eq!(Subspace::means(&line, ["a", "b", "c"])?.rank(), 1);
    assert_eq!(Subspace::neurons(3, 0)?.overlap(&Subspace::neurons(3, [1, 2])?)?, 0.);
    Ok(())
}

#[test]
fn what_is_not_a_subspace_is_refused() -> Result<()> {
    let nan = tensor([[f32::NAN], [0.]]);
    let x = tensor([[1., 0.], [1., 0.]]);
    let messages = [
        (Subspace::new(&tensor([[1., 0.5], [0., 0.5], [0., 0.]])), "not orthonormal"),
        (Subspace::new(&tensor([[2.], [0.]])), "3.00e0 away"),
        (Subspace::new(&tensor([[1., 0.]])), "at least 1 and at most"),
        (Subspace::new(&nan), "not finite"),
        (Subspace::new(&Tensor::ones(3, DType::F32, &Device::Cpu)?), "[width, rank]"),
        (Subspace::span(&tensor([[1., 2., 0.], [2., 4., 0.]])), "direction 1 is 0 or in the span"),
        (Subspace::span(&tensor([[0., 0.]])), "direction 0"),
        (Subspace::random(3, 4, 0), "at most that"),
        (Subspace::random(3, 0, 0), "at least 1"),
        (Subspace::neurons(4, [1, 1]), "neuron 1 is given twice"),
        (Subspace::neurons(4, 4), "neuron"),
        (Subspace::means(&x, [1, 1]), "all 2 labels are the same"),
        (Subspace::means(&x, [1, 2]), "span nothing"),
        (Subspace::means(&x, [1]), "[1, width]"),
    ];
    for (result, words) in messages {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(Subspace::random(3, 1, 0)?.overlap(&Subspace::random(4, 1, 0)?).is_err());
    Ok(())
}
