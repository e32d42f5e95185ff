//! One factor of a score: what the sources at a position are as queries or keys of a head.

use candle_core::{D, DType, Tensor};

use super::super::affine::{AffineBlock, one};
use super::super::contract::Rows;
use super::super::node::{BiasOf, GraphNode};
use super::super::pull::Pull;
use super::super::sources::Sources;
use crate::cache::ActivationCache;
use crate::dictionaries::Dictionary;
use crate::error::Result;
use crate::head::Head;
use crate::hooks::{HookPoint, Site};
use crate::model::{HookedTransformer, QkNormType};
use crate::tokens::Tokens;
use crate::wide;

/// The sources at one position, each as a query or a key, turned to its position.
pub(super) struct Side {
    pub pos: usize,
    pub piece: String,
    pub nodes: Vec<GraphNode>,
    /// `[source, d_head]`.
    pub vectors: Tensor,
}

/// Queries or keys of a head.
pub(super) struct Projection {
    /// `Q` or `K`.
    pub letter: &'static str,
    pub norm: &'static str,
    pub scale: Site,
    /// The number of the head among those that have queries or keys of their own.
    pub own_head: usize,
}

/// A run, and what its sources are read through.
pub(super) struct ScoreRun<'a> {
    pub model: &'a HookedTransformer,
    pub cache: &'a ActivationCache,
    pub tokens: &'a Tokens,
    pub pull: Pull,
    pub blocks: Vec<AffineBlock>,
    /// Of attention outputs, by layer.
    pub of_attention: Vec<Option<Dictionary>>,
    pub head: Head,
}

