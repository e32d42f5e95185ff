//! The edges into one node, stored by their sources.

/// The edges into one node, by the columns of their sources in rising order. Only those with a weight take room: a feature reads
/// earlier layers at earlier positions, so three of four pairs of nodes have none.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Incoming {
    columns: Vec<u32>,
    weights: Vec<f32>,
}

impl Incoming {
    /// From the weight of each column.
    pub(super) fn of_dense(weights: &[f32]) -> Self {
        let count = weights.iter().filter(|weight| **weight != 0.0).count();
        let mut edges = Self::with_room(count);
        for (column, &weight) in weights.iter().enumerate().filter(|(_, weight)| **weight != 0.0) {
            edges.push(column, weight);
        }
        edges
    }

    /// From columns and weights that were stored; none unless the columns rise and are below `count`, and all weights are there.
    pub(super) fn of_parts(columns: &[u32], weights: &[f32], count: usize) -> Option<Self> {
        let rises = columns.is_sorted_by(|a, b| a < b) && columns.last().is_none_or(|last| (*last as usize) < count);
        let is_whole = rises && columns.len() == weights.len() && weights.iter().all(|weight| *weight != 0.0);
        is_whole.then(|| Self { columns: columns.into(), weights: weights.into() })
    }

    pub(super) fn columns(&self) -> &[u32] {
        &self.columns
    }

    pub(super) fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub(super) fn with_room(edges: usize) -> Self {
        Self { columns: Vec::with_capacity(edges), weights: Vec::with_capacity(edges) }
    }

    /// Adds an edge from a column behind those that are there.
    pub(super) fn push(&mut self, column: usize, weight: f32) {
        self.columns.push(column as u32);
        self.weights.push(weight);
    }

    /// Columns with their weights.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, f32)> + '_ {
        self.columns.iter().zip(&self.weights).map(|(&column, &weight)| (column as usize, weight))
    }

    /// The weight of a column, 0 where there is no edge.
    pub(super) fn at(&self, column: usize) -> f32 {
        let found = self.columns.binary_search_by(|own| (*own as usize).cmp(&column));
        found.map_or(0.0, |at| self.weights[at])
    }

    /// The edge of this place in their order.
    pub(super) fn get(&self, n: usize) -> (usize, f32) {
        (self.columns[n] as usize, self.weights[n])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The edges that are kept, in as much room as they need.
    pub(super) fn only(&self, is_kept: impl Fn(usize, f32) -> bool) -> Self {
        let mut edges = Self::with_room(self.iter().filter(|&(column, weight)| is_kept(column, weight)).count());
        self.iter()
            .filter(|&(column, weight)| is_kept(column, weight))
            .for_each(|(column, weight)| edges.push(column, weight));
        edges
    }

    /// With the new number of each column, in the same order; those without one are left out.
    pub(super) fn renumbered(&self, numbers: &[Option<u32>]) -> Self {
        let mut edges = self.only(|column, _| numbers[column].is_some());
        edges.columns.iter_mut().for_each(|column| *column = numbers[*column as usize].unwrap_or(*column));
        edges
    }
}
