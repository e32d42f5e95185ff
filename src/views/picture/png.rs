//! PNG files: with a palette where 256 colours are enough, as they are for a chart, else with full colours.

use std::collections::HashMap;
use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use tiny_skia::Pixmap;

use crate::error::{Error, Result};

/// Steps of transparency that are kept: the edge of a letter does not need 256.
const ALPHA_STEP: u8 = 17;

/// A colour with transparency, not premultiplied.
type Rgba = [u8; 4];

/// The picture as the bytes of a PNG file.
pub(super) fn encode(picture: &Pixmap) -> Result<Vec<u8>> {
    let pixels: Vec<Rgba> = picture.pixels().iter().map(|&pixel| rounded(pixel)).collect();
    let width = picture.width() as usize;
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = |color_type: u8| {
        let mut header = Vec::with_capacity(13);
        header.extend(picture.width().to_be_bytes());
        header.extend(picture.height().to_be_bytes());
        header.extend([8, color_type, 0, 0, 0]);
        header
    };
    match palette(&pixels) {
        Some((colors, places)) => {
            chunk(&mut file, b"IHDR", &header(3));
            chunk(&mut file, b"PLTE", &colors.iter().flat_map(|color| &color[..3]).copied().collect::<Vec<_>>());
            chunk(&mut file, b"tRNS", &colors.iter().map(|color| color[3]).collect::<Vec<_>>());
            chunk(&mut file, b"IDAT", &rows(places.chunks(width))?);
        }
        None => {
            chunk(&mut file, b"IHDR", &header(6));
            chunk(&mut file, b"IDAT", &rows(pixels.as_flattened().chunks(width * 4))?);
        }
    }
    chunk(&mut file, b"IEND", &[]);
    Ok(file)
}

fn rounded(pixel: tiny_skia::PremultipliedColorU8) -> Rgba {
    let color = pixel.demultiply();
    let alpha = ((u16::from(color.alpha()) + u16::from(ALPHA_STEP) / 2) / u16::from(ALPHA_STEP)) as u8 * ALPHA_STEP;
    match alpha {
        0 => [0; 4],
        255 => [color.red(), color.green(), color.blue(), 255],
        // At an edge the colour is only known roughly; coarse steps keep it from filling the palette.
        _ => [color.red() & 0xf0, color.green() & 0xf0, color.blue() & 0xf0, alpha],
    }
}

/// The distinct colours and, for each pixel, its place among them; `None` if there are more than 256.
fn palette(pixels: &[Rgba]) -> Option<(Vec<Rgba>, Vec<u8>)> {
    let mut colors = Vec::new();
    let mut known: HashMap<Rgba, u8> = HashMap::new();
    let mut places = Vec::with_capacity(pixels.len());
    for &pixel in pixels {
        let place = match known.get(&pixel) {
            Some(&place) => place,
            None => {
                let place = u8::try_from(colors.len()).ok()?;
                colors.push(pixel);
                known.insert(pixel, place);
                place
            }
        };
        places.push(place);
    }
    Some((colors, places))
}

/// The compressed rows, none of them filtered.
fn rows<'a>(rows: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    let written = rows.into_iter().try_for_each(|row| packed.write_all(&[0]).and_then(|()| packed.write_all(row)));
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
