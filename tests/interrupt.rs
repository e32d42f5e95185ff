//! An interrupt ends what is running and nothing else: variables are still there, and the next cell is not touched.
//!
//! The process of the cells is this program started again, as the kernel starts it: SIGINT is ignored, and evcxr's variable
//! is set. Its cells are named by lines of its standard input.
#![cfg(any(target_os = "linux", target_os = "macos"))]

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use candle_lens::interrupt;
use candle_lens::prelude::*;
use candle_lens::progress::rehearsal::{Event, rehearse, rehearse_interrupted};
use candle_lens::{Error, Result};

use crate::support::scratch;

/// The beginning of each line that a cell prints; libtest's own are around them.
const MARK: &str = "cell: ";

/// How long the process of the cells may take for anything.
const PATIENCE: Duration = Duration::from_secs(60);

const PROMPT: &str = "When John and Mary went to the shops, John gave the bag to";

/// The work of a cell of this name.
fn cell(name: &str, model: &HookedTransformer) -> Result<()> {
    println!("{MARK}began");
    match name {
        "works" => loop {
            model.forward(PROMPT)?;
        },
        "asks" => loop {
            check_interrupt()?;
            sleep(Duration::from_millis(5));
        },
        "steps" => {
            let mut progress = Progress::new("counting", 1 << 40, "numbers");
            loop {
                progress.step(1)?;
                sleep(Duration::from_millis(5));
            }
        }
        // Whoever catches the error goes on: it comes once.
        "catches" => {
            let caught = loop {
                if let Err(error) = model.forward(PROMPT) {
                    break error;
                }
            };
            println!("{MARK}caught {}", matches!(caught, Error::Interrupted { .. }));
            model.forward(PROMPT).map(drop)
        }
        "waits" => loop {
            sleep(Duration::from_millis(5));
        },
        "short" => model.forward(PROMPT).map(drop),
        other => panic!("there is no cell {other}"),
    }
}

#[test]
#[ignore = "started by the other tests of this file"]
fn the_process_of_the_cells() {
    interrupt::listen();
    let model = HookedTransformer::from_pretrained("tiny").expect("it is in the binary");
    println!("{MARK}ready");
    // Read as evcxr reads it: by a thread that waits for its standard input.
    for line in std::io::stdin().lock().lines() {
        match cell(&line.expect("a line"), &model) {
            Ok(()) => println!("{MARK}done with {}", model.cfg().model_name),
            Err(error) => println!("{MARK}{error}"),
        }
    }
}

/// The process of the cells.
struct Cells {
    child: Child,
    input: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
}

