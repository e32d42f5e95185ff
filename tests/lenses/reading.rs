//! What a lens reads, against TransformerLens 4.3, against the whole vocabulary by hand, and at its identities.

use candle_lens::Result;
use candle_lens::candle::{DType, Tensor};
use candle_lens::model::Processing;
use candle_lens::prelude::*;

use crate::support::fixture::{Agreement, Reference, numbers, path};
use crate::support::models::{every_model, pretrained};
use crate::support::sentence::sentence;

const FILE: &str = "lenses.safetensors";

/// The same formula in f32 there and in f64 here, of logits that two programs compute.
const LENS: f64 = 1e-4;

fn values(result: &Labelled) -> Vec<f64> {
    result.values().iter().map(|&x| f64::from(x)).collect()
}

/// Our numbers at all positions but the last, where the reference has a next token.
fn but_last(result: &Labelled) -> Result<Vec<f64>> {
    let all = result.to_tensor()?;
    Ok(numbers(&all.narrow(2, 0, all.dim(2)? - 1)?.contiguous()?))
}

#[test]
fn readings_are_those_of_transformer_lens() -> Result<()> {
    let reference = Reference::load(FILE);
    let mut agreement = Agreement::default();
    for (name, folder) in [
        ("gpt2", "tiny_gpt2"),
        ("llama", "families/llama"),
        ("gemma2", "families/gemma2"),
        ("gpt_neox", "families/gpt_neox"),
    ] {
        for (kind, processing) in [("raw", Some(Processing::NONE)), ("processed", None)] {
            let folder = path(folder);
            let model = pretrained(folder.to_str().expect("the path is UTF-8"), processing)?;
            let of = |key: &str| numbers(reference.get(&format!("{name}.{kind}.{key}")));
            let mut check = |key: &str, got: Vec<f64>| {
                let expected = of(key);
                assert_eq!(got.len(), expected.len(), "{name}, {kind}: {key}");
                agreement.check_numbers(&format!("{name}, {kind}: {key}"), got.into_iter().zip(expected));
            };
            let tokens = reference.get(&format!("{name}.tokens")).to_dtype(DType::U32)?;
            let options = LensOptions {
                k: 4,
                target: LensTarget::NextToken,
                tokens: [5u32, 0, 17].map(Into::into).to_vec(),
                ..Default::default()
            };
            let reading = logit_lens(&model, &tokens, options)?;
            let (target, chosen) = (reading.target()?, reading.chosen()?);
            check("log_probs", but_last(&target.log_prob)?);
            check("ranks", but_last(&target.rank)?);
            check("entropy", but_last(&reading.entropy)?);
            check("kl", but_last(&reading.kl()?)?);
            check("top_probs", but_last(&reading.probabilities)?);
            check("chosen.log_probs", but_last(&chosen.log_prob)?);
            check("chosen.ranks", but_last(&chosen.rank)?);
            let ids = Tensor::from_iter(reading.tokens.iter().copied(), &Device::Cpu)?;
            let ids = ids.reshape(reading.probabilities.shape())?;
            check("top_ids", numbers(&ids.narrow(2, 0, ids.dim(2)? - 1)?.contiguous()?));
            let vectors = reference.get(&format!("{name}.vectors"));
            let options = LensOptions { target: 9u32.into(), ..Default::default() };
            let reading = LogitLens.read_vectors(&model, vectors, ReadBy::End, options)?;
            let target = reading.target()?;
            check("vectors.log_probs", values(&target.log_prob));
            check("vectors.ranks", values(&target.rank));
            check("vectors.entropy", values(&reading.entropy));
        }
    }
    agreement.finish("the logit lens of TransformerLens");
    Ok(())
}

/// The numbers of one row in f64, by their definitions over the whole vocabulary.
struct ByHand {
    log_probs: Vec<f64>,
}

impl ByHand {
    fn new(logits: &[f64]) -> Self {
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = logits.iter().map(|x| (x - max).exp()).sum::<f64>().ln();
        Self { log_probs: logits.iter().map(|x| x - max - log_sum).collect() }
    }

