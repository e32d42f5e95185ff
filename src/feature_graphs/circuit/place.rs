//! One dictionary of a circuit's model: what its features and errors are in the clean run, and what takes their place.

use candle_core::{Device, Tensor};

use crate::dictionaries::FeatureActs;
use crate::error::Result;
use crate::feature_graphs::node::GraphNode;
use crate::hooks::{Edit, HookPoint};

/// What a dictionary writes. Rows are prompts times positions.
pub(super) struct Place {
    /// The point that it writes.
    pub point: HookPoint,
    pub layer: usize,
    /// Whether it is of attention outputs.
    pub is_attn: bool,
    pub d_sae: usize,
    /// Features in the clean run.
    pub clean: FeatureActs,
    /// What takes their place.
    pub instead: FeatureActs,
    /// Whether a feature that is active only there counts as one of the run's.
    pub counts_instead: bool,
    /// What takes the place of errors, where they are replaced, `[batch, pos, ..]`.
    pub errors: Option<Tensor>,
}

/// Which features and errors of a place a circuit names, by row.
pub(super) struct Named {
    /// Ascending.
    pub features: Vec<Vec<u32>>,
    pub errors: Vec<bool>,
    /// Whether they are what is outside the circuit, instead of what is in it.
    pub is_all_but: bool,
}

impl Named {
    /// Whether a feature is in the circuit.
    pub fn has_feature(&self, row: usize, feature: u32) -> bool {
        self.features[row].binary_search(&feature).is_ok() != self.is_all_but
    }

    /// Whether an error is.
    pub fn has_error(&self, row: usize) -> bool {
        self.errors[row] != self.is_all_but
    }
}

impl Place {
    /// The node of a feature.
    pub fn feature(&self, pos: usize, feature: u32) -> GraphNode {
        let (layer, feature) = (self.layer, feature as usize);
        match self.is_attn {
            true => GraphNode::AttnFeature { layer, pos, feature },
            false => GraphNode::Feature { layer, pos, feature },
        }
    }

    /// The node of an error.
    pub fn error(&self, pos: usize) -> GraphNode {
        let layer = self.layer;
        if self.is_attn { GraphNode::AttnError { layer, pos } } else { GraphNode::Error { layer, pos } }
    }

    /// The inner point of this name.
    pub fn inner(&self, name: &str) -> String {
        format!("{}.{name}", self.point)
    }

    /// The features that the circuit may have at a row, ascending.
    pub fn candidates(&self, row: usize) -> Vec<u32> {
        let mut all = self.clean.row(row).0.to_vec();
        if self.counts_instead {
            all.extend(self.instead.row(row).0);
            all.sort_unstable();
            all.dedup();
        }
        all
    }

    /// What replaces the features outside the circuit in `rows`, which are of whole prompts; nothing where all are in it.
    pub fn feature_edit(&self, named: &Named, rows: std::ops::Range<usize>) -> Option<Edit> {
        let d_sae = self.d_sae;
        if named.is_all_but && rows.clone().all(|row| named.features[row].is_empty()) {
            return None;
        }
        let (mut set, mut live) = (Vec::new(), Vec::new());
        for (at, row) in rows.enumerate() {
            let (features, values) = self.instead.row(row);
            let value = |feature: u32| features.binary_search(&feature).map_or(0.0, |place| values[place]);
            let flat = |feature: u32| (at * d_sae + feature as usize) as u32;
            let names = &named.features[row];
            match named.is_all_but {
                true => set.extend(names.iter().map(|&feature| (flat(feature), value(feature)))),
                false => {
                    let outside =
                        features.iter().zip(values).filter(|(feature, _)| names.binary_search(feature).is_err());
                    set.extend(outside.map(|(&feature, &value)| (flat(feature), value)));
                    live.extend(names.iter().map(|&feature| flat(feature)));
                }
            }
        }
        let is_all_but = named.is_all_but;
        Some(Edit::custom("outside the circuit", move |x, _| match is_all_but {
            true => with_some_set(x, &set),
            false => with_some_live(x, &set, &live),
        }))
    }

    /// What replaces the errors outside the circuit; nothing where all are in it or none is replaced. `acts` says at which rows
    /// the dictionary acts.
    pub fn error_edit(&self, named: &Named, acts: &[bool], (from, count): (usize, usize)) -> Result<Option<Edit>> {
        let Some(errors) = &self.errors else { return Ok(None) };
        let n_pos = errors.dim(1)?;
        let rows = from * n_pos..(from + count) * n_pos;
        let is_live = |row: usize| !acts[row] || named.has_error(row);
        let live: Vec<u8> = rows.map(|row| u8::from(is_live(row))).collect();
        if !live.contains(&0) {
            return Ok(None);
        }
        let instead = errors.narrow(0, from, count)?.contiguous()?;
        let mut shape = vec![count, n_pos];
        shape.resize(instead.rank(), 1);
        let live = Tensor::from_vec(live, shape, instead.device())?;
        Ok(Some(Edit::custom("errors outside the circuit", move |x, _| {
            let instead = instead.to_dtype(x.dtype())?;
            live.broadcast_as(x.shape())?.where_cond(x, &instead)
        })))
    }
}

/// These values, and the activation's own at the live places; 0 elsewhere.
fn with_some_live(x: &Tensor, set: &[(u32, f32)], live: &[u32]) -> candle_core::Result<Tensor> {
    let mut all = vec![0f32; x.elem_count()];
    for &(at, value) in set {
        all[at as usize] = value;
    }
    let all = Tensor::from_vec(all, x.elem_count(), &Device::Cpu)?.to_device(x.device())?.to_dtype(x.dtype())?;
    let all = match live.is_empty() {
        true => all,
        false => {
            let live = Tensor::new(live, x.device())?;
            all.index_add(&live, &x.flatten_all()?.index_select(&live, 0)?, 0)?
        }
    };
    all.reshape(x.shape())
}

/// The activation with these values set.
fn with_some_set(x: &Tensor, set: &[(u32, f32)]) -> candle_core::Result<Tensor> {
    let at: Vec<u32> = set.iter().map(|(at, _)| *at).collect();
    let at = Tensor::new(at, x.device())?;
    let values: Vec<f32> = set.iter().map(|(_, value)| *value).collect();
    let values = Tensor::new(values, x.device())?.to_dtype(x.dtype())?;
    let own = x.flatten_all()?;
    let change = (values - own.index_select(&at, 0)?)?;
    own.index_add(&at, &change, 0)?.reshape(x.shape())
}
