//! The data of files by our own client: one request, which resumes where an earlier one ended.

use ureq::http::HeaderMap;

use super::client::{Client, Failure, text};
use super::transfer::{Remote, Sent};

impl Client {
    /// The data of a file from byte `from` on; `None` if the host has none there.
    pub(super) fn send(&self, file: Remote<'_>, from: u64) -> Result<Option<Sent>, Failure> {
        let response = self.get(&self.url(file.id, &file.described.commit, file.name), from)?;
        let status = response.status().as_u16();
        if status == 416 {
            return Ok(None);
        }
        let from = if status == 206 && starts_at(response.headers(), from) { from } else { 0 };
        let body = response.into_body();
        let has_length = body.content_length().is_some();
        Ok(Some(Sent { reader: Box::new(body.into_reader()), from, has_length }))
    }
}

/// Whether `Content-Range: bytes 5-9/10` begins at `from`.
fn starts_at(headers: &HeaderMap, from: u64) -> bool {
    let range = text(headers, "content-range").unwrap_or_default();
    let start = range.trim_start_matches("bytes").trim().split('-').next().and_then(|start| start.parse().ok());
    start == Some(from)
}
