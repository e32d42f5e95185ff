//! An interrupt while a cell is compiled ends the compiler, and says so.
//!
//! The kernel's programs are started with SIGINT ignored (see `supervisor`). Compilers are to obey it: there is nothing to lose yet.
//! evcxr would then show an error without a word, or nothing. Elsewhere than on Unix an interrupt does not come here.

use serde_json::json;
use std::process::ExitCode;

/// Makes the compilers that this process starts obey interrupts, while the process itself waits for their end.
pub fn listen() {
    #[cfg(unix)]
    crate::signals::note_interrupts();
}

/// How a compilation ended; one in which an interrupt came has failed, and says so as the compiler says errors, which is what evcxr
/// reads.
pub fn judged(ended: ExitCode) -> ExitCode {
    #[cfg(unix)]
    if crate::signals::is_interrupted() {
        eprintln!("{}", message());
        return ExitCode::FAILURE;
    }
    ended
}

#[cfg_attr(not(unix), expect(dead_code))]
fn message() -> serde_json::Value {
    json!({
        "level": "error", "code": null, "spans": [], "children": [],
        "message": "the cell was interrupted while it was compiled, and has not run. All variables of earlier cells are still there.",
    })
}
