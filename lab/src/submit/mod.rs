//! `cargo lab submit` and `cargo lab gather`: a notebook or a program in shards, by Slurm or by processes of this machine.
//!
//! The unit of work is the notebook or program itself, which reads `CANDLE_LENS_SHARD` and `CANDLE_LENS_OUT`; nothing here knows
//! what it computes. A folder holds all that belongs to one piece of work: the results, the script, the logs, the executed
//! notebooks, and a stamp for each shard that ended. Submitting it again computes what has no stamp of success.

mod local;
mod one;
mod options;
mod shards;
mod slurm;
mod work;

pub use one::compute_command;
pub use options::{Submit, parse, parse_gather};

use crate::places::Places;
use crate::process;
use crate::setup;
use crate::trouble::Trouble;
use shards::{Folder, State};
use std::path::Path;
use std::process::ExitCode;
use work::{Unit, Work};

/// Carries out `cargo lab submit`.
///
/// # Errors
/// A notebook that cannot be read, a folder of other work, a Slurm that is not there or does not take the script.
pub fn submit(wanted: &Submit) -> Result<ExitCode, Trouble> {
    let work = Work::of(wanted)?;
    let folder = Folder::begin(&wanted.folder()?, &work)?;
    if let Unit::Notebook(_) = work.unit {
        // Once, and not by each task.
        setup::everything(&Places::find()?)?;
    }
    let job = folder.job();
    let queued = job.as_deref().map_or(Vec::new(), slurm::queued);
    let (mut wait, mut left) = (Vec::new(), Vec::new());
    for number in 1..=work.shards {
        match folder.state(number) {
            State::Done(_) => {}
            State::Running => wait.push(number),
            _ if queued.contains(&number) => wait.push(number),
            _ => left.push(number),
        }
    }
    println!("{} of {} shards are done; {}", work.shards - wait.len() - left.len(), work.shards, folder.path.display());
    if !wait.is_empty() {
        println!("    queued or running: {}", slurm::ranges(&wait));
    }
    if left.is_empty() {
        return gather(&folder.path);
    }
    println!("    to be computed: {}", slurm::ranges(&left));
    match wanted.local {
        Some(at_a_time) => {
            local::compute(&folder, &left, at_a_time)?;
            gather(&folder.path)
        }
        None => {
            let script = slurm::write(&folder, wanted, &left)?;
            let id = slurm::submit(&script)?;
            folder.keep_job(&id)?;
            println!("submitted as job {id}; `cargo lab gather {}` says how far it is", process::quoted(&folder.path));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Carries out `cargo lab gather`: says which shards are done, which failed and why, and how the results are joined.
///
/// # Errors
/// A folder that `cargo lab submit` did not make.
pub fn gather(folder: &Path) -> Result<ExitCode, Trouble> {
    let folder = Folder::open(folder)?;
    let work = folder.work()?;
    let states: Vec<(usize, State)> = (1..=work.shards).map(|number| (number, folder.state(number))).collect();
    for (number, state) in &states {
        match state {
            State::Failed(why) => {
                println!("shard {number}/{} failed: {}", work.shards, why.trim_end().replace('\n', "\n    "))
            }
            State::Stopped => println!(
                "shard {number}/{} was stopped before its end, and goes on from what it saved; its log is {}",
                work.shards,
                folder.log(*number).display()
            ),
            _ => {}
        }
    }
    let of = |wanted: fn(&State) -> bool| {
        states.iter().filter(|(_, state)| wanted(state)).map(|(number, _)| *number).collect::<Vec<_>>()
    };
    let done = of(|state| matches!(state, State::Done(_)));
    for (what, numbers) in [
        ("running", of(|state| matches!(state, State::Running))),
        ("failed", of(|state| matches!(state, State::Failed(_)))),
        ("stopped", of(|state| matches!(state, State::Stopped))),
        ("not begun", of(|state| matches!(state, State::Missing))),
    ] {
        if !numbers.is_empty() {
            println!("{what}: {}", slurm::ranges(&numbers));
        }
    }
    println!("{} of {} shards are done", done.len(), work.shards);
    if done.len() < work.shards {
        let queued = folder.job().as_deref().map_or(Vec::new(), slurm::queued);
        if !queued.is_empty() {
            println!("queued or running in Slurm: {}", slurm::ranges(&queued));
        }
        println!(
            "The same command again, with the options it had, computes the others: `{}`",
            work.command(&folder.path)
        );
        return Ok(ExitCode::FAILURE);
    }
    let results = folder.results();
    println!(
        "The results are joined in a notebook or program:\n\n    let all = gather({:?})?;\n",
        results.display().to_string()
    );
    println!("or, where the work saves in folders of its own below that, with the name of each.");
    Ok(ExitCode::SUCCESS)
}

#[cfg(all(test, unix))]
mod tests;
