//! What every message to a user must be.

use candle_lens::{Error, Result};

/// The message of an error that a user's mistake must give: a whole sentence of ours, not candle's, with these parts.
#[track_caller]
pub fn sentence<T>(result: Result<T>, parts: &[&str]) -> String {
    let error = result.err().expect("this must be refused");
    assert!(!matches!(error, Error::Candle { .. }), "found by candle, too late: {error}");
    let message = error.to_string();
    assert!(message.starts_with(candle_lens::error::PREFIX), "whose message is this? {message}");
    assert!(message.ends_with(['.', '?']), "no sentence: {message}");
    assert_eq!(message.matches(candle_lens::error::PREFIX).count(), 1, "said twice: {message}");
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in: {message}");
    }
    message
}
