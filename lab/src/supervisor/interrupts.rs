//! Interrupts: to whom they go on, and what happens to cells in which nobody listens to them.

use super::{ERROR, cells};
use crate::signals;
use crate::supervisor::ended::Watched;
use std::io::Write;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How often evcxr is looked at while it analyses a cell, how often in turn it must be found at rest to have nothing to do, and how
/// long it is looked at in all.
const LOOKING: Duration = Duration::from_millis(1);
const AT_REST: usize = 2;
const LONGEST: Duration = Duration::from_secs(60);

/// Hands interrupts on, as long as this process runs.
pub fn attend(evcxr: u32, loaded: bool, watched: &Mutex<Option<Watched>>) {
    loop {
        signals::wait_for_interrupt();
        let between_cells = cells::find(evcxr).filter(|process| !has_compiler(evcxr) && !cells::runs_one(*process));
        hand_on(evcxr, loaded, watched);
        if between_cells.is_some_and(|process| is_analysed(evcxr, process)) {
            hand_on(evcxr, loaded, watched);
        }
    }
}

/// To all of the kernel's programs; a process of cells that runs one and in which nothing listens is ended.
fn hand_on(evcxr: u32, loaded: bool, watched: &Mutex<Option<Watched>>) {
    signals::interrupt_group(evcxr);
    if let Some(process) = cells::find(evcxr).filter(|process| cells::runs_one(*process))
        && !cells::listens(process).unwrap_or(loaded)
    {
        end(process, watched);
    }
}

/// Whether evcxr has a compiler at work, which hears an interrupt.
fn has_compiler(evcxr: u32) -> bool {
    cells::tools(evcxr).into_iter().any(|tool| cells::listens(tool) == Some(true))
}

/// Waits, if evcxr analyses a cell, during which nobody hears, until somebody does: the compiler, or the cell itself. Whether it was so; where
/// evcxr has nothing to do, it is not.
fn is_analysed(evcxr: u32, process: u32) -> bool {
    let (begun, mut at_rest) = (Instant::now(), 0);
    while at_rest < AT_REST && begun.elapsed() < LONGEST {
        if has_compiler(evcxr) || cells::runs_one(process) {
            return true;
        }
        at_rest = if cells::works(evcxr) || !cells::tools(evcxr).is_empty() { 0 } else { at_rest + 1 };
        sleep(LOOKING);
    }
    false
}

/// Ends a process of cells, with a sentence.
fn end(process: u32, watched: &Mutex<Option<Watched>>) {
    let mut watched = watched.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(watched) = watched.as_mut().filter(|watched| watched.process == process) {
        let _ = watched.stderr.write_all(sentence().as_bytes());
        watched.is_said = true;
    }
    signals::end(process);
}

fn sentence() -> String {
    format!(
        "{ERROR}the process of the notebook is ended, and all variables are lost: the cell was interrupted, and nothing in the process \
         listens to interrupts. Once it has worked with candle-lens, an interrupt ends only what is running.\n"
    )
}
