//! A socket whose bytes are the test's own: for what no well-meaning client sends.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::PATIENCE;

/// The socket after its upgrade.
pub struct Raw {
    pub stream: TcpStream,
    /// Read, and not looked at.
    ahead: Vec<u8>,
}

/// A frame with this first byte, masked as clients' are.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, u64::try_from(payload.len()).unwrap());
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// A frame's header that announces so many bytes.
pub fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..126 => bytes.push(0x80 | u8::try_from(length).unwrap()),
        126..65_536 => {
            bytes.push(0xfe);
            bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes
}

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

impl Raw {
    /// A connection that has said nothing.
    pub async fn connect(address: SocketAddr, receive_buffer: Option<u32>) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        receive_buffer.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes)).unwrap();
        let stream = timeout(PATIENCE, socket.connect(address)).await.unwrap().unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }

    /// A WebSocket at this path; `more` are further header lines.
    pub async fn open(address: SocketAddr, path: &str, more: &[String], receive_buffer: Option<u32>) -> Self {
        let (raw, answer) = Self::ask(address, path, more, receive_buffer).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        raw
    }

    /// The same, whatever the answer: status line and headers.
    pub async fn ask(address: SocketAddr, path: &str, more: &[String], receive_buffer: Option<u32>) -> (Self, String) {
        let mut stream = Self::connect(address, receive_buffer).await;
        let more: String = more.iter().map(|line| format!("{line}\r\n")).collect();
        let version =
            if more.to_lowercase().contains("sec-websocket-version") { "" } else { "Sec-WebSocket-Version: 13\r\n" };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{version}{more}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Self { stream, ahead: Vec::new() };
        let end = loop {
            if let Some(end) = raw.ahead.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break end + 4;
            }
            assert!(raw.read_more().await, "no answer to an upgrade");
        };
        let answer = String::from_utf8(raw.ahead.drain(..end).collect()).unwrap();
        (raw, answer)
    }

    /// A native session with this token, after its `hello`.
    pub async fn native(address: SocketAddr, token: &str) -> Self {
        let mut raw = Self::open(address, "/ws", &[format!("Authorization: Bearer {token}")], None).await;
        let (opcode, _) = raw.next().await.expect("hello");
        assert_eq!(opcode, 1);
        raw
    }

    /// Whether the bytes could be sent; a hub that has closed takes none.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        matches!(timeout(PATIENCE, self.stream.write_all(bytes)).await, Ok(Ok(())))
    }

    async fn read_more(&mut self) -> bool {
        let mut bytes = vec![0; 16_384];
        match timeout(PATIENCE, self.stream.read(&mut bytes)).await.expect("nothing came") {
            Ok(0) | Err(_) => false,
            Ok(count) => {
                self.ahead.extend(&bytes[..count]);
                true
            }
        }
    }

    /// The next frame: opcode and payload. None where the connection has ended.
    pub async fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let Some((start, length)) = self.announced()
                && self.ahead.len() >= start + length
            {
                let opcode = self.ahead[0] & 0x0f;
                let payload = self.ahead[start..start + length].to_vec();
                self.ahead.drain(..start + length);
                return Some((opcode, payload));
            }
            if !self.read_more().await {
                return None;
            }
        }
    }

    /// Where the first frame's payload starts and how long it is, once that is known.
    fn announced(&self) -> Option<(usize, usize)> {
        match *self.ahead.get(1)? {
            126 => Some((4, u16::from_be_bytes(self.ahead.get(2..4)?.try_into().unwrap()).into())),
            127 => Some((10, usize::try_from(u64::from_be_bytes(self.ahead.get(2..10)?.try_into().unwrap())).unwrap())),
            short => Some((2, short.into())),
        }
    }

    /// The code with which the hub closes, whatever comes before; none where it closes without one, or does not say so.
    pub async fn close_code(&mut self) -> Option<u16> {
        while let Some((opcode, payload)) = self.next().await {
            if opcode == 8 {
                return Some(u16::from_be_bytes(payload.get(..2)?.try_into().unwrap()));
            }
        }
        None
    }

    /// Whether the connection has ended by then.
    pub async fn ends_within(&mut self, limit: Duration) -> bool {
        let ended = async { while self.read_more().await {} };
        timeout(limit, ended).await.is_ok()
    }
}
