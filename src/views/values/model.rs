//! Models and their configs.

use crate::error::Result;
use crate::model::{HookedTransformer, HookedTransformerConfig, Processing};
use crate::views::html::Html;
use crate::views::page::{Rendered, View};
use crate::views::show::shown;
use crate::views::table::Table;

impl View for HookedTransformer {
    /// The module tree with its hook points.
    fn render(&self) -> Result<Rendered> {
        Html::escaped(&format!("{self}")).render()
    }
}

impl View for HookedTransformerConfig {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["field", "value"]).title("HookedTransformerConfig");
        for (field, value) in self.rows() {
            table = table.row([field.to_string(), value]);
        }
        table.render()
    }
}

impl View for Processing {
    fn render(&self) -> Result<Rendered> {
        let mut table = Table::new(["processing", "done"]);
        for (flag, on) in self.flags() {
            table = table.row([flag, if on { "yes" } else { "no" }]);
        }
        table.render()
    }
}

shown!(HookedTransformer, HookedTransformerConfig, Processing);
