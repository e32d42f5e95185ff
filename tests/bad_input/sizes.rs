//! Every public function that takes a size, an index or a file's word for one, given the worst of them where little memory is
//! to be had: each gives a sentence or something valid. An allocation that fails ends the process, and with it all variables
//! of a notebook, so the cases run in a process of their own.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use candle_lens::candle::{DType, Device, Tensor};
use candle_lens::dims::Dims;
use candle_lens::hooks::HookQuery;
use candle_lens::prelude::*;
use candle_lens::random::Random;
use candle_lens::tasks::{Split, repeated};
use candle_lens::{Error, Result};

use super::sizes_in_files;
use crate::support::fixture::tiny_gpt2;
use crate::support::sentence::sentence;

const CHILD: &str = "CANDLE_LENS_SMALL_SPACE";

/// How much address space the cases have, in kilobytes.
const SPACE: &str = "6000000";

#[test]
#[cfg_attr(
    not(target_os = "linux"),
    ignore = "needs Linux, which limits a process's address space, so that a wrong size ends it at once"
)]
fn nothing_ends_the_process() {
    let own = std::env::current_exe().expect("a test is a file");
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {SPACE} && exec \"$0\" \"$@\"")])
        .arg(own)
        .args(["--exact", "bad_input::sizes::in_a_small_space", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        // Each thread has some address space of its own, however little of it it uses.
        .env("RAYON_NUM_THREADS", "2")
        .env("MALLOC_ARENA_MAX", "2")
        .output()
        .expect("a shell runs");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{}: {said}", output.status);
    assert!(said.contains("1 passed") && said.contains("cases in a small space"), "it did not run: {said}");
}

/// The cases themselves.
#[test]
#[ignore = "started by the test above, in a process of its own"]
fn in_a_small_space() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let mut cases = Cases::default();
    let model = HookedTransformer::from_pretrained("tiny").expect("it is embedded");
    plain_sizes(&mut cases);
    plans(&mut cases, &model);
    analyses(&mut cases, &model);
    experiments(&mut cases, &model);
    circuits(&mut cases, &model);
    texts(&mut cases, &model);
    figures(&mut cases, &model);
    sizes_in_files::configs(&mut cases);
    sizes_in_files::checkpoints(&mut cases);
    sizes_in_files::saved(&mut cases, &model);
    println!("{} cases in a small space, {} refused", cases.tried, cases.refused);
    assert!(cases.failures.is_empty(), "{} failed: {:#?}", cases.failures.len(), cases.failures);
    assert!(cases.tried > 300 && cases.refused > 150);
}

pub(super) const SIZES: [usize; 6] = [0, 1, 1 << 32, 1_000_000_000_000, isize::MAX as usize, usize::MAX];
const INDICES: [isize; 6] = [isize::MIN, isize::MIN + 1, -1, 1 << 40, isize::MAX - 1, isize::MAX];

/// Cases that were tried; what failed is told at the end, all of it.
#[derive(Default)]
pub(super) struct Cases {
    tried: usize,
    refused: usize,
    failures: Vec<String>,
}

impl Cases {
    /// Runs one case: a sentence, or something that can be shown.
    pub(super) fn run<T>(&mut self, what: &str, case: impl FnOnce() -> Result<T>) {
        let refused = self.attempt(what, || case().err().map(|error| sentence(Err::<(), Error>(error), &[])).is_some());
        self.refused += usize::from(refused);
    }

    /// As [`Cases::run`], of what must be refused, with these parts of a sentence.
    pub(super) fn refuse<T>(&mut self, what: &str, case: impl FnOnce() -> Result<T>, parts: &[&str]) {
        let refused = self.attempt(what, || !sentence(case(), parts).is_empty());
        self.refused += usize::from(refused);
    }

    fn attempt(&mut self, what: &str, case: impl FnOnce() -> bool) -> bool {
        self.tried += 1;
        // Told before it is tried: what ends the process cannot be told afterwards.
        println!("case: {what}");
        catch_unwind(AssertUnwindSafe(case)).unwrap_or_else(|why| {
            let said = why.downcast_ref::<String>().map(String::as_str).or(why.downcast_ref::<&str>().copied());
            self.failures.push(format!("{what}: {}", said.unwrap_or("a panic")));
            false
        })
    }
}

pub(super) const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";
pub(super) const OTHER: &str = "When John and Mary went to the shops, Mary gave the bag to";

