//! What dictionaries are worth, against SAELens' evals of the same dictionaries on the same tokens
//! (tests/fixtures/dictionaries_evals.py), by identities, and against a loop over single texts.

use candle_lens::Result;
use candle_lens::features::DictionaryScore;
use candle_lens::prelude::*;

use crate::support::fixture::json;

/// Both sides compute in f32 and sum in another order; logits of 10 make cross-entropies that are wrong in the sixth digit.
const OF_SAELENS: f64 = 2e-5;

/// Sums in f64 of the same f32 numbers, which two ways of running the model round otherwise.
const TWO_RUNS: f64 = 1e-4;

const FEATURES: usize = 96;
const POS: u32 = 12;
const ROWS: u32 = 8;

/// As in the script: whole numbers, whose fractions are the same on both sides.
fn fractions<const N: usize>(shape: [usize; N], salt: usize) -> Result<Tensor> {
    let count = shape.iter().product();
    let number = |i: usize| ((i * 7919 + salt * 104_729 + i * i % 577) % 1009) as f64 / 1009. - 0.5;
    let numbers: Vec<f32> = (0..count).map(|i| number(i) as f32).collect();
    Ok(Tensor::from_vec(numbers, shape.to_vec(), &Device::Cpu)?)
}

fn tokens(model: &HookedTransformer) -> Result<Tokens> {
    let (vocabulary, bos) = (model.cfg().d_vocab as u32, model.tokenizer()?.bos_id().expect("it has a BOS"));
    let row = |row: u32| {
        let id = |pos: u32| 3 + (row * 197 + pos * pos * 31 + pos * 71) % (vocabulary - 4);
        std::iter::once(bos).chain((1..POS).map(id)).collect()
    };
    Tokens::from_rows((0..ROWS).map(row).collect())
}

fn parts(w_enc: Tensor, w_dec: Tensor, expects: Expects) -> Result<DictionaryParts> {
    let (d_sae, d_out) = (w_dec.dim(0)?, w_dec.dim(w_dec.rank() - 1)?);
    Ok(DictionaryParts {
        name: "made here".into(),
        b_enc: Tensor::zeros(d_sae, DType::F32, &Device::Cpu)?,
        b_dec: Tensor::zeros(d_out, DType::F32, &Device::Cpu)?,
        w_enc,
        w_dec,
        b_in: None,
        w_skip: None,
        activation: Activation::Relu,
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects,
    })
}

fn of_the_script(activation: Activation, hook: &str, salt: usize) -> Result<Dictionary> {
    let w_dec = fractions([FEATURES, 128], salt)?;
    let b_dec = (fractions([128], salt + 2)? / 10.)?;
    let w_enc = (w_dec.t()?.contiguous()? / 20.)?;
    Dictionary::new(DictionaryParts {
        b_enc: (fractions([FEATURES], salt + 1)? / 10.)?,
        b_in: Some(b_dec.clone()),
        b_dec,
        activation,
        ..parts(w_enc, w_dec, Expects::at(hook.parse()?))?
    })
}

fn unprocessed() -> Result<HookedTransformer> {
    HookedTransformer::from_pretrained_no_processing("tiny")
}

/// Compares numbers by name, relative to their size where that is above 1.
fn compare(what: &str, ours: &[(&str, f64)], theirs: &serde_json::Value) {
    for (name, ours) in ours {
        let theirs = theirs[*name].as_f64().unwrap_or_else(|| panic!("{what}: no {name}"));
        let difference = (ours - theirs).abs() / theirs.abs().max(1.);
        assert!(difference < OF_SAELENS, "{what}, {name}: {ours} here, {theirs} in SAELens");
    }
}

