//! Showing: the page that gathers a cell's views.
//!
//! evcxr keeps one output of each kind per cell, so a second figure would replace the first. Therefore everything
//! that a cell shows is gathered here, and the whole page is written again with each addition: the last one wins and
//! contains everything. The library is loaded once per kernel, so this page is shared by all cells.
//!
//! What a cell *prints* takes another path: evcxr passes each line on at once, and the page when the cell is done. So
//! in a notebook, and in evcxr's terminal as well, all printed lines appear above everything that is shown, whatever
//! their order in the cell. Text that belongs between two figures is shown instead of printed: `"Layer 3".show()?`.
//!
//! evcxr's terminal prints the page's plain text, so its users see tables and bars of characters, not HTML.

use std::fmt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::error::Result;
use crate::interrupt::{cell, check_interrupt};
use crate::progress::Progress;
use crate::views::envelope::{block, write};
use crate::views::loader;
use crate::views::page::{Rendered, View};

/// Set by evcxr for the process that runs the cells.
const EVCXR_RUNS_CELLS: &str = "EVCXR_IS_RUNTIME";

/// The classes of the element that holds all that a page shows. JupyterLab and exported pages typeset text
/// between dollar signs, which is common in prompts: MathJax 2 and 3 each skip elements of one of the classes.
const FRAME: &str = "candle-lens tex2jax_ignore mathjax_ignore";

/// What the running cell has shown.
static CELL_PAGE: Mutex<CellPage> = Mutex::new(CellPage::new());

/// Draws a view. What is done with all views is compiled once, and not for each of their types.
type Draw<'a> = &'a dyn Fn() -> Result<Rendered>;

/// Shows `view`: below what the running cell has shown, in a notebook; as text elsewhere.
pub(super) fn show(view: &(impl View + ?Sized)) -> Result<()> {
    show_drawn(&|| view.render())
}

fn show_drawn(draw: Draw) -> Result<()> {
    let _drawing = Progress::opaque("drawing");
    show_rendered(&draw()?)
}

fn in_cell() -> bool {
    std::env::var_os(EVCXR_RUNS_CELLS).is_some()
}

fn show_rendered(rendered: &Rendered) -> Result<()> {
    if *rendered == Rendered::default() {
        return Ok(());
    }
    let written = if in_cell() {
        // A panic while this lock is held cannot leave half a page: the page is whole between its statements.
        let mut page = CELL_PAGE.lock().unwrap_or_else(PoisonError::into_inner);
        page.add(cell::current(), rendered);
        page.envelope()
    } else {
        format!("{}\n", rendered.text)
    };
    write(&written)
}

/// Shows a cell's last expression; evcxr accepts no error here, so it goes to stderr as `?` would print it.
pub(super) fn display(view: &(impl View + ?Sized)) {
    display_drawn(&|| view.render());
}

fn display_drawn(draw: Draw) {
    if let Err(error) = show_drawn(draw) {
        eprintln!("{error}");
    }
}

/// What `{:?}` gives of a view: its name and the first line of its text. In a cell it also draws the view if the minus flag
/// is set.
///
/// evcxr calls `evcxr_display` for a cell's last expression, but formats it instead where the expression moves a
/// variable of the same cell (`let words = ..; figure.cell_text(words)`): its first attempt fails to compile. Our kernel
/// sets the format to `{:-?}` (lab/src/kernelspec.rs), a flag that changes nothing for other types.
pub(super) fn debug(view: &impl View, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    debug_drawn(&|| view.render(), name, f)
}

fn debug_drawn(draw: Draw, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let _drawing = Progress::opaque("drawing");
    let rendered = match draw() {
        Ok(rendered) => rendered,
        Err(error) => return write!(f, "{name} ({error})"),
    };
    if f.sign_minus() && in_cell() {
        if let Err(error) = show_rendered(&rendered) {
            eprintln!("{error}");
        }
        // evcxr sends this as the cell's plain text.
        return f.write_str(&rendered.text);
    }
    let line = rendered.text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    write!(f, "{name} ({})", line.trim())?;
    match in_cell() {
        true => f.write_str(
            ": its method `show` draws it; evcxr does so itself unless the line moves a variable of the cell",
        ),
        false => Ok(()),
    }
}

/// Everything that one cell has shown, and which figure of the notebook carries plotly.js.
#[derive(Debug, Default)]
pub(super) struct CellPage {
    cell: Option<u64>,
    content: Rendered,
    carrier: Option<u64>,
}

impl CellPage {
    pub(super) const fn new() -> Self {
        let html = String::new();
        let content = Rendered { html, text: String::new(), figures: Vec::new(), scripts: Vec::new() };
        Self { cell: None, content, carrier: None }
    }

