//! `cargo lab course status`: one student's progress, by notebook.

use super::journal::Journal;
use super::{plain, table};
use crate::kernel::PROGRESS_FILE;
use crate::notebook::Notebook;
use crate::run;
use crate::trouble::Trouble;
use std::path::Path;

/// The notebooks of a folder, and how far each one is.
pub fn status(folder: &Path) -> Result<String, Trouble> {
    let notebooks = run::in_folder(folder)?;
    let file = folder.join(PROGRESS_FILE);
    // Without a file nothing was tried.
    let journal = if file.is_file() { Journal::read(&file)? } else { Journal::default() };
    let mut rows = vec![["notebook", "passed", "tries", "hints"].map(String::from).to_vec()];
    let (mut passed, mut total, mut next) = (0, 0, None);
    for path in notebooks {
        let exercises = Notebook::read(&path)?.exercises();
        let name = plain(&path.file_stem().unwrap_or_default().to_string_lossy());
        let tallies: Vec<_> =
            exercises.iter().map(|id| journal.exercises.get(id).cloned().unwrap_or_default()).collect();
        let done = tallies.iter().filter(|tally| tally.passed.is_some()).count();
        let open = exercises.iter().zip(&tallies).find(|(_, tally)| tally.passed.is_none());
        // The first notebook that is begun and not done, or else the first that is not done.
        if let Some((id, _)) = open {
            let is_begun = tallies.iter().any(|tally| tally.tries + tally.hints > 0);
            let better = next.as_ref().is_none_or(|(_, _, begun)| is_begun && !begun);
            next = if better { Some((id.clone(), name.clone(), is_begun)) } else { next };
        }
        let sum = |of: fn(&super::journal::Tally) -> usize| tallies.iter().map(of).sum::<usize>().to_string();
        let (tries, hints) = (sum(|tally| tally.tries), sum(|tally| tally.hints));
        rows.push(vec![name, format!("{done} of {}", exercises.len()), tries, hints]);
        passed += done;
        total += exercises.len();
    }
    let next = next.map_or("None is left.".to_string(), |(id, name, _)| format!("Next: {} in {name}.", plain(&id)));
    Ok(format!("{}\n{passed} of {total} exercises passed. {next}\n", table(&rows)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn notebooks_are_listed_with_what_is_next() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-status-{}", std::process::id()));
        let cell = |id: &str| {
            format!(
                "{{\"cell_type\":\"code\",\"source\":\"fn f() {{}}\",\"metadata\":{{\"candle_lens\":{{\"exercise\":{id:?}}}}}}}"
            )
        };
        let notebook = |ids: &[&str]| {
            let cells: Vec<String> = ids.iter().map(|id| cell(id)).collect();
            format!("{{\"cells\":[{}],\"metadata\":{{}},\"nbformat\":4,\"nbformat_minor\":5}}", cells.join(","))
        };
        steps::write(&folder.join("a.ipynb"), &notebook(&["1.a", "1.b"])).unwrap();
        steps::write(&folder.join("b.ipynb"), &notebook(&["2.a"])).unwrap();
        assert!(status(&folder).unwrap().ends_with("\n0 of 3 exercises passed. Next: 1.a in a.\n"));
        let lines =
            "{\"exercise\":\"1.a\",\"what\":\"passed\",\"time\":\"t\"}\n{\"exercise\":\"2.a\",\"what\":\"hint\"}\n";
        steps::write(&folder.join(PROGRESS_FILE), lines).unwrap();
        let said = status(&folder).unwrap();
        assert!(
            said.contains("a         1 of 2  1      0\n") && said.contains("b         0 of 1  0      1\n"),
            "{said}"
        );
        assert!(said.ends_with("1 of 3 exercises passed. Next: 1.b in a.\n"), "{said}");
        steps::remove_folder(&folder).unwrap();
    }
}
