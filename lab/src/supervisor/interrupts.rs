//! Interrupts: to whom they go on, and what happens to cells in which nobody listens to them.

use super::{ERROR, cells};
use crate::signals;
use crate::supervisor::ended::Watched;
use std::io::Write;
use std::sync::Mutex;

/// Hands interrupts on, as long as this process runs.
pub fn attend(evcxr: u32, loaded: bool, watched: &Mutex<Option<Watched>>) {
    loop {
        signals::wait_for_interrupt();
        signals::interrupt_group(evcxr);
        let Some(process) = cells::find(evcxr) else { continue };
        let listens = cells::listens(process).unwrap_or(loaded);
        if !listens && cells::runs_one(process) {
            end(process, watched);
        }
    }
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
