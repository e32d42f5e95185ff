//! What the compiler says of a cell, in sentences that fit a notebook.
//!
//! evcxr shows of each message its first line. For some mistakes that line says too little there: a variable that "cannot be found" was
//! moved by an earlier cell or lost with a failed one, and an error in a function of an earlier cell comes from another function that
//! this cell changes. So the compiler's messages pass through here, with a memory of what earlier cells had: what they kept, what they
//! moved, and their functions. Codes and places stay as they are: evcxr goes by them.

use super::variables;
use crate::process::exit_code;
use crate::steps::write;
use crate::trouble::Trouble;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// The memory's file, in the folder of evcxr's `src`.
const MEMORY: &str = "target/candle-lens-memory.json";

/// How evcxr takes a variable from the last cell, and hands it to the next.
pub const TAKEN: &str = "evcxr_variable_store.take_variable::<";
const PUT: &str = "evcxr_variable_store.put_variable::<";

/// Calls the compiler; its messages are explained, and what the cell had is remembered if it compiles.
pub fn compile(mut call: Command) -> Result<ExitCode, Trouble> {
    let failed = |source| Trouble::file("Calling the compiler in", Path::new("."), &source);
    let path = source(&call);
    if let Some(noted) = fs::read_to_string(&path).ok().and_then(|source| variables::noted(&source)) {
        fs::write(&path, noted).map_err(failed)?;
    }
    // Otherwise it only looks at the cell, which then does not run.
    let is_build = call
        .get_args()
        .map(|word| word.to_string_lossy())
        .any(|word| word.starts_with("--emit=") && word.contains("link"));
    let output = call.stderr(Stdio::piped()).spawn().and_then(|child| child.wait_with_output()).map_err(failed)?;
    let memory_file = path.ancestors().nth(2).unwrap_or(Path::new(".")).join(MEMORY);
    let memory = Memory::read(&memory_file);
    let cell = Cell::of(&fs::read_to_string(&path).unwrap_or_default());
    let mut said = Vec::new();
    for line in output.stderr.split_inclusive(|byte| *byte == b'\n') {
        match serde_json::from_slice::<Value>(line) {
            Ok(mut message) if message["level"] == "error" => {
                explain(&mut message, &cell, &memory);
                said.extend(format!("{message}\n").into_bytes());
            }
            _ => said.extend(line),
        }
    }
    std::io::stderr().write_all(&said).map_err(failed)?;
    if is_build && output.status.success() {
        // Without it messages are the compiler's own.
        let _ = memory.after(&cell).keep(&memory_file);
    }
    Ok(exit_code(output.status))
}

/// The file that the compiler is called for.
fn source(call: &Command) -> PathBuf {
    let file = call.get_args().map(Path::new).find(|word| word.extension().is_some_and(|ending| ending == "rs"));
    let folder = call.get_current_dir().unwrap_or(Path::new("."));
    folder.join(file.unwrap_or(Path::new("src/lib.rs")))
}

/// What earlier cells had.
#[derive(Debug, Default, PartialEq)]
struct Memory {
    /// Variables that were kept for the next cell.
    kept: BTreeSet<String>,
    /// Variables that were moved, with the line that did it.
    moved: BTreeMap<String, String>,
    /// Functions and types, by their names.
    items: BTreeMap<String, String>,
}

impl Memory {
    fn read(path: &Path) -> Self {
        let read: Value = fs::read(path).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        let pairs = |of: &Value| -> BTreeMap<String, String> {
            let pairs = of.as_object().into_iter().flatten();
            pairs.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_string()))).collect()
        };
        let kept = read["kept"].as_array().into_iter().flatten();
        Self {
            kept: kept.filter_map(Value::as_str).map(str::to_string).collect(),
            moved: pairs(&read["moved"]),
            items: pairs(&read["items"]),
        }
    }

    fn keep(&self, path: &Path) -> Result<(), Trouble> {
        let Self { kept, moved, items } = self;
        write(path, &json!({ "kept": kept, "moved": moved, "items": items }).to_string())
    }

    /// Once a cell has been compiled.
    fn after(mut self, cell: &Cell) -> Self {
        for name in cell.taken.difference(&cell.put) {
            self.kept.remove(name);
            self.moved.insert(name.clone(), cell.line_with(name));
        }
        for name in &cell.put {
            self.moved.remove(name);
            self.kept.insert(name.clone());
        }
        self.items = cell.items.clone();
        self
    }
}

/// A cell as evcxr writes it for the compiler.
#[derive(Debug, Default)]
struct Cell {
    lines: Vec<String>,
    /// Variables that come from earlier cells, and that go to later ones.
    taken: BTreeSet<String>,
    put: BTreeSet<String>,
    items: BTreeMap<String, String>,
}

