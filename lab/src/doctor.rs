//! `cargo lab doctor`: looks at every part, tries a kernel, and says what is wrong and how to fix it. It changes nothing.

use crate::places::{self, COMMAND, IN_PACKAGE, Library, Places};
use crate::process::on_path;
use crate::session::Jupyter;
use crate::trouble::Trouble;
use crate::{copies, evcxr, kernelspec, models, python, rust, stand_ins, template, verdict};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Free bytes below which a kernel's folder or a compiler's output may not fit.
const ROOM: u64 = 3_000_000_000;

/// Seconds the cell that is tried may take.
const PATIENCE: u64 = 300;

/// What one part turned out to be: a word on it, or what is wrong with it.
type Finding = Result<String, Trouble>;

/// Examines every part; fails if one that notebooks need is missing.
pub fn examine(places: &Places) -> ExitCode {
    let needed = [
        ("Rust", rust::describe()),
        ("linker", linker()),
        ("Python", python::describe()),
        ("Jupyter environment", python::find_environment(places, &python::JUPYTER)),
        ("kernel", evcxr::describe(&places.cache)),
        ("kernelspec", spec(places)),
        ("warm template", template::describe(places)),
        ("folder of this clone", writable(&places.lab)),
        ("folder of all clones", writable(&places.cache)),
    ];
    let mut optional = vec![("fast linker", fast_linker()), ("browser for the tests", browser())];
    optional.extend(models::MODELS.map(|model| (model.name, models::describe(&places.cache, model))));
    let missing = needed.iter().filter(|(name, finding)| !tell(name, finding, "WRONG")).count();
    // What is missing above would only be reported again, less clearly.
    let missing = match missing {
        0 => {
            let (cell, stand_ins) = cell(places);
            stand_ins.iter().filter(|(name, finding)| !tell(name, finding, "WRONG")).count()
                + usize::from(!tell("a cell", &cell, "WRONG"))
        }
        missing => missing,
    };
    for (name, finding) in &optional {
        tell(name, finding, "none");
    }
    match (missing, &places.library) {
        (0, _) => println!("\nEverything that notebooks need is there."),
        (_, Library::Checkout) if !IN_PACKAGE => {
            println!("\n`cargo lab setup` makes what is missing, Rust, Python and linker excepted.")
        }
        _ => println!("\n`{COMMAND} install` makes what is missing, Rust, Python and linker excepted."),
    }
    if missing == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints one finding; whether it is good.
fn tell(name: &str, finding: &Finding, word: &str) -> bool {
    match finding {
        Ok(about) => println!("ok     {name}: {about}"),
        Err(trouble) => println!("{word:<6} {name}: {}", trouble.to_string().replace('\n', "\n       ")),
    }
    finding.is_ok()
}

/// What links each cell.
pub fn linker() -> Finding {
    if cfg!(windows) {
        return Ok("Rust brings or finds its own on Windows".into());
    }
    let fix = "Install a C compiler (Debian and Ubuntu: apt install gcc; macOS: xcode-select --install).";
    on_path("cc").map(|path| path.display().to_string()).ok_or_else(|| Trouble::new("There is no `cc`.", fix))
}

/// Whether a file can be written here, and how much room there is.
fn writable(folder: &Path) -> Finding {
    places::refuse_space(folder)?;
    let probe = folder.join(format!("doctor-{}.part", std::process::id()));
    let written = std::fs::write(&probe, [0; 4096]);
    let _ = std::fs::remove_file(&probe);
    written.map_err(|source| {
        Trouble::new(
            format!("{} cannot be written: {source}.", folder.display()),
            "Free the disk or change its permissions; `cargo lab setup` makes a folder that is missing.",
        )
    })?;
    match free(folder) {
        Some(bytes) if bytes < ROOM => Err(Trouble::new(
            format!("{} has {} MB of room left.", folder.display(), bytes / 1_000_000),
            "Free some: a first set-up takes 3 GB, and each kernel that runs some MB.",
        )),
        Some(bytes) => Ok(format!("{} ({} GB of room)", folder.display(), bytes / 1_000_000_000)),
        None => Ok(folder.display().to_string()),
    }
}

/// The room on the disk of a folder in bytes, where the system has a `df` that says.
fn free(folder: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(folder).output().ok()?;
    free_of(&String::from_utf8_lossy(&output.stdout))
}

/// The fourth column of the second line of `df -Pk`.
fn free_of(listed: &str) -> Option<u64> {
    Some(listed.lines().nth(1)?.split_whitespace().nth(3)?.parse::<u64>().ok()? * 1024)
}

/// Starts a kernel as a notebook does, lets the embedded model compute in it, and tries its stand-ins.
fn cell(places: &Places) -> (Finding, Vec<stand_ins::trial::Finding>) {
    match try_cell(places) {
        Ok((found, stand_ins)) => (Ok(found), stand_ins),
        Err(trouble) => (Err(trouble), Vec::new()),
    }
}

fn try_cell(places: &Places) -> Result<(String, Vec<stand_ins::trial::Finding>), Trouble> {
    let jupyter = Jupyter::new(places, python::existing(places, &python::JUPYTER)?)?;
    let _ = copies::sweep(&places.lab);
    let mut session = jupyter.start(&places.root, None)?;
    let start = session.start;
    let reply = session.execute("HookedTransformer::from_pretrained(\"tiny\")?.forward(\"The\")?", PATIENCE, |_| ());
    let complaint = reply.map(|reply| verdict::complaint(&reply));
    let stand_ins = match complaint {
        Ok(None) => stand_ins::trial::findings(&mut session),
        _ => Ok(Vec::new()),
    };
    session.end();
    match complaint? {
        None => Ok((
            format!("a kernel was ready after {:.1} s and ran the embedded model", start.as_secs_f64()),
            stand_ins?,
        )),
        Some(complaint) => Err(Trouble::new(
            format!("A kernel starts, but a cell fails in it: {complaint}."),
            "Run `cargo lab setup`; if that does not fix it, `cargo lab clean --checkout` and set up anew.",
        )),
    }
}

fn fast_linker() -> Finding {
    let found = ["mold", "lld"].into_iter().find_map(on_path);
    found.map(|path| path.display().to_string()).ok_or_else(|| {
        Trouble::new(
            "Cells are linked by the system's linker.",
            "It is optional: mold or lld links each cell a little quicker (Debian and Ubuntu: apt install lld).",
        )
    })
}

fn browser() -> Finding {
    crate::browser::chromium().map(|path| path.display().to_string()).ok_or_else(|| {
        Trouble::new(
            "No Chromium was found.",
            "Only the browser tests need one (Debian: apt install chromium); notebooks open in any browser.",
        )
    })
}

fn spec(places: &Places) -> Finding {
    let file = places.lab.join("jupyter/kernels").join(kernelspec::NAME).join("kernel.json");
    let fix = "Run `cargo lab setup`.";
    let text = std::fs::read_to_string(&file)
        .map_err(|source| Trouble::new(format!("{} cannot be read: {source}.", places.brief(&file)), fix))?;
    let spec: serde_json::Value = serde_json::from_str(&text)
        .map_err(|source| Trouble::new(format!("{} is damaged: {source}.", places.brief(&file)), fix))?;
    let launcher = PathBuf::from(spec["argv"][0].as_str().unwrap_or_default());
    if launcher.is_file() {
        return Ok(places.brief(&file));
    }
    Err(Trouble::new(format!("it starts {}, which is not there.", launcher.display()), fix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_tried_and_their_room_is_read() {
        let df = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda 263174212 12 82837504 13% /\n";
        assert_eq!(free_of(df), Some(82_837_504 * 1024));
        assert_eq!(free_of(""), None);
        assert!(writable(&std::env::temp_dir()).is_ok());
        let nowhere = writable(Path::new("/nowhere/at/all")).unwrap_err().to_string();
        assert!(nowhere.contains("/nowhere/at/all") && nowhere.contains("cannot be written"), "{nowhere}");
    }
}
