//! All edges of one prompt: the gradients of what features read and of the metric, pulled back to everything that was written before.
//!
//! The total gradient `G` of every source is computed first, from the metric down: once everything that reads a source has been pulled back,
//! its total gradient is known, and the features of one position are pulled back together, each times its own. The edges of single targets
//! are the same products, target by target.

use candle_core::Tensor;

use super::super::affine::{AffineBlock, NormMap, final_norm};
use super::super::node::BiasOf;
use super::edge::EdgeVia;
use super::fitted::{Fitted, Part, Stage};
use super::heads::{Along, Heads};
use super::node::ChainedNode;
use super::rows::{Field, Rows};
use super::slope::Slope;
use super::sources::{Columns, Runs, Sources};
use crate::cache::ActivationCache;
use crate::error::Result;
use crate::hooks::Site;
use crate::model::ops::linear;
use crate::model::{HookedTransformer, Suffix};
use crate::progress::Progress;
use crate::tokens::Tokens;

/// One prompt around its run, with the total gradient of every source.
pub(super) struct PromptEdges<'a> {
    model: &'a HookedTransformer,
    suffix: Suffix,
    sources: Sources,
    columns: Columns,
    blocks: Vec<AffineBlock>,
    heads: Vec<Option<Heads>>,
    last: NormMap,
    slope: &'a Slope,
    has_biases: bool,
    queries_and_keys: bool,
    nodes: Vec<ChainedNode>,
}

