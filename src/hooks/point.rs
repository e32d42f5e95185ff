//! A hook point: one activation of a forward pass, with its TransformerLens name.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::axis::AxisName;
use super::inner::InnerPoint;
use super::query::HookQuery;
use super::site::{Site, SiteRow};
use super::stage::{Kind, Stage};
use crate::dims::{Dims, MOST_LAYERS};
use crate::error::{Error, Result};
use crate::slice::forward;
use crate::variables::flat;

/// One activation of the forward pass, which a run can capture, edit or watch.
///
/// `Display` gives the TransformerLens name; `FromStr` reads names and shorthands. What each point holds is in `HOOKS.md`.
///
/// ```
/// use candle_lens::hooks::HookPoint;
/// let point: HookPoint = "k6".parse()?;
/// assert_eq!(point.to_string(), "blocks.6.attn.hook_k");
/// # Ok::<(), candle_lens::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum HookPoint {
    /// `hook_tokens`.
    Tokens,
    /// `hook_embed`.
    Embed,
    /// `hook_pos_embed`.
    PosEmbed,
    /// A site of a block.
    Block(usize, Site),
    /// `ln_final.hook_scale`.
    LnFinalScale,
    /// `ln_final.hook_normalized`.
    LnFinalNormalized,
    /// `unembed.hook_in`.
    UnembedIn,
    /// `unembed.hook_out`.
    UnembedOut,
    /// A point inside what a plan splices into the model ([`HookPlan::splice`](super::HookPlan::splice)).
    Inner(InnerPoint),
}

flat!(HookPoint);

impl HookPoint {
    /// Every point that a model of these `dims` has, in the order of the forward pass; at most 4096 layers are listed.
    pub fn all(dims: &Dims) -> Vec<Self> {
        let layers = dims.n_layers.min(MOST_LAYERS);
        let (before, after): (Vec<_>, Vec<_>) =
            SiteRow::outside().map(|row| row.point).partition(|point| point.stage() == Stage::Embedding);
        let of_block = |layer| SiteRow::of_blocks().map(move |(site, _)| Self::Block(layer, site));
        let mut points: Vec<Self> = before.into_iter().chain((0..layers).flat_map(of_block)).chain(after).collect();
        points.retain(|point| point.absent(dims).is_none());
        points
    }

