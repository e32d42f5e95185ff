//! A class opens its notebooks: many kernels start at the same moment, compute, and leave nothing behind.

use crate::copies;
use crate::places::Places;
use crate::session::Jupyter;
use crate::trouble::Trouble;
use crate::verdict;
use std::thread;
use std::time::{Duration, Instant};

/// How many kernels there are.
pub const KERNELS: usize = 10;

/// Seconds a cell may take while all of them share few cores.
const PATIENCE: u64 = 600;

/// Seconds the janitors may take to remove the folders of kernels that have ended.
const SWEEPING: Duration = Duration::from_secs(60);

/// Starts all kernels at once; says how long it took until the last had computed its own number and ended.
///
/// # Errors
/// A kernel that did not start or did not compute what it was given, or a folder that nobody removed.
pub fn at_once(places: &Places, jupyter: &Jupyter) -> Result<Duration, Trouble> {
    let others = copies::sweep(&places.lab)?;
    let start = Instant::now();
    let outcomes: Vec<Result<(), Trouble>> = thread::scope(|scope| {
        let started: Vec<_> =
            (0..KERNELS).map(|number| scope.spawn(move || compute(places, jupyter, number))).collect();
        started.into_iter().map(|kernel| kernel.join().expect("a thread that does not panic")).collect()
    });
    let took = start.elapsed();
    outcomes.into_iter().collect::<Result<(), Trouble>>()?;
    let ended = Instant::now();
    while copies::sweep(&places.lab)? > others {
        if ended.elapsed() > SWEEPING {
            return Err(Trouble::new(
                format!("{} s after all kernels ended, a folder of theirs is still there.", SWEEPING.as_secs()),
                "Look for a process in `.lab/kernels`; `cargo lab clean --checkout` removes the folders.",
            ));
        }
        thread::sleep(Duration::from_millis(200));
    }
    Ok(took)
}

/// One kernel: a variable in one cell, and what the library makes of it in the next.
fn compute(places: &Places, jupyter: &Jupyter, number: usize) -> Result<(), Trouble> {
    let mut session = jupyter.start(&places.root, None)?;
    let first =
        session.execute(&format!("let number = Tensor::full({number}f32, 4, &Device::Cpu)?;"), PATIENCE, |_| ());
    let second = session.execute("number.sum_all()?.to_scalar::<f32>()?", PATIENCE, |_| ());
    session.end();
    if let Some(complaint) = verdict::complaint(&first?) {
        return Err(wrong(number, &complaint));
    }
    let reply = second?;
    let expected = (4 * number).to_string();
    let answered = reply.outputs.iter().any(|output| output["data"]["text/plain"] == expected.as_str());
    if answered { Ok(()) } else { Err(wrong(number, &format!("it answered {:?}, not {expected}", reply.outputs))) }
}

fn wrong(number: usize, complaint: &str) -> Trouble {
    Trouble::new(format!("Kernel {number} of {KERNELS}: {complaint}."), "Try a single one: `cargo lab run`.")
}
