//! Studies and sweeps: controls fail where they should, selection sees the training part only, on every kind of model.

use candle_lens::Result;
use candle_lens::candle::{DType, Device, IndexOp, Tensor};
use candle_lens::prelude::*;
use candle_lens::tasks::Split;
use candle_lens::views::View;

use crate::support::models::pretrained;
use crate::support::tolerance::REORDERED;

/// Normal numbers, to which the label is added along coordinate 1.
fn made(rows: usize, width: usize, size: f64, seed: u64) -> Result<(Tensor, Vec<bool>)> {
    let mut random = Random::new(seed);
    let labels: Vec<bool> = (0..rows).map(|at| at % 2 == 0).collect();
    let x = random.normal((rows, width))?;
    let added = labels.iter().flat_map(|label| (0..width).map(move |at| f32::from(u8::from(*label && at == 1))));
    let added = Tensor::from_vec(added.collect::<Vec<_>>(), (rows, width), &Device::Cpu)?;
    Ok(((x + (added * size)?)?, labels))
}

fn mean(scores: &[ProbeScore]) -> f64 {
    scores.iter().map(|score| score.accuracy.expect("labels")).sum::<f64>() / scores.len() as f64
}

const METHODS: [ProbeMethod; 3] =
    [ProbeMethod::MeanDifference, ProbeMethod::Logistic { strength: 1. }, ProbeMethod::Sparse { k: 2, strength: 1. }];

#[test]
fn what_is_there_is_found_and_controls_find_nothing() -> Result<()> {
    let (x, labels) = made(200, 30, 6., 0)?;
    let split = ProbeSplit::stratified(&labels, 0.4, 0)?;
    for method in METHODS {
        let study = ProbeStudy::new(&x, &labels, &split, method)?;
        let accuracy = study.test.accuracy.expect("labels");
        assert!(accuracy > 0.95, "{study}");
        let shown = study.render()?.html().to_string();
        let control =
            if matches!(method, ProbeMethod::Sparse { .. }) { "random coordinates" } else { "random directions" };
        assert!(["held out", "shuffled labels", control, "ROC-AUC"].iter().all(|word| shown.contains(word)), "{shown}");
        assert_eq!((study.shuffled.len(), study.random.len(), study.not_fitted), (10, 10, 0));
        let (shuffled, random) = (mean(&study.shuffled), mean(&study.random));
        assert!((0.3..0.7).contains(&shuffled) && random < 0.85, "{study}");
        let direction = study.probe.direction()?.to_vec1::<f32>()?;
        assert!(direction[1] > 0.9, "{direction:?}");
        // The probe is fitted to the training part alone.
        let rows = Tensor::from_vec(
            split.train.iter().map(|at| *at as u32).collect::<Vec<_>>(),
            split.train.len(),
            &Device::Cpu,
        )?;
        let (fitted, own) = (x.index_select(&rows, 0)?, split.train.iter().map(|&at| labels[at]).collect::<Vec<_>>());
        let by_hand = match method {
            ProbeMethod::MeanDifference => Probe::mean_difference(&fitted, &own)?,
            ProbeMethod::Sparse { k, strength } => Probe::sparse(&fitted, &own, k, strength)?,
            _ => Probe::logistic(&fitted, &own, 1.)?,
        };
        assert_eq!(by_hand, study.probe);
        assert_eq!(by_hand.score_labels(&fitted, &own)?, study.train);
    }
    Ok(())
}

/// With nothing to find and more coordinates than examples, the training labels are fitted and the held-out ones are not. Coordinates that
/// were chosen with held-out labels would read them.
#[test]
fn noise_is_fitted_and_not_read() -> Result<()> {
    let (x, labels) = made(60, 400, 0., 4)?;
    let split = ProbeSplit::stratified(&labels, 0.5, 1)?;
    for method in [ProbeMethod::Logistic { strength: 0.01 }, ProbeMethod::Sparse { k: 20, strength: 0.01 }] {
        let study = ProbeStudy::new(&x, &labels, &split, method)?;
        assert_eq!(study.train.accuracy, Some(1.));
        assert!((0.2..0.8).contains(&study.test.accuracy.expect("labels")), "{study}");
    }
    Ok(())
}

