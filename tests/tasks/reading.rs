//! Data sets of tasks: our own files and others' read into one form, and batches whose metrics are those of a hand count.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_lens::Result;
use candle_lens::metrics::score_questions;
use candle_lens::model::HookedTransformer;
use candle_lens::tasks::{Split, Task, TaskDataset, TaskPrompt, pieces};

use crate::support::fixture::TOLERANCE;
use crate::support::sentence::sentence;
use crate::support::{foreign_files, scratch};

fn ours(task: Task) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("datasets").join(format!("{task}.csv"))
}

/// A file of this text, in a folder of its own, because tests run beside each other.
fn file(name: &str, text: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = scratch(&format!("reading_{number}")).join(name);
    std::fs::write(&path, text).expect("the scratch folder is writable");
    path
}

#[test]
fn our_own_files_are_what_the_generators_make() -> Result<()> {
    for task in Task::ALL {
        let read = TaskDataset::read(task, ours(task))?;
        // The first split's prompts stand first in each file, made from seed 2.
        let count = match task {
            Task::Ioi | Task::GreaterThan => 250,
            Task::GenderBias => 150,
            Task::Sva => 300,
            _ => 200,
        };
        let made = task.prompts(Split::Train, count, 2)?;
        for (a, b) in read.prompts.iter().zip(&made.prompts) {
            let places = |p: &TaskPrompt| {
                let mut places = p.positions.clone();
                places.sort();
                places
            };
            assert_eq!((&a.clean, &a.corrupted, &a.right, &a.wrong), (&b.clean, &b.corrupted, &b.right, &b.wrong));
            assert_eq!(places(a), places(b), "{task}: {}", a.clean);
            assert_eq!(a.corrupted_hard, b.corrupted_hard);
            assert_eq!(a.split, b.split);
            if task == Task::Ioi {
                assert_eq!((a.template, a.word("io"), a.word("s")), (b.template, b.word("io"), b.word("s")));
            }
        }
    }
    Ok(())
}

#[test]
fn prompts_of_one_length_are_one_batch() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let set = Task::Ioi.prompts(Split::Combinations, 300, 0)?.of_templates(0..5)?;
    let counts = |prompt: &TaskPrompt| [&prompt.clean, &prompt.corrupted].map(|text| 1 + pieces(text).len());
    let by_hand: Vec<_> = set.prompts.iter().filter(|prompt| counts(prompt) == [15, 15]).cloned().collect();
    let chosen = set.of_length(&model, 15)?;
    assert_eq!(chosen.prompts, by_hand);
    assert!(chosen.left_out.last().is_some_and(|left| left.why.ends_with("corrupted")), "{:?}", chosen.left_out.last());
    let batch = chosen.head(20).batch(&model)?;
    assert_eq!((batch.clean.batch(), batch.clean.pos(), batch.prompts.clone()), (20, 15, (0..20).collect()));
    assert_eq!(batch.groups, chosen.head(20).groups());
    for (row, prompt) in by_hand.iter().take(20).enumerate() {
        // A BOS comes first, and every word of these prompts is one token.
        assert_eq!(batch.positions["s2"][row], 1 + prompt.position("s2").expect("IOI has one"));
    }
    // The most frequent length, counted by hand.
    let lengths: Vec<[usize; 2]> = set.prompts.iter().map(counts).filter(|[a, b]| a == b).collect();
    let frequent = (1..40).rev().max_by_key(|&length| lengths.iter().filter(|of| of[0] == length).count());
    let most = set.one_length(&model)?;
    assert_eq!(most.prompts, set.of_length(&model, frequent.expect("some length"))?.prompts);
    assert!(most.len() < set.len());
    sentence(set.batch(&model), &["several token counts", "of 15", "`of_length`", "`batches`"]);
    sentence(set.of_length(&model, 3), &["no prompt of ioi has 3 tokens", "tokens clean and"]);
    Ok(())
}