fn plain_sizes(cases: &mut Cases) {
    for size in SIZES {
        for slice in [Slice::All, (1..).into(), (0..size).into(), size.into(), vec![size].into()] {
            cases.run(&format!("{slice} of {size}"), || slice.indices(size, "position"));
            cases.run(&format!("{slice} of 5"), || slice.indices(5, "position"));
        }
        for index in INDICES {
            cases.run(&format!("{index} of {size}"), || candle_lens::slice::absolute(index, size, "head"));
        }
        cases.run(&format!("rule of {size}"), || Quadrature::GaussLegendre.nodes(size));
        for task in Task::ALL {
            cases.run(&format!("{task} of {size}"), || task.prompts(Split::Train, size, 0));
        }
        let mut random = Random::new(0);
        cases.run(&format!("repeated {size}"), || repeated::repeated_tokens(&[1, 2, 3], 0, size, size, &mut random));
    }
    // An index too large for an axis is outside it, never its last one counted from the end.
    cases.refuse("the last of 5", || Slice::from(usize::MAX).indices(5, "head"), &["head"]);
    let scores =
        Labelled::new("scores", vec![Axis::new("token", [" a", " b", " a"])], vec![1., 2., 3.]).expect("three");
    for index in INDICES {
        cases.run(&format!("at {index}"), || scores.at(&[index]));
        cases.run(&format!("select {index}"), || scores.select("token", index));
    }
    cases.run("top of all", || Ok((scores.top(usize::MAX), scores.bottom(usize::MAX))));
    cases.refuse("surplus labels", || scores.get(&[" b", "x", "no such axis"]), &["3 labels", "token"]);
    cases.refuse("an ambiguous label", || scores.get(&[" a"]), &["at 0 and at 2", "select"]);
    cases.run("one label", || scores.get(&[" b"]));
    let numbered = catch_unwind(|| Axis::numbered("layer", usize::MAX));
    assert!(numbered.is_err(), "a panic, as documented, and no more than that");
    let matrix = Tensor::ones((2, 3), DType::F32, &Device::Cpu).expect("six numbers");
    let factored = FactoredMatrix::new(&matrix, &matrix.t().expect("a matrix")).expect("they fit");
    for size in SIZES {
        cases.run(&format!("corner {size}"), || factored.get_corner(size));
        cases.run(&format!("unsqueeze {size}"), || factored.unsqueeze(size));
        cases.run(&format!("rows {size}"), || factored.rows(size)?.cols(size));
    }
}

fn plans(cases: &mut Cases, model: &HookedTransformer) {
    let dims = model.dims();
    for size in SIZES {
        let plan = HookPlan::new().capture("pattern").capture_all().watch("z");
        for (batch, pos) in [(size, 1), (1, size), (size, size)] {
            for plan in [plan.clone(), plan.clone().pos(-1), plan.clone().pos(..)] {
                cases.run(&format!("memory of {batch} x {pos}"), || plan.memory(&dims, batch, pos, DType::F32));
            }
        }
        for sizes in [
            Dims { n_layers: size, ..dims },
            Dims { n_heads: size, d_head: size, ..dims },
            Dims { d_model: size, d_mlp: size, d_vocab_out: size, ..dims },
        ] {
            cases.run(&format!("a plan for {size}"), || HookPlan::new().capture_all().memory(&sizes, 2, 3, DType::F32));
            cases.run(&format!("names of {size}"), || HookQuery::from("z").resolve_all(&sizes));
            cases.run(&format!("points of {size}"), || Ok(HookPoint::all(&sizes)));
            for index in INDICES {
                cases.run(&format!("layer {index} of {size}"), || sizes.layer(index));
            }
        }
        for plan in [
            HookPlan::new().edit(("z", size), Edit::zero()),
            HookPlan::new().edit(HookPoint::Block(size, Site::Z), Edit::zero()),
            HookPlan::new().edit(("z", 0), Edit::zero().head(size)),
            HookPlan::new().edit(("z", 0), Edit::zero().pos(size..).batch(size)),
            HookPlan::new().edit(("attn_scores", 0), Edit::knock_out().pos(0..size).key_pos(size)),
            HookPlan::new().capture("z").pos(size).budget(size as u64),
        ] {
            cases.run(&format!("{plan} with {size}"), || model.run_with_hooks(PROMPT, &plan));
        }
    }
    let last = HookPlan::new().edit(("z", usize::MAX), Edit::zero());
    cases.refuse("not the last layer", || model.run_with_hooks(PROMPT, &last), &["layer"]);
    let last = HookPlan::new().edit(("z", 0), Edit::zero().head(usize::MAX));
    cases.refuse("not the last head", || model.run_with_hooks(PROMPT, &last), &["head"]);
    let long = "q".repeat(300_000);
    cases.refuse("a long name", || HookQuery::from(long.as_str()).resolve(&dims), &["nearest"]);
    cases.refuse("a long model", || HookedTransformer::from_pretrained(format!("{long} ")), &["nearest"]);
}

