//! A notebook in two shards: `cargo lab submit` computes it on two real kernels, `cargo lab gather` finds both, and a third kernel joins what they
//! saved and compares it with the whole. A part of the step `slurm` that needs no Slurm.

use crate::check::{Count, did_not_start};
use crate::places::Places;
use crate::process::{command, line};
use crate::steps::{remove_folder, step};
use crate::trouble::Trouble;
use crate::{kernelspec, setup};
use std::path::Path;
use std::process::Command;

/// The notebook that computes a shard, and the one that joins them.
const UNIT: &str = "tests/kernel/shards/heads.ipynb";
const JOINED: &str = "tests/kernel/shards/joined.ipynb";

/// Runs the test.
///
/// # Errors
/// What cannot be set up, or a launcher that does not start.
pub fn joined(places: &Places) -> Result<Count, Trouble> {
    setup::everything(places)?;
    let folder = places.lab.join("halves");
    remove_folder(&folder)?;
    let told = step("A notebook in two shards", || submitted(places, &folder));
    if let Err(why) = &told {
        println!("{why}\n    what the shards wrote is in {}", places.brief(&folder));
        return Ok(Count::one(false));
    }
    // What cannot be removed now is at the next run.
    let _ = remove_folder(&folder);
    Ok(Count::one(true))
}

fn submitted(places: &Places, folder: &Path) -> Result<(), Trouble> {
    let out = folder.display().to_string();
    let submit = ["submit", UNIT, "--shards", "2", "--local", "2", "--out", &out];
    says(&mut lab(places, &submit)?, "2 of 2 shards are done")?;
    let executed = [1, 2].map(|shard| folder.join(format!("executed/{shard}.ipynb")));
    if let Some(missing) = executed.iter().find(|path| !path.is_file()) {
        return Err(Trouble::file("Reading", missing, &std::io::ErrorKind::NotFound.into()));
    }
    says(&mut lab(places, &["gather", &out])?, "2 of 2 shards are done")?;
    let again = says(&mut lab(places, &submit)?, "2 of 2 shards are done")?;
    if again.contains("to be computed") {
        return Err(wrong(&format!("Submitted once more, it computes again what is done:\n{again}")));
    }
    let mut joined = lab(places, &["run", "--no-html", JOINED])?;
    says(joined.env("CANDLE_LENS_OUT", folder.join("results")), "1 passed, 0 failed").map(drop)
}

/// `cargo lab` with these words, in the clone and as no shard of anything.
fn lab(places: &Places, words: &[&str]) -> Result<Command, Trouble> {
    let mut lab = command(kernelspec::launcher()?);
    lab.args(words).current_dir(&places.root).env_remove("CANDLE_LENS_SHARD").env_remove("CANDLE_LENS_OUT");
    Ok(lab)
}

/// What the command prints, which must hold `expected`.
fn says(command: &mut Command, expected: &str) -> Result<String, Trouble> {
    let output = command.output().map_err(|source| did_not_start(command, &source))?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    match output.status.success() && said.contains(expected) {
        true => Ok(said),
        false => Err(wrong(&format!("{} did not say {expected:?}, but:\n{said}", line(command)))),
    }
}

fn wrong(what: &str) -> Trouble {
    Trouble::new(what, "Read the logs in the folder that is named below.")
}
