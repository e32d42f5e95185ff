//! How directions, and what is done with them, are shown.

use crate::error::Result;
use crate::steering::{Contrast, IndirectEffects, SteeredText, Steering, SteeringVector, Transplant};
use crate::views::figure::line;
use crate::views::page::{Rendered, View};
use crate::views::show::{shown, shown_as_text};
use crate::views::table::Table;

shown_as_text! { "{}": Contrast, Steering, SteeringVector, Transplant; }

impl View for IndirectEffects {
    /// The effects as a heat map, and what they are measured from.
    fn render(&self) -> Result<Rendered> {
        let mut all = self.effects.render()?;
        let facts = Table::new(["of the metric", ""]).row(("shuffled prompts", self.shuffled));
        all.append(
            &facts.note("function_vector(k, point) sums what the k heads with the largest effects write").render()?,
        );
        Ok(all)
    }
}

impl View for SteeredText {
    /// The text, and a line for each direction: of one prompt over its tokens, of several over the numbers of tokens.
    fn render(&self) -> Result<Rendered> {
        let mut all = self.text.render()?;
        let shape = self.projections.shape();
        for direction in 0..shape[1] as isize {
            let of = self.projections.select("direction", direction)?;
            let name = self.projections.labels("direction")?.swap_remove(direction as usize);
            let of = if shape[0] == 1 { of.select("prompt", 0)? } else { of };
            all.append(&line(&of).title(format!("{} at {name}", self.projections.title)).x_label("token").render()?);
        }
        Ok(all)
    }
}

shown!(IndirectEffects, SteeredText);
