//! References of C5 beside the library's circuits, loops, and what a run of `induction` has at the same places.

use candle_lens::course::ex;
use candle_lens::prelude::*;

use super::c3_attention::stripe;

/// Queries, keys and scores are sums of six products in f32.
const ROUNDING: f64 = 1e-3;

/// The text says whole per cents, and rows of another draw differ by about one.
const OF_TEXT: f32 = 0.015;

/// What counts as gone, as a share of the whole stripe.
const GONE: f32 = 0.02;

/// The rows in the notebook.
const SHOWN: RepeatOptions = RepeatOptions { seq_len: 12, batch: 1, seed: 0 };

fn at(layer: usize, head: usize) -> [isize; 2] {
    [layer as isize, head as isize]
}

#[test]
fn circuits_are_those_of_the_library() -> Result<()> {
    let full_ov = |model: &HookedTransformer, layer: usize, head: usize| -> Result<FactoredMatrix> {
        model.OV()?.get(&at(layer, head))?.left_matmul(&model.W_E())?.right_matmul(&model.W_U())
    };
    ex::full_ov().check(full_ov).expect()?;
    let joint = |model: &HookedTransformer, layer: usize| -> Result<FactoredMatrix> {
        let one = |head| full_ov(model, layer, head)?.AB();
        let sum = (1..model.dims().n_heads)
            .try_fold(one(0)?, |sum, head| Ok::<_, candle_lens::Error>((sum + one(head)?)?))?;
        FactoredMatrix::from_matrix(&sum)
    };
    let multiplied_out = ex::joint_ov().check(joint).to_string();
    assert!(multiplied_out.contains("meet in 23 dimensions, and 21 are enough"), "{multiplied_out}");
    let side_by_side = |model: &HookedTransformer, layer: usize| -> Result<FactoredMatrix> {
        let all = (0..model.dims().n_heads).map(|head| full_ov(model, layer, head)).collect::<Result<Vec<_>>>()?;
        let (a, b): (Vec<Tensor>, Vec<Tensor>) = all.iter().map(|circuit| (circuit.A(), circuit.B())).unzip();
        FactoredMatrix::new(&Tensor::cat(&a, 1)?, &Tensor::cat(&b, 0)?)
    };
    ex::joint_ov().check(side_by_side).expect()?;
    let k_comp = |model: &HookedTransformer, writer: usize, reader: usize| -> Result<FactoredMatrix> {
        let moved = model.OV()?.get(&at(0, writer))?.left_matmul(&model.W_E())?.AB()?;
        model.QK()?.get(&at(1, reader))?.left_matmul(&model.W_E())?.right_matmul(&moved.t()?)
    };
    ex::k_comp_circuit().check(k_comp).expect()?;
    ex::composition_score().check(|left, right| composition_scores(left, right)?.item()).expect()?;
    let top_1 = |circuit: &FactoredMatrix| -> Result<f32> {
        let rows = circuit.AB()?.to_vec2::<f32>()?;
        let copied = rows.iter().enumerate().filter(|(own, row)| row.iter().all(|x| *x <= row[*own])).count();
        Ok(copied as f32 / rows.len() as f32)
    };
    ex::top_1_acc().check(top_1).expect()
}

/// The level that the text says to compare with.
#[test]
fn random_matrices_compose_by_one_over_the_root_of_their_size() -> Result<()> {
    const SPREAD: f32 = 0.007;
    let mut random = Random::new(1);
    let mut matrix = || FactoredMatrix::new(&random.normal((64, 16))?, &random.normal((16, 64))?);
    let scores = (0..20).map(|_| composition_scores(&matrix()?, &matrix()?)?.item()).collect::<Result<Vec<f32>>>()?;
    let mean = scores.iter().sum::<f32>() / 20.0;
    assert!((mean - 0.125).abs() < SPREAD, "{mean}");
    Ok(())
}

#[test]
fn positions_alone_are_what_loops_give() -> Result<()> {
    let by_loops = |model: &HookedTransformer, layer: usize, head: usize| -> Result<Tensor> {
        let of = |w: Tensor| -> Result<Vec<Vec<f32>>> {
            Ok(model.W_pos()?.matmul(&w.get(layer)?.get(head)?)?.to_vec2::<f32>()?)
        };
        let (q, k) = (of(model.W_Q()?)?, of(model.W_K()?)?);
        let root = (q[0].len() as f32).sqrt();
        let row = |to: usize| {
            let product = |from: usize| q[to].iter().zip(&k[from]).map(|(q, k)| q * k).sum::<f32>() / root;
            let weights: Vec<f32> = (0..=to).map(|from| product(from).exp()).collect();
            let total: f32 = weights.iter().sum();
            (0..q.len()).map(|from| weights.get(from).copied().unwrap_or(0.0) / total).collect::<Vec<f32>>()
        };
        Ok(Tensor::new((0..q.len()).map(row).collect::<Vec<_>>(), &Device::Cpu)?)
    };
    ex::pos_by_pos().check(by_loops).expect()
}

