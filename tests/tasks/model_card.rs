//! The numbers of the embedded model's card, measured anew from the shipped weights.

use candle_lens::metrics::Score;
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::Task;

use crate::tiny::scorecard::{Scorecard, scorecard};

const CARD: &str = include_str!("../../src/storage/tiny/README.md");

/// The card's numbers have three decimals, and another processor may answer one prompt in a hundred otherwise.
const PRINTED: f64 = 0.011;

fn model() -> HookedTransformer {
    HookedTransformer::from_pretrained_no_processing("tiny").unwrap()
}

/// Task, measure by name and by formula, and target.
type Target = (Task, &'static str, fn(&Score) -> f64, f64);

/// What the model should reach on the worst of a task's splits, and by which measure. For agreement it is the
/// preference: after a bare "The keys" a preposition is as good a word as a verb.
const TARGETS: [Target; 5] = [
    (Task::Ioi, "accuracy", |score| score.accuracy, 0.99),
    (Task::GreaterThan, "probability difference", |score| score.prob_diff, 0.85),
    (Task::CapitalCountry, "accuracy", |score| score.accuracy, 0.95),
    (Task::Sva, "preference", |score| score.preference, 0.95),
    (Task::Hypernymy, "probability difference", |score| score.prob_diff, 0.90),
];

/// The card's table of targets, from what is measured.
fn targets(card: &Scorecard) -> String {
    let mut lines = String::new();
    let mut line = |task: &str, measure: &str, target: f64, worst: f64| {
        let reached = if worst >= target { "yes" } else { "no" };
        lines += &format!("| {task} | {measure} | {target} | {worst:.3} | {reached} |\n");
    };
    for (task, name, measure, target) in TARGETS {
        let rows: Vec<f64> = card.rows.iter().filter(|row| row.0 == task).map(|row| measure(&row.2)).collect();
        assert!(rows.len() >= 3, "{task} has {} splits", rows.len());
        line(&task.to_string(), name, target, rows.into_iter().fold(f64::INFINITY, f64::min));
    }
    line("repeated", "accuracy", 0.97, card.repeated);
    lines
}

/// The card's numbers are what the shipped weights do, and it says of each target whether it is reached. With
/// `UPDATE_MODEL_CARD=1` both tables are printed instead, to be put into the card.
#[test]
fn the_card_says_what_the_model_does() {
    let card = scorecard(&model()).unwrap();
    let (measured, targets) = (card.to_string(), targets(&card));
    if std::env::var_os("UPDATE_MODEL_CARD").is_some() {
        println!("{measured}\n{targets}");
        return;
    }
    the_card_says_so(&measured);
    the_card_says_so(&targets);
}

/// The least that notebooks and examples rest on, whatever the targets.
#[test]
fn the_model_names_the_indirect_object_and_repeats() {
    let card = scorecard(&model()).unwrap();
    for (task, split, score) in &card.rows {
        if *task == Task::Ioi {
            assert!(score.accuracy >= 0.98, "{split}: {}", score.accuracy);
        }
    }
    assert!(card.repeated >= 0.9, "{}", card.repeated);
}

/// Each measured row is in the card, with numbers that differ no more than another processor's rounding makes them.
fn the_card_says_so(measured: &str) {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    for row in measured.lines().filter(|line| !line.is_empty()).map(cells) {
        let same_row = |line: &Vec<String>| line.len() == row.len() && line[1..3] == row[1..3];
        let printed = CARD.lines().map(cells).find(same_row).unwrap_or_else(|| panic!("the card lacks {row:?}"));
        for (printed, measured) in printed.iter().zip(&row) {
            let close = match (printed.parse::<f64>(), measured.parse::<f64>()) {
                (Ok(printed), Ok(measured)) => (printed - measured).abs() < PRINTED,
                _ => printed == measured,
            };
            assert!(close, "the card says {printed} where {measured} is measured, in {row:?}");
        }
    }
}

#[test]
fn the_seeds_prompts_are_answered() {
    let model = model();
    let next = |prompt: &str| {
        let tokens = model.to_tokens(prompt).unwrap();
        let last = tokens.last_positions()[0];
        let logits = model.forward(tokens).unwrap().get(0).unwrap().get(last).unwrap().to_vec1::<f32>().unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        model.to_string([best as u32]).unwrap()
    };
    let formats = [
        ("When John and Mary went to the shops, {} gave the bag to", "John", "Mary"),
        ("When Tom and James went to the park, {} gave the ball to", "Tom", "James"),
        ("When Dan and Sid went to the shops, {} gave an apple to", "Dan", "Sid"),
        ("After Martin and Amy went to the park, {} gave a drink to", "Martin", "Amy"),
    ];
    for (format, a, b) in formats {
        for (subject, answer) in [(a, b), (b, a)] {
            assert_eq!(next(&format.replace("{}", subject)), format!(" {answer}"));
            assert_eq!(next(&format.replace("{}", &format!(" {subject}"))), format!(" {answer}"), "with two spaces");
        }
    }
    assert_eq!(next("Tirana, the capital of"), " Albania");
    assert_eq!(next("The nurse said that"), " she");
    assert!(next("The war lasted from the year 1741 to the year 17").parse::<u32>().unwrap() > 41);
    assert!([" gems", " gemstones"].contains(&next("diamonds, and other").as_str()));
    let verb = next("The keys on the cabinet");
    assert!(candle_lens::tasks::words::VERBS.iter().any(|v| verb == format!(" {}", v.plural)), "{verb:?}");
}
