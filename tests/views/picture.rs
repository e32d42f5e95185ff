//! Still pictures, read back by another library.

use candle_lens::labelled::{Axis, Labelled};
use candle_lens::views::{Figure, imshow, imshow_facets, line, scatter};
use ndarray::Array3;

use crate::support::scratch;

/// Width, height, and the pixels as red, green, blue and alpha.
fn decoded(figure: impl Into<Figure>) -> (usize, usize, Vec<[u8; 4]>) {
    pixels(figure.into().to_png().expect("the figure can be drawn"))
}

fn pixels(file: Vec<u8>) -> (usize, usize, Vec<[u8; 4]>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info().expect("a sound header");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut bytes).expect("sound data");
    assert_eq!(info.color_type, png::ColorType::Rgba);
    let pixels = bytes.chunks_exact(4).map(|p| [p[0], p[1], p[2], p[3]]).collect();
    (info.width as usize, info.height as usize, pixels)
}

/// How many pixels have this colour.
fn count(pixels: &[[u8; 4]], color: [u8; 3]) -> usize {
    pixels.iter().filter(|p| p[..3] == color && p[3] == 255).count()
}

#[test]
fn a_heat_map_shows_red_below_and_blue_above_zero() {
    let (width, height, pixels) = decoded(imshow(vec![vec![-2.0, 0.0], vec![0.0, 2.0]]).width(400).height(300));
    assert_eq!((width, height), (800, 600), "two pixels for each pixel of the page");
    let first = |color: [u8; 3]| pixels.iter().position(|p| p[..3] == color && p[3] == 255).expect("this colour");
    let (red, blue) = (first([103, 0, 31]), first([5, 48, 97]));
    assert!(red / width < blue / width, "the first row is at the top");
    assert!(red % width < blue % width, "the first column is at the left");
    let (red, blue, white) =
        (count(&pixels, [103, 0, 31]), count(&pixels, [5, 48, 97]), count(&pixels, [247, 247, 247]));
    assert!(red > 10_000 && red.abs_diff(blue) < 1000, "cells of one size: {red} red, {blue} blue");
    assert!(white.abs_diff(red + blue) < 2000, "{white} white for two cells");
}

#[test]
fn each_series_has_its_colour_and_the_background_is_transparent() {
    let (width, height, pixels) = decoded(line(vec![vec![0.0, 1.0], vec![1.0, 0.0]]).names(["a", "b"]));
    assert_eq!((width, height), (1600, 900));
    assert!(count(&pixels, [0x00, 0x72, 0xb2]) > 1000);
    assert!(count(&pixels, [0xd5, 0x5e, 0x00]) > 1000);
    let clear = pixels.iter().filter(|p| p[3] == 0).count();
    assert!(clear > pixels.len() * 9 / 10, "{clear} of {}", pixels.len());
}

#[test]
fn a_picture_is_small() {
    let values: Vec<Vec<f32>> =
        (0..12).map(|r| (0..16).map(|c| ((r * 7 + c * 3) % 11) as f32 - 5.0).collect()).collect();
    let heat_map = imshow(&values).title("12 x 16").to_png().expect("drawn").len();
    assert!(heat_map < 15_000, "{heat_map} bytes");
    let lens = line((0..25).map(|i| (i * i % 17) as f32).collect::<Vec<_>>());
    let lens = lens.title("25 points").x_ticks((0..25).map(|i| format!("{i}_mid"))).to_png().expect("drawn").len();
    assert!(lens < 25_000, "{lens} bytes");
}

/// Four facets: three side by side, the fourth below the first, each with its own cell in the darkest blue.
#[test]
fn facets_are_one_picture() {
    let facets = Array3::from_shape_fn((4, 2, 2), |(f, r, c)| if r * 2 + c == f { 1.0 } else { 0.0 });
    let facets = imshow_facets(&facets).title("All four").names(["one", "two", "three", "four"]);
    let folder = scratch("facets");
    facets.save_png(folder.join("facets.png")).expect("it can be written");
    let (width, height, pixels) = pixels(std::fs::read(folder.join("facets.png")).expect("it was written"));
    assert_eq!(width, 2 * 3 * 380);
    let one = (height - 64) / 2;
    let blue = |facet: usize| -> Vec<(usize, usize)> {
        let (left, top) = (facet % 3 * 760, 64 + facet / 3 * one);
        let inside = (0..one).flat_map(|y| (0..760).map(move |x| (x, y)));
        inside.filter(|(x, y)| pixels[(top + y) * width + left + x] == [5, 48, 97, 255]).collect()
    };
    // Beside each facet is its colour bar, whose end is as dark.
    let cell = |facet: usize| {
        let inside: Vec<(usize, usize)> = blue(facet).into_iter().filter(|(x, _)| *x < 560).collect();
        assert!(inside.len() > 5000, "facet {facet}: {} pixels", inside.len());
        let mean = |of: fn(&(usize, usize)) -> usize| inside.iter().map(of).sum::<usize>() / inside.len();
        (mean(|(x, _)| *x), mean(|(_, y)| *y))
    };
    let cells: Vec<(usize, usize)> = (0..4).map(cell).collect();
    assert!(cells[0].0 < cells[1].0 && cells[0].1.abs_diff(cells[1].1) < 3, "{cells:?}");
    assert!(cells[0].1 < cells[2].1 && cells[0].0.abs_diff(cells[2].0) < 3, "{cells:?}");
    assert!(cells[3].0.abs_diff(cells[1].0) < 3 && cells[3].1.abs_diff(cells[2].1) < 3, "{cells:?}");
    let svg = facets.to_svg().expect("it can be drawn");
    assert!(["All four", "one", "two", "three", "four"].iter().all(|name| svg.contains(name)));
    assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
}

#[test]
fn points_of_different_axes_and_huge_sheets_are_errors() {
    let labelled = |axis: &str| {
        let axes = vec![Axis::numbered(axis, 3)];
        Labelled::new("numbers", axes, vec![1.0, 2.0, 3.0]).expect("three labels")
    };
    assert!(scatter(labelled("head"), labelled("head")).to_png().is_ok());
    let error = scatter(labelled("head"), labelled("layer")).to_png().expect_err("they are not alike").to_string();
    assert!(error.contains("\"head\"") && error.contains("\"layer\""), "{error}");
    let error = imshow_facets(Array3::<f32>::zeros((144, 2, 2))).to_png().expect_err("too large").to_string();
    assert!(error.contains("144 facets"), "{error}");
}
