//! `cargo lab`: sets up the notebooks of candle-lens, opens them, runs them, tests everything, and cleans up.
//!
//! What is made, where, and how long it takes is described in `docs/lab.md`.
#![warn(missing_docs)]

mod args;
mod browser;
mod carried;
mod check;
mod clean;
mod copies;
mod course;
mod crowd;
mod doctor;
mod evcxr;
mod features;
mod growth;
mod halves;
mod homes;
mod install;
mod interrupts;
mod inventory;
mod jobs;
mod kernel;
mod kernelspec;
mod lab;
mod measure;
mod models;
mod notebook;
mod package;
mod pairs;
mod places;
mod process;
mod python;
mod run;
mod rust;
mod session;
mod setup;
#[cfg(unix)]
mod signals;
#[cfg(unix)]
mod slurm;
mod stand_ins;
mod steps;
mod submit;
#[cfg(unix)]
mod supervisor;
mod template;
mod trouble;
mod unit;
mod verdict;
mod waiting;
mod wheel;

use args::Command;
use install::Install;
use places::Places;
use std::process::ExitCode;
use trouble::Trouble;

fn main() -> ExitCode {
    let outcome = match stand_ins::tools::called_as() {
        Some(tool) => stand_ins::tools::answer(tool),
        None => args::parse(std::env::args().skip(1)).and_then(obey),
    };
    outcome.unwrap_or_else(|trouble| {
        eprintln!("\nerror: {trouble}");
        ExitCode::FAILURE
    })
}

/// Carries out one command line.
fn obey(command: Command) -> Result<ExitCode, Trouble> {
    match command {
        Command::Open { browser, plain, jupyter } => lab::open(&Places::find()?, browser, plain, &jupyter),
        Command::Run(options) => run::run_command(&Places::find()?, &options),
        Command::Submit(wanted) => submit::submit(&wanted),
        Command::Gather { folder } => submit::gather(&folder),
        Command::Shard { folder, number } => submit::compute_command(&folder, number),
        Command::Test { steps } => Ok(check::run_steps(&Places::find()?, &steps)),
        Command::SetUp { which, features } => set_up(&Places::of(which)?, features.as_deref()),
        Command::Measure => measure::measure(&Places::find()?),
        Command::MeasureClass { kernels, users } => measure::class(&Places::find()?, kernels, users),
        Command::Fetch { model } => models::fetch(&Places::find()?, model).map(|_| ExitCode::SUCCESS),
        Command::Course(wanted) => course::obey(&Places::find()?, &wanted),
        Command::Doctor { which } => Ok(doctor::examine(&Places::of(which)?)),
        Command::Install(Install { which, prefix }) => {
            install::install(&Places::of(which)?, prefix.as_deref()).map(|()| ExitCode::SUCCESS)
        }
        Command::Clean { checkout_only } => clean::clean(&Places::find()?, checkout_only),
        Command::Help => {
            print!("{}", args::HELP.replace("cargo lab", places::COMMAND));
            Ok(ExitCode::SUCCESS)
        }
        Command::Prepare { client } => waiting::prepare(&Places::find()?, client),
        Command::Prepared { lab } => waiting::prepared(&lab),
        Command::Kernel { lab, connection_file } => kernel::start(&lab, &connection_file),
        Command::Janitor { copy, kernel, client, group } => {
            copies::wait_and_remove(&copy, kernel, client, group);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Sets up what is missing, with these features from now on.
fn set_up(places: &Places, features: Option<&str>) -> Result<ExitCode, Trouble> {
    if let Some(names) = features {
        features::remember(&places.lab, names)?;
    }
    setup::everything(places).map(|_| ExitCode::SUCCESS)
}
