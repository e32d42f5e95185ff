//! Factored matrices against TransformerLens 3.9 (tests/fixtures/toolbox.py), and the mistakes that are rejected.

use candle_lens::Result;
use candle_lens::analysis::{SingularOf, singular_vectors};
use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::dims::ReadBy;
use candle_lens::factored_matrix::{FactoredMatrix, composition_scores};
use candle_lens::labelled::Labelled;
use candle_lens::model::Biases;
use candle_lens::model::{Composition, HookedTransformer, Processing};
use candle_lens::random::Random;

use crate::support::fixture::{Agreement, Reference, tiny_model};
use crate::support::models::every_model;
use crate::support::sentence::sentence;

fn transposed(x: &Tensor) -> Tensor {
    x.transpose(x.rank() - 2, x.rank() - 1).and_then(|x| x.contiguous()).expect("a matrix")
}

#[test]
fn products_and_decompositions_agree() -> Result<()> {
    let reference = Reference::load("toolbox/matrices.safetensors");
    let mut agreement = Agreement::default();
    for name in ["square", "broadcast", "tall", "fat"] {
        let of = |part: &str| reference.get(&format!("{name}.{part}"));
        let matrix = FactoredMatrix::new(of("a"), of("b"))?;
        assert_eq!(matrix.shape(), of("ab").dims());
        let svd = matrix.svd()?;
        let again = svd.u.broadcast_mul(&svd.s.unsqueeze(svd.s.rank() - 1)?)?.matmul(&transposed(&svd.v))?;
        let (left, right) = (matrix.collapse_l()?, matrix.collapse_r()?);
        for (what, got, expected) in [
            ("AB", matrix.AB()?, "ab"),
            ("svd", again, "ab"),
            ("make_even", matrix.make_even()?.AB()?, "even"),
            ("norm", matrix.norm()?, "norm"),
            ("singular values", svd.s.clone(), "s"),
            ("collapse_l", transposed(&left).matmul(&left)?, "gram_l"),
            ("collapse_r", right.matmul(&transposed(&right))?, "gram_r"),
            ("corner", matrix.get_corner(3)?, "corner"),
            ("T", matrix.T()?.AB()?, "t"),
            ("times a vector", matrix.apply(of("vector"))?, "applied"),
            ("times a matrix", matrix.right_matmul(of("right"))?.AB()?, "times_right"),
            ("a matrix times", matrix.left_matmul(of("left"))?.AB()?, "left_times"),
        ] {
            // The products of two are as large as 100: what f32 keeps of them is relative.
            let size = of(expected).abs()?.flatten_all()?.max(0)?.to_scalar::<f32>()?.max(1.) as f64;
            agreement.check(&format!("{what} of {name}"), &(got / size)?, &(of(expected) / size)?);
        }
        if matrix.ldim() == matrix.rdim() {
            let values = matrix.eigenvalues()?;
            let sizes = (values.re.sqr()? + values.im.sqr()?)?.sqrt()?;
            let sorted = sizes.contiguous()?.sort_last_dim(true)?.0;
            agreement.check(&format!("eigenvalues of {name}"), &sorted, of("eigenvalue_sizes"));
            agreement.check(&format!("trace of {name}"), &values.re.sum(values.re.rank() - 1)?, of("trace"));
            agreement.check(&format!("positivity of {name}"), &values.positivity()?, of("positivity"));
        }
    }
    let pair =
        |name: &str| FactoredMatrix::new(reference.get(&format!("{name}.a")), reference.get(&format!("{name}.b")));
    agreement.check("composition", &composition_scores(&pair("one")?, &pair("other")?)?, reference.get("composition"));
    let both = pair("one")?.matmul(&pair("same")?)?;
    assert_eq!(both.mdim(), 2, "the thinner pair is kept");
    agreement.check("a product of two", &both.AB()?, reference.get("one_times_same"));
    agreement.finish("factored matrices");
    Ok(())
}

#[test]
fn compositions_of_a_model_agree() -> Result<()> {
    let reference = Reference::load("toolbox/compositions.safetensors");
    let model = tiny_model(Processing::default());
    let mut agreement = Agreement::default();
    for (composition, name) in [(Composition::Q, "Q"), (Composition::K, "K"), (Composition::V, "V")] {
        let scores = model.all_composition_scores(composition)?;
        let (mut paths, expected) = (0, reference.get(&format!("composition_{name}")));
        for ((at, &score), expected) in scores.values().indexed_iter().zip(expected.flatten_all()?.to_vec1::<f32>()?) {
            assert_eq!(score.is_nan(), at[0] >= at[2], "NaN marks that there is no path");
            if !score.is_nan() {
                paths += 1;
                agreement.check_numbers(name, [(f64::from(score), f64::from(expected))].into_iter());
            }
        }
        assert_eq!(paths, 16, "each of 4 heads with each of 4 later ones");
    }
    for (of, layer, name) in
        [(SingularOf::Ov(2), 1, "OV"), (SingularOf::WIn, 0, "w_in"), (SingularOf::WOut, -1, "w_out")]
    {
        let vectors = singular_vectors(&model, of, layer, 4)?;
        let got = vectors.values().into_iter().map(|value| f64::from(value.abs()));
        let expected = reference.get(&format!("singular_{name}")).flatten_all()?.to_dtype(DType::F64)?.to_vec1()?;
        assert_eq!(vectors.values().len(), expected.len());
        agreement.check_numbers(name, got.zip(expected));
    }
    for (name, read_by, biases) in [
        ("2_01", ReadBy::Block(2), Biases::All),
        ("2_00", ReadBy::End, Biases::Attention),
        ("1_11", ReadBy::Mlp(1), Biases::All),
        ("0_11", ReadBy::Mlp(0), Biases::All),
    ] {
        let bias = model.accumulated_bias(read_by, biases)?;
        agreement.check(&format!("bias {name}"), &bias, reference.get(&format!("bias_{name}")));
    }
    agreement.finish("compositions");
    assert_eq!(model.all_head_labels()[5], "L1H1");
    assert_eq!(model.all_neuron_labels()[97], "L1N1");
    Ok(())
}