#[test]
fn numbers_have_their_controls_too() -> Result<()> {
    let x = Random::new(3).normal((80, 5))?;
    let y: Vec<f64> = x.to_vec2::<f32>()?.iter().map(|row| f64::from(2. * row[0] - row[3] + 1.)).collect();
    let split = ProbeSplit::stratified(&y, 0.3, 0)?;
    let study = ProbeStudy::new(&x, &y, &split, ProbeMethod::Ridge { strength: 0. })?;
    assert!(study.test.explained.is_some_and(|share| share > 1. - f64::from(REORDERED)), "{study}");
    assert!(study.shuffled.iter().all(|score| score.explained.expect("they vary") < 0.3), "{study}");
    assert!((study.probe.bias() - 1.).abs() < f64::from(REORDERED));
    Ok(())
}

/// The same fit in the span of few examples and in all coordinates.
#[test]
fn few_examples_are_fitted_as_many_are() -> Result<()> {
    let (x, labels) = made(20, 19, 1., 2)?;
    let wide = Tensor::cat(&[&x, &Tensor::zeros((20, 6), DType::F32, &Device::Cpu)?], 1)?;
    let (tall, wide) = (Probe::logistic(&x, &labels, 0.3)?, Probe::logistic(&wide, &labels, 0.3)?);
    let (a, b) = (tall.weights()?.to_vec1::<f32>()?, wide.weights()?.to_vec1::<f32>()?);
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < REORDERED), "{a:?} {b:?}");
    assert!(b[19..].iter().all(|weight| weight.abs() < REORDERED));
    Ok(())
}

/// Rows are the activations that a plain run has, padded on either side or not, at heads as well.
#[test]
fn collected_rows_are_the_runs() -> Result<()> {
    let texts = ["The keys on the cabinet", "The child", "I know that the author by the doors"];
    let tiny = pretrained("tiny", None)?;
    for side in [PaddingSide::Left, PaddingSide::Right] {
        let rows = texts.iter().map(|text| Ok(tiny.to_tokens(*text)?.row(0))).collect::<Result<Vec<_>>>()?;
        let tokens = Tokens::padded(rows, 0, side)?;
        let (_, cache) = tiny.run_with_cache(&tokens)?;
        for point in [("resid_post", 1), ("z", 2), ("post", 0)] {
            let last = tiny.collect_activations(&tokens, point, Positions::Last)?;
            for (prompt, at) in tokens.last_positions().into_iter().enumerate() {
                let own = cache.get(point)?.i((prompt, at))?.flatten_all()?.to_vec1::<f32>()?;
                let got = last.get(prompt)?.to_vec1::<f32>()?;
                assert!(own.iter().zip(&got).all(|(a, b)| (a - b).abs() < REORDERED), "{point:?} {side}");
            }
        }
        let all = tiny.collect_activations(&tokens, ("resid_post", 1), Positions::All)?;
        assert_eq!(all.dim(0)?, tokens.lengths().iter().sum::<usize>());
    }
    let refused = tiny.collect_activations(texts, ("pattern", 0), Positions::Last).expect_err("pairs of positions");
    assert!(refused.to_string().contains("a vector for each position"));
    Ok(())
}

