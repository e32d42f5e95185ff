//! Writes the course's notebooks with the references in place of empty functions: `cargo run --example course_notebooks -- FOLDER`.
//! `cargo lab test kernel` executes them.

use std::fs;
use std::path::PathBuf;

use candle_lens::course::{For, sections};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("usage: course_notebooks FOLDER")?);
    fs::create_dir_all(&folder)?;
    for section in sections() {
        let text = serde_json::to_string_pretty(&section.notebook(For::Tests))?;
        fs::write(folder.join(format!("{}.ipynb", section.file)), text + "\n")?;
    }
    Ok(())
}