fn analyses(cases: &mut Cases, model: &HookedTransformer) {
    let (logits, cache) = model.run_with_cache(PROMPT).expect("tiny runs");
    for size in SIZES {
        cases.run(&format!("induction {size}"), || {
            induction_scores(model, RepeatOptions { seq_len: size, batch: 1, seed: 0 })
        });
        cases.run(&format!("induction batch {size}"), || {
            induction_scores(model, RepeatOptions { seq_len: 3, batch: size, seed: 0 })
        });
        cases.run(&format!("copying {size}"), || copying_scores(model, [" Mary"], size));
        cases.run(&format!("singular {size}"), || singular_vectors(model, SingularOf::WOut, 0, size));
        cases.run(&format!("lens {size}"), || logit_lens(model, &cache, LensOptions { k: size, ..Default::default() }));
        let neurons = Stack::neurons().only(size);
        cases.run(&format!("neurons {size}"), || cache.stack_neuron_results(model, neurons.clone()));
        cases.run(&format!("context {size}"), || {
            let load = LoadOptions { n_ctx: Some(size), first_n_layers: Some(size), ..Default::default() };
            HookedTransformer::from_pretrained_with("tiny", load)
        });
    }
    for index in INDICES {
        cases.run(&format!("singular at {index}"), || singular_vectors(model, SingularOf::Ov(index), index, 1));
        cases.run(&format!("a stack at {index}"), || cache.stack_activation("z", index));
        cases.run(&format!("bias before {index}"), || model.accumulated_bias(ReadBy::Block(index), Biases::Attention));
        let decompose = Stack::components().before(index).pos(index);
        cases.run(&format!("decompose {index}"), || cache.decompose_resid(decompose.clone()));
        let heads = Stack::heads().before(index);
        cases.run(&format!("heads {index}"), || cache.stack_head_results(model, heads.clone()));
        let accumulated = Stack::accumulated().before(index);
        cases.run(&format!("accumulated {index}"), || cache.accumulated_resid(accumulated.clone()));
        cases.run(&format!("one of a factored matrix {index}"), || model.OV()?.get(&[index, index]));
        let from = RunOptions { stop_at_layer: Some(index), ..Default::default() };
        cases.run(&format!("stop at {index}"), || model.run(PROMPT, HookPlan::new(), &from));
        let resid = cache.get(("resid_pre", 0)).expect("it was kept");
        let from = RunOptions { start_at_layer: Some((index, resid)), ..Default::default() };
        cases.run(&format!("start at {index}"), || model.run(PROMPT, HookPlan::new(), &from));
    }
    let ids = [0, u32::MAX];
    cases.run("ids", || model.to_string(ids));
    cases.run("rows of ids", || model.forward(vec![u32::MAX]));
    cases.run("targets", || candle_lens::model::ops::cross_entropy(&logits.flatten_to(1)?, &[u32::MAX]));
}

fn experiments(cases: &mut Cases, model: &HookedTransformer) {
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John")]).expect("both are tokens"));
    let patching = Experiment::new(model, PROMPT, OTHER, metric.clone()).expect("two prompts that differ");
    let zero = Experiment::new(model, PROMPT, Baseline::Zero, metric.clone()).expect("a prompt");
    for size in SIZES {
        let index = isize::try_from(size).unwrap_or(isize::MAX);
        let receivers =
            [Receiver::Q(index, 0), Receiver::K(0, -index), Receiver::V(index, index), Receiver::Mlp(index)];
        for receiver in receivers {
            cases.run(&format!("{receiver:?}"), || patching.path_patch_head_to_heads(&[receiver]));
            let senders = [Sender::Head(index, index), Sender::Mlp(-index)];
            cases.run(&format!("from {senders:?}"), || patching.path_patch(&senders, &[receiver], Mlps::Frozen));
        }
        cases.run(&format!("budget {size}"), || {
            patching.clone().budget(size as u64).sites(&[PatchSite::new(model, "z0")?])
        });
        cases.run(&format!("site {size}"), || {
            let site = PatchSite::new(model, ("pattern", 0))?;
            patching
                .sites(&[site.pos(size).head(size).key_pos(size), PatchSite::new(model, ("post", size))?.neuron(size)])
        });
        cases.run(&format!("groups {size}"), || {
            let groups = Baseline::MeanByGroup(vec![size, size]);
            Experiment::new(model, [PROMPT, OTHER], groups, metric.clone())?.sites(&[PatchSite::new(model, "z0")?])
        });
        if size > 1 {
            let options = IgOptions { steps: size, ..Default::default() };
            cases.run(&format!("steps {size}"), || zero.integrated_gradients(["z"], options.clone()));
        }
        let options = IgOptions { steps: 1, tokens_at_once: size, ..Default::default() };
        cases.run(&format!("tokens at once {size}"), || zero.integrated_gradients(["z"], options.clone()));
    }
    cases.refuse("a receiver", || patching.path_patch_head_to_heads(&[Receiver::Q(isize::MAX, 0)]), &["layer"]);
    cases.refuse("no receiver", || patching.path_patch_head_to_heads(&[]), &["receivers"]);
}

