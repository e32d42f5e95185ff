//! Code executed in a real kernel, through Jupyter's own client (`driver.py`).

use crate::places::Places;
use crate::process::command;
use crate::steps;
use crate::trouble::Trouble;
use crate::{kernel, kernelspec};
use serde_json::{Value, json};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

const DRIVER: &str = include_str!("driver.py");

/// nbconvert's template for exported pages: JupyterLab's, without what it fetches from the network.
const TEMPLATE: &str = "candle-lens";

/// The Jupyter environment of this clone.
pub struct Jupyter {
    python: PathBuf,
    folder: PathBuf,
    driver: PathBuf,
}

/// A kernel that runs.
pub struct Session {
    child: Child,
    requests: ChildStdin,
    replies: BufReader<ChildStdout>,
    /// How long the kernel took to be ready.
    pub start: Duration,
}

/// What arrives while a cell runs.
pub enum Said<'a> {
    /// The cell's own stderr.
    Stderr(&'a str),
    /// The kernel's: which crates cargo compiles.
    Log(&'a str),
}

/// What one cell left.
pub struct Reply {
    /// `ok`, `error`, `dead` (the kernel is gone) or `timeout`.
    pub status: String,
    /// The number Jupyter shows beside the cell.
    pub execution_count: Value,
    /// The outputs as a notebook file holds them.
    pub outputs: Vec<Value>,
    /// How long the cell took.
    pub took: Duration,
}

impl Jupyter {
    /// The environment whose Python is `python`.
    pub fn new(places: &Places, python: PathBuf) -> Result<Self, Trouble> {
        let driver = places.lab.join("driver.py");
        steps::write(&driver, DRIVER)?;
        let template = places.lab.join("jupyter/templates").join(TEMPLATE);
        steps::write(&template.join("conf.json"), include_str!("../jupyter/template/conf.json"))?;
        steps::write(&template.join("index.html.j2"), include_str!("../jupyter/template/index.html.j2"))?;
        Ok(Self { python, folder: places.lab.join("jupyter"), driver })
    }

    /// The environment's Python, set to keep all of Jupyter's files in our folder.
    pub fn python(&self) -> Command {
        self.with_files(&self.python)
    }

    /// nbconvert, making a page of `notebook` beside it.
    pub fn export(&self, notebook: &Path) -> Command {
        let mut convert = self.python();
        convert.args(["-m", "nbconvert", "--to", "html", "--log-level", "WARN", "--template", TEMPLATE]);
        let templates = self.folder.join("templates");
        convert.arg(format!("--TemplateExporter.extra_template_basedirs={}", templates.display()));
        convert.arg(notebook);
        convert
    }

    /// The environment's Python as a file.
    pub fn interpreter(&self) -> &Path {
        &self.python
    }

    /// Another program, with the same settings.
    pub fn with_files(&self, program: impl AsRef<OsStr>) -> Command {
        let mut program = command(program);
        program
            .env("JUPYTER_PATH", &self.folder)
            .env("JUPYTER_DATA_DIR", &self.folder)
            .env("JUPYTER_CONFIG_DIR", self.folder.join("config"))
            .env("JUPYTER_RUNTIME_DIR", self.folder.join("runtime"))
            .env("IPYTHONDIR", self.folder.join("ipython"));
        program
    }

    /// Starts a kernel whose working directory is `folder`; `template`, if given, is where it compiles
    /// (instead of its own copy).
    pub fn start(&self, folder: &Path, template: Option<&Path>) -> Result<Session, Trouble> {
        let mut driver = self.driver(folder);
        if let Some(template) = template {
            driver.env("EVCXR_TMPDIR", template);
        }
        begin(driver)
    }

    /// Starts a kernel whose working directory is `folder`, by what `change` makes of the program that starts it.
    pub fn start_as(&self, folder: &Path, change: impl FnOnce(&Command) -> Command) -> Result<Session, Trouble> {
        begin(change(&self.driver(folder)))
    }

    fn driver(&self, folder: &Path) -> Command {
        let mut driver = self.python();
        driver.arg(&self.driver).arg(kernelspec::NAME).arg(folder);
        // What the launcher executes is nobody's progress.
        driver.env(kernel::PROGRESS, "");
        driver
    }
}

/// Starts the program that talks to a kernel.
fn begin(mut driver: Command) -> Result<Session, Trouble> {
    driver.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = driver.spawn().map_err(|source| lost(&source.to_string()))?;
    let (Some(requests), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(lost("its pipes are missing"));
    };
    let mut session = Session { child, requests, replies: BufReader::new(replies), start: Duration::ZERO };
    let ready = session.event()?;
    if let Some(message) = ready["failed"].as_str() {
        return Err(Trouble::new(
            format!("The kernel did not start: {message}"),
            "If nothing above says why: `cargo lab clean --checkout` removes what this clone prepared; then start again.",
        ));
    }
    session.start = seconds(&ready);
    Ok(session)
}

impl Session {
    /// Executes one cell; what arrives while it runs goes to `listen`.
    pub fn execute(&mut self, code: &str, timeout: u64, mut listen: impl FnMut(Said)) -> Result<Reply, Trouble> {
        let request = json!({ "code": code, "timeout": timeout });
        writeln!(self.requests, "{request}").map_err(|source| lost(&source.to_string()))?;
        loop {
            let event = self.event()?;
            if let Some(text) = event["stderr"].as_str() {
                listen(Said::Stderr(text));
                continue;
            }
            if let Some(text) = event["log"].as_str() {
                listen(Said::Log(text));
                continue;
            }
            return Ok(Reply {
                status: event["status"].as_str().unwrap_or("error").to_string(),
                execution_count: event["execution_count"].clone(),
                outputs: event["outputs"].as_array().cloned().unwrap_or_default(),
                took: seconds(&event),
            });
        }
    }

    fn event(&mut self) -> Result<Value, Trouble> {
        let mut line = String::new();
        match self.replies.read_line(&mut line) {
            Ok(0) => Err(lost("it ended")),
            Ok(_) => serde_json::from_str(&line).map_err(|source| lost(&format!("it said {line:?} ({source})"))),
            Err(source) => Err(lost(&source.to_string())),
        }
    }

    /// Ends the kernel and waits until it is gone.
    pub fn end(self) {
        let Session { mut child, requests, .. } = self;
        // The driver shuts its kernel down when there is nothing more to read.
        drop(requests);
        let _ = child.wait();
    }
}

fn seconds(event: &Value) -> Duration {
    Duration::from_secs_f64(event["seconds"].as_f64().unwrap_or_default().max(0.0))
}

fn lost(why: &str) -> Trouble {
    Trouble::new(
        format!("The launcher lost the Python program that talks to the kernel: {why}."),
        "Read the message above, if any; `cargo lab clean` followed by a new start fixes a damaged environment.",
    )
}
