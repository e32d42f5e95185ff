//! Whether each stand-in does its work in a kernel that runs: `cargo lab doctor`.

use super::{PLAIN, are_off, level};
use crate::session::{Reply, Session};
use crate::trouble::Trouble;
use std::fs;
use std::path::{Path, PathBuf};

/// Seconds a cell may take.
const PATIENCE: u64 = 300;

/// More packages than a cell can name: rust-analyzer would read all.
const PACKAGES: usize = 60;

/// What the process of the cells sees: evcxr's folder, the sources, and how many packages the kernel's cargo lists.
const LOOK: &str = r##"{
    let of = |name: &str| std::env::var(name).unwrap_or_default();
    let mut cargo = std::process::Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--offline"]).current_dir(of("EVCXR_TMPDIR"));
    let said = cargo.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    println!("folder={}", of("EVCXR_TMPDIR"));
    println!("sources={}", of("RUST_SRC_PATH"));
    println!("cargo={}", of("CANDLE_LENS_CARGO"));
    println!("packages={}", said.matches("\"manifest_path\"").count());
}"##;

const LOOPS: &str =
    "let mut sum = 0u64; for i in 0..9 { for j in 0..9 { sum += i * j * doctor_tries; } } assert!(sum > 0);";

/// What one stand-in turned out to do.
pub type Finding = (&'static str, Result<String, Trouble>);

/// Tries each in a kernel.
///
/// # Errors
/// The kernel is gone.
pub fn findings(session: &mut Session) -> Result<Vec<Finding>, Trouble> {
    if are_off() {
        return Ok(vec![("stand-ins", Ok(format!("off, as {PLAIN} is set")))]);
    }
    let mut said = |code: &str| session.execute(code, PATIENCE, |_| ()).map(|reply| texts(&reply));
    let seen = said(LOOK)?;
    let look = |name: &str| seen.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    let look = |name: &str| look(name).unwrap_or_default().to_string();
    let folder = PathBuf::from(look("folder"));
    let level_of_last = || {
        let read = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        level::level(&read("src/lib.rs"), &read("Cargo.toml"))
    };
    said("let doctor_tries = 1u64;")?;
    let simple = level_of_last();
    said(LOOPS)?;
    let nested = level_of_last();
    let messages = said("doctor_never_defined_this")?;
    let table = said("variables()")?;
    let packages: usize = look("packages").parse().unwrap_or(0);
    Ok(vec![
        judge("cargo and rustup", !look("cargo").is_empty() && packages > 0, "the kernel calls the launcher"),
        judge("cells", folder.join("target/candle-lens-cell.json").is_file(), "the compiler is called without cargo"),
        judge("levels", simple == "0" && nested == "3", "nested loops are optimised, nothing else is"),
        judge("list of crates", (1..PACKAGES).contains(&packages), &format!("{packages} crates are read for types")),
        judge("standard library", is_short(Path::new(&look("sources"))), "read without vector instructions"),
        judge("messages", messages.contains("no cell that ran has defined it"), "explained"),
        judge("variables", table.contains("doctor_tries"), "in the table"),
    ])
}

fn judge(name: &'static str, works: bool, how: &str) -> Finding {
    let wrong = || {
        Trouble::new(
            "This stand-in of the kernel does nothing, or not what it should: cells work, but more slowly or with less to read.",
            format!(
                "`cargo lab setup` repairs what is missing. If that does not help, report it (lab/src/stand_ins/); {PLAIN}=1 in \
                 Jupyter's environment turns all of them off."
            ),
        )
    };
    (name, if works { Ok(how.to_string()) } else { Err(wrong()) })
}

/// Whether these sources of the standard library are ours; a toolchain may come without any.
fn is_short(sources: &Path) -> bool {
    let instructions = sources.join("stdarch/crates/core_arch/src/mod.rs");
    crate::rust::library_sources().is_none() || fs::metadata(instructions).is_ok_and(|file| file.len() == 0)
}

/// All that a cell said.
fn texts(reply: &Reply) -> String {
    let mut said = String::new();
    for output in &reply.outputs {
        let data = output["data"].as_object().into_iter().flat_map(|data| data.values());
        let own = [&output["text"], &output["evalue"]].into_iter();
        own.chain(data).filter_map(|text| text.as_str()).for_each(|text| said += text);
        said.push('\n');
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_a_cell_says_is_read() {
        let outputs = vec![
            json!({ "output_type": "stream", "text": "folder=/t\n" }),
            json!({ "output_type": "error", "evalue": "no" }),
            json!({ "output_type": "execute_result", "data": { "text/plain": "a table" } }),
        ];
        let reply =
            Reply { status: "ok".into(), execution_count: Value::Null, outputs, took: std::time::Duration::ZERO };
        assert_eq!(texts(&reply), "folder=/t\n\nno\na table\n");
    }
}
