//! How the numbers of a model are stored: for its provenance, and to refuse what cannot be read before anything is.

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Error, Result};
use crate::storage::{GgufMetadata, Named};

/// Refuses a model with tensors of a type that is not read.
///
/// # Errors
/// [`Error::File`], which names the type and one of the tensors.
pub(super) fn check(path: &Path, tensors: &[Named]) -> Result<()> {
    let mut unread = tensors.iter().filter_map(|(name, stored)| Some((name, stored.dtype.as_ref().err()?)));
    let Some((name, kind)) = unread.next() else { return Ok(()) };
    let others = match unread.count() {
        0 => String::new(),
        count => format!(" and {count} more tensors in types that are not read"),
    };
    Err(Error::file(
        path,
        format!(
            "stores {name} as {kind}{others}: F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to Q6_K are read. \
             Download another quantisation of the model."
        ),
    ))
}

/// The type of the file and how many tensors have which: `Q4_1: 210 tensors of Q4_1, 61 of F32, 1 of Q8_0`.
///
/// # Errors
/// [`Error::File`] for a file type that is not a number.
pub(super) fn described(metadata: &GgufMetadata, tensors: &[Named]) -> Result<String> {
    let mut counts = BTreeMap::new();
    for (_, stored) in tensors {
        *counts.entry(stored.kind().to_uppercase()).or_insert(0usize) += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let mut of_each: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} of {kind}")).collect();
    if let Some(first) = of_each.first_mut() {
        *first = first.replacen(" of", if counts[0].1 == 1 { " tensor of" } else { " tensors of" }, 1);
    }
    let of_each = of_each.join(", ");
    Ok(match metadata.u32("general.file_type")? {
        Some(number) => format!("{}: {of_each}", file_type(number)),
        None => of_each,
    })
}

/// What llama.cpp calls a file whose tensors are mostly of one type.
///
/// Reference: `enum llama_ftype`.
fn file_type(number: u32) -> String {
    let name = match number {
        0 => "F32",
        1 => "F16",
        2 => "Q4_0",
        3 => "Q4_1",
        7 => "Q8_0",
        8 => "Q5_0",
        9 => "Q5_1",
        10 => "Q2_K",
        11 => "Q3_K_S",
        12 => "Q3_K_M",
        13 => "Q3_K_L",
        14 => "Q4_K_S",
        15 => "Q4_K_M",
        16 => "Q5_K_S",
        17 => "Q5_K_M",
        18 => "Q6_K",
        21 => "Q2_K_S",
        32 => "BF16",
        other => return format!("file type {other}"),
    };
    name.into()
}
