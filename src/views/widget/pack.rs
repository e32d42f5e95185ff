//! Numbers packed for a script: 8 bits each, compressed, as base64.

use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

use crate::error::{Error, Result};
use crate::views::figure::Note;
use crate::views::widget::samples::most;

/// The largest step of a byte: from 0 for numbers that are not negative, around 127 for those of both signs.
const UNSIGNED: f64 = 255.0;
const SIGNED: f64 = 127.0;

/// The blocks as `{size, signed, bytes}`: each block has the size of its largest number, of which its bytes are fractions.
/// Zero stays zero; every other number is at most half a step off, which is 1/510 of the block's size, or 1/254 where
/// some number is negative. Numbers that are not finite are listed separately: from which index, how many, and whether
/// they are NaN (0), inf (1) or -inf (-1).
pub(super) fn pack(blocks: &[Vec<f32>]) -> Result<Value> {
    let signed = blocks.iter().flatten().any(|&value| value < 0.0 && value.is_finite());
    let steps = if signed { SIGNED } else { UNSIGNED };
    let mut gaps: Vec<(usize, usize, i8)> = Vec::new();
    for (place, &value) in blocks.iter().flatten().enumerate().filter(|(_, value)| !value.is_finite()) {
        let kind = if value.is_nan() { 0 } else { value.signum() as i8 };
        match gaps.last_mut() {
            Some((first, count, last)) if *first + *count == place && *last == kind => *count += 1,
            _ => gaps.push((place, 1, kind)),
        }
    }
    let mut bytes = Vec::with_capacity(blocks.iter().map(Vec::len).sum());
    let mut sizes = Vec::with_capacity(blocks.len());
    for block in blocks {
        let size = rounded(most(block));
        let byte = |value: f32| {
            let part = if size > 0.0 { (f64::from(value) / size * steps).round() } else { 0.0 };
            (part.clamp(-steps, steps) + if signed { SIGNED } else { 0.0 }) as u8
        };
        bytes.extend(block.iter().map(|&value| byte(value)));
        sizes.push(size);
    }
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    let packed = packed
        .write_all(&bytes)
        .and_then(|()| packed.finish())
        .map_err(|error| Error::argument(format!("the numbers of the view could not be compressed: {error}.")))?;
    let mut all = json!({ "size": sizes, "signed": signed, "bytes": BASE64.encode(packed) });
    if !gaps.is_empty() {
        all["gaps"] = json!(gaps);
    }
    Ok(all)
}

/// The note on numbers that are not finite.
pub(super) fn gap_note<'a>(values: impl Iterator<Item = &'a f32> + Clone) -> Option<String> {
    Note::of_gaps(values, false, |_| None).map(|note| format!("Grey is a {}.", note.text))
}

/// Two notes as one.
pub(super) fn both(first: Option<String>, second: Option<String>) -> Option<String> {
    let notes: Vec<String> = first.into_iter().chain(second).collect();
    (!notes.is_empty()).then(|| notes.join(" "))
}

/// Five significant digits: more would only make the notebook larger.
pub(super) fn rounded(value: f32) -> f64 {
    format!("{value:.4e}").parse().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What the script makes of a packed value.
    fn unpack(packed: &Value, lengths: &[usize]) -> Vec<Vec<f64>> {
        let bytes = BASE64.decode(packed["bytes"].as_str().expect("a string")).expect("base64");
        let mut all = Vec::new();
        flate2::read::ZlibDecoder::new(&bytes[..]).read_to_end(&mut all).expect("zlib");
        let mut rest = &all[..];
        let mut blocks = Vec::new();
        for (i, &length) in lengths.iter().enumerate() {
            let size = packed["size"][i].as_f64().expect("a number");
            let (block, after) = rest.split_at(length);
            let value = |&byte: &u8| match packed["signed"] == true {
                true => (f64::from(byte) - SIGNED) / SIGNED * size,
                false => f64::from(byte) / UNSIGNED * size,
            };
            blocks.push(block.iter().map(value).collect());
            rest = after;
        }
        assert!(rest.is_empty(), "as many bytes as numbers");
        blocks
    }

    #[test]
    fn numbers_come_back_within_half_a_step_and_zero_is_zero() {
        let wave = |from: f32, scale: f32| (0..997).map(move |i| ((i as f32 * 0.37).sin() + from) * scale);
        for (from, scale, steps) in [(1.0, 1.0, 510.0), (1.0, 1e-6, 510.0), (0.0, 3e5, 254.0)] {
            let blocks = vec![wave(from, scale).collect::<Vec<f32>>(), vec![0.0; 5], wave(from, scale * 7.0).collect()];
            let back = unpack(&pack(&blocks).expect("finite"), &[997, 5, 997]);
            for (block, back) in blocks.iter().zip(&back) {
                let size = block.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                let bound = f64::from(size) * (1.0 / steps + 1e-4);
                let worst = block.iter().zip(back).map(|(&a, b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
                assert!(worst <= bound, "{worst} is more than {bound}");
                assert!(size == 0.0 || worst > bound / 4.0, "the bound is not loose: {worst} of {bound}");
            }
            assert_eq!(back[1], [0.0; 5]);
        }
    }

    #[test]
    fn gaps_stand_beside_the_bytes_and_change_no_other_number() {
        let blocks = vec![vec![0.5, f32::NAN, f32::NAN, f32::NEG_INFINITY], vec![f32::INFINITY, 1.0]];
        let packed = pack(&blocks).expect("packed");
        assert_eq!(packed["gaps"], json!([[1, 2, 0], [3, 1, -1], [4, 1, 1]]));
        let back = unpack(&packed, &[4, 2]);
        assert!((back[0][0] - 0.5).abs() < 2e-3 && (back[1][1] - 1.0).abs() < 4e-3, "{back:?}");
        assert!(pack(&[vec![1.0]]).expect("packed").get("gaps").is_none());
    }

    #[test]
    fn the_same_numbers_are_the_same_text() {
        let blocks = vec![vec![0.25, -1.0, 3.5]];
        assert_eq!(pack(&blocks).expect("finite"), pack(&blocks).expect("finite"));
    }
}