#[test]
fn a_sweep_is_a_study_at_each_place() -> Result<()> {
    let model = pretrained("tiny", None)?;
    let prompts = Task::Sva.prompts(Split::Train, 150, 0)?.of_length(&model, 6)?;
    let batch = prompts.batch(&model)?;
    let plural: Vec<bool> = prompts.prompts.iter().map(|prompt| prompt.plural == Some(true)).collect();
    let split = ProbeSplit::stratified(&plural, 0.3, 0)?;
    let options = ProbeOptions { repeats: 2, ..Default::default() };
    let positions = [("The", Positions::from(1)), ("noun", Positions::from(2)), ("end", Positions::Last)];
    let sweep = model.probe_sweep(&batch.clean, ["resid_pre", "resid_post"], positions, &plural, &split, options)?;
    let accuracy = sweep.scores("accuracy")?;
    assert_eq!(accuracy.shape(), [3, 2 * model.cfg().n_layers, 3]);
    // Nothing is known of the noun before it, and everything at it.
    let at = |point: &str, position: &str| accuracy.get(&["held out", point, position]);
    assert!(at("blocks.3.hook_resid_post", "The")? < 0.75 && at("blocks.0.hook_resid_pre", "noun")? > 0.9);
    assert!(accuracy.get(&["shuffled labels", "blocks.1.hook_resid_post", "noun"])? < 0.8);
    assert!(sweep.render()?.html().contains("random directions"));
    let x = model.collect_activations(&batch.clean, ("resid_post", 1), Positions::Last)?;
    let alone = ProbeStudy::new(&x, &plural, &split, options)?;
    let names = accuracy.labels("point")?;
    let point = names.iter().position(|name| name == "blocks.1.hook_resid_post").expect("it is there");
    assert_eq!(sweep.study(point as isize, "end")?.test.accuracy, alone.test.accuracy);
    assert!(sweep.scores("explained variance").expect_err("labels").to_string().contains("ROC-AUC"));
    assert!(sweep.study(0, "start").expect_err("another name").to_string().contains("noun"));
    Ok(())
}

#[test]
fn what_cannot_be_studied_is_refused() -> Result<()> {
    let (x, labels) = made(20, 4, 1., 0)?;
    let split = ProbeSplit::stratified(&labels, 0.5, 0)?;
    let ridge = ProbeMethod::Ridge { strength: 0. };
    let study = |labels: &[bool], split: &ProbeSplit, options: ProbeOptions| {
        ProbeStudy::new(&x, labels, split, options).map(drop)
    };
    let one_kind = ProbeSplit { train: vec![0, 2, 4], test: vec![1, 3] };
    let twice = ProbeSplit { train: vec![0, 1], test: vec![1, 2] };
    let outside = ProbeSplit { train: vec![0, 1], test: vec![20] };
    let model = pretrained("tiny", None)?;
    let sweep = |positions: Positions, labels: &[bool]| {
        model.probe_sweep(["The key", "The child"], "z", [("here", positions)], labels, &split, ridge).map(drop)
    };
    let messages = [
        (study(&labels[..10], &split, Default::default()), "[10, width]"),
        (study(&labels, &one_kind, Default::default()), "all 3 labels are the same"),
        (study(&labels, &twice, Default::default()), "example 1 twice"),
        (study(&labels, &outside, Default::default()), "example 20, but there are 20"),
        (study(&labels, &split, ridge.into()), "probe of numbers"),
        (study(&labels, &split, ProbeMethod::Sparse { k: 5, strength: 1. }.into()), "have 4"),
        (study(&labels, &split, ProbeMethod::Sparse { k: 0, strength: 1. }.into()), "at least 1"),
        (study(&labels, &split, ProbeOptions { repeats: 0, ..Default::default() }), "no controls"),
        (ProbeStudy::new(&x, vec![1.; 20], &split, ProbeMethod::default()).map(drop), "probe of labels"),
        (sweep(Positions::All, &[true, false]), "not one token of each prompt"),
        (sweep(Positions::Last, &[true]), "1 targets were given for 2 prompts"),
        (Probe::ridge(&x.narrow(0, 0, 3)?, [1., 2., 3.], 0.).map(drop), "give more examples than numbers"),
    ];
    for (result, words) in messages {
        let message = result.expect_err(words).to_string();
        assert!(message.contains(words), "{words}: {message}");
    }
    // Far too large for a step of Newton's method to be computed.
    let huge = Tensor::new(&[[1e300f64], [-1e300], [1e299]], &Device::Cpu)?;
    let message = Probe::logistic(&huge, [true, false, true], 1.).expect_err("no convergence").to_string();
    assert!(message.contains("did not converge"), "{message}");
    Ok(())
}
