//! References of C5 beside the library's circuits, loops, and what a run of `induction` has at the same places.

use candle_lens::course::ex;
use candle_lens::prelude::*;

use super::c3_attention::stripe;

/// Queries, keys and scores are sums of six products in f32.
const ROUNDING: f64 = 1e-3;

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
    ex::joint_ov().check(joint).expect()?;
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
    let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 12, batch: 1, seed: 3 })?;
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
    // The text says which pair has the stripe: the query's embedding with what L0H0 wrote.
    let stripe = |query: usize, key: usize| -> Result<f32> {
        split.get(query)?.get(key)?.diagonal(-11)?.narrow(0, 2, 12)?.mean_all()?.item()
    };
    let pairs = (0..36).map(|at| Ok((stripe(at / 6, at % 6)?, (at / 6, at % 6)))).collect::<Result<Vec<_>>>()?;
    let highest = pairs.iter().max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are pairs");
    assert_eq!(highest.1, (0, 2), "{pairs:?}");
    Ok(())
}

/// Without the head that looks back, the stripes of layer 1 are gone; without any other head of layer 0, they stay.
#[test]
fn layer_1_needs_one_head_of_layer_0() -> Result<()> {
    let without = |model: &HookedTransformer, tokens: &Tokens, seq_len: usize, head: usize| -> Result<Tensor> {
        let nothing = Edit::custom("nothing", |z, _| z.zeros_like()).head(head);
        let plan = HookPlan::new().edit(("z", 0), nothing).capture(("pattern", 1));
        let scores = stripe(&model.run_with_hooks(tokens.clone(), plan)?.1.get(("pattern", 1))?, seq_len)?;
        Ok(Tensor::new(scores, &Device::Cpu)?)
    };
    ex::induction_without().check(without).expect()?;
    let model = HookedTransformer::from_pretrained("induction")?;
    let tokens = repeated_tokens(&model, RepeatOptions { seq_len: 25, batch: 8, seed: 4 })?;
    for head in 0..4 {
        let scores = without(&model, &tokens, 25, head)?.to_vec1::<f32>()?;
        assert!(
            scores.iter().all(|score| if head == 0 { *score < 0.1 } else { *score > 0.5 }),
            "L0H{head}: {scores:?}"
        );
    }
    Ok(())
}