impl<'a> PromptEdges<'a> {
    /// The prompt, or its difference to another one; `first_position` is the first at which dictionaries act, and without queries and keys
    /// attention patterns are held.
    ///
    /// # Errors
    /// As runs of the model.
    pub(super) fn new(
        (model, fitted): (&'a HookedTransformer, &Fitted),
        (clean, corrupted): (&Tokens, Option<&Tokens>),
        slope: &'a Slope,
        (first_position, queries_and_keys): (usize, bool),
    ) -> Result<Self> {
        let run =
            |tokens: &Tokens| -> Result<ActivationCache> { Ok(model.run_with_hooks(tokens, fitted.plan(model))?.1) };
        let cache = run(clean)?;
        let other = corrupted.map(run).transpose()?;
        let layers = 0..model.cfg().n_layers;
        let blocks = layers.clone().map(|layer| AffineBlock::new(model, &cache, layer)).collect::<Result<Vec<_>>>()?;
        let heads = layers.map(|layer| match fitted.has(Stage::attention(layer)) {
            true => Heads::new(model, &cache, (&blocks[layer], layer)).map(Some),
            false => Ok(None),
        });
        let heads = heads.collect::<Result<_>>()?;
        let runs = Runs { clean: &cache, corrupted: other.as_ref() };
        let sources = Sources::new(model, fitted, (&runs, &blocks), first_position)?;
        let columns = sources.columns();
        let nodes = sources.nodes().into_iter().map(|(node, change)| ChainedNode::new(node, change));
        let mut edges = Self {
            model,
            suffix: model.suffix_of_copies(clean, 0, 1)?,
            nodes: nodes.collect(),
            columns,
            sources,
            heads,
            last: final_norm(model, &cache)?,
            blocks,
            slope,
            has_biases: corrupted.is_none(),
            queries_and_keys,
        };
        for (node, gradient) in edges.totals()?.into_iter().enumerate() {
            edges.nodes[node].gradient = gradient as f32;
        }
        Ok(edges)
    }

    /// All sources with their changes and total gradients. First features, by layer, attention before the MLP, position and index.
    pub(super) fn nodes(&self) -> &[ChainedNode] {
        &self.nodes
    }

    /// How many parts of layers and positions there are.
    pub(super) fn stages_and_positions(&self) -> (usize, usize) {
        (2 * self.sources.n_layers, self.sources.n_pos)
    }

    /// The features of a part of a layer at a position that edges lead into: those that are active in the clean run.
    pub(super) fn targets_at(&self, stage: Stage, pos: usize) -> Vec<usize> {
        self.sources.at(stage, pos).filter(|&number| self.sources.features[number].is_clean).collect()
    }

    /// The total gradient of the metric at each source.
    fn totals(&self) -> Result<Vec<f64>> {
        let mut totals = vec![0.0; self.columns.all];
        let mut add = |rows: &Rows| {
            let row = rows.rows().next().unwrap_or_default();
            totals.iter_mut().zip(row).for_each(|(total, edge)| *total += f64::from(*edge));
            totals.clone()
        };
        let mut so_far = add(&self.direct()?);
        let mut progress = Progress::of("taking gradients", 2 * self.sources.n_layers as u64, "parts of layers");
        for number in (0..2 * self.sources.n_layers).rev() {
            let stage = Stage::numbered(number);
            for pos in 0..self.sources.n_pos {
                let own = self.targets_at(stage, pos);
                if own.is_empty() {
                    continue;
                }
                let weights: Vec<f32> = own.iter().map(|&number| so_far[number] as f32).collect();
                for (_, rows) in self.edges_into_weighted(stage, pos, (&own, weights))? {
                    so_far = add(&rows);
                }
            }
            progress.step(1)?;
        }
        Ok(so_far)
    }

    /// The edges into the metric.
    pub(super) fn direct(&self) -> Result<Rows> {
        let mut rows = Rows::new(1, self.columns, self.has_biases);
        rows.own_bias(0, self.slope.bias);
        let (g, shift) = self.last.pull(&self.slope.gradient.unsqueeze(0)?)?;
        if let Some(shift) = shift {
            // What a norm shifts is not part of the metric's own bias.
            rows.bias(BiasOf::Norms, &shift)?;
        }
        self.descend(Field { from: 0, g }, 2 * self.sources.n_layers, &mut rows)?;
        Ok(rows)
    }

    /// The edges into some features of one part of a layer at one position.
    pub(super) fn edges_into_features(
        &self,
        stage: Stage,
        pos: usize,
        targets: &[usize],
    ) -> Result<Vec<(EdgeVia, Rows)>> {
        let read = self.sources.read[stage.number()].as_ref().expect("features are of dictionaries");
        let first = self.sources.of_stage(stage).start;
        let own: Vec<u32> = targets.iter().map(|target| (target - first) as u32).collect();
        let offsets: Vec<f32> = own.iter().map(|&own| read.offsets[own as usize]).collect();
        let w = read.rows.index_select(&Tensor::from_vec(own, targets.len(), read.rows.device())?, 0)?;
        self.edges_into_directions(stage, pos, (&w, &offsets))
    }

    /// The edges into the sum of some features of one part of a layer at one position, each times its total gradient: one row.
    pub(super) fn edges_into_sum(&self, stage: Stage, pos: usize, own: &[usize]) -> Result<Vec<(EdgeVia, Rows)>> {
        let weights = own.iter().map(|&number| self.nodes[number].gradient).collect();
        self.edges_into_weighted(stage, pos, (own, weights))
    }

    fn edges_into_weighted(
        &self,
        stage: Stage,
        pos: usize,
        (own, weights): (&[usize], Vec<f32>),
    ) -> Result<Vec<(EdgeVia, Rows)>> {
        let read = self.sources.read[stage.number()].as_ref().expect("features are of dictionaries");
        let first = self.sources.of_stage(stage).start;
        let offset: f32 = own.iter().zip(&weights).map(|(number, weight)| read.offsets[number - first] * weight).sum();
        let device = read.rows.device();
        let own: Vec<u32> = own.iter().map(|number| (number - first) as u32).collect();
        let w = read.rows.index_select(&Tensor::from_vec(own, weights.len(), device)?, 0)?;
        let weights = Tensor::from_vec(weights.clone(), (1, weights.len()), device)?.to_dtype(w.dtype())?;
        self.edges_into_directions(stage, pos, (&weights.matmul(&w)?, &[offset]))
    }

    /// The edges into what these directions read at one position, with what each has at 0.
    ///
    /// # Shapes
    /// `w [target, d_in]`.
    fn edges_into_directions(
        &self,
        stage: Stage,
        pos: usize,
        (w, offsets): (&Tensor, &[f32]),
    ) -> Result<Vec<(EdgeVia, Rows)>> {
        let own = |via: EdgeVia| {
            let mut rows = Rows::new(offsets.len(), self.columns, self.has_biases);
            if matches!(via, EdgeVia::Mlp | EdgeVia::Ov) {
                offsets.iter().enumerate().for_each(|(target, &offset)| rows.own_bias(target, offset));
            }
            rows
        };
        let block = &self.blocks[stage.layer];
        if stage.part == Part::Mlp {
            let mut rows = own(EdgeVia::Mlp);
            let field = self.read_by_mlp(stage.layer, Field { from: pos, g: w.unsqueeze(1)? }, &mut rows)?;
            let below = if block.parallel { Stage::attention(stage.layer) } else { stage };
            self.descend(field, below.number(), &mut rows)?;
            return Ok(vec![(EdgeVia::Mlp, rows)]);
        }
        let heads = self.heads[stage.layer].as_ref().expect("attention features are of dictionaries");
        let along = heads.along((self.model, &self.suffix), block, (w, pos))?;
        let along = along.into_iter().filter(|along| along.via == EdgeVia::Ov || self.queries_and_keys);
        let rows = along.map(|Along { via, field, biases, placed }| {
            let mut rows = own(via);
            for (of, bias) in &biases {
                rows.bias(*of, bias)?;
            }
            if let Some(placed) = &placed {
                rows.positions(field.from, placed)?;
            }
            self.descend(field, stage.number(), &mut rows)?;
            Ok((via, rows))
        });
        rows.collect()
    }

    /// The gradient at the residual stream that an MLP reads, from that at the point its dictionary reads.
    fn read_by_mlp(&self, layer: usize, field: Field, rows: &mut Rows) -> Result<Field> {
        let read = self.sources.read[Stage::mlp(layer).number()].as_ref().expect("what reads is a dictionary");
        let Some(norm) = &self.blocks[layer].ln2 else { return Ok(field) };
        let norm = norm.at(field.from, field.count()?)?;
        let g = match read.site {
            Site::Ln2Normalized => norm.pull_normalized(&field.g)?,
            Site::MlpHookIn => {
                let (g, shift) = norm.pull(&field.g)?;
                if let Some(shift) = shift {
                    rows.bias(BiasOf::Norms, &shift)?;
                }
                g
            }
            _ => return Ok(field),
        };
        Ok(Field { g, ..field })
    }

    /// Adds the edges from everything that stages before `below` write, and from embeddings. Of the parts of a layer only skip connections
    /// carry a gradient on: what dictionaries write is a source, and what they miss is held.
    fn descend(&self, mut field: Field, below: usize, rows: &mut Rows) -> Result<()> {
        // In a parallel block, what enters the MLP has not passed attention.
        let mut beside = None;
        for number in (0..below).rev() {
            let stage = Stage::numbered(number);
            let block = &self.blocks[stage.layer];
            if stage.part == Part::Mlp {
                rows.stage(&self.sources, stage, &field)?;
                let Some(skipped) = self.skipped(stage, &field, rows)? else { continue };
                match block.parallel {
                    true => beside = Some(skipped),
                    false => field.g = (field.g + skipped.g)?,
                }
                continue;
            }
            match &block.ln1_post {
                Some(norm) => {
                    let (g, shift) = norm.at(field.from, field.count()?)?.pull(&field.g)?;
                    if let Some(shift) = shift {
                        rows.bias(BiasOf::Norms, &shift)?;
                    }
                    rows.stage(&self.sources, stage, &Field { g, ..field })?;
                }
                None => rows.stage(&self.sources, stage, &field)?,
            }
            if let Some(beside) = beside.take() {
                field.g = (field.g + beside.g)?;
            }
        }
        rows.embeddings(&self.sources, &field)
    }

    /// The gradient at what an MLP reads along the skip connection of its transcoder, which acts where the transcoder does.
    fn skipped(&self, stage: Stage, field: &Field, rows: &mut Rows) -> Result<Option<Field>> {
        let read = self.sources.read[stage.number()].as_ref();
        let Some(skip) = read.and_then(|read| read.skip.as_ref()) else { return Ok(None) };
        let g = field.g.broadcast_mul(&field.part(&self.sources.mask)?)?;
        let g = linear(&g, &skip.t()?.contiguous()?, None)?;
        self.read_by_mlp(stage.layer, Field { from: field.from, g }, rows).map(Some)
    }
}
