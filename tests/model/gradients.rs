//! Gradients against central differences: candle's fused operations cut the graph silently, ours must not.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, Tensor, Var};
use candle_lens::hooks::{Edit, HookPlan};
use candle_lens::model::{
    ActFn, AttentionDir, HookedTransformer, HookedTransformerConfig, Loss, NormalizationType, PositionalEmbeddingType,
    QkNormType, RunOptions, ops,
};
use candle_lens::tokens::{PaddingSide, Tokens};

use crate::support::fixture::numbers;
use crate::support::tolerance::LAST_DIGITS;

/// How far a slope may be from the gradient, relative to the gradient's length, besides [`ROUNDING`].
const TOLERANCE: f64 = 2e-3;

/// The rounding of a few f32 losses; a slope has it divided by its step.
const ROUNDING: f64 = 1e-6;

/// The step for smooth losses, and the shorter one for relu, whose kinks a long step would cross.
const STEP: f64 = 0.01;
const SHORT_STEP: f64 = 0.001;

/// An operation of our own in f32 beside the same in f64, relative to its value above 1.
const FUSED: f64 = 2e-6;

/// Half a unit in the last place of a mean near 37, over a deviation of 0.007.
const LARGE_MEAN: f64 = 6e-4;

fn small() -> HookedTransformerConfig {
    HookedTransformerConfig {
        n_layers: 2,
        d_model: 8,
        n_heads: 2,
        d_mlp: Some(12),
        d_vocab: 11,
        n_ctx: 6,
        ..Default::default()
    }
}

fn prompts() -> Tokens {
    Tokens::from_rows(vec![vec![1, 5, 2, 10, 3], vec![7, 7, 0, 4, 9]]).expect("equal lengths")
}

/// Numbers between -1 and 1 that no axis or seed of the model repeats.
fn scrambled(count: usize, salt: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + salt * 104_729 + 13) as f32 * 0.618_034).sin()).collect()
}

/// The slope of `loss` along `direction` by four points, exact to the fourth order in the step.
fn slope(variable: &Var, direction: &Tensor, step: f64, loss: &dyn Fn() -> Result<f64>) -> Result<f64> {
    let origin = variable.as_tensor().copy()?;
    let at = |steps: f64| -> Result<f64> {
        variable.set(&(&origin + (direction * (steps * step))?)?)?;
        loss()
    };
    let slope = (8.0 * (at(1.0)? - at(-1.0)?) - (at(2.0)? - at(-2.0)?)) / (12.0 * step);
    variable.set(&origin)?;
    Ok(slope)
}

/// Holds the gradient of `loss` for each variable against slopes along the gradient itself and along other directions.
fn check(what: &str, step: f64, variables: &[Var], loss: &dyn Fn() -> Result<Tensor>) -> Result<()> {
    let gradients = loss()?.backward()?;
    let value = || Ok(numbers(&loss()?)[0]);
    for (index, variable) in variables.iter().enumerate() {
        let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{what}: variable {index} has no gradient"));
        let length = numbers(&gradient.sqr()?.sum_all()?)[0].sqrt();
        assert!(length.is_finite(), "{what}: the gradient of variable {index} is not finite");
        let count = variable.elem_count();
        let mut directions: Vec<Tensor> = Vec::new();
        for salt in 0..2 {
            directions.push(Tensor::from_vec(scrambled(count, salt), variable.dims(), variable.device())?);
        }
        if length > 0.0 {
            directions.push(gradient.clone());
        }
        for direction in directions {
            let norm = numbers(&direction.sqr()?.sum_all()?)[0].sqrt();
            let direction = (direction / norm)?;
            let expected = slope(variable, &direction, step, &value)?;
            let got = numbers(&(gradient * &direction)?.sum_all()?)[0];
            let error = (got - expected).abs();
            assert!(
                error <= TOLERANCE * length + ROUNDING / step,
                "{what}: variable {index} {:?} has slope {expected:.5} but gradient {got:.5}",
                variable.dims()
            );
        }
    }
    Ok(())
}

