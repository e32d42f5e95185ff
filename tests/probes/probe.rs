//! Linear probes: against closed forms in PyTorch, and on activations of the embedded model.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, IndexOp, Tensor};
use candle_lens::hooks::HookPlan;
use candle_lens::model::HookedTransformer;
use candle_lens::probes::Probe;
use candle_lens::tasks::{Split, Task};

use crate::support::fixture::Reference;
use crate::support::tolerance::{LAST_DIGITS, REORDERED};

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32 numbers")
}

fn labels(reference: &Reference) -> Vec<bool> {
    floats(reference.get("probe.y")).into_iter().map(|y| y > 0.5).collect()
}

/// Weights and bias together.
fn all(probe: &Probe) -> Result<Vec<f32>> {
    let mut all = floats(&probe.weights()?);
    all.push(probe.bias() as f32);
    Ok(all)
}

#[test]
fn weights_are_those_of_the_closed_forms() -> Result<()> {
    let reference = Reference::load("train.safetensors");
    let (x, target) = (reference.get("probe.x"), floats(reference.get("probe.target")));
    let mut cases = Vec::new();
    for strength in ["0", "3"] {
        let probe = Probe::ridge(x, &target, strength.parse().expect("a number"))?;
        cases.push((format!("probe.ridge.{strength}"), probe));
    }
    for strength in ["0.1", "3"] {
        let probe = Probe::logistic(x, labels(&reference), strength.parse().expect("a number"))?;
        cases.push((format!("probe.logistic.{strength}"), probe));
    }
    for (name, probe) in cases {
        for (got, expected) in all(&probe)?.into_iter().zip(floats(reference.get(&name))) {
            assert!((got - expected).abs() < REORDERED * expected.abs().max(1.), "{name}: {got}, expected {expected}");
        }
        let direction = floats(&probe.direction()?);
        assert!((direction.iter().map(|d| d * d).sum::<f32>() - 1.).abs() < LAST_DIGITS);
    }
    Ok(())
}

#[test]
fn predictions_and_scores_are_what_the_weights_say() -> Result<()> {
    let reference = Reference::load("train.safetensors");
    let (x, target, labels) = (reference.get("probe.x"), floats(reference.get("probe.target")), labels(&reference));
    let rows = x.to_vec2::<f32>()?;
    let by_hand = |probe: &Probe| -> Result<Vec<f64>> {
        let all = all(probe)?;
        let one = |row: &Vec<f32>| row.iter().chain(&[1.]).zip(&all).map(|(x, w)| f64::from(x * w)).sum();
        Ok(rows.iter().map(one).collect())
    };
    let ridge = Probe::ridge(x, &target, 0.5)?;
    let outputs = by_hand(&ridge)?;
    for (got, expected) in ridge.predict(x)?.iter().zip(&outputs) {
        assert!((f64::from(*got) - expected).abs() < f64::from(REORDERED));
    }
    let mse = outputs.iter().zip(&target).map(|(a, b)| (a - f64::from(*b)).powi(2)).sum::<f64>() / 60.;
    let score = ridge.score_numbers(x, &target)?;
    assert!((score.loss - mse).abs() < f64::from(REORDERED), "{score}");
    assert!(score.explained.is_some_and(|share| share > 0.9) && score.accuracy.is_none(), "{score}");

    let logistic = Probe::logistic(x, &labels, 1.)?;
    let logits = by_hand(&logistic)?;
    let right = logits.iter().zip(&labels).filter(|(z, y)| (**z > 0.) == **y).count();
    let loss = logits.iter().zip(&labels).map(|(z, y)| if *y { (1. + (-z).exp()).ln() } else { (1. + z.exp()).ln() });
    let loss = loss.sum::<f64>() / 60.;
    let score = logistic.score_labels(x, &labels)?;
    assert_eq!((score.count, score.accuracy), (60, Some(right as f64 / 60.)));
    assert!((score.loss - loss).abs() < f64::from(REORDERED), "{score}");
    for (got, logit) in logistic.predict(x)?.iter().zip(&logits) {
        assert!((f64::from(*got) - 1. / (1. + (-logit).exp())).abs() < f64::from(REORDERED));
    }
    Ok(())
}

/// Whether the subject is in the plural, at the noun, on nouns of other templates too; shuffled labels cannot be read.
#[test]
fn number_can_be_read_off_the_embedded_model() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let read = |split: Split, seed: u64| -> Result<(Tensor, Vec<bool>)> {
        let prompts = Task::Sva.prompts(split, 120, seed)?.prompts;
        let texts: Vec<String> = prompts.iter().map(|prompt| prompt.clean.clone()).collect();
        let tokens = model.to_tokens(&texts)?;
        let (_, cache) = model.run_with_hooks(&tokens, HookPlan::new().capture(("resid_post", 2)))?;
        let resid = cache.get(("resid_post", 2))?;
        let ends = tokens.last_positions();
        let rows =
            ends.iter().enumerate().map(|(b, p)| resid.i((b, *p))).collect::<candle_lens::candle::Result<Vec<_>>>()?;
        let labels = prompts.iter().map(|prompt| prompt.plural.expect("agreement says so")).collect();
        Ok((Tensor::stack(&rows, 0)?, labels))
    };
    let ((x, y), (fresh, fresh_y)) = (read(Split::Train, 0)?, read(Split::Train, 1)?);
    let probe = Probe::logistic(&x, &y, 1.)?;
    let score = probe.score_labels(&fresh, &fresh_y)?;
    assert!(score.accuracy.is_some_and(|accuracy| accuracy > 0.9), "{score}");
    let wrong: Vec<bool> = fresh_y.iter().map(|y| !y).collect();
    assert!(probe.score_labels(&fresh, &wrong)?.accuracy.is_some_and(|accuracy| accuracy < 0.1));
    Ok(())
}

#[test]
fn what_decides_nothing_is_refused() -> Result<()> {
    let x = Tensor::new(&[[1f32, 2.], [3., 4.], [5., 6.]], &Device::Cpu)?;
    let nan = Tensor::new(&[[1f32, 2.], [f32::NAN, 4.], [5., 6.]], &Device::Cpu)?;
    let narrow = Tensor::zeros((3, 5), DType::F32, &Device::Cpu)?;
    let messages = [
        (Probe::logistic(&x, [true, true, true], 1.).map(drop), "all 3 labels are the same"),
        (Probe::logistic(&x, [true, false, true], 0.).map(drop), "above 0"),
        (Probe::logistic(&x, [true, false], 1.).map(drop), "[2, width]"),
        (Probe::logistic(&nan, [true, false, true], 1.).map(drop), "example 1"),
        (Probe::ridge(&narrow, [1., 2., 3.], 0.).map(drop), "give more examples"),
        (Probe::ridge(&x, [1., f32::INFINITY, 3.], 1.).map(drop), "number 1 of the targets"),
        (Probe::ridge(&x, [1., 2., 3.], -1.).map(drop), "at least 0"),
        (Probe::ridge(&x.get(0)?, [1., 2.], 1.).map(drop), "[example, width]"),
    ];
    for (result, word) in messages {
        let message = result.expect_err(word).to_string();
        assert!(message.contains(word), "{word}: {message}");
    }
    let probe = Probe::ridge(&x, [1., 2., 3.], 1.)?;
    assert!(probe.predict(&narrow).is_err());
    assert!(probe.score_labels(&x, [true, false, true]).expect_err("numbers").to_string().contains("score_numbers"));
    Ok(())
}
