//! What has to be there before a notebook can run. A second start finds all of it and takes a moment.

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
    // One mostly waits for the network, the other for the processor.
    let python = thread::scope(|both| {
        let packages = both.spawn(|| packages(places));
        let kernel = shared(places).and_then(|_held| evcxr::install(&places.cache));
        let python = packages.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        kernel.and(python)
    })?;
    let _own = lock(&places.lab.join("set-up.lock"), "preparing this clone's kernel")?;
    let jupyter = notebooks(places, python)?;
    template::refresh(places, &jupyter)?;
    // Now, because evcxr has fetched the sources if the toolchain came without them.
    let _shared = shared(places)?;
    stand_ins::standard::prepare(&places.cache)?;
    Ok(jupyter)
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

/// Held while what every clone shares is written.
fn shared(places: &Places) -> Result<std::fs::File, Trouble> {
    lock(&places.cache.join("set-up.lock"), "setting up the Rust kernel")
}
