//! How the table of a notebook's variables shows itself.

use crate::error::{Result, human_bytes};
use crate::variables::{Held, Variable, Variables};
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::{drawn_by_debug, shown};
use crate::views::table::Table;

/// What the table says where nobody tells it the variables.
const UNKNOWN: &str = "The variables are not known here: only the kernel of `cargo lab`, \"Rust (candle-lens)\", hands them to this function. \
                       On the stock \"Rust\" kernel, `:vars` lists their names and types.";

impl View for Variables {
    /// A row for each variable, those that hold most first, the total, and how to free them.
    fn render(&self) -> Result<Rendered> {
        if !self.is_known() {
            return Ok(preformatted(UNKNOWN));
        }
        // Types may be long, and what is beyond the edge of a narrow page is seen last.
        let mut table = Table::new(["variable", "bytes", "shared", "shape", "type"]).max_rows(100).note(note(self));
        for variable in self {
            let Variable { name, kind, shape, shared, .. } = variable;
            let shape = shape.as_deref().unwrap_or_default();
            let shared = if *shared > 0 { human_bytes(*shared) } else { String::new() };
            table = table.row([name, &bytes(variable), &shared, shape, kind]);
        }
        table.render()
    }
}

fn bytes(variable: &Variable) -> String {
    let Variable { bytes, on_device, at_least, .. } = variable;
    let more = if *at_least { "at least " } else { "" };
    let device = if *on_device > 0 { format!(", {} on the device", human_bytes(*on_device)) } else { String::new() };
    format!("{more}{}{device}", human_bytes(*bytes))
}

fn note(variables: &Variables) -> String {
    let count = variables.iter().len();
    let (plural, shared) = (if count == 1 { "" } else { "s" }, variables.iter().any(|variable| variable.shared > 0));
    let device = match variables.bytes_on_device() {
        0 => String::new(),
        bytes => format!(", {} of it on the device", human_bytes(bytes)),
    };
    let once = if shared { "; what several share counts once" } else { "" };
    format!(
        "{count} variable{plural} from earlier cells, {} together{device}{once}. `drop(x);` frees what no other variable shares; \
         `let x = ..;` over an older x frees the old one at the end of the cell.",
        human_bytes(variables.bytes())
    )
}

impl View for Variable {
    fn render(&self) -> Result<Rendered> {
        let Self { name, kind, shape, shared, .. } = self;
        let shape = shape.as_ref().map_or(String::new(), |shape| format!(" {shape}"));
        let shared = if *shared > 0 { format!(", {} of it shared", human_bytes(*shared)) } else { String::new() };
        Ok(preformatted(&format!("{name}: {kind}{shape}, {}{shared}", bytes(self))))
    }
}

impl View for Held {
    fn render(&self) -> Result<Rendered> {
        let more = if self.is_at_least() { "at least " } else { "" };
        Ok(preformatted(&format!("{more}{}", human_bytes(self.bytes()))))
    }
}

shown!(Held, Variable, Variables);
drawn_by_debug!(Variables);
