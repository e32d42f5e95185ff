//! The references of C8's first half beside the library's own path patching, scores and detectors.

use std::sync::{Arc, Mutex};

use candle_lens::analysis;
use candle_lens::course::ex;
use candle_lens::prelude::*;

/// The logits of every prompt and position after the library's path patching, which a metric gets to see.
fn logits_of(
    model: &HookedTransformer,
    (clean, corrupted): (&Tokens, &Tokens),
    sender: Head,
    receivers: &[Receiver],
) -> Result<Tensor> {
    let seen: Arc<Mutex<Vec<Tensor>>> = Arc::default();
    let keep = seen.clone();
    let metric = Metric::custom("logits", move |logits| {
        keep.lock().expect("one thread").push(logits.clone());
        logits.max(1)
    });
    let metric = metric.more_is_better().at_all();
    let experiment = Experiment::new(model, clean, corrupted, metric)?.noising()?;
    experiment.path_patch(&[sender.into()], receivers, Mlps::Recomputed)?;
    let last = seen.lock().expect("one thread").last().cloned().expect("the patched run was measured");
    Ok(last.reshape((clean.batch(), clean.pos(), ()))?)
}

#[test]
fn path_patching_is_the_librarys() -> Result<()> {
    ex::path_patch_to_final()
        .check(|model, clean, corrupted, sender| logits_of(model, (clean, corrupted), sender, &[Receiver::Final]))
        .expect()?;
    ex::path_patch_to_heads()
        .check(|model, clean, corrupted, sender, receivers, input| {
            let receiver = |head: &Head| match input {
                "q" => Receiver::q(*head),
                "k" => Receiver::k(*head),
                _ => Receiver::v(*head),
            };
            let receivers: Vec<Receiver> = receivers.iter().map(receiver).collect();
            logits_of(model, (clean, corrupted), sender, &receivers)
        })
        .expect()
}

#[test]
fn donors_differ_from_the_prompt_by_names_alone() -> Result<()> {
    ex::donor()
        .check(|ids, names, s2, token, keeps_position| {
            let subject = ids[s2];
            let io = ids[names.0] + ids[names.1] - subject;
            // Each id by its role: a third name is the subject's, IO's stays.
            let role = |at: usize| match (at == s2, (ids[at] == subject) == keeps_position) {
                (true, _) => token,
                (false, true) => token,
                (false, false) if token == io => subject,
                (false, false) => io,
            };
            let is_name = |at: usize| at == s2 || at == names.0 || at == names.1;
            Ok::<_, candle_lens::Error>((0..ids.len()).map(|at| if is_name(at) { role(at) } else { ids[at] }).collect())
        })
        .expect()
}

/// The mean logit difference for each donor, by the library's patching of one site between clean prompts and donors.
fn signals(
    model: &HookedTransformer,
    clean: &Tokens,
    answers: &Answers,
    names: (usize, usize),
    s2: usize,
    thirds: &[u32],
    layer: usize,
) -> Result<Tensor> {
    let mut all = Vec::new();
    for (kind, keeps) in (0..3).flat_map(|kind| [(kind, true), (kind, false)]) {
        let row = |row: usize| {
            let (mut ids, subject, io) = (clean.row(row).to_vec(), answers.incorrect()[row], answers.correct()[row]);
            let (token, other) = [(subject, io), (io, subject), (thirds[row], io)][kind];
            let subject_is_first = ids[names.0] == subject;
            let pair = if subject_is_first == keeps { [token, other] } else { [other, token] };
            (ids[names.0], ids[names.1], ids[s2]) = (pair[0], pair[1], token);
            ids
        };
        let donors = Tokens::from_rows((0..clean.batch()).map(row).collect())?;
        let metric = Metric::logit_diff(answers);
        if (kind, keeps) == (0, true) {
            assert!((0..clean.batch()).all(|row| donors.row(row) == clean.row(row)), "this donor is the prompt");
            all.push(metric.measure(model, clean)?.mean() as f32);
            continue;
        }
        let experiment = Experiment::new(model, clean, &donors, metric)?.noising()?;
        let site = PatchSite::new(model, ("resid_pre", layer))?.pos(s2);
        all.push(experiment.sites(&[site])?.raw.at(&[0])?);
    }
    Ok(Tensor::from_vec(all, (3, 2), &Device::Cpu)?)
}

#[test]
fn signals_are_patched_sites() -> Result<()> {
    ex::position_or_token().check(signals).expect()
}

#[test]
fn scores_are_the_librarys() -> Result<()> {
    ex::copying_scores()
        .check(|model, names, k| analysis::copying_scores(model, names.iter().copied(), k)?.to_tensor())
        .expect()?;
    ex::early_heads()
        .check(|cache, seq_len| {
            // The detector divides by all queries, of which a row has 1 + 2 seq_len.
            let pos = (1 + 2 * seq_len) as f64;
            let score = |pattern: DetectionPattern, queries: usize| -> Result<Tensor> {
                Ok((detect_head(cache, &pattern, DetectOptions::default())?.to_tensor()? * (pos / queries as f64))?)
            };
            let kinds = [
                score(DetectionPattern::PreviousToken, 2 * seq_len)?,
                score(DetectionPattern::DuplicateToken, seq_len)?,
                score(DetectionPattern::Induction, seq_len)?,
            ];
            Ok::<_, candle_lens::Error>(Tensor::stack(&kinds, 0)?)
        })
        .expect()
}

