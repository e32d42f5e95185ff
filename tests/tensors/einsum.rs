//! Products by the names of axes, against loops over all indices.

use candle_lens::prelude::*;

/// Sums of at most a few hundred products of numbers around 1, in f32.
const ROUNDING: f64 = 1e-5;
/// The same with numbers of f16, whose last bit is 1/1024.
const HALF: f64 = 4e-3;

/// The sum over all values of all axes, number by number, in f64. Axes are single letters.
fn by_hand(terms: &[&str], output: &str, tensors: &[&Tensor]) -> Result<Tensor> {
    let mut names: Vec<char> = Vec::new();
    let mut sizes: Vec<usize> = Vec::new();
    for (term, tensor) in terms.iter().zip(tensors) {
        for (name, size) in term.chars().zip(tensor.dims()) {
            if !names.contains(&name) {
                names.push(name);
                sizes.push(*size);
            }
        }
    }
    let place = |name: char| names.iter().position(|known| *known == name).expect("a known axis");
    let shape: Vec<usize> = output.chars().map(|name| sizes[place(name)]).collect();
    let numbers: Vec<Vec<f64>> = tensors
        .iter()
        .map(|tensor| Ok(tensor.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?))
        .collect::<Result<_>>()?;
    let mut result = vec![0.0; shape.iter().product()];
    let mut index = vec![0; names.len()];
    let flat =
        |term: &str, index: &[usize]| term.chars().fold(0, |flat, name| flat * sizes[place(name)] + index[place(name)]);
    loop {
        let factors = terms.iter().zip(&numbers).map(|(term, numbers)| numbers[flat(term, &index)]);
        result[flat(output, &index)] += factors.product::<f64>();
        let Some(axis) = (0..names.len()).rev().find(|axis| index[*axis] + 1 < sizes[*axis]) else { break };
        index[axis] += 1;
        index[axis + 1..].fill(0);
    }
    Ok(Tensor::from_vec(result, shape, &Device::Cpu)?)
}

/// The axes of each tensor, those of the result, and the tensors' shapes.
type Case = (Vec<&'static str>, &'static str, Vec<Vec<usize>>);

fn equations() -> Vec<Case> {
    vec![
        (vec!["bqhd", "bkhd"], "bhqk", vec![vec![2, 5, 3, 4], vec![2, 6, 3, 4]]),
        (vec!["bhqk", "bkhd"], "bqhd", vec![vec![2, 3, 5, 6], vec![2, 6, 3, 4]]),
        (vec!["bqhd", "hdm"], "bqm", vec![vec![2, 5, 3, 4], vec![3, 4, 7]]),
        (vec!["i", "j"], "ji", vec![vec![3], vec![5]]),
        (vec!["i", "i"], "", vec![vec![7], vec![7]]),
        (vec!["ij"], "ji", vec![vec![3, 5]]),
        (vec!["ij"], "j", vec![vec![3, 5]]),
        (vec!["ii"], "i", vec![vec![4, 4]]),
        (vec!["ii"], "", vec![vec![4, 4]]),
        (vec!["iji", "j"], "i", vec![vec![4, 3, 4], vec![3]]),
        (vec!["ij", "jk", "kl"], "il", vec![vec![2, 3], vec![3, 4], vec![4, 5]]),
        (vec!["bi", "bj", "bk"], "bijk", vec![vec![2, 3], vec![2, 4], vec![2, 5]]),
        (vec!["ij", "kl"], "ik", vec![vec![2, 3], vec![4, 5]]),
        (vec!["ij", "ij", "ij"], "ij", vec![vec![2, 3], vec![2, 3], vec![2, 3]]),
        (vec!["aib", "bja"], "ij", vec![vec![2, 3, 4], vec![4, 5, 2]]),
    ]
}

fn spaced(term: &str) -> String {
    term.chars().map(|name| format!("{name}_axis")).collect::<Vec<_>>().join(" ")
}

