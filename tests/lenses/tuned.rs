//! Tuned lenses: the identity is the logit lens, fits lower the KL divergence on texts that they were not fitted to, files come back,
//! and each is for its own model.

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::dims::Dims;
use candle_lens::model::Processing;
use candle_lens::prelude::*;
use candle_lens::tasks::Split;

use crate::support::fixture::{Agreement, numbers, path};
use crate::support::models::{every_model, pretrained};
use crate::support::sentence::sentence;
use crate::support::tolerance::{CLEAR, REORDERED, TWO_WAYS};
use crate::support::{assert_close, scratch};

/// Maps are stored in f32, and the model's residual streams come in batches of other shapes.
const STORED: f64 = 1e-3;

/// The pull that is compared is larger than what rounding leaves of it by this factor.
const SMALL: f64 = 0.01;

fn tiny() -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained("tiny")
}

/// Texts of several kinds: to be fitted to with seed 0, to be compared on with another.
fn texts(count: usize, seed: u64) -> Result<Vec<String>> {
    let of = |task: Task| -> Result<Vec<String>> {
        Ok(task.prompts(Split::Train, count, seed)?.prompts.into_iter().map(|prompt| prompt.clean).collect())
    };
    Ok([of(Task::Ioi)?, of(Task::Sva)?].concat())
}

fn same_readings(a: &LensReading, b: &LensReading, name: &str) -> Result<()> {
    let same = |a: &Labelled, b: &Labelled| {
        a.axes() == b.axes() && a.values().iter().zip(&b.values()).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()))
    };
    assert_eq!(a.tokens, b.tokens, "{name}");
    assert!(same(&a.entropy, &b.entropy) && same(&a.kl()?, &b.kl()?), "{name}");
    assert!(same(&a.target()?.rank, &b.target()?.rank) && same(&a.target()?.logit, &b.target()?.logit), "{name}");
    Ok(())
}

/// In every family: with A = I and b = 0 the numbers are those of the logit lens, bit for bit.
#[test]
fn the_identity_is_the_logit_lens() -> Result<()> {
    for (name, model) in every_model() {
        let tokens = Tokens::padded(vec![vec![1, 5, 2, 7], vec![4, 6]], 3, PaddingSide::Left)?;
        let options = LensOptions { target: 1u32.into(), k: 2, ..Default::default() };
        let tuned = TunedLens::identity(&model)?;
        let plain = logit_lens(&model, &tokens, &options)?;
        same_readings(&tuned.read(&model, &tokens, &options)?, &plain, &name)?;
        let again = TunedLens::new(&model, &tuned.maps()?, &tuned.biases())?;
        same_readings(&again.read(&model, &tokens, &options)?, &plain, &name)?;
    }
    Ok(())
}

/// A map is applied as a loop applies it, to the residual stream that enters its block.
#[test]
fn maps_are_applied_as_by_hand() -> Result<()> {
    let model = tiny()?;
    let Dims { n_layers, d_model, .. } = model.dims();
    let maps = Random::new(5).normal((n_layers, d_model, d_model))?;
    let biases = Random::new(6).normal((n_layers, d_model))?;
    let tuned = TunedLens::new(&model, &maps, &biases)?;
    assert_close(&tuned.maps()?, &maps, REORDERED, "maps");
    let (_, cache) = model.run_with_cache("The keys on the cabinet")?;
    let reading = tuned.read(&model, &cache, LensOptions { target: " are".into(), ..Default::default() })?;
    let target = model.to_single_token(" are")? as usize;
    let mut agreement = Agreement::default();
    for layer in 0..n_layers {
        let x = cache.get(("resid_pre", layer))?.squeeze(0)?;
        let mapped = x.matmul(&maps.get(layer)?)?.broadcast_add(&biases.get(layer)?)?;
        // The final norm by a run that starts behind the last block does not exist; by hand, folded.
        let centred = mapped.broadcast_sub(&mapped.mean_keepdim(1)?)?;
        let scale = (centred.sqr()?.mean_keepdim(1)? + model.cfg().eps)?.sqrt()?;
        let logits = centred.broadcast_div(&scale)?.matmul(&model.W_U())?.broadcast_add(&model.b_U())?;
        let expected = logits.narrow(1, target, 1)?.squeeze(1)?;
        let got = reading.target()?.logit.select("component", layer as isize)?.to_tensor()?.squeeze(0)?;
        agreement.check("logits", &got, &expected);
    }
    agreement.finish("maps by hand");
    let last = reading.kl()?.select("component", -1)?;
    assert!(last.values().iter().all(|kl| *kl == 0.), "the end has no map");
    Ok(())
}

