//! A hub of our own: a thread that answers as huggingface.co does, with the faults that a test asks for.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The commit of everything it has.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What is done to the answers about one file, each fault as often as it is said.
#[derive(Clone, Default)]
pub struct Faults {
    /// Answer with this status instead, and this `Retry-After`.
    pub status: Option<(u16, Option<u64>)>,
    /// Only of requests by this method.
    pub method: Option<&'static str>,
    /// Of how many requests the status is the answer; 0 means all.
    pub times: usize,
    /// What `X-Error-Code` says beside it.
    pub code: Option<&'static str>,
    /// Cut the transfer after so many bytes, each time.
    pub cut: Option<usize>,
    /// Say that the file has so many bytes.
    pub size: Option<usize>,
    /// Send large files from here instead of from a path of our own.
    pub elsewhere: Option<String>,
    /// Ignore `Range`.
    pub no_range: bool,
    /// Change a bit of this many answers.
    pub flips: usize,
    /// Say how long nothing is.
    pub no_size: bool,
    /// Name the file so instead of by its hash.
    pub etag: Option<&'static str>,
    /// Say that the hub's Xet storage has the file under this hash.
    pub xet: Option<&'static str>,
}

impl Faults {
    /// Whether the answer to a request for this path only says where the file is.
    fn is_redirected(&self, path: &str) -> bool {
        !path.starts_with("/cdn") && path.ends_with('s')
    }
}

/// One request: method, path, `Range` and `Authorization`.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct State {
    files: HashMap<String, Vec<u8>>,
    faults: HashMap<String, Faults>,
    asked: Vec<Asked>,
}

pub struct Server {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Server {
    /// A hub with these files by their whole path, `org/name/resolve/main/config.json`.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let state = Arc::new(Mutex::new(State { files: files.into_iter().collect(), ..Default::default() }));
        let shared = state.clone();
        // It ends with the process of the tests.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || drop(answer(stream, &shared)));
            }
        });
        Self { address, state }
    }

    /// From now on, this goes wrong with the file of this name.
    pub fn fault(&self, name: &str, faults: Faults) {
        self.state.lock().unwrap().faults.insert(name.into(), faults);
    }

    pub fn add(&self, path: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().files.insert(path.into(), bytes);
    }

    /// What was asked so far; the list begins anew.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.lock().unwrap().asked)
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next()?.ok()?;
    let mut words = first.split(' ');
    let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
    let mut asked = Asked { method, path, range: None, authorization: None };
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "range" => asked.range = Some(value.trim().into()),
            "authorization" => asked.authorization = Some(value.trim().into()),
            _ => {}
        }
    }
    Some(asked)
}

/// The hub's name for what a file holds: git's for a text, a SHA-256 for anything larger.
pub fn etag(bytes: &[u8]) -> String {
    use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
    let sum = match bytes.first() {
        Some(b'{') => {
            digest(&SHA1_FOR_LEGACY_USE_ONLY, &[format!("blob {}\0", bytes.len()).as_bytes(), bytes].concat())
        }
        _ => digest(&SHA256, bytes),
    };
    sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl State {
    /// What is asked for, if it is there, and what goes wrong with the answer.
    fn hear(&mut self, asked: &Asked) -> (Option<Vec<u8>>, Faults) {
        self.asked.push(asked.clone());
        let name = asked.path.rsplit('/').next().unwrap_or_default();
        let mut faults = self.faults.get(name).cloned().unwrap_or_default();
        if faults.method.is_some_and(|method| method != asked.method) {
            faults.status = None;
        } else if let Some(left) = self.faults.get_mut(name).filter(|faults| faults.times > 0) {
            left.times -= 1;
            if left.times == 0 {
                left.status = None;
            }
        }
        if let Some(left) = self.faults.get_mut(name).filter(|_| asked.method == "GET") {
            left.flips = left.flips.saturating_sub(usize::from(!faults.is_redirected(&asked.path)));
        }
        // A commit is another name of main, and large files lie on a path of their own.
        let path = asked.path.trim_start_matches("/cdn").trim_start_matches('/').replace(COMMIT, "main");
        (self.files.get(&path).cloned(), faults)
    }
}

fn answer(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(asked) = read(&stream) else { return Ok(()) };
    let (bytes, faults) = state.lock().unwrap().hear(&asked);
    let ends = "Connection: close\r\n";
    if let Some(rest) = asked.path.strip_prefix("/old/") {
        return write!(stream, "HTTP/1.1 307 Moved\r\n{ends}Location: /someone/{rest}\r\nContent-Length: 0\r\n\r\n");
    }
    if let Some((status, wait)) = faults.status {
        let code = faults.code.map_or(String::new(), |code| format!("X-Error-Code: {code}\r\n"));
        let wait = wait.map_or(String::new(), |wait| format!("Retry-After: {wait}\r\n"));
        return write!(stream, "HTTP/1.1 {status} No\r\n{ends}{code}{wait}Content-Length: 0\r\n\r\n");
    }
    let Some(bytes) = bytes else {
        return write!(
            stream,
            "HTTP/1.1 404 No\r\n{ends}X-Repo-Commit: {COMMIT}\r\nX-Error-Code: EntryNotFound\r\nContent-Length: 0\r\n\r\n"
        );
    };
    let size = faults.size.unwrap_or(bytes.len());
    let name = faults.etag.map_or_else(|| etag(&bytes), String::from);
    let xet = faults.xet.map_or(String::new(), |hash| format!("X-Xet-Hash: {hash}\r\n"));
    let about = format!("X-Repo-Commit: {COMMIT}\r\nETag: W/\"{name}\"\r\n{xet}");
    if faults.is_redirected(&asked.path) {
        let place = faults.elsewhere.unwrap_or_default();
        let linked_size = if faults.no_size { String::new() } else { format!("X-Linked-Size: {size}\r\n") };
        let linked = format!("X-Linked-Etag: \"{name}\"\r\n{linked_size}");
        let location = format!("Location: {place}/cdn{}\r\n", asked.path);
        return write!(stream, "HTTP/1.1 302 Found\r\n{ends}{about}{linked}{location}Content-Length: 0\r\n\r\n");
    }
    let range = asked.range.filter(|_| !faults.no_range);
    // `bytes=5-`, or `bytes=5-9` with the last byte.
    let (from, to) = range.as_ref().and_then(|range| range.strip_prefix("bytes=")?.split_once('-')).unwrap_or_default();
    let (from, to) = (from.parse().unwrap_or(0), to.parse().unwrap_or(usize::MAX).min(bytes.len().saturating_sub(1)));
    let mut part = bytes.get(from..=to).unwrap_or_default().to_vec();
    if let Some(byte) = part.last_mut().filter(|_| faults.flips > 0) {
        *byte ^= 1;
    }
    let range = format!("Content-Range: bytes {from}-{to}/{}\r\n", bytes.len());
    let (status, range) = if from > 0 { ("206 Partial", range.as_str()) } else { ("200 OK", "") };
    let length = if asked.method == "HEAD" { size } else { part.len() };
    let length = if faults.no_size { String::new() } else { format!("Content-Length: {length}\r\n") };
    write!(stream, "HTTP/1.1 {status}\r\n{ends}{about}{range}{length}\r\n")?;
    if asked.method == "GET" {
        stream.write_all(&part[..faults.cut.unwrap_or(part.len()).min(part.len())])?;
    }
    Ok(())
}
