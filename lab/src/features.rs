//! Features of the library that a kernel has besides the default ones: `cargo lab setup --features cuda`.
//!
//! They are remembered in `.lab/features` until the next `--features`. The `:dep` line of a notebook has none, and evcxr would load everything
//! anew for another line: instead, the kernel's cargo (`stand_ins/tools.rs`) gives them to the real one when it builds a cell.

use crate::process::on_path;
use crate::steps;
use crate::trouble::Trouble;
use std::fs;
use std::path::{Path, PathBuf};

/// The environment variable by which a kernel's cargo knows them.
pub const VARIABLE: &str = "CANDLE_LENS_FEATURES";

/// What `--features` takes, and that which takes them back.
const VALID: [&str; 2] = ["cuda", "metal"];
const NONE: &str = "none";

/// Variables that name the folder of CUDA's toolkit.
const CUDA_FOLDERS: [&str; 4] = ["CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDA_TOOLKIT_ROOT_DIR"];

fn file(lab: &Path) -> PathBuf {
    lab.join("features")
}

/// Those that kernels of `lab` have, separated by commas; empty if there are none.
pub fn of(lab: &Path) -> String {
    fs::read_to_string(file(lab)).unwrap_or_default().trim().to_string()
}

/// Takes `--features NAMES` out of a command line: the names, and the words that are left.
///
/// # Errors
/// Names are missing, or not among the valid ones.
pub fn parse<'a>(words: &[&'a str]) -> Result<(Option<String>, Vec<&'a str>), Trouble> {
    let Some(place) = words.iter().position(|word| *word == "--features") else { return Ok((None, words.to_vec())) };
    let names = words.get(place + 1).copied().unwrap_or_default();
    let valid = |name: &str| VALID.contains(&name);
    if names != NONE && !names.split(',').all(valid) {
        return Err(Trouble::new(
            format!("{names:?} names no features of a kernel."),
            format!("Valid after --features: {} or {NONE}, which takes them back.", VALID.join(", ")),
        ));
    }
    let names = if names == NONE { "" } else { names };
    Ok((Some(names.to_string()), [&words[..place], &words[place + 2..]].concat()))
}

/// Remembers features, if this machine can compile them.
///
/// # Errors
/// There is no toolkit for one of them.
pub fn remember(lab: &Path, names: &str) -> Result<(), Trouble> {
    for name in names.split(',') {
        match name {
            "cuda" => cuda(nvcc())?,
            "metal" => metal(cfg!(target_os = "macos"), on_path("xcrun").is_some())?,
            _ => {}
        }
    }
    steps::write(&file(lab), names)
}

/// The compiler of CUDA's toolkit.
fn nvcc() -> Option<PathBuf> {
    let named = CUDA_FOLDERS.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let program = format!("bin/nvcc{}", std::env::consts::EXE_SUFFIX);
    let inside = named.chain(["/usr/local/cuda".into()]).map(|folder| folder.join(&program));
    on_path("nvcc").or_else(|| inside.into_iter().find(|path| path.is_file()))
}

fn cuda(nvcc: Option<PathBuf>) -> Result<(), Trouble> {
    nvcc.map(drop).ok_or_else(|| {
        Trouble::new(
            format!("The feature cuda needs NVIDIA's CUDA toolkit, and no nvcc was found on the path, in /usr/local/cuda or in the folder that {} names.", CUDA_FOLDERS[0]),
            format!("Install the toolkit (https://developer.nvidia.com/cuda-downloads) or set {} to its folder, and start again. Without it kernels run on the processor.", CUDA_FOLDERS[0]),
        )
    })
}

fn metal(is_mac: bool, has_tools: bool) -> Result<(), Trouble> {
    let without = "Without it kernels run on the processor.";
    match (is_mac, has_tools) {
        (true, true) => Ok(()),
        (true, false) => Err(Trouble::new(
            "The feature metal needs Apple's command line tools, and there is no xcrun.",
            format!("`xcode-select --install`, and start again. {without}"),
        )),
        (false, _) => Err(Trouble::new(
            "The feature metal is for the GPUs of Apple's computers, and this system is not macOS.",
            format!("With an NVIDIA GPU use --features cuda. {without}"),
        )),
    }
}

/// The words that cargo gets for these features when it builds a crate with this manifest; none if that has not the library.
pub fn arguments(names: &str, manifest: &str) -> Option<[String; 2]> {
    let has_library = manifest.lines().any(|line| line.starts_with("candle-lens ="));
    let of_library: Vec<String> = names.split(',').map(|name| format!("candle-lens/{name}")).collect();
    (has_library && !names.is_empty()).then(|| ["--features".into(), of_library.join(",")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_taken_out_of_a_command_line() {
        assert_eq!(parse(&["--path", "/c"]).unwrap(), (None, vec!["--path", "/c"]));
        assert_eq!(
            parse(&["--features", "cuda", "--path", "/c"]).unwrap(),
            (Some("cuda".into()), vec!["--path", "/c"])
        );
        assert_eq!(parse(&["--features", "none"]).unwrap(), (Some(String::new()), vec![]));
        for wrong in [&["--features"][..], &["--features", "cudnn"], &["--features", "cuda metal"]] {
            assert!(parse(wrong).unwrap_err().to_string().contains("cuda, metal or none"));
        }
    }

    #[test]
    fn a_missing_toolkit_is_named() {
        assert!(cuda(Some("/usr/bin/nvcc".into())).is_ok());
        let message = cuda(None).unwrap_err().to_string();
        assert!(message.contains("CUDA_HOME") && message.contains("nvcc"));
        assert!(metal(true, true).is_ok());
        assert!(metal(true, false).unwrap_err().to_string().contains("xcode-select"));
        assert!(metal(false, true).unwrap_err().to_string().contains("not macOS"));
    }

    #[test]
    fn features_are_remembered_and_reach_only_what_has_the_library() {
        let lab = std::env::temp_dir().join(format!("candle-lens-lab-features-{}", std::process::id()));
        assert_eq!(of(&lab), "");
        steps::write(&file(&lab), "cuda").unwrap();
        assert_eq!(of(&lab), "cuda");
        remember(&lab, "").unwrap();
        assert_eq!(of(&lab), "");
        steps::remove_folder(&lab).unwrap();
        let manifest = "[dependencies]\ncandle-lens = { path = \"/a\" }\n";
        assert_eq!(arguments("cuda", manifest).unwrap(), ["--features", "candle-lens/cuda"]);
        assert!(arguments("cuda", "[dependencies]\n").is_none() && arguments("", manifest).is_none());
    }
}
