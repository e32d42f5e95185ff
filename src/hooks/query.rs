//! How a user names a hook point: a full name, a shorthand, or a tuple, as TransformerLens' `get_act_name` reads them.

use super::point::HookPoint;
use super::site::{Site, SiteRow};
use crate::dims::Dims;
use crate::error::{Error, Result, nearest};
use crate::slice::{Index, forward};
use crate::visible::visible;

/// A name for one or more hook points, not yet checked against a model.
///
/// Made by `into()` from `"blocks.0.attn.hook_q"`, `"q0"`, `"scale4ln1"`, `("q", 0)`, `("resid_post", -1)`,
/// `("normalized", 3, "ln2")`, `"embed"`, a [`HookPoint`], or `(Site, layer)`. A block shorthand without a layer
/// (`"pattern"`) means that site in every layer, where several points may be meant. A point inside a
/// [splice](super::Splice) is named in full or by its site alone: `("sae_acts_post", 2)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookQuery {
    name: String,
    layer: Option<isize>,
    sublayer: Option<String>,
    /// The point itself, where one was given.
    point: Option<HookPoint>,
}

/// A name that has been read.
enum Parsed {
    Point(HookPoint),
    /// A site whose layer may be open.
    Site(Site, Option<isize>),
    /// Points inside splices that share the name.
    Inner(Vec<HookPoint>),
}

impl HookQuery {
    /// The one point that is meant in a model of these `dims`.
    ///
    /// # Errors
    /// [`Error::UnknownHook`], [`Error::AbsentHook`], [`Error::LayerOutOfRange`], or [`Error::Argument`] where the layer is missing.
    pub fn resolve(&self, dims: &Dims) -> Result<HookPoint> {
        self.resolve_among(dims, &[])
    }

    /// Every point that is meant in a model of these `dims`: one, or one of each layer where no layer is given.
    ///
    /// # Errors
    /// As [`HookQuery::resolve`].
    pub fn resolve_all(&self, dims: &Dims) -> Result<Vec<HookPoint>> {
        self.resolve_all_among(dims, &[])
    }

    /// As [`HookQuery::resolve`], where there are these points inside splices as well.
    pub(crate) fn resolve_among(&self, dims: &Dims, inner: &[HookPoint]) -> Result<HookPoint> {
        match self.parse(dims.n_layers, inner)? {
            Parsed::Point(point) => point.check(dims),
            Parsed::Site(site, Some(layer)) => HookPoint::Block(dims.layer(layer)?, site).check(dims),
            Parsed::Inner(points) if points.len() == 1 => points[0].check(dims),
            Parsed::Site(_, None) | Parsed::Inner(_) => Err(self.missing_layer()),
        }
    }

    /// As [`HookQuery::resolve_all`], where there are these points inside splices as well.
    pub(crate) fn resolve_all_among(&self, dims: &Dims, inner: &[HookPoint]) -> Result<Vec<HookPoint>> {
        match self.parse(dims.n_layers, inner)? {
            Parsed::Site(site, None) => {
                dims.check_layers()?;
                (0..dims.n_layers).map(|l| HookPoint::Block(l, site).check(dims)).collect()
            }
            Parsed::Inner(points) => points.into_iter().map(|point| point.check(dims)).collect(),
            _ => Ok(vec![self.resolve_among(dims, inner)?]),
        }
    }

    /// The point by name alone, without a model: the layer must be given and not count from the end.
    pub(super) fn parse_one(&self) -> Result<HookPoint> {
        match self.parse(0, &[])? {
            Parsed::Point(point) => Ok(point),
            Parsed::Site(site, Some(layer)) if layer >= 0 => Ok(HookPoint::Block(layer as usize, site)),
            Parsed::Site(_, Some(layer)) => Err(Error::argument(format!(
                "layer {layer} of {:?} counts from the end, which needs a model: give a layer from 0.",
                self.name
            ))),
            Parsed::Site(_, None) | Parsed::Inner(_) => Err(self.missing_layer()),
        }
    }

    fn missing_layer(&self) -> Error {
        Error::argument(format!(
            "the hook name {:?} needs a layer here: give (\"{}\", layer) or \"{}0\" for layer 0.",
            self.name, self.name, self.name
        ))
    }

    fn unknown(&self, inner: &[HookPoint]) -> Error {
        let given = self.to_string();
        Error::UnknownHook { nearest: nearest_name(&given, self.layer, inner), name: given }
    }

    fn parse(&self, n_layers: usize, inner: &[HookPoint]) -> Result<Parsed> {
        if let Some(point) = self.point {
            return Ok(Parsed::Point(point));
        }
        if self.layer.is_none() {
            let named = inner.iter().copied().find(|point| point.to_string() == self.name);
            if let Some(point) = full_name(&self.name).or(named) {
                return Ok(Parsed::Point(point));
            }
            if self.name.contains("blocks.") {
                return Err(self.unknown(inner));
            }
        }
        let (word, layer, sublayer) = match (self.layer, split_digits(&self.name)) {
            (None, Some((word, digits, rest))) => {
                (word, Some(digits), (!rest.is_empty()).then(|| rest.trim_start_matches('_').to_string()))
            }
            (layer, _) => (self.name.as_str(), layer, None),
        };
        let sublayer = self.sublayer.clone().or(sublayer);
        if layer.is_none()
            && sublayer.is_none()
            && let Some(row) = SiteRow::outside().find(|row| row.shorthands.contains(&word))
        {
            return Ok(Parsed::Point(row.point));
        }
        if let Some(site) = site_of(word, sublayer.as_deref()) {
            return Ok(Parsed::Site(site, layer));
        }
        // The whole name as well, since the name of an inner site may contain digits.
        let named = |(word, layer)| inner_of(word, layer, n_layers, inner);
        match [(word, layer), (&self.name, self.layer)].into_iter().map(named).find(|points| !points.is_empty()) {
            Some(points) if sublayer.is_none() || self.sublayer.is_none() => Ok(Parsed::Inner(points)),
            _ => Err(self.unknown(inner)),
        }
    }
}

