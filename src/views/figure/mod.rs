//! Figures: one set of numbers drawn three times, by plotly.js where scripts run, as a still picture where they do
//! not (GitHub, a notebook that is not trusted), and in characters in a terminal.
//!
//! The names and defaults follow the `plotly_utils` of the ARENA course: [`line()`] and [`imshow`]. Each kind is a type
//! with the options that mean something for it; [`Figure`] is a figure of any kind. `plot/` turns them into the JSON of
//! plotly.js, and is the only place here that knows plotly.rs.
//!
//! # Which output brings plotly.js
//! The first figure of a kernel does, and every figure with the same kind, title, axis titles and number of values:
//! if its cell runs again, so does the library. Change one of those and run only that cell, and a notebook that is
//! saved then, closed and opened shows still pictures until its first figure is drawn in a new kernel.
//! A notebook can also be kept without plotly.js, with a link to a file beside it: `views/loader.rs` says how.

mod any;
mod bar;
mod color;
mod drawing;
mod facets;
mod fewer;
mod grid;
mod heat_map;
mod hist;
mod hover;
mod interval;
mod labels;
mod line;
mod notes;
mod options;
mod plot;
mod scatter;
mod series;
mod special;
mod text;

pub use any::Figure;
pub use bar::{Bar, bar};
pub use facets::{Facets, imshow_facets};
pub use heat_map::{Animation, HeatMap, imshow, imshow_animation};
pub use hist::{Histogram, hist};
pub use hover::HoverMode;
pub use line::{Line, line};
pub use scatter::{Scatter, scatter};
pub use special::{
    imshow_patching_result, imshow_patching_results, plot_comp_scores, plot_logit_attribution, plot_loss_difference,
};

pub(in crate::views) use color::{Color, INK, band_color, series_color};
pub(in crate::views) use drawing::{Axis, Chart, Drawing, Scale, half_room};
pub(in crate::views) use notes::{GAP, Note, height as notes_height, paint as paint_notes};

use std::sync::Arc;

/// A chart that figures share until one of them changes it, or the sentence that says why there is none.
type Kept<C> = std::result::Result<Arc<C>, String>;

fn texts<T: ToString>(labels: impl IntoIterator<Item = T>) -> Vec<String> {
    labels.into_iter().map(|label| label.to_string()).collect()
}
