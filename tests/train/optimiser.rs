//! AdamW, clipping and the learning rate: against PyTorch, and by hand.

use candle_lens::Result;
use candle_lens::candle::{Device, Tensor, Var};
use candle_lens::train::{AdamW, AdamWOptions, Decay, Schedule, clip_gradients};

use crate::support::fixture::Reference;
use crate::support::tolerance::LAST_DIGITS;

const RUNS: [(&str, AdamWOptions); 3] = [
    ("default", AdamWOptions { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01 }),
    ("decayed", AdamWOptions { beta1: 0.8, beta2: 0.98, eps: 1e-6, weight_decay: 0.3 }),
    ("plain", AdamWOptions { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0. }),
];

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().and_then(|flat| flat.to_vec1()).expect("f32 numbers")
}

fn rows(tensor: &Tensor) -> Vec<Vec<f32>> {
    tensor.flatten_from(1).and_then(|rows| rows.to_vec2()).expect("rows of f32 numbers")
}

fn assert_near(got: &[f32], expected: &[f32], what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() < LAST_DIGITS, "{what}: {got}, expected {expected}");
    }
}

/// The rate of each step, as the script sets it.
fn rate(step: usize) -> f64 {
    1e-2 * (step + 1) as f64 / 20.
}

#[test]
fn twenty_steps_are_those_of_pytorch() -> Result<()> {
    let reference = Reference::load("train.safetensors");
    let gradients = ["a", "b"].map(|name| rows(reference.get(&format!("adamw.gradients.{name}"))));
    for (run, options) in RUNS {
        let [mut a, mut b] = ["a", "b"].map(|name| floats(reference.get(&format!("adamw.start.{name}"))));
        let expected = ["a", "b"].map(|name| rows(reference.get(&format!("adamw.{run}.{name}"))));
        let mut adam = AdamW::new(options);
        for step in 0..20 {
            adam.step(rate(step), [(&mut a[..], &gradients[0][step][..]), (&mut b[..], &gradients[1][step][..])])?;
            assert_near(&a, &expected[0][step], &format!("{run}, step {step}"));
            assert_near(&b, &expected[1][step], &format!("{run}, step {step}"));
        }
    }
    Ok(())
}

/// The gradient of `sum(w g)` is `g`.
#[test]
fn variables_take_the_same_steps() -> Result<()> {
    let reference = Reference::load("train.safetensors");
    let w = Var::from_tensor(reference.get("adamw.start.b"))?;
    let mut adam = AdamW::new(AdamWOptions::default());
    for step in 0..20 {
        let gradient = reference.get("adamw.gradients.b").get(step)?;
        let loss = (w.as_tensor() * gradient)?.sum_all()?;
        adam.step_vars(rate(step), [&w], &loss.backward()?)?;
    }
    let expected = reference.get("adamw.default.b").get(19)?;
    assert_near(&floats(&w), &floats(&expected), "after 20 steps");
    let unused = Var::zeros(2, candle_lens::candle::DType::F32, &Device::Cpu)?;
    let gradients = w.as_tensor().sqr()?.sum_all()?.backward()?;
    let message = adam.step_vars(0.1, [&unused], &gradients).expect_err("no gradient").to_string();
    assert!(message.contains("variable 0") && message.contains("no gradient"), "{message}");
    Ok(())
}

#[test]
fn what_no_step_can_be_taken_with_changes_nothing() {
    let mut w = [1f32, 2.];
    let mut adam = AdamW::new(AdamWOptions::default());
    let cases: [(f64, &[f32], &str); 4] = [
        (0.1, &[1., f32::NAN], "has diverged"),
        (0.1, &[1.], "its gradient 1"),
        (f64::NAN, &[1., 1.], "learning rate is NaN"),
        (-0.1, &[1., 1.], "at least 0"),
    ];
    for (rate, gradient, word) in cases {
        let message = adam.step(rate, [(&mut w[..], gradient)]).expect_err(word).to_string();
        assert!(message.contains(word), "{message}");
        assert_eq!((&w[..], adam.steps()), (&[1., 2.][..], 0));
    }
    let message = AdamW::new(AdamWOptions { beta1: 1., ..Default::default() })
        .step(0.1, [(&mut w[..], &[1., 1.][..])])
        .expect_err("no mean");
    assert!(message.to_string().contains("beta1 is 1"), "{message}");
    adam.step(0.1, [(&mut w[..], &[1., 1.][..])]).expect("a step");
    let mut other = [1f32];
    let message = adam.step(0.1, [(&mut other[..], &[1.][..])]).expect_err("another parameter").to_string();
    assert!(message.contains("[1]") && message.contains("[2]"), "{message}");
}

#[test]
fn gradients_are_clipped_as_in_pytorch() -> Result<()> {
    let reference = Reference::load("train.safetensors");
    let [mut a, mut b] = [0, 1].map(|number| floats(reference.get(&format!("clip.before.{number}"))));
    let norm = clip_gradients([&mut a[..], &mut b[..]], 0.5)?;
    assert!((norm as f32 - reference.get("clip.norm").to_scalar::<f32>()?).abs() < LAST_DIGITS);
    assert_near(&a, &floats(reference.get("clip.after.0")), "a");
    assert_near(&b, &floats(reference.get("clip.after.1")), "b");
    let before = a.clone();
    clip_gradients([&mut a[..]], 1.)?;
    assert_eq!(a, before, "a norm below the bound stays");
    let message = clip_gradients([&mut [f32::INFINITY][..]], 1.).expect_err("no norm").to_string();
    assert!(message.contains("not finite"), "{message}");
    assert!(clip_gradients([&mut a[..]], 0.).is_err());
    Ok(())
}

#[test]
fn the_rate_rises_stays_and_falls() {
    let line = Schedule::new(2., 10).with_warm_up(4).with_decay(2, 0.5);
    let expected = [0.5, 1., 1.5, 2., 2., 2., 2., 2., 1.5, 1.];
    assert_eq!(expected.to_vec(), (0..10).map(|step| line.at(step)).collect::<Vec<_>>());
    assert_eq!(line.at(1000), 1.);
    // At half of the way a cosine is in the middle, at a third of it at 3/4.
    let cosine = Schedule::new(1., 6).with_decay(6, 0.).with_shape(Decay::Cosine);
    for (step, rate) in [(1, 0.75), (2, 0.5), (5, 0.)] {
        assert!((cosine.at(step) - rate).abs() < f64::from(LAST_DIGITS), "step {step}: {}", cosine.at(step));
    }
    assert!((0..50).all(|step| Schedule::new(3., 50).at(step) == 3.));
}

#[test]
fn schedules_that_cannot_be_followed_say_why() {
    let good = Schedule::new(1e-3, 100);
    assert!(good.with_warm_up(40).with_decay(60, 0.).check().is_ok());
    for (schedule, word) in [
        (Schedule::new(1e-3, 0), "no steps"),
        (Schedule::new(0., 10), "has the rate 0"),
        (good.with_warm_up(50).with_decay(51, 0.), "there are 100 in all"),
        (good.with_decay(10, 1.5), "between 0 and 1"),
    ] {
        let message = schedule.check().expect_err(word).to_string();
        assert!(message.contains(word), "{message}");
    }
}
