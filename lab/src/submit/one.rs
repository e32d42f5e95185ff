//! One shard: what a task of Slurm does, and what a process of this machine does.

use super::shards::{Folder, State};
use crate::steps::words;
use crate::trouble::Trouble;
use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Instant;

/// How many of the last lines of a log say why a shard failed.
const LINES: usize = 8;

/// Carries out the hidden command `shard FOLDER NUMBER`, which a task of Slurm is.
///
/// # Errors
/// As [`compute`]; a shard that is not one of the work.
pub fn compute_command(folder: &Path, number: usize) -> Result<ExitCode, Trouble> {
    let folder = Folder::open(folder)?;
    Ok(match compute(&folder, number, None)? {
        State::Failed(why) => {
            eprintln!("shard {number} failed: {why}");
            ExitCode::FAILURE
        }
        State::Stopped => {
            eprintln!("shard {number} was stopped before its end");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    })
}

/// How many threads a process computes with.
pub const THREADS: &str = "RAYON_NUM_THREADS";

/// Computes a shard that is not done, on so many threads if that is said, and leaves its stamp. A shard that another process
/// computes is left to it.
///
/// # Errors
/// A shard that is not one of the work; a program that does not start; a folder that cannot be written.
pub fn compute(folder: &Folder, number: usize, threads: Option<usize>) -> Result<State, Trouble> {
    let work = folder.work()?;
    if !(1..=work.shards).contains(&number) {
        return Err(Trouble::new(
            format!("There is no shard {number}: {} has {}.", folder.path.display(), work.shards),
            "Submit the work again, which writes a new script.",
        ));
    }
    if let done @ State::Done(_) = folder.state(number) {
        return Ok(done);
    }
    let Some(_held) = folder.hold(number)? else { return Ok(State::Running) };
    let log = folder.log(number);
    let file = File::create(&log).map_err(|source| Trouble::file("Writing", &log, &source))?;
    let both = file.try_clone().map_err(|source| Trouble::file("Writing", &log, &source))?;
    let begun = Instant::now();
    let mut process = work.process(&folder.executed(number))?;
    process.env("CANDLE_LENS_SHARD", format!("{number}/{}", work.shards)).env("CANDLE_LENS_OUT", folder.results());
    process.envs(threads.map(|threads| (THREADS, threads.to_string())));
    let status = process.stdin(Stdio::null()).stdout(file).stderr(both).status();
    let state = match status {
        Ok(status) if status.success() => State::Done(words(begun.elapsed())),
        Ok(status) if was_told_to_end(status) => State::Stopped,
        Ok(status) => State::Failed(format!("{status}, after {}\n{}", words(begun.elapsed()), last_lines(&log))),
        Err(source) => State::Failed(format!("{} did not start: {source}.", crate::process::line(&process))),
    };
    folder.end(number, &state)?;
    Ok(state)
}

/// Whether somebody else ended the process. Slurm does so where a job is cancelled or its time is over, and tells all processes of a task in any
/// order, so that this one may still be there to see it.
#[cfg(unix)]
fn was_told_to_end(status: ExitStatus) -> bool {
    const TOLD: [i32; 2] = [libc::SIGINT, libc::SIGTERM];
    // A shell gives the number of the signal behind 128.
    std::os::unix::process::ExitStatusExt::signal(&status)
        .or_else(|| status.code().map(|code| code - 128))
        .is_some_and(|signal| TOLD.contains(&signal))
}

#[cfg(not(unix))]
fn was_told_to_end(_: ExitStatus) -> bool {
    false
}

/// The end of a log, where the reason is.
fn last_lines(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
