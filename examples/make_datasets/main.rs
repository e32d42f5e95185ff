//! Writes the data sets of `datasets/` (or of the folder given): `cargo run --example make_datasets [FOLDER]`.

mod files;
#[path = "../train_tiny/tiny/mod.rs"]
mod tiny;

use std::path::PathBuf;

use candle_lens::{Error, Result};
use files::csv_files;

fn main() -> Result<()> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "datasets".into()));
    std::fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, format!("cannot be made ({error}).")))?;
    for file in csv_files()? {
        let path = folder.join(&file.name);
        std::fs::write(&path, &file.text)
            .map_err(|error| Error::file(&path, format!("cannot be written ({error}).")))?;
        println!("{}: {} rows", path.display(), file.text.lines().count() - 1);
    }
    Ok(())
}
