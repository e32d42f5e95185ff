//! The heads of an attention widget: their names, and which of them are in one layer.

use crate::head::Head;
use crate::views::source::Numbers;

/// The names of the heads: labels of their axis, or layer and head, or their numbers.
pub(super) fn head_names(numbers: &Numbers) -> Vec<String> {
    let shape = numbers.values.shape();
    let axes = &numbers.axes[..shape.len().saturating_sub(2)];
    let label = |axis: usize, i: usize| axes[axis].labels.get(i).cloned().unwrap_or_else(|| i.to_string());
    match shape {
        [] | [_] | [_, _] => vec!["attention".into()],
        &[heads, _, _] => {
            let bare = axes[0].labels.first().is_none_or(|label| label.parse::<usize>().is_ok());
            (0..heads).map(|h| if bare { format!("Head {h}") } else { label(0, h) }).collect()
        }
        &[layers, heads, _, _] => (0..layers)
            .flat_map(|l| (0..heads).map(move |h| (l, h)))
            .map(|(l, h)| Head::new(l, h).to_string())
            .collect(),
        [heads @ .., _, _] => (0..heads.iter().product()).map(|i| format!("Head {i}")).collect(),
    }
}

/// The layers in a row with how many heads each has, where the heads are named after several of them: `L0H0`, `L0H1`, ..
/// Nothing where all are in one layer, or have other names.
pub(super) fn layers(names: &[String]) -> Vec<(String, usize)> {
    let mut layers: Vec<(String, usize)> = Vec::new();
    for name in names {
        let Some(Head { layer, .. }) = Head::named(name) else { return Vec::new() };
        match layers.last_mut() {
            Some((last, heads)) if *last == format!("L{layer}") => *heads += 1,
            _ => layers.push((format!("L{layer}"), 1)),
        }
    }
    if layers.len() > 1 { layers } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(names: &[&str]) -> Vec<(String, usize)> {
        layers(&names.iter().map(|name| name.to_string()).collect::<Vec<_>>())
    }

    #[test]
    fn heads_of_several_layers_stand_in_rows() {
        assert_eq!(named(&["L0H0", "L0H1", "L1H0", "L1H1"]), [("L0".to_owned(), 2), ("L1".into(), 2)]);
        assert_eq!(named(&["L9H0", "L10H3", "L10H4"]), [("L9".to_owned(), 1), ("L10".into(), 2)], "some heads of each");
        assert!(named(&["L2H0", "L2H1"]).is_empty(), "one layer is a single sheet");
        assert!(named(&["Head 0", "Head 1"]).is_empty() && named(&["L0H0", "Lone"]).is_empty());
    }
}
