//! As many compilers as there are processors, for two cargos together: four on two processors take a tenth longer.
//!
//! The protocol is that of make, which cargo and rustc speak: a byte in a named pipe is leave for one more compiler, and each cargo may
//! always run one. Where there are no named pipes (Windows), each goes by its own count.

use std::path::Path;
use std::process::Command;

/// Leave that two cargos share.
pub struct Jobs {
    #[cfg(unix)]
    pipe: Option<unix::Pipe>,
}

impl Jobs {
    /// For two cargos that start now; the pipe is in `folder` as long as this value lives. Where it cannot be made, they share nothing.
    pub fn for_two(folder: &Path) -> Self {
        #[cfg(unix)]
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        #[cfg(not(unix))]
        let _ = folder;
        Self {
            #[cfg(unix)]
            pipe: unix::Pipe::new(folder, processors.saturating_sub(2)),
        }
    }

    /// Makes `cargo` one of them.
    pub fn share(&self, cargo: &mut Command) {
        #[cfg(unix)]
        if let Some(pipe) = &self.pipe {
            cargo.env("CARGO_MAKEFLAGS", format!("-j --jobserver-auth=fifo:{}", pipe.path().display()));
        }
        #[cfg(not(unix))]
        let _ = cargo;
    }

    /// One of them has ended, or has nothing to do: the other may run one compiler more.
    pub fn one_has_ended(&self) {
        #[cfg(unix)]
        if let Some(pipe) = &self.pipe {
            pipe.give(1);
        }
    }
}

#[cfg(unix)]
mod unix {
    use crate::steps::make_folder;
    use std::ffi::CString;
    use std::fs::File;
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::path::{Path, PathBuf};

    /// A named pipe, open for both sides so that nobody waits for the other one.
    pub struct Pipe {
        path: PathBuf,
        file: File,
    }

    impl Pipe {
        pub fn new(folder: &Path, bytes: usize) -> Option<Self> {
            make_folder(folder).ok()?;
            let path = folder.join(format!("jobs-{}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let name = CString::new(path.as_os_str().as_bytes()).ok()?;
            // SAFETY: the name is a valid string.
            if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
                return None;
            }
            let file = File::options().read(true).write(true).open(&path).ok()?;
            let pipe = Self { path, file };
            pipe.give(bytes);
            Some(pipe)
        }

        pub fn path(&self) -> &Path {
            &self.path
        }

        pub fn give(&self, bytes: usize) {
            // Without them each runs its one compiler.
            let _ = (&self.file).write_all(&vec![b'+'; bytes]);
        }
    }

    impl Drop for Pipe {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::process::command;
    use std::io::Read;

    #[test]
    fn what_one_does_not_need_goes_to_the_other() {
        let folder = std::env::temp_dir().join(format!("candle-lens-lab-jobs-{}", std::process::id()));
        let jobs = Jobs::for_two(&folder);
        let mut cargo = command("sh");
        jobs.share(cargo.args(["-c", "echo $CARGO_MAKEFLAGS"]));
        let said = String::from_utf8(cargo.output().unwrap().stdout).unwrap();
        let path = said.trim().strip_prefix("-j --jobserver-auth=fifo:").unwrap().to_string();
        jobs.one_has_ended();
        let processors = std::thread::available_parallelism().map_or(2, usize::from);
        let mut bytes = vec![0; processors.saturating_sub(2) + 1];
        std::fs::File::options().read(true).write(true).open(&path).unwrap().read_exact(&mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == b'+'));
        drop(jobs);
        assert!(!Path::new(&path).exists());
        crate::steps::remove_folder(&folder).unwrap();
    }

    #[test]
    fn where_there_can_be_no_pipe_nothing_is_shared() {
        let file = std::env::temp_dir().join(format!("candle-lens-lab-no-jobs-{}", std::process::id()));
        std::fs::write(&file, "").unwrap();
        let jobs = Jobs::for_two(&file);
        let mut cargo = command("true");
        jobs.share(&mut cargo);
        jobs.one_has_ended();
        assert!(cargo.get_envs().all(|(name, _)| name != "CARGO_MAKEFLAGS"));
        std::fs::remove_file(&file).unwrap();
    }
}