#[test]
fn metrics_are_those_of_the_questions() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    for task in Task::ALL {
        let prompts = task.prompts(Split::Templates, 20, 5)?;
        let questions: Vec<_> = prompts.prompts.iter().map(|prompt| prompt.question()).collect();
        let score = score_questions(&model, &questions)?;
        let values = prompts.measure(&model)?;
        let mean = values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64;
        let expected = if task.is_logit_diff() { score.logit_diff } else { score.prob_diff };
        assert!((mean - expected).abs() < TOLERANCE, "{task}: {mean} and {expected}");
        for batch in prompts.batches(&model, 7)? {
            assert!(!batch.clean.is_padded() && !batch.corrupted.is_padded() && batch.prompts.len() <= 7);
            for (row, &number) in batch.prompts.iter().enumerate() {
                let prompt = &prompts.prompts[number];
                assert_eq!(model.to_string(&batch.clean.row(row)[1..])?, prompt.clean);
                for (name, word) in &prompt.positions {
                    let token = model.to_string([batch.clean.id(row, batch.positions[name][row])])?;
                    assert!(pieces(&prompt.clean)[*word].ends_with(&token), "{task}, {name}: {token:?}");
                }
                assert_eq!(batch.positions["end"][row] + 1, batch.clean.pos());
            }
        }
    }
    Ok(())
}

#[test]
fn data_sets_are_cut_mixed_hardened_and_filtered() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Ioi.prompts(Split::Train, 30, 1)?;
    let mixed = prompts.shuffle(3);
    assert_ne!(mixed.prompts, prompts.prompts);
    assert_eq!(mixed.prompts, prompts.shuffle(3).prompts);
    let sorted = |set: &TaskDataset| {
        let mut texts: Vec<String> = set.prompts.iter().map(|p| p.clean.clone()).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted(&mixed), sorted(&prompts));
    assert_eq!(prompts.head(4).prompts, prompts.prompts[..4]);
    let hard = prompts.hard()?;
    for (prompt, hard) in prompts.prompts.iter().zip(&hard.prompts) {
        assert_eq!(Some(&hard.corrupted), prompt.corrupted_hard.as_ref());
        let at = |name: &str| hard.positions.iter().find(|(n, _)| n == name).expect("a position").1;
        assert_eq!(pieces(&hard.corrupted)[at("s2")], hard.right[0]);
        assert_eq!(at("changed"), at("s2"));
    }
    // What the corrupted prompts are asked is the clean answers the other way round.
    let patching = hard.head(8).batches(&model, 8)?[0].experiment(&model)?;
    assert!(patching.clean() > 0.0 && patching.corrupted() < 0.0);
    let hypernymy = Task::Hypernymy.prompts(Split::Templates, 40, 0)?;
    let values = hypernymy.measure(&model)?;
    let least = {
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        sorted[20]
    };
    let kept = hypernymy.filter_by_metric(&model, least)?;
    assert_eq!(kept.len(), values.iter().filter(|value| **value >= least).count());
    assert!(
        kept.len() < 40 && kept.source.iter().any(|line| line.contains("of 40 with a metric")),
        "{:?}",
        kept.source
    );
    sentence(hypernymy.filter_by_metric(&model, 2.0), &["no prompt of hypernymy", "the mean is"]);
    sentence(hypernymy.filter_by_metric(&model, f32::NAN), &["no prompt of hypernymy"]);
    sentence(Task::Sva.prompts(Split::Train, 3, 0)?.hard(), &["corrupted_hard", "only IOI"]);
    sentence(prompts.batches(&model, 0), &["batches of 0"]);
    sentence(prompts.head(0).batches(&model, 2), &["a data set of 0"]);
    Ok(())
}

