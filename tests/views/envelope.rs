//! What a cell writes, read as evcxr reads it: foreign text stays text, wherever it is shown, printed or part of an error.
//!
//! The cell is this program started again with the variable by which evcxr marks the process of the cells.

use std::process::{Command, Stdio};

use candle_lens::hooks::HookQuery;
use candle_lens::labelled::{Axis, Labelled};
use candle_lens::prelude::*;
use candle_lens::views::{Html, View};
use candle_lens::{Error, Result};

use crate::support::evcxr::{SCRIPT, WORDS, hostile, read};

/// What the started process is to do.
const PART: &str = "CANDLE_LENS_TEST_CELL";

/// The words between these are what the cell wrote; libtest's own are around them.
const EDGE: &str = "-- the cell --";

/// What a cell of this name writes to standard output and to stderr.
fn cell(name: &str) -> (Vec<u8>, String) {
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "views::envelope::in_the_cell", "--ignored", "--nocapture", "--test-threads=1"])
        .env(PART, name)
        .env("EVCXR_IS_RUNTIME", "1")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    let stderr = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(run.status.success(), "{stderr}");
    let text = String::from_utf8(run.stdout).expect("UTF-8");
    let edge = format!("{EDGE}\n");
    let between: Vec<&str> = text.splitn(3, &edge).collect();
    assert_eq!(between.len(), 3, "{text}");
    (between[1].as_bytes().to_vec(), stderr)
}

/// No characters that a terminal obeys or a reader misses.
fn assert_harmless(text: &str) {
    assert!(text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control()), "{text:?}");
    assert!(WORDS.iter().all(|word| !text.contains(word)), "{text:?}");
}

#[test]
#[ignore = "started by the other tests of this file"]
fn in_the_cell() {
    let Ok(name) = std::env::var(PART) else { return };
    println!("{EDGE}");
    let shown = match &*name {
        "shown" => show_all(),
        "debugged" => debug_all(),
        "printed" => print_all(),
        other => panic!("there is no cell {other}"),
    };
    println!("{EDGE}");
    shown.expect("hostile words are shown all the same");
}

/// Some of the hostile texts, of every kind: a cell's page is written again with each view, so all of them one by one would be
/// gigabytes. `views::envelope` of the library puts each of them into a block.
fn some() -> Vec<String> {
    hostile().into_iter().step_by(79).collect()
}

/// Everything that has a title, a note, a label or text.
fn show_all() -> Result<()> {
    for text in some() {
        text.show()?;
        text.as_str().show()?;
        Html::escaped(&text).show()?;
        Table::new([&text]).title(&*text).note(&*text).row([&text]).show()?;
        Error::argument(&*text).show()?;
        Error::file(&*text, &*text).show()?;
        Err::<String, _>(Error::config(&*text)).evcxr_display();
        Labelled::new(&*text, vec![Axis::new(&*text, [&*text, "b"])], vec![1.0, 2.0])?.show()?;
    }
    hostile().concat().show()?;
    // Figures take longer; a text of many is as hostile as each.
    let all = some().concat();
    line([1.0, 2.0]).title(&*all).x_label(&*all).y_label(&*all).names([&all]).show()?;
    bar([1.0, 2.0]).title(&*all).x_ticks([&*all, "b"]).show()?;
    imshow(vec![vec![1.0, 2.0]]).title(&*all).color_label(&*all).x_ticks([&*all, "b"]).show()?;
    scatter([1.0], [2.0]).title(&*all).point_labels([&all]).show()?;
    colored_tokens([&*all, "b"], [0.5, 1.0]).title(&*all).show()?;
    Ok(())
}

#[test]
fn nothing_that_is_shown_leaves_its_block() {
    let (output, stderr) = cell("shown");
    let cell = read(&output);
    assert_eq!((&cell.events, &cell.printed), (&Vec::new(), &Vec::new()));
    let (html, text) = (cell.of("text/html").count(), cell.of("text/plain").count());
    assert_eq!((html + text, html), (cell.content.len(), text));
    assert!(html > some().len() * 7, "{html} blocks");
    assert!(cell.of("text/html").all(|html| !html.contains(SCRIPT)));
    cell.of("text/plain").for_each(assert_harmless);
    assert!(cell.of("text/plain").any(|text| text.contains(SCRIPT)), "the text is still readable");
    assert_harmless(&stderr);
}

