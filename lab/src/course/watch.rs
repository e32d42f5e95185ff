//! `cargo lab course watch`: where a class stands, by the files of progress in a folder with one for each student.

use super::journal::Journal;
use super::{files, plain, student, table};
use crate::kernel::PROGRESS_FILE;
use crate::trouble::Trouble;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

/// How often it is drawn.
const PAUSE: Duration = Duration::from_secs(5);

/// How far below the folder files are looked for: STUDENT/notebooks/course/progress.jsonl.
const DEPTH: usize = 4;

/// How many mistakes are listed.
const MISTAKES: usize = 10;

/// What a terminal obeys: an empty screen.
const CLEAR: &str = "\u{1b}[2J\u{1b}[H";

/// Shows the class, again and again unless `once`, until the terminal interrupts it.
pub fn watch(folder: &Path, once: bool) -> Result<(), Trouble> {
    loop {
        let page = page(folder)?;
        let clear = if std::io::stdout().is_terminal() && !once { CLEAR } else { "" };
        print!("{clear}{page}");
        let _ = std::io::stdout().flush();
        if once {
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
}

fn page(folder: &Path) -> Result<String, Trouble> {
    let is_progress = |path: &Path| path.file_name().is_some_and(|name| name == PROGRESS_FILE);
    let mut rows =
        vec![["student", "passed", "tries", "hints", "last try", "verdict", "when"].map(String::from).to_vec()];
    let mut mistakes: BTreeMap<(String, u64, String), usize> = BTreeMap::new();
    for path in files(folder, DEPTH, &is_progress)? {
        // A student's file that cannot be read must not end the class's page.
        let journal = Journal::read(&path).unwrap_or_default();
        let sum =
            |of: fn(&super::journal::Tally) -> usize| journal.exercises.values().map(of).sum::<usize>().to_string();
        let (tries, hints) = (sum(|tally| tally.tries), sum(|tally| tally.hints));
        for (id, tally) in &journal.exercises {
            // Whoever makes a mistake five times counts once.
            let made: BTreeSet<&(u64, String)> = tally.mistakes.iter().collect();
            for (number, likely) in made {
                *mistakes.entry((id.clone(), *number, likely.clone())).or_default() += 1;
            }
        }
        let passed = journal.passed().to_string();
        let (when, exercise, verdict) = journal.last.unwrap_or_default();
        rows.push(vec![student(folder, &path), passed, tries, hints, plain(&exercise), plain(&verdict), plain(&when)]);
    }
    if rows.len() == 1 {
        return Ok(format!("No {PROGRESS_FILE} below {} yet.\n", folder.display()));
    }
    let mut page = table(&rows);
    let mut most: Vec<_> = mistakes.into_iter().collect();
    most.sort_by_key(|(mistake, students)| (std::cmp::Reverse(*students), mistake.clone()));
    if !most.is_empty() {
        let mut rows = vec![["exercise", "students", "mistake"].map(String::from).to_vec()];
        let first = most.iter().take(MISTAKES);
        rows.extend(first.map(|((id, _, likely), students)| vec![plain(id), students.to_string(), plain(likely)]));
        page += &format!("\nMistakes that were recognised\n{}", table(&rows));
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps;

    #[test]
    fn a_class_is_a_page() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-watch-{}", std::process::id()));
        steps::make_folder(&folder).unwrap();
        assert!(page(&folder).unwrap().starts_with("No progress.jsonl below"));
        let line = |what: &str| {
            format!(
                "{{\"time\":\"t\",\"exercise\":\"1.2.b\",\"what\":{what:?},\"mistake\":0,\"likely\":\"no scale.\"}}\n"
            )
        };
        steps::write(&folder.join("ada/c3/progress.jsonl"), &(line("wrong") + &line("wrong"))).unwrap();
        steps::write(
            &folder.join("bob\u{1b}/progress.jsonl"),
            &(line("wrong") + "not a line\n" + "{\"exercise\":\"1.2.b\",\"what\":\"passed\",\"time\":\"t2\"}\n"),
        )
        .unwrap();
        let page = page(&folder).unwrap();
        assert!(page.contains("ada      0       2      0      1.2.b     wrong    t\n"), "{page}");
        assert!(page.contains("bob·     1       2      0      1.2.b     passed   t2\n"), "{page}");
        assert!(page.ends_with("exercise  students  mistake\n1.2.b     2         no scale.\n"), "{page}");
        steps::remove_folder(&folder).unwrap();
    }
}