const MOVERS: [(usize, usize); 4] = [(3, 6), (3, 7), (3, 0), (2, 6)];

/// What the texts say of the paths.
#[test]
fn the_texts_are_right_about_the_paths() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Ioi.prompts(tasks::Split::Combinations, 3000, 0)?.of_templates(0..3)?.one_length(&model)?;
    let experiment = prompts.head(24).batch(&model)?.experiment(&model)?.noising()?;
    let direct = experiment.path_patch_head_to_final_resid_post()?.normalised;
    let movers: Vec<String> = direct.bottom_heads(4)?.iter().map(|(head, _)| head.to_string()).collect();
    assert_eq!(movers, ["L3H6", "L3H7", "L3H0", "L2H6"]);
    assert!(direct.bottom(4)[3].value < 0.85 && direct.bottom(5)[4].value > 0.9, "{:?}", direct.bottom(5));
    let movers = MOVERS.map(Head::from);
    for receiver in [Receiver::q as fn(Head) -> Receiver, Receiver::k] {
        let through = experiment.path_patch_head_to_heads(&movers.map(receiver))?.normalised;
        assert!(through.bottom(1)[0].value > 0.95, "{through}");
    }
    let values = experiment.path_patch_head_to_heads(&movers.map(Receiver::v))?.normalised;
    let mut senders: Vec<String> = values.bottom_heads(3)?.iter().map(|(head, _)| head.to_string()).collect();
    senders.sort();
    assert_eq!(senders, ["L0H3", "L0H7", "L1H0"]);
    assert!(values.bottom(3)[2].value < 0.8 && values.bottom(4)[3].value > 0.95, "{values}");
    Ok(())
}

/// What the texts say of the heads.
#[test]
fn the_texts_are_right_about_the_model() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let prompts = Task::Ioi.prompts(tasks::Split::Combinations, 3000, 0)?.of_templates(0..3)?.one_length(&model)?;
    let prompts = prompts.head(24);
    let batch = prompts.batch(&model)?;
    let of = |prompt: &TaskPrompt, role| format!(" {}", prompt.word(role).expect("it is named"));
    let pairs = prompts.prompts.iter().map(|prompt| (of(prompt, "io"), of(prompt, "s")));
    let answers = model.answers(pairs)?;
    let thirds = model.token_ids(prompts.prompts.iter().map(|prompt| of(prompt, "third")))?;
    let table = signals(&model, &batch.clean, &answers, (2, 4), 10, &thirds, 2)?.to_vec2::<f32>()?;
    for (row, wanted) in table.iter().zip([8.2, -8.1, 0.2]) {
        // The text gives one decimal.
        const ROUNDED: f32 = 0.11;
        assert!(row.iter().all(|value| (value - wanted).abs() < ROUNDED), "{table:?}");
    }

    let names: std::collections::BTreeSet<String> = prompts.prompts.iter().map(|prompt| of(prompt, "io")).collect();
    let scores = analysis::copying_scores(&model, names, 10)?;
    let (copying, negative) = (scores.select("kind", 0)?, scores.select("kind", 1)?);
    let mut lowering: Vec<String> = negative.top_heads(3)?.iter().map(|(head, _)| head.to_string()).collect();
    lowering.sort();
    assert_eq!(lowering, ["L3H0", "L3H6", "L3H7"]);
    assert!(
        (0..8).all(|head| copying.at(&[3, head]).is_ok_and(|share| share == 0.)),
        "nothing copies in the last layer"
    );

    assert!(negative.top(1)[0].value < 0.66, "the score of the weights is rough: {negative}");

    let (_, clean) = model.run_with_cache(&batch.clean)?;
    for Head { layer, head } in MOVERS.map(Head::from) {
        let at_s2 = clean.get(("resid_pre", layer))?.i((.., 10))?.contiguous()?;
        let (v, o) = (model.W_V()?.i((layer, head))?, model.W_O()?.i((layer, head))?);
        let written = at_s2.matmul(&v)?.matmul(&o)?;
        let plan = HookPlan::new().edit(("resid_post", -1), Edit::replace(written).pos(10));
        let logits = model.run_with_hooks(&batch.clean, plan)?.0.i((.., 10))?.to_vec2::<f32>()?;
        let is_low = |(row, id): (&Vec<f32>, u32)| row.iter().filter(|other| **other < row[id as usize]).count() < 10;
        let lowered = logits.iter().zip(answers.incorrect()).filter(|&pair| is_low(pair)).count();
        assert!(4 * lowered > 3 * logits.len(), "{layer}.{head} lowers {lowered} of {}", logits.len());
    }

    let repeated = repeated_tokens(&model, RepeatOptions { seq_len: 20, batch: 4, seed: 0 })?;
    let (_, cache) = model.run_with_hooks(repeated, HookPlan::new().capture("pattern"))?;
    let duplicate = detect_head(&cache, &DetectionPattern::DuplicateToken, DetectOptions::default())?;
    // Of the attention on a row, half of which has nothing to look back to.
    const HARDLY_ANY: f32 = 0.05;
    assert!(duplicate.top(1)[0].value < HARDLY_ANY, "there is no duplicate-token head");
    Ok(())
}
