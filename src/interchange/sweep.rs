//! A study at each of several points.

use std::fmt;

use super::options::InterchangeOptions;
use super::pairs::Interchange;
use super::study::InterchangeStudy;
use crate::error::{Error, Result};
use crate::hooks::HookQueries;
use crate::labelled::{Axis, Labelled};
use crate::progress::Progress;

/// Studies at several points, all with the same pairs. Made by [`Interchange::sweep`].
#[derive(Clone, Debug)]
pub struct InterchangeSweep {
    /// The study at each point, in the order of the forward pass.
    pub studies: Vec<InterchangeStudy>,
}

impl Interchange {
    /// A [study](Interchange::study) at each of these points; a site without a layer is meant in every layer.
    ///
    /// # Errors
    /// No point; and as [`Interchange::study`].
    pub fn sweep(
        &self,
        held_out: &Self,
        points: impl Into<HookQueries>,
        options: impl Into<InterchangeOptions>,
    ) -> Result<InterchangeSweep> {
        let (points, options) = (self.model.points_of_all(&points.into())?, options.into());
        if points.is_empty() {
            return Err(Error::argument(
                "no point was given to exchange activations at: name one, such as \"resid_post\".",
            ));
        }
        let mut progress = Progress::of("studying subspaces", points.len() as u64, "points");
        let study = |point| self.studied(held_out, point, &options).and_then(|found| progress.step(1).map(|()| found));
        Ok(InterchangeSweep { studies: points.into_iter().map(study).collect::<Result<_>>()? })
    }
}

impl InterchangeSweep {
    /// The accuracy on held-out pairs of the aligned subspace, and of each control (the mean of the random ones), no interchange and the whole
    /// activation.
    ///
    /// # Shapes
    /// `[interchange, point]`.
    ///
    /// # Errors
    /// No study.
    pub fn accuracy(&self) -> Result<Labelled> {
        let first =
            self.studies.first().ok_or_else(|| Error::argument("there is no study in this sweep: give one."))?;
        let names = first.rows().map(|(name, _)| name);
        let of = |row: usize| {
            self.studies.iter().map(move |study| {
                let scores = study.rows()[row].1;
                (scores.iter().map(|score| score.held_out.accuracy()).sum::<f64>() / scores.len() as f64) as f32
            })
        };
        let values = (0..names.len()).flat_map(of).collect();
        let points = self.studies.iter().map(|study| study.point.to_string());
        let title = format!("interchange accuracy on held-out pairs ({})", first.align);
        Labelled::new(title, vec![Axis::new("interchange", names), Axis::new("point", points)], values)
    }
}

impl fmt::Display for InterchangeSweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "studies of subspaces at {} points", self.studies.len())?;
        self.studies.first().map_or(Ok(()), |first| write!(f, " ({})", first.align))
    }
}
