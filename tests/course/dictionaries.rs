//! The references of C15 beside the library's dictionaries.

use candle_lens::course::ex;
use candle_lens::prelude::*;

fn dictionary(
    (w_enc, b_enc, w_dec, b_dec): (&Tensor, &Tensor, &Tensor, &Tensor),
    activation: Activation,
) -> Result<Dictionary> {
    Dictionary::new(DictionaryParts {
        name: "by hand".into(),
        w_enc: w_enc.clone(),
        b_enc: b_enc.clone(),
        w_dec: w_dec.clone(),
        b_dec: b_dec.clone(),
        b_in: Some(b_dec.clone()),
        w_skip: None,
        activation,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::default(),
    })
}

/// What a dictionary makes of pre-activations: one with an encoder that changes nothing.
fn activated(pre: &Tensor, activation: Activation) -> Result<Tensor> {
    let latents = pre.dim(1)?;
    let (eye, zeros) =
        (Tensor::eye(latents, DType::F32, &Device::Cpu)?, Tensor::zeros(latents, DType::F32, &Device::Cpu)?);
    dictionary((&eye, &zeros, &eye, &zeros), activation)?.encode_dense(pre)
}

#[test]
fn parts_are_the_librarys() -> Result<()> {
    ex::sae_forward()
        .check(|x, w_enc, b_enc, w_dec, b_dec| {
            let rows = w_dec.to_vec2::<f32>()?;
            let unit = rows.iter().map(|row| {
                let length = row.iter().map(|x| x * x).sum::<f32>().sqrt();
                row.iter().map(|x| x / length).collect::<Vec<f32>>()
            });
            let unit = Tensor::new(unit.collect::<Vec<_>>(), &Device::Cpu)?;
            let dictionary = dictionary((w_enc, b_enc, &unit, b_dec), Activation::Relu)?;
            Ok::<_, candle_lens::Error>((dictionary.encode_dense(x)?, dictionary.reconstruct(x)?))
        })
        .expect()?;
    ex::sae_loss()
        .check(|x, acts, reconstruction, l1| {
            let (batch, d) = x.dims2()?;
            let errors = (x - reconstruction)?.sqr()?.sum_all()?.to_scalar::<f32>()? / d as f32;
            let penalty = acts.sum_all()?.to_scalar::<f32>()? * l1 as f32;
            Ok::<_, candle_lens::Error>(Tensor::new((errors + penalty) / batch as f32, &Device::Cpu)?)
        })
        .expect()?;
    ex::top_k_acts().check(|pre, k| activated(pre, Activation::TopK { k })).expect()?;
    ex::jump_relu()
        .check(|pre, threshold| activated(pre, Activation::JumpRelu { threshold: threshold.clone() }))
        .expect()
}

/// Directions of another seed, written into columns and rows.
#[test]
fn any_directions_are_resampled_ones() -> Result<()> {
    ex::resample()
        .check(|w_enc, b_enc, w_dec, times, scale, _| {
            let mut random = Random::new(77);
            let (mut columns, mut biases, mut rows) =
                (w_enc.t()?.contiguous()?.to_vec2::<f32>()?, b_enc.to_vec1::<f32>()?, w_dec.to_vec2::<f32>()?);
            for latent in (0..times.len()).filter(|&latent| times[latent] == 0) {
                let direction: Vec<f32> = random.normal(rows[latent].len())?.to_vec1()?;
                let length = direction.iter().map(|x| x * x).sum::<f32>().sqrt();
                rows[latent] = direction.iter().map(|x| x / length).collect();
                columns[latent] = rows[latent].iter().map(|x| x * scale as f32).collect();
                biases[latent] = 0.;
            }
            let tensor = |rows: Vec<Vec<f32>>| Tensor::new(rows, &Device::Cpu);
            Ok::<_, candle_lens::Error>((tensor(columns)?.t()?, Tensor::new(biases, &Device::Cpu)?, tensor(rows)?))
        })
        .expect()
}

#[test]
fn axes_are_no_random_directions() {
    let axes = ex::resample().check(|w_enc, b_enc, w_dec, times, scale, _| {
        let (mut columns, mut biases, mut rows) =
            (w_enc.t()?.contiguous()?.to_vec2::<f32>()?, b_enc.to_vec1::<f32>()?, w_dec.to_vec2::<f32>()?);
        for (number, latent) in (0..times.len()).filter(|&latent| times[latent] == 0).enumerate() {
            rows[latent].fill(0.);
            rows[latent][number] = 1.;
            columns[latent] = rows[latent].iter().map(|x| x * scale as f32).collect();
            biases[latent] = 0.;
        }
        let tensor = |rows: Vec<Vec<f32>>| Tensor::new(rows, &Device::Cpu);
        Ok::<_, candle_lens::Error>((tensor(columns)?.t()?, Tensor::new(biases, &Device::Cpu)?, tensor(rows)?))
    });
    assert!(!axes.passed());
}

#[test]
fn on_the_model_they_are_the_librarys() -> Result<()> {
    ex::latent_logits()
        .check(|model, dictionary, latent, k| {
            let top = dictionary.logit_lens(model, latent, k)?.top;
            model.token_ids(top.iter().map(|token| token.text.as_str()))
        })
        .expect()?;
    ex::without_latent()
        .check(|model, dictionary, tokens, latent| {
            let plan = model.splice(dictionary, ErrorTerm::Recomputed)?;
            let plan = plan.edit(("sae_acts_post", 1), Edit::zero().feature(latent));
            Ok::<_, candle_lens::Error>(model.run_with_hooks(tokens, plan)?.0)
        })
        .expect()
}

/// The notebook's small dictionary finds the directions that are there.
#[test]
fn a_small_dictionary_finds_the_directions() -> Result<()> {
    let unit = |x: Tensor| -> Result<Tensor> { Ok(x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)?) };
    let truth = unit(Random::new(1).normal((32, 16))?)?;
    let mut random = Random::new(2);
    let mut activations = |n: usize| -> Result<Tensor> {
        let mut value = || if random.chance(0.06) { 0.5 + random.uniform() as f32 } else { 0. };
        let values: Vec<f32> = (0..n * 32).map(|_| value()).collect();
        Ok(Tensor::from_vec(values, (n, 32), &Device::Cpu)?.matmul(&truth)?)
    };
    let recipe = Recipe {
        d_sae: 32,
        sparsity: Sparsity::BatchTopK { k: 2 },
        steps: 1000,
        learning_rate: 3e-3,
        warm_up: 20,
        dead_after: 40,
        ..Default::default()
    };
    let mut trainer = DictionaryTrainer::autoencoder(recipe, &activations(2048)?)?;
    for _ in 0..1000 {
        let x = activations(256)?;
        trainer.step(&x, &x)?;
    }
    let found = unit(trainer.dictionary("toy", Expects::default())?.w_dec())?;
    let best = truth.matmul(&found.t()?)?.max(1)?.to_vec1::<f32>()?;
    let near = best.iter().filter(|cosine| **cosine > 0.9).count();
    assert!(near > 16, "{near} of 32: {best:?}");
    Ok(())
}
