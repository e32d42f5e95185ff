//! The data of files by the crate `hf-hub`, with the feature of that name: its streams, which may use the hub's Xet storage.
//!
//! What hf-hub 1.0 does not do stays here (`docs/hub.md`): it compares nothing with the hub's hashes, resumes nothing, and
//! waits for a silent host for ever.

use std::io::{self, Cursor, Read};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use futures::{Stream, StreamExt};
use hf_hub::{HFClient, HFError};
use tokio::time::timeout;

use super::client::{Client, Failure, LONGEST_WAIT, TRIES, elsewhere, refusal, wait_for};
use super::settings::without_password;
use super::transfer::{PATIENCE, Remote, Sent};

/// How long a transfer may take to begin: hf-hub asks twice, and repeats what fails.
const OPENING: Duration = PATIENCE.saturating_mul(3);

/// How many pieces may wait to be written to disk.
const PIECES: usize = 16;

/// What takes the place of a token that there is not, so that hf-hub does not look for one in the environment, which
/// belongs to another hub perhaps. No header can hold it, so that none is sent.
const NO_TOKEN: &str = "\n";

/// What the thread of a transfer sends: first the length that the host states, then the pieces, then an empty one.
enum Message {
    Opened(Result<Option<u64>, HFError>),
    Piece(io::Result<Vec<u8>>),
}

impl Client {
    /// The data of a file from byte `from` on; `None` if the host has none there.
    pub(super) fn send(&self, file: Remote<'_>, from: u64) -> Result<Option<Sent>, Failure> {
        let mut tried = 0;
        loop {
            tried += 1;
            let (length, pieces) = match self.open(file, from) {
                Ok(opened) => opened,
                Err(HFError::RateLimited { retry_after: Some(wait), .. })
                    if tried < TRIES && wait.as_secs() <= LONGEST_WAIT =>
                {
                    wait_for(wait)?;
                    continue;
                }
                Err(error) => return self.failure(error),
            };
            let size = file.described.size;
            // It does not say whether a host begins where it was asked to, but the lengths do.
            let begins = match length {
                _ if from == 0 || size.is_none() => 0,
                Some(length) if size == Some(from + length) => from,
                Some(length) if size == Some(length) => 0,
                _ => return Ok(None),
            };
            let reader = Box::new(Pieces { pieces, piece: Cursor::default() });
            return Ok(Some(Sent { reader, from: begins, has_length: length.is_some() }));
        }
    }

    /// Begins a transfer, on a thread of its own: a runtime must not be started within another one, which may be that of
    /// a notebook's cell. Returns the length that the host states, and the pieces.
    fn open(&self, file: Remote<'_>, from: u64) -> Result<(Option<u64>, Receiver<Message>), HFError> {
        let client = HFClient::builder()
            .endpoint(&self.endpoint)
            .token(self.token.as_ref().map_or(NO_TOKEN, |token| token.text()))
            .user_agent(concat!("candle-lens/", env!("CARGO_PKG_VERSION"), "; hf-hub"))
            .cache_enabled(false)
            .build()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (owner, model) = hf_hub::split_id(file.id);
        let repository = client.model(owner, model);
        let (name, commit) = (file.name.to_string(), file.described.commit.clone());
        let range = file.described.size.filter(|_| from > 0).map(|size| from..size);
        let (sender, pieces) = sync_channel(PIECES);
        let work = async move {
            let stream = repository.download_file_stream().filename(name).revision(commit).maybe_range(range).send();
            let (length, mut stream) = match timeout(OPENING, stream).await {
                Ok(Ok(opened)) => opened,
                Ok(Err(error)) => return drop(sender.send(Message::Opened(Err(error)))),
                Err(_) => {
                    let error = HFError::Other(format!("there was no answer in {} seconds", OPENING.as_secs()));
                    return drop(sender.send(Message::Opened(Err(error))));
                }
            };
            if sender.send(Message::Opened(Ok(length))).is_err() {
                return;
            }
            pass_on(&mut stream, &sender).await;
        };
        thread::Builder::new().name("hf-hub".into()).spawn(move || runtime.block_on(work))?;
        match pieces.recv() {
            Ok(Message::Opened(opened)) => opened.map(|length| (length, pieces)),
            _ => Err(HFError::Other("its thread ended without an answer".into())),
        }
    }

    /// What a failure of hf-hub is for our own rules; `None` if the host has no data at this place.
    fn failure(&self, error: HFError) -> Result<Option<Sent>, Failure> {
        let wait = match &error {
            HFError::RateLimited { retry_after, .. } => retry_after.map(|wait| wait.as_secs()),
            _ => None,
        };
        let context = match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context }
            | HFError::RateLimited { context, .. }
            | HFError::EntryNotFound { context: Some(context), .. }
            | HFError::RepoNotFound { context: Some(context), .. } => context,
            HFError::Request { source, .. } => {
                return Err(Failure::Unreachable(format!("there was no answer ({})", source.without_url())));
            }
            error => {
                let why = error.to_string().replace(&self.endpoint, &without_password(&self.endpoint));
                return Err(Failure::Unreachable(format!("hf-hub failed ({why})")));
            }
        };
        let status = context.status.as_u16();
        if status == 416 {
            return Ok(None);
        }
        if !self.is_home(&context.url) {
            return Err(elsewhere(status));
        }
        let code = context.error_code.unwrap_or_default();
        let failure = refusal(status, &code, None, wait);
        Err(failure.unwrap_or_else(|| Failure::Refused(format!("the hub answered with status {status}"))))
    }
}

/// Sends the pieces of a stream on until it ends, fails, is silent or nobody wants them any more.
async fn pass_on<B: AsRef<[u8]>>(
    stream: &mut (impl Stream<Item = Result<B, HFError>> + Unpin),
    sender: &SyncSender<Message>,
) {
    loop {
        let piece = match timeout(PATIENCE, stream.next()).await {
            Ok(Some(Ok(piece))) if piece.as_ref().is_empty() => continue,
            Ok(Some(Ok(piece))) => Ok(piece.as_ref().to_vec()),
            Ok(Some(Err(error))) => Err(io::Error::other(error)),
            Ok(None) => Ok(Vec::new()),
            Err(silent) => Err(silent.into()),
        };
        let ends = piece.as_ref().map_or(true, Vec::is_empty);
        if sender.send(Message::Piece(piece)).is_err() || ends {
            return;
        }
    }
}

/// Reads the pieces that arrive.
struct Pieces {
    pieces: Receiver<Message>,
    piece: Cursor<Vec<u8>>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.piece.read(buffer)?;
        if count > 0 || buffer.is_empty() {
            return Ok(count);
        }
        match self.pieces.recv() {
            Ok(Message::Piece(piece)) => self.piece = Cursor::new(piece?),
            // Without the last, empty piece it did not end but break off.
            _ => return Err(io::ErrorKind::UnexpectedEof.into()),
        }
        self.piece.read(buffer)
    }
}
