//! The recipes for dictionaries: they find the directions that data was made of, choose as many features as they say, and go on after
//! an interrupt. Their gradients are compared with autograd beside them, in src/train/dictionary/gradients.rs.

use std::collections::BTreeSet;

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor};
use candle_lens::dictionaries::{Activation, Dictionary, Expects};
use candle_lens::random::Random;
use candle_lens::train::{CrossLayerTrainer, DictionaryTrainer, Recipe, Sparsity, StepReport};

use crate::support::scratch;

const D: usize = 16;
const DIRECTIONS: usize = 24;
/// How many of them are in a position.
const ACTIVE: usize = 2;
const POSITIONS: usize = 256;
/// The share of new data that may be unexplained: 1 where nothing was learnt.
const UNEXPLAINED: f32 = 0.1;

/// Positions that are sums of a few known directions.
struct Made {
    /// `[direction, d]`, of norm 1.
    directions: Vec<Vec<f32>>,
    random: Random,
}

impl Made {
    fn new(width: usize, seed: u64) -> Result<Self> {
        let mut random = Random::new(seed);
        let directions = random.normal((DIRECTIONS, width))?.to_vec2::<f32>()?.into_iter().map(|row| {
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.into_iter().map(|x| x / norm).collect()
        });
        Ok(Self { directions: directions.collect(), random })
    }

    /// Which directions are in each position, and how much of each.
    fn codes(&mut self) -> Vec<Vec<(usize, f32)>> {
        let mut code = || {
            let mut chosen = BTreeSet::new();
            while chosen.len() < ACTIVE {
                chosen.insert(self.random.below(DIRECTIONS));
            }
            chosen.into_iter().map(|i| (i, 1.0 + self.random.uniform() as f32)).collect()
        };
        (0..POSITIONS).map(|_| code()).collect()
    }

    /// `[pos, d]`.
    fn sums(&self, codes: &[Vec<(usize, f32)>]) -> Result<Tensor> {
        let width = self.directions[0].len();
        let mut all = vec![0f32; codes.len() * width];
        for (row, code) in all.chunks_mut(width).zip(codes) {
            for (i, factor) in code {
                row.iter_mut().zip(&self.directions[*i]).for_each(|(x, d)| *x += factor * d);
            }
        }
        Ok(Tensor::from_vec(all, (codes.len(), width), &Device::Cpu)?)
    }
}

fn recipe(sparsity: Sparsity) -> Recipe {
    Recipe { d_sae: 48, sparsity, steps: 600, learning_rate: 3e-3, dead_after: 30, revived: 16, ..Recipe::default() }
}

fn expects(point: &str) -> Expects {
    Expects::at(point.parse().expect("a point"))
}

/// A trained autoencoder and what its last step said.
fn trained(recipe: Recipe, seed: u64) -> Result<(Dictionary, StepReport, Made)> {
    let mut made = Made::new(D, seed)?;
    let batch = |made: &mut Made| {
        let codes = made.codes();
        made.sums(&codes)
    };
    let mut trainer = DictionaryTrainer::autoencoder(recipe, &batch(&mut made)?)?;
    let mut last = None;
    for _ in 0..recipe.steps {
        let x = batch(&mut made)?;
        last = Some(trainer.step(&x, &x)?);
    }
    Ok((trainer.dictionary("made", expects("resid_post0"))?, last.expect("there were steps"), made))
}

/// For each direction, the largest cosine of a decoder row.
fn found(dictionary: &Dictionary, made: &Made) -> Result<usize> {
    let rows = dictionary.w_dec().to_vec2::<f32>()?;
    let cosine = |a: &[f32], b: &[f32]| {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    };
    let best = |direction: &Vec<f32>| rows.iter().map(|row| cosine(row, direction)).fold(f32::MIN, f32::max);
    Ok(made.directions.iter().filter(|direction| best(direction) > 0.95).count())
}

