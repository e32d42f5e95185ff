//! What a verdict says of functions that are not right.

use candle_lens::course::{Outcome, ex};
use candle_lens::prelude::*;

fn scores(q: &Tensor, k: &Tensor) -> Result<Tensor> {
    einsum("b q h d, b k h d -> b h q k", &[q, k])
}

#[test]
fn a_named_mistake_is_named_and_its_first_place_too() {
    let verdict = ex::attention_pattern().check(|q, k| {
        let future = Tensor::tril2(q.dim(1)?, DType::U8, q.device())?.eq(0u8)?;
        softmax(&scores(q, k)?.masked_fill(&future, f32::NEG_INFINITY)?)
    });
    let said = verdict.to_string();
    assert!(said.starts_with("candle-lens ✗ 1.2.b attention_pattern: "), "{said}");
    assert!(said.contains("the first at batch 0, head 0, q_pos 1, k_pos 0"), "{said}");
    assert!(said.contains("Right throughout: q_pos 0."), "{said}");
    assert!(said.contains("Likely: the scores are not scaled."), "{said}");
    assert!(said.lines().count() <= 4 && !verdict.passed(), "{said}");
    assert_eq!(verdict.expect().expect_err("it is wrong").to_string(), format!("candle-lens: {said}"));
}

#[test]
fn shapes_are_in_the_words_of_the_axes() {
    let flat = ex::attention_pattern().check(|q, _| Ok::<_, candle_lens::Error>(q.clone())).to_string();
    assert!(flat.contains("its shape is [2, 5, 3, 4], and [batch 2, head 3, q_pos 5, k_pos 5] is wanted."), "{flat}");
    let turned = ex::current_token_scores().check(|cache| {
        let layers =
            (0..cache.dims().n_layers).map(|layer| Ok(cache.get(("pattern", layer))?.diagonal(0)?.mean((0, 2))?));
        Ok::<_, candle_lens::Error>(Tensor::stack(&layers.collect::<Result<Vec<_>>>()?, 1)?)
    });
    assert!(turned.to_string().contains("permute([1, 0])"), "{turned}");
}

#[test]
fn whatever_happens_is_a_verdict() {
    let empty = ex::n_correct().check(|_, _| -> Result<usize> { todo!() });
    assert_eq!(empty.outcome(), Outcome::NotWritten);
    assert!(empty.to_string().contains("not written yet"));

    let failed = ex::n_correct().check(|logits, _| Ok::<_, candle_lens::candle::Error>(logits.dims2()?.0));
    assert!(
        matches!(failed.outcome(), Outcome::Failed(ref error) if error.contains("rank") && !error.contains('\n')),
        "{failed}"
    );
    assert!(failed.to_string().contains("It means: the tensor has another number of axes"), "{failed}");

    let panicked = ex::n_correct().check(|_, tokens| Ok::<_, String>(tokens.row(0)[99] as usize));
    assert!(matches!(panicked.outcome(), Outcome::Panicked(ref message) if message.contains("99")), "{panicked}");

    let hostile = ex::n_correct().check(|_, _| Err::<usize, _>("\u{1b}[2J\u{202e}"));
    assert!(!hostile.to_string().contains('\u{1b}'), "{hostile:?}");

    let nan = ex::first_token_scores().check(|cache| {
        Ok::<_, candle_lens::Error>(Tensor::full(
            f32::NAN,
            (cache.dims().n_layers, cache.dims().n_heads),
            &Device::Cpu,
        )?)
    });
    assert!(nan.to_string().contains("NaN"), "{nan}");
}

#[test]
fn another_right_answer_passes_with_a_remark() {
    let verdict = ex::induction_scores().check(|cache, seq_len| {
        let layers = (0..cache.dims().n_layers)
            .map(|layer| Ok(cache.get(("pattern", layer))?.diagonal(1 - seq_len as isize)?.mean((0, 2))?));
        Ok::<_, candle_lens::Error>(Tensor::stack(&layers.collect::<Result<Vec<_>>>()?, 0)?)
    });
    assert!(verdict.passed() && verdict.to_string().contains("ARENA"), "{verdict}");
    assert!(verdict.to_string().starts_with("candle-lens ✓ 1.2.f induction_scores"));
}

