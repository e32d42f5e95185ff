//! Whether a cell failed, judged by its outputs.
//!
//! evcxr answers "ok" for a panic and for an error that leaves a cell through `?`: both only write on stderr. So anything
//! on stderr is a failure, except lines that are known to be harmless.

use crate::session::Reply;
use serde_json::Value;

/// How the library's error messages begin (`candle_lens::error::PREFIX`).
pub const ERROR: &str = "candle-lens: ";

/// How the library's progress lines begin; they are harmless.
pub const PROGRESS: &str = "candle-lens ⏳ ";

/// How the library's remarks begin (`candle_lens::progress::NOTE`), such as one on a tokenizer with more tokens than its model
/// has rows; they are harmless.
pub const NOTE: &str = "candle-lens ⚠ ";

/// What is wrong with a cell, in a line or two; nothing if it ran well.
pub fn complaint(reply: &Reply) -> Option<String> {
    match reply.status.as_str() {
        "dead" => return Some("the kernel died".into()),
        "timeout" => return Some("the cell took longer than --timeout allows".into()),
        _ => {}
    }
    let stderr: String = texts(&reply.outputs, "stderr").collect();
    process_ended(&reply.outputs, &stderr)
        .or_else(|| jupyter_error(&reply.outputs))
        .or_else(|| panic_message(&stderr))
        .or_else(|| stderr.lines().find(|line| line.contains(ERROR)).map(str::to_string))
        .or_else(|| stderr.lines().find(|line| !is_harmless(line)).map(|line| format!("unexpected on stderr: {line}")))
        .or_else(|| shown_error(&reply.outputs))
        .or_else(|| (reply.status != "ok").then(|| format!("the kernel answered {:?}", reply.status)))
}

fn is_harmless(line: &str) -> bool {
    line.trim().is_empty() || line.starts_with(PROGRESS) || line.starts_with(NOTE)
}

fn texts<'a>(outputs: &'a [Value], stream: &'a str) -> impl Iterator<Item = &'a str> {
    outputs.iter().filter(move |output| output["name"] == stream).filter_map(|output| output["text"].as_str())
}

/// The first of the expected texts that the outputs do not hold, in the order given.
pub fn missing(reply: &Reply, expected: &[String]) -> Option<String> {
    let mut said = String::new();
    for output in &reply.outputs {
        said += output["text"].as_str().unwrap_or_default();
        said += output["evalue"].as_str().unwrap_or_default();
        let data = output["data"].as_object().into_iter().flat_map(|data| data.values());
        data.filter_map(Value::as_str).for_each(|text| said += text);
    }
    let mut rest = said.as_str();
    for text in expected {
        match rest.split_once(text) {
            Some((_, after)) => rest = after,
            None => return Some(format!("its outputs do not hold {text:?} where it is expected")),
        }
    }
    None
}

/// A compilation error, a crash of the cell's process, or anything else Jupyter itself calls an error.
fn jupyter_error(outputs: &[Value]) -> Option<String> {
    let error = outputs.iter().find(|output| output["output_type"] == "error")?;
    let told = ["evalue", "ename"].iter().filter_map(|key| error[key].as_str()).find(|text| !text.trim().is_empty());
    let traceback = error["traceback"][0].as_str();
    let text = told.or(traceback).unwrap_or("an error without a message");
    Some(text.lines().take(2).collect::<Vec<_>>().join(" "))
}

/// What the launcher, or the library, says of the end of the process of the cells, behind what evcxr says.
fn process_ended(outputs: &[Value], stderr: &str) -> Option<String> {
    let error = jupyter_error(outputs).filter(|error| error.contains("Subprocess terminated"))?;
    let why = stderr.lines().find(|line| line.contains(ERROR) && line.contains("variables are lost"))?;
    Some(format!("{error}: {why}"))
}

/// The panic's place and the first line of its message.
fn panic_message(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().skip_while(|line| !line.contains("panicked at"));
    let place = lines.next()?;
    Some(format!("{place} {}", lines.next().unwrap_or_default()).trim_end().to_string())
}