impl Cells {
    /// `ignores`: whether SIGINT is ignored, as our kernel has it; `is_evcxr`: whether it has evcxr's variable.
    fn new(ignores: bool, is_evcxr: bool) -> Self {
        let own = std::env::current_exe().expect("this program");
        let script = format!("{}exec \"$0\" \"$@\"", if ignores { "trap '' INT; " } else { "" });
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(own).args(["--exact", "interrupt::the_process_of_the_cells"]);
        command.args(["--ignored", "--nocapture", "--test-threads=1"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if is_evcxr {
            command.env("EVCXR_IS_RUNTIME", "1");
        }
        let mut child = command.spawn().expect("it starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("it is a pipe"));
        let mut cells = Self { child, input, lines: BufReader::new(output) };
        assert_eq!(cells.said(), "ready");
        cells
    }

    /// The next line that a cell prints.
    fn said(&mut self) -> String {
        let mut line = String::new();
        loop {
            line.clear();
            assert!(self.lines.read_line(&mut line).expect("UTF-8") > 0, "it ended: {}", self.ended().1);
            // libtest writes the name of the test in front of the first.
            if let Some((_, said)) = line.split_once(MARK) {
                return said.trim_end().into();
            }
        }
    }

    fn run(&mut self, cell: &str) {
        let input = self.input.as_mut().expect("it is open");
        writeln!(input, "{cell}").expect("it reads");
        assert_eq!(self.said(), "began");
        sleep(Duration::from_millis(100));
    }

    fn interrupt(&self) {
        // SAFETY: a system call with the id of a child that has not been waited for.
        assert_eq!(unsafe { libc::kill(self.child.id() as libc::pid_t, libc::SIGINT) }, 0);
    }

    /// How it ended, and what it wrote to stderr.
    fn ended(&mut self) -> (ExitStatus, String) {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it did not end");
            sleep(Duration::from_millis(10));
        };
        let mut said = String::new();
        self.child.stderr.take().expect("it is a pipe").read_to_string(&mut said).expect("UTF-8");
        (status, said)
    }

    /// Interrupts nothing any more: another cell runs to its end.
    fn goes_on(&mut self) {
        self.run("short");
        assert_eq!(self.said(), "done with tiny");
    }
}

impl Drop for Cells {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The signal that ended a process.
fn signal(status: ExitStatus) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&status)
}

#[test]
fn an_interrupt_ends_the_work_of_the_cell_and_nothing_else() {
    let mut cells = Cells::new(true, true);
    for (cell, what) in [("works", "running the model"), ("asks", "the code of the cell"), ("steps", "counting")] {
        cells.run(cell);
        cells.interrupt();
        let said = cells.said();
        assert!(said.starts_with(&format!("candle-lens: {what}: interrupted")), "{said}");
        assert!(said.ends_with("The variables of earlier cells are still there."), "{said}");
        cells.goes_on();
        // All cells of this test look like one, in which a second interrupt within two seconds would end the process.
        sleep(Duration::from_secs(2));
    }
    cells.run("catches");
    cells.interrupt();
    assert_eq!(cells.said(), "caught true");
    assert_eq!(cells.said(), "done with tiny");
    cells.input = None;
    let (status, said) = cells.ended();
    assert!(status.success() && said.is_empty(), "{status}: {said}");
}

#[test]
fn an_interrupt_between_cells_does_nothing() {
    let mut cells = Cells::new(true, true);
    for _ in 0..2 {
        cells.interrupt();
        sleep(Duration::from_millis(50));
        cells.goes_on();
        // Two within two seconds.
        cells.interrupt();
        sleep(Duration::from_millis(400));
        cells.interrupt();
        sleep(Duration::from_millis(50));
        cells.goes_on();
    }
    // And more than it would wait for a cell.
    cells.interrupt();
    sleep(Duration::from_millis(2500));
    cells.goes_on();
}

#[test]
fn a_cell_that_does_not_look_ends_with_its_process() {
    let mut cells = Cells::new(true, true);
    cells.run("waits");
    let began = Instant::now();
    cells.interrupt();
    let (status, said) = cells.ended();
    // No look was later than the loading of the model, five seconds before the end at the most.
    assert!((2..8).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(signal(status), Some(libc::SIGINT), "{status}");
    let last = said.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("candle-lens: the process of the notebook is ended, and all variables are lost"),
        "{said}"
    );
    assert!(last.contains("did not look for the interrupt") && last.contains("check_interrupt()?"), "{said}");
}

#[test]
fn a_second_interrupt_ends_the_process() {
    let mut cells = Cells::new(true, true);
    cells.run("waits");
    let began = Instant::now();
    cells.interrupt();
    // As near as these, they are one.
    sleep(Duration::from_millis(50));
    cells.interrupt();
    sleep(Duration::from_millis(600));
    assert!(cells.child.try_wait().expect("it is ours").is_none(), "a double click is one interrupt");
    cells.interrupt();
    let (status, said) = cells.ended();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(signal(status), Some(libc::SIGINT), "{status}");
    assert!(said.contains("interrupted again before the first interrupt had an effect"), "{said}");
}

/// A program in a terminal, and one that a shell started in the background.
#[test]
fn programs_keep_their_signals() {
    let mut own = Cells::new(false, false);
    own.run("works");
    own.interrupt();
    assert_eq!(signal(own.ended().0), Some(libc::SIGINT), "Ctrl-C ends a program");
    let mut other = Cells::new(false, true);
    other.run("works");
    other.interrupt();
    assert_eq!(signal(other.ended().0), Some(libc::SIGINT), "another kernel of evcxr's");
    let mut background = Cells::new(true, false);
    background.run("asks");
    background.interrupt();
    sleep(Duration::from_millis(300));
    assert!(background.child.try_wait().expect("it is ours").is_none(), "what ignores SIGINT goes on ignoring it");
}

fn experiment(model: &HookedTransformer) -> Result<Experiment> {
    let clean = model.to_tokens(vec![PROMPT; 2])?;
    let corrupted = model.to_tokens(vec![PROMPT.replace(", John", ", Mary"); 2])?;
    let metric = Metric::logit_diff(&model.answers([(" Mary", " John"); 2])?);
    Experiment::new(model, &clean, &corrupted, metric)
}

#[test]
fn a_sweep_with_a_file_goes_on_where_it_was_interrupted() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let patching = experiment(&model)?;
    let whole = patching.get_act_patch_attn_head_out_all_pos()?;
    let path = scratch("interrupt").join("sweep.safetensors");
    let sweep = || patching.clone().save_to(&path).get_act_patch_attn_head_out_all_pos();
    let still = || Duration::ZERO;
    let (_, moments) = rehearse(still, || {
        patching.clone().save_to(path.with_extension("other")).get_act_patch_attn_head_out_all_pos()
    });
    let half = moments.len() / 2;
    let (result, _) = rehearse_interrupted(half, still, sweep);
    let error = result.map(drop).expect_err("it was interrupted");
    let Error::Interrupted { done, total, unit, kept, .. } = &error else { panic!("{error}") };
    assert!(*done > 0 && done < total && (*total as usize, *unit) == (whole.raw.values().len(), "sites"), "{error}");
    assert_eq!(kept.as_deref(), Some(&*path));
    assert!(error.to_string().contains("and the same call goes on from there. The variables"), "{error}");
    let saved = candle_lens::candle::safetensors::load(&path, &Device::Cpu)?["sites"].elem_count();
    assert!((1..*total as usize).contains(&saved), "{saved} of {total} sites are in the file");
    let (resumed, _) = rehearse(still, sweep);
    let bits = |result: &PatchResult| result.raw.values().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&resumed?), bits(&whole));
    Ok(())
}

/// A loop of the user's around work of the library ends in either.
#[test]
fn the_error_says_what_was_done() -> Result<()> {
    let model = HookedTransformer::from_pretrained("tiny")?;
    let run = |at| {
        let (result, _) = rehearse_interrupted(at, || Duration::ZERO, || model.forward(PROMPT).map(drop));
        result.expect_err("it was interrupted").to_string()
    };
    let said = "candle-lens: running the model: interrupted after 1 of 5 steps; nothing of it is kept. The variables of \
                earlier cells are still there.";
    assert_eq!(run(1), said);
    let (_, moments) = rehearse(|| Duration::ZERO, || model.forward(PROMPT).map(drop));
    assert_eq!(moments.iter().filter(|moment| moment.event == Event::Stepped).count(), 4);
    assert!(run(3).contains("after 2 of 5 steps"), "{}", run(3));
    // Where nothing is reported it is the same.
    let (result, _) = rehearse_interrupted(0, || Duration::ZERO, check_interrupt);
    assert!(result.is_ok(), "an interrupt comes after a moment");
    Ok(())
}