#[test]
fn parts_are_those_of_the_product() -> Result<()> {
    let mut random = Random::new(1);
    let mut normal = |shape: &[usize]| random.normal(shape);
    let matrix = FactoredMatrix::new(&normal(&[2, 1, 5, 3])?, &normal(&[1, 4, 3, 6])?)?;
    let whole = matrix.AB()?;
    let mut agreement = Agreement::default();
    agreement.check("one of a stack", &matrix.get(&[1, -1])?.AB()?, &whole.get(1)?.get(3)?);
    agreement.check("the later axes", &matrix.get(&[0])?.AB()?, &whole.get(0)?);
    agreement.check("a row", &matrix.rows(2)?.AB()?, &whole.narrow(2, 2, 1)?);
    agreement.check("columns", &matrix.cols(1..3)?.AB()?, &whole.narrow(3, 1, 2)?);
    agreement.check("a corner beyond the end", &matrix.get_corner(99)?, &whole);
    agreement.check("times a number", &matrix.scale(-2.)?.AB()?, &(&whole * -2.)?);
    agreement.check("one more axis", &matrix.unsqueeze(1)?.AB()?, &whole.unsqueeze(1)?);
    let square = FactoredMatrix::new(&normal(&[2, 5, 3])?, &normal(&[3, 5])?)?;
    agreement.check("BA", &square.BA()?, &square.B().broadcast_matmul(&square.A())?);
    agreement.finish("parts");
    Ok(())
}

#[test]
fn factors_that_do_not_match_are_rejected() -> Result<()> {
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).expect("zeros");
    let matrix = FactoredMatrix::new(&zeros(&[2, 5, 3]), &zeros(&[2, 3, 4]))?;
    sentence(FactoredMatrix::new(&zeros(&[5, 3]), &zeros(&[4, 5])), &["right factor", "[4, 5]", "3"]);
    sentence(FactoredMatrix::new(&zeros(&[2, 5, 3]), &zeros(&[3, 3, 5])), &["leading axes"]);
    sentence(FactoredMatrix::new(&zeros(&[5]), &zeros(&[5, 3])), &["factor", "[5]"]);
    sentence(FactoredMatrix::new(&zeros(&[5, 0]), &zeros(&[0, 3])), &["factor", "[5, 0]"]);
    sentence(FactoredMatrix::new(&zeros(&[5, 3]).to_dtype(DType::U8)?, &zeros(&[3, 3])), &["dtypes"]);
    sentence(matrix.eigenvalues(), &["eigenvalues", "[2, 5, 4]"]);
    sentence(matrix.matmul(&matrix), &["[.., 4, columns]"]);
    sentence(matrix.right_matmul(&zeros(&[3, 3])), &["right factor", "[.., 4, columns]"]);
    sentence(matrix.apply(&zeros(&[5])), &["vector", "[4]"]);
    sentence(matrix.get(&[0, 0]), &["2 indices", "rows()"]);
    sentence(matrix.get(&[2]), &["index"]);
    sentence(matrix.rows(5), &["row"]);
    sentence(matrix.unsqueeze(3), &["0 to 1"]);
    sentence(composition_scores(&matrix, &matrix), &["composition"]);
    let nan = FactoredMatrix::new(&(zeros(&[3, 3]) / 0.)?, &zeros(&[3, 3]))?;
    sentence(nan.svd(), &["NaN or infinite"]);
    sentence(nan.eigenvalues(), &["NaN or infinite"]);
    sentence(nan.norm(), &["NaN or infinite"]);
    Ok(())
}

/// The tokens of singular vectors do not depend on whether the norm before the unembedding, or the one before the MLP, is folded.
/// (Folding removes the mean from what reads a centred residual stream, which changes `W_in`, so that is compared where
/// norms do not centre.)
#[test]
fn singular_vectors_do_not_depend_on_folding() -> Result<()> {
    let mut agreement = Agreement::default();
    let models = every_model();
    // A norm of neurons is folded into `W_out` itself.
    let has_both = |model: &HookedTransformer| !model.dims().attn_only && !model.dims().neuron_norm;
    for (name, folded) in models.iter().filter(|(name, model)| name.ends_with(", folded") && has_both(model)) {
        let raw = name.replace(", folded", ", raw");
        let (_, raw) = models.iter().find(|(other, _)| *other == raw).expect("it was loaded raw too");
        let centres = raw.cfg().normalization_type.centres();
        for of in [SingularOf::WOut, SingularOf::WIn].into_iter().take(if centres { 1 } else { 2 }) {
            let [a, b] = [raw, folded].map(|model| singular_vectors(model, of, -1, 2));
            // The sign of each vector is arbitrary.
            let sizes = |values: Labelled| values.values().into_iter().map(|value| f64::from(value.abs()));
            agreement.check_numbers(&format!("{name}: {of:?}"), sizes(a?).zip(sizes(b?)));
        }
    }
    agreement.finish("singular vectors");
    Ok(())
}