/// At the least square the gradient is 0: what is left over has mean 0, and along the inputs it is the pull to the identity.
#[test]
fn least_squares_are_those_of_the_normal_equations() -> Result<()> {
    const RIDGE: f64 = 0.02;
    const LAYER: usize = 3;
    let model = tiny()?;
    let texts = texts(60, 0)?;
    let tuned = TunedLens::fit(&model, texts.clone(), TunedFit { ridge: RIDGE, ..Default::default() })?;
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for text in &texts {
        let (_, cache) = model.run_with_cache(text)?;
        let real = |name: &str, layer: isize| -> Result<Tensor> {
            let all = cache.get((name, layer))?.squeeze(0)?;
            // BOS is left out.
            Ok(all.narrow(0, 1, all.dim(0)? - 1)?)
        };
        x.push(real("resid_pre", LAYER as isize)?);
        y.push(real("resid_post", -1)?);
    }
    let wide = |parts: &[Tensor]| -> Result<Tensor> { Ok(Tensor::cat(parts, 0)?.to_dtype(DType::F64)?) };
    let (x, y) = (wide(&x)?, wide(&y)?);
    let of = |part: Tensor| -> Result<Tensor> { Ok(part.get(LAYER)?.to_dtype(DType::F64)?) };
    let map = of(tuned.maps()?)?;
    let left = (&y - x.matmul(&map)?.broadcast_add(&of(tuned.biases())?)?)?;
    let mean = numbers(&left.mean(0)?).into_iter().fold(0., |most: f64, x| most.max(x.abs()));
    assert!(mean < STORED, "the mean of what is left over: {mean}");
    let centred = x.broadcast_sub(&x.mean_keepdim(0)?)?;
    let along = (centred.t()?.matmul(&left)? / x.dim(0)? as f64)?;
    let weights = (map - Tensor::eye(model.cfg().d_model, DType::F64, &Device::Cpu)?)?;
    let variance = centred.sqr()?.mean(0)?.unsqueeze(1)?;
    let pull = (weights.broadcast_mul(&variance)? * RIDGE)?;
    let apart = numbers(&(&along - &pull)?).into_iter().fold(0., |most: f64, x| most.max(x.abs()));
    let size = numbers(&pull).into_iter().fold(0., |most: f64, x| most.max(x.abs()));
    assert!(apart < STORED && apart < SMALL * size, "{apart} of {size}");
    // Much of it is the identity.
    let stiff = TunedLens::fit(&model, texts, TunedFit { ridge: 1e9, ..Default::default() })?;
    let identity = TunedLens::identity(&model)?;
    assert_close(&stiff.maps()?, &identity.maps()?, TWO_WAYS, "a stiff map");
    Ok(())
}

/// On texts of another seed, at every layer but the last few, where the logit lens is near already.
#[test]
fn fits_lower_the_kl_on_other_texts() -> Result<()> {
    let model = tiny()?;
    let others = texts(8, 9)?;
    let plain = LogitLens.mean_kl(&model, others.clone())?;
    let fitted = TunedLens::fit(&model, texts(100, 0)?, TunedFit::default())?;
    let by_squares = fitted.mean_kl(&model, others.clone())?;
    assert_eq!(plain.axes(), by_squares.axes());
    let layers = model.cfg().n_layers;
    let mean = |kl: &Labelled| kl.values().iter().take(layers).sum::<f32>() / layers as f32;
    println!("mean KL: logit lens {}, least squares {}", mean(&plain), mean(&by_squares));
    assert!(mean(&by_squares) < 0.7 * mean(&plain), "{plain} {by_squares}");
    let options = TunedTraining { schedule: Schedule::new(1e-3, 12), batch: 128, ..Default::default() };
    let more = Texts::from(texts(100, 0)?).repeated()?;
    let (trained, log) = fitted.train(&model, more, options)?;
    let by_steps = trained.mean_kl(&model, others)?;
    println!("by steps {}; {log}", mean(&by_steps));
    assert!(mean(&by_steps) < mean(&by_squares), "{by_squares} {by_steps}");
    assert!(log.recent("KL", 3) < log.series("KL").first().map(|(_, kl)| *kl));
    Ok(())
}

