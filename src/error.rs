//! The one error type of the crate: each message is a full sentence that says what was given,
//! what is valid and what to do.
//!
//! Every message starts with [`PREFIX`], so that a script that reads a notebook's outputs can find it:
//! evcxr reports "ok" for a cell that ended with an error at `?`.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::progress::Progress;
use crate::visible::{visible, visible_lines};

/// The first words of every message of this crate.
pub const PREFIX: &str = "candle-lens: ";

/// What went wrong, with the values that were given and the values that are valid.
#[non_exhaustive]
pub enum Error {
    /// A hook name that no point has.
    ///
    /// Cause: a typo, or a name from another library. Fix: use the nearest name, or
    /// `HookPoint::all(&dims)` for the whole list.
    UnknownHook {
        /// The name as given.
        name: String,
        /// The valid name that is closest to it.
        nearest: String,
    },
    /// A hook point that exists in general but not in this model.
    ///
    /// Cause: for example `mlp.hook_post` in an attention-only model. Fix: choose another point.
    AbsentHook {
        /// The point, by its full name.
        point: String,
        /// Why this model does not have it.
        why: String,
    },
    /// A layer number outside the model.
    LayerOutOfRange {
        /// The layer as given (negative counts from the end).
        layer: isize,
        /// How many layers there are.
        n_layers: usize,
    },
    /// An index outside an axis.
    IndexOutOfRange {
        /// The axis, in words ("position", "head", "batch row").
        axis: &'static str,
        /// The index as given (negative counts from the end).
        index: isize,
        /// The size of the axis.
        size: usize,
    },
    /// A tensor or list of the wrong shape.
    Shape {
        /// What has the shape ("the replacement for blocks.0.attn.hook_z").
        what: String,
        /// The shape that is needed, in words or numbers.
        expected: String,
        /// The shape that was given.
        got: Vec<usize>,
    },
    /// An activation that the cache does not hold.
    NotCached {
        /// The point that was requested.
        point: String,
        /// Why it is not there, and what to do.
        hint: String,
    },
    /// A run would need more memory than its budget.
    ///
    /// Cause: many or long prompts, or many captured activations. Fix: what the message suggests, with its numbers.
    OverBudget {
        /// What the run would need, in bytes.
        needed: u64,
        /// How much of that it would keep.
        kept: u64,
        /// How much it may need, in bytes.
        budget: u64,
        /// Where the limit comes from, in words.
        source: String,
        /// The largest parts and their bytes.
        largest: Vec<(String, u64)>,
        /// What would fit, in words.
        fewer: String,
    },
    /// Text that cannot be tokenized as requested.
    Tokens {
        /// The full sentence.
        message: String,
    },
    /// A configuration that is not valid or not supported.
    Config {
        /// The full sentence.
        message: String,
    },
    /// A file that is missing, truncated, damaged, or not of the expected kind.
    File {
        /// The file.
        path: PathBuf,
        /// The full sentence.
        message: String,
    },
    /// An argument that is not valid for the call.
    Argument {
        /// The full sentence.
        message: String,
    },
    /// Work that was interrupted, as a notebook's stop button does ([`interrupt`](crate::interrupt)).
    ///
    /// Variables of earlier cells are still there. Fix: run the cell again; what was kept is not done again.
    Interrupted {
        /// What was going on: the outermost work whose parts are counted.
        what: String,
        /// How many parts of it were done.
        done: u64,
        /// How many parts it has; 0 if that is unknown.
        total: u64,
        /// What is counted ("sites", "layers", [`Progress::BYTES`](crate::progress::Progress::BYTES)).
        unit: &'static str,
        /// The file from which the same call goes on, if there is one.
        kept: Option<PathBuf>,
    },
    /// An error from candle during a computation.
    Candle {
        /// What was being computed.
        context: String,
        /// candle's own error.
        source: candle_core::Error,
    },
}

/// The crate's result; a second parameter overrides the error, as with [`std::result::Result`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An [`Error::Argument`] with this sentence.
    pub fn argument(message: impl Into<String>) -> Self {
        Self::Argument { message: message.into() }
    }

    /// An [`Error::Config`] with this sentence.
    pub fn config(message: impl Into<String>) -> Self {
        Self::Config { message: message.into() }
    }

    /// An [`Error::Tokens`] with this sentence.
    pub fn tokens(message: impl Into<String>) -> Self {
        Self::Tokens { message: message.into() }
    }

    /// An [`Error::File`] about `path`.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File { path: path.into(), message: message.into() }
    }

    /// The same sentence as an [`Error::File`] about `path`; an interrupt stays one.
    pub(crate) fn in_file(self, path: impl Into<PathBuf>) -> Self {
        if self.is_interrupt() { self } else { Self::file(path, self.sentence()) }
    }

    /// An [`Error::Interrupted`] after `done` of `total` parts, of which nothing is kept.
    pub(crate) fn interrupted(what: impl Into<String>, done: u64, total: u64, unit: &'static str) -> Self {
        Self::Interrupted { what: what.into(), done, total, unit, kept: None }
    }

    /// Whether this is an [`Error::Interrupted`].
    pub(crate) fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted { .. })
    }

    /// The same error; an interrupt says that the work goes on from this file, if there is one.
    pub(crate) fn kept_in(mut self, path: Option<&Path>) -> Self {
        if let Self::Interrupted { kept, .. } = &mut self {
            *kept = path.filter(|path| path.exists()).map(Path::to_path_buf);
        }
        self
    }

    /// The message without [`PREFIX`], for use inside another message.
    pub(crate) fn sentence(&self) -> String {
        let message = self.to_string();
        message.strip_prefix(PREFIX).unwrap_or(&message).to_string()
    }

    /// An [`Error::Shape`] with these parts.
    pub fn shape(what: impl Into<String>, expected: impl Into<String>, got: &[usize]) -> Self {
        Self::Shape { what: what.into(), expected: expected.into(), got: got.to_vec() }
    }
}