    fn entropy(&self) -> f64 {
        -self.log_probs.iter().map(|x| x.exp() * x).sum::<f64>()
    }

    fn kl_from(&self, own: &Self) -> f64 {
        own.log_probs.iter().zip(&self.log_probs).map(|(p, q)| p.exp() * (p - q)).sum()
    }
}

fn padded(model: &HookedTransformer, side: PaddingSide) -> Result<Tokens> {
    let pad = u32::from(model.cfg().d_vocab > 9) * 9;
    Tokens::padded(vec![vec![1, 5, 2, 7, 3], vec![4, 6], vec![2, 8, 1]], pad, side)
}

/// Every logit of the lens, row by row, with components outside, then prompts, then positions.
fn every_logit(model: &HookedTransformer, cache: &ActivationCache) -> Result<Vec<Vec<f64>>> {
    let normed = cache.accumulated_resid(Stack::accumulated().normed())?.tensor().reshape(((), model.cfg().d_model))?;
    let all = normed.matmul(&model.W_U())?.broadcast_add(&model.b_U())?;
    let all = match model.cfg().output_logits_soft_cap {
        Some(cap) => ((all / cap)?.tanh()? * cap)?,
        None => all,
    };
    Ok(all.to_dtype(DType::F64)?.to_vec2::<f64>()?)
}

/// Every family, raw and processed, padded on either side.
#[test]
fn readings_are_those_of_the_whole_vocabulary() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        for side in [PaddingSide::Left, PaddingSide::Right] {
            against_all_logits(&mut agreement, &name, &model, &padded(&model, side)?)?;
        }
    }
    agreement.finish("readings by hand");
    Ok(())
}

fn against_all_logits(agreement: &mut Agreement, name: &str, model: &HookedTransformer, tokens: &Tokens) -> Result<()> {
    let (logits, cache) = model.run_with_cache(tokens)?;
    let vocabulary = model.cfg().d_vocab_out();
    let chosen = [0, vocabulary as u32 - 1];
    // The classifier has two.
    let targets = [1u32, 2, 0].map(|id| id % vocabulary as u32);
    let (target, words) = (LensTarget::tokens(targets), chosen.map(Into::into).to_vec());
    let reading = logit_lens(model, &cache, LensOptions { k: 2, target, tokens: words, ..Default::default() })?;
    let (kl, target, of_chosen) = (reading.kl()?, reading.target()?, reading.chosen()?);
    let rows = tokens.batch() * tokens.pos();
    let own = logits.to_dtype(DType::F64)?.reshape((rows, vocabulary))?.to_vec2::<f64>()?;
    for (place, row) in every_logit(model, &cache)?.iter().enumerate() {
        let (component, row_of) = (place / rows, place % rows);
        let (prompt, position) = (row_of / tokens.pos(), row_of % tokens.pos());
        let at = [component, prompt, position];
        if !tokens.is_real(prompt, position) {
            let nothing = [&reading.entropy, &kl, &target.rank, &target.logit, &target.log_prob];
            assert!(nothing.iter().all(|result| result.values()[at].is_nan()), "{name}: padding at {at:?}");
            continue;
        }
        let (by_hand, last) = (ByHand::new(row), ByHand::new(&own[row_of]));
        let mut near = |what: &str, got: f32, expected: f64| {
            agreement.check_numbers(&format!("{what} of {name}"), [(f64::from(got), expected)].into_iter());
        };
        near("entropy", reading.entropy.values()[at], by_hand.entropy());
        near("KL", kl.values()[at], by_hand.kl_from(&last));
        let id = targets[prompt] as usize;
        near("logit", target.logit.values()[at], row[id]);
        near("log-probability", target.log_prob.values()[at], by_hand.log_probs[id]);
        // Logits that differ by rounding alone may change places.
        let rank = f64::from(target.rank.values()[at]);
        let larger = |by: f64| row.iter().filter(|x| **x > row[id] + by).count() as f64;
        assert!(larger(LENS) <= rank && rank <= larger(-LENS), "{name}: rank {rank} at {at:?}");
        for (which, id) in chosen.iter().enumerate() {
            let at = [component, prompt, position, which];
            near("chosen", of_chosen.log_prob.values()[at], by_hand.log_probs[*id as usize]);
        }
        let most = by_hand.log_probs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        near("most likely", reading.probabilities.values()[[component, prompt, position, 0]], most.exp());
    }
    Ok(())
}

