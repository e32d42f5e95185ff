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
    let (pixels, colors) = distinct(picture);
    let (palette, places) = palette(&colors);
    let indices: Vec<u8> = pixels.into_iter().map(|color| places[color]).collect();
    indexed((picture.width() as usize, picture.height() as usize), &palette, &indices)
}

/// A picture of this size as the bytes of a PNG file: for each pixel its index in the palette, which
/// has at most 256 colours.
pub(in crate::views) fn indexed(size: (usize, usize), palette: &[Rgba], indices: &[u8]) -> Result<Vec<u8>> {
    let mut header = Vec::with_capacity(13);
    header.extend((size.0 as u32).to_be_bytes());
    header.extend((size.1 as u32).to_be_bytes());
    header.extend([8, 3, 0, 0, 0]); // 8 bits for each pixel, which is a place in the palette
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    chunk(&mut file, b"IHDR", &header);
    chunk(&mut file, b"PLTE", &palette.iter().flat_map(|color| &color[..3]).copied().collect::<Vec<_>>());
    chunk(&mut file, b"tRNS", &palette.iter().map(|color| color[3]).collect::<Vec<_>>());
    chunk(&mut file, b"IDAT", &packed(indices, size.0)?);
    chunk(&mut file, b"IEND", &[]);
    Ok(file)
}

/// For each pixel its place in the list of colours that occur; and that list, with how often each does.
fn distinct(picture: &Pixmap) -> (Vec<usize>, Vec<(Rgba, usize)>) {
    let mut colors: Vec<(Rgba, usize)> = Vec::new();
    let mut known: HashMap<Rgba, usize> = HashMap::new();
    let mut pixels: Vec<usize> = Vec::with_capacity(picture.pixels().len());
    let mut before = None;
    for &pixel in picture.pixels() {
        // Most pixels are as the one before: no need to look them up.
        let color = match (before == Some(pixel), pixels.last()) {
            (true, Some(&same)) => same,
            _ => {
                let color = rounded(pixel);
                *known.entry(color).or_insert_with(|| {
                    colors.push((color, 0));
                    colors.len() - 1
                })
            }
        };
        colors[color].1 += 1;
        pixels.push(color);
        before = Some(pixel);
    }
    (pixels, colors)
}

fn rounded(pixel: PremultipliedColorU8) -> Rgba {
    let color = pixel.demultiply();
    match ((u16::from(color.alpha()) + ALPHA_STEP / 2) / ALPHA_STEP * ALPHA_STEP) as u8 {
        0 => [0; 4],
        alpha => [color.red(), color.green(), color.blue(), alpha],
    }
}

/// The most frequent colours and, for each of `colors`, its place among them. The rare ones, which are at the edges
/// of letters and lines, take the place of the one that is nearest.
fn palette(colors: &[(Rgba, usize)]) -> (Vec<Rgba>, Vec<u8>) {
    let mut frequent = colors.to_vec();
    frequent.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
    frequent.truncate(PALETTE);
    let palette: Vec<Rgba> = frequent.into_iter().map(|(color, _)| color).collect();
    let distance =
        |a: &Rgba, b: &Rgba| a.iter().zip(b).map(|(&a, &b)| (i32::from(a) - i32::from(b)).pow(2)).sum::<i32>();
    let nearest = |color: &Rgba| (0..palette.len()).min_by_key(|&i| distance(color, &palette[i])).unwrap_or(0) as u8;
    let places = colors.iter().map(|(color, _)| nearest(color)).collect();
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
