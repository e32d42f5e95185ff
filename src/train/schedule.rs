//! The learning rate of each step: it rises, stays, and falls.
//!
//! With `w` steps of warm-up, `d` of decay and `n` in all, step `s` (from 0) has the rate
//! `rate min((s + 1) / w, 1) fall(t)`, where `t = (s + 1 - (n - d)) / d`, not below 0, is how far the decay has come, and `fall` goes
//! from 1 to the floor: along a line, or half a cosine. The last step has the floor exactly.

use std::f64::consts::PI;
use std::fmt;

use crate::error::{Error, Result};

/// The shape in which the rate falls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decay {
    /// A line.
    #[default]
    Linear,
    /// Half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).
    Cosine,
}

/// The learning rate of each step.
///
/// ```
/// use candle_lens::prelude::*;
/// let schedule = Schedule::new(1e-3, 1000).with_warm_up(100).with_decay(300, 0.02);
/// assert_eq!(schedule.at(0), 1e-5);
/// assert_eq!(schedule.at(500), 1e-3);
/// assert_eq!(schedule.at(999), 2e-5);
/// println!("{schedule}");
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The highest rate.
    pub rate: f64,
    /// How many steps there are.
    pub steps: u64,
    /// How many steps it rises.
    pub warm_up: u64,
    /// How many of the last steps it falls.
    pub decay: u64,
    /// The rate of the last step, as a part of the highest.
    pub floor: f64,
    /// The shape in which it falls.
    pub shape: Decay,
}

impl Schedule {
    /// One rate for all steps.
    pub fn new(rate: f64, steps: u64) -> Self {
        Self { rate, steps, warm_up: 0, decay: 0, floor: 1., shape: Decay::Linear }
    }

    /// Rises over the first steps.
    pub fn with_warm_up(self, steps: u64) -> Self {
        Self { warm_up: steps, ..self }
    }

    /// Falls over the last steps to this part of the highest rate.
    pub fn with_decay(self, steps: u64, floor: f64) -> Self {
        Self { decay: steps, floor, ..self }
    }

    /// The shape in which it falls.
    pub fn with_shape(self, shape: Decay) -> Self {
        Self { shape, ..self }
    }

    /// The rate of a step, counted from 0; behind the last it is that of the last.
    pub fn at(&self, step: u64) -> f64 {
        let done = step.min(self.steps.saturating_sub(1)) as f64 + 1.;
        let rise = if self.warm_up == 0 { 1. } else { (done / self.warm_up as f64).min(1.) };
        if self.decay == 0 {
            return self.rate * rise;
        }
        let plateau = self.steps as f64 - self.decay as f64;
        let t = ((done - plateau) / self.decay as f64).max(0.);
        let left = match self.shape {
            Decay::Linear => 1. - t,
            Decay::Cosine => (1. + (PI * t).cos()) / 2.,
        };
        self.rate * rise * (self.floor + (1. - self.floor) * left)
    }

    /// That it is one that training can follow; recipes check it before they begin.
    ///
    /// # Errors
    /// [`Error::Argument`] for no steps, more steps of warm-up and decay than there are, a rate that is not above 0, and a floor
    /// that is not between 0 and 1.
    pub fn check(&self) -> Result<()> {
        let refused = |why: String| Err(Error::argument(format!("the schedule of the learning rate {why}")));
        if self.steps == 0 {
            return refused("has no steps: give at least 1.".into());
        }
        if !(self.rate.is_finite() && self.rate > 0.) {
            return refused(format!("has the rate {}: give one above 0.", self.rate));
        }
        if self.warm_up.saturating_add(self.decay) > self.steps {
            return refused(format!(
                "rises for {} steps and falls for {}, but there are {} in all: give fewer, or more steps.",
                self.warm_up, self.decay, self.steps
            ));
        }
        if !(0. ..=1.).contains(&self.floor) {
            return refused(format!("falls to {} of the highest rate: give a part between 0 and 1.", self.floor));
        }
        Ok(())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "learning rate {:e} for {} steps", self.rate, self.steps)?;
        if self.warm_up > 0 {
            write!(f, ", rising over the first {}", self.warm_up)?;
        }
        if self.decay > 0 {
            let shape = match self.shape {
                Decay::Linear => "along a line",
                Decay::Cosine => "along a cosine",
            };
            write!(f, ", falling {shape} to {} of it over the last {}", self.floor, self.decay)?;
        }
        Ok(())
    }
}
