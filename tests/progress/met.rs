//! What the walks see together: that no work is reported as done long before it is, and that all work of the sources was met.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use candle_lens::progress::rehearsal::Moment;

/// What is not walked, by the beginning of its text, and why.
const NOT_WALKED: [(&str, &str); 5] = [
    ("asking the hub", "it needs a network: tests/storage/hub has a server of its own"),
    ("asking the hub for the list of files", "as above"),
    ("fetching ", "as above"),
    ("waiting for another process", "it needs one"),
    ("checking ", "a check of the course, whose clock is a real one: src/course/judge.rs"),
];

/// What all walks so far have met, and how many have ended.
static MET: Mutex<(BTreeSet<String>, usize)> = Mutex::new((BTreeSet::new(), 0));

/// How long work was reported as done before it was, in parts of the whole, and what was.
pub fn done_too_early(moments: &[Moment], ended: f64, whole: f64) -> Vec<(f64, String)> {
    let at = |place: usize| moments.get(place).map_or(ended, |moment| moment.at.as_nanos() as f64);
    let is_done = |place: usize| moments[place].share.is_some_and(|share| share >= 1.);
    let mut early = Vec::new();
    let mut place = 0;
    while place < moments.len() {
        let begin = place;
        place += 1;
        if !is_done(begin) {
            continue;
        }
        while place < moments.len() && is_done(place) && moments[place].of == moments[begin].of {
            place += 1;
        }
        early.push(((at(place) - at(begin)) / whole, format!("{}, which is reported as done", moments[begin].of)));
    }
    early
}

/// Remembers what a walk has met.
pub fn meet(moments: &[Moment]) {
    let mut met = MET.lock().expect("no walk panics here");
    met.0.extend(moments.iter().map(|moment| moment.what.clone()));
}

/// After the last walk of the suite: the work of the sources that none has met. With a filter not all walks run, and nothing is
/// compared.
pub fn check_after_all() {
    let mut met = MET.lock().expect("no walk panics here");
    met.1 += 1;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // In two parts, so that this file does not count as one.
    let walk = ["(new_walk()", ", "].concat();
    let walks: usize = sources(&root.join("tests")).iter().map(|text| text.matches(&walk).count()).sum();
    if met.1 < walks {
        return;
    }
    let texts: BTreeSet<String> = sources(&root.join("src")).iter().flat_map(|text| begun(text)).collect();
    assert!(texts.len() > 50, "the search finds hardly any work: {texts:?}");
    let is_met = |text: &String| met.0.iter().any(|met| met.starts_with(text.as_str()));
    let left_out = |text: &String| NOT_WALKED.iter().any(|(beginning, _)| text.starts_with(beginning));
    let missing: Vec<_> = texts.iter().filter(|text| !is_met(text) && !left_out(text)).collect();
    assert!(missing.is_empty(), "no walk meets this work; walk what does it, or say here why not: {missing:#?}");
    let gone: Vec<_> =
        NOT_WALKED.iter().filter(|(begin, _)| !texts.iter().any(|text| text.starts_with(begin))).collect();
    assert!(gone.is_empty(), "no longer there: {gone:?}");
}

/// The sources below a folder.
fn sources(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("a folder of sources").map(|entry| entry.expect("readable").path());
    let read = |path: std::path::PathBuf| match path.is_dir() {
        true => sources(&path),
        false if path.extension().is_some_and(|ending| ending == "rs") => {
            vec![fs::read_to_string(&path).expect("a source file is UTF-8")]
        }
        false => Vec::new(),
    };
    entries.flat_map(read).collect()
}

/// The texts of the work that a source begins, each up to where something is put in; without its tests and comments.
fn begun(source: &str) -> Vec<String> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let calls = ["Progress::of(", "Progress::opaque("].into_iter().flat_map(|call| code.split(call).skip(1));
    let text = |rest: &str| {
        let rest = rest.trim_start();
        let rest = rest.strip_prefix("format!(").unwrap_or(rest).trim_start();
        Some(rest.strip_prefix('"')?.split(['"', '{']).next()?.to_string())
    };
    calls.filter_map(text).filter(|text| !text.is_empty()).collect()
}

#[test]
fn begun_work_is_found() {
    let source = "/// Progress::of(\"a\")\nProgress::of(\"b c\", 3, \"x\");\nProgress::opaque(\n  format!(\"d {e}\"))\n#[cfg(test)] Progress::of(\"f\")";
    assert_eq!(begun(source), ["b c", "d "]);
}

#[test]
fn what_is_done_too_early_is_found() {
    use candle_lens::progress::rehearsal::Event;
    let moment = |at: u64, of: &str, share: f64| Moment {
        at: std::time::Duration::from_nanos(at),
        what: of.into(),
        event: Event::Stepped,
        depth: 0,
        of: of.into(),
        share: Some(share),
        line: None,
    };
    let moments =
        [moment(0, "a", 0.), moment(10, "a", 1.), moment(40, "a", 1.), moment(60, "b", 0.), moment(100, "b", 1.)];
    let early: Vec<f64> = done_too_early(&moments, 100., 100.).into_iter().map(|(part, _)| part).collect();
    assert_eq!(early, [0.5, 0.]);
}