/// Parts by another way than the reference's, and on `induction` they sum to what the run has.
#[test]
fn parts_of_scores_sum_to_the_scores_of_the_run() -> Result<()> {
    let input = |cache: &ActivationCache| -> Result<Tensor> {
        let heads = cache.dims().n_heads;
        let head = |head: usize| Ok(cache.get(("result", 0))?.narrow(2, head, 1)?.squeeze(2)?.get(0)?);
        let streams = [cache.get("embed")?.get(0)?, cache.get("pos_embed")?.get(0)?];
        let all = streams.into_iter().map(Ok).chain((0..heads).map(head)).collect::<Result<Vec<Tensor>>>()?;
        Ok(Tensor::stack(&all, 0)?)
    };
    ex::decompose_qk_input().check(input).expect()?;
    let scores = |parts: &Tensor, w_q: &Tensor, w_k: &Tensor| -> Result<Tensor> {
        let count = parts.dim(0)?;
        let of = |part: usize, w: &Tensor| -> Result<Tensor> { Ok(parts.get(part)?.matmul(w)?) };
        let pair = |at: usize| {
            let product = of(at / count, w_q)?.matmul(&of(at % count, w_k)?.t()?)?;
            Ok((product / (w_q.dim(1)? as f64).sqrt())?)
        };
        let tables = (0..count * count).map(pair).collect::<Result<Vec<Tensor>>>()?;
        let pos = parts.dim(1)?;
        Ok(Tensor::stack(&tables, 0)?.reshape((count, count, pos, pos))?)
    };
    ex::decompose_scores().check(scores).expect()?;

    let model = HookedTransformer::from_pretrained_no_processing("induction")?;
    let tokens = repeated_tokens(&model, SHOWN)?;
    let points = ["embed", "pos_embed", "result", "k", "pattern"];
    let plan = points.into_iter().fold(HookPlan::new(), |plan, point| plan.capture(point));
    let (_, cache) = model.run_with_hooks(tokens, plan)?;
    let (w_q, w_k) = (model.W_Q()?.get(1)?.get(1)?, model.W_K()?.get(1)?.get(1)?);
    let parts = input(&cache)?;
    let key = cache.get(("k", 1))?.get(0)?.narrow(1, 1, 1)?.squeeze(1)?;
    assert_close(&parts.sum(0)?.matmul(&w_k)?, &key, ROUNDING)?;
    let split = scores(&parts, &w_q, &w_k)?;
    let whole = softmax(
        &split.sum((0, 1))?.masked_fill(&Tensor::tril2(25, DType::U8, &Device::Cpu)?.eq(0u8)?, f32::NEG_INFINITY)?,
    )?;
    assert_close(&whole, &cache.get(("pattern", 1))?.get(0)?.get(1)?, ROUNDING)?;
    // The text says which pair has most of the stripe: the query's embedding with what L0H0 wrote. A constant of a query is not a stripe.
    let past = Tensor::tril2(25, DType::F32, &Device::Cpu)?;
    let mean = split.broadcast_mul(&past)?.sum_keepdim(3)?.broadcast_div(&past.sum_keepdim(1)?)?;
    let above = split.broadcast_sub(&mean)?;
    let stripe = |query: usize, key: usize| -> Result<f32> {
        above.get(query)?.get(key)?.diagonal(-11)?.narrow(0, 2, 12)?.mean_all()?.item()
    };
    let pairs = (0..36).map(|at| Ok((stripe(at / 6, at % 6)?, (at / 6, at % 6)))).collect::<Result<Vec<_>>>()?;
    let highest = pairs.iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are pairs");
    assert_eq!(highest.1, (0, 2), "{pairs:?}");
    let share = highest.0 / pairs.iter().map(|pair| pair.0).sum::<f32>();
    assert!((0.7..0.9).contains(&share), "{share}");
    let mut order = pairs.clone();
    order.sort_by(|a, b| b.0.total_cmp(&a.0));
    // L0H3 looks back too, and a query reads what L0H2 wrote.
    assert_eq!([order[1].1, order[2].1], [(0, 5), (4, 2)], "{order:?}");
    Ok(())
}

