//! Where the dictionaries are, and how large.

use candle_lens::Result;
use candle_lens::dictionaries::Expects;
use candle_lens::hooks::HookPoint;
use candle_lens::model::HookedTransformer;
use candle_lens::train::{Recipe, Sparsity};

/// A dictionary to be trained.
pub struct Site {
    pub name: &'static str,
    pub reads: &'static str,
    /// The point that a transcoder writes.
    pub writes: Option<&'static str>,
    d_sae: usize,
    k: usize,
}

const fn attention(name: &'static str, reads: &'static str) -> Site {
    Site { name, reads, writes: None, d_sae: 1024, k: 16 }
}

const fn mlp(name: &'static str, reads: &'static str, writes: &'static str) -> Site {
    Site { name, reads, writes: Some(writes), d_sae: 512, k: 12 }
}

pub const SITES: [Site; 9] = [
    attention("z0", "blocks.0.attn.hook_z"),
    attention("z1", "blocks.1.attn.hook_z"),
    attention("z2", "blocks.2.attn.hook_z"),
    attention("z3", "blocks.3.attn.hook_z"),
    mlp("mlp0", "blocks.0.ln2.hook_normalized", "blocks.0.hook_mlp_out"),
    mlp("mlp1", "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"),
    mlp("mlp2", "blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_out"),
    mlp("mlp3", "blocks.3.ln2.hook_normalized", "blocks.3.hook_mlp_out"),
    Site { name: "resid1", reads: "blocks.1.hook_resid_post", writes: None, d_sae: 1024, k: 16 },
];

impl Site {
    /// How it is trained, but for seeds and steps.
    pub fn recipe(&self) -> Recipe {
        Recipe { d_sae: self.d_sae, sparsity: Sparsity::BatchTopK { k: self.k }, ..Recipe::default() }
    }

    pub fn points(&self) -> Result<(HookPoint, Option<HookPoint>)> {
        Ok((self.reads.parse()?, self.writes.map(str::parse).transpose()?))
    }

    /// What the dictionary says about the model that it was trained on.
    pub fn expects(&self, model: &HookedTransformer) -> Result<Expects> {
        let (processing, (hook_in, hook_out)) = (model.processing(), self.points()?);
        Ok(Expects {
            model: Some(model.cfg().model_name.clone()),
            weights: model.provenance().crc32,
            hook_in: Some(hook_in),
            hook_out,
            centred: Some(processing.center_writing_weights),
            value_biases_folded: Some(processing.fold_value_biases),
            norms_folded: Some(processing.fold_ln),
            prepend_bos: Some(true),
            excludes_special_tokens: true,
            context_size: Some(model.cfg().n_ctx),
            ..Expects::default()
        })
    }
}
