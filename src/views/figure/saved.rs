//! Figures as files: whatever has `to_png` and `to_svg` is saved in the same way.

/// Gives types that have `to_png` and `to_svg` the methods that save them.
macro_rules! saved {
    ($($figure:ty),+ $(,)?) => {$(
        impl $figure {
            /// Saves this as a still picture in a PNG file, with a clear ground.
            ///
            /// # Errors
            /// What makes it impossible to draw, or a disk that does not take it.
            pub fn save_png(&self, path: impl AsRef<std::path::Path>) -> $crate::error::Result<()> {
                let _drawing = $crate::progress::Progress::opaque("drawing");
                let picture = self.to_png()?;
                $crate::files::write_whole(path.as_ref(), |file| file.write_all(&picture))
            }

            /// Saves this as an SVG file, whose words are text, with a clear ground.
            ///
            /// # Errors
            /// As `save_png`.
            pub fn save_svg(&self, path: impl AsRef<std::path::Path>) -> $crate::error::Result<()> {
                let _drawing = $crate::progress::Progress::opaque("drawing");
                let picture = self.to_svg()?;
                $crate::files::write_whole(path.as_ref(), |file| file.write_all(picture.as_bytes()))
            }
        }
    )+};
}

saved!(super::Figure, super::facets::Facets);
