//! How rows are run: all of them by criterion, or one of them for a comparison.

use std::env;
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_lens::prelude::*;
use criterion::Criterion;
use serde_json::{Value, json};

use crate::growth;

/// A result that has not come within this time is not computed a second time, and no new repetition begins behind it.
const LONG: Duration = Duration::from_secs(5);
const REPETITIONS: usize = 5;

/// What this process was asked for by its environment.
pub enum Bench {
    /// Every row that criterion's arguments choose.
    All(Box<Criterion>),
    /// `CANDLE_LENS_BENCH_ROW` names one, and the folder `CANDLE_LENS_BENCH_CASES` gets its inputs (`ROW.inputs.json`) and its seconds
    /// with what came out (`ROW.ours.json`).
    One { name: String, folder: PathBuf, is_done: bool },
    /// `CANDLE_LENS_BENCH_LIST`: the names of all rows, one a line.
    List,
    /// `CANDLE_LENS_BENCH_WRITE`: only the random model is written, into that folder, for peers to read.
    Write(PathBuf),
    /// `CANDLE_LENS_BENCH_PLOT`: only the growth that the folder's results tell is drawn, into that file.
    Plot(PathBuf, PathBuf),
}

impl Bench {
    pub fn asked() -> candle_lens::Result<Self> {
        if let Some(folder) = env::var_os("CANDLE_LENS_BENCH_WRITE") {
            return Ok(Self::Write(folder.into()));
        }
        if env::var_os("CANDLE_LENS_BENCH_LIST").is_some() {
            return Ok(Self::List);
        }
        if let Some(folder) = env::var_os("CANDLE_LENS_BENCH_CASES").map(PathBuf::from) {
            if let Some(file) = env::var_os("CANDLE_LENS_BENCH_PLOT") {
                return Ok(Self::Plot(folder, file.into()));
            }
            if let Ok(name) = env::var("CANDLE_LENS_BENCH_ROW") {
                return Ok(Self::One { name, folder, is_done: false });
            }
        }
        let criterion = Criterion::default().sample_size(10).warm_up_time(Duration::from_secs(1));
        Ok(Self::All(Box::new(criterion.measurement_time(LONG).configure_from_args())))
    }

    /// Whether a row is wanted, so that what it needs is made only then.
    pub fn wants(&self, row: &str) -> bool {
        match self {
            Self::All(_) | Self::List => true,
            Self::One { name, .. } => name == row,
            Self::Write(_) | Self::Plot(..) => false,
        }
    }

    /// Whether nothing is left to do.
    pub fn is_done(&self) -> bool {
        matches!(self, Self::One { is_done: true, .. } | Self::Write(_) | Self::Plot(..))
    }

    /// A row: `inputs` is what a peer needs besides the model, `work` is what is timed and `values` makes of its result what is compared.
    pub fn row<T>(
        &mut self,
        row: &str,
        inputs: Value,
        mut work: impl FnMut() -> candle_lens::Result<T>,
        values: impl FnOnce(&T) -> candle_lens::Result<Value>,
    ) -> candle_lens::Result<()> {
        match self {
            Self::All(criterion) => {
                criterion.bench_function(row, |bencher| bencher.iter(|| work().expect("the row's work")));
            }
            Self::List => println!("{row}"),
            Self::One { name, folder, is_done } if name == row => {
                write(&folder.join(format!("{row}.inputs.json")), &inputs)?;
                let (seconds, result) = timed(&mut work)?;
                let found = json!({ "seconds": seconds, "values": values(&result)? });
                write(&folder.join(format!("{row}.ours.json")), &found)?;
                *is_done = true;
            }
            Self::One { .. } | Self::Write(_) | Self::Plot(..) => {}
        }
        Ok(())
    }

    pub fn end(self) -> candle_lens::Result<()> {
        match self {
            Self::All(criterion) => criterion.final_summary(),
            Self::Write(folder) => {
                model()?.save_pretrained(folder)?;
            }
            Self::Plot(folder, file) => growth::plot(&folder, &file)?,
            Self::One { name, is_done: false, .. } => {
                return Err(candle_lens::Error::argument(format!("there is no row {name} of this model.")));
            }
            Self::One { .. } | Self::List => {}
        }
        Ok(())
    }
}

/// The model that is measured: a real one, its weights as they are, or GPT-2 small's shapes.
pub fn model() -> candle_lens::Result<HookedTransformer> {
    match real_model() {
        Some(name) => {
            let options = LoadOptions { dtype: dtype(), processing: Some(Processing::NONE), ..Default::default() };
            HookedTransformer::from_pretrained_with(name, options)
        }
        None => {
            // Read from files, as models are that people work with: weights that were trainable once are multiplied more slowly.
            let folder = env::temp_dir().join("candle-lens-bench-model");
            let (model, _) = HookedTransformer::trainable(HookedTransformerConfig::default(), 0, &Device::Cpu)?;
            model.save_pretrained(&folder)?;
            drop(model);
            HookedTransformer::from_pretrained_no_processing(folder.to_string_lossy())
        }
    }
}

/// The folder or file of the real model that is measured, if one is.
pub fn real_model() -> Option<String> {
    env::var("CANDLE_LENS_BENCH_MODEL").ok()
}

/// The dtype of its weights: `CANDLE_LENS_BENCH_DTYPE`.
fn dtype() -> DType {
    match env::var("CANDLE_LENS_BENCH_DTYPE").as_deref() {
        Ok("f16") => DType::F16,
        Ok("bf16") => DType::BF16,
        _ => DType::F32,
    }
}

/// The seconds of each repetition, without a first one that is short enough to be left out, and the last result.
fn timed<T>(work: &mut impl FnMut() -> candle_lens::Result<T>) -> candle_lens::Result<(Vec<f64>, T)> {
    let mut once = || {
        let begin = Instant::now();
        work().map(|result| (begin.elapsed(), black_box(result)))
    };
    let (first, mut result) = once()?;
    if first > LONG {
        return Ok((vec![first.as_secs_f64()], result));
    }
    let (mut seconds, begin) = (Vec::new(), Instant::now());
    while seconds.len() < REPETITIONS && (seconds.is_empty() || begin.elapsed() < LONG) {
        // Before the next begins: two results at once would double the peak.
        drop(result);
        let took;
        (took, result) = once()?;
        seconds.push(took.as_secs_f64());
    }
    Ok((seconds, result))
}

fn write(file: &Path, content: &Value) -> candle_lens::Result<()> {
    fs::write(file, content.to_string())
        .map_err(|error| candle_lens::Error::file(file, format!("cannot be written ({error}).")))
}
