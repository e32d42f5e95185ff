//! What a submission may do while it is graded: it is anybody's code.
//!
//! Without a network (Linux, where `unshare` may make a network of its own, in which only the kernel is), and with limited memory per
//! process (Unix). It reads what the user who grades can read: whoever grades strangers does so in a container.

use crate::process::command;
use std::process::{Command, Stdio};

/// Tells the driver to bring up the loopback interface of its own network, by which it talks to the kernel.
const LOOPBACK: &str = "CANDLE_LENS_LOOPBACK";

/// The limits that this machine has.
#[derive(Clone, Copy, Debug)]
pub struct Sandbox {
    /// Whether there is no network.
    pub cut: bool,
    /// Mebibytes that a process may allocate.
    memory: u64,
}

impl Sandbox {
    /// What can be had here.
    pub fn new(memory: u64) -> Self {
        let mut alone = command("unshare");
        alone.args(["--map-root-user", "--net", "true"]).stdout(Stdio::null()).stderr(Stdio::null());
        Self { cut: alone.status().is_ok_and(|status| status.success()), memory }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let network = match self.cut {
            true => "without a network",
            false => {
                "WITH the network: `unshare` does not work here, so grade strangers' work in a container without one"
            }
        };
        let memory = match cfg!(unix) {
            true => format!("with at most {} MiB of memory for a process", self.memory),
            false => "without a limit of memory, which this system cannot set".to_string(),
        };
        format!("Submissions run {network}, and {memory}. They can read your files.")
    }

    /// The same program, confined.
    pub fn confine(&self, program: &Command) -> Command {
        if !cfg!(unix) {
            return clone(program, command(program.get_program()), false);
        }
        let mut shell = if self.cut { command("unshare") } else { command("sh") };
        if self.cut {
            shell.args(["--map-root-user", "--net", "sh"]).env(LOOPBACK, "1");
        }
        let limit = format!("ulimit -v {}; exec \"$0\" \"$@\"", self.memory.saturating_mul(1024));
        shell.args(["-c", &limit]);
        clone(program, shell, true)
    }
}

fn clone(program: &Command, mut into: Command, named: bool) -> Command {
    if named {
        into.arg(program.get_program());
    }
    into.args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => into.env(name, value),
            None => into.env_remove(name),
        };
    }
    into
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_confined_program_gets_its_words_and_settings_and_no_more_memory() {
        for sandbox in [Sandbox { cut: false, memory: 500 }, Sandbox::new(500)] {
            let mut program = Command::new("sh");
            program.args(["-c", "ulimit -v; echo \"$1 $WORD\"", "sh", "a b"]).env("WORD", "c");
            let output = sandbox.confine(&program).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), "512000\na b c\n");
        }
    }
}
