//! Colours that people with any colour vision can distinguish, on a light and on a dark page.

/// A colour without transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::views) struct Color(pub u8, pub u8, pub u8);

impl Color {
    /// As CSS writes it.
    pub fn to_hex(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// Black or white, whichever can be read on this colour.
    pub fn ink(self) -> Self {
        let light = 0.299 * f64::from(self.0) + 0.587 * f64::from(self.1) + 0.114 * f64::from(self.2);
        if light > 125.0 { Self(0x11, 0x11, 0x11) } else { Self(0xff, 0xff, 0xff) }
    }
}

/// The colour of words and lines of a still picture, which cannot know whether the page is light or dark.
pub(in crate::views) const INK: Color = Color(0x80, 0x80, 0x80);

/// The palette of Okabe and Ito, without its black and its yellow, which vanish on a dark or a light page.
const SERIES: [Color; 6] = [
    Color(0x00, 0x72, 0xb2),
    Color(0xd5, 0x5e, 0x00),
    Color(0x00, 0x9e, 0x73),
    Color(0xcc, 0x79, 0xa7),
    Color(0x56, 0xb4, 0xe9),
    Color(0xe6, 0x9f, 0x00),
];

/// The colour of the i-th series; they repeat after six.
pub(in crate::views) fn series_color(i: usize) -> Color {
    SERIES[i % SERIES.len()]
}

/// The background of the i-th band: not blue, which is the first series'.
pub(in crate::views) fn band_color(i: usize) -> Color {
    [Color(0xd5, 0x5e, 0x00), Color(0x00, 0x9e, 0x73), Color(0xcc, 0x79, 0xa7)][i % 3]
}

/// ColorBrewer's RdBu in eleven steps, the default of `imshow` in plotly express: red below zero, blue above.
/// People who cannot distinguish red from green can distinguish red from blue.
pub(in crate::views) const RED_BLUE: [Color; 11] = [
    Color(103, 0, 31),
    Color(178, 24, 43),
    Color(214, 96, 77),
    Color(244, 165, 130),
    Color(253, 219, 199),
    Color(247, 247, 247),
    Color(209, 229, 240),
    Color(146, 197, 222),
    Color(67, 147, 195),
    Color(33, 102, 172),
    Color(5, 48, 97),
];

/// The colour of `value` from 0 to 1 on the upper half of [`RED_BLUE`]: from white to dark blue.
pub(in crate::views) fn blues(value: f64) -> Color {
    red_blue(value.max(0.0))
}

/// The colour of `value` on [`RED_BLUE`] from -1 to 1; what lies outside has the end's colour.
pub(in crate::views) fn red_blue(value: f64) -> Color {
    let place = (value.clamp(-1.0, 1.0) + 1.0) / 2.0 * (RED_BLUE.len() - 1) as f64;
    let below = (place.floor() as usize).min(RED_BLUE.len() - 2);
    let (a, b, part) = (RED_BLUE[below], RED_BLUE[below + 1], place - below as f64);
    let mix = |a: u8, b: u8| (f64::from(a) + (f64::from(b) - f64::from(a)) * part).round() as u8;
    Color(mix(a.0, b.0), mix(a.1, b.1), mix(a.2, b.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn red_blue_has_white_in_the_middle_and_its_ends_outside() {
        assert_eq!(red_blue(0.0), Color(247, 247, 247));
        assert_eq!(red_blue(-1.0), RED_BLUE[0]);
        assert_eq!(red_blue(7.0), RED_BLUE[10]);
        assert_eq!(red_blue(-0.9), Color(141, 12, 37), "half-way between the two darkest reds");
    }
}
