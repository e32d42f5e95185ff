//! How long long work on a real model is silent: the lines of progress of each analysis of SmolLM2, timed from outside.
//!
//! `cargo run --release --example silences [NAME..]`; `cargo lab fetch smollm2` fetches the model. The program starts itself again, with its
//! stderr in a pipe as under evcxr, and notes when each line arrives. Work of more than three seconds must have said something within
//! three, and is silent for no longer than ten seconds or a tenth of the time so far.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use candle_lens::prelude::*;
use candle_lens::tasks::Split;
use candle_lens::{Error, Result};

/// The beginning of the lines by which the two processes agree.
const NOTE: &str = "silences: ";

/// Set for the process that works.
const WORKS: &str = "CANDLE_LENS_SILENCES";

/// In seconds: by when the first line has come; the longest silence; what a busy machine may add.
const FIRST: f64 = 3.;
const SILENCE: f64 = 10.;
const BUSY: f64 = 1.;

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

fn main() -> Result<()> {
    match std::env::var_os(WORKS) {
        Some(_) => work(),
        None => watch(),
    }
}

/// What one piece of work said.
struct Heard {
    name: String,
    began: Instant,
    lines: Vec<f64>,
}

impl Heard {
    /// A row of the table, and whether the work was silent for too long.
    fn row(&self) -> (String, bool) {
        let whole = self.began.elapsed().as_secs_f64();
        let times: Vec<f64> = [0.].into_iter().chain(self.lines.iter().copied()).chain([whole]).collect();
        let silence = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0., f64::max);
        let late = times.windows(2).any(|pair| pair[1] - pair[0] > SILENCE.max(pair[0] / 10.) + BUSY);
        let first = self.lines.first().copied().unwrap_or(whole);
        let row = format!("{:<40} {whole:>8.1} {first:>8.1} {:>6} {silence:>8.1}", self.name, self.lines.len());
        (row, late || first > FIRST + BUSY)
    }
}

fn watch() -> Result<()> {
    let failed = |error: std::io::Error| Error::argument(format!("this program cannot start itself again: {error}."));
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(std::env::args().skip(1)).env(WORKS, "1").env("EVCXR_IS_RUNTIME", "1").stderr(Stdio::piped());
    let mut child = command.spawn().map_err(failed)?;
    let said = child.stderr.take().map(BufReader::new);
    println!("{:<40} {:>8} {:>8} {:>6} {:>8}", "work", "seconds", "first", "lines", "silence");
    let (mut heard, mut silent): (Option<Heard>, Vec<String>) = (None, Vec::new());
    for line in said.into_iter().flat_map(BufRead::lines) {
        let line = line.map_err(failed)?;
        let Some(note) = line.strip_prefix(NOTE) else {
            match &mut heard {
                Some(heard) if line.contains('⏳') => heard.lines.push(heard.began.elapsed().as_secs_f64()),
                _ => eprintln!("{line}"),
            }
            continue;
        };
        if let Some(heard) = heard.take() {
            let (row, is_silent) = heard.row();
            println!("{row}{}", if is_silent { "  too long" } else { "" });
            silent.extend(is_silent.then_some(heard.name));
        }
        heard = (!note.is_empty()).then(|| Heard { name: note.into(), began: Instant::now(), lines: Vec::new() });
    }
    let status = child.wait().map_err(failed)?;
    match silent.is_empty() && status.success() {
        true => Ok(()),
        false => Err(Error::argument(format!("{status}; silent for too long: {}.", silent.join(", ")))),
    }
}

/// Does one piece of work between two notes, if it was asked for.
fn timed<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).collect();
    if asked.is_empty() || asked.iter().any(|asked| name.contains(asked.as_str())) {
        eprintln!("{NOTE}{name}");
        let result = work();
        eprintln!("{NOTE}");
        result?;
    }
    Ok(())
}