#[test]
fn figures_are_those_of_saelens() -> Result<()> {
    let (model, found) = (unprocessed()?, json("dictionaries/evals.json"));
    let threshold = Tensor::full(0.02f32, FEATURES, &Device::Cpu)?;
    let dictionaries = [
        ("standard", of_the_script(Activation::Relu, "blocks.1.hook_resid_post", 1)?),
        ("topk", of_the_script(Activation::TopK { k: 8 }, "blocks.2.attn.hook_z", 11)?),
        ("jumprelu", of_the_script(Activation::JumpRelu { threshold }, "blocks.0.hook_mlp_out", 21)?),
    ];
    for (name, dictionary) in &dictionaries {
        for (case, bos, left_out) in [("all", AtBos::Spliced, 0), ("without_bos", AtBos::LeftAlone, u64::from(ROWS))] {
            let options = ScoreOptions { bos, ..Default::default() };
            let scores = model.evaluate_dictionaries(dictionary, tokens(&model)?, options)?;
            assert!(scores.together.is_none());
            let (score, theirs) = (&scores.scores[0], &found[*name][case]);
            let spliced = score.spliced.expect("runs were asked for");
            assert_eq!((score.left_out, score.positions + left_out), (left_out, u64::from(POS * ROWS)));
            let ours = [
                ("explained_variance", score.explained_variance),
                ("mse", score.mse),
                ("cossim", score.cosine),
                ("l2_ratio", score.norm_ratio),
                ("relative_reconstruction_bias", score.reconstruction_bias),
                ("l0", score.l0),
                ("l1", score.l1),
                ("ce_loss_without_sae", spliced.ce_clean),
                ("ce_loss_with_sae", spliced.ce_spliced),
                ("kl_div_with_sae", spliced.kl),
            ];
            compare(&format!("{name}, {case}"), &ours, theirs);
            // SAELens ablates the positions that it leaves out, too.
            let ablated = [
                ("ce_loss_with_ablation", spliced.ce_zero),
                ("kl_div_with_ablation", spliced.kl_zero),
                ("ce_loss_score", spliced.ce_score()),
            ];
            match bos {
                AtBos::Spliced => compare(&format!("{name}, {case}"), &ablated, theirs),
                AtBos::LeftAlone => assert!((ablated[1].1 - theirs[ablated[1].0].as_f64().unwrap()).abs() > TWO_RUNS),
            }
            let densities = theirs["feature_density"].as_array().expect("one for each feature");
            for (ours, theirs) in score.firing.iter().zip(densities) {
                assert!((f64::from(*ours) - theirs.as_f64().unwrap()).abs() < OF_SAELENS);
            }
        }
    }
    Ok(())
}

/// `y = x` by a pair of features for each number.
pub fn perfect(expects: Expects, width: usize) -> Result<Dictionary> {
    let one = Tensor::eye(width, DType::F32, &Device::Cpu)?;
    let w_dec = Tensor::cat(&[&one, &one.neg()?], 0)?;
    Dictionary::new(DictionaryParts { name: "perfect".into(), ..parts(w_dec.t()?.contiguous()?, w_dec, expects)? })
}

pub fn texts() -> Result<Vec<String>> {
    let prompts = Task::Ioi.prompts(tasks::Split::Templates, 6, 1)?.prompts;
    let others = Task::CapitalCountry.prompts(tasks::Split::Train, 4, 1)?.prompts;
    Ok(prompts.into_iter().chain(others).map(|prompt| prompt.clean).collect())
}

#[test]
fn a_perfect_dictionary_loses_nothing_and_an_empty_one_is_zero_ablation() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    for point in ["resid_post1", "blocks.2.attn.hook_z"] {
        let perfect = perfect(Expects::at(point.parse()?), 128)?;
        let empty = Dictionary::new(DictionaryParts { w_dec: perfect.w_dec().zeros_like()?, ..perfect.parts() })?;
        let scores = model.evaluate_dictionaries([&perfect, &empty], texts()?, ScoreOptions::default())?;
        assert!(scores.together.is_none(), "two at one point are not spliced together");
        let [perfect, empty] = &scores.scores[..] else { panic!("two were given") };
        let spliced = perfect.spliced.expect("run");
        assert_eq!((perfect.explained_variance, perfect.mse, spliced.same_top1), (1., 0., 1.));
        for (number, expected) in
            [(perfect.cosine, 1.), (perfect.norm_ratio, 1.), (spliced.ce_score(), 1.), (spliced.kl, 0.)]
        {
            assert!((number - expected).abs() < OF_SAELENS, "{number} of {expected}");
        }
        assert!(perfect.card.fits && perfect.dead() + perfect.dense() > 0);
        let spliced = empty.spliced.expect("run");
        assert!(spliced.ce_score().abs() < OF_SAELENS && (spliced.kl - spliced.kl_zero).abs() < OF_SAELENS);
        assert!(spliced.kl_zero > 0. && empty.unexplained_variance >= 1. && empty.cosine == 0.);
        assert!(!empty.card.fits && empty.card.to_string().contains("does not fit"), "{}", empty.card);
        assert_eq!(empty.l0, perfect.l0, "its features are active, whatever they write");
    }
    Ok(())
}

