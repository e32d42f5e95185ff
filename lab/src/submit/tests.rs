//! Shards as processes of this machine, with a shell script as the work: no kernel.

use super::options::{Submit, parse, parse_gather};
use super::shards::{Folder, State};
use super::work::Work;
use super::{local, one};
use crate::steps::remove_folder;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("candle-lens-lab-{name}-{}", std::process::id()));
    remove_folder(&folder).unwrap();
    folder
}

fn program(script: &str, shards: usize) -> Submit {
    Submit { program: ["sh", "-c", script].map(String::from).into(), shards, timeout: 60, ..Submit::default() }
}

fn folder(path: &Path, wanted: &Submit) -> Folder {
    Folder::begin(path, &Work::of(wanted).unwrap()).unwrap()
}

/// Writes which shard it is, and fails as shard 3 as long as there is no file `ready`.
const SCRIPT: &str = "echo at work; test \"$CANDLE_LENS_SHARD\" != 3/8 || test -e \"$CANDLE_LENS_OUT/ready\" || \
                      { echo no more memory >&2; exit 7; }; \
                      echo \"$CANDLE_LENS_SHARD\" >> \"$CANDLE_LENS_OUT/${CANDLE_LENS_SHARD%/*}\"";

#[test]
fn only_what_failed_is_computed_again() {
    let path = scratch("failed");
    let wanted = program(SCRIPT, 8);
    let work = folder(&path, &wanted);
    assert_eq!(work.state(1), State::Missing);
    let all: Vec<usize> = (1..=8).collect();
    local::compute(&work, &all, 3).unwrap();
    let State::Failed(why) = work.state(3) else { panic!("shard 3 is {:?}", work.state(3)) };
    assert!(why.contains("exit status: 7") && why.contains("no more memory"), "{why}");
    let done = |number: &usize| matches!(work.state(*number), State::Done(_));
    assert_eq!(all.iter().filter(|number| done(number)).count(), 7);
    fs::write(work.results().join("ready"), "").unwrap();
    // As a second `submit` does, which finds one folder of the same work.
    let again = folder(&path, &wanted);
    local::compute(&again, &all, 8).unwrap();
    assert!(all.iter().all(done));
    for number in all {
        let said = fs::read_to_string(work.results().join(number.to_string())).unwrap();
        assert_eq!(said, format!("{number}/8\n"), "each was computed once");
    }
    remove_folder(&path).unwrap();
}

/// The process that computes a shard is killed or told to end, and the shard begins again.
#[test]
fn a_shard_that_is_killed_is_neither_done_nor_running() {
    let path = scratch("killed");
    let script = "test -e \"$CANDLE_LENS_OUT/go\" || { echo $$ > \"$CANDLE_LENS_OUT/began\"; exec sleep 60; }";
    let work = folder(&path, &program(script, 2));
    // What a task is: this process cannot be killed, so another one holds the shard as it does.
    let held = work.hold(2).unwrap().unwrap();
    assert_eq!(work.state(2), State::Running);
    assert!(work.hold(2).unwrap().is_none(), "it is not computed twice at once");
    assert_eq!(one::compute(&work, 2, None).unwrap(), State::Running);
    drop(held);
    assert_eq!(work.state(2), State::Stopped);
    let ended_by = |signal: &str| {
        let _ = fs::remove_file(work.results().join("began"));
        std::thread::scope(|scope| {
            let task = scope.spawn(|| one::compute(&work, 1, None).unwrap());
            let began = || fs::read_to_string(work.results().join("began")).ok()?.trim().parse::<u32>().ok();
            let id = loop {
                match began() {
                    Some(id) => break id,
                    None => std::thread::sleep(std::time::Duration::from_millis(10)),
                }
            };
            assert_eq!(work.state(1), State::Running);
            assert!(Command::new("kill").args([signal, &id.to_string()]).status().unwrap().success());
            task.join().unwrap()
        })
    };
    let State::Failed(why) = ended_by("-KILL") else { panic!("it was killed") };
    assert!(why.contains("signal: 9"), "{why}");
    // Slurm tells the work and the process that waits for it, and the first may be gone before the second hears of it.
    assert_eq!(ended_by("-TERM"), State::Stopped);
    assert_eq!(work.state(1), State::Stopped);
    fs::write(work.results().join("go"), "").unwrap();
    local::compute(&work, &[1, 2], 2).unwrap();
    assert!([1, 2].iter().all(|number| matches!(work.state(*number), State::Done(_))));
    remove_folder(&path).unwrap();
}

#[test]
fn a_folder_holds_one_piece_of_work() {
    let path = scratch("other");
    let work = folder(&path, &program("true", 2));
    local::compute(&work, &[1], 1).unwrap();
    let begin = |wanted: &Submit| Folder::begin(&path, &Work::of(wanted).unwrap());
    for (wanted, said) in [(program("true", 3), "other work"), (program("false", 2), "other work")] {
        let why = begin(&wanted).err().unwrap().to_string();
        assert!(why.contains(said) && why.contains("--out"), "{why}");
    }
    let changed = Work { digest: "another".into(), ..Work::of(&program("true", 2)).unwrap() };
    let why = Folder::begin(&path, &changed).err().unwrap().to_string();
    assert!(why.contains("has changed"), "{why}");
    let read = Folder::open(&path).unwrap().work().unwrap();
    assert_eq!(read, Work::of(&program("true", 2)).unwrap());
    assert!(read.command(&path).starts_with("cargo lab submit --shards 2 --out "), "{}", read.command(&path));
    let why = Folder::open(&std::env::temp_dir()).err().unwrap().to_string();
    assert!(why.contains("cargo lab submit"), "{why}");
    remove_folder(&path).unwrap();
}

#[test]
fn what_is_submitted_is_understood() {
    let line = |text: &str| parse(&text.split_whitespace().collect::<Vec<_>>());
    let wanted = line("a.ipynb --shards 16 --partition gpu --time 2:00:00 --cpus 4 --memory 8G").unwrap();
    assert_eq!((wanted.shards, wanted.local), (16, None));
    assert_eq!(wanted.sbatch, ["--partition=gpu", "--time=2:00:00", "--cpus-per-task=4", "--mem=8G"]);
    assert!(wanted.folder().unwrap().ends_with("a-shards"));
    let wanted = line("--shards 2 --local 2 --out x -- sweep --shards 3").unwrap();
    assert_eq!((wanted.program, wanted.local), (vec!["sweep".into(), "--shards".into(), "3".into()], Some(2)));
    for (text, said) in [
        ("a.ipynb", "How many shards"),
        ("a.ipynb --shards 0", "from 1"),
        ("a.ipynb --shards", "needs a value"),
        ("--shards 2", "Neither"),
        ("a.ipynb --shards 2 --out x -- sweep", "both"),
        ("a.ipynb b.ipynb --shards 2", "second notebook"),
        ("--shards 2 -- sweep", "--out"),
        ("--shards 2 --out x --", "no program"),
        ("a.ipynb --shards 2 --partition a;b", "cannot be"),
        ("a.ipynb --shards 2 --nodes 3", "does not know"),
    ] {
        let why = line(text).unwrap_err().to_string();
        assert!(why.contains(said), "{text}: {why}");
    }
    assert_eq!(parse_gather(&["x"]).unwrap(), Path::new("x"));
    assert!(parse_gather(&[]).is_err() && parse_gather(&["--all"]).is_err());
}