#[test]
fn the_last_entry_is_the_models_own_prediction() -> Result<()> {
    let mut agreement = Agreement::default();
    for (name, model) in every_model() {
        let tokens = padded(&model, PaddingSide::Right)?;
        let (logits, cache) = model.run_with_cache(&tokens)?;
        let options = LensOptions { k: 2, ..Default::default() };
        let is_classifier = model.cfg().d_vocab_out() < model.cfg().d_vocab;
        let target = if is_classifier { LensTarget::None } else { LensTarget::NextToken };
        if is_classifier {
            let next = LensOptions { target: LensTarget::NextToken, ..options.clone() };
            sentence(logit_lens(&model, &cache, next), &["predicts no next token"]);
        }
        let reading = logit_lens(&model, &cache, LensOptions { target, ..options })?;
        let kl = reading.kl()?.select("component", -1)?;
        assert!(kl.values().iter().all(|kl| *kl == 0. || kl.is_nan()), "{name}: {kl:?}");
        if is_classifier {
            continue;
        }
        let log_probs = reading.target()?.log_prob.select("component", -1)?;
        let own = log_probs_of(&logits, &tokens)?;
        for prompt in 0..tokens.batch() {
            for position in (0..tokens.pos() - 1).filter(|&at| tokens.is_real(prompt, at + 1)) {
                let expected = numbers(&own.get(prompt)?.get(position)?)[0];
                let got = f64::from(log_probs.values()[[prompt, position]]);
                agreement.check_numbers(&name, [(got, expected)].into_iter());
            }
        }
    }
    agreement.finish("the last entry");
    Ok(())
}

/// A prompt that is run for the lens, a cache that is given, and a stack of the same vectors are read alike.
#[test]
fn prompts_caches_and_stacks_are_read_alike() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = ["The keys on the cabinet", "When Mary and John went"];
    let (_, cache) = model.run_with_cache(prompts)?;
    let options = LensOptions { incl_mid: true, target: " are".into(), ..Default::default() };
    let of_cache = logit_lens(&model, &cache, &options)?;
    let of_prompts = logit_lens(&model, prompts, &options)?;
    let stack = cache.stack(&model, Stack::accumulated().with_mid())?;
    let of_stack = LogitLens.read_stack(&model, &cache, &stack, ReadBy::Block(0), &options)?;
    for other in [&of_prompts, &of_stack] {
        assert_eq!(other.tokens, of_cache.tokens);
        let same = |a: &Labelled, b: &Labelled| {
            let equal = |(a, b): (&f32, &f32)| a == b || (a.is_nan() && b.is_nan());
            a.axes() == b.axes() && a.values().iter().zip(&b.values()).all(equal)
        };
        assert!(same(&other.entropy, &of_cache.entropy) && same(&other.kl()?, &of_cache.kl()?));
        assert!(same(&other.target()?.rank, &of_cache.target()?.rank));
        assert_eq!(other.inputs, of_cache.inputs);
    }
    // One position is a part of all of them.
    let last = logit_lens(&model, &cache, LensOptions { pos: 3.into(), ..options })?;
    assert_eq!(last.entropy.select("position", 0)?.values(), of_cache.entropy.select("position", 3)?.values());
    Ok(())
}

#[test]
fn vectors_have_their_own_axes() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let rows = model.W_U().t()?.narrow(0, 5, 6)?.contiguous()?;
    let flat = LogitLens.read_vectors(&model, &rows, ReadBy::End, LensOptions::default())?;
    let deep = LogitLens.read_vectors(&model, &rows.reshape((2, 3, ()))?, ReadBy::Block(2), LensOptions::default())?;
    let names = |reading: &LensReading| reading.entropy.axes().iter().map(|axis| axis.name.clone()).collect::<Vec<_>>();
    assert_eq!((names(&flat), names(&deep)), (vec!["vector".to_string()], vec!["axis 0".into(), "axis 1".into()]));
    assert_eq!(flat.tokens, deep.tokens);
    let text = flat.render()?.text().to_string();
    assert!(text.contains(&format!("{:?}", model.piece(5))), "{text}");
    Ok(())
}