    /// Its row of the table; of an inner point, that of the point at which the splice is.
    pub fn row(self) -> &'static SiteRow {
        match self {
            Self::Block(_, site) => site.row(),
            Self::Inner(inner) => inner.outer().row(),
            outside => SiteRow::outside().find(|row| row.point == outside).expect("each point has a row"),
        }
    }

    /// Where in the forward pass it is.
    pub fn stage(self) -> Stage {
        self.row().stage
    }

    /// What kind of numbers it holds.
    pub fn kind(self) -> Kind {
        match self {
            Self::Inner(_) => Kind::Vector,
            point => point.row().kind,
        }
    }

    /// The axes in order.
    pub fn axes(self) -> &'static [AxisName] {
        match self {
            Self::Inner(inner) => inner.site().axes(),
            point => point.row().axes,
        }
    }

    /// The shape of the activation in a run of `batch` prompts and `pos` positions.
    pub fn shape(self, dims: &Dims, batch: usize, pos: usize) -> Vec<usize> {
        self.shape_after(dims, (batch, pos), 0)
    }

    /// As [`HookPoint::shape`], where `past` earlier positions are attended to as well.
    pub(crate) fn shape_after(self, dims: &Dims, (batch, pos): (usize, usize), past: usize) -> Vec<usize> {
        let features = match self {
            Self::Inner(inner) => inner.site().d_sae(),
            _ => 0,
        };
        let size = |axis: &AxisName| match axis {
            AxisName::KPos => past + pos,
            axis => axis.size(dims, batch, pos).unwrap_or(features),
        };
        self.axes().iter().map(size).collect()
    }

    /// Which of its axes counts positions (of patterns and scores, queries).
    pub(crate) fn pos_axis(self) -> usize {
        self.axes().iter().position(|axis| axis.key() == AxisName::Pos).expect("each point has positions")
    }

    /// The block the point is in, if it is in one.
    pub fn layer(self) -> Option<usize> {
        match self {
            Self::Block(layer, _) => Some(layer),
            Self::Inner(inner) => inner.outer().layer(),
            _ => None,
        }
    }

    /// Whether it is behind the last block.
    pub(crate) fn is_final(self) -> bool {
        self.stage() == Stage::Final
    }

    /// Whether the point is computed only when a plan names it, because it costs extra (`hook_result`, `hook_mlp_in`, the
    /// logits, ..).
    pub fn on_demand(self) -> bool {
        match self {
            Self::Inner(_) => false,
            point => point.row().on_demand,
        }
    }

    /// Why a model of these `dims` lacks the point, or `None` where it has it.
    pub fn absent(self, dims: &Dims) -> Option<&'static str> {
        self.row().absent(dims)
    }

    /// The point itself if a model of these `dims` has it.
    ///
    /// # Errors
    /// [`Error::LayerOutOfRange`] or [`Error::AbsentHook`].
    pub fn check(self, dims: &Dims) -> Result<Self> {
        if let Some(layer) = self.layer() {
            dims.layer(forward(layer))?;
        }
        match self.absent(dims) {
            Some(why) => Err(Error::AbsentHook { point: self.to_string(), why: why.into() }),
            None => Ok(self),
        }
    }

    /// The key that sorts points by the forward pass; points inside a splice come after the point that it is at.
    fn order(&self) -> (Stage, usize, Option<Site>, u8, Option<&InnerPoint>) {
        let outside = |stage, number| (stage, 0, None, number, None);
        match self {
            Self::Tokens => outside(Stage::Embedding, 0),
            Self::Embed => outside(Stage::Embedding, 1),
            Self::PosEmbed => outside(Stage::Embedding, 2),
            // Blocks by number before their sites: the stage of a site is of its block.
            Self::Block(layer, site) => (Stage::Entering, *layer, Some(*site), 0, None),
            Self::LnFinalScale => outside(Stage::Final, 0),
            Self::LnFinalNormalized => outside(Stage::Final, 1),
            Self::UnembedIn => outside(Stage::Final, 2),
            Self::UnembedOut => outside(Stage::Final, 3),
            Self::Inner(inner) => {
                let (stage, layer, site, number, _) = inner.outer_ref().order();
                (stage, layer, site, number, Some(inner))
            }
        }
    }
}

impl PartialOrd for HookPoint {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for HookPoint {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order().cmp(&other.order())
    }
}

impl fmt::Display for HookPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Block(layer, site) => write!(f, "blocks.{layer}.{}", site.row().name),
            Self::Inner(inner) => write!(f, "{inner}"),
            outside => f.write_str(outside.row().name),
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

/// `HOOKS.md`: every point with its shorthand, axes and meaning, made from the table.
pub fn hooks_markdown() -> String {
    let mut text = String::from(
        "# Hook points\n\nMade from the table in `src/hooks/table.rs`; a test keeps it current. Names and axes are \
         TransformerLens'.\nPoints marked *on demand* cost extra and are computed only when a plan names them.\n\
         In a half-precision model every activation has the model's dtype, except `hook_scale`, which is f32.\n\n\
         What a plan splices into the model (`HookPlan::splice`, such as a sparse dictionary) has points of its own behind \
         the name of\nthe point it is at, as in `blocks.2.hook_resid_post.hook_sae_acts_post`. A splice reads the activation \
         after the edits of that\npoint; what is captured there is what the splice reads.\n\n\
         | name | shorthand | axes | what it is |\n|---|---|---|---|\n",
    );
    for row in SiteRow::all() {
        let shorthands: Vec<String> = match (row.site(), row.module()) {
            (None, _) => row.shorthands.iter().map(|s| format!("`{s}`")).collect(),
            (_, Some(norm)) if norm.starts_with("ln") => {
                row.shorthands.iter().map(|s| format!("`(\"{s}\", l, \"{norm}\")`")).collect()
            }
            _ => row.shorthands.iter().map(|s| format!("`(\"{s}\", l)`")).collect(),
        };
        let name = if row.site().is_some() { format!("blocks.l.{}", row.name) } else { row.name.into() };
        let axes: Vec<&str> = row.axes.iter().map(|axis| axis.as_str()).collect();
        let mark = if row.on_demand { " *(on demand)*" } else { "" };
        text += &format!("| `{name}` | {} | [{}] | {}{mark} |\n", shorthands.join(", "), axes.join(", "), row.doc);
    }
    text
}