impl fmt::Display for Error {
    /// Foreign text in a message, such as a file's name or a server's answer, is made visible: nothing in it acts as a
    /// command to a terminal, or to evcxr.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&visible_lines(&format!("{PREFIX}{}", Sentence(self))))
    }
}

/// The message of an error without [`PREFIX`].
struct Sentence<'a>(&'a Error);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Error::UnknownHook { name, nearest } => write!(
                f,
                "there is no hook point named {name:?}; the nearest valid name is {nearest:?}. Model names and \
                 TransformerLens shorthands such as \"blocks.0.attn.hook_q\" or (\"q\", 0) are understood."
            ),
            Error::AbsentHook { point, why } => {
                write!(f, "this model has no {point}: {why}. Choose a point that it has.")
            }
            Error::LayerOutOfRange { layer, n_layers } => write!(
                f,
                "layer {layer} does not exist: the model has {n_layers} layers, \
                 so 0 to {} or -{n_layers} to -1 are valid.",
                n_layers.saturating_sub(1)
            ),
            Error::IndexOutOfRange { axis, index, size } => write!(
                f,
                "{axis} {index} does not exist: there are {size}, so 0 to {} or -{size} to -1 are valid.",
                size.saturating_sub(1)
            ),
            Error::Shape { what, expected, got } => {
                write!(f, "{what} has shape {got:?}, but {expected} is needed.")
            }
            Error::NotCached { point, hint } => write!(f, "{point} is not in this cache: {hint}"),
            Error::OverBudget { needed, kept, budget, source, largest, fewer } => {
                let parts: Vec<_> =
                    largest.iter().map(|(name, bytes)| format!("{name} ({})", human_bytes(*bytes))).collect();
                write!(
                    f,
                    "this run would need {}, {} of it for what is captured, but {source} is {}; the largest parts are \
                     {}. Capture fewer points or positions, run {fewer}, or give another limit with HookPlan::budget.",
                    human_bytes(*needed),
                    human_bytes(*kept),
                    human_bytes(*budget),
                    parts.join(", ")
                )
            }
            Error::File { path, message } => write!(f, "{}: {message}", visible(&path.display().to_string())),
            Error::Tokens { message } | Error::Config { message } | Error::Argument { message } => f.write_str(message),
            Error::Interrupted { .. } => f.write_str(&self.0.what_was_interrupted()),
            Error::Candle { context, source } => write!(f, "{context} failed in candle: {source}"),
        }
    }
}

impl Error {
    /// How far interrupted work was, and what is left of it; nothing for other errors.
    fn what_was_interrupted(&self) -> String {
        let Error::Interrupted { what, done, total, unit, kept } = self else { return String::new() };
        let parts = |parts: &u64| match *unit == Progress::BYTES {
            true => human_bytes(*parts),
            false => parts.to_string(),
        };
        let unit = if *unit == Progress::BYTES { "" } else { &format!(" {unit}") };
        let so_far = match total {
            0 => String::new(),
            _ => format!(" after {} of {}{unit}", parts(done), parts(total)),
        };
        let kept = match kept {
            Some(path) => {
                let path = visible(&path.display().to_string());
                format!("what is done is kept in {path}, and the same call goes on from there.")
            }
            None => "nothing of it is kept.".into(),
        };
        format!("{what}: interrupted{so_far}; {kept} The variables of earlier cells are still there.")
    }
}

impl fmt::Debug for Error {
    /// The same sentence as `Display`, so that `unwrap` and a cell's last expression read well.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Candle { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<candle_core::Error> for Error {
    fn from(source: candle_core::Error) -> Self {
        Self::Candle { context: "a tensor operation".into(), source }
    }
}

/// Adds to a foreign error what was being computed.
pub trait Context<T> {
    /// Turns the error into [`Error::Candle`] with this context.
    fn context(self, context: &str) -> Result<T>;
}

impl<T> Context<T> for std::result::Result<T, candle_core::Error> {
    fn context(self, context: &str) -> Result<T> {
        self.map_err(|source| Error::Candle { context: context.into(), source })
    }
}

/// The name that is closest to what was given. Of a long text only the beginning is compared, as long as the longest name,
/// because the work grows with the product of both lengths.
pub(crate) fn nearest<N: AsRef<str>>(given: &str, names: impl IntoIterator<Item = N>) -> Option<N> {
    let names: Vec<N> = names.into_iter().collect();
    let longest = names.iter().map(|name| name.as_ref().chars().count()).max().unwrap_or(0);
    let given: String = given.chars().take(longest + 1).collect();
    names.into_iter().min_by_key(|name| strsim::damerau_levenshtein(name.as_ref(), &given))
}

/// A number of bytes in words: `1.5 MB` (powers of 1000).
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}