impl Cell {
    fn of(source: &str) -> Self {
        let lines: Vec<String> = source.lines().map(str::to_string).collect();
        let named = |of: &str| -> BTreeSet<String> {
            let calls = lines.iter().filter(|line| line.contains(of));
            calls.filter_map(|line| between(line, "(stringify!(", ")")).map(str::to_string).collect()
        };
        let (taken, put) = (named(TAKEN), named(PUT));
        let begins = (0..lines.len()).filter_map(|line| Some((line, item(&lines[line])?.to_string())));
        let items = begins.map(|(line, name)| (name, text(&lines[line..]))).collect();
        Self { taken, put, items, lines }
    }

    /// The line of the user's that has a name in it as a word, behind those that take the variables.
    fn line_with(&self, name: &str) -> String {
        let begin = self.lines.iter().rposition(|line| line.contains(TAKEN)).map_or(0, |line| line + 1);
        let own = self.lines[begin..].iter().filter(|line| !line.contains("evcxr_variable_store"));
        let found = own.map(|line| line.trim()).find(|line| has_word(line, name));
        found.unwrap_or_default().to_string()
    }

    /// The item that a line, counted from 1, is in.
    fn item_at(&self, line: usize) -> Option<&str> {
        let begin = (0..line.min(self.lines.len())).rev().find(|line| item(&self.lines[*line]).is_some())?;
        let name = item(&self.lines[begin])?;
        (line <= begin + text(&self.lines[begin..]).lines().count()).then_some(name)
    }
}

/// The name of the item that a line begins.
fn item(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub ").unwrap_or(line);
    let rest = ["fn ", "struct ", "enum ", "const ", "type "].iter().find_map(|word| rest.strip_prefix(word))?;
    let end = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
    (end > 0).then_some(&rest[..end])
}

/// An item from its first line to the brace that ends it.
fn text(lines: &[String]) -> String {
    let is_end = |line: &String| line == "}" || line.ends_with(';') && !line.starts_with(' ');
    let one_line = lines[0].ends_with('}') || lines[0].ends_with(';');
    let end = if one_line { 0 } else { lines.iter().position(is_end).unwrap_or(lines.len() - 1) };
    lines[..=end].join("\n")
}

pub fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
    })
}

pub fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// Says more in a message, where a notebook needs it.
fn explain(message: &mut Value, cell: &Cell, memory: &Memory) {
    let text = message["message"].as_str().unwrap_or_default().to_string();
    let code = message["code"]["code"].as_str().unwrap_or_default().to_string();
    let more = missing(message, &text, &code, cell, memory)
        .or_else(|| changed(message, &text, cell, memory))
        .or_else(|| hint(&text, &code));
    if let Some(more) = more {
        message["message"] = more.into();
    }
    if primary_item(message, cell).is_none() {
        lift(message, cell);
    }
}

/// Of an error in a cell's last expression evcxr shows only the note that has its place in a function, such as "function defined here":
/// the note says what the error is.
fn lift(message: &mut Value, cell: &Cell) {
    let spans = message["spans"].as_array().into_iter().flatten();
    let label = spans.filter(|span| span["is_primary"] == true).find_map(|span| span["label"].as_str());
    let label = label.map_or(String::new(), |label| format!(": {label}"));
    let error = format!("{}{label}", message["message"].as_str().unwrap_or_default());
    for note in message["children"].as_array_mut().into_iter().flatten() {
        if primary_item(note, cell).is_some() {
            note["message"] = format!("{error} ({})", note["message"].as_str().unwrap_or_default()).into();
        }
    }
}

/// A name that cannot be found: which of the four causes it is.
fn missing(message: &Value, text: &str, code: &str, cell: &Cell, memory: &Memory) -> Option<String> {
    let name = between(text, "cannot find value `", "`").or_else(|| between(text, "cannot find function `", "`"))?;
    if !["E0425", "E0423"].contains(&code) {
        return None;
    }
    let is_variable = cell.taken.contains(name) || memory.kept.contains(name);
    let why = if is_variable && primary_item(message, cell).is_some() {
        "it is a variable of the notebook, which a `fn` cannot see. Hand it to the function as an argument".to_string()
    } else if let Some(line) = memory.moved.get(name) {
        format!("it was moved by `{line}`. Lend it there (`&{name}`) or clone it, and run the cell that makes it again")
    } else if memory.kept.contains(name) {
        "it is lost: the cell that made it failed, or the process of the cells ended. Run that cell again".to_string()
    } else {
        "no cell that ran has defined it. Run the cell that does, or look for a mistyped name".to_string()
    };
    Some(format!("{text}: {why}."))
}

/// The item that a message is about.
fn primary_item<'a>(message: &Value, cell: &'a Cell) -> Option<&'a str> {
    let primary = message["spans"].as_array()?.iter().find(|span| span["is_primary"] == true)?;
    cell.item_at(usize::try_from(primary["line_start"].as_u64()?).ok()?)
}