/// Data made of known directions is the oracle: an autoencoder that learns anything finds them.
#[test]
fn every_recipe_finds_the_directions_that_data_was_made_of() -> Result<()> {
    for sparsity in [
        Sparsity::TopK { k: ACTIVE },
        Sparsity::BatchTopK { k: ACTIVE },
        Sparsity::JumpRelu { l0_coefficient: 0.06, bandwidth: 0.5, initial_threshold: 0.5 },
    ] {
        let (dictionary, last, mut made) = trained(recipe(sparsity), 3)?;
        let directions = found(&dictionary, &made)?;
        assert!(directions >= DIRECTIONS - 2, "{sparsity}: {directions} of {DIRECTIONS} found, {last}");
        let codes = made.codes();
        let fresh = made.sums(&codes)?;
        let error = (dictionary.reconstruct(&fresh)? - &fresh)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
        let share = error / fresh.broadcast_sub(&fresh.mean_keepdim(0)?)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
        assert!(share < UNEXPLAINED, "{sparsity}: {share} of new data is unexplained");
        let l0 = dictionary.encode(&fresh)?.l0();
        assert!((1.0..4.0).contains(&l0), "{sparsity}: {l0} features are active where {ACTIVE} directions are");
    }
    Ok(())
}

/// The threshold that is stored lets through as many features as the batches chose.
#[test]
fn the_threshold_of_batch_top_k_keeps_its_l0() -> Result<()> {
    let (dictionary, last, mut made) = trained(recipe(Sparsity::BatchTopK { k: 3 }), 5)?;
    const TIES: f64 = 0.02;
    assert!((last.l0 - 3.0).abs() < TIES, "{last}");
    let Activation::JumpRelu { threshold } = dictionary.activation() else { panic!("not a threshold") };
    let threshold = threshold.to_vec1::<f32>()?;
    assert!(threshold[0] > 0.0 && threshold.iter().all(|x| *x == threshold[0]));
    let codes = made.codes();
    let l0 = dictionary.encode(&made.sums(&codes)?)?.l0();
    assert!((l0 - 3.0).abs() < 0.3, "{l0} features are active, and 3 were trained");
    // Decoder rows have norm 1: an activation is the length of what is written.
    for row in dictionary.w_dec().to_vec2::<f32>()? {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        const ROUNDING: f32 = 1e-4;
        assert!((norm - 1.0).abs() < ROUNDING, "{norm}");
    }
    Ok(())
}

/// What is read and what is written are made of different directions with the same codes.
#[test]
fn a_transcoder_finds_what_belongs_together() -> Result<()> {
    let (mut reads, writes) = (Made::new(D, 11)?, Made::new(12, 12)?);
    let recipe = Recipe { d_sae: 96, learning_rate: 5e-3, steps: 800, ..recipe(Sparsity::BatchTopK { k: ACTIVE + 1 }) };
    let codes = reads.codes();
    let mut trainer = DictionaryTrainer::transcoder(recipe, &reads.sums(&codes)?, &writes.sums(&codes)?)?;
    let mut last = None;
    for _ in 0..recipe.steps {
        let codes = reads.codes();
        last = Some(trainer.step(&reads.sums(&codes)?, &writes.sums(&codes)?)?);
    }
    let points = Expects::between("blocks.1.ln2.hook_normalized".parse()?, "mlp_out1".parse()?);
    let dictionary = trainer.dictionary("made", points)?;
    assert_eq!((dictionary.d_in(), dictionary.d_out()), (D, 12));
    assert!(dictionary.parts().b_in.is_none());
    let codes = reads.codes();
    let (x, y) = (reads.sums(&codes)?, writes.sums(&codes)?);
    let error = (dictionary.reconstruct(&x)? - &y)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
    let share = error / y.broadcast_sub(&y.mean_keepdim(0)?)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
    assert!(share < UNEXPLAINED, "{share} is unexplained, {last:?}");
    Ok(())
}

