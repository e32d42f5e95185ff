//! Every view in a real browser: drawn at two widths, light and dark, with and without scripts, and driven.
//!
//! `tests/views/browser.py` says what is checked; screenshots go to `target/tmp/views/`. It needs Chromium, and in
//! `CANDLE_LENS_BROWSER_PYTHON` a Python with playwright; `cargo lab test` sets one up.
//!
//! `tests/views/screens/` contains small copies of two of the screenshots, as they were when last reviewed, a pixel for
//! each square of 16; `UPDATE_SCREENS=1` writes them again. They are compared where the machine has the same fonts.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_lens::views::Show;

use super::page::page;
use crate::support::given;

/// The first of these programs that there is.
pub fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let mut files = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.find(|file| file.is_file()).expect("Chromium is installed (Debian and Ubuntu: apt install chromium)")
}

/// A Python with playwright.
pub fn python() -> PathBuf {
    given("CANDLE_LENS_BROWSER_PYTHON").into()
}

/// The side of a square that becomes one pixel.
const SQUARE: usize = 16;

/// A picture made small: its columns and the mean colours, row by row.
fn small(file: &Path, square: usize) -> (usize, Vec<[u8; 3]>) {
    let mut decoder = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file).expect("a picture")));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().expect("a sound header");
    let mut bytes = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut bytes).expect("sound data");
    let (width, height) = (info.width as usize, info.height as usize);
    let samples = info.color_type.samples();
    let mean = |column: usize, row: usize| {
        let mut sums = [0_usize; 3];
        for y in row * square..(row + 1) * square {
            for x in column * square..(column + 1) * square {
                (0..3).for_each(|c| sums[c] += usize::from(bytes[(y * width + x) * samples + c]));
            }
        }
        sums.map(|sum| (sum / (square * square)) as u8)
    };
    let (columns, rows) = (width / square, height / square);
    (
        columns,
        (0..rows).flat_map(|row| (0..columns).map(move |column| (column, row))).map(|(c, r)| mean(c, r)).collect(),
    )
}

/// Compares screenshots with those that have been reviewed.
fn as_before(folder: &Path, said: &str) {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/views/screens");
    let fonts = said.lines().find_map(|line| line.strip_prefix("fonts ")).expect("the fonts are named");
    let update = std::env::var_os("UPDATE_SCREENS").is_some();
    if update {
        std::fs::create_dir_all(&kept).expect("a folder for pictures");
        std::fs::write(kept.join("fonts.txt"), format!("{fonts}\n")).expect("written");
    } else if std::fs::read_to_string(kept.join("fonts.txt")).expect("the fonts of the pictures").trim() != fonts {
        println!("left out: comparison with the pictures in tests/views/screens: this machine has other fonts");
        return;
    }
    for name in ["700-dark-1.png", "1200-light-1.png"] {
        let (columns, now) = small(&folder.join(name), SQUARE);
        if update {
            let file = std::fs::File::create(kept.join(name)).expect("a file for the picture");
            let mut encoder = png::Encoder::new(file, columns as u32, (now.len() / columns) as u32);
            encoder.set_color(png::ColorType::Rgb);
            encoder.write_header().and_then(|mut writer| writer.write_image_data(now.as_flattened())).expect("written");
        }
        let (_, before) = small(&kept.join(name), 1);
        assert_eq!(now.len(), before.len(), "{name} has another size: look at it, then UPDATE_SCREENS=1");
        let apart = |(a, b): &(&[u8; 3], &[u8; 3])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > 24);
        let changed = now.iter().zip(&before).filter(apart).count();
        assert!(changed * 200 < now.len(), "{changed} of {} squares of {name} changed: look at it", now.len());
    }
}

#[test]
#[ignore = "needs Chromium, and CANDLE_LENS_BROWSER_PYTHON: a Python with playwright (`cargo lab test` sets one up)"]
fn every_view_is_drawn_and_answers() -> candle_lens::Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("views");
    std::fs::create_dir_all(&folder).expect("a folder below target/");
    let html = folder.join("views.html");
    page()?.save_html(&html)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/views/browser.py");
    let run =
        Command::new(python()).arg(script).arg(chromium()).arg(&html).arg(&folder).output().expect("Python starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    as_before(&folder, &said);
    assert!(said.lines().filter(|line| line.starts_with("ok")).count() > 30, "hardly anything was checked: {said}");
    Ok(())
}
