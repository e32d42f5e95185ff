//! Statistics over prompts against TransformerLens 4.3 and scipy (tests/fixtures/statistics.py), against loops, and by identities.

use candle_lens::Result;
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::prelude::Random;
use candle_lens::statistics::{Alternative, Center, Statistics, StatisticsOptions};
use serde_json::Value;

use crate::support::fixture::json;
use crate::support::sentence::sentence;
use crate::support::tolerance::LAST_DIGITS;

/// The bound for TransformerLens' numbers; ours are f32.
const OF_TRANSFORMER_LENS: f64 = 1e-6;

/// Five standard deviations of a share of 10,000 random patterns, at its worst of a half.
const OF_PATTERNS: f64 = 0.025;

/// How far ends of intervals by 1000 draws are from exact ones, in standard errors of the mean: the density of a normal distribution
/// at its 2.5 % quantile is 0.058, so five standard deviations are 5 sqrt(0.025 * 0.975 / 1000) / 0.058.
const OF_DRAWS: f64 = 0.43;

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn of(values: &[Vec<f64>]) -> Labelled {
    let axes = vec![Axis::numbered("site", values.len()), Axis::numbered("prompt", values[0].len())];
    Labelled::new("effect", axes, values.concat().into_iter().map(|value| value as f32).collect()).expect("a matrix")
}

#[track_caller]
fn close(got: &Labelled, expected: &Value, tolerance: impl Fn(usize) -> f64, what: &str) {
    for (i, (&got, expected)) in got.values().iter().zip(floats(expected)).enumerate() {
        let apart = (f64::from(got) - expected).abs();
        assert!(apart <= tolerance(i), "{what} of list {i}: {got}, expected {expected}");
    }
}

/// Exact numbers are TransformerLens'; random ones agree with nearly exact ones of another stream.
#[test]
fn numbers_are_those_of_transformer_lens() -> Result<()> {
    let reference = json("statistics.json");
    assert_eq!(reference["versions"]["transformer_lens"].as_str().map(|version| &version[..3]), Some("4.3"));
    for (count, of_count) in reference["effects"].as_object().expect("cases") {
        let lists: Vec<Vec<f64>> = of_count["effects"].as_array().expect("lists").iter().map(floats).collect();
        let exact = |_| OF_TRANSFORMER_LENS;
        let found = of(&lists).statistics_over("prompt", StatisticsOptions::default())?;
        close(&found.standard_error, &of_count["standard_error"], exact, "standard error");
        let is_exact = lists[0].len() <= 12;
        for (name, alternative) in
            [("two-sided", Alternative::TwoSided), ("greater", Alternative::Greater), ("less", Alternative::Less)]
        {
            let p = of(&lists).statistics_over("prompt", alternative)?.p()?;
            let tolerance = |_| if is_exact { OF_TRANSFORMER_LENS } else { OF_PATTERNS };
            close(&p, &of_count["p"][name], tolerance, &format!("{name} p of {count}"));
        }
        // Of few prompts draws have few values, between which quantiles jump.
        if lists[0].len() < 7 {
            continue;
        }
        let errors = found.standard_error.values();
        let within = |i: usize| OF_DRAWS * f64::from(errors[[i]]) + OF_TRANSFORMER_LENS;
        for (end, number) in [(&found.low, 0), (&found.high, 1)] {
            close(end, &of_count["mean_interval"][number], within, &format!("end {number} of {count}"));
        }
        let median = of(&lists).statistics_over("prompt", Center::Median)?;
        close(&median.estimate, &of_count["median"], exact, "median");
        if lists[0].len() == 40 {
            let wider = |i: usize| 3.0 * within(i);
            for (end, number) in [(&median.low, 0), (&median.high, 1)] {
                close(end, &of_count["median_interval"][number], wider, &format!("end {number} of the median"));
            }
        }
    }
    Ok(())
}

#[test]
fn intervals_of_rates_are_exact() -> Result<()> {
    for case in json("statistics.json")["rates"].as_array().expect("cases") {
        let number = |name: &str| case[name].as_u64().expect("a count") as usize;
        let (successes, trials) = (number("successes"), number("trials"));
        let values = (0..trials).map(|i| f32::from(u8::from(i < successes))).collect();
        let answered = Labelled::new("accuracy", vec![Axis::numbered("prompt", trials)], values)?;
        let rate = answered.success_rate_over("prompt", case["level"].as_f64().expect("a level"))?;
        for (end, expected) in [&rate.low, &rate.high].into_iter().zip(floats(&case["interval"])) {
            let got = f64::from(end.scalar()?);
            assert!((got - expected).abs() < OF_TRANSFORMER_LENS, "{case}: {got}");
        }
        let share = successes as f64 / trials as f64;
        assert!((f64::from(rate.estimate.scalar()?) - share).abs() < OF_TRANSFORMER_LENS);
        sentence(rate.p(), &["success rates", "no sign"]);
    }
    Ok(())
}

