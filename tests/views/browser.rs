//! Every view in a real browser: drawn at two widths, light and dark, with and without scripts, and driven.
//!
//! `tests/views/browser.py` says what is looked at; screenshots go to `target/tmp/views/`. It needs Chromium and a Python
//! with playwright: the one that `cargo lab test` sets up, or the one that `CANDLE_LENS_BROWSER_PYTHON` names.

use std::path::{Path, PathBuf};
use std::process::Command;

use candle_lens::views::Show;

use super::page::page;

/// The first of these programs that there is.
fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let names = ["chromium", "chromium-browser", "google-chrome"];
    names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|file| file.is_file())
}

/// A Python with playwright.
fn python() -> Option<PathBuf> {
    if let Some(python) = std::env::var_os("CANDLE_LENS_BROWSER_PYTHON") {
        return Some(python.into());
    }
    let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let caches = caches.or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache")))?;
    let folders = std::fs::read_dir(caches.join("candle-lens")).ok()?;
    let is_ours = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("browser-"));
    folders
        .filter_map(|folder| Some(folder.ok()?.path()))
        .filter(is_ours)
        .map(|folder| folder.join("bin/python"))
        .find(|file| file.is_file())
}

#[test]
fn every_view_is_drawn_and_answers() -> candle_lens::Result<()> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("views");
    std::fs::create_dir_all(&folder).expect("a folder below target/");
    let html = folder.join("views.html");
    page()?.save_html(&html)?;
    let (Some(chromium), Some(python)) = (chromium(), python()) else {
        eprintln!("skipped: there is no Chromium, or no Python with playwright (`cargo lab test` sets one up)");
        return Ok(());
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/views/browser.py");
    let run = Command::new(python).arg(script).arg(chromium).arg(&html).arg(&folder).output().expect("Python starts");
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(run.status.success(), "{said}{}", String::from_utf8_lossy(&run.stderr));
    assert!(said.lines().filter(|line| line.starts_with("ok")).count() > 30, "hardly anything was looked at: {said}");
    Ok(())
}
