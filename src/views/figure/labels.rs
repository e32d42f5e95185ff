//! The positions of point labels, chosen so that none covers another label or a point.

/// Letter size of the labels.
pub(super) const SIZE: f32 = 11.0;
/// How far from the middle of a point its label is.
const AWAY: f32 = 11.0;
/// Half the width of a point, and half the height of a label.
const POINT: f32 = 4.0;
const HALF: f32 = 6.5;

/// The side of its point on which a label is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Above,
    Below,
    Right,
    Left,
}

/// The sides in the order in which they are tried.
const SIDES: [Side; 4] = [Side::Above, Side::Right, Side::Left, Side::Below];

/// Left, top, right, bottom.
type Place = [f32; 4];

impl Side {
    /// What plotly.js calls it.
    pub fn text_position(self) -> &'static str {
        match self {
            Self::Above => "top center",
            Self::Below => "bottom center",
            Self::Right => "middle right",
            Self::Left => "middle left",
        }
    }

    /// The middle of a label of this width.
    pub fn middle(self, (x, y): (f32, f32), width: f32) -> (f32, f32) {
        match self {
            Self::Above => (x, y - AWAY),
            Self::Below => (x, y + AWAY),
            Self::Right => (x + POINT + 3.0 + width / 2.0, y),
            Self::Left => (x - POINT - 3.0 - width / 2.0, y),
        }
    }

    fn place(self, point: (f32, f32), width: f32) -> Place {
        let (x, y) = self.middle(point, width);
        [x - width / 2.0, y - HALF, x + width / 2.0, y + HALF]
    }
}

fn overlap(a: Place, b: Place) -> bool {
    a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
}

/// The side of each point's label; none where every side is taken: that label shows under the pointer only.
pub(super) fn sides(points: &[(f32, f32)], widths: &[f32], area: Place) -> Vec<Option<Side>> {
    let mut taken: Vec<Place> = points.iter().map(|(x, y)| [x - POINT, y - POINT, x + POINT, y + POINT]).collect();
    points
        .iter()
        .zip(widths)
        .map(|(&point, &width)| {
            let free = |side: &Side| {
                let place = side.place(point, width);
                let inside = place[0] >= area[0] && place[1] >= area[1] && place[2] <= area[2] && place[3] <= area[3];
                inside && !taken.iter().any(|other| overlap(*other, place))
            };
            let side = SIDES.into_iter().find(free)?;
            taken.push(side.place(point, width));
            Some(side)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_label_covers_another_or_a_point_or_leaves_the_area() {
        let area = [0.0, 0.0, 300.0, 300.0];
        // A dense cluster, a lonely point, and points near the corners.
        let mut points: Vec<(f32, f32)> =
            (0..30).map(|i| (100.0 + (i * 7 % 30) as f32, 100.0 + (i * 11 % 30) as f32)).collect();
        points.extend([(200.0, 200.0), (8.0, 8.0), (292.0, 8.0), (8.0, 292.0)]);
        let widths = vec![28.0; points.len()];
        let sides = sides(&points, &widths, area);
        assert_eq!(sides[30], Some(Side::Above));
        assert!(sides[31..].iter().all(Option::is_some), "{:?}", &sides[31..]);
        let shown: Vec<Place> = (0..points.len()).filter_map(|i| Some(sides[i]?.place(points[i], widths[i]))).collect();
        assert!((5..30).contains(&shown.len()), "{} labels", shown.len());
        for (i, a) in shown.iter().enumerate() {
            assert!(a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= 300.0 && a[3] <= 300.0);
            assert!(shown[..i].iter().all(|b| !overlap(*a, *b)));
            assert!(points.iter().all(|(x, y)| !overlap(*a, [x - 1.0, y - 1.0, x + 1.0, y + 1.0])));
        }
    }
}
