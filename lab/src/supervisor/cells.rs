//! The process of the cells, as the system sees it: a child of evcxr_jupyter that is the same program.

use std::fs;
use std::path::PathBuf;

/// The program's name, which the system cuts at 15 letters.
const PROGRAM: &str = "evcxr_jupyter";

/// The process of the cells; none if the system does not say, or there is none at the moment.
pub fn find(evcxr: u32) -> Option<u32> {
    let processes = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    processes.into_iter().find(|process| {
        stat(*process).is_some_and(|stat| stat.program == PROGRAM && stat.parent == evcxr && stat.state != 'Z')
    })
}

/// What `/proc/PROCESS/stat` says.
#[derive(Debug, PartialEq)]
pub struct Stat {
    pub program: String,
    /// `Z` for one that has ended and whose parent has not asked for its status yet.
    pub state: char,
    pub parent: u32,
    /// As `wait` gives it; 0 while the process runs.
    pub status: i32,
}

/// Reads it; none for a process that is gone.
pub fn stat(process: u32) -> Option<Stat> {
    parse(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

fn parse(stat: &str) -> Option<Stat> {
    // The program's name, in parentheses, may hold anything.
    let (begin, rest) = stat.rsplit_once(')')?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    Some(Stat {
        program: begin.split_once('(')?.1.to_string(),
        state: words.first()?.chars().next()?,
        parent: words.get(1)?.parse().ok()?,
        status: words.last()?.parse().unwrap_or(0),
    })
}

/// Whether something in the process handles SIGINT.
pub fn listens(process: u32) -> Option<bool> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    handles(&status, libc::SIGINT)
}

/// Whether a process with this `/proc/PROCESS/status` handles a signal.
fn handles(status: &str, signal: i32) -> Option<bool> {
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    Some(u64::from_str_radix(caught.trim(), 16).ok()? & 1 << (signal - 1) != 0)
}

/// Whether a cell is running: otherwise the process reads from its standard input, by which evcxr sends the next one. Where
/// the system does not say, one is taken to run.
pub fn runs_one(process: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{process}/syscall")).unwrap_or_default();
    let mut words = call.split_whitespace();
    !(words.next() == Some(&libc::SYS_read.to_string()) && words.next() == Some("0x0"))
}

/// What a process has as its standard output and error, such as `pipe:[1234]`.
pub fn outputs(process: u32) -> Vec<PathBuf> {
    [1, 2].into_iter().filter_map(|number| fs::read_link(format!("/proc/{process}/fd/{number}")).ok()).collect()
}

/// The processes that have one of these as an output.
pub fn writers(outputs: &[PathBuf]) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let processes = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = std::process::id();
    processes
        .filter(|process| *process != own && self::outputs(*process).iter().any(|output| outputs.contains(output)))
        .collect()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read() {
        let stat = parse("17 (a (b) c) Z 4 17 17 0 -1 4194560 0 0 0 0 0 0 9").unwrap();
        assert_eq!(stat, Stat { program: "a (b) c".into(), state: 'Z', parent: 4, status: 9 });
        assert_ne!(self::stat(std::process::id()).unwrap().parent, 0);
        assert_eq!(parse("x"), None);
    }

    #[test]
    fn a_handler_is_seen() {
        let status = "Name:\tx\nSigIgn:\t0000000000001002\nSigCgt:\t0000000100000442\n";
        assert_eq!(handles(status, libc::SIGINT), Some(true));
        assert_eq!(handles(status, libc::SIGTERM), Some(false));
        assert_eq!(handles("", libc::SIGINT), None);
        // Rust's own handlers: of overflows of the stack, not of interrupts.
        assert_eq!(listens(std::process::id()), Some(false));
    }

    #[test]
    fn who_writes_to_an_output_is_found() {
        let mut other = std::process::Command::new("sh");
        other.args(["-c", "read line"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut other = other.spawn().unwrap();
        let own = outputs(other.id());
        let pipe = own.iter().filter(|output| output.to_string_lossy().starts_with("pipe")).take(1).cloned();
        assert_eq!(writers(&pipe.collect::<Vec<_>>()), [other.id()]);
        // It waits for input, as the process of the cells does between two cells.
        let waits = |_: &i32| {
            std::thread::sleep(std::time::Duration::from_millis(50));
            !runs_one(other.id())
        };
        assert!((0..100).find(waits).is_some() && runs_one(std::process::id()));
        drop(other.stdin.take());
        other.wait().unwrap();
    }
}