#[test]
fn half_precision_is_read_as_the_model_reads_it() -> Result<()> {
    for dtype in [DType::BF16, DType::F16] {
        let load = LoadOptions { dtype, ..Default::default() };
        let model = HookedTransformer::from_pretrained_with("tiny", load)?;
        let (logits, cache) = model.run_with_cache("The keys on the cabinet")?;
        let reading = logit_lens(&model, &cache, LensOptions { pos: (-1).into(), ..Default::default() })?;
        let own = logits.get(0)?.get(logits.dim(1)? - 1)?.to_dtype(DType::F32)?.argmax(0)?.to_scalar::<u32>()?;
        assert_eq!(reading.tokens[reading.tokens.len() - 5], own, "{dtype:?}");
        assert_eq!(reading.kl()?.at(&[-1, 0, 0])?, 0.0);
        assert!(reading.entropy.values().iter().all(|entropy| entropy.is_finite()));
    }
    Ok(())
}

#[test]
fn what_cannot_be_read_is_refused() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (_, cache) = model.run_with_cache(["The keys", "The key"])?;
    let read = |options: LensOptions| logit_lens(&model, &cache, options);
    let options = LensOptions::default;
    sentence(read(LensOptions { k: 0, ..options() }), &["k is 0"]);
    sentence(read(LensOptions { target: LensTarget::tokens([1u32, 2, 3]), ..options() }), &["3 tokens", "2 prompts"]);
    sentence(read(LensOptions { target: 99999u32.into(), ..options() }), &["99999", "does not exist"]);
    sentence(read(LensOptions { tokens: vec!["two words".into()], ..options() }), &["two words"]);
    sentence(read(options()).and_then(|reading| reading.target()), &["no target was read"]);
    sentence(read(options()).and_then(|reading| reading.chosen()), &["no part of the vocabulary"]);
    sentence(read(options()).and_then(|reading| reading.at("9_pre", 0, 0)), &["component", "9_pre"]);
    let vectors = |x: &Tensor, target: LensTarget| {
        LogitLens.read_vectors(&model, x, ReadBy::End, LensOptions { target, ..Default::default() })
    };
    let zeros = |shape: &[usize], dtype| Tensor::zeros(shape, dtype, &Device::Cpu);
    let width = model.cfg().d_model;
    sentence(vectors(&zeros(&[2, 7], DType::F32)?, LensTarget::None), &["[2, 7]", &width.to_string()]);
    sentence(vectors(&zeros(&[0, width], DType::F32)?, LensTarget::None), &["at least 1"]);
    sentence(vectors(&zeros(&[2, width], DType::U32)?, LensTarget::None), &["U32"]);
    sentence(vectors(&zeros(&[2, width], DType::F32)?, LensTarget::NextToken), &["no next token"]);
    sentence(vectors(&zeros(&[2, width], DType::F32)?, LensTarget::tokens([1u32, 2, 3])), &["3 tokens", "2 vectors"]);
    sentence(
        vectors(&zeros(&[width], DType::F32)?, LensTarget::None).and_then(|reading| reading.kl()),
        &["without a run"],
    );
    let stack = cache.stack(&model, Stack::accumulated().normed())?;
    sentence(LogitLens.read_stack(&model, &cache, &stack, ReadBy::End, options()), &["already been through a norm"]);
    sentence(
        LogitLens.read_vectors(&model, &zeros(&[width], DType::F32)?, ReadBy::Block(99), options()),
        &["layer 99"],
    );
    let raw = HookedTransformer::from_pretrained_no_processing("tiny")?;
    sentence(logit_lens(&raw, &cache, options()), &["not made by this model"]);
    Ok(())
}
