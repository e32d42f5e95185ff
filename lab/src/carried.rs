//! A notebook without plotly.js: the script goes to a file beside the notebook, once for all notebooks of a folder.
//!
//! The library's first figure of a kernel brings plotly.js (1.3 MB) in its output. `src/views/loader.rs` of the library says
//! how such an output is left without it: the elements `<script data-carried>` go, the content of the one whose attribute
//! has a value becomes a file of that name, and each link `<a data-plotly="NAME">` is given that file's address.

use crate::notebook::{joined, lines};
use serde_json::Value;

/// The folder beside a notebook that holds what its outputs load.
pub const FOLDER: &str = "assets";

const START: &str = "<script data-carried";
const END: &str = "</script>\n";
const LINK: &str = "<a data-plotly=\"";

/// A file that outputs load, with its name.
#[derive(Debug, PartialEq)]
pub struct File {
    pub name: String,
    pub content: String,
}

/// Takes the scripts out of all outputs of a notebook's cells.
pub fn take_out(cells: &mut Value) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    // `get_mut`, because an index that is missing would be put in as null, which no notebook may hold.
    let outputs = cells.as_array_mut().into_iter().flatten().filter_map(|cell| cell.get_mut("outputs")?.as_array_mut());
    for output in outputs.flatten() {
        let Some(html) = output.get_mut("data").and_then(|data| data.get_mut("text/html")) else { continue };
        let (without, found) = without_scripts(&joined(html));
        *html = lines(&linked(&without));
        for file in found {
            if !files.iter().any(|known| known.name == file.name) {
                files.push(file);
            }
        }
    }
    files
}

/// `html` without what it carries, and the files among that.
fn without_scripts(html: &str) -> (String, Vec<File>) {
    let (mut kept, mut files, mut rest) = (String::with_capacity(html.len()), Vec::new(), html);
    while let Some((before, element)) = rest.split_once(START) {
        let Some((element, after)) = element.split_once(END) else { break };
        kept.push_str(before);
        rest = after;
        let Some((attribute, content)) = element.split_once('>') else { continue };
        // A name, not a path: a notebook writes nowhere else.
        let name = attribute.trim_start_matches('=').trim_matches('"');
        if !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':']) {
            files.push(File { name: name.into(), content: content.into() });
        }
    }
    (kept + rest, files)
}

/// `html` whose links say where their file is.
fn linked(html: &str) -> String {
    let mut parts = html.split(LINK);
    let mut all = parts.next().unwrap_or_default().to_string();
    for part in parts {
        all.push_str(LINK);
        match part.split_once("\">") {
            Some((name, rest)) if !name.contains('"') => {
                all.push_str(&format!("{name}\" href=\"{FOLDER}/{name}\">{rest}"));
            }
            _ => all.push_str(part),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cell(html: &str) -> Value {
        json!({ "outputs": [{ "data": { "text/html": lines(html), "text/plain": "<script data-carried>" } }, { "text": "x" }] })
    }

    #[test]
    fn scripts_become_files_and_links_say_where_they_are() {
        let link = "<div>\n<a data-plotly=\"p.js\"></a>\n<script>\nf();\n</script>\n";
        let carried = "<script data-carried>b()</script>\n<script data-carried=\"p.js\">\ncode(\"<a>\");\n</script>\n\
                       <script data-carried>a()</script>\n";
        let rest = "<img>\n<script>draw()</script>\n</div>";
        let mut cells =
            json!([cell(&[link, carried, rest].concat()), { "source": "text" }, cell(&[link, rest].concat())]);
        let files = take_out(&mut cells);
        assert_eq!(files, [File { name: "p.js".into(), content: "\ncode(\"<a>\");\n".into() }]);
        let whole = [link, rest].concat().replace("p.js\"", "p.js\" href=\"assets/p.js\"");
        for place in [0, 2] {
            assert_eq!(joined(&cells[place]["outputs"][0]["data"]["text/html"]), whole);
        }
        assert_eq!(cells[0]["outputs"][0]["data"]["text/plain"], "<script data-carried>");
        assert_eq!((&cells[1], &cells[0]["outputs"][1]), (&json!({ "source": "text" }), &json!({ "text": "x" })));
        let before = cells.clone();
        assert_eq!((take_out(&mut cells), cells), (vec![], before), "a second time changes nothing");
    }

    #[test]
    fn a_name_that_is_a_path_is_not_written() {
        for name in ["../p.js", "/etc/p.js", "a/b.js", "..", ".hidden", "c:p.js", "a\\b.js"] {
            let (kept, files) = without_scripts(&format!("x<script data-carried=\"{name}\">code</script>\ny"));
            assert_eq!((kept.as_str(), files.len()), ("xy", 0), "{name}");
        }
        assert_eq!(without_scripts("x<script data-carried>cut"), ("x<script data-carried>cut".into(), vec![]));
    }
}
