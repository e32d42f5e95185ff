//! What one thread is doing: work nested in work, of which the outermost reports.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::rehearsal::{Event, Moment, Rehearsal};
use super::report::{Report, Shown, Work};
use super::{clock, is_on, watch};
use crate::interrupt;

/// What a thread is doing.
pub(super) struct Thread {
    /// The outermost work first.
    pub open: Vec<Open>,
    /// The id of the work that reports, and its report.
    pub report: Option<(u64, Arc<Report>)>,
    pub rehearsal: Option<Rehearsal>,
}

/// Work that is still going on.
pub(super) struct Open {
    pub id: u64,
    pub work: Arc<Work>,
    pub began: Duration,
    pub done: f64,
    /// How many parts the nested work does together, and how many of them are done.
    pub together: f64,
    pub inside: f64,
    /// Whether it is the library's own work.
    pub is_own: bool,
}

impl Open {
    /// How many whole parts are done. Of those that nested work does together the last is done with the next step only.
    pub(super) fn whole_parts(&self) -> f64 {
        (self.done + self.inside.floor().min(self.together - 1.)).min(self.work.total as f64).floor()
    }
}

impl Thread {
    pub(super) fn now(&self) -> Duration {
        self.rehearsal.as_ref().map_or_else(clock::now, |rehearsal| (rehearsal.clock)())
    }

    pub(super) fn begin(&mut self, open: Open) {
        if self.report.is_none() && is_on() {
            let report = Arc::new(Report::new(open.work.clone(), open.began));
            if self.rehearsal.is_none() {
                watch::attend(&report);
            }
            self.report = Some((open.id, report));
        }
        let work = open.work.clone();
        self.open.push(open);
        self.count();
        self.speak(&work, Event::Began { is_opaque: work.total == 0 });
    }

    pub(super) fn step(&mut self, id: u64, done: f64) {
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else { return };
        (open.done, open.together, open.inside) = (done, 1., 0.);
        let work = open.work.clone();
        self.speak(&work, Event::Stepped);
    }

    pub(super) fn end(&mut self, id: u64) {
        let Some(place) = self.open.iter().position(|open| open.id == id) else { return };
        let work = self.open[place].work.clone();
        self.speak(&work, Event::Ended);
        self.open.remove(place);
        self.count();
        if let Some((_, report)) = self.report.take_if(|(reporting, _)| *reporting == id) {
            watch::leave(&report);
        } else if let Some(shown) = self.shown()
            && let Some((_, report)) = &self.report
        {
            report.set(shown);
        }
    }

    /// Updates the number of the library's own pieces of work that are going on.
    fn count(&self) {
        if let Some((_, report)) = &self.report {
            report.inside.store(self.open.iter().filter(|open| open.is_own).count(), Ordering::Relaxed);
        }
    }

    /// Reports what happened to a piece of work, with the line that is due.
    fn speak(&mut self, work: &Work, event: Event) {
        let Some(shown) = self.shown() else { return };
        let (now, report) = (self.now(), self.report.as_ref().map(|(_, report)| report.clone()));
        let Some(report) = report else { return };
        // The end of work is not worth a line.
        let is_end = event == Event::Ended;
        if self.rehearsal.is_none() && !is_end {
            return report.show(shown, now);
        }
        let Some(rehearsal) = &mut self.rehearsal else { return };
        let share = (shown.work.total > 0).then(|| shown.done / shown.work.total as f64);
        let (of, depth) = (shown.work.what.clone(), self.open.len().saturating_sub(1));
        let line = if is_end { None } else { report.advance(shown, now) };
        rehearsal.moments.push(Moment { at: now, what: work.what.clone(), event, depth, of, share, line });
        if rehearsal.moments.len() >= rehearsal.interrupted_at {
            interrupt::rehearse(true);
        }
    }

    /// What is reported: of the work that reports and what is nested in it.
    fn shown(&mut self) -> Option<Shown> {
        let (reporting, _) = self.report.as_ref()?;
        let first = self.open.iter().position(|open| open.id == *reporting)?;
        self.outermost(first)
    }

    /// The outermost countable work from the `first` on, and its progress; the outermost work if none is countable.
    pub(super) fn outermost(&mut self, first: usize) -> Option<Shown> {
        let (mut share, mut shown): (f64, Option<Shown>) = (0., None);
        for open in self.open[first..].iter_mut().rev() {
            // Several runs within one part each start from zero, but the part must not go back.
            open.inside = open.inside.max(share * open.together);
            let total = open.work.total as f64;
            let mut done = open.done;
            if total > 0. {
                done = (done + open.inside).min(total);
                share = done / total;
            }
            if total > 0. || shown.as_ref().is_none_or(|inner| inner.work.total == 0) {
                shown = Some(Shown { work: open.work.clone(), began: open.began, done });
            }
        }
        shown
    }
}
