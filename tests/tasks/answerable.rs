//! Data sets that a model's tokens cannot answer in part; verbs in both numbers; GPT-2's own vocabulary.

use std::path::PathBuf;

use candle_lens::Result;
use candle_lens::candle::Device;
use candle_lens::model::{HookedTransformer, HookedTransformerConfig};
use candle_lens::tasks::{Split, Task, TaskDataset, VerbList};
use candle_lens::tokens::Tokenizer;
use candle_lens::views::View;

use crate::support::sentence::sentence;
use crate::support::{foreign_files, given, scratch};

fn file(folder: &str, name: &str, text: &str) -> PathBuf {
    let path = scratch(&format!("answerable_{folder}")).join(name);
    std::fs::write(&path, text).expect("the scratch folder is writable");
    path
}

/// In the second row both answers are the same country, in the fourth their names begin with the same token.
const COUNTRIES: &str = "clean,country,corrupted,corrupted_country\n\
    \"Rome, the capital of\",Italy,\"Paris, the capital of\",France\n\
    \"Rome, the capital of\",Italy,\"Paris, the capital of\",Italy\n\
    \"Paris, the capital of\",France,\"Rome, the capital of\",Italy\n\
    \"Rome, the capital of\",Italy,\"Paris, the capital of\",Italy France\n";

#[test]
fn what_cannot_be_answered_is_named_and_left_out() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let countries = TaskDataset::read(Task::CapitalCountry, file("countries", "countries.csv", COUNTRIES))?;
    let parts = ["countries.csv, line 3", "Rome, the capital of", "the token \" Italy\"", "TaskDataset::answerable"];
    sentence(countries.batches(&model, 4), &parts);
    sentence(countries.measure(&model), &parts);
    let kept = countries.answerable(&model)?;
    assert_eq!((kept.len(), kept.left_out.len()), (2, 2));
    assert!(kept.source.iter().any(|line| line.starts_with("2 of 4 with answers")), "{:?}", kept.source);
    assert!(kept.left_out[0].row.ends_with("countries.csv, line 3") && kept.left_out[0].why.contains("Italy"));
    assert!(
        kept.left_out[1].why.contains("\" Italy France\" both begin with the token \" Italy\""),
        "{:?}",
        kept.left_out
    );
    assert!(kept.render()?.text().contains("2 prompts were left out"));
    // Answers that were taken away by hand.
    let mut emptied = countries.clone();
    emptied.prompts[0].right = Vec::new().into();
    sentence(emptied.measure(&model), &["line 2", "it has no right answers"]);
    assert_eq!(kept.prompts[..], [countries.prompts[0].clone(), countries.prompts[2].clone()]);
    assert_eq!(kept.measure(&model)?.len(), 2);
    // What was left out stays known through later steps.
    assert_eq!(kept.shuffle(1).head(1).left_out, kept.left_out);

    let lists = "clean,corrupted,answers,corrupted_answers\n\
        \"rubies, and other\",\"cars, and other\",['gems'],['vehicles']\n\
        \"rubies, and other\",\"cars, and other\",\"['gems', 'xylophonists']\",['vehicles']\n\
        \"rubies, and other\",\"cars, and other\",\"['gems', 'birds']\",\"['birds', 'gems']\"\n";
    let lists = TaskDataset::read(Task::Hypernymy, file("lists", "lists.csv", lists))?;
    sentence(lists.batches(&model, 4), &["lists.csv, line 3", "\" xylophonists\" is not one token but", "answerable"]);
    let kept = lists.answerable(&model)?;
    let why: Vec<&str> = kept.left_out.iter().map(|left| &left.why[..]).collect();
    assert!(kept.len() == 1 && why[0].contains("xylophonists") && why[1].contains("also its wrong ones"), "{why:?}");
    sentence(lists.with_rows(1..).answerable(&model), &["no prompt of hypernymy", "nothing is left", "line 3"]);
    // Prompts that were made have a number in place of a line.
    let made = Task::Ioi.prompts(Split::Train, 3, 0)?;
    assert_eq!(made.answerable(&model)?.prompts, made.prompts);
    assert_eq!(made.prompts[2].row, "ioi, split train, seed 0, prompt 2");
    Ok(())
}