/// NaN is never right, and a mistake that makes it has a name.
#[test]
fn a_mistake_that_makes_nan_is_named() {
    let multiplied = ex::attention_pattern().check(|q, k| {
        let future = Tensor::tril2(q.dim(1)?, DType::U8, q.device())?.eq(0u8)?.to_dtype(DType::F32)?;
        let scores = (scores(q, k)? / (q.dim(3)? as f64).sqrt())?;
        softmax(&scores.broadcast_add(&(future * f64::NEG_INFINITY)?)?)
    });
    assert!(multiplied.to_string().contains("0 times infinity is NaN"), "{multiplied}");
}

#[test]
fn right_numbers_of_another_dtype_are_not_right() {
    let wide = ex::outer().check(|a, b| {
        let product = a.unsqueeze(1)?.broadcast_mul(&b.unsqueeze(0)?)?;
        product.to_dtype(DType::F64)
    });
    assert!(wide.to_string().contains("their dtype is F64, and F32 is wanted"), "{wide}");
}

/// Inputs of one exercise may have more axes or fewer.
#[test]
fn axes_are_named_from_the_last_one() {
    let zero = ex::log_softmax().check(|x| x.zeros_like()).to_string();
    assert!(zero.contains("the first at pos 0, d_vocab 0"), "{zero}");
}

/// A panic in a thread of the function's own is a verdict too, and a check may be within another.
#[test]
fn panics_elsewhere_are_verdicts() {
    let threads = ex::n_correct().check(|_, _| {
        let thread = std::thread::spawn(|| -> usize { panic!("there") });
        thread.join().map_err(|_| "a thread of mine panicked")
    });
    assert!(threads.to_string().contains("a thread of mine panicked"), "{threads}");
    let nested = ex::n_correct().check(|_, _| -> Result<usize> {
        ex::zero_head().check(|_, _| -> Result<Tensor> { todo!() });
        panic!("outside")
    });
    assert!(matches!(nested.outcome(), Outcome::Panicked(ref message) if message == "outside"), "{nested}");
}

/// The hook of one check is not in the way of another thread's panic.
#[test]
fn a_check_gives_the_panic_hook_back() {
    ex::n_correct().check(|_, _| -> Result<usize> { todo!() });
    let message = std::panic::catch_unwind(|| panic!("mine")).expect_err("it panics");
    assert_eq!(message.downcast_ref::<&str>(), Some(&"mine"));
}

/// Mistakes that no exercise has to list.
#[test]
fn a_long_list_and_a_reversed_order_are_named_anywhere() {
    let layers = |cache: &ActivationCache| -> Result<Vec<Tensor>> {
        (0..cache.dims().n_layers).map(|layer| Ok(cache.get(("pattern", layer))?.diagonal(-1)?.mean((0, 2))?)).collect()
    };
    let joined =
        ex::previous_token_scores().check(|cache| Ok::<_, candle_lens::Error>(Tensor::cat(&layers(cache)?, 0)?));
    assert!(joined.to_string().contains("Likely: two axes are still one long list. Tensor::cat"), "{joined}");
    let backwards = ex::previous_token_scores().check(|cache| {
        let mut layers = layers(cache)?;
        layers.reverse();
        Ok::<_, candle_lens::Error>(Tensor::stack(&layers, 0)?)
    });
    assert!(backwards.to_string().contains("Likely: the order along the first axis is reversed"), "{backwards}");
    let sorted = ex::latent_logits().check(|model, dictionary, latent, k| {
        let direction = dictionary.w_dec().get(latent)?.to_dtype(DType::F32)?.unsqueeze(0)?;
        let ids = direction.matmul(&model.W_U())?.squeeze(0)?.top_k(k)?.1.to_vec1::<u32>()?;
        Ok::<_, candle_lens::Error>(ids.into_iter().rev().collect())
    });
    assert!(sorted.to_string().contains("the largest comes first"), "an exercise's own words come before: {sorted}");
}