/// The bootstrap written out: each draw takes the same prompts of every list.
#[test]
fn intervals_are_those_of_the_loop() -> Result<()> {
    let mut random = Random::new(5);
    let mut list = |count: usize| (0..count).map(|_| f64::from((random.uniform() * 8.0) as f32) - 3.0).collect();
    let lists: Vec<Vec<f64>> = vec![list(9), list(9), list(9)];
    let options = StatisticsOptions { draws: 301, seed: 11, level: 0.8, ..Default::default() };
    let found = of(&lists).statistics_over("prompt", options)?;
    let mut means = vec![Vec::new(); 3];
    let mut random = Random::new(11);
    for _ in 0..301 {
        let places: Vec<usize> = (0..9).map(|_| (random.uniform() * 9.0) as usize).collect();
        for (list, means) in lists.iter().zip(&mut means) {
            means.push(places.iter().map(|&place| list[place]).sum::<f64>() / 9.0);
        }
    }
    for (i, mut means) in means.into_iter().enumerate() {
        means.sort_by(f64::total_cmp);
        // A tenth of 300 steps: no number in between.
        for (end, expected) in [(&found.low, means[30]), (&found.high, means[270])] {
            let got = end.at(&[i as isize])?;
            assert!((got - expected as f32).abs() < LAST_DIGITS, "{got}, expected {expected}");
        }
    }
    let again = of(&lists).statistics_over("prompt", options)?;
    assert_eq!((again.low.values(), again.p()?.values()), (found.low.values(), found.p()?.values()), "the same seed");
    let other = of(&lists).statistics_over("prompt", StatisticsOptions { seed: 12, ..options })?;
    assert_ne!(other.low.values(), found.low.values());
    Ok(())
}

#[test]
fn equal_effects_are_a_point_and_an_eighth() -> Result<()> {
    for (count, p) in [(2, 0.5), (3, 0.25), (4, 0.125), (12, 2.0 / 4096.0)] {
        for value in [0.1_f32, -3.7, 1e20] {
            let same = Labelled::new("effect", vec![Axis::numbered("prompt", count)], vec![value; count])?;
            let found = same.statistics_over("prompt", StatisticsOptions::default())?;
            assert_eq!(found.p()?.scalar()?, p);
            assert_eq!(
                (found.low.scalar()?, found.high.scalar()?, found.standard_error.scalar()?),
                (value, value, 0.0)
            );
            assert!(!found.holds_zero()[[]]);
        }
    }
    // Nothing is as far from zero as zero, whatever the signs.
    let nothing = Labelled::new("effect", vec![Axis::numbered("prompt", 40)], vec![0.0; 40])?;
    let found = nothing.statistics_over("prompt", StatisticsOptions::default())?;
    assert_eq!((found.p()?.scalar()?, found.holds_zero()[[]]), (1.0, true));
    Ok(())
}

/// Random patterns can never say that nothing is likelier than one of all of them.
#[test]
fn random_patterns_count_the_one_that_was_found() -> Result<()> {
    let strong = Labelled::new("effect", vec![Axis::numbered("prompt", 40)], vec![1.0; 40])?;
    let options = StatisticsOptions { patterns: 999, ..Default::default() };
    assert_eq!(strong.statistics_over("prompt", options)?.p()?.scalar()?, 1e-3);
    Ok(())
}

/// The axis may be anywhere; the others keep their places.
#[test]
fn any_axis_is_left_out() -> Result<()> {
    let axes = vec![Axis::new("run", ["a", "b"]), Axis::numbered("prompt", 3), Axis::numbered("head", 2)];
    let values: Vec<f32> = (0..12).map(|i| (i * i % 7) as f32).collect();
    let all = Labelled::new("effect", axes, values)?;
    let found: Statistics = all.statistics_over("prompt", StatisticsOptions::default())?;
    assert_eq!(found.estimate.shape(), [2, 2]);
    assert_eq!(found.estimate.values(), all.mean_over("prompt")?.values());
    assert_eq!(found.standard_error.values(), all.standard_error_over("prompt")?.values());
    assert_eq!(found.select("run", 1)?.estimate.values(), all.select("run", 1)?.mean_over("prompt")?.values());
    Ok(())
}

#[test]
fn mistakes_are_refused_in_a_sentence() -> Result<()> {
    let list = |values: Vec<f32>| Labelled::new("effect", vec![Axis::numbered("prompt", values.len())], values);
    let three = list(vec![1.0, 2.0, 3.0])?;
    let with = |options: StatisticsOptions| three.statistics_over("prompt", options);
    sentence(three.statistics_over("head", Center::Mean), &["no axis \"head\"", "prompt"]);
    sentence(list(vec![1.0])?.statistics_over("prompt", Center::Mean), &["1 entries", "2 or more"]);
    sentence(list(vec![1.0, f32::NAN])?.statistics_over("prompt", Center::Mean), &["NaN", "prompt 1"]);
    sentence(list(vec![f32::INFINITY, 1.0])?.statistics_over("prompt", Center::Mean), &["inf", "prompt 0"]);
    for level in [0.0, 1.0, -1.0, f64::NAN] {
        sentence(with(StatisticsOptions { level, ..Default::default() }), &["level", "0.95"]);
        sentence(list(vec![1.0])?.success_rate_over("prompt", level), &["level", "0.95"]);
    }
    sentence(with(StatisticsOptions { draws: 0, ..Default::default() }), &["0 bootstrap draws"]);
    sentence(with(StatisticsOptions { patterns: 0, ..Default::default() }), &["0 patterns of signs"]);
    sentence(three.success_rate_over("prompt", 0.95), &["zeros and ones", "2"]);
    sentence(list(Vec::new())?.success_rate_over("prompt", 0.95), &["0 entries"]);
    Ok(())
}