fn circuits(cases: &mut Cases, model: &HookedTransformer) {
    let circuit = Circuit::of(model);
    for size in SIZES {
        cases.run(&format!("top {size}"), || circuit.topn(size, RankBy::Magnitude));
        cases.run(&format!("greedy {size}"), || circuit.greedy_each(&[size, 1], RankBy::Magnitude));
        cases.run(&format!("edge {size}"), || circuit.without(format!("a{size}.h{size}->logits").as_str()));
    }
    for index in INDICES {
        for node in [Node::Head(index, 0), Node::Head(0, index), Node::Mlp(index)] {
            cases.run(&format!("without {node}"), || circuit.without_nodes(&[node]));
        }
        cases.run(&format!("edge {index}"), || circuit.without(format!("a{index}.h{index}->logits").as_str()));
    }
}

fn texts(cases: &mut Cases, model: &HookedTransformer) {
    let all = model.generate(PROMPT, GenerateOptions { max_new_tokens: usize::MAX, ..Default::default() });
    let all = all.expect("as many as fit");
    let eos = model.tokenizer().expect("tiny has one").eos_id();
    let row = all.tokens().expect("a row");
    assert!(row.pos() == model.cfg().n_ctx || all.new_tokens()[0].last().copied() == eos, "{row:?}");
    let on = GenerateOptions { max_new_tokens: usize::MAX, stop_at_eos: false, ..Default::default() };
    let whole = model.generate(PROMPT, &on).expect("as many as fit").tokens().expect("a row");
    assert_eq!(whole.pos(), model.cfg().n_ctx, "the text goes on to the end of the context");
    cases.refuse("a text that is full", || model.generate(whole.clone(), &on), &["n_ctx"]);
    for size in SIZES {
        for sampling in [Sampling::Greedy, Sampling::temperature(1.).top_k(size)] {
            let options = GenerateOptions { max_new_tokens: size, sampling, ..Default::default() };
            cases.run(&format!("generate {size}"), || model.generate(PROMPT, &options));
        }
        let options =
            GenerateOptions { max_new_tokens: 2, sampling: Sampling::Greedy.top_k(size), ..Default::default() };
        cases.run(&format!("top_k {size}"), || model.generate(PROMPT, &options));
        cases.run(&format!("batches of {size}"), || Task::Sva.prompts(Split::Train, 4, 0)?.batches(model, size));
        cases.run(&format!("head of {size}"), || Ok(Task::Sva.prompts(Split::Train, 4, 0)?.head(size)));
    }
    // Parts of a tokenizer that its crate loads and then panics at, and one that would fill any memory.
    let json = fs::read_to_string(tiny_gpt2().join("tokenizer.json")).expect("the fixture is there");
    let with = |part: &str, value: serde_json::Value| {
        let mut json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        json[part] = value;
        json.to_string().into_bytes()
    };
    let one: serde_json::Value = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
    let many = serde_json::json!({"type": "Sequence", "normalizers": vec![one; 40]});
    cases.refuse("a normalizer that explodes", || Tokenizer::from_bytes(&with("normalizer", many)), &["long"]);
    let parts = [
        ("pre_tokenizer", serde_json::json!({"type": "FixedLength", "length": 0})),
        ("decoder", serde_json::json!({"type": "Strip", "content": "t", "start": 9, "stop": 9})),
        ("decoder", serde_json::json!({"type": "Strip", "content": "t", "start": usize::MAX, "stop": usize::MAX})),
        ("decoder", serde_json::json!({"type": "CTC", "pad_token": "", "word_delimiter_token": "", "cleanup": true})),
    ];
    for (part, value) in parts {
        let bytes = with(part, value.clone());
        cases.run(&format!("{value}"), || {
            let tokenizer = Tokenizer::from_bytes(&bytes)?;
            let tokens = tokenizer.to_tokens_with(["the then", "the"], Bos::Omit)?;
            tokenizer.to_strings(&tokens)
        });
    }
}

fn figures(cases: &mut Cases, model: &HookedTransformer) {
    let (_, cache) = model.run_with_cache(PROMPT).expect("tiny runs");
    for size in SIZES {
        cases.run(&format!("line of width {size}"), || line([1., 2.]).width(size).height(size).to_json());
        cases.run(&format!("picture of width {size}"), || line([1., 2.]).width(size).to_png());
        cases.run(&format!("hist of {size}"), || hist([1., 2.]).bins(size).to_json());
        let plan = HookPlan::new().capture_all().memory(&model.dims(), 1, size, DType::F32);
        cases.run("a plan shown", || plan?.show());
        cases.run(&format!("heads in {size}"), || {
            Page::new().with(&attention_heads(model, (&cache, 0)).max_bytes(size))
        });
    }
}