#[test]
fn a_dictionary_that_writes_the_mean_is_mean_ablation() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let point: HookPoint = "mlp_out1".parse()?;
    let rows = rows_of(&model, &texts()?, point)?;
    let mean = Dictionary::new(DictionaryParts {
        b_dec: rows.mean(0)?,
        ..parts(
            Tensor::zeros((128, 4), DType::F32, &Device::Cpu)?,
            Tensor::zeros((4, 128), DType::F32, &Device::Cpu)?,
            Expects::at(point),
        )?
    })?;
    let scores = model.evaluate_dictionaries(&mean, texts()?, ScoreOptions::default())?;
    let (score, spliced) = (&scores.scores[0], scores.scores[0].spliced.expect("run"));
    assert!((score.unexplained_variance - 1.).abs() < OF_SAELENS, "{}", score.unexplained_variance);
    assert!((spliced.ce_spliced - spliced.ce_mean).abs() < OF_SAELENS);
    assert!(spliced.ce_mean < spliced.ce_zero && score.dead() == 4 && score.l0 == 0.);
    Ok(())
}

/// The activations of each text by itself, without its BOS, `[position, width]`.
fn rows_of(model: &HookedTransformer, texts: &[String], point: HookPoint) -> Result<Tensor> {
    let one = |text: &String| -> Result<Tensor> {
        let (_, cache) = model.run_with_hooks(text.as_str(), HookPlan::new().capture(point))?;
        let x = cache.get(point)?.squeeze(0)?.flatten_from(1)?;
        Ok(x.narrow(0, 1, x.dim(0)? - 1)?)
    };
    Ok(Tensor::cat(&texts.iter().map(one).collect::<Result<Vec<_>>>()?, 0)?)
}

/// Unexplained variance by the definition.
fn unexplained(y: &Tensor, yhat: &Tensor) -> Result<f64> {
    let sum = |x: Tensor| -> Result<f64> { Ok(x.to_dtype(DType::F64)?.sqr()?.sum_all()?.to_scalar()?) };
    Ok(sum((y - yhat)?)? / sum(y.broadcast_sub(&y.mean_keepdim(0)?)?)?)
}

/// The sum of the cross-entropies of one text's next tokens after its BOS, and how many there are, when this is at the point.
fn ce_with(model: &HookedTransformer, text: &str, point: HookPoint, there: &Tensor) -> Result<(f64, f64)> {
    let plan = HookPlan::new().edit(point, Edit::replace(there.clone()).pos(1..));
    let options = RunOptions { loss: Loss::PerToken, ..Default::default() };
    let losses = model.run(text, plan, options)?.loss()?.squeeze(0)?;
    let losses = losses.narrow(0, 1, losses.dim(0)? - 1)?;
    Ok((f64::from(losses.sum_all()?.to_scalar::<f32>()?), losses.dim(0)? as f64))
}

