//! Addition modulo 53, first learnt by heart and then understood ("grokked").
//!
//! Reference: Nanda et al. 2023, "Progress measures for grokking via mechanistic interpretability" (arXiv 2301.05217), with a smaller
//! prime and a smaller model, which understands within seconds.

use candle_lens::prelude::*;

pub const P: usize = 53;
/// The token behind `a` and `b`.
const EQUALS: u32 = P as u32;
const EPOCHS: usize = 1500;
const RATE: f64 = 5e-3;

pub fn config(d_model: usize, d_mlp: usize) -> HookedTransformerConfig {
    HookedTransformerConfig {
        model_name: "modular".into(),
        n_layers: 1,
        d_model,
        n_heads: 4,
        d_mlp: Some(d_mlp),
        n_ctx: 3,
        d_vocab: P + 1,
        d_vocab_out: Some(P),
        act_fn: ActFn::Relu,
        normalization_type: NormalizationType::None,
        default_prepend_bos: false,
        ..Default::default()
    }
}

pub fn questions(pairs: &[(usize, usize)]) -> Result<(Tokens, Vec<u32>)> {
    let rows = pairs.iter().map(|(a, b)| vec![*a as u32, *b as u32, EQUALS]).collect();
    Ok((Tokens::from_rows(rows)?, pairs.iter().map(|(a, b)| ((a + b) % P) as u32).collect()))
}

pub fn loss(model: &HookedTransformer, tokens: &Tokens, sums: &[u32]) -> Result<Tensor> {
    let logits = model.forward(tokens)?.narrow(1, 2, 1)?.squeeze(1)?;
    Ok(cross_entropy(&logits, sums)?.mean_all()?)
}

pub fn accuracy(model: &HookedTransformer, tokens: &Tokens, sums: &[u32]) -> Result<f32> {
    let logits = model.forward(tokens)?.narrow(1, 2, 1)?.squeeze(1)?;
    let guesses = logits.argmax(1)?.to_vec1::<u32>()?;
    Ok(guesses.iter().zip(sums).filter(|(a, b)| a == b).count() as f32 / sums.len() as f32)
}

pub fn scan(d_model: usize, d_mlp: usize, seed: u64, share: f64) -> Result<()> {
    println!("== {d_model} {d_mlp} seed {seed} share {share}");
    let mut random = Random::new(seed);
    let mut pairs: Vec<(usize, usize)> = (0..P * P).map(|n| (n / P, n % P)).collect();
    for last in (1..pairs.len()).rev() {
        pairs.swap(last, random.below(last + 1));
    }
    let (train, test) = pairs.split_at((share * pairs.len() as f64) as usize);
    let (train, test) = (questions(train)?, questions(test)?);
    let (model, vars) = HookedTransformer::trainable(config(d_model, d_mlp), seed, &Device::Cpu)?;
    let mut adam = AdamW::new(AdamWOptions { beta2: 0.98, weight_decay: 1.0, ..Default::default() });
    let start = std::time::Instant::now();
    for epoch in 0..=EPOCHS {
        let now = loss(&model, &train.0, &train.1)?;
        if epoch % 50 == 0 {
            let all: std::collections::HashMap<String, Tensor> = model.state_dict()?.into_iter().map(|(k, v)| Ok((k, v.contiguous()?.copy()?))).collect::<Result<_>>()?;
            candle_lens::candle::safetensors::save(&all, format!("/tmp/mod/m-{d_model}-{d_mlp}-{share}-{seed}-{epoch}.safetensors"))?;
        }
        if epoch % 75 == 0 {
            let e = model.W_E().narrow(0, 0, P)?;
            let mut norms: Vec<(f32, usize)> = Vec::new();
            for k in 1..=P / 2 {
                let angle = |a: usize| std::f64::consts::TAU * (k * a % P) as f64 / P as f64;
                let wave = |f: &dyn Fn(f64) -> f64| Tensor::from_vec((0..P).map(|a| f(angle(a)) as f32).collect::<Vec<_>>(), (1, P), &Device::Cpu);
                let c = wave(&f64::cos)?.matmul(&e)?.sqr()?.sum_all()?.item()?;
                let s = wave(&f64::sin)?.matmul(&e)?.sqr()?.sum_all()?.item()?;
                norms.push((c + s, k));
            }
            let total: f32 = norms.iter().map(|(n, _)| n).sum();
            norms.sort_by(|a, b| b.0.total_cmp(&a.0));
            let top: Vec<String> = norms[..5].iter().map(|(n, k)| format!("{k}: {:.2}", n / total)).collect();
            println!(
                "{epoch}: train {:.4} test {:.4} accuracy {:.4} {top:?} {:.1} s",
                now.item()?,
                loss(&model, &test.0, &test.1)?.item()?,
                accuracy(&model, &test.0, &test.1)?,
                start.elapsed().as_secs_f64()
            );
        }
        let warm_up = ((epoch + 1) as f64 / 10.).min(1.);
        let decay = ((EPOCHS - epoch) as f64 / (0.3 * EPOCHS as f64)).clamp(0.02, 1.);
        adam.step_vars(RATE * warm_up * decay, &vars, &now.backward()?)?;
    }
    Ok(())
}
