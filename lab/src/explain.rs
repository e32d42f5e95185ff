//! What the compiler says of a cell, in sentences that fit a notebook.
//!
//! evcxr shows of each message its first line. For some mistakes that line says too little there: a variable that "cannot be found" was
//! moved by an earlier cell or lost with a failed one, and an error in a function of an earlier cell comes from another function that
//! this cell changes. So the compiler's messages pass through here, with a memory of what earlier cells had: what they kept, what they
//! moved, and their functions. Codes and places stay as they are: evcxr goes by them.

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
const TAKEN: &str = "evcxr_variable_store.take_variable::<";
const PUT: &str = "evcxr_variable_store.put_variable::<";

/// Calls the compiler; its messages are explained, and what the cell had is remembered if it compiles.
pub fn compile(mut call: Command) -> Result<ExitCode, Trouble> {
    let failed = |source| Trouble::file("Calling the compiler in", Path::new("."), &source);
    let path = source(&call);
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
    if output.status.success() {
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

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (text[..at].chars().next_back(), text[at + word.len()..].chars().next());
        !before.is_some_and(is_of_word) && !after.is_some_and(is_of_word)
    })
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    Some(text.split_once(before)?.1.split_once(after)?.0)
}

/// Says more in a message, where a notebook needs it.
fn explain(message: &mut Value, cell: &Cell, memory: &Memory) {
    let text = message["message"].as_str().unwrap_or_default().to_string();
    let code = message["code"]["code"].as_str().unwrap_or_default().to_string();
    let more = missing(&text, &code, cell, memory)
        .or_else(|| changed(message, &text, cell, memory))
        .or_else(|| not_kept(message, &code))
        .or_else(|| hint(&text, &code));
    if let Some(more) = more {
        message["message"] = more.into();
    }
}

/// A name that cannot be found: which of the four causes it is.
fn missing(text: &str, code: &str, cell: &Cell, memory: &Memory) -> Option<String> {
    let name = between(text, "cannot find value `", "`").or_else(|| between(text, "cannot find function `", "`"))?;
    if !["E0425", "E0423"].contains(&code) {
        return None;
    }
    let why = if cell.taken.contains(name) {
        format!("it is a variable of the notebook, which a `fn` cannot see. Hand it to the function as an argument")
    } else if let Some(line) = memory.moved.get(name) {
        format!("it was moved by `{line}`. Lend it there (`&{name}`) or clone it, and run the cell that makes it again")
    } else if memory.kept.contains(name) {
        "it is lost: the cell that made it failed, which drops what a cell defines. Run that cell again".to_string()
    } else {
        "no cell that ran has defined it. Run the cell that does, or look for a mistyped name".to_string()
    };
    Some(format!("{text}: {why}."))
}

/// An error in a function of an earlier cell, which uses one that this cell changes.
fn changed(message: &Value, text: &str, cell: &Cell, memory: &Memory) -> Option<String> {
    let spans = message["spans"].as_array()?;
    let primary = spans.iter().find(|span| span["is_primary"] == true)?;
    let name = cell.item_at(usize::try_from(primary["line_start"].as_u64()?).ok()?)?;
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

/// A variable that cannot be kept for the next cell.
fn not_kept(message: &Value, code: &str) -> Option<String> {
    if code != "E0521" {
        return None;
    }
    let spans = message["spans"].as_array()?.iter();
    let lines = spans.filter_map(|span| span["text"][0]["text"].as_str());
    let name = lines.filter(|line| line.contains(PUT)).find_map(|line| between(line, "(stringify!(", ")"))?;
    Some(format!(
        "`{name}` cannot be kept for the next cell: it is a closure or borrows from something. Write a `fn` instead of a closure \
         (or `let {name}: Box<dyn Fn(..) -> ..> = Box::new(..);`), and put what borrows into a block."
    ))
}

fn hint(text: &str, code: &str) -> Option<String> {
    if text.contains("expected `;`, found `evcxr_variable_store`") {
        return Some(
            "expected `;` at the end of the cell: a line that begins with `let` ends with a semicolon.".into(),
        );
    }
    let moved = between(text, "of moved value: `", "`").filter(|_| code == "E0382")?;
    Some(format!(
        "{text}: an earlier line took it. Lend it there (`&{moved}`), or clone it (`{moved}.clone()`, which copies no numbers of a tensor)."
    ))
}
