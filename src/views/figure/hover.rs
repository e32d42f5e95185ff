//! What a figure shows under the pointer.

/// What a figure shows under the pointer; the names are plotly's.
///
/// ```
/// use candle_lens::views::{HoverMode, line};
/// let figure = line([3.9, 2.1, 1.4]).hovermode(HoverMode::Closest);
/// assert!(figure.to_json()?.contains("\"hovermode\":\"closest\""));
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoverMode {
    /// A label for each series at the pointer's horizontal position.
    X,
    /// A label for each series at the pointer's vertical position.
    Y,
    /// The label of the nearest mark.
    Closest,
    /// One label for all series at the pointer's horizontal position.
    XUnified,
    /// One label for all series at the pointer's vertical position.
    YUnified,
    /// Nothing.
    Off,
}
