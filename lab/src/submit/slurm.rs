//! Shards as the tasks of an array of Slurm.

use super::options::Submit;
use super::shards::Folder;
use crate::process::{self, command, line};
use crate::steps;
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// Writes the script that computes these shards, beside their results.
///
/// # Errors
/// A path that a script of Slurm cannot hold.
pub fn write(folder: &Folder, wanted: &Submit, numbers: &[usize]) -> Result<PathBuf, Trouble> {
    let own = std::env::current_exe().map_err(|source| Trouble::file("Finding", Path::new("the launcher"), &source))?;
    let path = folder.path.join("submit.sbatch");
    steps::write(&path, &script(&own, folder, &folder.work()?.name(), wanted, numbers)?)?;
    Ok(path)
}

/// The script.
fn script(own: &Path, folder: &Folder, name: &str, wanted: &Submit, numbers: &[usize]) -> Result<String, Trouble> {
    let out = folder.path.display().to_string();
    if out.contains(['\n', '"', '\\']) {
        return Err(Trouble::new(
            format!("A script of Slurm cannot name the folder {out:?}."),
            "Give a folder without quotes, backslashes and line breaks with --out.",
        ));
    }
    // In these paths Slurm replaces what follows a percent sign.
    let logs = format!("{}/logs/slurm-%a.txt", out.replace('%', "%%"));
    let options: Vec<String> = wanted.sbatch.iter().map(|option| format!("#SBATCH {option}\n")).collect();
    Ok(format!(
        "#!/bin/sh\n\
         # Written by `cargo lab submit`, which writes it again with what is left when the same command is given once more.\n\
         #SBATCH --job-name=\"{name}\"\n\
         #SBATCH --array={}\n\
         #SBATCH --output=\"{logs}\"\n\
         {}\
         export RAYON_NUM_THREADS=\"${{SLURM_CPUS_PER_TASK:-1}}\"\n\
         exec {} shard {} \"$SLURM_ARRAY_TASK_ID\"\n",
        ranges(numbers),
        options.concat(),
        process::quoted(own),
        process::quoted(&folder.path),
    ))
}

/// Hands the script to Slurm, and returns the job's number.
///
/// # Errors
/// No Slurm on this machine; a script that it does not take.
pub fn submit(script: &Path) -> Result<String, Trouble> {
    let mut sbatch = command("sbatch");
    sbatch.arg("--parsable").arg(script);
    let output = sbatch.output().map_err(|source| {
        Trouble::new(
            format!("`sbatch` did not start: {source}. The script is {}.", script.display()),
            "Submit on a machine of your Slurm, or add --local PROCESSES to compute the shards on this one.",
        )
    })?;
    if !output.status.success() {
        return Err(Trouble::new(
            format!(
                "{} ended with {}: {}",
                line(&sbatch),
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            ),
            "Slurm says above what it does not take: --partition, --time, --cpus and --memory are for it.",
        ));
    }
    // NUMBER, or NUMBER;CLUSTER.
    let said = String::from_utf8_lossy(&output.stdout);
    Ok(said.trim().split(';').next().unwrap_or_default().to_string())
}

/// The shards of a job that are queued or running; none where Slurm does not know it any more.
pub fn queued(job: &str) -> Vec<usize> {
    let mut squeue = command("squeue");
    squeue.args(["--noheader", "--array", "--format=%K", "--jobs", job]);
    let Ok(output) = squeue.stderr(std::process::Stdio::null()).output() else { return Vec::new() };
    String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse().ok()).collect()
}

/// Numbers that ascend as Slurm writes them: `1-3,7`.
pub fn ranges(numbers: &[usize]) -> String {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for &number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let text = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    runs.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_ranges() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3,7,9-10");
        assert_eq!(ranges(&[]), "");
    }

    #[test]
    fn the_script_names_shards_options_and_paths() {
        let folder = Folder { path: "/data/50 % of it's".into() };
        let wanted = Submit { sbatch: vec!["--partition=main".into(), "--time=1:00:00".into()], ..Submit::default() };
        let text = script(Path::new("/opt/lab"), &folder, "sweep", &wanted, &[2, 3, 5]).unwrap();
        for line in [
            "#SBATCH --array=2-3,5\n",
            "#SBATCH --output=\"/data/50 %% of it's/logs/slurm-%a.txt\"\n",
            "#SBATCH --partition=main\n#SBATCH --time=1:00:00\n",
            "exec /opt/lab shard '/data/50 % of it'\\''s' \"$SLURM_ARRAY_TASK_ID\"\n",
        ] {
            assert!(text.contains(line), "{line} is missing in:\n{text}");
        }
        let wrong = Folder { path: "/data/a\"b".into() };
        assert!(script(Path::new("/opt/lab"), &wrong, "sweep", &wanted, &[1]).is_err());
    }
}
