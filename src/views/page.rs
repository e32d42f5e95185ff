//! What a view is, and several of them as one.

use crate::error::Result;
use crate::views::html::preformatted;
use crate::views::loader::Script;
use crate::visible::visible_lines;

/// Anything that can be shown: in a notebook as HTML, in a terminal as text.
pub trait View {
    /// This view in both forms.
    ///
    /// # Errors
    /// Whatever makes the view impossible to draw, such as labels that do not match its numbers.
    fn render(&self) -> Result<Rendered>;

    /// A list of these: one below the other, unless the kind has a better form, as prompts have in a table.
    ///
    /// # Errors
    /// As [`View::render`].
    fn render_list(list: &[Self]) -> Result<Rendered>
    where
        Self: Sized,
    {
        let mut all = Rendered::default();
        for view in list.iter().take(LISTED) {
            all.append(&view.render()?);
        }
        if list.len() > LISTED {
            all.append(&preformatted(&format!("… {} more ({} in all)", list.len() - LISTED, list.len())));
        }
        Ok(all)
    }
}

/// How many views of a list are shown.
const LISTED: usize = 20;

/// A view in both forms, ready to be written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The markup; it needs only what comes before it on the same page.
    pub(super) html: String,
    /// The plain text.
    pub(super) text: String,
    /// The identity of each interactive figure in the markup, by which it is recognised when its cell runs again.
    pub(super) figures: Vec<u64>,
    /// The scripts that its widgets need.
    pub(super) scripts: Vec<Script>,
}

impl Rendered {
    /// Markup without an interactive figure or widget, and its plain text, in which everything but line breaks and tabs is
    /// made [visible](crate::views::visible).
    pub fn new(html: String, text: String) -> Self {
        Self { html, text: visible_lines(&text), figures: Vec::new(), scripts: Vec::new() }
    }

    /// The markup. An interactive figure or widget in it draws itself only on a page that
    /// [`show`](crate::views::Figure::show) wrote, and is a still picture elsewhere.
    pub fn html(&self) -> &str {
        &self.html
    }

    /// The plain text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Puts `next` below this.
    pub(super) fn append(&mut self, next: &Rendered) {
        for (all, part, between) in [(&mut self.html, &next.html, "\n"), (&mut self.text, &next.text, "\n\n")] {
            if !all.is_empty() && !part.is_empty() {
                all.push_str(between);
            }
            all.push_str(part);
        }
        self.figures.extend(&next.figures);
        self.scripts.extend(&next.scripts);
    }
}

/// Several views shown as one, from top to bottom.
///
/// On Linux and macOS `show` may be called any number of times in a cell and everything appears; a page does the same
/// everywhere, and can be a cell's last expression.
///
/// ```
/// use candle_lens::prelude::*;
/// # fn main() -> candle_lens::Result<()> {
/// let table = Table::new(["layer", "loss"]).row((0, 2.5));
/// let page = Page::new().with(&table)?.with(&line([2.5, 1.5]))?;
/// page.show()?;
/// assert!(page.render()?.html().contains("loss"));
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Page {
    content: Rendered,
}

impl Page {
    /// A page with nothing on it.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `view` at the bottom.
    ///
    /// # Errors
    /// As the view's own `show`.
    pub fn with(mut self, view: &(impl View + ?Sized)) -> Result<Self> {
        self.content.append(&view.render()?);
        Ok(self)
    }
}

impl View for Rendered {
    fn render(&self) -> Result<Rendered> {
        Ok(self.clone())
    }
}

impl View for Page {
    fn render(&self) -> Result<Rendered> {
        Ok(self.content.clone())
    }
}

crate::views::show::drawn_by_debug!(Page);