/// The second layer's output needs what the first layer reads: per-layer transcoders cannot write it, a cross-layer one can.
#[test]
fn a_cross_layer_transcoder_writes_to_later_layers() -> Result<()> {
    let (mut first, second) = (Made::new(D, 21)?, Made::new(D, 22)?);
    let recipe = recipe(Sparsity::BatchTopK { k: ACTIVE });
    let mut noise = Random::new(23);
    let mut batch = || -> Result<([Tensor; 2], [Tensor; 2])> {
        let codes = first.codes();
        let (x, y) = (first.sums(&codes)?, second.sums(&codes)?);
        // The second layer reads nothing of use, and its output is that of the first layer, turned around.
        Ok(([x, noise.normal((POSITIONS, D))?], [y.clone(), (y * -2.0)?]))
    };
    let (x, y) = batch()?;
    let mut trainer = CrossLayerTrainer::new(recipe, &x, &y)?;
    for _ in 0..recipe.steps {
        let (x, y) = batch()?;
        trainer.step(&x, &y)?;
    }
    let layers = trainer.dictionaries("made", vec![expects("resid_post0"), expects("resid_post1")])?;
    assert_eq!(layers.iter().map(Dictionary::n_writes).collect::<Vec<_>>(), [2, 1]);
    let (x, y) = batch()?;
    let acts = layers.iter().zip(&x).map(|(layer, x)| layer.encode_dense(x)).collect::<Result<Vec<_>>>()?;
    let later = acts[0].matmul(&layers[0].w_dec().narrow(1, 1, 1)?.squeeze(1)?)?;
    let own = acts[1].matmul(&layers[1].w_dec().squeeze(1)?)?;
    let written = (later + own)?.broadcast_add(&layers[1].parts().b_dec)?;
    let error = (written - &y[1])?.sqr()?.sum_all()?.to_scalar::<f32>()?;
    let share = error / y[1].broadcast_sub(&y[1].mean_keepdim(0)?)?.sqr()?.sum_all()?.to_scalar::<f32>()?;
    assert!(share < 2.0 * UNEXPLAINED, "{share} of the second layer is unexplained");
    Ok(())
}

#[test]
fn an_interrupted_training_goes_on_to_the_same_numbers() -> Result<()> {
    let path = scratch("dictionary_training").join("trainer.safetensors");
    for sparsity in [
        Sparsity::BatchTopK { k: 3 },
        Sparsity::JumpRelu { l0_coefficient: 0.01, bandwidth: 0.5, initial_threshold: 0.3 },
    ] {
        let recipe = Recipe { steps: 40, dead_after: 5, ..recipe(sparsity) };
        let mut made = Made::new(D, 31)?;
        let batches = (0..recipe.steps).map(|_| made.codes()).collect::<Vec<_>>();
        let batches = batches.iter().map(|codes| made.sums(codes)).collect::<Result<Vec<_>>>()?;
        let mut whole = DictionaryTrainer::autoencoder(recipe, &batches[0])?;
        let mut parts = whole.clone();
        for x in &batches {
            whole.step(x, x)?;
        }
        for x in &batches[..25] {
            parts.step(x, x)?;
        }
        parts.save(&path)?;
        let mut parts = DictionaryTrainer::open(&path)?;
        for x in &batches[25..] {
            parts.step(x, x)?;
        }
        let [a, b] = [&whole, &parts].map(|trainer| trainer.dictionary("made", expects("resid_post0")));
        let numbers = |dictionary: &Dictionary| -> Result<Vec<Vec<f32>>> {
            let parts = dictionary.parts();
            let mut all = vec![parts.b_enc.to_vec1()?, parts.b_dec.to_vec1()?];
            all.extend(
                [parts.w_enc, parts.w_dec].map(|w| w.flatten_all().and_then(|w| w.to_vec1())).into_iter().flatten(),
            );
            if let Activation::JumpRelu { threshold } = parts.activation {
                all.push(threshold.to_vec1()?);
            }
            Ok(all)
        };
        assert_eq!(numbers(&a?)?, numbers(&b?)?);
        assert!(whole.step(&batches[0], &batches[0]).unwrap_err().to_string().contains("all 40 steps"));
    }
    Ok(())
}

