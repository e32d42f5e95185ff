//! What makes the library's table of variables possible: a note of each, in a cell that asks for the table.
//!
//! A function cannot see the variables of the cell that calls it, and evcxr has no command that could be added. But each cell begins
//! with lines in which evcxr takes the variables of earlier cells out of its store; behind each of these we write a call that
//! notes the variable (`note_variable!` in the library's `src/variables/note.rs`). They are written on the same lines, so that the places
//! in the compiler's messages stay, and before the user's own code, so that a cell that drops or moves a variable compiles as
//! ever. A cell that does not call `variables()` is left as it is.

use super::explain::{TAKEN, between, is_of_word};

/// The library's function.
const ASKED: &str = "variables(";

/// The lines behind which a cell's notes begin: evcxr writes one of them at the beginning of each cell.
const BEGINS: [&str; 2] =
    ["let evcxr_variable_store = unsafe {&mut *evcxr_variable_store};", "evcxr_variable_store: *mut u8) -> *mut u8 {"];

/// The cell with a note of each variable; none for a cell that does not ask for them.
pub fn noted(source: &str) -> Option<String> {
    if !source.contains("candle_lens") || !asks(source) {
        return None;
    }
    let note = |line: &str| {
        if BEGINS.contains(&line) {
            return format!("{line} ::candle_lens::variables::begin();");
        }
        let name = between(line, "(stringify!(", "))").filter(|_| line.starts_with("let ") && line.contains(TAKEN));
        name.map_or_else(|| line.to_string(), |name| format!("{line} ::candle_lens::note_variable!({name});"))
    };
    Some(source.split('\n').map(note).collect::<Vec<_>>().join("\n"))
}

/// Whether the cell calls the function, or has one of the user's that does.
fn asks(source: &str) -> bool {
    source.match_indices(ASKED).any(|(at, _)| !source[..at].ends_with(|c| is_of_word(c) || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cell as evcxr 0.22 wrote it, without the runtime that it repeats in each.
    const CELL: &str = include_str!("../../tests/cell.txt");

    #[test]
    fn each_variable_of_an_earlier_cell_is_noted_on_its_line() {
        let noted = noted(CELL).unwrap();
        assert_eq!(noted.lines().count(), CELL.lines().count());
        let more = |line: &str| noted.lines().find(|noted| noted.starts_with(line)).unwrap()[line.len()..].to_string();
        assert_eq!(more(BEGINS[0]), " ::candle_lens::variables::begin();");
        for (name, mutable) in [("model", ""), ("counts", "mut ")] {
            let line = CELL.lines().find(|line| line.starts_with(&format!("let {mutable}{name} = "))).unwrap();
            assert_eq!(more(line), format!(" ::candle_lens::note_variable!({name});"));
        }
        assert_eq!(noted.matches("note_variable!").count(), CELL.matches(".take_variable::<").count());
    }

    /// The library's suite compiles and runs it (tests/variables/cell.rs).
    #[test]
    fn the_noted_cell_is_the_one_that_the_library_compiles() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/noted_cell.txt");
        let noted = noted(CELL).unwrap();
        if std::env::var_os("UPDATE_NOTED_CELL").is_some() {
            std::fs::write(path, &noted).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), noted);
    }

    #[test]
    fn a_cell_that_does_not_ask_stays_as_it_is() {
        for other in ["my_variables()", "table.variables()", "variables", "variables_of(1)"] {
            assert_eq!(super::noted(&CELL.replace("variables()", other)), None, "{other}");
        }
        assert_eq!(super::noted(&CELL.replace("candle_lens", "other")), None);
        let empty = "use candle_lens::prelude::*;\nevcxr_variable_store: *mut u8) -> *mut u8 {\nvariables()\n";
        assert!(super::noted(empty).unwrap().contains("u8 { ::candle_lens::variables::begin();\n"));
    }
}
