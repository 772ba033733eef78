//! A WebSocket client that keeps every frame until the test asks for it.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{
        Error, Message,
        client::IntoClientRequest,
        handshake::client::{Request, Response},
        protocol::CloseFrame,
    },
};

use super::{Hub, PATIENCE};

/// Why a socket ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed {
    pub code: u16,
    pub reason: String,
}

pub struct Client {
    socket: WebSocketStream<TcpStream>,
    frames: VecDeque<Value>,
    next_id: i64,
}

impl Client {
    /// Opens a socket; `bearer` goes into the header.
    pub async fn open(url: &str, bearer: Option<&str>) -> Result<Self, Error> {
        Self::open_with(url, bearer, None).await
    }

    async fn open_with(url: &str, bearer: Option<&str>, receive_buffer: Option<u32>) -> Result<Self, Error> {
        let mut request = url.into_client_request()?;
        if let Some(token) = bearer {
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        }
        Ok(Self::upgrade(request, receive_buffer).await?.0)
    }

    /// Opens a socket by a request of the test's own; gives the hub's answer too.
    pub async fn upgrade(request: Request, receive_buffer: Option<u32>) -> Result<(Self, Response), Error> {
        let address = request.uri().authority().unwrap().as_str().parse().unwrap();
        let connecting = async {
            let socket = TcpSocket::new_v4()?;
            receive_buffer.map_or(Ok(()), |bytes| socket.set_recv_buffer_size(bytes))?;
            let stream = socket.connect(address).await?;
            stream.set_nodelay(true)?;
            client_async(request, stream).await
        };
        let connected = tokio::time::timeout(PATIENCE, connecting).await.expect("no answer to an upgrade");
        let (socket, response) = connected?;
        Ok((Self { socket, frames: VecDeque::new(), next_id: 1 }, response))
    }

    /// A native session that has said hello.
    pub async fn native(hub: &Hub, token: &str) -> Self {
        let mut client = Self::open(&hub.url("/ws"), Some(token)).await.unwrap();
        assert_eq!(client.next().await["type"], "hello");
        client
    }

    /// Any session whose kernel buffers little, so that not reading is soon felt.
    pub async fn cramped(url: &str, token: &str) -> Self {
        Self::open_with(url, Some(token), Some(4_096)).await.unwrap()
    }

    /// A session of the tutorial's dialect.
    pub async fn plain(hub: &Hub, query: &str, token: &str) -> Self {
        Self::open(&hub.url(&format!("/ws/chat/?token={token}{query}")), None).await.unwrap()
    }

    pub async fn send(&mut self, frame: &Value) {
        self.send_raw(Message::text(frame.to_string())).await;
    }

    pub async fn send_raw(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    /// Sends, and does not mind a connection that is gone.
    pub async fn try_send(&mut self, frame: &Value) -> bool {
        self.socket.send(Message::text(frame.to_string())).await.is_ok()
    }

    /// The next frame, `None` where the socket has ended.
    pub async fn try_next(&mut self) -> Option<Value> {
        if let Some(frame) = self.frames.pop_front() {
            return Some(frame);
        }
        self.receive().await.ok()
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        match self.frames.pop_front() {
            Some(frame) => frame,
            None => self.receive().await.unwrap_or_else(|closed| panic!("the socket ended: {closed:?}")),
        }
    }

    /// The next frame that the hub sends, or how the socket ends.
    pub async fn receive(&mut self) -> Result<Value, Option<Closed>> {
        tokio::time::timeout(PATIENCE, self.next_frame()).await.expect("no frame came")
    }

    /// Heartbeats don't count.
    async fn next_frame(&mut self) -> Result<Value, Option<Closed>> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).expect("a frame that is not JSON");
                    if frame["type"] != "ping" {
                        return Ok(frame);
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(frame.map(closed)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(None),
            }
        }
    }

    /// The first frame that fits; those before it are kept.
    pub async fn until(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(place) = self.frames.iter().position(&fits) {
            return self.frames.remove(place).unwrap();
        }
        loop {
            let frame = self.receive().await.unwrap_or_else(|closed| panic!("the socket ended: {closed:?}"));
            if fits(&frame) {
                return frame;
            }
            self.frames.push_back(frame);
        }
    }

    /// Sends a command and gives its reply.
    pub async fn ask(&mut self, mut command: Value) -> Value {
        let id = json!(self.next_id);
        self.next_id += 1;
        command["id"] = id.clone();
        self.send(&command).await;
        self.until(|frame| frame["id"] == id).await
    }

    /// Joins, and gives the reply.
    pub async fn join(&mut self, room: &str) -> Value {
        let joined = self.ask(json!({"type": "join", "room": room})).await;
        assert_eq!(joined["type"], "ok", "{joined}");
        joined
    }

    /// Sends a message and gives the reply.
    pub async fn say(&mut self, room: &str, text: &str) -> Value {
        self.ask(json!({"type": "send", "room": room, "message": text})).await
    }

    /// The next message of any room.
    pub async fn message(&mut self) -> Value {
        let frame = self.until(|frame| frame["type"] == "message" || frame["type"] == "lagged").await;
        assert!(frame["reset"].is_null(), "P4: a reset instead of a message: {frame}");
        if frame["type"] == "message" { frame } else { Box::pin(self.message()).await }
    }

    /// How the socket ends, whatever comes before.
    pub async fn closed(&mut self) -> Option<Closed> {
        loop {
            match self.receive().await {
                Ok(frame) => self.frames.push_back(frame),
                Err(closed) => return closed,
            }
        }
    }

    /// Frames that came and were not asked for.
    pub fn kept(&self) -> impl Iterator<Item = &Value> {
        self.frames.iter()
    }

    /// Stops reading, or reads a byte every so often, until the hub has shut the connection; it must within this time. A
    /// kernel that gives up on a peer does not always say so: the hub's end of it is looked for.
    pub async fn until_shut(self, within: Duration, trickle: Option<Duration>) {
        let (mut stream, ends) = self.into_stream();
        let start = Instant::now();
        while connections().contains(&ends) {
            assert!(start.elapsed() < within, "P6: still connected after {within:?}");
            let mut byte = [0; 1];
            match trickle {
                Some(_) if stream.read(&mut byte).await.is_err() => {}
                Some(pause) => tokio::time::sleep(pause).await,
                None => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// The connection, which is not read any more, and its ports: the hub's and its own.
    pub fn into_stream(self) -> (TcpStream, (u16, u16)) {
        let stream = self.socket.into_inner();
        let ends = (stream.peer_addr().unwrap().port(), stream.local_addr().unwrap().port());
        (stream, ends)
    }

    /// Forgets the frames that came and were not asked for.
    pub fn forget(&mut self) {
        self.frames.clear();
    }

    /// Ends the connection without a word, as a lost network does.
    pub fn cut(self) {
        drop(self.socket);
    }
}

fn closed(frame: CloseFrame) -> Closed {
    Closed { code: frame.code.into(), reason: frame.reason.to_string() }
}

/// This machine's TCP connections that have not ended, by the ports from which and to which they are.
pub fn connections() -> HashSet<(u16, u16)> {
    const TIME_WAIT: &str = "06";
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let ends = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let mut port = || u16::from_str_radix(words.next()?.rsplit_once(':')?.1, 16).ok();
        let ends = (port()?, port()?);
        (words.next()? != TIME_WAIT).then_some(ends)
    };
    table.lines().skip(1).filter_map(ends).collect()
}
