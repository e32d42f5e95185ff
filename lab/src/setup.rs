//! What has to be there before a notebook can run. A second start finds all of it and takes a moment.

use crate::jobs::Jobs;
use crate::places::{self, Places};
use crate::session::Jupyter;
use crate::steps::lock;
use crate::trouble::Trouble;
use crate::{doctor, evcxr, kernelspec, python, rust, stand_ins, template};
use std::path::PathBuf;
use std::thread;

/// Sets up whatever is missing or out of date.
pub fn everything(places: &Places) -> Result<Jupyter, Trouble> {
    refuse(places)?;
    let _own = lock(&places.lab.join("set-up.lock"), "preparing this clone's kernel")?;
    // Packages wait for the network, and of two compilations each has times when it keeps a single processor busy.
    let jobs = Jobs::for_two(&places.lab);
    let ended = |outcome: Result<(), Trouble>| {
        jobs.one_has_ended();
        outcome
    };
    let python = thread::scope(|all| {
        let packages = all.spawn(|| packages(places));
        let library = all.spawn(|| ended(template::refresh(places, &jobs)));
        let kernel = ended(kernel(places, &jobs));
        let (python, library) = (joined(packages.join()), joined(library.join()));
        kernel.and(library).and(python)
    })?;
    notebooks(places, python)
}

/// What a thread has returned.
fn joined<T>(outcome: thread::Result<T>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Whether nothing is missing or out of date that takes long.
pub fn is_done(places: &Places) -> bool {
    python::existing(places, &python::JUPYTER).is_ok()
        && evcxr::describe(&places.cache).is_ok()
        && template::describe(places).is_ok()
}

/// What a notebook needs to be opened and read.
pub fn reading(places: &Places) -> Result<Jupyter, Trouble> {
    refuse(places)?;
    notebooks(places, packages(places)?)
}

/// What cannot be set up from here, before anything takes time.
fn refuse(places: &Places) -> Result<(), Trouble> {
    rust::describe()?;
    doctor::linker()?;
    python::refuse(&python::JUPYTER)?;
    places::refuse_space(&places.lab)
}

/// Python's packages.
fn packages(places: &Places) -> Result<PathBuf, Trouble> {
    let _held = lock(&places.cache.join("packages.lock"), "installing Python packages")?;
    python::environment(places, &python::JUPYTER)
}

/// Jupyter, and what it has to know of this clone.
fn notebooks(places: &Places, python: PathBuf) -> Result<Jupyter, Trouble> {
    kernelspec::write(places)?;
    Jupyter::new(places, python)
}

/// The kernel's program, and the standard library's sources, from which it tells the types of variables.
fn kernel(places: &Places, jobs: &Jobs) -> Result<(), Trouble> {
    let _held = shared(places)?;
    rust::fetch_sources();
    stand_ins::standard::prepare(&places.cache)?;
    evcxr::install(&places.cache, jobs)
}

/// Held while what every clone shares is written.
fn shared(places: &Places) -> Result<std::fs::File, Trouble> {
    lock(&places.cache.join("set-up.lock"), "setting up the Rust kernel")
}
