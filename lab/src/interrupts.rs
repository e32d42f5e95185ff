//! Kernels are interrupted, and the processes of their cells end, as people and systems do it (`interrupts.py`); part of the step
//! `kernel`.

use crate::check::Count;
use crate::kernelspec;
use crate::places::Places;
use crate::session::Jupyter;
use crate::steps;
use crate::trouble::Trouble;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

const SCRIPT: &str = include_str!("interrupts.py");

/// Runs all tests, and says which failed.
///
/// # Errors
/// The program that talks to the kernels does not start, or ended before the last test.
pub fn test(places: &Places, jupyter: &Jupyter) -> Result<Count, Trouble> {
    if !cfg!(target_os = "linux") {
        let needs = "interrupts in kernels: needs Linux, where a kernel says what became of its processes";
        return Ok(Count { left_out: vec![needs.into()], ..Count::default() });
    }
    let script = places.lab.join("interrupts.py");
    steps::write(&script, SCRIPT)?;
    let mut python = jupyter.python();
    python.arg(&script).arg(kernelspec::NAME).arg(&places.root);
    let mut count = Count::default();
    let all_said = run(python, |said| {
        let name = said["test"].as_str().unwrap_or_default();
        if let Some(wrong) = said["wrong"].as_str() {
            println!("    FAILED {name}: {wrong}");
        }
        count.passed += usize::from(said["wrong"].is_null());
        count.failed += usize::from(!said["wrong"].is_null());
    })?;
    println!("    interrupts and ended processes: {} of {} as they must be", count.passed, count.passed + count.failed);
    // What it said itself is above.
    count.failed += usize::from(!all_said);
    Ok(count)
}

/// Runs a program that says a JSON object a line; whether it ended well.
fn run(mut program: Command, mut listen: impl FnMut(Value)) -> Result<bool, Trouble> {
    let failed = |source: std::io::Error| {
        Trouble::new(format!("The program that interrupts kernels failed: {source}."), "`cargo lab setup` repairs it.")
    };
    let mut child = program.stdout(Stdio::piped()).spawn().map_err(failed)?;
    let lines = child.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
    lines.map_while(Result::ok).filter_map(|line| serde_json::from_str(&line).ok()).for_each(&mut listen);
    Ok(child.wait().map_err(failed)?.success())
}
