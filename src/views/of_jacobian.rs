//! How Jacobian lenses are shown, and what activations are sums of.

use crate::error::Result;
use crate::lenses::{JacobianLens, JacobianOptions, LensDecomposition};
use crate::views::number::number;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_as_text};
use crate::views::table::Table;

impl View for LensDecomposition {
    /// A row for each token, in the order in which they were chosen.
    fn render(&self) -> Result<Rendered> {
        let title = format!(
            "An activation behind layer {} by the Jacobian lens: {:.0} % of its squared length",
            self.layer,
            100. * self.share
        );
        let table = Table::new(["token", "times", "length in the sum"]).title(title);
        let parts = self.texts.iter().zip(self.coefficients.iter().zip(&self.lengths));
        let rows = parts.fold(table, |table, (text, (times, length))| {
            table.row((format!("{text:?}"), number(f64::from(*times)), number(f64::from(times * length))))
        });
        rows.render()
    }
}

shown!(LensDecomposition);
shown_as_text! {
    "{}": JacobianLens;
    "{:?}": JacobianOptions;
}