/// Part of a data set, by its public fields.
trait Rows {
    fn with_rows(&self, rows: std::ops::RangeFrom<usize>) -> TaskDataset;
}

impl Rows for TaskDataset {
    fn with_rows(&self, rows: std::ops::RangeFrom<usize>) -> TaskDataset {
        TaskDataset { prompts: self.prompts[rows].to_vec(), ..self.clone() }
    }
}

/// The form of the published table: placeholders in the columns that nobody fills.
const VERBS: &str =
    "idx,sing,plur,freq\n_,is,are,_\n_,undulates,undulate,_\n_,seems,seem,_\n_,seems,seem,_\n_,was,were,_\n";

#[test]
fn verbs_of_a_list_judge_agreement() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let verbs = VerbList::read(file("verbs", "verbs.csv", VERBS))?;
    assert_eq!(verbs.singular, [" is", " undulates", " seems", " was"]);
    let prompts = Task::Sva.prompts(Split::Train, 6, 0)?;
    sentence(
        prompts.with_verbs(&verbs)?.batches(&model, 6),
        &["prompt 0", "undulate", "not one token", "VerbList::single_tokens"],
    );
    let single = verbs.single_tokens(&model.tokenizer()?)?;
    assert_eq!(
        (&single.singular[..], &single.plural[..]),
        (&[" is", " seems", " was"].map(String::from)[..], &[" are", " seem", " were"].map(String::from)[..],)
    );
    let left: Vec<&str> = single.left_out.iter().map(|(verb, _)| &verb[..]).collect();
    assert!(left == [" undulates", " undulate"] && single.left_out.iter().all(|(_, count)| *count > 1));
    assert!(single.source.contains("3 of 4 verbs in the singular"), "{}", single.source);
    let judged = prompts.with_verbs(&single)?;
    assert!(judged.source.iter().any(|line| line.contains("verbs.csv: 3 of 4")), "{:?}", judged.source);
    // The sums of probabilities, by hand.
    for (prompt, value) in judged.prompts.iter().zip(judged.measure(&model)?) {
        let tokens = model.to_tokens(&prompt.clean)?;
        let logits = model.forward(&tokens)?.to_device(&Device::Cpu)?;
        let last = logits.get(0)?.get(tokens.pos() - 1)?.to_vec1::<f32>()?;
        let total: f64 = last.iter().map(|logit| f64::from(*logit).exp()).sum();
        let sum = |verbs: &[String]| -> Result<f64> {
            let ids = verbs.iter().map(|verb| model.to_single_token(verb));
            ids.map(|id| Ok(f64::from(last[id? as usize]).exp() / total)).sum()
        };
        let by_hand =
            (sum(&single.plural)? - sum(&single.singular)?) * if prompt.plural == Some(true) { 1. } else { -1. };
        assert!((by_hand - f64::from(value)).abs() < ROUNDING, "{}: {value} and {by_hand}", prompt.clean);
    }
    Ok(())
}

/// A probability in f32 beside one that is summed in f64.
const ROUNDING: f64 = 1e-5;