#[test]
fn files_in_others_forms() -> Result<()> {
    let ioi = file(
        "gpt2.csv",
        ",clean,corrupted,corrupted_hard,correct_idx,incorrect_idx\r\n\
         7,\"When Ann and Bob met, Bob gave it to\",\"When Ann and Bob met, Cid gave it to\",\"When Ann and Bob met, Ann gave it to\",11,12\r\n",
    );
    let prompt = &TaskDataset::read(Task::Ioi, ioi)?.prompts[0];
    assert_eq!((&prompt.right[0][..], &prompt.wrong[0][..]), (" Ann", " Bob"));
    assert_eq!(prompt.gpt2_ids, Some((vec![11], vec![12])));
    let place = |name: &str| prompt.positions.iter().find(|(n, _)| n == name).expect("a position").1;
    assert_eq!(["io", "s1", "s2", "end", "changed"].map(place), [1, 3, 6, 9, 6]);

    let bias = file(
        "bias.csv",
        "clean,corrupted,clean_answer_idx,corrupted_answer_idx,label\nThe nurse said,The man said,673,339,0\n",
    );
    let prompt = &TaskDataset::read(Task::GenderBias, bias)?.prompts[0];
    assert_eq!((&prompt.right[0][..], &prompt.wrong[0][..]), (" she", " he"));

    let lists = file(
        "lists.csv",
        "clean,answers,answers_idx,corrupted,corrupted_answers,corrupted_answers_idx,prob_diff\n\
         \", rubies and other\",\"['gem', 'gems']\",\"[1, 2]\",\", cars and other\",\"[\"\"it's\"\"]\",[3],0.25\n",
    );
    let prompt = &TaskDataset::read(Task::Hypernymy, lists)?.prompts[0];
    assert_eq!(prompt.right[..], [" gem", " gems"]);
    assert_eq!(prompt.wrong[..], [" it's"]);
    assert!(prompt.row.ends_with("lists.csv, line 2"), "{}", prompt.row);
    assert_eq!((prompt.gpt2_ids.clone(), prompt.prob_diff), (Some((vec![1, 2], vec![3])), Some(0.25)));

    let sva = file("sva.csv", "clean,corrupted,group,plural\nThe keys,The key,simple,1\nThe key,The keys,simple,0\n");
    let read = TaskDataset::read(Task::Sva, sva)?;
    assert!(read.prompts[0].right.contains(&" are".into()) && read.prompts[1].right.contains(&" is".into()));

    let json = file(
        "prompts.json",
        r#"{"word_idxs": {"IO": 1, "S2": 6, "end": 9}, "prompts": [{"clean": "When Ann and Bob met, Bob gave it to",
            "corrupt": "When Eve and Cid met, Dan gave it to", "answers": [" Ann"], "wrong_answers": [" Bob"]}]}"#,
    );
    let prompt = &TaskDataset::read(Task::Ioi, json)?.prompts[0];
    let place = |name: &str| prompt.positions.iter().find(|(n, _)| n == name).expect("a position").1;
    assert_eq!(["io", "s2", "end", "changed"].map(place), [1, 6, 9, 1]);
    Ok(())
}

