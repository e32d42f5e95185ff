//! What has to be there before a notebook can run. A second start finds all of it and takes a moment.

use crate::places::Places;
use crate::session::Jupyter;
use crate::steps::lock;
use crate::trouble::Trouble;
use crate::{evcxr, kernelspec, python, standard, template};

/// Sets up whatever is missing or out of date.
pub fn everything(places: &Places) -> Result<Jupyter, Trouble> {
    let python = {
        let _shared = lock(&places.cache.join("set-up.lock"), "setting up the Jupyter environment or the kernel")?;
        let python = python::environment(places, &python::JUPYTER)?;
        evcxr::install(&places.cache)?;
        python
    };
    let _own = lock(&places.lab.join("set-up.lock"), "preparing this clone's kernel")?;
    kernelspec::write(places)?;
    let jupyter = Jupyter::new(places, python)?;
    template::refresh(places, &jupyter)?;
    // Now, because evcxr has fetched the sources if the toolchain came without them.
    let _shared = lock(&places.cache.join("set-up.lock"), "setting up the Jupyter environment or the kernel")?;
    standard::prepare(&places.cache)?;
    Ok(jupyter)
}
