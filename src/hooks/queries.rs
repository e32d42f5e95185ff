//! Lists of hook points as a user writes them: one name, an array of a kind, or a tuple of different ones.

use std::fmt;

use super::point::HookPoint;
use super::query::HookQuery;
use super::site::Site;
use crate::dims::Dims;
use crate::error::Result;

/// One or more names of hook points, where a function takes several.
///
/// Made by `into()` from whatever is a [`HookQuery`], from arrays, slices and `Vec`s of one kind, and from tuples of up to
/// eight of different kinds: `"z"`, `["z", "q"]`, `("z", ("post", 3), "embed")`.
///
/// ```
/// use candle_lens::prelude::*;
/// let model = HookedTransformer::from_pretrained("tiny")?;
/// let plan = HookPlan::new().capture(("pattern", ("post", 3), ("resid_post", -1)));
/// let cache = model.run_with_hooks("The keys on the cabinet", &plan)?.1;
/// assert_eq!(cache.len(), model.cfg().n_layers + 2);
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookQueries {
    pub(super) queries: Vec<HookQuery>,
}

impl HookQueries {
    /// Every point that is meant in a model of these `dims`, each once, in the order of the forward pass.
    ///
    /// # Errors
    /// As [`HookQuery::resolve`].
    pub fn resolve_all(&self, dims: &Dims) -> Result<Vec<HookPoint>> {
        self.resolve_all_among(dims, &[])
    }

    /// As [`HookQueries::resolve_all`], where there are these points inside splices as well.
    pub(crate) fn resolve_all_among(&self, dims: &Dims, inner: &[HookPoint]) -> Result<Vec<HookPoint>> {
        let mut points = Vec::new();
        for query in &self.queries {
            points.extend(query.resolve_all_among(dims, inner)?);
        }
        points.sort_unstable();
        points.dedup();
        Ok(points)
    }

    /// The names, in the order given.
    pub fn queries(&self) -> &[HookQuery] {
        &self.queries
    }
}

impl fmt::Display for HookQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.queries.iter().map(HookQuery::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

macro_rules! from_one {
    ($($name:ty),*) => {$(
        impl From<$name> for HookQueries {
            fn from(query: $name) -> Self {
                Self { queries: vec![query.into()] }
            }
        }
    )*};
}
from_one!(&str, String, &String, HookPoint, HookQuery);

macro_rules! from_one_with_layer {
    ($($int:ty),*) => { from_one!($((&str, $int), (&str, $int, &str), (Site, $int)),*); };
}
from_one_with_layer!(i32, isize, usize);

impl<Q: Into<HookQuery>, const N: usize> From<[Q; N]> for HookQueries {
    fn from(queries: [Q; N]) -> Self {
        Self { queries: queries.into_iter().map(Into::into).collect() }
    }
}

impl<Q: Into<HookQuery>> From<Vec<Q>> for HookQueries {
    fn from(queries: Vec<Q>) -> Self {
        Self { queries: queries.into_iter().map(Into::into).collect() }
    }
}

impl<Q: Into<HookQuery> + Clone> From<&[Q]> for HookQueries {
    fn from(queries: &[Q]) -> Self {
        Self { queries: queries.iter().cloned().map(Into::into).collect() }
    }
}

impl<Q: Into<HookQuery> + Clone, const N: usize> From<&[Q; N]> for HookQueries {
    fn from(queries: &[Q; N]) -> Self {
        queries.as_slice().into()
    }
}

impl<Q: Into<HookQuery> + Clone> From<&Vec<Q>> for HookQueries {
    fn from(queries: &Vec<Q>) -> Self {
        queries.as_slice().into()
    }
}

impl From<&HookQueries> for HookQueries {
    fn from(queries: &HookQueries) -> Self {
        queries.clone()
    }
}

impl<Q: Into<HookQuery>> FromIterator<Q> for HookQueries {
    fn from_iter<I: IntoIterator<Item = Q>>(queries: I) -> Self {
        Self { queries: queries.into_iter().map(Into::into).collect() }
    }
}

macro_rules! from_tuples {
    ($(($($name:ident $place:tt),+))+) => {$(
        impl<$($name: Into<HookQuery>),+> From<($($name,)+)> for HookQueries {
            fn from(queries: ($($name,)+)) -> Self {
                Self { queries: vec![$(queries.$place.into()),+] }
            }
        }
    )+};
}
from_tuples! {
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
}
