//! C0: references against loops, candle's own functions and identities; and candle's messages that the texts quote.

use candle_lens::course::ex;
use candle_lens::prelude::*;

fn tensor(numbers: Vec<f32>, shape: impl Into<candle_lens::candle::Shape>) -> Result<Tensor> {
    Ok(Tensor::from_vec(numbers, shape.into(), &Device::Cpu)?)
}

#[test]
fn references_are_what_loops_give() -> Result<()> {
    ex::outer()
        .check(|a: &Tensor, b: &Tensor| {
            let (a, b) = (a.to_vec1::<f32>()?, b.to_vec1::<f32>()?);
            let products = a.iter().flat_map(|a| b.iter().map(move |b| a * b)).collect();
            tensor(products, (a.len(), b.len()))
        })
        .expect()?;
    ex::causal_mask().check(|n| Tensor::tril2(n, DType::U8, &Device::Cpu)).expect()?;
    ex::masked_fill().check(|x, mask, value| x.masked_fill(mask, value)).expect()?;
    ex::rows_at()
        .check(|logits: &Tensor, ids: &Tensor| {
            let (rows, ids) = (logits.to_vec3::<f32>()?, ids.to_vec2::<u32>()?);
            let at = |(row, ids): (&Vec<Vec<f32>>, &Vec<u32>)| -> Vec<f32> {
                row.iter().zip(ids).map(|(numbers, id)| numbers[*id as usize]).collect()
            };
            tensor(rows.iter().zip(&ids).flat_map(at).collect(), (ids.len(), ids[0].len()))
        })
        .expect()?;
    ex::diagonal().check(|x, offset| x.diagonal(-(offset as isize))).expect()?;
    ex::split_heads()
        .check(|x: &Tensor, n_heads: usize| {
            let (rows, (batch, pos, width)) = (x.to_vec3::<f32>()?, x.dims3()?);
            let d_head = width / n_heads;
            let mut numbers = Vec::new();
            for (b, head) in (0..batch).flat_map(|b| (0..n_heads).map(move |head| (b, head))) {
                numbers.extend((0..pos).flat_map(|p| rows[b][p][head * d_head..(head + 1) * d_head].to_vec()));
            }
            tensor(numbers, (batch, n_heads, pos, d_head))
        })
        .expect()?;
    ex::scores()
        .check(|q: &Tensor, k: &Tensor| {
            let heads_first = |x: &Tensor| x.transpose(1, 2)?.contiguous();
            heads_first(q)?.matmul(&heads_first(k)?.t()?)
        })
        .expect()?;
    ex::top_k()
        .check(|x: &Tensor, k| {
            let (numbers, places) = x.top_k(k)?;
            Ok::<_, candle_lens::Error>((numbers.to_vec1::<f32>()?, places.to_vec1::<u32>()?))
        })
        .expect()?;
    ex::log_softmax().check(|x| candle_nn::ops::log_softmax(x, D::Minus1)).expect()?;
    ex::mean_real()
        .check(|x: &Tensor, lengths: &[usize]| {
            let (rows, d_model) = (x.to_vec3::<f32>()?, x.dim(2)?);
            let mut means = Vec::new();
            for (row, &length) in rows.iter().zip(lengths) {
                let sum = |d: usize| row[..length].iter().map(|numbers| numbers[d]).sum::<f32>();
                means.extend((0..d_model).map(|d| sum(d) / length as f32));
            }
            tensor(means, (lengths.len(), d_model))
        })
        .expect()
}

#[test]
fn quoted_messages_are_candles() -> Result<()> {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32, &Device::Cpu);
    let first_line =
        |error: candle_lens::candle::Error| error.to_string().lines().next().unwrap_or_default().to_string();
    let ids = Tensor::zeros((2, 5), DType::U32, &Device::Cpu)?;
    let (a, b) = (ones(&[2, 5, 3, 4])?, ones(&[2, 5, 3, 4])?);
    for (result, quoted) in [
        (&ones(&[3])? * &ones(&[2])?, "shape mismatch in mul, lhs: [3], rhs: [2]"),
        (ones(&[2, 5, 7])?.gather(&ids, 2), "shape mismatch in gather, lhs: [2, 5, 7], rhs: [2, 5]"),
        (ones(&[2, 2])?.where_cond(&ones(&[2, 2])?, &ones(&[2, 2])?), "unsupported dtype F32 for op where-cond"),
    ] {
        let said = first_line(result.expect_err("it does not fit"));
        assert!(said.contains(quoted), "{said}");
    }
    assert_eq!(a.matmul(&b.t()?)?.dims(), [2, 5, 3, 3], "heads with heads, and nothing complains");
    let refused = a.transpose(1, 2)?.matmul(&b.permute((0, 2, 3, 1))?);
    let said = first_line(refused.expect_err("it is not contiguous"));
    assert!(said.starts_with("MatMulUnexpectedStriding"), "{said}");
    let x = Tensor::new(&[1f32, 2., 3., 6.], &Device::Cpu)?;
    let squares = x.broadcast_sub(&x.mean(0)?)?.sqr()?;
    let both = [x.var(0)?.item()?, squares.mean(0)?.item()?].map(|number| format!("{number:.3}"));
    assert_eq!(both, ["4.667", "3.500"], "n - 1, and n");
    Ok(())
}