impl ScoreRun<'_> {
    fn layer(&self) -> usize {
        self.head.layer
    }

    fn sources(&self) -> &Sources {
        &self.pull.sources
    }

    /// The query or the key at a position.
    pub(super) fn side(&self, projection: &Projection, pos: usize) -> Result<Side> {
        let layer = self.layer();
        let part = |name: String| -> Result<Tensor> {
            Ok(wide::widened(&self.model.weight(&format!("blocks.{layer}.attn.{name}"))?.get(self.head.head)?)?)
        };
        let w = part(format!("W_{}", projection.letter))?;
        let own_bias = part(format!("b_{}", projection.letter))?;
        // [d_head, d_model]: a target for each number of the query or key.
        let mut g = w.t()?.contiguous()?;
        let mut rows = Rows::new(g.dim(0)?, self.sources().columns());
        rows.biases(BiasOf::Target, &own_bias)?;
        if let Some(norm) = &self.blocks[layer].ln1 {
            if let Some(b) = &norm.b {
                rows.biases(BiasOf::Norms, &g.broadcast_mul(b)?.sum(D::Minus1)?)?;
            }
            g = norm.pull_at(&g, pos)?;
        }
        let g = g.unsqueeze(0)?.pad_with_zeros(0, pos, 0)?;
        let (mut g, mut by_node) = (g, Vec::new());
        for before in (0..layer).rev() {
            g = self.block(before, pos, &g, &mut rows, &mut by_node)?;
        }
        rows.add(&self.pull.of_embeddings, &g)?;
        let edges = rows.split();
        if self.model.dims().shortformer {
            let placed = one(self.cache, HookPoint::PosEmbed)?.get(pos)?.unsqueeze(0)?.matmul(&w)?;
            by_node.push((GraphNode::Position { pos }, placed.squeeze(0)?.to_dtype(DType::F32)?.to_vec1()?));
        }
        let here = self.sources().nodes().into_iter().enumerate().filter(|(_, node)| is_at(node, pos));
        by_node.extend(here.map(|(column, node)| (node, edges.iter().map(|row| row.at(column)).collect())));
        by_node.sort_by_key(|(node, _)| *node);
        self.finished(projection, pos, by_node)
    }

    /// What a block writes at a position, and the gradient before it: that behind it, and what passes through a skip connection.
    fn block(
        &self,
        layer: usize,
        pos: usize,
        g: &Tensor,
        rows: &mut Rows,
        by_node: &mut Vec<(GraphNode, Vec<f32>)>,
    ) -> Result<Tensor> {
        rows.add(&self.pull.of_mlps[layer], g)?;
        let before_mlp = self.pull.before_mlp(layer, &[], g, g)?;
        let behind_attention = if self.blocks[layer].parallel { g } else { &before_mlp };
        by_node.extend(self.attention(layer, pos, behind_attention, rows)?);
        Ok(before_mlp)
    }

    /// What a layer's attention writes at a position, from the gradient at the residual stream.
    ///
    /// # Shapes
    /// `g [pos, target, d_model]`, of the first positions.
    fn attention(&self, layer: usize, pos: usize, g: &Tensor, rows: &mut Rows) -> Result<Vec<(GraphNode, Vec<f32>)>> {
        let block = &self.blocks[layer];
        let mut g = g.get(pos)?;
        if let Some(norm) = &block.ln1_post {
            if let Some(b) = &norm.b {
                rows.biases(BiasOf::Norms, &g.broadcast_mul(b)?.sum(D::Minus1)?)?;
            }
            g = norm.pull_at(&g, pos)?;
        }
        rows.biases(BiasOf::Attention, &g.broadcast_mul(&block.b_o)?.sum(D::Minus1)?)?;
        // [target, head d_head]
        let g = g.matmul(&block.w_o)?;
        let z = one(self.cache, HookPoint::Block(layer, Site::Z))?.get(pos)?.flatten_all()?;
        let mut nodes = Vec::new();
        let mut missed = z.clone();
        let mut parts = Vec::new();
        let dictionary = self.of_attention[layer].as_ref().filter(|_| pos >= self.sources().first_position);
        if let Some(dictionary) = dictionary {
            let acts = dictionary.encode(&z.unsqueeze(0)?)?;
            let (features, values) = acts.row(0);
            let bias = dictionary.decoder_bias()?;
            rows.biases(BiasOf::Decoders, &g.matmul(&bias.unsqueeze(1)?)?.squeeze(1)?)?;
            missed = (missed - bias)?;
            for (&feature, &value) in features.iter().zip(values) {
                let written = (dictionary.writers(&[feature], 0)?.squeeze(0)? * f64::from(value))?;
                missed = (missed - &written)?;
                nodes.push(GraphNode::AttnFeature { layer, pos, feature: feature as usize });
                parts.push(written);
            }
        }
        nodes.push(GraphNode::AttnError { layer, pos });
        parts.push(missed);
        let parts = Tensor::stack(&parts, 0)?.matmul(&g.t()?)?.to_dtype(DType::F32)?.to_vec2::<f32>()?;
        Ok(nodes.into_iter().zip(parts).collect())
    }

    /// The product of the run's own query and key, of their hooks: where they are turned, else where they are made.
    pub(super) fn product(&self, sides: [(Site, Site, usize, usize); 2]) -> Result<f32> {
        let [q, k] = sides.map(|(turned, made, head, pos)| -> Result<Tensor> {
            let site = if self.model.dims().rotary { turned } else { made };
            Ok(one(self.cache, HookPoint::Block(self.layer(), site))?.get(pos)?.get(head)?)
        });
        Ok((q? * k?)?.sum_all()?.to_dtype(DType::F32)?.to_scalar()?)
    }

    /// The sources after the norm of queries or keys, turned.
    fn finished(&self, projection: &Projection, pos: usize, by_node: Vec<(GraphNode, Vec<f32>)>) -> Result<Side> {
        let (nodes, rows): (Vec<_>, Vec<_>) = by_node.into_iter().unzip();
        let device = self.sources().tokens.device();
        let mut vectors = Tensor::new(rows, device)?;
        if self.model.cfg().use_qk_norm {
            vectors = self.normed(projection, pos, &vectors, &nodes)?;
        }
        let vectors = self.model.turned_at(self.tokens, (self.layer(), pos), &vectors)?;
        // What is 0 is not there: positions of a model without them, biases that are folded.
        let is_there = vectors.abs()?.sum(D::Minus1)?.to_vec1::<f32>()?;
        let kept: Vec<u32> = (0..nodes.len()).filter(|&at| is_there[at] > 0.0).map(|at| at as u32).collect();
        Ok(Side {
            pos,
            piece: self.model.piece(self.tokens.id(0, pos)),
            nodes: kept.iter().map(|&at| nodes[at as usize]).collect(),
            vectors: vectors.index_select(&Tensor::new(kept, device)?, 0)?,
        })
    }
    /// The sources through the norm of queries or keys, its scale held; its shift is a bias of norms.
    ///
    /// # Shapes
    /// `x [source, d_head]`, result the same.
    fn normed(&self, projection: &Projection, pos: usize, x: &Tensor, nodes: &[GraphNode]) -> Result<Tensor> {
        let (layer, kind) = (self.layer(), self.model.cfg().qk_norm_type);
        let of_own_head = |name: &str| -> Result<Tensor> {
            let all = wide::widened(&self.model.weight(&format!("blocks.{layer}.attn.{}.{name}", projection.norm))?)?;
            Ok(if all.rank() == 2 { all.get(projection.own_head)? } else { all })
        };
        let scale = one(self.cache, HookPoint::Block(layer, projection.scale))?;
        let scale = scale.get(pos)?.get(projection.own_head)?.to_dtype(x.dtype())?;
        let centred = match kind.centres() {
            true => x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?,
            false => x.clone(),
        };
        let normed = centred.broadcast_div(&scale)?.broadcast_mul(&of_own_head("w")?.to_dtype(x.dtype())?)?;
        if kind != QkNormType::LN {
            return Ok(normed);
        }
        let is_shift = |node: &GraphNode| f32::from(u8::from(*node == GraphNode::Bias(BiasOf::Norms)));
        let shift = Tensor::new(nodes.iter().map(is_shift).collect::<Vec<f32>>(), x.device())?.unsqueeze(1)?;
        Ok((normed + shift.matmul(&of_own_head("b")?.to_dtype(x.dtype())?.unsqueeze(0)?)?)?)
    }
}

/// Whether a source writes at a position.
fn is_at(node: &GraphNode, at: usize) -> bool {
    match node {
        GraphNode::Feature { pos, .. }
        | GraphNode::Error { pos, .. }
        | GraphNode::AttnFeature { pos, .. }
        | GraphNode::AttnError { pos, .. }
        | GraphNode::Token { pos }
        | GraphNode::Position { pos } => *pos == at,
        GraphNode::Bias(_) => true,
        GraphNode::LeftOut | GraphNode::Target { .. } => false,
    }
}