/// The points inside splices whose site has this name, with or without `hook_` and that of the outer site before it.
fn inner_of(word: &str, layer: Option<isize>, n_layers: usize, inner: &[HookPoint]) -> Vec<HookPoint> {
    let layer = layer.map(|layer| if layer < 0 { layer + forward(n_layers) } else { layer });
    let is_meant = |point: &&HookPoint| {
        let HookPoint::Inner(parts) = point else { return false };
        let name = parts.site().name();
        let named = word == name
            || Some(word) == name.strip_prefix("hook_")
            || word.strip_suffix(name).and_then(|outer| outer.strip_suffix('.')) == Some(parts.outer().row().name);
        named && layer.is_none_or(|layer| point.layer().map(forward) == Some(layer))
    };
    inner.iter().filter(is_meant).copied().collect()
}

/// The point of a full name, such as `blocks.3.attn.hook_q` or `hook_embed`.
fn full_name(name: &str) -> Option<HookPoint> {
    if let Some(row) = SiteRow::outside().find(|row| row.name == name) {
        return Some(row.point);
    }
    let (layer, name) = name.strip_prefix("blocks.")?.split_once('.')?;
    let (site, _) = SiteRow::of_blocks().find(|(_, row)| row.name == name)?;
    Some(HookPoint::Block(layer.parse().ok()?, site))
}

/// `"scale4ln1"` as `("scale", 4, "ln1")`; `None` without digits.
fn split_digits(name: &str) -> Option<(&str, isize, &str)> {
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let end = name[start..].find(|c: char| !c.is_ascii_digit()).map_or(name.len(), |i| start + i);
    Some((&name[..start], name[start..end].parse().ok()?, &name[end..]))
}

/// The site of a shorthand (or of the name after `blocks.l.`), distinguished by its sublayer where two share a word.
fn site_of(word: &str, sublayer: Option<&str>) -> Option<Site> {
    let in_part = |row: &SiteRow| match sublayer {
        None => true,
        Some("a") => row.module() == Some("attn"),
        Some("m") => row.module() == Some("mlp"),
        Some("b" | "block" | "blocks") => row.module().is_none(),
        Some(module) => row.module() == Some(module),
    };
    let mut found =
        SiteRow::of_blocks().filter(|(_, row)| in_part(row) && (row.name == word || row.shorthands.contains(&word)));
    let (first, _) = found.next()?;
    // "scale" and "normalized" are both ln1's and ln2's: without a sublayer they say neither.
    found.next().is_none().then_some(first)
}

/// The valid name closest to what was given, in the style in which it was given.
fn nearest_name(given: &str, layer: Option<isize>, inner: &[HookPoint]) -> String {
    let layer_text = layer.map(|l| l.to_string()).or_else(|| split_digits(given).map(|(_, l, _)| l.to_string()));
    let full_style = given.contains('.') || given.contains("hook");
    let mut names: Vec<String> = inner.iter().map(HookPoint::to_string).collect();
    // Who gave a layer means a block.
    for row in SiteRow::outside().filter(|_| layer_text.is_none()) {
        match full_style {
            true => names.push(row.name.into()),
            false => names.extend(row.shorthands.iter().map(|name| name.to_string())),
        }
    }
    for (_, row) in SiteRow::of_blocks() {
        if full_style {
            names.push(format!("blocks.{}.{}", layer_text.as_deref().unwrap_or("0"), row.name));
        } else if let Some(norm) = row.module().filter(|module| module.starts_with("ln")) {
            names.extend(row.shorthands.iter().map(|s| format!("{s}{}{norm}", layer_text.as_deref().unwrap_or("0"))));
        } else {
            names.extend(row.shorthands.iter().map(|s| format!("{s}{}", layer_text.as_deref().unwrap_or(""))));
        }
    }
    nearest(given, names).expect("the table is not empty")
}

impl std::fmt::Display for HookQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&visible(&self.name))?;
        if let Some(layer) = self.layer {
            write!(f, "{layer}")?;
        }
        f.write_str(&visible(self.sublayer.as_deref().unwrap_or("")))
    }
}

impl From<&str> for HookQuery {
    fn from(name: &str) -> Self {
        Self { name: name.trim().to_string(), layer: None, sublayer: None, point: None }
    }
}

impl From<String> for HookQuery {
    fn from(name: String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<&String> for HookQuery {
    fn from(name: &String) -> Self {
        Self::from(name.as_str())
    }
}

impl From<HookPoint> for HookQuery {
    fn from(point: HookPoint) -> Self {
        Self { point: Some(point), ..Self::from(point.to_string()) }
    }
}

macro_rules! from_layers {
    ($($int:ty),*) => {$(
        impl From<(&str, $int)> for HookQuery {
            fn from((name, layer): (&str, $int)) -> Self {
                Self { layer: Some(Index::index(layer)), ..Self::from(name) }
            }
        }
        impl From<(&str, $int, &str)> for HookQuery {
            fn from((name, layer, sublayer): (&str, $int, &str)) -> Self {
                Self { layer: Some(Index::index(layer)), sublayer: Some(sublayer.to_string()), ..Self::from(name) }
            }
        }
        impl From<(Site, $int)> for HookQuery {
            fn from((site, layer): (Site, $int)) -> Self {
                Self { layer: Some(Index::index(layer)), ..Self::from(site.row().name) }
            }
        }
    )*};
}
from_layers!(i32, isize, usize);