/// evcxr writes what `{:-?}` gives into its own block, as it is; an error of a cell goes to stderr by `{}`.
fn debug_all() -> Result<()> {
    for text in hostile() {
        let labelled = Labelled::new(&*text, vec![Axis::new(&*text, ["a", "b"])], vec![1.0, 2.0])?;
        let error = Error::file(&*text, &*text);
        let written = [
            format!("{:-?}", Err::<u8, _>(Error::argument(&*text))),
            format!("{error} {error:?} {error:#?}"),
            format!("{labelled:?} {labelled:-?}"),
            format!("{:?} {}", HookQuery::from(text.as_str()), HookQuery::from(text.as_str())),
            format!("{:?}", Progress::new(&*text, 1, "steps")),
        ];
        for text in written {
            println!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT");
        }
        eprintln!("{error}");
    }
    // Its page is written while it is formatted, which evcxr does before it begins its block.
    let figure = format!("{:-?}", line([1.0]).title(some().concat()));
    println!("EVCXR_BEGIN_CONTENT text/plain\n{figure}\nEVCXR_END_CONTENT");
    Ok(())
}

#[test]
fn what_debug_writes_stays_in_evcxrs_own_block() {
    let (output, stderr) = cell("debugged");
    let cell = read(&output);
    assert_eq!((&cell.events, &cell.printed), (&Vec::new(), &Vec::new()));
    assert!(cell.of("text/html").all(|html| !html.contains(SCRIPT)));
    // Derived forms keep evcxr's words, within a line, where they do nothing in a block.
    assert!(cell.of("text/plain").all(|text| text.chars().all(|c| c == '\n' || c == '\t' || !c.is_control())));
    assert_harmless(&stderr);
}

fn print_all() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let print = |prompts: Vec<String>| {
        let options = GenerateOptions { max_new_tokens: 1, print: true, ..Default::default() };
        model.generate(prompts, &options).map(drop)
    };
    // Single prompts are printed as they grow, several as Rust writes texts.
    let texts = hostile();
    texts.iter().step_by(7).try_for_each(|text| print(vec![text.clone()]))?;
    print(WORDS.map(|word| format!("{word} x")).to_vec())
}

#[test]
fn printed_generations_are_only_printed() {
    let cell = read(&cell("printed").0);
    assert_eq!((&cell.events, cell.content.len()), (&Vec::new(), 0));
    assert!(cell.printed.len() > 100, "{} lines", cell.printed.len());
    assert_harmless(&cell.printed.join("\n"));
}

/// Without a test of the reader, the tests above could pass because it sees nothing.
#[test]
fn the_reader_is_fooled_as_evcxr_is() {
    let old = "EVCXR_BEGIN_CONTENT text/plain\nscores\nEVCXR_END_CONTENT\r\nEVCXR_BEGIN_CONTENT text/html\n<b>\nEVCXR_END_CONTENT\n";
    assert_eq!(read(old.as_bytes()).of("text/html").collect::<Vec<_>>(), ["<b>"]);
    assert_eq!(read(b"a EVCXR_BEGIN_CONTENT x").events, ["waits for an end that never comes"]);
    assert_eq!(read(b"EVCXR_INPUT_REQUEST:name\nb").events, ["EVCXR_INPUT_REQUEST:name"]);
    assert_eq!(read(b"a EVCXR_END_CONTENT\n EVCXR_PANIC_NOTIFICATION\n").printed.len(), 2);
    let (mut html, mut printed) = (0, 0);
    for text in hostile() {
        let cell = read(format!("EVCXR_BEGIN_CONTENT text/plain\n{text}\nEVCXR_END_CONTENT\n").as_bytes());
        html += usize::from(cell.of("text/html").any(|html| html.contains(SCRIPT)));
        printed += usize::from(!cell.printed.is_empty());
    }
    assert!(html > 3 && printed > 3, "as they are, some texts leave their block: {html}, {printed}");
}

#[test]
fn rendered_text_has_nothing_to_obey() -> Result<()> {
    let hidden = "\u{1b}]0;title\u{7}\u{9b}31m\u{e0041}\u{3164}\u{180e}\u{2800}\u{a0}\r\u{85}";
    let views: [Box<dyn View>; 5] = [
        Box::new(Table::new(["a"]).title(hidden).note(hidden).row([1.0])),
        Box::new(line([1.0, 2.0]).title(hidden).x_label(hidden)),
        Box::new(hidden.to_string()),
        Box::new(Html::new("<b></b>", hidden)),
        Box::new(colored_tokens(["a"], [1.0]).title(hidden)),
    ];
    for view in views {
        let rendered = view.render()?;
        assert_harmless(rendered.text());
        assert!(!rendered.text().chars().any(|c| hidden.contains(c) && !c.is_ascii()), "{:?}", rendered.text());
    }
    Ok(())
}
