//! What the library knows of its course: the notebooks as students get them, asked of a kernel, so that they are those of the library
//! that is installed, in a clone or not.

use crate::notebook::Notebook;
use crate::session::Jupyter;
use crate::trouble::Trouble;
use crate::verdict;
use std::path::Path;

/// Seconds that the answer may take.
const PATIENCE: u64 = 600;

/// Prints one notebook a line, behind its file's name.
const QUESTION: &str = "for section in candle_lens::course::sections() {\n    println!(\"{}\\t{}\", section.file, \
     section.notebook(candle_lens::course::For::Students));\n}";

/// The sections' files, each with the notebook for students.
pub fn notebooks(jupyter: &Jupyter, folder: &Path) -> Result<Vec<(String, Notebook)>, Trouble> {
    let mut session = jupyter.start(folder, None)?;
    let reply = session.execute(QUESTION, PATIENCE, |_| ());
    session.end();
    let reply = reply?;
    let failed = |why: String| {
        Trouble::new(format!("The library did not say what its course is: {why}."), "Run `cargo lab setup`.")
    };
    if let Some(complaint) = verdict::complaint(&reply) {
        return Err(failed(complaint));
    }
    let printed: String = reply.outputs.iter().filter_map(|output| output["text"].as_str()).collect();
    let pairs = printed.lines().filter_map(|line| line.split_once('\t'));
    pairs.map(|(file, text)| Ok((file.to_string(), Notebook::parse(Path::new(file), text)?))).collect()
}
