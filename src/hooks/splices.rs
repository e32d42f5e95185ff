//! The splices of a plan, checked against a model: which are where, what they read, and in which order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::axis::AxisName;
use super::inner::InnerPoint;
use super::point::HookPoint;
use super::run::Reach;
use super::splice::Splice;
use super::stage::Kind;
use crate::dims::Dims;
use crate::error::{Error, Result};
use crate::visible::visible;

/// A splice at its point, with the points inside it and those that it reads.
#[derive(Clone)]
pub(super) struct Spliced {
    pub splice: Arc<dyn Splice>,
    pub inner: Vec<HookPoint>,
    pub reads: Vec<HookPoint>,
}

/// The splices of a plan, checked against a model.
#[derive(Clone, Default)]
pub(crate) struct Splices {
    by_point: BTreeMap<HookPoint, Spliced>,
    /// What some splice reads.
    read: BTreeSet<HookPoint>,
    dims: Option<Dims>,
}

impl Splices {
    pub(super) fn new(dims: &Dims) -> Self {
        Self { dims: Some(*dims), ..Self::default() }
    }

    /// Puts a splice at a point.
    ///
    /// # Errors
    /// A point that has one already, or at which none can be; inner sites that no run can show; what the splice refuses.
    pub(super) fn put(&mut self, point: HookPoint, splice: Arc<dyn Splice>, dims: &Dims) -> Result<()> {
        let name = visible(&splice.name()).to_string();
        if matches!(point, HookPoint::Inner(_)) || !matches!(point.kind(), Kind::Vector | Kind::Logits) {
            return Err(Error::argument(format!(
                "nothing can be spliced in at {point}: splice at a point of the model that holds vectors, such as \
                 resid_post, mlp_out or z."
            )));
        }
        if let Some(there) = self.by_point.get(&point) {
            return Err(Error::argument(format!(
                "two splices are at {point}, \"{}\" and \"{name}\": a point takes one. Put one function in that does \
                 both, or splice the second at the next point.",
                visible(&there.splice.name())
            )));
        }
        splice.check(point, dims)?;
        let sites = splice.inner();
        if let Some(twice) = (1..sites.len()).find(|&i| sites[..i].iter().any(|site| site.name() == sites[i].name())) {
            return Err(Error::argument(format!(
                "\"{name}\" has two inner sites called \"{}\": give each its own name.",
                visible(sites[twice].name())
            )));
        }
        let named = sites.into_iter().enumerate();
        let inner = named.map(|(number, site)| InnerPoint::new(point, number, site).map(HookPoint::Inner));
        let spliced = Spliced { inner: inner.collect::<Result<_>>()?, splice, reads: Vec::new() };
        self.by_point.insert(point, spliced);
        Ok(())
    }

    /// Finds what each splice reads, once all are put.
    ///
    /// # Errors
    /// A point that does not exist, that is not before the splice in the forward pass, or whose rows are pairs of positions.
    pub(super) fn connect(&mut self, dims: &Dims) -> Result<()> {
        let inner = self.inner();
        for (&point, spliced) in &mut self.by_point {
            let name = visible(&spliced.splice.name()).to_string();
            for query in spliced.splice.reads() {
                let read = query.resolve_among(dims, &inner)?;
                if read >= point || !read.axes().contains(&AxisName::Pos) {
                    return Err(Error::argument(format!(
                        "\"{name}\" at {point} reads {read}, which it cannot: a splice reads points that come before its \
                         own in the forward pass and have positions (not pairs of them, as patterns)."
                    )));
                }
                if matches!(read, HookPoint::Inner(_)) && !inner.contains(&read) {
                    return Err(Error::argument(format!(
                        "\"{name}\" at {point} reads {read}, which is inside a splice that this plan does not have: add \
                         it with .splice(..)."
                    )));
                }
                spliced.reads.push(read);
            }
        }
        self.read = self.by_point.values().flat_map(|spliced| &spliced.reads).copied().collect();
        Ok(())
    }

