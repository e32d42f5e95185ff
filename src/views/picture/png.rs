//! PNG files with a palette: a chart has few colours, and a notebook keeps every picture it shows.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use tiny_skia::{Pixmap, PremultipliedColorU8};

use crate::error::{Error, Result};

/// What a palette of one byte for each pixel can hold.
const PALETTE: usize = 256;

/// Steps of transparency that are kept: the edge of a letter does not need 256, and fewer pack better.
const ALPHA_STEP: u16 = 51;

/// A colour with transparency, not premultiplied.
type Rgba = [u8; 4];

/// The picture as the bytes of a PNG file.
pub(super) fn encode(picture: &Pixmap) -> Result<Vec<u8>> {
    let pixels: Vec<Rgba> = picture.pixels().iter().map(|&pixel| rounded(pixel)).collect();
    let (palette, places) = palette(&pixels);
    let mut header = Vec::with_capacity(13);
    header.extend(picture.width().to_be_bytes());
    header.extend(picture.height().to_be_bytes());
    header.extend([8, 3, 0, 0, 0]); // 8 bits for each pixel, which is a place in the palette
    let indices: Vec<u8> = pixels.iter().map(|pixel| places[pixel]).collect();
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"PLTE", &palette.iter().flat_map(|color| &color[..3]).copied().collect::<Vec<_>>());
    chunk(&mut file, b"tRNS", &palette.iter().map(|color| color[3]).collect::<Vec<_>>());
    chunk(&mut file, b"IDAT", &packed(&indices, picture.width() as usize)?);
    chunk(&mut file, b"IEND", &[]);
    Ok(file)
}

fn rounded(pixel: PremultipliedColorU8) -> Rgba {
    let color = pixel.demultiply();
    match ((u16::from(color.alpha()) + ALPHA_STEP / 2) / ALPHA_STEP * ALPHA_STEP) as u8 {
        0 => [0; 4],
        alpha => [color.red(), color.green(), color.blue(), alpha],
    }
}

/// The most frequent colours and, for every colour, its place among them. The others, which are at the edges of
/// letters and lines, take the place of the one that is nearest.
fn palette(pixels: &[Rgba]) -> (Vec<Rgba>, HashMap<Rgba, u8>) {
    let mut counts: HashMap<Rgba, usize> = HashMap::new();
    for &pixel in pixels {
        *counts.entry(pixel).or_default() += 1;
    }
    let mut colors: Vec<Rgba> = counts.keys().copied().collect();
    // By frequency, then by value: the same picture is always the same file.
    colors.sort_by_key(|color| (std::cmp::Reverse(counts[color]), *color));
    let palette = colors[..colors.len().min(PALETTE)].to_vec();
    let distance =
        |a: &Rgba, b: &Rgba| a.iter().zip(b).map(|(&a, &b)| (i32::from(a) - i32::from(b)).pow(2)).sum::<i32>();
    let nearest = |color: &Rgba| (0..palette.len()).min_by_key(|&i| distance(color, &palette[i])).unwrap_or(0) as u8;
    let places = colors.iter().map(|color| (*color, nearest(color))).collect();
    (palette, places)
}

/// The rows, none of them filtered, compressed.
fn packed(indices: &[u8], width: usize) -> Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    let mut rows = indices.chunks(width);
    let written = rows.try_for_each(|row| packed.write_all(&[0]).and_then(|()| packed.write_all(row)));
    written
        .and_then(|()| packed.finish())
        .map_err(|error| Error::argument(format!("the picture could not be compressed: {error}.")))
}

/// Appends one part of the file: its length, its name, its bytes, a checksum.
fn chunk(file: &mut Vec<u8>, name: &[u8; 4], bytes: &[u8]) {
    let mut checksum = flate2::Crc::new();
    checksum.update(name);
    checksum.update(bytes);
    file.extend((bytes.len() as u32).to_be_bytes());
    file.extend(name);
    file.extend(bytes);
    file.extend(checksum.sum().to_be_bytes());
}
