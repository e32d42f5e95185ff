//! A dictionary in files whose numbers have not been read.

use std::collections::HashMap;

use candle_core::DType;

use crate::dictionaries::architecture::Architecture;
use crate::dictionaries::expects::Expects;
use crate::dictionaries::parts::DictionaryParts;
use crate::error::Result;

/// A dictionary that is there: what names and configurations say. Nothing large was fetched or read for it.
pub(in crate::dictionaries) struct Unread {
    /// What it is called among those beside it, such as `blocks.5.hook_resid_pre`, and alone.
    pub name: String,
    /// What it expects of the model, as far as is known without its tensors.
    pub expects: Expects,
    /// Its file is on the hub though the folder that names it is on this disk: opening fetches it.
    pub remote: bool,
    /// Opens its files (on the hub, fetches them) and reads their headers.
    pub open: Box<dyn Fn() -> Result<Opened>>,
}

/// A dictionary whose headers were read and checked, and whose numbers were not.
pub(in crate::dictionaries) struct Opened {
    pub architecture: Architecture,
    pub d_in: usize,
    pub d_sae: usize,
    pub d_out: usize,
    /// The dtype in the file.
    pub dtype: DType,
    /// How many bytes its tensors take in the file.
    pub bytes: u64,
    /// Reads the numbers, in the dtype of the file, on the CPU.
    pub read: Box<dyn Fn() -> Result<DictionaryParts>>,
}

/// A name for each: the short one, unless another has it too or there is none.
pub(super) fn unique_names<'a>(names: impl Iterator<Item = (Option<String>, &'a str)>) -> Vec<String> {
    let names: Vec<(Option<String>, &str)> = names.collect();
    let mut times: HashMap<&str, usize> = HashMap::new();
    names.iter().flat_map(|(short, _)| short).for_each(|short| *times.entry(short).or_default() += 1);
    let chosen = names.iter().map(|(short, long)| match short {
        Some(short) if times[short.as_str()] == 1 => short.clone(),
        _ => long.to_string(),
    });
    chosen.collect()
}
