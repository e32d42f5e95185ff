//! How directions, and what is done with them, are shown.

use crate::error::Result;
use crate::steering::{Contrast, Steering, SteeringVector};
use crate::views::html::preformatted;
use crate::views::page::{Rendered, View};
use crate::views::show::shown_with_own_display;

/// Types that are shown as their text form, one after the other in lists.
macro_rules! shown_as_text {
    ($($view:ty),+ $(,)?) => {$(
        impl View for $view {
            fn render(&self) -> Result<Rendered> {
                Self::render_list(std::slice::from_ref(self))
            }

            fn render_list(list: &[Self]) -> Result<Rendered> {
                let texts: Vec<String> = list.iter().map(Self::to_string).collect();
                Ok(preformatted(&texts.join("\n")))
            }
        }

        shown_with_own_display!($view);
    )+};
}
shown_as_text!(Contrast, Steering, SteeringVector);