#[test]
fn malformed_files_say_where() {
    let years = |text: &str| TaskDataset::read(Task::GreaterThan, file("years.csv", text));
    let head = "clean,corrupted,correct_idx\n";
    let at = |rows: &str, parts: &[&str]| {
        sentence(years(&format!("{head}{rows}")), &[&["years.csv"], parts].concat());
    };
    at("a,b,41\nc,d\n", &["line 3, column 3", "2 fields", "3 columns"]);
    at("a,b,41\nc,d,99\n", &["line 3, column \"correct_idx\"", "99", "not a token id"]);
    at("a,b,x\n", &["line 2, column \"correct_idx\"", "\"x\"", "number"]);
    at("a,b,\n", &["line 2, column \"correct_idx\""]);
    at("\"a\nb\",c,41\n,d,41\n", &["line 4, column \"clean\"", "empty"]);
    at("a,\"b,41\n", &["line 2, column 2", "none closes it"]);
    at("a,\"b\"c,41\n", &["line 2, column 2", "behind the closing quotation mark"]);
    at("", &["no prompts"]);
    sentence(years(""), &["empty", "header"]);
    sentence(years("clean,corrupted\na,b\n"), &["no column \"correct_idx\"", "clean"]);
    sentence(years("clean,clean,corrupted,correct_idx\na,a,b,41\n"), &["column \"clean\" twice"]);
    sentence(TaskDataset::read(Task::GreaterThan, file("years.txt", head)), &[".csv nor .json"]);
    sentence(TaskDataset::read(Task::Ioi, "/nowhere/ioi.csv"), &["cannot be read"]);
    let of = |task, text: &str| TaskDataset::read(task, file("rows.csv", text));
    sentence(of(Task::Sva, "clean,corrupted,plural\na,b,2\n"), &["line 2", "plural", "1 (plural) or 0"]);
    sentence(
        of(Task::GenderBias, "clean,corrupted,clean_answer_idx,corrupted_answer_idx\na,b,673,5\n"),
        &["is 5", "339"],
    );
    sentence(
        of(Task::GenderBias, "clean,corrupted,clean_answer,corrupted_answer\na,b,he,he\n"),
        &["same right and wrong"],
    );
    let lists = "clean,corrupted,answers,corrupted_answers,answers_idx\n";
    sentence(of(Task::Hypernymy, &format!("{lists}a,b,gems,['x'],[1]\n")), &["column \"answers\"", "brackets"]);
    sentence(of(Task::Hypernymy, &format!("{lists}a,b,['gems'],[],[1]\n")), &["corrupted_answers", "empty list"]);
    sentence(of(Task::Hypernymy, &format!("{lists}a,b,['gems'],['x'],\"[1,2]\"\n")), &["2 ids for 1 answers"]);
    let ioi = "clean,corrupted,corrupted_hard\nAnn and Bob: Bob to,x,";
    sentence(of(Task::Ioi, &format!("{ioi}Ann and Bob: Bob to\n")), &["corrupted_hard", "one word"]);
    let json = |text: &str| TaskDataset::read(Task::Ioi, file("a.json", text));
    let prompt = |answers: &str| {
        format!(r#"{{"clean": "a b", "corrupt": "c b", "answers": {answers}, "wrong_answers": [" y"]}}"#)
    };
    sentence(json("{"), &["a.json", "line 1"]);
    sentence(json(r#"{"prompts": [{"clean": "a"}]}"#), &["missing field"]);
    sentence(json(&format!(r#"{{"prompts": [{}]}}"#, prompt("[]"))), &["line 1, prompt 0", "0 answers"]);
    let far = format!(r#"{{"word_idxs": {{"IO": 9}}, "prompts": [{}]}}"#, prompt(r#"[" x"]"#));
    sentence(json(&far), &["prompt 0", "\"IO\" cannot be 9"]);
}

/// The files themselves, which are not ours to commit.
#[test]
#[ignore = "needs CANDLE_LENS_DATA: a folder of the foreign data sets"]
fn foreign_files_as_they_are() -> Result<()> {
    let folder = foreign_files();
    let count = |task, name: &str| -> Result<usize> { Ok(TaskDataset::read(task, folder.join(name))?.len()) };
    assert_eq!(count(Task::Ioi, "ioi.csv")?, 1000);
    assert_eq!(count(Task::GreaterThan, "greater_than.csv")?, 1000);
    assert_eq!(count(Task::Hypernymy, "hypernymy.csv")?, 198);
    assert!(count(Task::Ioi, "ioi_ABBA_template_0_prompts.json")? > 0);
    let ioi = TaskDataset::read(Task::Ioi, folder.join("ioi.csv"))?.hard()?;
    assert_eq!((&ioi.prompts[0].right[0][..], &ioi.prompts[0].wrong[0][..]), (" Amy", " Laura"));
    Ok(())
}
