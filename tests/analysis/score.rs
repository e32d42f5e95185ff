//! Scores against prompts that are run one by one and summed by hand.

use candle_lens::metrics::score_questions;
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::repeated::RepeatedTokens;
use candle_lens::tasks::{Question, Split, Task};

use crate::support::fixture::TOLERANCE;
use crate::tiny::scorecard::score_repeated;

fn model() -> HookedTransformer {
    HookedTransformer::from_pretrained_no_processing("tiny").unwrap()
}

/// The logits after the last token of one prompt, which nothing pads.
fn last_logits(model: &HookedTransformer, prompt: &str) -> Vec<f64> {
    let logits: Vec<Vec<f32>> = model.forward(prompt).unwrap().get(0).unwrap().to_vec2().unwrap();
    logits.last().unwrap().iter().map(|&logit| f64::from(logit)).collect()
}

#[test]
fn a_score_is_the_mean_over_prompts_run_one_by_one() {
    let model = model();
    let mut questions: Vec<Question> = Vec::new();
    for task in [Task::Ioi, Task::GreaterThan] {
        let prompts = task.prompts(Split::Templates, 4, 1).unwrap().prompts;
        questions.extend(prompts.iter().map(|prompt| prompt.question()));
    }
    // A question that the model gets wrong.
    let turned =
        Question { right: questions[0].wrong.clone(), wrong: questions[0].right.clone(), ..questions[0].clone() };
    questions.push(turned);
    let mut expected = [0.0; 4];
    for question in &questions {
        let logits = last_logits(&model, &question.prompt);
        let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
        let of = |answers: &[String]| -> Vec<f64> {
            answers.iter().map(|answer| logits[model.to_single_token(answer).unwrap() as usize]).collect()
        };
        let (right, wrong) = (of(&question.right), of(&question.wrong));
        let best = |values: &[f64]| values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let probability = |values: &[f64]| values.iter().map(|value| value.exp() / total).sum::<f64>();
        expected[0] += f64::from(u8::from(logits.iter().all(|&logit| logit <= best(&right))));
        expected[1] += f64::from(u8::from(best(&right) > best(&wrong)));
        expected[2] += mean(&right) - mean(&wrong);
        expected[3] += probability(&right) - probability(&wrong);
    }
    let score = score_questions(&model, &questions).unwrap();
    assert_eq!(score.count, 9);
    let got = [score.accuracy, score.preference, score.logit_diff, score.prob_diff];
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected / 9.0).abs() < TOLERANCE, "{got:?}, not {expected:?} / 9");
    }
}

#[test]
fn the_scores_of_a_data_set_are_those_of_its_prompts_in_their_order() {
    let model = model();
    for task in [Task::Ioi, Task::Sva, Task::CapitalCountry] {
        let prompts = task.prompts(Split::Templates, 12, 2).unwrap();
        let scores = prompts.scores(&model).unwrap();
        for (number, prompt) in prompts.prompts.iter().enumerate() {
            let mut question = prompt.question();
            for answer in question.right.iter_mut().chain(&mut question.wrong) {
                // Of a country's name the first token counts.
                let ids = model.tokenizer().unwrap().continuation(answer).unwrap();
                *answer = model.to_string([ids[0]]).unwrap();
            }
            let score = score_questions(&model, &[question]).unwrap();
            let expected = [score.accuracy, score.preference, score.logit_diff, score.prob_diff];
            for (kind, expected) in expected.into_iter().enumerate() {
                let got = f64::from(scores.values()[[kind, number]]);
                assert!((got - expected).abs() < TOLERANCE, "{task}, prompt {number}: {got} is not {expected}");
            }
        }
        let kind = if task.is_logit_diff() { "logit difference" } else { "probability difference" };
        let measured = prompts.measure(&model).unwrap();
        for (number, measured) in measured.into_iter().enumerate() {
            let got = scores.get(&[kind, &number.to_string()]).unwrap();
            assert!(f64::from((got - measured).abs()) < TOLERANCE, "{task}: {got} is not the metric {measured}");
        }
    }
}

#[test]
fn repeated_rows_are_asked_where_the_answer_is_known() {
    let model = model();
    let bos = model.tokenizer().unwrap().bos_id().unwrap();
    let ids = vec![bos, 900, 1300, 1700, 900, 1300, 1700, 900];
    let predicted: Vec<Vec<u32>> = model.forward(vec![ids.clone()]).unwrap().argmax(2).unwrap().to_vec2().unwrap();
    let hits = (4..7).filter(|&position| predicted[0][position] == ids[position + 1]).count();
    let score = score_repeated(&model, &[RepeatedTokens { ids, period: 3 }]).unwrap();
    assert!((score - hits as f64 / 3.0).abs() < f64::EPSILON, "{score}");
}

#[test]
fn what_cannot_be_scored_is_refused_in_a_sentence() {
    let model = model();
    let question = |right: &[&str], wrong: &[&str]| Question {
        prompt: "The nurse said that".into(),
        right: right.iter().map(ToString::to_string).collect(),
        wrong: wrong.iter().map(ToString::to_string).collect(),
    };
    let refused = |questions: &[Question]| score_questions(&model, questions).unwrap_err().to_string();
    assert!(refused(&[]).contains("no question"));
    assert!(refused(&[question(&[" she"], &[])]).contains("no right or no wrong answer"));
    let message = refused(&[question(&[" quixotically"], &[" he"])]);
    assert!(message.contains("quixotically"), "{message}");
    assert!(score_repeated(&model, &[]).unwrap_err().to_string().contains("no row"));
}