/// An error in a function of an earlier cell, which uses one that this cell changes.
fn changed(message: &Value, text: &str, cell: &Cell, memory: &Memory) -> Option<String> {
    let name = primary_item(message, cell)?;
    let own = cell.items.get(name)?;
    if memory.items.get(name) != Some(own) {
        return None;
    }
    let is_changed = |other: &&String| memory.items.get(*other).is_some_and(|old| *old != cell.items[*other]);
    let other = cell.items.keys().filter(is_changed).find(|other| has_word(own, other))?;
    Some(format!(
        "`{name}`, from an earlier cell, uses `{other}`, which this cell changes: run one cell that defines both ({text})."
    ))
}

fn hint(text: &str, code: &str) -> Option<String> {
    if text.contains("expected `;`, found `evcxr_variable_store`") {
        return Some(
            "expected `;` at the end of the cell: a line that begins with `let` ends with a semicolon.".into(),
        );
    }
    if code == "E0373" {
        return Some(format!(
            "{text}: no later cell could call it. Write a `fn` that takes what it needs as arguments, or put the closure into the \
             call that needs it."
        ));
    }
    let moved = between(text, "of moved value: `", "`").filter(|_| code == "E0382")?;
    Some(format!(
        "{text}: an earlier line took it. Lend it there (`&{moved}`), or clone it (`{moved}.clone()`, which copies no numbers of a tensor)."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(items: &str, taken: &[&str], code: &str, put: &[&str]) -> String {
        let line = |call: &str, name: &str| format!("{call}f32>(stringify!({name}), {name});\n");
        let taken: String = taken
            .iter()
            .map(|name| format!("let {name} = {}", line(TAKEN, name).replace(&format!(", {name})"), ")")))
            .collect();
        let put: String = put.iter().map(|name| line(PUT, name)).collect();
        format!("use candle_lens::prelude::*;\n{items}\npub extern \"C\" fn run_user_code_1(\n{taken}{code}\n{put}}}\n")
    }

    fn said(message: &str, code: &str, line: usize, cell: &Cell, memory: &Memory) -> String {
        let mut json = json!({
            "level": "error", "message": message, "code": { "code": code }, "children": [],
            "spans": [{ "is_primary": true, "line_start": line }],
        });
        explain(&mut json, cell, memory);
        json["message"].as_str().unwrap().to_string()
    }

    #[test]
    fn a_name_that_is_not_found_has_four_causes() {
        let text = source("", &["q"], "let r = q;", &["r", "kept"]);
        let memory =
            Memory::default().after(&Cell::of(&source("", &[], "let q = 1.0;", &["q"]))).after(&Cell::of(&text));
        assert_eq!(memory.moved["q"], "let r = q;");
        let next = Cell::of(&source("fn f() -> f32 {\n    2.0 * r\n}", &["r"], "q + lost", &["r"]));
        let found = |name: &str, line: usize| {
            said(&format!("cannot find value `{name}` in this scope"), "E0425", line, &next, &memory)
        };
        assert!(found("q", 9).contains("moved by `let r = q;`"));
        assert!(found("r", 3).contains("a `fn` cannot see"));
        assert!(found("kept", 9).contains("it is lost"));
        assert!(found("other", 9).contains("no cell that ran has defined it"));
        assert_eq!(said("mismatched types", "E0308", 9, &next, &memory), "mismatched types");
    }

    #[test]
    fn a_function_of_an_earlier_cell_is_named_with_the_one_that_changes() {
        let high = "fn high() -> i32 {\n    low() + 1\n}";
        let memory =
            Memory::default().after(&Cell::of(&source(&format!("fn low() -> i32 {{ 1 }}\n{high}"), &[], "", &[])));
        let cell = Cell::of(&source(&format!("fn low() -> f32 {{ 1.0 }}\n{high}"), &[], "", &[]));
        let message = said("cannot add", "E0277", 4, &cell, &memory);
        assert!(message.starts_with("`high`, from an earlier cell, uses `low`"), "{message}");
        // Its own mistake is its own.
        let own = Cell::of(&source("fn low() -> i32 { 1 }\nfn high() -> f32 {\n    low() + 1\n}", &[], "", &[]));
        assert_eq!(said("mismatched types", "E0308", 4, &own, &memory), "mismatched types");
    }

    #[test]
    fn what_is_remembered_is_read_back() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-explain-{}", std::process::id()));
        let memory = Memory::default().after(&Cell::of(&source("fn f() {}", &["a"], "drop(a)", &["b"])));
        memory.keep(&folder.join(MEMORY)).unwrap();
        assert_eq!(Memory::read(&folder.join(MEMORY)), memory);
        assert_eq!(Memory::read(&folder.join("none")), Memory::default());
        crate::steps::remove_folder(&folder).unwrap();
    }
}