/// The text shows these two patterns.
#[test]
fn two_heads_of_the_first_layer_are_bright_where_the_text_says() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (_, cache) = model.run_with_cache("When John and Mary went to the shops, John gave the bag to")?;
    let share =
        |head: isize, offset: isize| cache.get(("pattern", 0))?.at(&[0, head])?.diagonal(offset)?.mean(0)?.item();
    let shares = [share(3, 0)?, share(1, -1)?];
    assert!(shares.iter().all(|share| *share > 0.6), "{shares:?}");
    Ok(())
}

#[test]
fn a_float_mask_is_named_though_its_numbers_are_right() {
    let verdict = ex::causal_mask().check(|n| Tensor::tril2(n, DType::F32, &Device::Cpu)).to_string();
    assert!(verdict.contains("their dtype is F32") && verdict.contains("where_cond wants integers"), "{verdict}");
}

/// The right-hand column of the table for those who come from PyTorch, as it stands there. PyTorch's `diagonal` is that of the first two
/// axes where none are named, ours that of the last two: the left-hand column names them.
#[test]
fn the_words_for_pytorch_s_are_right() -> Result<()> {
    let x = Tensor::arange(0f32, 24., &Device::Cpu)?.reshape((2, 3, 4))?;
    let (b, p, v) = x.dims3()?;
    assert_eq!((b, p, v), (2, 3, 4));
    assert_eq!(x.argmax(D::Minus1)?.to_vec2::<u32>()?, [[3; 3]; 2]);
    assert_eq!((&x / 2.5)?.dims(), x.broadcast_div(&x.i((.., .., 0..1))?)?.dims());
    assert_eq!(x.mean_all()?.item()?, 11.5);
    assert_eq!(x.i((0, .., 1..))?.dims(), [3, 3]);
    assert_eq!(x.i((.., x.dim(1)? - 1))?.to_vec2::<f32>()?[1][0], x.at(&[1, -1, 0])?.item()?);
    assert_eq!((x.at(&[0, -1])?.dims(), x.at(&[0, -1, 3])?.item()?), (&[4][..], 11.));
    let (w, ids) = (x.get(0)?, vec![3u32, 0]);
    assert_eq!(w.index_select(&Tensor::new(ids, w.device())?, 1)?.to_vec2::<f32>()?[0], [3., 0.]);
    let ids = Tensor::new(&[[[1u32], [0], [2]], [[3], [3], [3]]], &Device::Cpu)?;
    assert_eq!(x.gather(&ids, D::Minus1)?.dims(), [2, 3, 1]);
    let (q, k) = (x.unsqueeze(2)?, x.unsqueeze(2)?);
    assert_eq!(einsum("b q h d, b k h d -> b h q k", &[&q, &k])?.dims(), [2, 1, 3, 3]);
    let (q, k) = (&x, &x);
    let scores = q.matmul(&k.t()?.contiguous()?)?;
    let mask = Tensor::tril2(3, DType::U8, &Device::Cpu)?.eq(0u8)?;
    let pattern = softmax(&scores.masked_fill(&mask, f32::NEG_INFINITY)?)?;
    assert_eq!((pattern.at(&[0, 0, 0])?.item()?, pattern.diagonal(-1)?.dims()), (1., &[2, 2][..]));
    let (values, indices) = w.get(0)?.top_k(2)?;
    assert_eq!((values.to_vec1::<f32>()?, indices.to_vec1::<u32>()?), (vec![3., 2.], vec![3, 2]));
    let xs = [&x, &x];
    assert_eq!((Tensor::stack(&xs, 0)?.dims(), Tensor::cat(&xs, 1)?.dims()), (&[2, 2, 3, 4][..], &[2, 6, 4][..]));
    assert_eq!(Tensor::from_vec(vec![1f32; 6], (2, 3), &Device::Cpu)?.dims(), [2, 3]);
    Ok(())
}
