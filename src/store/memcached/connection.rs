//! One connection to memcached, and the meta commands that the store needs.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::clock::MonotonicTime;

/// The longest line that is read from a server.
const LONGEST_LINE: u64 = 2_048;

/// The most lines of settings that are read.
const MOST_SETTINGS: usize = 1_000;

/// The item size of a server that does not report it.
const USUAL_ITEM_SIZE: usize = 1 << 20;

/// The maximum overhead of an item: a header, which has grown over the releases, and its key.
const ITEM_OVERHEAD: usize = 512;

/// A connection. It serves one call at a time, and is reused only after a complete reply.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    /// The number of the last command. The server returns it, so that a reply is never matched to another command.
    sent: u32,
    /// The largest value that the server accepts.
    most_bytes: usize,
    /// When it was last used.
    pub(super) used_at: MonotonicTime,
}

/// The reply of the server.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) code: Code,
    /// The CAS number of the entry, if it was requested.
    pub(super) cas: Option<u64>,
    pub(super) value: Vec<u8>,
}

/// The codes of meta commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// `VA`: a value follows.
    Value,
    /// `HD`: done.
    Done,
    /// `EN` or `NF`: the key has no entry.
    NotFound,
    /// `NS`: the key has an entry.
    NotStored,
    /// `EX`: the entry has another CAS number.
    Changed,
}

impl Connection {
    /// Connects, and queries the item size: a server that rejects a larger item deletes the present one.
    pub(super) async fn open(address: &str) -> Result<Self, ClientError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let used_at = MonotonicTime::now();
        let mut connection = Self { stream: BufReader::new(stream), sent: 0, most_bytes: 0, used_at };
        let item_size = connection.item_size().await?.unwrap_or(USUAL_ITEM_SIZE);
        connection.most_bytes = item_size.saturating_sub(ITEM_OVERHEAD);
        Ok(connection)
    }

    /// Returns whether the server has neither closed the connection nor sent unexpected data.
    ///
    /// This asks the operating system: tokio knows only the state of its last poll.
    pub(super) fn is_usable(&self) -> bool {
        let nothing = SockRef::from(self.stream.get_ref()).peek(&mut [MaybeUninit::uninit()]);
        self.stream.buffer().is_empty() && matches!(nothing, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a command and returns the reply.
    pub(super) async fn call(&mut self, command: &str, value: Option<&[u8]>) -> Result<Reply, ClientError> {
        if let Some(size) = value.map(<[u8]>::len).filter(|size| *size > self.most_bytes) {
            return Err(ClientError::TooLarge { size, limit: self.most_bytes });
        }
        self.sent = self.sent.wrapping_add(1);
        let mut out = Vec::with_capacity(command.len() + value.map_or(0, <[u8]>::len) + 32);
        out.extend_from_slice(format!("{command} O{}\r\n", self.sent).as_bytes());
        if let Some(value) = value {
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&out).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> Result<Reply, ClientError> {
        let line = self.line().await?;
        let mut words = line.split(' ');
        let code = match words.next() {
            Some("VA") => Code::Value,
            Some("HD") => Code::Done,
            Some("EN" | "NF") => Code::NotFound,
            Some("NS") => Code::NotStored,
            Some("EX") => Code::Changed,
            _ => return Err(ClientError::refused(&line)),
        };
        let size = match code {
            Code::Value => words.next().and_then(|size| size.parse().ok()).ok_or(ClientError::Malformed)?,
            _ => 0,
        };
        let (mut cas, mut answers) = (None, None);
        for flag in words.filter(|word| !word.is_empty()) {
            match flag.split_at_checked(1) {
                Some(("c", number)) => cas = Some(number.parse().map_err(|_| ClientError::Malformed)?),
                Some(("O", number)) => answers = Some(number.parse().map_err(|_| ClientError::Malformed)?),
                _ => {}
            }
        }
        // The reply for a missing entry may have no flags.
        if answers != Some(self.sent) && (answers.is_some() || line != "EN") {
            return Err(ClientError::Malformed);
        }
        let value = if code == Code::Value { self.value(size).await? } else { Vec::new() };
        Ok(Reply { code, cas, value })
    }

    /// Reads a value, and allocates only as bytes arrive.
    async fn value(&mut self, size: u64) -> Result<Vec<u8>, ClientError> {
        let mut value = Vec::new();
        let whole = size.checked_add(2).ok_or(ClientError::Malformed)?;
        let read = (&mut self.stream).take(whole).read_to_end(&mut value).await?;
        if (read as u64) < whole {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if !value.ends_with(b"\r\n") {
            return Err(ClientError::Malformed);
        }
        value.truncate(value.len() - 2);
        Ok(value)
    }

    async fn line(&mut self) -> Result<String, ClientError> {
        let mut line = Vec::new();
        (&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line).await?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => String::from_utf8(line.to_vec()).map_err(|_| ClientError::Malformed),
            None if (line.len() as u64) < LONGEST_LINE => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            None => Err(ClientError::Malformed),
        }
    }

    /// Queries the item size. A proxy may not know it.
    async fn item_size(&mut self) -> Result<Option<usize>, ClientError> {
        self.stream.write_all(b"stats settings\r\n").await?;
        let mut size = None;
        for _ in 0..MOST_SETTINGS {
            let line = self.line().await?;
            match line.strip_prefix("STAT ") {
                Some(setting) => size = size.or(setting.strip_prefix("item_size_max ").and_then(|n| n.parse().ok())),
                None => return Ok(size),
            }
        }
        Err(ClientError::Malformed)
    }
}

/// Why a call failed.
#[derive(Debug)]
pub(super) enum ClientError {
    Io(io::Error),
    /// The value is too large for the server, and was not sent.
    TooLarge {
        size: usize,
        limit: usize,
    },
    /// The server has no memory left and may evict nothing.
    OutOfMemory,
    /// The server does not know the command.
    Unknown,
    /// The server answered with an error.
    Refused(String),
    /// The reply does not match the command.
    Malformed,
    /// Every attempt met a concurrent write.
    Contended,
}

impl ClientError {
    fn refused(line: &str) -> Self {
        match line {
            "ERROR" => Self::Unknown,
            _ if line.starts_with("SERVER_ERROR out of memory") => Self::OutOfMemory,
            _ if line.starts_with("SERVER_ERROR ") || line.starts_with("CLIENT_ERROR ") => {
                Self::Refused(line.chars().take(200).collect())
            }
            _ => Self::Malformed,
        }
    }
}

impl From<io::Error> for ClientError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(_) => f.write_str("the connection to the server failed"),
            Self::TooLarge { size, limit } => write!(f, "the record has {size} bytes, and the limit is {limit}"),
            Self::OutOfMemory => f.write_str("the server is out of memory"),
            Self::Unknown => f.write_str("the server does not know meta commands: it must be memcached 1.6 or later"),
            Self::Refused(line) => write!(f, "the server answered {line:?}"),
            Self::Malformed => f.write_str("the server's reply does not match the command"),
            Self::Contended => f.write_str("the entry was changed by another call on every attempt"),
        }
    }
}