    /// Adds a view of `cell`; a cell that is not the last one, or not known, starts with an empty page.
    pub(super) fn add(&mut self, cell: Option<u64>, view: &Rendered) {
        if cell.is_none() || cell != self.cell {
            self.cell = cell;
            self.content = Rendered::default();
        }
        self.content.append(view);
        self.carrier = self.carrier.or(view.figures.first().copied());
    }

    /// The page as evcxr wants it: HTML, and plain text for front-ends that cannot show HTML.
    ///
    /// plotly.js (1.3 MB) goes with the first figure of the process, and again with every figure of the same
    /// [identity](crate::views::figure): when that cell runs again, the saved notebook still has it.
    pub(super) fn envelope(&self) -> String {
        block("text/html", &self.html()) + &block("text/plain", &self.content.text)
    }

    /// What was shown, after the scripts that it needs.
    fn html(&self) -> String {
        let scripts = match self.carrier {
            _ if self.content.figures.is_empty() => String::new(),
            Some(carrier) if self.content.figures.contains(&carrier) => loader::drawing_code() + &loader::plotly_js(),
            _ => loader::drawing_code(),
        };
        let widgets = match &self.content.scripts[..] {
            [] => String::new(),
            scripts => loader::widget_code(scripts),
        };
        format!("<div class=\"{FRAME}\">\n{scripts}{widgets}{}\n</div>", self.content.html)
    }
}

/// Shows every [`View`], including tensors, arrays, lists, tuples and texts, whose types are not this crate's.
///
/// This crate's own types have both methods without the trait. For the others it must be in scope, as it is
/// with the prelude; then they show themselves as a cell's last expression as well.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// "Logits of one prompt".show()?;
/// let logits = model.forward("The keys on the cabinet")?;
/// logits.show()?;
/// assert!(logits.render()?.text().starts_with("Tensor"));
/// # Ok::<(), candle_lens::Error>(())
/// ```
pub trait Show: View {
    /// Shows this below what the cell has shown so far; in a terminal, prints its text form.
    ///
    /// # Errors
    /// Whatever makes it impossible to draw, or a standard output that cannot be written.
    fn show(&self) -> Result<()> {
        show(self)
    }

    /// Shows this as a cell's last expression; evcxr calls it.
    fn evcxr_display(&self) {
        display(self);
    }

    /// Saves this as a page that any browser opens, without a network and without a notebook.
    ///
    /// # Errors
    /// Whatever makes it impossible to draw, or a file that cannot be written.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let path = std::env::temp_dir().join("loss.html");
    /// line([3.9, 2.1, 1.4]).title("Loss").save_html(&path)?;
    /// assert!(std::fs::read_to_string(&path).unwrap().starts_with("<!doctype html>"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    fn save_html(&self, path: impl AsRef<Path>) -> Result<()> {
        let _drawing = Progress::opaque("drawing");
        let page = standalone(&self.render()?);
        check_interrupt()?;
        crate::files::write_whole(path.as_ref(), |file| file.write_all(page.as_bytes()))
    }
}

