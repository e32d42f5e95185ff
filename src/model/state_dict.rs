//! Weights by TransformerLens' names, in its shapes.
//!
//! Inside, heads lie side by side for wide products ([`super::weights`]); here each weight has the axes that
//! TransformerLens gives it: `blocks.0.attn.W_Q [n_heads, d_model, d_head]`.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::transformer::HookedTransformer;
use super::weights::{NormWeights, for_each_head};
use crate::error::{Error, Result};

/// How many of the nearest names an error lists.
const NEAR: usize = 3;

/// The axes that a weight gets.
#[derive(Clone, Copy)]
enum Axes {
    /// Those that it has.
    Same,
    /// `[d_model, n * d_head]` becomes `[n, d_model, d_head]`.
    HeadsBehind,
    /// `[n * d_head, ..]` becomes `[n, d_head, ..]`.
    HeadsFirst,
}

/// A weight as the model stores it, with its name.
struct Named<'a> {
    name: String,
    weight: &'a Tensor,
    axes: Axes,
}

impl HookedTransformer {
    /// The weight with this TransformerLens name, in its shape: `"embed.W_E"`, `"blocks.0.attn.W_Q"`,
    /// `"blocks.0.ln1.w"`, `"ln_final.b"`, ... [`HookedTransformer::state_dict`] has all of them. Keys and values that
    /// heads share are `"attn._W_K"` as they are stored, and `"attn.W_K"` repeated for each head.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let cfg = model.cfg();
    /// assert_eq!(model.weight("blocks.0.ln1.w")?.dims(), [cfg.d_model]);
    /// assert_eq!(model.weight("blocks.3.attn.W_Q")?.dims(), [cfg.n_heads, cfg.d_model, cfg.d_head()]);
    /// let error = model.weight("blocks.0.ln1.W").unwrap_err().to_string();
    /// assert!(error.contains("\"blocks.0.ln1.w\""), "{error}");
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// Those of TransformerLens: `W_Q`, `W_K`, `W_V` `[n_heads, d_model, d_head]`, `W_O` `[n_heads, d_head, d_model]`,
    /// `b_Q`, `b_K`, `b_V` `[n_heads, d_head]`, `W_in` `[d_model, d_mlp]`, norms `[d_model]`.
    ///
    /// # Errors
    /// [`Error::Argument`] with the nearest names, for a name that this model does not have; a norm whose weights were
    /// folded has none.
    pub fn weight(&self, name: &str) -> Result<Tensor> {
        let named = self.named_weights();
        if let Some(found) = named.iter().find(|named| named.name == name) {
            return self.in_axes(found);
        }
        let shared = ["W_K", "W_V", "b_K", "b_V"].into_iter().find_map(|part| {
            let stored = format!("{}attn._{part}", name.strip_suffix(&format!("attn.{part}"))?);
            named.iter().find(|named| named.name == stored)
        });
        match shared {
            Some(shared) => for_each_head(&self.in_axes(shared)?, 0, self.cfg.n_heads),
            None => Err(self.no_weight(name, &named)),
        }
    }

    /// All weights by TransformerLens' names, in its shapes, norms among them. Masks and rotary angles, which
    /// TransformerLens' own state dict carries besides, are computed here and are not weights.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// let model = HookedTransformer::from_pretrained_no_processing("tiny")?;
    /// let weights = model.state_dict()?;
    /// assert_eq!(weights["unembed.W_U"].dims(), [model.cfg().d_model, model.cfg().d_vocab]);
    /// assert!(weights.contains_key("ln_final.w"));
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Shapes
    /// As [`HookedTransformer::weight`].
    ///
    /// # Errors
    /// candle's, when the device cannot hold the rearranged weights.
    pub fn state_dict(&self) -> Result<BTreeMap<String, Tensor>> {
        self.named_weights().iter().map(|named| Ok((named.name.clone(), self.in_axes(named)?))).collect()
    }

    fn in_axes(&self, named: &Named) -> Result<Tensor> {
        let (weight, d_head) = (named.weight, self.cfg.d_head());
        Ok(match named.axes {
            Axes::Same => weight.clone(),
            Axes::HeadsBehind => weight.reshape((weight.dim(0)?, (), d_head))?.transpose(0, 1)?.contiguous()?,
            Axes::HeadsFirst => match weight.rank() {
                1 => weight.reshape(((), d_head))?,
                _ => weight.reshape(((), d_head, weight.dim(1)?))?,
            },
        })
    }

