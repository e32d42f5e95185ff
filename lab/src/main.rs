//! `cargo lab`: sets up the notebooks of candle-lens, opens them, runs them, tests everything, and cleans up.
//!
//! What is made, where, and how long it takes is described in `docs/lab.md`.
#![warn(missing_docs)]

mod args;
mod browser;
mod carried;
mod cells;
mod check;
mod clean;
mod copies;
mod course;
mod crowd;
mod doctor;
mod evcxr;
mod explain;
mod install;
mod inventory;
mod kernel;
mod kernelspec;
mod lab;
mod level;
mod measure;
mod metadata;
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
mod standard;
mod steps;
mod template;
mod tools;
mod trouble;
mod unit;
mod verdict;

use args::Command;
use places::Places;
use std::process::ExitCode;
use trouble::Trouble;

fn main() -> ExitCode {
    let outcome = match tools::called_as() {
        Some(tool) => tools::answer(tool),
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
        Command::Open { browser, jupyter } => lab::open(&Places::find()?, browser, &jupyter),
        Command::Run(options) => run::run_command(&Places::find()?, &options),
        Command::Test { steps } => Ok(check::run_steps(&Places::find()?, &steps)),
        Command::SetUp => setup::everything(&Places::find()?).map(|_| ExitCode::SUCCESS),
        Command::Measure => measure::measure(&Places::find()?),
        Command::MeasureClass { kernels } => measure::class(&Places::find()?, kernels),
        Command::Fetch { model } => models::fetch(&Places::find()?, model).map(|_| ExitCode::SUCCESS),
        Command::Course(wanted) => course::obey(&Places::find()?, &wanted),
        Command::Doctor => Ok(doctor::examine(&Places::find()?)),
        Command::Install { dependency } => {
            install::install(&dependency.map_or_else(Places::find, Places::of_crate)?).map(|()| ExitCode::SUCCESS)
        }
        Command::Clean { checkout_only } => clean::clean(&Places::find()?, checkout_only),
        Command::Help => {
            print!("{}", args::HELP);
            Ok(ExitCode::SUCCESS)
        }
        Command::Kernel { lab, connection_file } => kernel::start(&lab, &connection_file),
        Command::Janitor { copy, kernel, client } => {
            copies::wait_and_remove(&copy, kernel, client);
            Ok(ExitCode::SUCCESS)
        }
    }
}