/// A standalone page, which follows the reader's choice of light or dark.
fn standalone(view: &Rendered) -> String {
    let mut page = CellPage::new();
    page.add(None, view);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>candle-lens</title>\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<style>\n\
         :root {{ color-scheme: light dark }}\n\
         body {{ margin: 16px; font: 14px/1.5 system-ui, sans-serif; background: #fff; color: #202124 }}\n\
         @media (prefers-color-scheme: dark) {{ body {{ background: #111; color: #e8e8e8 }} }}\n\
         </style>\n</head>\n<body>\n{}\n</body>\n</html>\n",
        page.html()
    )
}

impl<V: View + ?Sized> Show for V {}

/// The text form of `view`, which is what `{}` prints. An error that makes it impossible to draw is printed in its place: an
/// error of `fmt` would be a panic in `to_string`.
pub(super) fn print(view: &impl View, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    print_drawn(&|| view.render(), f)
}

fn print_drawn(draw: Draw, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match draw() {
        Ok(rendered) => f.write_str(&rendered.text),
        Err(error) => write!(f, "{error}"),
    }
}

/// Gives types that are a [`View`] the two methods by which a cell shows them, and their text form as [`Display`](fmt::Display),
/// so that `println!("{result}")` prints what a terminal shows.
macro_rules! shown {
    ($($view:ty),+ $(,)?) => {$(
        $crate::views::show::shown_with_own_display!($view);

        impl std::fmt::Display for $view {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::views::show::print(self, f)
            }
        }
    )+};
}
pub(crate) use shown;

/// Only the two methods, for types with their own `Display`. They are inherent methods because evcxr calls `evcxr_display`
/// by name, without an import.
macro_rules! shown_with_own_display {
    ($($view:ty),+ $(,)?) => {$(
        impl $view {
            /// Shows this below what the cell has shown so far; in a terminal, prints its text form.
            ///
            /// # Errors
            /// Whatever makes it impossible to draw, or a standard output that cannot be written.
            pub fn show(&self) -> $crate::error::Result<()> {
                $crate::views::show::show(self)
            }

            /// Shows this as a cell's last expression; evcxr calls it.
            pub fn evcxr_display(&self) {
                $crate::views::show::display(self);
            }
        }
    )+};
}
pub(crate) use shown_with_own_display;

/// Types that are shown as the text which a format writes, one after the other in lists: `"{}"` for those with their own `Display`,
/// another format for those that get one by it.
macro_rules! shown_as_text {
    () => {};
    (@view $format:literal $view:ty) => {
        impl $crate::views::page::View for $view {
            fn render(&self) -> $crate::error::Result<$crate::views::page::Rendered> {
                Self::render_list(std::slice::from_ref(self))
            }

            fn render_list(list: &[Self]) -> $crate::error::Result<$crate::views::page::Rendered> {
                let texts: Vec<String> = list.iter().map(|each| format!($format, each)).collect();
                Ok($crate::views::html::preformatted(&texts.join("\n")))
            }
        }
    };
    ("{}": $($view:ty),+ $(,)?; $($rest:tt)*) => {
        $(
            $crate::views::show::shown_as_text!(@view "{}" $view);
            $crate::views::show::shown_with_own_display!($view);
        )+
        $crate::views::show::shown_as_text! { $($rest)* }
    };
    ($format:literal: $($view:ty),+ $(,)?; $($rest:tt)*) => {
        $(
            $crate::views::show::shown_as_text!(@view $format $view);
            $crate::views::show::shown!($view);
        )+
        $crate::views::show::shown_as_text! { $($rest)* }
    };
}
pub(in crate::views) use shown_as_text;

/// Gives views whose numbers are not worth reading the `Debug` of [`debug`].
macro_rules! drawn_by_debug {
    ($($view:ident),+ $(,)?) => {$(
        impl std::fmt::Debug for $view {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $crate::views::show::debug(self, stringify!($view), f)
            }
        }
    )+};
}
pub(in crate::views) use drawn_by_debug;

shown!(crate::views::Html, crate::views::Page, Rendered);

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> Rendered {
        Rendered::new(format!("<p>{html}</p>"), html.into())
    }

    fn figure(identity: u64) -> Rendered {
        Rendered { figures: vec![identity], ..text("figure") }
    }

    fn carries(page: &CellPage) -> bool {
        page.envelope().contains("plotly.js (cartesian - minified)")
    }

    #[test]
    fn the_envelope_is_exact_and_gathers_a_cell() {
        let mut page = CellPage::new();
        page.add(Some(7), &text("one"));
        page.add(Some(7), &text("two"));
        assert_eq!(
            page.envelope(),
            "EVCXR_BEGIN_CONTENT text/html\n<div class=\"candle-lens tex2jax_ignore mathjax_ignore\">\n\
             <p>one</p>\n<p>two</p>\n</div>\n\
             EVCXR_END_CONTENT\nEVCXR_BEGIN_CONTENT text/plain\none\n\ntwo\nEVCXR_END_CONTENT\n"
        );
    }

    #[test]
    fn another_cell_and_an_unknown_cell_start_anew() {
        for (first, second) in [(Some(7), Some(8)), (None, None), (Some(7), None)] {
            let mut page = CellPage::new();
            page.add(first, &text("one"));
            page.add(second, &text("two"));
            assert!(!page.envelope().contains("one"), "{first:?} {second:?}");
            assert!(page.envelope().contains("two"), "{first:?} {second:?}");
        }
    }

    #[test]
    fn plotly_comes_with_the_first_figure_and_when_its_cell_runs_again() {
        let mut page = CellPage::new();
        page.add(Some(1), &text("no figure"));
        assert!(!carries(&page));
        page.add(Some(1), &figure(10));
        assert!(carries(&page));
        page.add(Some(1), &figure(11));
        assert!(carries(&page), "the page of the carrying cell is written again whole");
        page.add(Some(2), &figure(11));
        assert!(!carries(&page), "a later cell goes without");
        page.add(Some(3), &figure(10));
        assert!(carries(&page), "the carrying cell has run again");
    }
}
