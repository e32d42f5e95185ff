//! C8, first half: path patching, and what kinds of heads the paths lead through.

mod inputs;
mod kind_answers;
pub mod kind_handles;
mod path_answers;
pub mod path_handles;

use candle_core::{Device, IndexOp, Tensor};

use crate::cache::ActivationCache;
use crate::course::notebook::{Part, Section};
use crate::error::Result;
use crate::head::Head;
use crate::hooks::{Edit, HookPlan};
use crate::metrics::Answers;
use crate::model::HookedTransformer;
use crate::tensors::{TensorWords, einsum};
use crate::tokens::Tokens;

/// This file, from which solutions are cut.
const SOURCE: &str = include_str!("mod.rs");

pub(super) fn section() -> Section {
    let parts = vec![
        Part::Text(INTRODUCTION),
        Part::Code(SETTING),
        Part::Exercise(path_handles::path_patch_to_final().task()),
        Part::Text(DIRECT),
        Part::Code(DIRECT_MAP),
        Part::Exercise(path_handles::path_patch_to_heads().task()),
        Part::Text(THROUGH),
        Part::Code(THROUGH_MAPS),
        Part::Text(POSITION_OR_TOKEN),
        Part::Exercise(kind_handles::donor().task()),
        Part::Exercise(kind_handles::position_or_token().task()),
        Part::Code(SIGNALS),
        Part::Text(ANSWER_TO_IT),
        Part::Exercise(kind_handles::copying_scores().task()),
        Part::Code(COPYING),
        Part::Text(EARLY),
        Part::Exercise(kind_handles::early_heads().task()),
        Part::Code(PATTERNS),
        Part::Text(END),
    ];
    Section { file: "c8_path_patching", parts }
}

const INTRODUCTION: &str = "# C8a · Path patching

Activation patching (C7) replaces what a head wrote and lets *everything* after it react. So it cannot say how the change reached the logits: straight from the head, or through other heads that read it. **Path patching** can. It changes one sender, and lets only chosen receivers hear the change:

1. **Both runs**: the clean prompts and the corrupted ones, keeping what every head writes (`z`).
2. **A frozen run** of the clean prompts: the sender writes what it wrote in the corrupted run, and every *other* head writes what it wrote in the clean run, whatever it reads now. MLPs are not frozen: they count as part of the path. In this run, look at what the receivers read.
3. **A run of the clean prompts** in which the receivers read just that, and all the rest is free to react.

The task is that of C6 and C7: *\"When John and Mary went to the shops, John gave the bag to\"* → **Mary**. In the corrupted prompts a third person gives the bag, so neither name is the answer. The indirect object (IO) is Mary, the subject (S) is John, and S1 and S2 are the two places where John is named.

Replace each `todo!()`, run the cell, and run the check below it. `position_or_token` calls your `donor`, so let that pass first: a mistake in it shows in both checks.";

const SETTING: &str = "let model = HookedTransformer::from_pretrained(\"tiny\")?;
let prompts = Task::Ioi.prompts(tasks::Split::Combinations, 3000, 0)?.of_templates(0..3)?.one_length(&model)?.head(24);
let batch = prompts.batch(&model)?;
let experiment = batch.experiment(&model)?.noising()?;
experiment";

const DIRECT: &str = "## Who writes the answer?

With your function in a loop over all heads you have each head's **direct effect**. The library has that loop; here it is for the whole model, on the scale of C7: the clean run's logit difference is 1, the corrupted run's is 0. The map shows 1 *minus* that number, so that most heads are at 0: the share of the answer that is lost when a head's own path to the end is corrupted. Which heads write the answer?";