/// A `Result` that was not handled but shown as the cell's value.
fn shown_error(outputs: &[Value]) -> Option<String> {
    let shown = outputs.iter().filter_map(|output| output["data"]["text/plain"].as_str());
    shown.map(str::trim_start).find(|text| text.starts_with(&format!("Err({ERROR}"))).map(str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn reply(status: &str, outputs: Value) -> Reply {
        Reply {
            status: status.into(),
            execution_count: Value::Null,
            outputs: outputs.as_array().cloned().unwrap(),
            took: Duration::ZERO,
        }
    }

    fn stderr(text: &str) -> Value {
        json!([{ "output_type": "stream", "name": "stderr", "text": text }])
    }

    #[test]
    fn a_cell_that_ran_well_has_no_complaint() {
        let outputs = json!([
            { "output_type": "stream", "name": "stdout", "text": "thread panicked at nothing: just a string\n" },
            { "output_type": "stream", "name": "stderr", "text": "candle-lens ⏳ 3 of 7\n\n" },
            { "output_type": "execute_result", "data": { "text/plain": "Ok(3)" } },
        ]);
        assert_eq!(complaint(&reply("ok", outputs)), None);
    }

    #[test]
    fn a_panic_is_found_though_the_kernel_says_ok() {
        let text = "candle-lens ⏳ 3 of 7\nthread '<unnamed>' panicked at src/lib.rs:5:1:\nassertion failed: 1 > 2\nstack backtrace:\n";
        let told = complaint(&reply("ok", stderr(text))).unwrap();
        assert_eq!(told, "thread '<unnamed>' panicked at src/lib.rs:5:1: assertion failed: 1 > 2");
    }

    #[test]
    fn an_error_through_the_question_mark_is_found() {
        let text = "candle-lens: layer 12 does not exist: the model has 4 layers.\n";
        assert_eq!(complaint(&reply("ok", stderr(text))).unwrap(), text.trim_end());
    }

    #[test]
    fn any_other_line_on_stderr_is_found() {
        let told = complaint(&reply("ok", stderr("No such file or directory (os error 2)\n"))).unwrap();
        assert_eq!(told, "unexpected on stderr: No such file or directory (os error 2)");
    }

    #[test]
    fn a_compilation_error_is_found() {
        let outputs =
            json!([{ "output_type": "error", "ename": "Error", "evalue": "cannot find value `x`", "traceback": [] }]);
        assert_eq!(complaint(&reply("error", outputs)).unwrap(), "cannot find value `x`");
        assert!(complaint(&reply("error", json!([]))).is_some());
    }

    #[test]
    fn why_a_process_ended_is_found() {
        let why = "candle-lens: the process of the notebook has ended, and all variables are lost: it was aborted.";
        let error = "Subprocess terminated with status: signal: 6 (SIGABRT)";
        let outputs = json!([
            { "output_type": "stream", "name": "stderr", "text": format!("thread panicked at nothing\n{why}\n") },
            { "output_type": "error", "ename": "", "evalue": error, "traceback": [] },
        ]);
        assert_eq!(complaint(&reply("error", outputs)).unwrap(), format!("{error}: {why}"));
    }

    #[test]
    fn an_error_shown_as_a_value_is_found() {
        let outputs =
            json!([{ "output_type": "execute_result", "data": { "text/plain": "Err(candle-lens: no such head)" } }]);
        assert!(complaint(&reply("ok", outputs)).unwrap().contains("no such head"));
    }

    #[test]
    fn expected_outputs_are_looked_for_in_order() {
        let outputs = json!([
            { "output_type": "stream", "name": "stdout", "text": "layer 0\n" },
            { "output_type": "display_data", "data": { "text/html": "<b>first</b>" } },
            { "output_type": "stream", "name": "stdout", "text": "layer 1\n" },
        ]);
        let reply = reply("ok", outputs);
        let told = |texts: &[&str]| missing(&reply, &texts.iter().map(|text| text.to_string()).collect::<Vec<_>>());
        assert_eq!(told(&["layer 0", "first", "layer 1"]), None);
        assert!(told(&["first", "layer 0"]).unwrap().contains("layer 0"));
    }

    #[test]
    fn the_end_of_the_kernel_is_found() {
        assert_eq!(complaint(&reply("dead", json!([]))).unwrap(), "the kernel died");
        assert!(complaint(&reply("timeout", json!([]))).unwrap().contains("--timeout"));
    }

    #[test]
    fn the_beginnings_of_lines_are_the_library_s() {
        let library = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/error.rs")).unwrap();
        assert!(library.contains(&format!("pub const PREFIX: &str = {ERROR:?};")));
        let library = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../src/progress/mod.rs")).unwrap();
        assert!(library.contains(&format!("pub const MARK: &str = {PROGRESS:?};")));
        assert!(library.contains(&format!("pub const NOTE: &str = {NOTE:?};")));
    }
}