#[test]
fn mistakes_in_lists_of_verbs_say_where() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let read = |text: &str| VerbList::read(file("mistakes", "verbs.csv", text));
    sentence(read("sing,plural\nis,are\n"), &["verbs.csv", "no column \"plur\""]);
    sentence(read("sing,plur\nis,are\nseems\n"), &["line 3, column 2", "1 fields"]);
    sentence(read("sing,plur\nis,\n"), &["line 2, column \"plur\"", "empty"]);
    sentence(read("sing,plur\nis,are\nare,be\n"), &["line 3, column \"sing\"", "\"are\"", "\"plur\" on line 2"]);
    sentence(read("sing,plur\n"), &["no verbs"]);
    sentence(VerbList::read("/nowhere/verbs.csv"), &["cannot be read"]);
    let unknown = read("sing,plur\nundulates,undulate\n")?;
    sentence(unknown.single_tokens(&model.tokenizer()?), &["0 in the singular and 0 in the plural"]);
    let mut unsaid = Task::Sva.prompts(Split::Train, 2, 0)?;
    unsaid.prompts[1].plural = None;
    sentence(unsaid.with_verbs(&unknown), &["prompt 1 does not say the number of its subject"]);
    let emptied = VerbList { plural: Vec::new(), ..unknown.clone() };
    sentence(unsaid.with_verbs(&emptied), &["0 plural verbs", "at least one of each"]);
    sentence(
        Task::Ioi.prompts(Split::Train, 2, 0)?.with_verbs(&unknown),
        &["ioi is not evaluated with verbs", "prompt 0"],
    );
    Ok(())
}

/// A model with GPT-2's vocabulary.
fn with_gpt2s_tokens() -> Result<HookedTransformer> {
    let config = HookedTransformerConfig {
        n_layers: 1,
        d_model: 8,
        n_heads: 2,
        d_mlp: Some(8),
        d_vocab: 50257,
        n_ctx: 64,
        ..Default::default()
    };
    let (model, _) = HookedTransformer::trainable(config, 0, &Device::Cpu)?;
    Ok(model.with_tokenizer(Tokenizer::from_file(given("CANDLE_LENS_GPT2_TOKENIZER"))?))
}

#[test]
#[ignore = "needs CANDLE_LENS_DATA: a folder of the foreign data sets; and CANDLE_LENS_GPT2_TOKENIZER: GPT-2's tokenizer.json"]
fn ids_of_foreign_files_are_gpt2s() -> Result<()> {
    let (model, folder) = (with_gpt2s_tokens()?, foreign_files());
    for (task, name, count) in [(Task::Ioi, "ioi.csv", 1000), (Task::Hypernymy, "hypernymy.csv", 198)] {
        let prompts = TaskDataset::read(task, folder.join(name))?;
        let found = prompts.answerable(&model)?;
        println!("{name}: {} of {count}; {:?}", found.len(), found.left_out);
        assert!(
            prompts.prompts.iter().all(|prompt| prompt.gpt2_ids.is_some()),
            "{name}: ids to hold the answers against"
        );
        assert_eq!((prompts.len(), found.len()), (count, count), "{name}");
    }
    let years = TaskDataset::read(Task::GreaterThan, folder.join("greater_than.csv"))?;
    assert_eq!(years.answerable(&model)?.len(), 1000);
    let json = TaskDataset::read(Task::Ioi, folder.join("ioi_ABBA_template_0_prompts.json"))?;
    assert_eq!(json.answerable(&model)?.len(), json.len());
    // One id of one row is made another.
    let altered = |task, name: &str, from: &str, to: &str| {
        let text = std::fs::read_to_string(folder.join(name)).expect("the file is there");
        assert!(text.contains(from));
        TaskDataset::read(task, file("altered", name, &text.replacen(from, to, 1)))
    };
    let ioi = altered(Task::Ioi, "ioi.csv", "14235,16753", "14235,16754")?;
    let parts = ["ioi.csv, line 2, column \"incorrect_idx\"", "[16754]", "[16753]", "Amy and Laura"];
    sentence(ioi.answerable(&model), &parts);
    sentence(ioi.batches(&model, 8), &parts);
    let gems = altered(Task::Hypernymy, "hypernymy.csv", "[16840, 23685]", "[16840, 23686]")?;
    sentence(gems.answerable(&model), &["hypernymy.csv, line 2, column \"answers_idx\"", "23686", "23685"]);
    Ok(())
}