/// A model whose biases and norms are not the zeros and ones of a new one.
fn model(cfg: HookedTransformerConfig) -> Result<(HookedTransformer, Vec<Var>)> {
    let (model, variables) = HookedTransformer::trainable(cfg, 7, &Device::Cpu)?;
    for (salt, variable) in variables.iter().enumerate() {
        let noise = Tensor::from_vec(scrambled(variable.elem_count(), salt), variable.dims(), variable.device())?;
        variable.set(&(variable.as_tensor() + (noise * 0.3)?)?)?;
    }
    Ok((model, variables))
}

fn check_model(what: &str, cfg: HookedTransformerConfig, tokens: &Tokens) -> Result<()> {
    // The norm of a vector of few numbers bends sharply where it is short.
    let step = if cfg.act_fn == ActFn::Relu || cfg.use_qk_norm { SHORT_STEP } else { STEP };
    let (model, variables) = model(cfg)?;
    check(what, step, &variables, &|| model.loss(tokens))
}

#[test]
fn every_weight_of_every_architecture() -> Result<()> {
    let tokens = prompts();
    check_model("GPT-2", small(), &tokens)?;
    check_model("attention only", HookedTransformerConfig { attn_only: true, ..small() }, &tokens)?;
    let bidirectional = AttentionDir::Bidirectional;
    check_model("bidirectional", HookedTransformerConfig { attention_dir: bidirectional, ..small() }, &tokens)?;
    for normalization_type in [NormalizationType::LNPre, NormalizationType::None] {
        let cfg = HookedTransformerConfig { normalization_type, ..small() };
        check_model(&format!("{normalization_type:?}"), cfg, &tokens)?;
    }
    for act_fn in [ActFn::Gelu, ActFn::Relu, ActFn::Silu, ActFn::QuickGelu, ActFn::Solu, ActFn::SoluLn] {
        check_model(&format!("{act_fn:?}"), HookedTransformerConfig { act_fn, ..small() }, &tokens)?;
    }
    let alibi = PositionalEmbeddingType::Alibi;
    check_model("ALiBi", HookedTransformerConfig { positional_embedding_type: alibi, ..small() }, &tokens)?;
    for positional_embedding_type in [PositionalEmbeddingType::Shortformer, PositionalEmbeddingType::Rotary] {
        for rotary_adjacent_pairs in [false, true] {
            let cfg = HookedTransformerConfig { positional_embedding_type, rotary_adjacent_pairs, ..small() };
            check_model(&format!("{positional_embedding_type:?}"), cfg, &tokens)?;
        }
    }
    let qk_norms = [QkNormType::RMS, QkNormType::LN, QkNormType::LNPerHead, QkNormType::RMSAcrossHeads];
    for qk_norm_type in qk_norms {
        let cfg = HookedTransformerConfig { use_qk_norm: true, qk_norm_type, ..small() };
        check_model(&format!("queries and keys with {qk_norm_type:?}"), cfg, &tokens)?;
    }
    check_model("norms after", HookedTransformerConfig { use_normalization_after_only: true, ..small() }, &tokens)?;
    let gated = HookedTransformerConfig { gated_mlp: true, gated_mlp_biases: true, act_fn: ActFn::Silu, ..small() };
    check_model("a gate with biases", gated, &tokens)
}

#[test]
fn padded_batches_on_either_side() -> Result<()> {
    let rows = vec![vec![1, 5, 2, 10, 3], vec![7, 4], vec![6, 2, 9]];
    for side in [PaddingSide::Left, PaddingSide::Right] {
        check_model(&format!("padded {side}"), small(), &Tokens::padded(rows.clone(), 0, side)?)?;
    }
    Ok(())
}

