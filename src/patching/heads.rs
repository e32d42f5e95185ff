//! Heads as sites, senders and receivers.

use super::path::{Receiver, Sender};
use super::site::PatchSite;
use crate::head::Head;
use crate::hooks::{HookPoint, Site};
use crate::slice::forward;

/// The head's output `z`, at all positions.
impl From<Head> for PatchSite {
    fn from(Head { layer, head }: Head) -> Self {
        Self::of(HookPoint::Block(layer, Site::Z)).head(head)
    }
}

/// What this head writes.
impl From<Head> for Sender {
    fn from(Head { layer, head }: Head) -> Self {
        Self::Head(forward(layer), forward(head))
    }
}

macro_rules! from_heads {
    ($($kind:ty),+) => {$(
        impl From<&Head> for $kind {
            fn from(head: &Head) -> Self {
                (*head).into()
            }
        }

        impl From<(usize, usize)> for $kind {
            fn from(head: (usize, usize)) -> Self {
                Head::from(head).into()
            }
        }
    )+};
}
from_heads!(PatchSite, Sender);

impl From<&PatchSite> for PatchSite {
    fn from(site: &PatchSite) -> Self {
        site.clone()
    }
}

impl Receiver {
    /// The queries of this head.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let heads = ["L3H6".parse::<Head>()?, Head::new(2, 1)];
    /// assert_eq!(heads.map(Receiver::q), [Receiver::Q(3, 6), Receiver::Q(2, 1)]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    pub fn q(head: impl Into<Head>) -> Self {
        let Head { layer, head } = head.into();
        Self::Q(forward(layer), forward(head))
    }

    /// The keys of this key/value head; [`Dims::key_value_head`](crate::dims::Dims::key_value_head) says which one a head reads.
    pub fn k(head: impl Into<Head>) -> Self {
        let Head { layer, head } = head.into();
        Self::K(forward(layer), forward(head))
    }

    /// The values of this key/value head; [`Dims::key_value_head`](crate::dims::Dims::key_value_head) says which one a head reads.
    pub fn v(head: impl Into<Head>) -> Self {
        let Head { layer, head } = head.into();
        Self::V(forward(layer), forward(head))
    }
}