/// What candle's own errors mean, as candle gives them.
#[test]
fn errors_of_candle_are_explained() -> Result<()> {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
    let ids = |shape: &[usize]| Tensor::zeros(shape, DType::U32, &Device::Cpu);
    let (x, heads) = (ones(&[2, 3, 4])?, ones(&[2, 5, 3, 4])?);
    let failures = [
        (heads.transpose(1, 2)?.matmul(&heads.permute((0, 2, 3, 1))?), "Write .contiguous()? behind that operation"),
        (x.transpose(1, 2)?.gather(&ids(&[2, 4, 1])?, 2), "the tensor's numbers are not in order"),
        (x.gather(&ids(&[2, 3])?, 2), "an index with as many axes as the tensor"),
        (x.matmul(&ones(&[2, 3, 4])?), "matmul multiplies the last two axes"),
        (&x / &ones(&[2, 3, 1])?, "want equal shapes and stretch nothing. Write broadcast_add"),
        (x.broadcast_div(&ones(&[2, 3])?), "axes are compared from the last one backwards"),
        (x.broadcast_matmul(&ones(&[3, 4, 2])?), "in broadcast_matmul from the third last one"),
        (x.broadcast_matmul(&ones(&[3, 2])?), "matmul multiplies the last two axes"),
        (x.broadcast_as((2, 3, 5)), "axes are compared from the last one backwards"),
        (x.gt(0f32)?.where_cond(&ones(&[4])?, &ones(&[4])?), "where_cond wants one shape"),
        (x.where_cond(&x, &x), "a mask is made of whole numbers"),
        (x.reshape((5, 5)), "the shape has room for another count of numbers"),
        (Tensor::cat(&[&x, &ones(&[2, 2, 4])?], 0), "Tensor::stack makes a new axis"),
        (x.index_select(&ids(&[2, 2])?, 0), "index_select takes one list of indices"),
        (ids(&[3, 3])?.matmul(&ids(&[3, 3])?), "the operation does not know numbers of this dtype"),
        (&x + &ids(&[2, 3, 4])?, "both tensors must have one dtype"),
        (x.sum(3), "the tensor has no such axis"),
        (x.narrow(1, 2, 2), "takes a length and no end"),
        (x.get(2), "n is below the size of the axis"),
        (x.i((.., 3)), "n is below the size of the axis"),
        (x.i((.., 2..5)), "takes a length and no end"),
        (Tensor::stack(&Vec::<Tensor>::new(), 0), "the list of tensors is empty"),
        (Tensor::from_vec(vec![1f32; 5], (2, 3), &Device::Cpu), "the shape has room for another count of numbers"),
        (x.index_select(&Tensor::new(&[7u32], &Device::Cpu)?, 0), "an index is not below the size of its axis"),
        (x.to_vec1::<f32>().map(|_| x.clone()), "the tensor has another number of axes"),
        (ids(&[3])?.to_vec1::<f32>().map(|_| x.clone()), "the numbers are of another dtype than was asked for"),
    ];
    for (result, meaning) in failures {
        let error = result.expect_err(meaning).to_string();
        let said = ex::n_correct().check(|_, _| Err::<usize, _>(&error)).to_string();
        assert!(said.contains("\nIt means: ") && said.contains(meaning), "{said}\nThe error: {error}");
        assert!(!said.contains("Hint: "), "{said}");
    }
    // candle leaves some of them to todo!(), which is not the student's.
    let panicked = ex::n_correct()
        .check(|_, tokens| -> Result<usize> { Ok(Tensor::new(tokens.row(0), &Device::Cpu)?.exp()?.elem_count()) });
    assert!(matches!(panicked.outcome(), Outcome::Panicked(_)), "{panicked}");
    assert!(panicked.to_string().contains("the operation does not know numbers of this dtype"), "{panicked}");
    let own = ex::n_correct().check(|_, _| Err::<usize, _>("something of my own")).to_string();
    assert!(own.contains("Hint: ") && !own.contains("It means"), "{own}");
    Ok(())
}

/// A cell that did not compile leaves the prelude's function of that name, if it has the same arguments.
#[test]
fn a_function_of_the_library_is_not_judged() {
    let log_softmax = |x: &Tensor| softmax(x);
    assert!(!ex::log_softmax().check(log_softmax).to_string().contains("library's own"));
    let verdict = ex::log_softmax().check(softmax);
    assert!(matches!(verdict.outcome(), Outcome::NotYours(_)) && !verdict.passed(), "{verdict}");
    assert!(verdict.to_string().contains("softmax, and yours does not exist yet"), "{verdict}");
}