/// The first step from the identity is AdamW's on a gradient by finite differences.
#[test]
fn a_step_goes_down_the_gradient() -> Result<()> {
    const NUDGE: f32 = 1e-2;
    let model = tiny()?;
    let text = "When John and Mary went to the shops";
    let mean_kl = |biases: &Tensor| -> Result<f32> {
        let lens = TunedLens::new(&model, &TunedLens::identity(&model)?.maps()?, biases)?;
        let kl = lens.read(&model, text, LensOptions { k: 1, ..Default::default() })?.kl()?.select("component", 2)?;
        // BOS is left out.
        Ok(kl.values().iter().skip(1).sum::<f32>() / (kl.values().len() - 1) as f32)
    };
    let options = TunedTraining { schedule: Schedule::new(1e-3, 1), batch: 64, ..Default::default() };
    let (trained, _) = TunedLens::identity(&model)?.train(&model, [text], options)?;
    let step = trained.biases().get(2)?.to_vec1::<f32>()?;
    let Dims { n_layers, d_model, .. } = model.dims();
    let mut compared = 0;
    for coordinate in [0, 7, 31, 60] {
        let nudged = |by: f32| -> Result<f32> {
            let mut biases = vec![0_f32; n_layers * d_model];
            biases[2 * d_model + coordinate] = by;
            mean_kl(&Tensor::from_vec(biases, (n_layers, d_model), &Device::Cpu)?)
        };
        let slope = (nudged(NUDGE)? - nudged(-NUDGE)?) / (2. * NUDGE);
        if slope.abs() < CLEAR {
            continue;
        }
        compared += 1;
        // AdamW's first step is the rate, against the sign of the gradient.
        assert!(
            (step[coordinate] + 1e-3 * slope.signum()).abs() < REORDERED,
            "{coordinate}: {slope} {}",
            step[coordinate]
        );
    }
    assert!(compared >= 2, "{compared}");
    // Whatever rules the model's gradients follow, the loss has its own.
    let options = TunedTraining { schedule: Schedule::new(1e-3, 1), batch: 64, ..Default::default() };
    let (by_rules, _) = TunedLens::identity(&model)?.train(&model.with_frozen(RELP), [text], options)?;
    assert_eq!(by_rules.biases().to_vec2::<f32>()?, trained.biases().to_vec2::<f32>()?);
    Ok(())
}

#[test]
fn files_come_back_and_say_what_they_are() -> Result<()> {
    let folder = scratch("tuned_lens");
    let model = tiny()?;
    let tuned = TunedLens::fit(&model, texts(20, 0)?, TunedFit::default())?;
    let file = folder.join("lens.safetensors");
    tuned.save(&file)?;
    let again = TunedLens::load(&file)?;
    assert_eq!(again.to_string(), tuned.to_string());
    assert_close(&again.maps()?, &tuned.maps()?, 0., "maps");
    assert_close(&again.biases(), &tuned.biases(), 0., "biases");
    let options = || LensOptions::default();
    assert_eq!(again.read(&model, "The keys", options())?.tokens, tuned.read(&model, "The keys", options())?.tokens);
    let raw = HookedTransformer::from_pretrained_no_processing("tiny")?;
    sentence(again.read(&raw, "The keys", options()), &["not fitted to this model", "processing"]);
    let other = pretrained(path("families/llama").to_str().expect("the path is UTF-8"), None)?;
    sentence(again.read(&other, vec![vec![1u32, 2]], options()), &["layers of width"]);
    sentence(TunedLens::load(folder.join("nothing.safetensors")), &["nothing.safetensors"]);
    sentence(TunedLens::load(&folder), &["config.json", "params.pt"]);
    let reading = tuned.read(&model, "The keys", LensOptions { incl_mid: true, ..options() });
    sentence(reading, &["between attention and MLP", "incl_mid"]);
    Ok(())
}

/// Files of the package `tuned-lens`, whose readings by its own formula are beside them.
#[test]
fn published_lenses_are_read_as_their_authors_read_them() -> Result<()> {
    let folder = path("tuned_lens");
    let reference = crate::support::fixture::Reference::load("tuned_lens/reference.safetensors");
    let tuned = TunedLens::load(&folder)?;
    let gpt2 = path("tiny_gpt2");
    let gpt2 = gpt2.to_str().expect("the path is UTF-8");
    let fold_ln = Processing { fold_ln: true, ..Processing::NONE };
    let mut agreement = Agreement::default();
    for processing in [Processing::NONE, fold_ln] {
        let model = HookedTransformer::from_pretrained_with(gpt2, processing)?;
        let tokens = reference.tokens("tokens");
        let options = LensOptions { target: 17u32.into(), ..Default::default() };
        let reading = tuned.read(&model, &tokens, options)?;
        agreement.check("log-probability", &reading.target()?.log_prob.to_tensor()?, reference.get("log_probs"));
        agreement.check("entropy", &reading.entropy.to_tensor()?, reference.get("entropy"));
    }
    agreement.finish("a published tuned lens");
    let processed = HookedTransformer::from_pretrained(gpt2)?;
    sentence(tuned.read(&processed, vec![vec![1u32, 2]], LensOptions::default()), &["centred", "no_processing"]);
    let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    sentence(tuned.read(&model, "The keys", LensOptions::default()), &["layers of width"]);
    Ok(())
}