#[test]
fn what_cannot_be_trained_is_refused() -> Result<()> {
    let x = Random::new(0).normal((32, 8))?;
    let good = Recipe { d_sae: 16, steps: 10, sparsity: Sparsity::TopK { k: 4 }, ..Recipe::default() };
    let jump = |bandwidth| Sparsity::JumpRelu { l0_coefficient: 0.1, bandwidth, initial_threshold: 0.1 };
    for (recipe, says) in [
        (Recipe { sparsity: Sparsity::TopK { k: 17 }, ..good }, "k is 17 of 16 features"),
        (Recipe { sparsity: Sparsity::BatchTopK { k: 0 }, ..good }, "k is 0 of 16 features"),
        (Recipe { sparsity: jump(0.0), ..good }, "bandwidth"),
        (Recipe { sparsity: jump(f64::NAN), ..good }, "bandwidth"),
        (Recipe { sparsity: jump(1e-60), ..good }, "bandwidth"),
        (Recipe { sparsity: jump(1e60), ..good }, "bandwidth"),
        (Recipe { dead_after: 0, ..good }, "`dead_after` is at least 1"),
        (Recipe { d_sae: 1 << 40, ..good }, "take fewer features"),
        (Recipe { d_sae: usize::MAX, ..good }, "take fewer features"),
        (Recipe { steps: 0, ..good }, "0 steps"),
        (Recipe { learning_rate: f64::NAN, ..good }, "rate"),
    ] {
        let message = DictionaryTrainer::autoencoder(recipe, &x).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let same = Tensor::ones((32, 8), candle_lens::candle::DType::F32, &Device::Cpu)?;
    let message = DictionaryTrainer::autoencoder(good, &same).unwrap_err().to_string();
    assert!(message.contains("nothing to learn"), "{message}");
    let mut trainer = DictionaryTrainer::autoencoder(good, &x)?;
    for (wrong, says) in [
        (Random::new(1).normal((32, 7))?, "[pos, 8]"),
        ((&x / 0.0)?, "not finite"),
        (Random::new(1).normal((0, 8))?, "at least one"),
    ] {
        let message = trainer.step(&wrong, &wrong).unwrap_err().to_string();
        assert!(message.contains(says), "{message}");
    }
    let message = trainer.step(&x, &(&x * 2.0)?).unwrap_err().to_string();
    assert!(message.contains("give the same twice"), "{message}");
    trainer.step(&x, &x.copy()?)?;
    assert!(CrossLayerTrainer::new(good, &[], &[]).is_err());
    assert!(CrossLayerTrainer::new(good, std::slice::from_ref(&x), &[]).is_err());
    Ok(())
}

#[test]
fn a_file_is_opened_as_what_it_is() -> Result<()> {
    let path = scratch("dictionary_training_kinds").join("trainer.safetensors");
    let x = Random::new(0).normal((32, 8))?;
    let recipe = Recipe { d_sae: 16, steps: 10, sparsity: Sparsity::TopK { k: 4 }, ..Recipe::default() };
    let layers = std::slice::from_ref(&x);
    CrossLayerTrainer::new(recipe, layers, layers)?.save(&path)?;
    let message = DictionaryTrainer::open(&path).unwrap_err().to_string();
    assert!(message.contains("CrossLayerTrainer::open"), "{message}");
    CrossLayerTrainer::open(&path)?;
    for (trainer, what) in [
        (DictionaryTrainer::autoencoder(recipe, &x)?, "an autoencoder"),
        (DictionaryTrainer::transcoder(recipe, &x, &x)?, "a transcoder"),
    ] {
        trainer.save(&path)?;
        let message = CrossLayerTrainer::open(&path).unwrap_err().to_string();
        assert!(message.contains(what) && message.contains("DictionaryTrainer::open"), "{message}");
        DictionaryTrainer::open(&path)?;
    }
    Ok(())
}

/// A file of training is read as if a stranger had written it.
#[test]
fn damaged_files_of_training_are_refused() -> Result<()> {
    let path = scratch("dictionary_training_damaged").join("trainer.safetensors");
    let x = Random::new(0).normal((32, 8))?;
    let recipe = Recipe { d_sae: 16, steps: 10, sparsity: Sparsity::TopK { k: 4 }, ..Recipe::default() };
    let mut trainer = DictionaryTrainer::autoencoder(recipe, &x)?;
    trainer.step(&x, &x)?;
    trainer.save(&path)?;
    let bytes = std::fs::read(&path).expect("the file is there");
    for cut in [0, 9, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).expect("a file");
        assert!(DictionaryTrainer::open(&path).is_err(), "cut after {cut} bytes");
    }
    let mut random = Random::new(1);
    for _ in 0..50 {
        let mut damaged = bytes.clone();
        let place = random.below(damaged.len());
        damaged[place] ^= 1 << random.below(8);
        std::fs::write(&path, &damaged).expect("a file");
        assert!(DictionaryTrainer::open(&path).is_err(), "a bit of byte {place} was turned");
    }
    Ok(())
}