/// What L0H0 and L0H3 give to the token before, in the rows of a text and from positions alone, is what the text says of them.
#[test]
fn positions_alone_look_back_as_far_as_the_text_says() -> Result<()> {
    let model = HookedTransformer::from_pretrained_no_processing("induction")?;
    let in_run = |options: RepeatOptions, head: usize| -> Result<f32> {
        let plan = HookPlan::new().capture(("pattern", 0));
        let (_, cache) = model.run_with_hooks(repeated_tokens(&model, options)?, plan)?;
        cache.get(("pattern", 0))?.narrow(1, head, 1)?.diagonal(-1)?.mean_all()?.item()
    };
    let alone = |queries: usize, head: usize| -> Result<f32> {
        let of = |w: Tensor| -> Result<Tensor> { Ok(model.W_pos()?.matmul(&w.i((0, head))?)?) };
        let scores = (of(model.W_Q()?)?.matmul(&of(model.W_K()?)?.t()?)? / 4.0)?;
        let future = Tensor::tril2(64, DType::U8, &Device::Cpu)?.eq(0u8)?;
        let pattern = softmax(&scores.masked_fill(&future, f32::NEG_INFINITY)?)?;
        pattern.diagonal(-1)?.narrow(0, 0, queries)?.mean_all()?.item()
    };
    assert!(in_run(SHOWN, 0)? > 0.99 && alone(24, 0)? > 0.99);
    let long = RepeatOptions { seq_len: 25, batch: 8, seed: 4 };
    let claims = [
        ("L0H0 alone, 50", alone(50, 0)?, 0.76),
        ("L0H0 in a run, 50", in_run(long, 0)?, 0.75),
        ("L0H0 alone, 63", alone(63, 0)?, 0.62),
        ("L0H3 in a run, 24", in_run(RepeatOptions { seq_len: 12, ..long }, 3)?, 0.61),
        ("L0H3 in a run, 50", in_run(long, 3)?, 0.34),
    ];
    for (what, measured, said) in claims {
        assert!((measured - said).abs() < OF_TEXT, "{what}: {measured}, not {said}");
    }
    Ok(())
}

/// Without the head that looks back, the stripes of layer 1 are gone; without any other head of layer 0, much of them stays.
#[test]
fn layer_1_needs_one_head_of_layer_0() -> Result<()> {
    let without = |model: &HookedTransformer, tokens: &Tokens, seq_len: usize, head: usize| -> Result<Tensor> {
        let nothing = Edit::custom("nothing", |z, _| z.zeros_like()).head(head);
        let plan = HookPlan::new().edit(("z", 0), nothing).capture(("pattern", 1));
        let scores = stripe(&model.run_with_hooks(tokens.clone(), plan)?.1.get(("pattern", 1))?, seq_len)?;
        Ok(Tensor::new(scores, &Device::Cpu)?)
    };
    ex::induction_without().check(without).expect()?;
    let model = HookedTransformer::from_pretrained_no_processing("induction")?;
    let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 25, batch: 8, seed: 4 })?;
    for head in 0..4 {
        let scores = without(&model, &tokens, 25, head)?.to_vec1::<f32>()?;
        assert!(
            scores.iter().all(|score| if head == 0 { *score < 0.1 } else { *score > 0.5 }),
            "L0H{head}: {scores:?}"
        );
    }
    // The rows that the notebook has in hand are shorter, and there the second head that looks back matters.
    let shown = repeated_tokens(&model, SHOWN)?;
    let whole = stripe(&model.run_with_cache(shown.clone())?.1.get(("pattern", 1))?, 12)?;
    let left = |head: usize| -> Result<Vec<f32>> {
        let scores = without(&model, &shown, 12, head)?.to_vec1::<f32>()?;
        Ok(scores.iter().zip(&whole).map(|(score, whole)| score / whole).collect())
    };
    let (without_0, without_2, without_3) = (left(0)?, left(2)?, left(3)?);
    assert!(without_0.iter().all(|part| *part < GONE), "{without_0:?}");
    assert!(without_2.iter().all(|part| (0.6..0.95).contains(part)), "{without_2:?}");
    assert!(without_3.iter().all(|part| (0.4..0.7).contains(part)), "{without_3:?}");
    Ok(())
}