    fn named_weights(&self) -> Vec<Named<'_>> {
        let weights = &self.weights;
        let mut all = List(Vec::new());
        all.push("embed.W_E", &weights.w_e, Axes::Same);
        all.extend("pos_embed.W_pos", weights.w_pos.as_ref());
        // Keys and values that heads share are stored under names with an underscore.
        let shared = if self.cfg.n_key_value_heads() < self.cfg.n_heads { "_" } else { "" };
        for (layer, block) in weights.blocks.iter().enumerate() {
            let name = |part: &str| format!("blocks.{layer}.{part}");
            all.norm(&name("ln1"), block.ln1.as_ref());
            let attn = &block.attn;
            all.push(name("attn.W_Q"), &attn.w_q, Axes::HeadsBehind);
            all.push(name(&format!("attn.{shared}W_K")), &attn.w_k, Axes::HeadsBehind);
            all.push(name(&format!("attn.{shared}W_V")), &attn.w_v, Axes::HeadsBehind);
            all.push(name("attn.W_O"), &attn.w_o, Axes::HeadsFirst);
            all.push(name("attn.b_Q"), &attn.b_q, Axes::HeadsFirst);
            all.push(name(&format!("attn.{shared}b_K")), &attn.b_k, Axes::HeadsFirst);
            all.push(name(&format!("attn.{shared}b_V")), &attn.b_v, Axes::HeadsFirst);
            all.push(name("attn.b_O"), &attn.b_o, Axes::Same);
            if let Some((q, k)) = &attn.qk_norm {
                all.norm(&name("attn.q_norm"), Some(q));
                all.norm(&name("attn.k_norm"), Some(k));
            }
            all.norm(&name("ln1_post"), block.ln1_post.as_ref());
            all.norm(&name("ln2"), block.ln2.as_ref());
            if let Some(mlp) = &block.mlp {
                all.push(name("mlp.W_in"), &mlp.w_in, Axes::Same);
                all.extend(name("mlp.W_gate"), mlp.w_gate.as_deref());
                if let Some((gate, linear)) = &mlp.gate_biases {
                    all.push(name("mlp.b_gate"), gate, Axes::Same);
                    all.push(name("mlp.b_pre_linear"), linear, Axes::Same);
                }
                all.push(name("mlp.b_in"), &mlp.b_in, Axes::Same);
                all.norm(&name("mlp.ln"), mlp.ln.as_ref());
                all.push(name("mlp.W_out"), &mlp.w_out, Axes::Same);
                all.push(name("mlp.b_out"), &mlp.b_out, Axes::Same);
            }
            all.norm(&name("ln2_post"), block.ln2_post.as_ref());
        }
        all.norm("ln_final", weights.ln_final.as_ref());
        all.push("unembed.W_U", &weights.w_u, Axes::Same);
        all.push("unembed.b_U", &weights.b_u, Axes::Same);
        all.0
    }

    fn no_weight(&self, name: &str, named: &[Named]) -> Error {
        let mut near: Vec<&str> = named.iter().map(|named| named.name.as_str()).collect();
        near.sort_by_key(|known| strsim::damerau_levenshtein(known, name));
        let near: Vec<String> = near.iter().take(NEAR).map(|known| format!("{known:?}")).collect();
        let is_norm = name.split('.').any(|part| part.starts_with("ln"));
        let folded = match is_norm && self.processing.fold_ln {
            true => {
                " The norms' weights are folded into the weights behind them; \
                     from_pretrained_no_processing keeps them apart."
            }
            false => "",
        };
        Error::argument(format!(
            "the model has no weight named {name:?}; the nearest names are {}, and state_dict() has all of \
             them.{folded}",
            near.join(", ")
        ))
    }
}

/// The weights, as they are listed.
struct List<'a>(Vec<Named<'a>>);

impl<'a> List<'a> {
    fn push(&mut self, name: impl Into<String>, weight: &'a Tensor, axes: Axes) {
        self.0.push(Named { name: name.into(), weight, axes });
    }

    fn extend(&mut self, name: impl Into<String>, weight: Option<&'a Tensor>) {
        let name = name.into();
        self.0.extend(weight.map(|weight| Named { name, weight, axes: Axes::Same }));
    }

    fn norm(&mut self, name: &str, norm: Option<&'a NormWeights>) {
        if let Some(norm) = norm {
            self.push(format!("{name}.w"), &norm.w, Axes::Same);
            self.extend(format!("{name}.b"), norm.b.as_ref());
        }
    }
}