#[test]
fn a_transcoder_is_compared_with_what_the_mlp_wrote_text_by_text() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let (reads, writes): (HookPoint, HookPoint) = ("blocks.1.ln2.hook_normalized".parse()?, "mlp_out1".parse()?);
    let mut random = Random::new(5);
    let transcoder = Dictionary::new(DictionaryParts {
        w_skip: Some((random.normal((128, 128))? * 0.05)?),
        ..parts(
            (random.normal((128, 64))? * 0.1)?,
            (random.normal((64, 128))? * 0.1)?,
            Expects::between(reads, writes),
        )?
    })?;
    let texts = texts()?;
    let lengths: Vec<usize> = texts.iter().map(|text| Ok(model.to_tokens(text)?.pos())).collect::<Result<_>>()?;
    assert!(lengths.iter().any(|length| *length != lengths[0]), "the batch is padded");
    let scores = model.evaluate_dictionaries(&transcoder, texts.clone(), ScoreOptions::default())?;
    let (score, spliced) = (&scores.scores[0], scores.scores[0].spliced.expect("run"));
    assert_eq!(score.positions as usize, lengths.iter().sum::<usize>() - texts.len());
    assert_eq!((score.writes, score.left_out as usize), (writes, texts.len()));
    let (x, y) = (rows_of(&model, &texts, reads)?, rows_of(&model, &texts, writes)?);
    let by_hand = unexplained(&y, &transcoder.reconstruct(&x)?)?;
    assert!(
        (score.unexplained_variance / by_hand - 1.).abs() < TWO_RUNS,
        "{} and {by_hand}",
        score.unexplained_variance
    );
    let (mut sum, mut count) = (0., 0.);
    for text in &texts {
        let there = transcoder.reconstruct(&rows_of(&model, std::slice::from_ref(text), reads)?)?.unsqueeze(0)?;
        let (of_text, predictions) = ce_with(&model, text, writes, &there)?;
        (sum, count) = (sum + of_text, count + predictions);
    }
    assert_eq!(spliced.predictions as f64, count);
    assert!((spliced.ce_spliced - sum / count).abs() < TWO_RUNS, "{} and {}", spliced.ce_spliced, sum / count);
    let by_position = score.by_position()?;
    let mean = by_depth_mean(&by_position, &lengths);
    assert!(by_position.at(&[0])?.is_nan() && (mean - by_hand).abs() < TWO_RUNS * by_hand, "{mean} and {by_hand}");
    // Without runs the figures of the activations are the same, from runs that stop early.
    let quick = model.evaluate_dictionaries(&transcoder, texts, ScoreOptions { runs: false, ..Default::default() })?;
    assert_eq!((quick.scores[0].mse, quick.scores[0].spliced), (score.mse, None));
    Ok(())
}

/// The mean of what stands at each position, over the positions of texts of these lengths.
fn by_depth_mean(by_position: &Labelled, lengths: &[usize]) -> f64 {
    let values = by_position.values();
    let of_text = |length: &usize| (1..*length).map(|p| f64::from(values[[p]])).sum::<f64>();
    lengths.iter().map(of_text).sum::<f64>() / lengths.iter().map(|length| length - 1).sum::<usize>() as f64
}

#[test]
fn the_layers_of_a_cross_layer_transcoder_stand_together() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let mut random = Random::new(6);
    let mut layers = Vec::new();
    for layer in 0..4usize {
        let ends: [HookPoint; 2] =
            [format!("blocks.{layer}.ln2.hook_normalized").parse()?, format!("mlp_out{layer}").parse()?];
        let w_dec = (random.normal((32, 4 - layer, 128))? * 0.05)?;
        layers.push(Dictionary::new(DictionaryParts {
            name: format!("layer {layer}"),
            ..parts((random.normal((128, 32))? * 0.1)?, w_dec, Expects::between(ends[0], ends[1]))?
        })?);
    }
    let texts = texts()?;
    let scores = model.evaluate_dictionaries(&layers, texts.clone(), ScoreOptions::default())?;
    assert!(scores.scores.iter().all(|score| score.spliced.is_none()));
    for (to, score) in scores.scores.iter().enumerate() {
        let y = rows_of(&model, &texts, score.writes)?;
        let mut yhat = y.zeros_like()?;
        for (from, layer) in layers[..=to].iter().enumerate() {
            let x = rows_of(&model, &texts, format!("blocks.{from}.ln2.hook_normalized").parse()?)?;
            let acts = x.matmul(&layer.w_enc())?.relu()?;
            yhat = (yhat + acts.matmul(&layer.w_dec().narrow(1, to - from, 1)?.squeeze(1)?.contiguous()?)?)?;
        }
        let by_hand = unexplained(&y, &yhat)?;
        assert!((score.unexplained_variance / by_hand - 1.).abs() < TWO_RUNS, "layer {to}: {score}");
    }
    let together = scores.together.expect("the set is spliced in");
    let plan = model.splice(&layers, ErrorTerm::None)?;
    let (mut sum, mut count) = (0., 0.);
    for text in &texts {
        let losses =
            model.run(text, &plan, RunOptions { loss: Loss::PerToken, ..Default::default() })?.loss()?.squeeze(0)?;
        sum += f64::from(losses.narrow(0, 1, losses.dim(0)? - 1)?.sum_all()?.to_scalar::<f32>()?);
        count += losses.dim(0)? as f64 - 1.;
    }
    assert!((together.ce_spliced - sum / count).abs() < TWO_RUNS, "{together}");
    Ok(())
}

