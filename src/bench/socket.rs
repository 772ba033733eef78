//! One connection of the generator: it opens, upgrades, says hello and joins without waiting, and then takes frames where they
//! lie in the read buffer. Written for its speed: the generator must be faster than what it measures. Its own memory is what of a
//! frame has come and what could not be written yet.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
};

use mio::{Interest, Registry, Token, net::TcpStream};

/// What the server sends first on an upgraded connection.
const UPGRADED: &[u8] = b"HTTP/1.1 101";
const HEAD_END: &[u8] = b"\r\n\r\n";
/// A client's frame is masked (RFC 6455 section 5.3); with a mask of zeros the payload stands there as it is.
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x81;
const PONG: u8 = 0x8a;

/// How a frame from the server begins (RFC 6455 section 5.2).
#[derive(Clone, Copy)]
struct Header {
    opcode: u8,
    bytes: usize,
    payload: usize,
}

/// What came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came<'a> {
    /// The connection is upgraded.
    Upgraded,
    /// A text frame.
    Text(&'a [u8]),
    /// A ping, to be answered.
    Ping,
    /// A close frame.
    Close,
}

/// A connection.
pub(super) struct Socket {
    stream: TcpStream,
    upgraded: bool,
    /// Of a frame of which not all has come.
    partial: Vec<u8>,
    /// What the kernel did not take.
    unsent: Vec<u8>,
}

impl Socket {
    /// Begins to connect; `request` is sent as soon as that is done.
    pub(super) fn open(address: SocketAddr, request: Vec<u8>, registry: &Registry, token: Token) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, upgraded: false, partial: Vec::new(), unsent: request })
    }

    /// Sends a text frame, or keeps it until the kernel takes it.
    pub(super) fn send(&mut self, text: &str) -> io::Result<()> {
        self.frame(TEXT, text.as_bytes())
    }

    /// Answers a ping.
    pub(super) fn pong(&mut self) -> io::Result<()> {
        self.frame(PONG, b"")
    }

    fn frame(&mut self, kind: u8, payload: &[u8]) -> io::Result<()> {
        let (short, extended) = match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ ..126), _) => (length, None),
            (_, Ok(length)) => (126, Some(length)),
            (_, Err(_)) => return Err(ErrorKind::InvalidInput.into()),
        };
        self.unsent.extend([kind, MASKED | short]);
        self.unsent.extend(extended.iter().flat_map(|length| length.to_be_bytes()));
        self.unsent.extend([0; 4]);
        self.unsent.extend(payload);
        self.flush()
    }

    /// Writes what waits.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                // Not connected yet, or full: the poll says when to go on.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads all that is there through `buffer`, and hands on what is whole; what `take` says to send is sent. An error is the
    /// connection's end.
    pub(super) fn read(&mut self, buffer: &mut [u8], mut take: impl FnMut(Came<'_>)) -> io::Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let bytes = buffer.get(..read).unwrap_or_default();
            if self.partial.is_empty() {
                let taken = self.whole(bytes, &mut take)?;
                self.partial.extend(bytes.get(taken..).unwrap_or_default());
            } else {
                let mut all = std::mem::take(&mut self.partial);
                all.extend(bytes);
                let taken = self.whole(&all, &mut take)?;
                all.drain(..taken);
                self.partial = all;
            }
            // A read that does not fill the buffer has emptied the socket (epoll(7)).
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    /// Hands on what is whole; says how much that was.
    fn whole(&mut self, bytes: &[u8], take: &mut impl FnMut(Came<'_>)) -> io::Result<usize> {
        let mut done = 0_usize;
        if !self.upgraded {
            let Some(end) = memchr::memmem::find(bytes, HEAD_END) else { return Ok(0) };
            if !bytes.starts_with(UPGRADED) {
                let said = String::from_utf8_lossy(bytes.get(..end).unwrap_or_default());
                return Err(io::Error::other(said.lines().next().unwrap_or_default().to_owned()));
            }
            self.upgraded = true;
            done = end.saturating_add(HEAD_END.len());
            take(Came::Upgraded);
        }
        while let Some(rest) = bytes.get(done..) {
            let Some(Header { opcode, bytes, payload }) = header(rest) else { break };
            let Some(payload) = rest.get(bytes..bytes.saturating_add(payload)) else { break };
            match opcode {
                0x1 => take(Came::Text(payload)),
                0x8 => take(Came::Close),
                0x9 => take(Came::Ping),
                0xa => {}
                _ => return Err(io::Error::other("a frame that nobody asked for")),
            }
            done = done.saturating_add(bytes).saturating_add(payload.len());
        }
        Ok(done)
    }
}

/// The header of a frame from a server, once it is whole.
fn header(bytes: &[u8]) -> Option<Header> {
    let (&[first, second], rest) = bytes.split_first_chunk()?;
    let opcode = first & 0x0f;
    match second {
        126 => {
            let length = u16::from_be_bytes(*rest.first_chunk()?);
            Some(Header { opcode, bytes: 4, payload: length.into() })
        }
        127 => {
            let length = u64::from_be_bytes(*rest.first_chunk()?);
            Some(Header { opcode, bytes: 10, payload: usize::try_from(length).ok()? })
        }
        length => Some(Header { opcode, bytes: 2, payload: length.into() }),
    }
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread, time::Duration};

    use mio::{Events, Poll};

    use super::*;

    #[test]
    fn frames_come_whole_whatever_the_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let long = "y".repeat(70_000);
        let expected = long.clone();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).unwrap();
            let mut said = b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02hi\x89\x00\x81\x7f".to_vec();
            said.extend(70_000_u64.to_be_bytes());
            said.extend(long.as_bytes());
            said.extend(b"\x81\x7e\x01\x00");
            said.extend([b'z'; 256]);
            for part in said.chunks(1_001) {
                stream.write_all(part).unwrap();
            }
            let mut frame = [0; 8];
            stream.read_exact(&mut frame).unwrap();
            frame
        });
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        let mut socket = Socket::open(address, b"GET ".to_vec(), poll.registry(), Token(0)).unwrap();
        let (mut buffer, mut texts, mut pings) = (vec![0; 4_096], Vec::new(), 0);
        while texts.len() < 3 {
            poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
            socket.flush().unwrap();
            socket
                .read(&mut buffer, |came| match came {
                    Came::Text(text) => texts.push(String::from_utf8(text.to_vec()).unwrap()),
                    Came::Ping => pings += 1,
                    Came::Upgraded | Came::Close => {}
                })
                .unwrap();
        }
        socket.send("ab").unwrap();
        assert_eq!((texts, pings), (vec!["hi".to_owned(), expected, "z".repeat(256)], 1));
        assert_eq!(&server.join().unwrap(), b"\x81\x82\0\0\0\0ab");
    }
}