#[test]
fn damaged_and_foreign_files_are_refused() -> Result<()> {
    let from = path("tuned_lens");
    let folder = scratch("tuned_lens_damaged");
    let config = std::fs::read_to_string(from.join("config.json")).expect("the configuration is there");
    std::fs::copy(from.join("params.pt"), folder.join("params.pt")).expect("a copy");
    for (what, changed, part) in [
        ("another type", config.replace("linear_tuned_lens", "mlp_lens"), "mlp_lens"),
        ("an unknown key", config.replace("\"bias\"", "\"rank\": 3, \"bias\""), "rank"),
        ("more layers", config.replace("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"), "3 layers"),
        ("another width", config.replace("\"d_model\": 24", "\"d_model\": 25"), "shape"),
        ("a width for no memory", config.replace("\"d_model\": 24", "\"d_model\": 18446744073709551615"), "shape"),
        ("not JSON", "{".into(), "configuration"),
    ] {
        assert_ne!(changed, config, "{what}");
        std::fs::write(folder.join("config.json"), changed).expect("a file is written");
        sentence(TunedLens::load(&folder), &[part]);
    }
    std::fs::write(folder.join("config.json"), &config).expect("a file is written");
    assert!(TunedLens::load(&folder).is_ok());
    let bytes = std::fs::read(from.join("params.pt")).expect("the parameters are there");
    std::fs::write(folder.join("params.pt"), &bytes[..bytes.len() / 2]).expect("a file is written");
    sentence(TunedLens::load(&folder), &["params.pt"]);
    Ok(())
}

#[test]
fn what_cannot_be_fitted_is_refused() -> Result<()> {
    let model = tiny()?;
    let none: Vec<String> = Vec::new();
    sentence(TunedLens::fit(&model, none.clone(), TunedFit::default()), &["0 tokens"]);
    sentence(TunedLens::fit(&model, ["The keys"], TunedFit { ridge: 0., ..Default::default() }), &["tokens", "ridge"]);
    sentence(TunedLens::fit(&model, ["The keys"], TunedFit { ridge: -1., ..Default::default() }), &["-1"]);
    sentence(TunedLens::identity(&model)?.train(&model, none.clone(), TunedTraining::default()), &["no token"]);
    let huge = TunedTraining { batch: usize::MAX, ..Default::default() };
    sentence(TunedLens::identity(&model)?.train(&model, ["The keys"], huge), &["fits in memory"]);
    sentence(LogitLens.mean_kl(&model, none), &["no text"]);
    let Dims { n_layers, d_model, .. } = model.dims();
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu);
    let maps = zeros(&[n_layers, d_model, d_model])?;
    sentence(TunedLens::new(&model, &maps, &zeros(&[n_layers, 3])?), &["biases"]);
    sentence(TunedLens::new(&model, &zeros(&[1, 2, 2])?, &zeros(&[1, 2])?), &["maps"]);
    let nan = (zeros(&[n_layers, d_model])? + f64::NAN)?;
    sentence(TunedLens::new(&model, &maps, &nan), &["layer 0", "not finite"]);
    let load = LoadOptions { dtype: DType::BF16, ..Default::default() };
    let half = HookedTransformer::from_pretrained_with("tiny", load)?;
    let training = TunedLens::identity(&half)?.train(&half, ["The keys"], TunedTraining::default());
    sentence(training, &["BF16", "f32"]);
    // One that was fitted to the same weights in f32 is read in half precision.
    TunedLens::identity(&model)?.read(&half, "The keys", LensOptions::default())?;
    Ok(())
}

/// A context of millions of tokens costs nothing where the texts are short.
#[test]
fn short_texts_fit_whatever_the_context_is() -> Result<()> {
    let cfg = HookedTransformerConfig {
        n_layers: 2,
        d_model: 16,
        n_heads: 2,
        d_vocab: 40,
        n_ctx: 1 << 24,
        positional_embedding_type: PositionalEmbeddingType::Rotary,
        rotary_dim: Some(8),
        ..Default::default()
    };
    let (model, _) = HookedTransformer::trainable(cfg, 0, &Device::Cpu)?;
    let rows: Vec<Vec<u32>> = (0..20).map(|row| (0..30).map(|at| (row * 7 + at * 3) % 40).collect()).collect();
    let fit = TunedFit { skip: SkipTokens::Nothing, ..Default::default() };
    let tuned = TunedLens::fit(&model, rows.clone(), fit)?;
    let training =
        TunedTraining { schedule: Schedule::new(1e-3, 2), batch: 64, skip: SkipTokens::Nothing, ..Default::default() };
    let (_, log) = tuned.train(&model, rows, training)?;
    assert_eq!(log.series("KL").len(), 2);
    Ok(())
}
