//! The model as PyTorch prints one: nested modules, with every hook point in its module.

use std::fmt;

use super::config::NormalizationType;
use super::transformer::HookedTransformer;
use crate::hooks::{HookPoint, SiteRow, Stage};

/// A module: the modules in it, and then its hook points.
#[derive(Default)]
struct Module {
    parts: Vec<(String, Module)>,
    points: Vec<String>,
}

impl Module {
    /// Adds the point with this name, such as `attn.q_norm.hook_scale`, and the modules around it.
    fn add(&mut self, name: &str) {
        let Some((part, rest)) = name.split_once('.') else {
            self.points.push(name.into());
            return;
        };
        let at = self.parts.iter().position(|(name, _)| name == part).unwrap_or_else(|| {
            self.parts.push((part.into(), Self::default()));
            self.parts.len() - 1
        });
        self.parts[at].1.add(rest);
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, indent: usize, norms: Norms) -> fmt::Result {
        for (name, module) in &self.parts {
            writeln!(f, "{:indent$}({name}): {}(", "", kind(name, norms))?;
            module.write(f, indent + 2, norms)?;
            writeln!(f, "{:indent$})", "")?;
        }
        self.points.iter().try_for_each(|name| writeln!(f, "{:indent$}({name}): HookPoint()", ""))
    }
}

/// The kinds of a model's norms: of queries and keys, and of the residual stream.
#[derive(Clone, Copy)]
struct Norms {
    qk: &'static str,
    stream: &'static str,
}

/// What a module is; the norm of neurons is of one kind whatever the others are.
fn kind(name: &str, norms: Norms) -> &'static str {
    match (name, norms.stream) {
        ("attn", _) => "Attention",
        ("mlp", _) => "MLP",
        ("unembed", _) => "Unembed",
        ("q_norm" | "k_norm", _) => norms.qk,
        ("ln", "LayerNorm") => "LayerNorm",
        ("ln", _) => "LayerNormPre",
        (_, stream) => stream,
    }
}

impl fmt::Display for HookedTransformer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stream = match self.cfg.normalization_type {
            NormalizationType::LN => "LayerNorm",
            NormalizationType::LNPre => "LayerNormPre",
            NormalizationType::RMS => "RMSNorm",
            NormalizationType::RMSPre => "RMSNormPre",
            NormalizationType::None => "",
        };
        let norms = Norms { qk: if self.cfg.qk_norm_type.centres() { "LayerNorm" } else { "RMSNorm" }, stream };
        let (mut before, mut block, mut after) = (Vec::new(), Module::default(), Module::default());
        for row in SiteRow::all().iter().filter(|row| row.absent(&self.dims()).is_none()) {
            match row.stage {
                Stage::Embedding => before.push(row.point),
                Stage::Final => after.add(row.name),
                _ => block.add(row.name),
            }
        }
        writeln!(f, "HookedTransformer(")?;
        for point in before {
            match point {
                HookPoint::Embed => writeln!(f, "  (embed): Embed()")?,
                HookPoint::PosEmbed => writeln!(f, "  (pos_embed): PosEmbed()")?,
                _ => {}
            }
            writeln!(f, "  ({point}): HookPoint()")?;
        }
        if let Some(last) = self.cfg.n_layers.checked_sub(1) {
            // Norms come first, as in TransformerLens.
            block.parts.sort_by_key(|(name, _)| !name.starts_with("ln"));
            writeln!(f, "  (blocks): ModuleList(\n    (0-{last}): {} x TransformerBlock(", self.cfg.n_layers)?;
            block.write(f, 6, norms)?;
            writeln!(f, "    )\n  )")?;
        }
        after.write(f, 2, norms)?;
        f.write_str(")")
    }
}