#[test]
fn through_edits_that_put_variables_into_a_run() -> Result<()> {
    let (model, _) = model(small())?;
    let tokens = prompts();
    let vector = |size: usize| Var::from_vec(scrambled(size, 3), size, &Device::Cpu);
    let (steering, query, head) = (vector(8)?, vector(4)?, vector(8)?);
    let plan = || {
        HookPlan::new()
            .edit(("resid_pre", 1), Edit::add(steering.as_tensor().clone()).pos(2))
            .edit(("q", 0), Edit::replace(query.as_tensor().clone()).head(1).pos(-1))
            .edit(("q_input", 1), Edit::add(head.as_tensor().clone()).head(0))
            .edit(("z", 0), Edit::scale(0.5).head(0))
    };
    let options = RunOptions { loss: Loss::Mean, ..Default::default() };
    let loss = || Ok(model.run(&tokens, plan(), &options)?.loss.expect("the options ask for it"));
    check("edits", STEP, &[steering.clone(), query.clone(), head.clone()], &loss)
}

#[test]
fn softmax_with_masked_entries_and_rows() -> Result<()> {
    let hidden = f32::NEG_INFINITY;
    let mask = Tensor::new(&[[0f32, 0.0, 0.0], [0.0, hidden, 0.0], [hidden, hidden, hidden]], &Device::Cpu)?;
    let scores = Var::from_vec(scrambled(9, 1), (3, 3), &Device::Cpu)?;
    let weights = Tensor::from_vec(scrambled(9, 2), (3, 3), &Device::Cpu)?;
    let loss = || Ok((ops::softmax(&(scores.as_tensor() + &mask)?)? * &weights)?.sum_all()?);
    check("softmax", STEP, std::slice::from_ref(&scores), &loss)?;
    let pattern = numbers(&ops::softmax(&(scores.as_tensor() + &mask)?)?);
    assert_eq!(pattern[6..], [0.0; 3], "a row without anything to attend to is zeros");
    assert_eq!(pattern[4], 0.0);
    assert!((pattern[..3].iter().sum::<f64>() - 1.0).abs() < f64::from(LAST_DIGITS));
    let gradients = loss()?.backward()?;
    assert_eq!(numbers(gradients.get(&scores).unwrap())[6..], [0.0; 3]);
    Ok(())
}

#[test]
fn cross_entropy_of_large_logits() -> Result<()> {
    let logits = Var::from_vec(scrambled(8, 1).iter().map(|x| x * 3.0 + 90.0).collect(), (2, 4), &Device::Cpu)?;
    let weights = Tensor::from_vec(scrambled(2, 2), 2, &Device::Cpu)?;
    check("cross_entropy", STEP, std::slice::from_ref(&logits), &|| {
        Ok((ops::cross_entropy(logits.as_tensor(), &[3, 0])? * &weights)?.sum_all()?)
    })
}

/// The operations of our own against the same in f64, which are made of candle's: values and gradients, in rows that
/// fill no whole vector and tensors that fill several threads.
#[test]
fn fused_operations_agree_with_composed_ones() -> Result<()> {
    let (rows, width) = (431, 77);
    let x = Tensor::from_vec(
        scrambled(rows * width, 1).iter().map(|x| x * 6.0).collect::<Vec<_>>(),
        (rows, width),
        &Device::Cpu,
    )?;
    let weights = Tensor::from_vec(scrambled(rows * width, 2), (rows, width), &Device::Cpu)?;
    let targets: Vec<u32> = (0..rows as u32).map(|i| (i * 31) % width as u32).collect();
    type Operation<'a> = &'a dyn Fn(&Tensor) -> Result<Tensor>;
    let operations: [(&str, Operation); 4] = [
        ("softmax", &|x| ops::softmax(x)),
        ("cross_entropy", &|x| ops::cross_entropy(x, &targets)),
        ("gelu_new", &|x| ops::activate(x, ActFn::GeluNew)),
        ("relu", &|x| ops::activate(x, ActFn::Relu)),
    ];
    for (name, operation) in operations {
        let run = |dtype: DType| -> Result<(Vec<f64>, Vec<f64>)> {
            let var = Var::from_tensor(&x.to_dtype(dtype)?)?;
            let y = operation(var.as_tensor())?;
            let weights = weights.to_dtype(dtype)?;
            let weights = if y.rank() == 1 { weights.narrow(1, 0, 1)?.squeeze(1)? } else { weights };
            let gradients = (&y * &weights)?.sum_all()?.backward()?;
            Ok((numbers(&y), numbers(gradients.get(&var).expect("the operation is differentiable"))))
        };
        let (fused, fused_gradient) = run(DType::F32)?;
        let (composed, composed_gradient) = run(DType::F64)?;
        for (a, b) in fused.iter().zip(&composed).chain(fused_gradient.iter().zip(&composed_gradient)) {
            assert!((a - b).abs() <= FUSED * (1.0 + b.abs()), "{name}: {a} and {b}");
        }
    }
    Ok(())
}

