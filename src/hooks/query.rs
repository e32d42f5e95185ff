//! How a user names a hook point: a full name, a shorthand, or a tuple, as TransformerLens' `get_act_name` reads them.

use super::point::HookPoint;
use super::site::{SITES, Site};
use crate::dims::Dims;
use crate::error::{Error, Result, nearest};
use crate::slice::Index;
use crate::visible::visible;

/// A name for one or more hook points, not yet held against a model.
///
/// Made by `into()` from `"blocks.0.attn.hook_q"`, `"q0"`, `"scale4ln1"`, `("q", 0)`, `("resid_post", -1)`,
/// `("normalized", 3, "ln2")`, `"embed"`, a [`HookPoint`], or `(Site, layer)`. A block shorthand without a layer
/// (`"pattern"`) means that site in every layer, where several points may be meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookQuery {
    name: String,
    layer: Option<isize>,
    sublayer: Option<String>,
}

/// A name that has been read: a point, or a site whose layer is still open.
enum Parsed {
    Point(HookPoint),
    Site(Site, Option<isize>),
}

impl HookQuery {
    /// The one point that is meant in a model of these `dims`.
    ///
    /// # Errors
    /// [`Error::UnknownHook`], [`Error::AbsentHook`], [`Error::LayerOutOfRange`], or [`Error::Argument`] where the layer is missing.
    pub fn resolve(&self, dims: &Dims) -> Result<HookPoint> {
        match self.parse()? {
            Parsed::Point(point) => point.check(dims),
            Parsed::Site(site, Some(layer)) => HookPoint::Block(dims.layer(layer)?, site).check(dims),
            Parsed::Site(_, None) => Err(self.missing_layer()),
        }
    }

    /// Every point that is meant in a model of these `dims`: one, or one of each layer where no layer is given.
    ///
    /// # Errors
    /// As [`HookQuery::resolve`].
    pub fn resolve_all(&self, dims: &Dims) -> Result<Vec<HookPoint>> {
        match self.parse()? {
            Parsed::Site(site, None) => {
                dims.check_layers()?;
                (0..dims.n_layers).map(|l| HookPoint::Block(l, site).check(dims)).collect()
            }
            _ => Ok(vec![self.resolve(dims)?]),
        }
    }

    /// The point by name alone, without a model: the layer must be given and not count from the end.
    pub(super) fn parse_one(&self) -> Result<HookPoint> {
        match self.parse()? {
            Parsed::Point(point) => Ok(point),
            Parsed::Site(site, Some(layer)) if layer >= 0 => Ok(HookPoint::Block(layer as usize, site)),
            Parsed::Site(_, Some(layer)) => Err(Error::argument(format!(
                "layer {layer} of {:?} counts from the end, which needs a model: give a layer from 0.",
                self.name
            ))),
            Parsed::Site(..) => Err(self.missing_layer()),
        }
    }

    fn missing_layer(&self) -> Error {
        Error::argument(format!(
            "the hook name {:?} needs a layer here: give (\"{}\", layer) or \"{}0\" for layer 0.",
            self.name, self.name, self.name
        ))
    }

    fn unknown(&self) -> Error {
        let given = self.to_string();
        Error::UnknownHook { nearest: nearest_name(&given, self.layer), name: given }
    }

    fn parse(&self) -> Result<Parsed> {
        if self.layer.is_none() {
            if let Some(point) = full_name(&self.name) {
                return Ok(Parsed::Point(point));
            }
            if let Some((_, _)) = self.name.split_once("blocks.") {
                return Err(self.unknown());
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
            && let Some((point, ..)) = HookPoint::OUTSIDE.iter().find(|row| row.2 == word)
        {
            return Ok(Parsed::Point(*point));
        }
        site_of(word, sublayer.as_deref()).map(|site| Parsed::Site(site, layer)).ok_or_else(|| self.unknown())
    }
}

/// The point of a full name, such as `blocks.3.attn.hook_q` or `hook_embed`.
fn full_name(name: &str) -> Option<HookPoint> {
    if let Some((point, ..)) = HookPoint::OUTSIDE.iter().find(|row| row.1 == name) {
        return Some(*point);
    }
    let (layer, site) = name.strip_prefix("blocks.")?.split_once('.')?;
    let site = SITES.iter().find(|row| row.name == site)?.site;
    Some(HookPoint::Block(layer.parse().ok()?, site))
}

/// `"scale4ln1"` as `("scale", 4, "ln1")`; `None` without digits.
fn split_digits(name: &str) -> Option<(&str, isize, &str)> {
    let start = name.find(|c: char| c.is_ascii_digit())?;
    let end = name[start..].find(|c: char| !c.is_ascii_digit()).map_or(name.len(), |i| start + i);
    Some((&name[..start], name[start..end].parse().ok()?, &name[end..]))
}

/// The site of a shorthand (or of the name after `blocks.l.`), told apart by its sublayer where two share a word.
fn site_of(word: &str, sublayer: Option<&str>) -> Option<Site> {
    let parts: &[&str] = match sublayer {
        None => &["attn", "mlp", "hook", "ln"],
        Some("a" | "attn") => &["attn"],
        Some("m" | "mlp") => &["mlp"],
        Some("b" | "block" | "blocks") => &["hook"],
        Some("ln1") => &["ln1"],
        Some("ln2") => &["ln2"],
        Some(_) => return None,
    };
    let mut found = SITES.iter().filter(|row| {
        let in_part = parts.iter().any(|part| row.name.starts_with(part));
        in_part && (row.name == word || row.shorthands.contains(&word))
    });
    let first = found.next()?;
    // "scale" and "normalized" are both ln1's and ln2's: without a sublayer they say neither.
    found.next().is_none().then_some(first.site)
}

/// The valid name closest to what was given, in the style in which it was given.
fn nearest_name(given: &str, layer: Option<isize>) -> String {
    let layer_text = layer.map(|l| l.to_string()).or_else(|| split_digits(given).map(|(_, l, _)| l.to_string()));
    let full_style = given.contains('.') || given.contains("hook");
    // Who gave a layer means a block.
    let outside = HookPoint::OUTSIDE.iter().filter(|_| layer_text.is_none());
    let mut names: Vec<String> = outside.map(|row| if full_style { row.1 } else { row.2 }.to_string()).collect();
    for row in SITES {
        if full_style {
            names.push(format!("blocks.{}.{}", layer_text.as_deref().unwrap_or("0"), row.name));
        } else if let Some((norm, _)) = row.name.split_once('.').filter(|(part, _)| part.starts_with("ln")) {
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
        Self { name: name.trim().to_string(), layer: None, sublayer: None }
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
        Self::from(point.to_string())
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
                Self { name: site.row().name.to_string(), layer: Some(Index::index(layer)), sublayer: None }
            }
        }
    )*};
}
from_layers!(i32, isize, usize);
