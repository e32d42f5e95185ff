//! Does work under a clock that goes on with it, and again with interrupts.

use std::time::Duration;

use candle_lens::progress::rehearsal::{Event, Moment, rehearse, rehearse_interrupted};
use candle_lens::{Error, Result};

use super::met;
use crate::support::allocations::asked;

/// The largest part of the whole that may be silent. The model has eight blocks, and an unembedding as large as two.
const SILENCE: f64 = 0.3;

/// How much of the whole may come before the first report, of which a notebook waits two seconds for a line.
const BEFORE: f64 = 0.06;

/// What is one call from outside: a watch speaks for it.
const BACKWARD: &str = "going backward through the model";

/// What is done, and the parts of the whole that were silent.
pub struct Walk {
    faults: Vec<String>,
    counted: usize,
}

impl Walk {
    /// Work whose steps are counted, but for the backward passes.
    pub fn counted<T>(&mut self, name: &str, work: impl Fn() -> Result<T>) -> T {
        let walked = walk(name, work);
        let longest =
            walked.silences.iter().filter(|(_, within)| within != BACKWARD).max_by(|a, b| a.0.total_cmp(&b.0));
        let (silence, within) = longest.cloned().unwrap_or((1., "nothing".into()));
        if silence > SILENCE {
            self.faults.push(format!("{name}: {:.0} % of it are silent, within {within:?}", 100. * silence));
        }
        let deaf = walked.deaf.iter().copied().max_by(f64::total_cmp).unwrap_or(1.);
        if deaf > SILENCE && walked.silences.iter().all(|(_, within)| within != BACKWARD) {
            self.faults.push(format!("{name}: {:.0} % of it are done after an interrupt", 100. * deaf));
        }
        self.early(name, walked)
    }

    /// Work that is spoken for throughout.
    pub fn watched<T>(&mut self, name: &str, work: impl Fn() -> Result<T>) -> T {
        let walked = walk(name, work);
        self.early(name, walked)
    }

    fn early<T>(&mut self, name: &str, walked: Walked<T>) -> T {
        self.counted += 1;
        if walked.before > BEFORE {
            self.faults.push(format!("{name}: the first {:.0} % of it are not reported", 100. * walked.before));
        }
        self.faults.extend(walked.odd.into_iter().map(|odd| format!("{name}: {odd}")));
        walked.result
    }
}

/// Work that was done, and done again with interrupts.
struct Walked<T> {
    result: T,
    /// Each silence as a part of the whole, with the innermost work of it.
    silences: Vec<(f64, String)>,
    /// The part before the first report.
    before: f64,
    /// What was done after each interrupt, as a part of the whole.
    deaf: Vec<f64>,
    /// Ends other than `Error::Interrupted`.
    odd: Vec<String>,
}

fn walk<T>(name: &str, work: impl Fn() -> Result<T>) -> Walked<T> {
    let began = asked();
    let (result, moments) = rehearse(|| Duration::from_nanos(asked()), &work);
    let ended = asked();
    let result = result.unwrap_or_else(|error| panic!("{name}: {error}"));
    let at = |moment: &Moment| moment.at.as_nanos() as f64;
    let whole = (ended - began) as f64;
    let mut walked = Walked { result, silences: Vec::new(), before: 1., deaf: Vec::new(), odd: Vec::new() };
    let Some(first) = moments.first() else { return walked };
    walked.before = (at(first) - began as f64) / whole;
    let mut open: Vec<&str> = Vec::new();
    for (place, moment) in moments.iter().enumerate() {
        match moment.event {
            Event::Began { .. } => open.push(&moment.what),
            Event::Ended => open.truncate(open.iter().rposition(|what| *what == moment.what).expect("it began")),
            Event::Stepped => {}
        }
        let next = moments.get(place + 1).map_or(ended as f64, at);
        walked.silences.push(((next - at(moment)) / whole, open.last().copied().unwrap_or("nothing").to_string()));
    }
    assert!(open.is_empty(), "{name}: {open:?} did not end");
    walked.silences.extend(met::done_too_early(&moments, ended as f64, whole));
    met::meet(&moments);
    for after in [1, moments.len() / 2] {
        let (result, heard) = rehearse_interrupted(after, || Duration::from_nanos(asked()), &work);
        let ended = asked();
        walked.deaf.push(heard.get(after - 1).map_or(1., |moment| (ended as f64 - at(moment)) / whole));
        match result {
            Err(Error::Interrupted { .. }) => {}
            Err(error) => walked.odd.push(format!("another error after an interrupt: {error}")),
            Ok(_) => walked.odd.push(format!("it went on after an interrupt at moment {after} of {}", moments.len())),
        }
    }
    walked
}

pub fn finish(walk: Walk, at_least: usize) {
    assert!(walk.faults.is_empty(), "{}", walk.faults.join("\n"));
    assert!(walk.counted >= at_least, "{} functions were walked", walk.counted);
    met::check_after_all();
}

pub fn new_walk() -> Walk {
    Walk { faults: Vec::new(), counted: 0 }
}