#[test]
fn many_texts_are_run_in_batches_and_count_as_one() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let dictionary = of_the_script(Activation::TopK { k: 8 }, "resid_post2", 3)?;
    let dictionary = dictionary.with_expects(Expects { head: None, ..dictionary.expects() })?;
    let texts = texts()?;
    let many: Vec<String> = std::iter::repeat_n(texts.clone(), 16).flatten().collect();
    let once = model.evaluate_dictionaries(&dictionary, texts, ScoreOptions::default())?;
    let often = model.evaluate_dictionaries(&dictionary, many, ScoreOptions::default())?;
    let numbers = |score: &DictionaryScore| {
        let spliced = score.spliced.expect("run");
        [
            score.explained_variance,
            score.mse,
            score.l0,
            spliced.ce_spliced,
            spliced.ce_mean,
            spliced.ce_zero,
            spliced.kl,
        ]
    };
    let (once, often) = (&once.scores[0], &often.scores[0]);
    assert!(often.positions == 16 * once.positions && often.positions > 2048);
    for (once, often) in numbers(once).into_iter().zip(numbers(often)) {
        assert!((once - often).abs() < TWO_RUNS, "{once} and {often}");
    }
    Ok(())
}

#[test]
fn what_cannot_be_evaluated_is_refused_by_name() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let message = |dictionaries: Vec<Dictionary>, text: &str| {
        model.evaluate_dictionaries(dictionaries, text, ScoreOptions::default()).expect_err("refused").to_string()
    };
    let perfect_at = |point: &str, width| perfect(Expects::at(point.parse()?), width);
    let one = perfect_at("resid_post1", 128)?;
    for (message, part) in [
        (message(vec![], "The keys"), "no dictionary was given"),
        (message(vec![one.clone()], ""), "give more text"),
        (message(vec![perfect_at("resid_post1", 64)?], "The keys"), "width 64"),
        (message(vec![perfect_at("resid_post9", 128)?], "The keys"), "layer"),
        (message(vec![one.with_expects(Expects::default())?], "The keys"), "does not say which point"),
    ] {
        assert!(message.contains(part), "{message}");
    }
    let bos = model.tokenizer()?.bos_id().expect("it has one");
    let ends = || Tokens::from_rows(vec![vec![bos, 5], vec![bos, 9]]);
    let alone = model.evaluate_dictionaries(&one, ends()?, ScoreOptions::default()).expect_err("no next token");
    assert!(alone.to_string().contains("none of the 2 positions"), "{alone}");
    model.evaluate_dictionaries(&one, ends()?, ScoreOptions { runs: false, ..Default::default() })?;
    let scaled = (one.w_dec() * 1e30)?;
    let infinite = Dictionary::new(DictionaryParts { w_enc: (one.w_enc() * 1e30)?, w_dec: scaled, ..one.parts() })?;
    let message = message(vec![infinite], "The keys on the cabinet");
    assert!(message.contains("what it writes") && message.contains("not finite"), "{message}");
    Ok(())
}