fn work() -> Result<()> {
    timed("loading", || HookedTransformer::from_pretrained("smollm2"))?;
    let model = HookedTransformer::from_pretrained("smollm2")?;
    let corrupted = PROMPT.replace(", John", ", Mary");
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John"); 8])?);
    let experiment = Experiment::new(&model, vec![PROMPT; 8], vec![corrupted.as_str(); 8], metric.clone())?;
    timed("270 heads", || experiment.get_act_patch_attn_head_out_all_pos())?;
    timed("residual stream by position", || experiment.get_act_patch_resid_pre())?;
    let of_one = Metric::logit_diff(&model.answers([(" Mary", " John")])?);
    let one = Experiment::new(&model, PROMPT, corrupted.as_str(), of_one.clone())?;
    timed("path patching to the end", || one.path_patch_head_to_final_resid_post())?;
    timed("path patching to heads", || one.path_patch_head_to_heads(&[Receiver::Q(20, 0), Receiver::K(21, 1)]))?;
    timed("attribution patching", || experiment.attribution(("z", "post")))?;
    timed("AtP*", || one.attribution_with(("q", "z"), AttributionOptions::ATP_STAR))?;
    timed("integrated gradients", || one.integrated_gradients(["z"], IgOptions { steps: 10, ..Default::default() }))?;
    let edges = experiment.edges()?;
    for (name, method) in [("EAP", EdgeMethod::Eap), ("EAP-IG", EdgeMethod::EapIgInputs { steps: 5 })] {
        timed(name, || edges.attribute(method))?;
    }
    timed("faithfulness curve", || {
        edges.curve(&edges.attribute(EdgeMethod::Eap)?.topn_each(&[100, 1000, 3000], RankBy::Magnitude)?)
    })?;
    let text = GenerateOptions { max_new_tokens: 60, stop_at_eos: false, ..Default::default() };
    timed("generating", || model.generate(PROMPT, &text))?;
    let (_, cache) = model.run_with_cache(vec![PROMPT; 32])?;
    timed("logit lens of every component", || logit_lens(&model, &cache, LensOptions::default()))?;
    timed("composition scores", || model.all_composition_scores(Composition::K))?;
    timed("induction scores", || induction_scores(&model, RepeatOptions { batch: 8, ..Default::default() }))?;
    timed("steering", || {
        let vector = SteeringVector::new(&model, ("resid_post", 10), &Random::new(1).normal(576)?)?;
        experiment.steering_sweep(&Steering::add([vector], 1), [0.5, 1., 2.])
    })?;
    fitted(&model)?;
    dictionaries(&model)
}

fn fitted(model: &HookedTransformer) -> Result<()> {
    let texts: Vec<String> =
        Task::Sva.prompts(Split::Train, 96, 0)?.prompts.into_iter().map(|prompt| prompt.clean).collect();
    timed("fitting a Jacobian lens", || {
        let stored = HookedTransformer::from_pretrained_no_processing("smollm2")?;
        JacobianLens::fit(&stored, PROMPT, JacobianOptions { first: 2, ..Default::default() })
    })?;
    let labels: Vec<bool> = (0..96).map(|at| at % 2 == 0).collect();
    let split = ProbeSplit::stratified(&labels, 0.3, 0)?;
    let end = [("end", Positions::Last)];
    timed("probes", || model.probe_sweep(&texts, "resid_post", end, &labels, &split, ProbeMethod::default()))?;
    let of = |noun: &str| -> Vec<String> {
        (0..64).map(|at| format!("The {noun}{} near the keys", if at % 2 == 0 { "" } else { "s" })).collect()
    };
    timed("interchange by DAS", || {
        let answers = (0..64).map(|at| if at % 2 == 0 { " is" } else { " are" });
        let pairs = Interchange::new(model, of("author"), of("doctor"), answers)?;
        let options = DasOptions { epochs: 1, batch_size: 16, ..Default::default() };
        pairs.sweep(&pairs, [("resid_post", 15)], options)
    })
}

fn dictionaries(model: &HookedTransformer) -> Result<()> {
    let w_dec = Random::new(2).normal((16_384, 576))?;
    let zeros = |size: usize| Tensor::zeros(size, DType::F32, &Device::Cpu);
    let dictionary = Dictionary::new(DictionaryParts {
        name: "random".into(),
        w_enc: w_dec.t()?.contiguous()?,
        b_enc: zeros(16_384)?,
        w_dec,
        b_dec: zeros(576)?,
        b_in: None,
        w_skip: None,
        activation: Activation::TopK { k: 32 },
        input_norm: InputNorm::None,
        scaled_by_decoder_norm: false,
        expects: Expects::at("resid_post15".parse()?),
    })?;
    timed("training a dictionary", || {
        let x = Random::new(3).normal((1024, 576))?;
        let recipe = Recipe { d_sae: 4096, steps: 60, ..Recipe::default() };
        let mut trainer = DictionaryTrainer::autoencoder(recipe, &x)?;
        let mut progress = Progress::new("training", 60, "steps");
        (0..60).try_for_each(|_| trainer.step(&x, &x).and_then(|_| progress.step(1)))
    })?;
    let texts = || vec![PROMPT; 64];
    timed("evaluating a dictionary", || model.evaluate_dictionaries(&dictionary, texts(), ScoreOptions::default()))?;
    timed("examples of features", || {
        model.feature_examples(&dictionary, 0..1000, vec![PROMPT; 128], ExampleOptions::default())
    })?;
    timed("features of two dictionaries", || {
        model.shared_features(&dictionary, &dictionary, FeatureDirections::Decoders)
    })
}
