//! The numbers of the embedded model's card, measured anew from the shipped weights.

use std::collections::BTreeMap;

use candle_lens::analysis::{Score, score_questions, score_repeated};
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::{Split, exam, repeated_exam};

/// The card, which this test checks number by number.
const CARD: &str = include_str!("../../src/model/tiny/README.md");

fn model() -> HookedTransformer {
    HookedTransformer::from_pretrained_no_processing("tiny").unwrap()
}

fn repeated_accuracy(model: &HookedTransformer) -> f64 {
    let bos = model.tokenizer().unwrap().bos_id().unwrap();
    score_repeated(model, &repeated_exam(model.cfg().d_vocab as u32, bos).unwrap()).unwrap()
}

#[test]
fn the_model_does_its_tasks_on_what_it_was_not_trained_on() {
    let model = model();
    let scores: BTreeMap<(&str, Split), Score> = exam()
        .unwrap()
        .iter()
        .map(|paper| ((paper.task, paper.split), score_questions(&model, &paper.questions).unwrap()))
        .collect();
    let targets: [(&str, fn(&Score) -> f64, f64); 5] = [
        ("ioi", |score| score.accuracy, 0.99),
        ("greater_than", |score| score.prob_diff, 0.85),
        ("capital_country", |score| score.accuracy, 0.95),
        ("sva", |score| score.accuracy, 0.95),
        ("hypernymy", |score| score.prob_diff, 0.90),
    ];
    for (task, measure, target) in targets {
        for ((_, split), score) in scores.iter().filter(|((name, _), _)| *name == task) {
            assert!(measure(score) >= target, "{task}, {split}: {} is below {target}", measure(score));
        }
    }
    for ((task, split), score) in &scores {
        let numbers = [score.accuracy, score.preference, score.prob_diff].map(|number| format!("{number:.3}"));
        let line =
            format!("| {task} | {split} | {} | {} |", numbers.join(" | "), format_args!("{:.2}", score.logit_diff));
        assert!(CARD.contains(&line), "the model card lacks the line {line}");
    }
}

#[test]
fn the_model_continues_random_sequences() {
    let accuracy = repeated_accuracy(&model());
    assert!(accuracy >= 0.97, "{accuracy}");
    assert!(
        CARD.contains(&format!("| repeated | random | {accuracy:.3} |")),
        "the card has another number than {accuracy:.3}"
    );
}

#[test]
fn the_seeds_prompts_are_answered() {
    let model = model();
    let next = |prompt: &str| {
        let tokens = model.to_tokens(prompt).unwrap();
        let last = tokens.last_positions()[0];
        let logits = model.forward(tokens).unwrap().get(0).unwrap().get(last).unwrap().to_vec1::<f32>().unwrap();
        let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
        model.to_string(&[best as u32]).unwrap()
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
