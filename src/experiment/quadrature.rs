//! Quadrature from 0 to 1: at which points a function is evaluated, and the weight of each.
//!
//! Integrated gradients and EAP-IG integrate along the path between two activations by these rules.

use std::fmt;

use crate::error::{Error, Result};

/// A quadrature rule; its weights sum to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quadrature {
    /// Gauss-Legendre nodes: exact for polynomials of degree `2 steps - 1`.
    #[default]
    GaussLegendre,
    /// Rectangles evaluated at their left end: 0, 1/n, .. The far end is never reached.
    RiemannLeft,
    /// Rectangles evaluated at their right end: 1/n, .. 1.
    RiemannRight,
    /// Rectangles evaluated at their midpoint.
    RiemannMiddle,
    /// Straight lines between `steps` points from 0 to 1, both ends included. (captum's rule of this name has weights that
    /// sum to `(n - 1) / n`; here they sum to 1.)
    RiemannTrapezoid,
}

/// More nodes add nothing in f32, and each is a run of the model: a typing mistake would run for days.
const MOST: usize = 10_000;

impl Quadrature {
    /// Points between 0 and 1 with their weights.
    ///
    /// ```
    /// use candle_lens::prelude::*;
    /// assert_eq!(Quadrature::RiemannLeft.nodes(2)?, [(0.0, 0.5), (0.5, 0.5)]);
    /// # Ok::<(), candle_lens::Error>(())
    /// ```
    ///
    /// # Errors
    /// No steps, one step of the trapezoid rule, which has two ends, or more than 10,000.
    pub fn nodes(self, steps: usize) -> Result<Vec<(f64, f64)>> {
        let least = if self == Self::RiemannTrapezoid { 2 } else { 1 };
        if !(least..=MOST).contains(&steps) {
            return Err(Error::argument(format!(
                "{steps} steps of {self} were asked for, each of which is a run of the model: give {least} to {MOST}; \
                 50 is usual for integrated gradients, 5 for EAP-IG."
            )));
        }
        let n = steps as f64;
        let even = |shift: f64| (0..steps).map(|k| ((k as f64 + shift) / n, 1. / n)).collect();
        Ok(match self {
            Self::GaussLegendre => gauss_legendre(steps),
            Self::RiemannLeft => even(0.),
            Self::RiemannRight => even(1.),
            Self::RiemannMiddle => even(0.5),
            Self::RiemannTrapezoid => (0..steps)
                .map(|k| {
                    let share = if k == 0 || k + 1 == steps { 0.5 } else { 1. };
                    (k as f64 / (n - 1.), share / (n - 1.))
                })
                .collect(),
        })
    }
}

/// The roots of Legendre's polynomial of degree `n`, moved to 0..1, by Newton's method from the usual first guess.
fn gauss_legendre(n: usize) -> Vec<(f64, f64)> {
    let node = |i: usize| {
        let mut x = (std::f64::consts::PI * (i as f64 + 0.75) / (n as f64 + 0.5)).cos();
        let mut slope = 1.;
        for _ in 0..100 {
            let (mut before, mut value) = (1., x);
            for k in 2..=n {
                let k = k as f64;
                (before, value) = (value, ((2. * k - 1.) * x * value - (k - 1.) * before) / k);
            }
            slope = n as f64 * (x * value - before) / (x * x - 1.);
            let step = value / slope;
            x -= step;
            if step.abs() < 1e-15 {
                break;
            }
        }
        (0.5 * (1. - x), 1. / ((1. - x * x) * slope * slope))
    };
    match n {
        1 => vec![(0.5, 1.)],
        _ => (0..n).map(node).collect(),
    }
}

impl fmt::Display for Quadrature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GaussLegendre => "gausslegendre",
            Self::RiemannLeft => "riemann_left",
            Self::RiemannRight => "riemann_right",
            Self::RiemannMiddle => "riemann_middle",
            Self::RiemannTrapezoid => "riemann_trapezoid",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Quadrature;

    const ALL: [Quadrature; 5] = [
        Quadrature::GaussLegendre,
        Quadrature::RiemannLeft,
        Quadrature::RiemannRight,
        Quadrature::RiemannMiddle,
        Quadrature::RiemannTrapezoid,
    ];

    #[test]
    fn weights_sum_to_one_and_degrees_are_exact() {
        for rule in ALL {
            for steps in [2, 3, 7, 50, 200] {
                let nodes = rule.nodes(steps).unwrap();
                assert_eq!(nodes.len(), steps);
                assert!((nodes.iter().map(|node| node.1).sum::<f64>() - 1.).abs() < 1e-12, "{rule} {steps}");
                assert!(nodes.iter().all(|node| (0. ..=1.).contains(&node.0)));
                let degree = match rule {
                    Quadrature::GaussLegendre => 2 * steps as i32 - 1,
                    Quadrature::RiemannMiddle | Quadrature::RiemannTrapezoid => 1,
                    _ => 0,
                };
                for power in 0..=degree {
                    let integral: f64 = nodes.iter().map(|(x, w)| w * x.powi(power)).sum();
                    let exact = 1. / f64::from(power + 1);
                    assert!((integral - exact).abs() < 1e-12, "{rule} of {steps}: x^{power} is {integral}");
                }
            }
        }
        assert_eq!(Quadrature::GaussLegendre.nodes(1).unwrap(), [(0.5, 1.)]);
        assert_eq!(Quadrature::RiemannLeft.nodes(2).unwrap(), [(0., 0.5), (0.5, 0.5)]);
        assert_eq!(Quadrature::RiemannRight.nodes(2).unwrap(), [(0.5, 0.5), (1., 0.5)]);
        assert!(Quadrature::GaussLegendre.nodes(0).is_err() && Quadrature::RiemannTrapezoid.nodes(1).is_err());
    }
}
