//! How a family's files are laid out, and how a model comes out of them: part by part, each processed and rounded
//! before the next is read, so that loading in half precision needs little more memory than the model.

use candle_core::Tensor;

use crate::error::Result;
use crate::model::config::HookedTransformerConfig;
use crate::model::load::process::Process;
use crate::model::load::tensor_file::TensorFile;
use crate::model::load::tensor_names::{Before, before};
use crate::model::weights::{BlockWeights, NormWeights, Weights};

/// Names of a family's tensors outside the blocks, and how the rest is read.
pub(in crate::model) struct Layout {
    /// What the names begin with, but that of the unembedding, unless the model was saved without one.
    pub prefix: &'static str,
    /// How the names of tensors end that hold no weights: masks and angles that old checkpoints carry.
    pub buffers: &'static [&'static str],
    pub embed: &'static str,
    /// By how much the embedding is multiplied.
    pub embed_scale: fn(&HookedTransformerConfig) -> f64,
    /// The layer norm behind the embedding. It sees nothing but the token, so that its result is the embedding.
    pub embed_norm: Option<&'static str>,
    pub pos_embed: &'static str,
    /// Rows of the position embeddings before that of position 0.
    pub unused_positions: usize,
    pub ln_final: &'static str,
    pub unembed: &'static str,
    /// Whether the unembedding is `[d_model, d_vocab]`; else it is `[d_vocab, d_model]`, as PyTorch's linear layers
    /// are.
    pub unembed_in_out: bool,
    pub unembed_bias: Option<&'static str>,
    /// Reads the norm of this name and size.
    pub norm: fn(&mut TensorFile, &str, &HookedTransformerConfig) -> NormWeights,
    /// Reads a block.
    pub block: fn(&mut TensorFile, usize, &HookedTransformerConfig) -> Result<BlockWeights>,
}

impl Layout {
    /// The weights of a state dict, processed. Where it has no unembedding and `may_be_tied`, the embedding takes its
    /// place.
    ///
    /// # Errors
    /// [`crate::Error::File`] listing every tensor that is missing, unexpected or of another shape.
    pub(in crate::model) fn weights(
        &self,
        file: &mut TensorFile,
        process: &Process,
        may_be_tied: bool,
    ) -> Result<Weights> {
        let cfg = process.cfg();
        self.settle_names(file, may_be_tied);
        let mut ln_final = cfg.normalization_type.has_weights().then(|| (self.norm)(file, self.ln_final, cfg));
        let mut b_u = match self.unembed_bias {
            Some(name) => file.take(name, &[cfg.d_vocab_out()]),
            None => file.zeros(cfg.d_vocab_out())?,
        };
        let own = self.unembedding(file, cfg, may_be_tied);
        let mut level = None;
        let mut unembed = |file: &TensorFile, w_u: Tensor| match file.is_faulty() {
            true => Ok(w_u),
            false => process.unembedding(w_u, &mut b_u, &mut ln_final, &mut level),
        };
        // An unembedding of its own is finished before the embedding is read.
        let w_u = own.map(|own| unembed(file, own)).transpose()?;
        let embed = file.take(self.embed, &[cfg.d_vocab, cfg.d_model]);
        let embed_norm = self.embed_norm.map(|name| (self.norm)(file, name, cfg));
        let w_u = match w_u {
            Some(w_u) => w_u,
            None => unembed(file, embed.t()?)?,
        };
        let w_e = match file.is_faulty() {
            true => embed,
            false => process.embedding(embed, (self.embed_scale)(cfg), embed_norm.as_ref())?,
        };
        let w_pos = self.positions(file, process)?;
        let blocks: Vec<_> = (0..cfg.n_layers).map(|layer| self.block(file, layer, process)).collect();
        file.finish()?;
        Ok(Weights {
            w_e,
            w_pos,
            blocks: blocks.into_iter().collect::<Result<_>>()?,
            ln_final,
            w_u: w_u.into(),
            b_u,
            level,
        })
    }

    /// Gives the tensors of a file the names of this layout, whatever the file has before them, and leaves out what is
    /// no part of the model.
    fn settle_names(&self, file: &mut TensorFile, may_be_tied: bool) {
        let anchors = [format!("{}.weight", self.ln_final), format!("{}.w", self.ln_final), self.embed.into()];
        match before(file.names(), &anchors, self.prefix) {
            Before::Unknown => file.strip_prefix(self.prefix),
            Before::One { inner, whole } => {
                if !["", self.prefix].contains(&inner.as_str()) {
                    file.note(format!("{inner:?} taken off the names of the tensors"));
                }
                file.strip_prefix(&inner);
                file.strip_prefix(&whole);
            }
            Before::Several(models) => {
                let models: Vec<_> = models.iter().map(|before| format!("{before:?}")).collect();
                file.advise(format!(
                    "The file holds several models, whose names begin with {}: save one of them alone.",
                    models.join(" and ")
                ));
            }
        }
        file.ignore(|name| self.buffers.iter().any(|buffer| name.ends_with(buffer)));
        file.leave_other_heads();
        file.leave_image_parts();
        // The unembedding of GPT-NeoX has two names: one in its files, one in the models of transformers 5.
        if self.unembed == "embed_out.weight" && !file.has(self.unembed) {
            file.rename("lm_head.weight", self.unembed);
        }
        // One matrix for both may be stored under the name of either.
        if may_be_tied && !file.has(self.embed) {
            file.rename(self.unembed, self.embed);
        }
    }

    /// `[d_model, d_vocab_out]`: the unembedding; none for the embedding to take its place.
    fn unembedding(&self, file: &mut TensorFile, cfg: &HookedTransformerConfig, may_be_tied: bool) -> Option<Tensor> {
        let (d, v) = (cfg.d_model, cfg.d_vocab_out());
        let shape = if self.unembed_in_out { [d, v] } else { [v, d] };
        let own = file.take_optional(self.unembed, &shape);
        let own = if may_be_tied { own? } else { own.unwrap_or_else(|| file.take(self.unembed, &shape)) };
        Some(if self.unembed_in_out { own } else { own.t().expect("two axes") })
    }

    fn positions(&self, file: &mut TensorFile, process: &Process) -> Result<Option<Tensor>> {
        let cfg = process.cfg();
        if !cfg.positional_embedding_type.has_vectors() {
            return Ok(None);
        }
        let rows = file.take(self.pos_embed, &[self.unused_positions + cfg.n_ctx, cfg.d_model]);
        let used = rows.narrow(0, self.unused_positions, cfg.n_ctx)?;
        Ok(Some(if file.is_faulty() { used } else { process.positions(used.contiguous()?)? }))
    }

    fn block(&self, file: &mut TensorFile, layer: usize, process: &Process) -> Result<BlockWeights> {
        let block = (self.block)(file, layer, process.cfg())?;
        if file.is_faulty() { Ok(block) } else { process.block(block) }
    }
}
