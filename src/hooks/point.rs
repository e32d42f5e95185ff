//! A hook point: one place of one forward pass, with its TransformerLens name.

use std::fmt;
use std::str::FromStr;

use super::query::HookQuery;
use super::site::{AxisName, SITES, Site};
use crate::dims::{Dims, MOST_LAYERS};
use crate::error::{Error, Result};
use crate::slice::forward;

/// One place of the model where a run may look or act.
///
/// `Display` gives the TransformerLens name; `FromStr` reads names and shorthands.
///
/// ```
/// use candle_lens::hooks::HookPoint;
/// let point: HookPoint = "k6".parse()?;
/// assert_eq!(point.to_string(), "blocks.6.attn.hook_k");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HookPoint {
    /// `hook_tokens`: the token ids, `[batch, pos]`; kept only when a plan names it.
    Tokens,
    /// `hook_embed`: the token embeddings, `[batch, pos, d_model]`.
    Embed,
    /// `hook_pos_embed`: the position embeddings, `[batch, pos, d_model]`.
    PosEmbed,
    /// A site of a block.
    Block(usize, Site),
    /// `ln_final.hook_scale`: what the final norm divides by, `[batch, pos, 1]`.
    LnFinalScale,
    /// `ln_final.hook_normalized`: what the final norm makes of the residual stream, before its scale and shift where
    /// they are not folded, `[batch, pos, d_model]`.
    LnFinalNormalized,
}

impl HookPoint {
    /// The points outside the blocks, with their names, shorthands and meaning.
    pub(super) const OUTSIDE: [(Self, &'static str, &'static str, &'static str); 5] = [
        (Self::Tokens, "hook_tokens", "tokens", "token ids"),
        (Self::Embed, "hook_embed", "embed", "token embeddings"),
        (Self::PosEmbed, "hook_pos_embed", "pos_embed", "position embeddings"),
        (Self::LnFinalScale, "ln_final.hook_scale", "scale", "what the final norm divides by"),
        (
            Self::LnFinalNormalized,
            "ln_final.hook_normalized",
            "normalized",
            "output of the final norm, before its scale and shift",
        ),
    ];

    /// Every point that a model of these `dims` has, in the order of the forward pass. A model has at most 4096 layers; of
    /// sizes that say more these are listed.
    pub fn all(dims: &Dims) -> Vec<Self> {
        let mut points = vec![Self::Tokens, Self::Embed, Self::PosEmbed];
        for layer in 0..dims.n_layers.min(MOST_LAYERS) {
            points.extend(SITES.iter().map(|row| Self::Block(layer, row.site)));
        }
        points.extend([Self::LnFinalScale, Self::LnFinalNormalized]);
        points.retain(|point| point.absent(dims).is_none());
        points
    }

    /// The axes in order.
    pub fn axes(self) -> &'static [AxisName] {
        use AxisName::{Batch, DModel, One, Pos};
        match self {
            Self::Tokens => &[Batch, Pos],
            Self::Embed | Self::PosEmbed | Self::LnFinalNormalized => &[Batch, Pos, DModel],
            Self::LnFinalScale => &[Batch, Pos, One],
            Self::Block(_, site) => site.row().axes,
        }
    }

    /// The shape of the activation in a run of `batch` prompts and `pos` positions.
    pub fn shape(self, dims: &Dims, batch: usize, pos: usize) -> Vec<usize> {
        self.axes().iter().map(|axis| axis.size(dims, batch, pos)).collect()
    }

    /// As [`HookPoint::shape`], where `past` positions before these are looked at too.
    pub(crate) fn shape_after(self, dims: &Dims, (batch, pos): (usize, usize), past: usize) -> Vec<usize> {
        let size = |axis: &AxisName| match axis {
            AxisName::KPos => past + pos,
            axis => axis.size(dims, batch, pos),
        };
        self.axes().iter().map(size).collect()
    }

    /// The block the point is in, if it is in one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Block(layer, _) => Some(layer),
            _ => None,
        }
    }

    /// Whether the point is computed only when a plan names it (`hook_result`, split inputs, `hook_mlp_in`, `hook_tokens`).
    pub fn on_demand(self) -> bool {
        match self {
            Self::Tokens => true,
            Self::Block(_, site) => site.row().on_demand,
            _ => false,
        }
    }

    /// Why a model of these `dims` lacks the point, or `None` where it has it.
    pub fn absent(self, dims: &Dims) -> Option<&'static str> {
        match self {
            Self::Block(_, site) => site.absent(dims),
            Self::PosEmbed if dims.rotary => Some("positions turn its queries and keys instead"),
            Self::LnFinalScale | Self::LnFinalNormalized if !dims.has_norm => Some("it has no layer norms"),
            _ => None,
        }
    }

    /// The point itself if a model of these `dims` has it.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`] or [`Error::AbsentHook`].
    pub fn check(self, dims: &Dims) -> Result<Self> {
        if let Self::Block(layer, _) = self {
            dims.layer(forward(layer))?;
        }
        match self.absent(dims) {
            Some(why) => Err(Error::AbsentHook { point: self.to_string(), why: why.into() }),
            None => Ok(self),
        }
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(layer, site) => write!(f, "blocks.{layer}.{}", site.row().name),
            _ => {
                let (_, name, ..) = Self::OUTSIDE.iter().find(|row| row.0 == *self).expect("each point has a row");
                f.write_str(name)
            }
        }
    }
}

impl fmt::Debug for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for HookPoint {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        HookQuery::from(name).parse_one()
    }
}

/// `HOOKS.md`: every point with its shorthand, axes and meaning, made from the tables.
pub fn hooks_markdown() -> String {
    let axes = |axes: &[AxisName]| axes.iter().map(|axis| axis.as_str()).collect::<Vec<_>>().join(", ");
    let mut text = String::from(
        "# Hook points\n\nMade from the tables in `src/hooks/`; a test keeps it current. Names and axes are TransformerLens'.\n\
         Points marked *on demand* cost extra and are computed only when a plan names them.\n\
         In a model of half precision every activation is of its number type but `hook_scale`, which is f32.\n\n\
         | name | shorthand | axes | what it is |\n|---|---|---|---|\n",
    );
    for (point, name, shorthand, doc) in HookPoint::OUTSIDE {
        let mark = if point.on_demand() { " *(on demand)*" } else { "" };
        text += &format!("| `{name}` | `{shorthand}` | [{}] | {doc}{mark} |\n", axes(point.axes()));
    }
    for row in SITES {
        let norm = row.name.split('.').next().filter(|part| part.starts_with("ln"));
        let shorthands: Vec<String> = match norm {
            Some(norm) => row.shorthands.iter().map(|s| format!("`(\"{s}\", l, \"{norm}\")`")).collect(),
            None => row.shorthands.iter().map(|s| format!("`(\"{s}\", l)`")).collect(),
        };
        let mark = if row.on_demand { " *(on demand)*" } else { "" };
        text += &format!(
            "| `blocks.l.{}` | {} | [{}] | {}{mark} |\n",
            row.name,
            shorthands.join(", "),
            axes(row.axes),
            row.doc
        );
    }
    text
}