/// PyTorch's slope of relu at exactly 0 is 0, in every type; beside it, it is 0 and 1.
#[test]
fn the_kink_of_relu_belongs_to_the_flat_side() -> Result<()> {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let x = Tensor::new(&[-2f32, -1e-3, -0.0, 0.0, 1e-3, 2.0], &Device::Cpu)?.to_dtype(dtype)?;
        let x = Var::from_tensor(&x)?;
        let y = ops::activate(x.as_tensor(), ActFn::Relu)?;
        assert_eq!(numbers(&y)[..4], [0.0; 4], "{dtype:?}");
        assert_eq!(numbers(&y)[4..], numbers(x.as_tensor())[4..], "{dtype:?}");
        let gradients = y.sum_all()?.backward()?;
        assert_eq!(numbers(gradients.get(&x).expect("a gradient")), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0], "{dtype:?}");
    }
    Ok(())
}

/// A row of one number has nothing but its mean, whatever the eps and the width; and a row of a large mean keeps the digits
/// of what is around it.
#[test]
fn a_norm_of_a_constant_row_is_zero() -> Result<()> {
    for (d_model, eps) in [(8, 1e-12), (24, 1e-5), (768, 1e-12), (1000, 1e-12)] {
        let cfg = HookedTransformerConfig { n_layers: 1, d_model, eps, n_heads: 1, d_mlp: Some(4), ..small() };
        let (model, _) = HookedTransformer::trainable(cfg, 3, &Device::Cpu)?;
        let row = |wave: f64| -> Vec<f32> { (0..d_model).map(|i| (37.1 + wave * (i as f64).sin()) as f32).collect() };
        let rows = [row(0.0), row(0.01), vec![0.1; d_model], vec![-3e4; d_model]].concat();
        let resid = Tensor::from_vec(rows.clone(), (1, 4, d_model), &Device::Cpu)?;
        let options = RunOptions { start_at_layer: Some((0, resid)), ..Default::default() };
        let plan = HookPlan::new().capture("blocks.0.ln1.hook_normalized");
        let run = model.run(vec![vec![1u32, 2, 3, 4]], plan, &options)?;
        let normalized = numbers(run.captured.values().next().expect("captured"));
        for (index, (got, row)) in normalized.chunks(d_model).zip(rows.chunks(d_model)).enumerate() {
            let wide: Vec<f64> = row.iter().map(|&x| f64::from(x)).collect();
            let mean = wide.iter().sum::<f64>() / d_model as f64;
            let variance = wide.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d_model as f64;
            for (got, x) in got.iter().zip(&wide) {
                let expected = (x - mean) / (variance + eps).sqrt();
                let tolerance = if index == 1 { LARGE_MEAN } else { 0.0 };
                assert!((got - expected).abs() <= tolerance, "{d_model} {eps}: {got} for {expected}");
            }
        }
    }
    Ok(())
}

#[test]
fn numbers_that_are_none_stay_none() -> Result<()> {
    let row = Tensor::new(&[[0f32, f32::NAN, 1.0]], &Device::Cpu)?;
    assert!(numbers(&ops::softmax(&row)?).iter().all(|x| x.is_nan()));
    assert!(numbers(&ops::cross_entropy(&row, &[0])?)[0].is_nan());
    for act in [ActFn::GeluNew, ActFn::Relu] {
        assert!(numbers(&ops::activate(&row, act)?)[1].is_nan());
    }
    Ok(())
}
