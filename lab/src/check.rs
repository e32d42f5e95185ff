//! `cargo lab test`: every test, notebooks included.

use crate::args::RunOptions;
use crate::course::trial;
use crate::notebook::Notebook;
use crate::places::Places;
use crate::process::{self, cargo, command, line};
#[cfg(unix)]
use crate::slurm;
use crate::steps::{self, words};
use crate::trouble::Trouble;
use crate::{
    browser, carried, crowd, growth, halves, homes, interrupts, models, package, pairs, run, setup, template, unit,
    wheel,
};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

/// How many tests of a step passed and failed, and what did not run here, with the reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Count {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that this machine or its settings kept from running, each with what it needs.
    pub left_out: Vec<String>,
}

impl Count {
    /// One test.
    pub fn one(passed: bool) -> Self {
        Self { passed: usize::from(passed), failed: usize::from(!passed), left_out: Vec::new() }
    }

    /// Takes in the outcome of more tests.
    pub fn add(&mut self, more: Self) {
        self.passed += more.passed;
        self.failed += more.failed;
        self.left_out.extend(more.left_out);
    }
}

/// The steps that have run.
#[derive(Default)]
struct Report {
    lines: Vec<String>,
    fix: Vec<String>,
    total: Count,
}

/// One kind of test.
struct Step {
    name: &'static str,
    work: fn(&Places) -> Result<Count, Trouble>,
    fix: &'static str,
}

const CELL: &str = "Read the failing cell above; `cargo lab run NOTEBOOK` repeats one, `cargo lab` opens it.";

/// Every kind of test, the quick ones first.
const STEPS: [Step; 13] = [
    Step { name: "fmt", work: formatting, fix: "`cargo fmt --all` fixes it." },
    Step { name: "clippy", work: clippy, fix: "Read the warnings above." },
    Step { name: "doc", work: rustdoc, fix: "Read rustdoc's warnings above." },
    Step { name: "package", work: package::packed, fix: "See above; `cargo package` packs the crate." },
    Step { name: "unit", work: unit::cargo_test, fix: "Read the failures above; `cargo test NAME` repeats one." },
    Step { name: "notebooks", work: notebooks, fix: CELL },
    Step { name: "kernel", work: kernel_tests, fix: CELL },
    Step {
        name: "growth",
        work: growth::compared,
        fix: "Look at what grew; `UPDATE_GROWTH=1 cargo lab test growth` accepts it.",
    },
    Step { name: "wheel", work: wheel::packed, fix: "See above; `pip wheel --no-deps lab/wheel` builds the package." },
    Step { name: "homes", work: homes::elsewhere, fix: "See above; each says what was expected." },
    Step { name: "browser", work: in_browser, fix: "See above, and the screenshots in .lab/browser/." },
    Step { name: "slurm", work: shards, fix: "See above; `sinfo` and `squeue` speak to it while it runs." },
    Step { name: "failures", work: failing_notebooks, fix: "`cargo lab run` did not report what it must; see above." },
];

/// The names by which `cargo lab test` knows its steps.
pub fn step_names() -> [&'static str; STEPS.len()] {
    STEPS.map(|step| step.name)
}

/// Runs the steps of these names (all if none is given), also after a failed one, and sums up.
pub fn run_steps(places: &Places, names: &[String]) -> ExitCode {
    let mut report = Report::default();
    for step in STEPS.iter().filter(|step| names.is_empty() || names.iter().any(|name| name == step.name)) {
        report.step(step.name, step.fix, || (step.work)(places));
    }
    report.finish()
}

impl Report {
    fn step(&mut self, name: &str, fix: &str, work: impl FnOnce() -> Result<Count, Trouble>) {
        println!("\n==> {name}");
        let start = Instant::now();
        // The reason is said again at the end: of a long log that is the part that people get to see.
        let (count, fix) = match work() {
            Ok(count) => (count, fix.to_string()),
            Err(trouble) => {
                println!("{trouble}");
                (Count::one(false), trouble.to_string())
            }
        };
        let took = words(start.elapsed());
        let Count { passed, failed, left_out } = count;
        let out = left_out.len();
        println!("    {name}: {passed} passed, {failed} failed, {out} left out in {took}");
        self.lines.push(format!("{name:<10} {passed:>5} passed {failed:>4} failed {out:>4} left out   {took}"));
        if failed > 0 {
            self.fix.push(format!("{name} failed. {fix}"));
        }
        self.total.add(Count { passed, failed, left_out });
    }

    fn finish(&self) -> ExitCode {
        println!("\n{}", self.lines.join("\n"));
        for fix in &self.fix {
            println!("{fix}");
        }
        for test in &self.total.left_out {
            println!("left out: {test}");
        }
        let Count { passed, failed, left_out } = &self.total;
        println!("\n{passed} passed, {failed} failed, {} left out", left_out.len());
        if self.total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// A cargo command in the clone.
pub fn in_checkout(places: &Places, args: &[&str]) -> Command {
    let mut cargo = cargo();
    cargo.args(args).current_dir(&places.root);
    cargo
}

/// Where cargo puts what it compiles of the clone.
pub fn target(places: &Places) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| places.root.join("target"), |folder| places.root.join(folder))
}

