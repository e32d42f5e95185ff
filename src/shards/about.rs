//! What the numbers of a prompt are: all that is the same for each prompt.

use serde::{Deserialize, Serialize};

use crate::circuits::Layout;
use crate::experiment::Scale;
use crate::labelled::Axis;

/// What is known of each prompt, besides its numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum About {
    Sweep { title: String, axes: Vec<Axis>, is_noising: bool, setting: String },
    Effect { what: String, axes: Vec<Axis>, scale: Scale },
    Edges { layout: Layout, method: String, has_levels: bool },
    Nodes { layout: Layout, method: String, has_levels: bool },
    Numbers { title: String, axes: Vec<Axis> },
}

impl About {
    /// What it is called.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Sweep { .. } => "a sweep",
            Self::Effect { .. } => "an effect",
            Self::Edges { .. } => "scores of edges",
            Self::Nodes { .. } => "scores of nodes",
            Self::Numbers { .. } => "plain numbers",
        }
    }

    /// Its title or method.
    pub(super) fn title(&self) -> &str {
        match self {
            Self::Sweep { title, .. } | Self::Numbers { title, .. } => title,
            Self::Effect { what, .. } => what,
            Self::Edges { method, .. } | Self::Nodes { method, .. } => method,
        }
    }

    fn axes_mut(&mut self) -> Option<&mut Vec<Axis>> {
        match self {
            Self::Sweep { axes, .. } | Self::Effect { axes, .. } | Self::Numbers { axes, .. } => Some(axes),
            Self::Edges { .. } | Self::Nodes { .. } => None,
        }
    }

    /// Joins it with that of other prompts: labels of positions keep their token only where all have the same.
    ///
    /// # Errors
    /// In what they differ, as a clause.
    pub(super) fn join(&mut self, other: &Self) -> Result<(), String> {
        if self == other {
            return Ok(());
        }
        if self.kind() != other.kind() {
            return Err(format!("one is {}, another {}", self.kind(), other.kind()));
        }
        let mut other = other.clone();
        if let (Some(own), Some(others)) = (self.axes_mut(), other.axes_mut()) {
            own.iter_mut().zip(others.iter_mut()).try_for_each(|(own, other)| join_axes(own, other))?;
        }
        match *self == other {
            true => Ok(()),
            false if self.title() != other.title() => {
                Err(format!("one is {:?}, another {:?}", self.title(), other.title()))
            }
            false => Err(format!("both are {:?}, but their axes or settings are others", self.title())),
        }
    }
}

/// Makes both axes the one of all prompts, where they are of positions.
fn join_axes(own: &mut Axis, other: &mut Axis) -> Result<(), String> {
    if own == other || own.name != other.name {
        return Ok(());
    }
    if own.labels.len() != other.labels.len() {
        return Err(format!(
            "the axis {:?} has {} labels for one prompt and {} for another: take prompts of one length \
             (TaskDataset::one_length), or what has no axis of positions",
            own.name,
            own.labels.len(),
            other.labels.len()
        ));
    }
    for (own, other) in own.labels.iter_mut().zip(&mut other.labels).filter(|(own, other)| own != other) {
        let place = |label: &str| label.split_once(':').map_or(label, |(place, _)| place).parse::<usize>().ok();
        if let (Some(a), Some(b)) = (place(own), place(other))
            && a == b
        {
            *own = a.to_string();
            other.clone_from(own);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(labels: &[&str]) -> About {
        About::Numbers { title: "numbers".into(), axes: vec![Axis::new("position", labels.iter().copied())] }
    }

    #[test]
    fn labels_of_positions_keep_the_token_that_all_have() {
        let all = ["0:The", "1: key", "2: on"];
        let mut joined = numbers(&all);
        joined.join(&numbers(&["0:The", "1: keys", "2: on"])).expect("one length");
        assert_eq!(joined, numbers(&["0:The", "1", "2: on"]));
        joined.join(&numbers(&all)).expect("one length");
        assert_eq!(joined, numbers(&["0:The", "1", "2: on"]), "whatever comes first");
        for (other, why) in [(numbers(&["0:The"]), "one_length"), (numbers(&["0:The", "2: keys", "2: on"]), "axes")] {
            let error = joined.clone().join(&other).expect_err("other positions");
            assert!(error.contains(why), "{error}");
        }
    }
}
