//! EleutherAI's sparsify.

use super::files::Files;
use super::options::DictionaryOptions;
use super::unread::Unread;
use crate::error::Result;

/// The dictionaries of this format among the files.
pub(super) fn entries(_files: &Files, _options: &DictionaryOptions) -> Result<Vec<Unread>> {
    Ok(Vec::new())
}
