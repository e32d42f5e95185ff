//! How plain Rust values are shown: text, lists and tuples of views, options and results.

use crate::error::{Error, Result};
use crate::views::html::{Html, preformatted};
use crate::views::page::{Rendered, View};

impl<V: View + ?Sized> View for &V {
    fn render(&self) -> Result<Rendered> {
        (**self).render()
    }
}

impl<V: View> View for [V] {
    fn render(&self) -> Result<Rendered> {
        if self.is_empty() { Ok(preformatted("an empty list")) } else { V::render_list(self) }
    }
}

impl<V: View> View for Vec<V> {
    fn render(&self) -> Result<Rendered> {
        self.as_slice().render()
    }
}

impl<V: View, const N: usize> View for [V; N] {
    fn render(&self) -> Result<Rendered> {
        self.as_slice().render()
    }
}

impl<V: View> View for Option<V> {
    fn render(&self) -> Result<Rendered> {
        self.as_ref().map_or_else(|| Ok(preformatted("None")), View::render)
    }
}

impl<V: View> View for Result<V> {
    /// The value; an error is returned, so that a forgotten `?` hides nothing.
    fn render(&self) -> Result<Rendered> {
        self.as_ref().map_err(|error| Error::argument(error.sentence()))?.render()
    }
}

/// Nothing, which is what `figure.show()?` leaves as the value of a cell.
impl View for () {
    fn render(&self) -> Result<Rendered> {
        Ok(Rendered::default())
    }
}

impl View for str {
    /// The text as it is. Unlike printed text, it appears between two figures where it was shown.
    fn render(&self) -> Result<Rendered> {
        Html::escaped(self).render()
    }
}

/// Types that are formatted with `$one`, and in lists as Rust formats lists.
macro_rules! shown_in_lists {
    ($($kind:ty: $one:literal),+ $(,)?) => {$(
        impl View for $kind {
            fn render(&self) -> Result<Rendered> {
                Html::escaped(&format!($one, self)).render()
            }

            fn render_list(list: &[Self]) -> Result<Rendered> {
                Html::escaped(&format!("{list:?}")).render()
            }
        }
    )+};
}
shown_in_lists!(String: "{}", bool: "{}", char: "{:?}");

macro_rules! tuples {
    ($(($($kind:ident $place:tt),+)),+) => {$(
        impl<$($kind: View),+> View for ($($kind,)+) {
            fn render(&self) -> Result<Rendered> {
                let mut all = Rendered::default();
                $(all.append(&self.$place.render()?);)+
                Ok(all)
            }
        }
    )+};
}
tuples!((A 0), (A 0, B 1), (A 0, B 1, C 2), (A 0, B 1, C 2, D 3));