impl StdError for ClientError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// Returns the result of a call to a server that sends `answer` and closes the connection.
    async fn answered(answer: &[u8]) -> Result<Reply, ClientError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("a local address")).await.expect("it listens");
        let (mut server, _) = listener.accept().await.expect("a connection");
        server.write_all(answer).await.expect("the client reads");
        server.shutdown().await.expect("the client reads");
        let stream = BufReader::new(stream);
        let mut connection = Connection { stream, sent: 6, most_bytes: 10, used_at: MonotonicTime::now() };
        connection.call("mg k v c", None).await
    }

    #[tokio::test]
    async fn a_reply_is_read_whole() {
        let reply = answered(b"VA 4 c18446744073709551615 O7\r\n\r\n\0x\r\n").await.expect("an answer");
        assert_eq!((reply.code, reply.cas, &*reply.value), (Code::Value, Some(u64::MAX), &b"\r\n\0x"[..]));
        for (answer, code) in [
            (&b"HD O7\r\n"[..], Code::Done),
            (b"HD  O7 \r\n", Code::Done),
            (b"EN O7\r\n", Code::NotFound),
            (b"EN\r\n", Code::NotFound),
            (b"NF c0 O7\r\n", Code::NotFound),
            (b"NS O7 c0\r\n", Code::NotStored),
            (b"EX kkey O7\r\n", Code::Changed),
        ] {
            let reply = answered(answer).await.expect("an answer");
            assert_eq!((reply.code, &*reply.value), (code, &b""[..]), "{}", answer.escape_ascii());
        }
    }

    #[tokio::test]
    async fn a_reply_that_does_not_match_the_command_is_an_error() {
        let long_line = [b"HD O7 ".as_slice(), &[b'x'; 5_000], b"\r\n"].concat();
        for answer in [
            &b""[..],
            b"\r\n",
            b"HD O7",
            b"HD O7\n",
            b"HD\r\n",
            b"EN O6\r\n",
            b"HD O6\r\n",
            b"HD O70\r\n",
            b"HD Ox\r\n",
            b"HD cx O7\r\n",
            b"VA\r\n",
            b"VA x O7\r\n",
            b"VA -1 O7\r\n",
            b"VA 4 O7\r\nabc\r\n",
            b"VA 4 O7\r\nabcde\r\n",
            b"VA 4 O7\r\nabcd",
            b"VA 18446744073709551615 O7\r\nabc\r\n",
            b"VA 9223372036854775807 O7\r\nabc\r\n",
            b"VA 4 O8\r\nabcd\r\n",
            b"END\r\n",
            b"STORED\r\n",
            b"hd O7\r\n",
            b"\xff O7\r\n",
            b"ERROR\r\n",
            b"SERVER_ERROR out of memory storing object\r\n",
            b"CLIENT_ERROR bad data chunk\r\n",
            &long_line,
        ] {
            assert!(answered(answer).await.is_err(), "{}", answer.escape_ascii());
        }
        assert!(matches!(answered(b"ERROR\r\n").await, Err(ClientError::Unknown)));
        assert!(matches!(answered(b"SERVER_ERROR out of memory x\r\n").await, Err(ClientError::OutOfMemory)));
    }
}
