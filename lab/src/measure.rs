//! `cargo lab measure`: how quick and how steady the kernel is (`measure.py`), on this machine, now; and what a class takes
//! (`class.py`).

use crate::kernelspec;
use crate::places::Places;
use crate::process::{cargo, line, run};
use crate::trouble::Trouble;
use crate::{check, setup, steps};
use std::process::ExitCode;

const MEASURE: &str = include_str!("measure.py");
const CLASS: &str = include_str!("class.py");

/// The notebook that a class runs, with the functions that students write.
const LESSON: &str = "c3_attention.ipynb";

/// Measures and prints a table; other work on the machine falsifies it.
pub fn measure(places: &Places) -> Result<ExitCode, Trouble> {
    let jupyter = setup::everything(places)?;
    println!("==> Measuring the kernel (about 5 minutes; leave the machine alone)");
    let script = places.lab.join("measure.py");
    steps::write(&script, MEASURE)?;
    let mut measure = jupyter.python();
    measure.arg(script).arg(kernelspec::NAME).arg(&places.root).arg(release_product(places)?);
    run(&mut measure, "Read the message above.")?;
    Ok(ExitCode::SUCCESS)
}

/// Measures what a class takes: kernels that start at once and run the same cells in step.
/// Of users who only read this installation, if `users`.
pub fn class(places: &Places, kernels: usize, users: bool) -> Result<ExitCode, Trouble> {
    let jupyter = setup::everything(places)?;
    let notebook = check::solved_course(places)?.join(LESSON);
    println!("==> Measuring a class of {kernels} (leave the machine alone)");
    let script = places.lab.join("class.py");
    steps::write(&script, CLASS)?;
    let mut class = jupyter.python();
    class.arg(script).arg(kernelspec::NAME).arg(notebook).arg(kernels.to_string()).args(users.then_some("--users"));
    run(&mut class, "Read the message above.")?;
    Ok(ExitCode::SUCCESS)
}

/// GFLOP/s of the release build of the matrix product, as it prints them.
fn release_product(places: &Places) -> Result<String, Trouble> {
    let mut product = cargo();
    product.args(["run", "--release", "--quiet", "--example", "matrix_product"]).current_dir(&places.root);
    let output = product.stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(|source| {
        Trouble::new(format!("{} did not start: {source}.", line(&product)), "Install Rust from https://rustup.rs.")
    })?;
    if !output.status.success() {
        return Err(Trouble::new(
            format!("{} ended with {}.", line(&product), output.status),
            "Read its message above.",
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}