const DIRECT_MAP: &str = "let direct = experiment.path_patch_head_to_final_resid_post()?;
let lost = (1.0 - direct.normalised.to_tensor()?)?;
imshow(&lost).title(\"Share of the answer lost through the head's path to the end\").x_label(\"head\").y_label(\"layer\").show()?;";

const THROUGH: &str = "## What do those heads need?

Four heads stand out: L3H6, L3H7, L3H0 and L2H6. In GPT-2 small such heads are called *name movers*, and what matters to them are their **queries**: earlier heads tell them where to look. Is it so here? Before you run the next cell, guess: queries, keys or values?";

const THROUGH_MAPS: &str = "let movers = [(3, 6), (3, 7), (3, 0), (2, 6)].map(Head::from);
for (input, receiver) in [(\"queries\", Receiver::q as fn(Head) -> Receiver), (\"keys\", Receiver::k), (\"values\", Receiver::v)] {
    let result = experiment.path_patch_head_to_heads(&movers.map(receiver))?;
    let lost = (1.0 - result.normalised.to_tensor()?)?;
    imshow(&lost).title(format!(\"Share of the answer lost through the movers' {input}\")).x_label(\"head\").y_label(\"layer\").show()?;
}";

const POSITION_OR_TOKEN: &str = "## Position or token?

In this model it is the **values**. Through the movers' queries or keys no head costs more than a twentieth of the answer; through their values three heads cost more than a fifth each: L0H7, L0H3 and L1H0. So these heads do not tell the movers where to look (that is S2), but what they find there. It may say two things. **Which name** was repeated (the token), or **where** it was first named (the position: first or second of the two). Both point to the same answer, so ordinary prompts cannot tell them apart. Prompts that disagree in one of the two can: from these *donors* we take the residual stream at S2, and put it into the clean run.

| donor of \"When John and Mary .. John gave\" | same position | other position |
|---|---|---|
| **same token** | John and Mary .. John | Mary and John .. John |
| **IO's token** | Mary and John .. Mary | John and Mary .. Mary |
| **a third name** | Paul and Mary .. Paul | Mary and Paul .. Paul |";

const SIGNALS: &str =
    "let answers = model.answers(prompts.prompts.iter().map(|p| (p.right[0].as_str(), p.wrong[0].as_str())))?;
let thirds = model.token_ids(prompts.prompts.iter().map(|p| format!(\" {}\", p.word(\"third\").unwrap())))?;
let names = (2usize, 4usize);
let s2 = 10usize;
model.to_str_tokens(prompts.prompts[0].clean.as_str())?";

const ANSWER_TO_IT: &str = "In all 24 prompts the first two names are tokens 2 and 4, and S2 is token 10. Now call your function: `position_or_token(&model, &batch.clean, &answers, names, s2, &thirds, 2)?`. If the position counts, the columns differ; if the token does, the rows.

You should find about 8.2, -8.1 and 0.2, and the columns hardly differ. So it is the **token**: S2 says *John*, wherever John was before. Put *Mary* there and the model answers John; put a third name there and it prefers neither. (In GPT-2 small the position counts too, and more.)

## Do they copy?

A head that attends to a name may raise that name's logit, or lower it. The weights tell: give the head's OV circuit what it reads of a name, and look where the name itself comes out among the logits. Roughly, a head reads the name's embedding and what the first MLP adds. That takes no prompts, only the name alone; but it leaves out what earlier heads have written at the name's position, and above you saw that some of them matter.";

const COPYING: &str =
    "let people: std::collections::BTreeSet<String> = prompts.prompts.iter().map(|p| p.right[0].clone()).collect();
let scores = candle_lens::analysis::copying_scores(&model, people, 10)?;
imshow(&scores.select(\"kind\", 0)?).title(\"share of names among the 10 largest logits\").show()?;
imshow(&scores.select(\"kind\", 1)?).title(\"share of names among the 10 smallest logits\").show()?;
// The same for what the movers do read at S2.
let (_, clean) = model.run_with_cache(&batch.clean)?;
let mut table = Table::new([\"head\", \"share of prompts\"]).title(\"S2's name is among the 10 smallest logits of what the head makes of S2\");
for head in movers {
    let at_s2 = clean.get((\"resid_pre\", head.layer))?.i((.., s2))?.contiguous()?;
    let written = model.OV()?.get(&[head.layer as isize, head.head as isize])?.left_matmul(&at_s2)?.AB()?;
    let plan = HookPlan::new().edit((\"resid_post\", -1), Edit::replace(written).pos(s2));
    let logits = model.run_with_hooks(&batch.clean, plan)?.0.i((.., s2))?;
    let smallest = logits.neg()?.top_k(10)?.1.to_vec2::<u32>()?;
    let lowered = smallest.iter().zip(answers.incorrect()).filter(|(places, id)| places.contains(id)).count();
    table = table.row((head.to_string(), lowered as f32 / smallest.len() as f32));
}
table";

const EARLY: &str = "In GPT-2 small the name movers copy: the answer's own logit rises. Here no head of the last layer copies, and the three that stand out in the second map are L3H0, L3H6 and L3H7, but none reaches two thirds of the names.

That score is rough: in a prompt of one token the name stands where BOS always stood in training, and no earlier head has added anything. The table has what the four movers really read at S2, and there the picture is clear: all four, L2H6 too, push the name down to the 10 smallest logits, in more than three quarters of the prompts. They look at the subject and **lower** it, and the name that is left wins. Same task, same behaviour, another algorithm.

## The heads before them

In GPT-2 small something must notice that a name came twice. Three kinds of heads could: **previous-token heads** and **induction heads** (C3), and **duplicate-token heads**, which look from a token at its own earlier occurrence. On random tokens that repeat, each kind is a stripe of the pattern. Which of the three does this model have?";

const PATTERNS: &str = "let repeated = repeated_tokens(&model, RepeatOptions { seq_len: 12, batch: 1, seed: 3 })?;
let (_, cache) = model.run_with_cache(&repeated)?;
let tokens: Vec<String> = repeated.row(0).iter().map(|&id| model.piece(id)).collect();
for layer in 0..2 {
    attention_heads(&tokens, (&cache, layer)).title(format!(\"layer {layer}\")).show()?;
}";

const END: &str = "## What you know now

L3H6, L3H7, L3H0 and L2H6 write the answer: they find the subject at S2 and lower it. Earlier heads reach them through their values, not through their queries, and what they carry is which name stands at S2: a score of the weights alone misses their part, and with it L2H6. There is no duplicate-token head, and none is needed: the second clause names the subject again, and that is where the movers look.

In the second half of C8 you ask whether these few heads are *enough*, and whether all of them are needed.";

fn path_patch_to_final(model: &HookedTransformer, clean: &Tokens, corrupted: &Tokens, sender: Head) -> Result<Tensor> {
    let (_, clean_cache) = model.run_with_hooks(clean, HookPlan::new().capture("z"))?;
    let (_, corrupted_cache) = model.run_with_hooks(corrupted, HookPlan::new().capture("z"))?;
    let mut plan = HookPlan::new();
    for layer in 0..model.cfg().n_layers {
        plan = plan.edit(("z", layer), Edit::replace(clean_cache.get(("z", layer))?));
    }
    let sent = corrupted_cache.get(("z", sender.layer))?.i((.., .., sender.head))?;
    plan = plan.edit(("z", sender.layer), Edit::replace(sent).head(sender.head));
    Ok(model.run_with_hooks(clean, plan)?.0)
}

fn path_patch_to_heads(
    model: &HookedTransformer,
    clean: &Tokens,
    corrupted: &Tokens,
    sender: Head,
    receivers: &[Head],
    input: &str,
) -> Result<Tensor> {
    let (_, clean_cache) = model.run_with_hooks(clean, HookPlan::new().capture("z"))?;
    let (_, corrupted_cache) = model.run_with_hooks(corrupted, HookPlan::new().capture("z"))?;
    let mut frozen = HookPlan::new().capture(input);
    for layer in 0..model.cfg().n_layers {
        frozen = frozen.edit(("z", layer), Edit::replace(clean_cache.get(("z", layer))?));
    }
    let sent = corrupted_cache.get(("z", sender.layer))?.i((.., .., sender.head))?;
    frozen = frozen.edit(("z", sender.layer), Edit::replace(sent).head(sender.head));
    let (_, heard) = model.run_with_hooks(clean, frozen)?;
    let mut plan = HookPlan::new();
    for receiver in receivers {
        let read = heard.get((input, receiver.layer))?.i((.., .., receiver.head))?;
        plan = plan.edit((input, receiver.layer), Edit::replace(read).head(receiver.head));
    }
    Ok(model.run_with_hooks(clean, plan)?.0)
}

fn donor(ids: &[u32], names: (usize, usize), s2: usize, token: u32, keeps_position: bool) -> Result<Vec<u32>> {
    let subject = ids[s2];
    let (s1, io) = if ids[names.0] == subject { names } else { (names.1, names.0) };
    // Where IO becomes the subject, the subject becomes the other name.
    let other = if token == ids[io] { subject } else { ids[io] };
    let (token_at, other_at) = if keeps_position { (s1, io) } else { (io, s1) };
    let mut donor = ids.to_vec();
    donor[token_at] = token;
    donor[other_at] = other;
    donor[s2] = token;
    Ok(donor)
}

fn position_or_token(
    model: &HookedTransformer,
    clean: &Tokens,
    answers: &Answers,
    names: (usize, usize),
    s2: usize,
    thirds: &[u32],
    layer: usize,
) -> Result<Tensor> {
    let (io, subject) = (answers.correct(), answers.incorrect());
    let mut results = Vec::new();
    for tokens in [&subject[..], &io[..], thirds] {
        for keeps_position in [true, false] {
            let mut rows = Vec::new();
            for (row, &token) in tokens.iter().enumerate() {
                rows.push(donor(&clean.row(row), names, s2, token, keeps_position)?);
            }
            let stream = HookPlan::new().capture(("resid_pre", layer));
            let (_, cache) = model.run_with_hooks(Tokens::from_rows(rows)?, stream)?;
            let put_in = Edit::replace(cache.get(("resid_pre", layer))?.i((.., s2))?).pos(s2);
            let (logits, _) = model.run_with_hooks(clean, HookPlan::new().edit(("resid_pre", layer), put_in))?;
            results.push(answers.logit_diff(&logits, clean)?.mean() as f32);
        }
    }
    Ok(Tensor::from_vec(results, (3, 2), &Device::Cpu)?)
}

fn copying_scores(model: &HookedTransformer, names: &[u32], k: usize) -> Result<Tensor> {
    let cfg = model.cfg();
    let rows = Tokens::from_rows(names.iter().map(|&id| vec![id]).collect())?;
    let (_, cache) = model.run_with_hooks(&rows, HookPlan::new().capture(("embed", ("mlp_out", 0))))?;
    let read = (cache.get("embed")? + cache.get(("mlp_out", 0))?)?;
    let among = |places: &Tensor| -> Result<f32> {
        let rows = places.to_vec2::<u32>()?;
        let hits = rows.iter().zip(names).filter(|(places, id)| places.contains(id)).count();
        Ok(hits as f32 / names.len() as f32)
    };
    let (mut copying, mut negative) = (Vec::new(), Vec::new());
    for layer in 0..cfg.n_layers {
        for head in 0..cfg.n_heads {
            let (v, o) = (model.W_V()?.i((layer, head))?, model.W_O()?.i((layer, head))?);
            let written = einsum("n p d, d h, h m -> n p m", &[&read, &v, &o])?;
            // The model itself applies its final norm and its unembedding to what the head writes.
            let plan = HookPlan::new().edit(("resid_post", -1), Edit::replace(written));
            let logits = model.run_with_hooks(&rows, plan)?.0.squeeze(1)?;
            copying.push(among(&logits.top_k(k)?.1)?);
            negative.push(among(&logits.neg()?.top_k(k)?.1)?);
        }
    }
    Ok(Tensor::from_vec([copying, negative].concat(), (2, cfg.n_layers, cfg.n_heads), &Device::Cpu)?)
}

fn early_heads(cache: &ActivationCache, seq_len: usize) -> Result<Tensor> {
    let (mut previous, mut duplicate, mut induction) = (Vec::new(), Vec::new(), Vec::new());
    let back = seq_len as isize;
    for layer in 0..cache.dims().n_layers {
        let pattern = cache.get(("pattern", layer))?;
        previous.push(pattern.diagonal(-1)?.mean((0, 2))?);
        // From query seq_len + 1 on: the second half, behind the BOS and the first.
        duplicate.push(pattern.diagonal(-back)?.narrow(2, 1, seq_len)?.mean((0, 2))?);
        induction.push(pattern.diagonal(1 - back)?.narrow(2, 2, seq_len)?.mean((0, 2))?);
    }
    let kinds = [Tensor::stack(&previous, 0)?, Tensor::stack(&duplicate, 0)?, Tensor::stack(&induction, 0)?];
    Ok(Tensor::stack(&kinds, 0)?)
}