    /// That a run of this reach includes every splice and what it reads.
    ///
    /// # Errors
    /// [`Error::Argument`] for a point that it does not include.
    pub(super) fn check_reach(&self, reach: &Reach) -> Result<()> {
        for (point, spliced) in &self.by_point {
            reach.check(*point)?;
            if let Some(read) = spliced.reads.iter().find(|read| !reach.contains(**read)) {
                return Err(Error::argument(format!(
                    "\"{}\" at {point} reads {read}, which is not part of this run: start it at or before {}, or leave \
                     the splice out.",
                    visible(&spliced.splice.name()),
                    read.layer().map_or("the embedding".into(), |layer| format!("block {layer}"))
                )));
            }
        }
        Ok(())
    }

    /// What is spliced in at this point.
    pub(super) fn at(&self, point: HookPoint) -> Option<(Spliced, Dims)> {
        self.by_point.get(&point).cloned().zip(self.dims)
    }

    /// What is spliced in, and at which points.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HookPoint, &Arc<dyn Splice>)> {
        self.by_point.iter().map(|(point, spliced)| (*point, &spliced.splice))
    }

    /// The points at which something is spliced in.
    pub(crate) fn points(&self) -> impl Iterator<Item = HookPoint> {
        self.by_point.keys().copied()
    }

    /// The points inside, in the order of the forward pass.
    pub(crate) fn inner(&self) -> Vec<HookPoint> {
        self.by_point.values().flat_map(|spliced| &spliced.inner).copied().collect()
    }

    /// Whether something is spliced in at this point.
    pub(super) fn is_at(&self, point: HookPoint) -> bool {
        self.by_point.contains_key(&point)
    }

    /// Whether what is spliced in at this point does not depend on the activation there.
    pub(super) fn is_replaced_at(&self, point: HookPoint) -> bool {
        self.by_point.get(&point).is_some_and(|spliced| !spliced.splice.uses_own())
    }

    /// Whether some splice reads this point.
    pub(super) fn is_read(&self, point: HookPoint) -> bool {
        self.read.contains(&point)
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_point.is_empty()
    }

    /// Whether something is spliced into this block.
    pub(crate) fn is_in(&self, layer: usize) -> bool {
        self.by_point.keys().any(|point| point.layer() == Some(layer))
    }

    /// Whether all of them treat each position by itself.
    pub(crate) fn are_by_position(&self) -> bool {
        self.by_point.values().all(|spliced| spliced.splice.is_by_position())
    }

    /// Whether all of them read points of their own block only, so that a run can begin at any block.
    pub(crate) fn are_by_block(&self) -> bool {
        self.by_point.iter().all(|(point, spliced)| {
            spliced.reads.iter().all(|read| read.layer().is_some() && read.layer() == point.layer())
        })
    }

    /// How many numbers the largest of them makes in a run of this many prompts and positions, where `asked` says which of the
    /// points inside something asks for, and what all of them read.
    pub(crate) fn numbers(
        &self,
        dims: &Dims,
        (batch, pos): (usize, usize),
        asked: impl Fn(HookPoint) -> bool,
    ) -> usize {
        let of = |point: &HookPoint| {
            point.shape(dims, batch, pos).into_iter().fold(1usize, |product, size| product.saturating_mul(size))
        };
        let all = |spliced: &Spliced| {
            let is_made = |(number, point): &(usize, &HookPoint)| {
                !spliced.splice.is_on_demand(*number) || asked(**point) || self.is_read(**point)
            };
            let made = spliced.inner.iter().enumerate().filter(is_made);
            made.map(|(_, point)| of(point)).fold(0usize, usize::saturating_add)
        };
        let read = self.read.iter().map(of).fold(0usize, usize::saturating_add);
        self.by_point.values().map(all).max().unwrap_or(0).saturating_add(read)
    }
}
