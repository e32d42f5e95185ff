//! `cargo lab course reset`: a notebook as it was given out, or one function of it; what a student wrote is kept beside it.

use super::{kernel, notebooks};
use crate::notebook::Notebook;
use crate::places::Places;
use crate::setup;
use crate::steps;
use crate::trouble::Trouble;
use std::path::{Path, PathBuf};

/// The folder for copies, beside the notebook.
pub const KEPT: &str = "kept";

/// Resets a notebook, which is named by its path or by the beginning of a section's name.
pub fn reset(places: &Places, named: &Path, exercise: Option<&str>) -> Result<(), Trouble> {
    let jupyter = setup::everything(places)?;
    let originals = kernel::notebooks(&jupyter, &places.root)?;
    let (path, original) = chosen(&originals, named, &notebooks(places))?;
    let fresh = match exercise {
        None => original.clone(),
        Some(id) => {
            let mut own = Notebook::read(&path)?;
            own.reset_exercise(id, original).ok_or_else(|| {
                let known = original.exercises().join(", ");
                Trouble::new(format!("{} has no exercise {id:?}.", path.display()), format!("It has: {known}."))
            })?;
            own
        }
    };
    if let Some(copy) = keep(&path)? {
        println!("kept {}", places.brief(&copy));
    }
    fresh.write(&path)?;
    println!("reset {}", places.brief(&path));
    Ok(())
}

/// The file that is meant, and its original.
fn chosen<'a>(
    originals: &'a [(String, Notebook)],
    named: &Path,
    folder: &Path,
) -> Result<(PathBuf, &'a Notebook), Trouble> {
    let stem = named.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let exact = originals.iter().filter(|(file, _)| *file == stem).collect::<Vec<_>>();
    let begins = || originals.iter().filter(|(file, _)| file.starts_with(&format!("{stem}_"))).collect::<Vec<_>>();
    let found = if exact.is_empty() { begins() } else { exact };
    match found.as_slice() {
        [(file, original)] => {
            let path = if named.is_file() { named.to_path_buf() } else { folder.join(format!("{file}.ipynb")) };
            Ok((path, original))
        }
        _ => {
            let known: Vec<&str> = originals.iter().map(|(file, _)| file.as_str()).collect();
            Err(Trouble::new(
                format!("{} is the name of {} notebooks of the course.", named.display(), found.len()),
                format!("Name one of {}, or its file.", known.join(", ")),
            ))
        }
    }
}

/// Copies a file, if it is there, under a number that is free.
fn keep(path: &Path) -> Result<Option<PathBuf>, Trouble> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(None) };
    let folder = path.with_file_name(KEPT);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let copies = (1..).map(|number: u32| folder.join(format!("{stem}-{number}.ipynb")));
    let copy = copies.into_iter().find(|copy| !copy.exists()).unwrap_or_else(|| folder.clone());
    steps::write(&copy, &text)?;
    Ok(Some(copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notebook(source: &str) -> Notebook {
        let cell = format!(
            "{{\"cell_type\":\"code\",\"source\":{source:?},\"outputs\":[],\"metadata\":{{\"candle_lens\":{{\"exercise\":\"1.a\"}}}}}}"
        );
        let text = format!("{{\"cells\":[{cell}],\"metadata\":{{}},\"nbformat\":4,\"nbformat_minor\":5}}");
        Notebook::parse(Path::new("n"), &text).unwrap()
    }

    #[test]
    fn sections_are_found_by_their_beginnings_and_copies_are_kept() {
        let originals = [
            ("c1_one".to_string(), notebook("a")),
            ("c10_ten".to_string(), notebook("b")),
            ("c8_x".to_string(), notebook("c")),
            ("c8_y".to_string(), notebook("d")),
        ];
        let file = |named: &str| chosen(&originals, Path::new(named), Path::new("/f")).map(|(path, _)| path);
        assert_eq!(file("c1").unwrap(), Path::new("/f/c1_one.ipynb"));
        assert_eq!(file("c10_ten").unwrap(), Path::new("/f/c10_ten.ipynb"));
        assert!(file("c8").unwrap_err().to_string().contains("2 notebooks"));
        assert!(file("c7").unwrap_err().to_string().contains("c1_one, c10_ten"));

        let folder = std::env::temp_dir().join(format!("candle-lens-lab-reset-{}", std::process::id()));
        let own = folder.join("c1_one.ipynb");
        assert_eq!(keep(&own).unwrap(), None);
        steps::write(&own, "mine").unwrap();
        assert_eq!(keep(&own).unwrap(), Some(folder.join("kept/c1_one-1.ipynb")));
        assert_eq!(keep(&own).unwrap(), Some(folder.join("kept/c1_one-2.ipynb")));
        steps::remove_folder(&folder).unwrap();
    }

    #[test]
    fn one_function_is_given_back() {
        let (original, mut own) = (notebook("fn f() { todo!() }"), notebook("fn f() { 1 }"));
        assert!(own.reset_exercise("1.b", &original).is_none());
        own.reset_exercise("1.a", &original).unwrap();
        assert_eq!(own.code_cells()[0].source, "fn f() { todo!() }");
    }
}