#[test]
fn products_are_those_of_loops_over_all_indices() -> Result<()> {
    let mut random = Random::new(1);
    for (terms, output, shapes) in equations() {
        let tensors = shapes.iter().map(|shape| random.normal(shape.clone())).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<&Tensor> = tensors.iter().collect();
        let wanted = by_hand(&terms, output, &tensors)?;
        let letters = format!("{}->{output}", terms.join(","));
        assert_close(&einsum(&letters, &tensors)?, &wanted, ROUNDING)?;
        let names = terms.iter().map(|term| spaced(term)).collect::<Vec<_>>().join(", ");
        assert_close(&einsum(&format!("{names} -> {}", spaced(output)), &tensors)?, &wanted, ROUNDING)?;
        let wide = tensors.iter().map(|tensor| Ok(tensor.to_dtype(DType::F64)?)).collect::<Result<Vec<_>>>()?;
        let product = einsum(&letters, &wide.iter().collect::<Vec<_>>())?;
        assert_eq!(product.dtype(), DType::F64, "{letters}");
        assert_close(&product, &wanted, ROUNDING)?;
        let half = tensors.iter().map(|tensor| Ok(tensor.to_dtype(DType::F16)?)).collect::<Result<Vec<_>>>()?;
        let half: Vec<&Tensor> = half.iter().collect();
        assert_close(&einsum(&letters, &half)?, &by_hand(&terms, output, &half)?, HALF)?;
    }
    Ok(())
}

#[test]
fn half_precision_does_not_stop_growing() -> Result<()> {
    let ones = Tensor::ones(5000, DType::F16, &Device::Cpu)?;
    assert_eq!(einsum("i, i -> ", &[&ones, &ones])?.item()?, 5000.0);
    assert_eq!(einsum("i -> ", &[&ones])?.item()?, 5000.0);
    Ok(())
}

#[test]
fn gradients_are_those_of_the_product_rule() -> Result<()> {
    let mut random = Random::new(2);
    let a = Var::from_tensor(&random.normal((2, 3, 2))?)?;
    let b = Var::from_tensor(&random.normal((3, 4))?)?;
    let store = einsum("iji,jk->k", &[&a, &b])?.sum_all()?.backward()?;
    // d/da[i, j, i] = sum over k of b[j, k], 0 off the diagonal; d/db[j, k] = sum over i of a[i, j, i].
    let of_a = einsum("jk,im->ijm", &[&b, &Tensor::eye(2, DType::F32, &Device::Cpu)?])?;
    let of_b = einsum("iji,k->jk", &[&a, &Tensor::ones(4, DType::F32, &Device::Cpu)?])?;
    assert_close(store.get(&a).expect("a is in the product"), &of_a, ROUNDING)?;
    assert_close(store.get(&b).expect("b is in the product"), &of_b, ROUNDING)
}

#[test]
fn equations_that_do_not_fit_say_why() -> Result<()> {
    let x = Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?;
    let said = |equation: &str, count: usize| einsum(equation, &vec![&x; count]).expect_err(equation).to_string();
    for (equation, count, why) in [
        ("b d, b d", 2, "\"->\""),
        ("b d -> b -> d", 1, "\"->\""),
        ("b d -> b", 2, "names the axes of 1 tensors, and 2 were given"),
        ("b d, d b -> b", 2, "axis d has 3 in tensor 0 and 2 in tensor 1"),
        ("b q d -> b", 1, "names 3 axes, and tensor 0 has 2: [2, 3]"),
        ("b d -> b h", 1, "the result's axis h is in no tensor: they have b, d"),
        ("b d -> b b", 1, "axis b twice"),
        ("b (d) -> b", 1, "\"(d)\" is not the name of an axis"),
        ("... d -> d", 1, "\"...\" is not the name of an axis"),
        ("bd,db->b", 2, "axis d has 3 in tensor 0 and 2 in tensor 1"),
    ] {
        let sentence = said(equation, count);
        assert!(sentence.contains(why), "{equation}: {sentence}");
    }
    assert!(einsum("->", &[]).is_err());
    Ok(())
}