/// A command that is one test by itself.
pub fn succeeds(command: &mut Command) -> Result<Count, Trouble> {
    let status = command.status().map_err(|source| did_not_start(command, &source))?;
    Ok(Count::one(status.success()))
}

/// What to say of a command that is not there.
pub fn did_not_start(command: &Command, source: &std::io::Error) -> Trouble {
    Trouble::new(format!("{} did not start: {source}.", line(command)), "Install Rust from https://rustup.rs.")
}

fn formatting(places: &Places) -> Result<Count, Trouble> {
    succeeds(&mut in_checkout(places, &["fmt", "--all", "--check"]))
}

fn clippy(places: &Places) -> Result<Count, Trouble> {
    let mut count =
        succeeds(&mut in_checkout(places, &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    // The library for programs, without the course.
    let library = ["clippy", "--lib", "--no-default-features", "--", "-D", "warnings"];
    count.add(succeeds(&mut in_checkout(places, &library))?);
    Ok(count)
}

fn rustdoc(places: &Places) -> Result<Count, Trouble> {
    let strict = |words: &[&str]| succeeds(in_checkout(places, words).env("RUSTDOCFLAGS", "-D warnings"));
    // Where the course is left out, what the pages say of it must not be a link. First, so that the whole pages are what stays.
    let mut count = strict(&["doc", "--lib", "--no-deps", "--no-default-features"])?;
    count.add(strict(&["doc", "--workspace", "--no-deps"])?);
    Ok(count)
}

/// The notebooks for readers, with the HTML that a reader of CI's results can look at.
fn notebooks(places: &Places) -> Result<Count, Trouble> {
    execute(places, &[&places.root.join("notebooks")], true)
}

/// A notebook in shards, and shards on a real Slurm, where there can be one.
fn shards(places: &Places) -> Result<Count, Trouble> {
    let halves = halves::joined(places);
    #[cfg(unix)]
    let shards = slurm::shards_killed_and_resumed(places);
    #[cfg(not(unix))]
    let shards = Ok(Count { left_out: vec!["shards on a real Slurm: need Linux".into()], ..Count::default() });
    let mut count = halves?;
    count.add(shards?);
    Ok(count)
}

/// Tests that need real kernels.
fn kernel_tests(places: &Places) -> Result<Count, Trouble> {
    // The course as students get it, where every check says that nothing is written yet, and with the references, where every check passes.
    // One list with the others: each list ends with a core that has nothing to do.
    let [own, course] = ["tests/kernel", "notebooks/course"].map(|folder| places.root.join(folder));
    let mut count = execute(places, &[&own, &course, &solved_course(places)?], false)?;
    count.add(real_model(places)?);
    count.add(Count::one(trial(places)?));
    count.add(template::trial::finds_it_compiled(places, &setup::everything(places)?)?);
    let took = crowd::at_once(places, &setup::everything(places)?)?;
    count.add(interrupts::test(places, &setup::everything(places)?)?);
    println!("    {} kernels at once: the last one had computed and ended after {}", crowd::KERNELS, words(took));
    count.passed += 1;
    Ok(count)
}

/// The folder of the course's notebooks with the references in them, written anew.
///
/// # Errors
/// The library does not compile.
pub fn solved_course(places: &Places) -> Result<PathBuf, Trouble> {
    let folder = places.lab.join("course");
    let mut write = in_checkout(places, &["run", "--quiet", "--example", "course_notebooks", "--"]);
    process::run(write.arg(&folder), "Read cargo's message above.")?;
    Ok(folder)
}

/// The line of a notebook that names its model, as committed and with a model that others trained.
const MODEL_LINE: [&str; 2] = ["let name = \"tiny\";", "let name = \"smollm2\";"];

/// Notebook 01 with another model in the line that names it, and nothing else changed.
fn real_model(places: &Places) -> Result<Count, Trouble> {
    let notebook = places.root.join(browser::NOTEBOOK);
    if models::fetch_if_connected(places, &models::SMOLLM2)?.is_none() {
        let name = models::SMOLLM2.name;
        let needs =
            format!("{} with {name}: needs `cargo lab fetch {name}`, which found no network", browser::NOTEBOOK);
        return Ok(Count { left_out: vec![needs], ..Count::default() });
    }
    let [own, other] = MODEL_LINE;
    println!("\n{} with `{other}`", places.brief(&notebook));
    Ok(Count::one(run::passes_with(&setup::everything(places)?, &notebook, own, other)?))
}

/// Executes the notebooks of folders; each is one test. One that needs a model is left out where there is no network to fetch
/// it, and for no other reason.
fn execute(places: &Places, folders: &[&Path], html: bool) -> Result<Count, Trouble> {
    let jupyter = setup::everything(places)?;
    let notebooks: Vec<_> =
        folders.iter().map(|folder| run::in_folder(folder)).collect::<Result<Vec<_>, _>>()?.concat();
    for model in notebooks.iter().filter_map(|path| run::needed_model(&Notebook::read(path).ok()?)) {
        models::fetch_if_connected(places, model)?;
    }
    let options = RunOptions { html, ..RunOptions::default() };
    let run::Outcome { passed, failed, left_out } = run::run_all(places, &jupyter, &notebooks, &options)?;
    Ok(Count { passed, failed, left_out })
}

fn copy(from: &Path, to: &Path) -> Result<(), Trouble> {
    std::fs::copy(from, to).map(|_| ()).map_err(|source| Trouble::file("Copying", from, &source))
}

/// Notebook 01 in JupyterLab and as an exported page, in a real browser.
fn in_browser(places: &Places) -> Result<Count, Trouble> {
    let Some(chromium) = browser::chromium() else {
        let needs = format!("{}: needs Chromium (Debian and Ubuntu: apt install chromium)", browser::NOTEBOOK);
        return Ok(Count { left_out: vec![needs], ..Count::default() });
    };
    let jupyter = setup::everything(places)?;
    let notebook = run::executed(places, &places.root.join(browser::NOTEBOOK));
    // What is exported is the notebook as this checkout's library draws it, where it has been executed, or as committed.
    let source = if notebook.is_file() { notebook } else { places.root.join(browser::NOTEBOOK) };
    let pictures = places.lab.join("browser");
    steps::make_folder(&pictures)?;
    let page = pictures.join("notebook.ipynb");
    copy(&source, &page)?;
    // A committed notebook has its script in a file beside it.
    if let (Ok(files), assets) = (source.with_file_name(carried::FOLDER).read_dir(), pictures.join(carried::FOLDER)) {
        steps::make_folder(&assets)?;
        files.flatten().try_for_each(|file| copy(&file.path(), &assets.join(file.file_name())))?;
    }
    process::run(&mut jupyter.export(&page), "Read nbconvert's message above.")?;
    succeeds(&mut browser::check(places, &jupyter, &chromium, &page.with_extension("html"), &pictures)?)
}

/// Starts `cargo lab run` on each notebook that must fail: it has to end with an error that names the cell and the cause
/// which the notebook's metadata announce.
fn failing_notebooks(places: &Places) -> Result<Count, Trouble> {
    setup::everything(places)?;
    let notebooks = run::in_folder(&places.root.join("tests/kernel/failures"))?;
    let mut count = Count::default();
    for passed in pairs::by_two(&notebooks, |path| fails_as_announced(places, path))? {
        count.add(Count::one(passed));
    }
    Ok(count)
}

fn fails_as_announced(places: &Places, path: &Path) -> Result<bool, Trouble> {
    let notebook = Notebook::read(path)?;
    let expected = (notebook.note("fails_in").as_u64(), notebook.note("because").as_str());
    let (Some(cell), Some(cause)) = expected else {
        return Err(Trouble::new(
            format!("{} does not announce its failure.", path.display()),
            "Give its metadata \"candle_lens\": {\"fails_in\": CODE CELL, \"because\": MESSAGE}.",
        ));
    };
    let (failed, text) = run_apart(path)?;
    let is_it =
        |line: &str| line.trim_start().starts_with(&format!("FAILED in code cell {cell} ")) && line.contains(cause);
    let passed = failed && text.lines().any(is_it);
    let brief = places.brief(path);
    match passed {
        true => println!("    {brief}: fails in code cell {cell}, as it must"),
        false => println!("    {brief}: expected a failure in code cell {cell} with {cause:?}, got:\n{text}"),
    }
    Ok(passed)
}

/// Runs one notebook in its own launcher: whether that launcher ended with an error, and what it printed.
fn run_apart(path: &Path) -> Result<(bool, String), Trouble> {
    let launcher = std::env::current_exe().map_err(|source| Trouble::file("Starting", path, &source))?;
    let mut run = command(launcher);
    run.args(["run", "--no-html", "--timeout", "120"]).arg(path);
    let output = run.output().map_err(|source| did_not_start(&run, &source))?;
    Ok((!output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_cannot_run_has_failed() {
        let mut report = Report::default();
        report.step("one", "fix", || Ok(Count { passed: 2, failed: 0, left_out: vec!["a: needs b".into()] }));
        report.step("two", "fix it so", || Err(Trouble::new("no disk", "buy one")));
        report.step("three", "fix it so", || Ok(Count::one(false)));
        assert_eq!(report.fix, ["two failed. no disk\nTo fix it: buy one", "three failed. fix it so"]);
        assert_eq!(report.total, Count { passed: 2, failed: 2, left_out: vec!["a: needs b".into()] });
    }
}
