//! Redis servers of the tests' own, on free ports, so that they can be killed, emptied and paused; a raw connection to one,
//! as somebody has who got into it; and a proxy before one that loses what it should bring. They end with the test
//! process, however that ends.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock, Mutex, MutexGuard},
    time::Instant,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

use super::PATIENCE;

/// Runs the server, and ends it when the test process is gone, which closes the pipe.
const WATCH: &str = r#"exec 3>&1 >>log 2>&1; "$@" 3>&- & server=$!; echo $server >&3; exec 3>&-
cat >/dev/null; kill -KILL $server; wait $server"#;

static SHARED: LazyLock<Redis> = LazyLock::new(|| Redis::start(&[]));

/// One server, or one sentinel.
pub struct Redis {
    folder: TempDir,
    port: u16,
    words: Vec<String>,
    watch: Child,
    pid: String,
}

/// A port that nobody has.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Redis {
    /// One that no test harms.
    pub fn shared() -> &'static Self {
        &SHARED
    }

    /// A server with these arguments beside its port.
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), free_port(), arguments)
    }

    /// A server in a folder that holds what its arguments name.
    pub fn start_in(folder: TempDir, port: u16, arguments: &[&str]) -> Self {
        let own = port.to_string();
        let base = ["redis-server", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &own];
        let words = base.iter().chain(arguments).map(|word| (*word).to_owned()).collect();
        Self::run(folder, port, words)
    }

    /// A sentinel that watches over this master by itself.
    pub fn sentinel(name: &str, master: u16) -> Self {
        let (folder, port) = (TempDir::new().unwrap(), free_port());
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor {name} 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds {name} 700\nsentinel failover-timeout {name} 4000\n"
        );
        fs::write(folder.path().join("sentinel.conf"), config).unwrap();
        Self::run(folder, port, vec!["redis-sentinel".into(), "sentinel.conf".into()])
    }

    fn run(folder: TempDir, port: u16, words: Vec<String>) -> Self {
        let (watch, pid) = serve(folder.path(), &words);
        let server = Self { folder, port, words, watch, pid };
        server.wait_until_it_listens();
        server
    }

    fn wait_until_it_listens(&self) {
        let (start, address) = (Instant::now(), SocketAddr::from(([127, 0, 0, 1], self.listens())));
        while std::net::TcpStream::connect(address).is_err() {
            assert!(start.elapsed() < PATIENCE, "Redis does not start:\n{}", self.log());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }

    /// The port that takes connections: that of TLS where there is one.
    fn listens(&self) -> u16 {
        let after = |name: &str| self.words.iter().position(|word| word == name).map(|place| &self.words[place + 1]);
        after("--tls-port").map_or(self.port, |port| port.parse().unwrap())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Runs a command by redis-cli; gives what it prints.
    pub fn command(&self, words: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(words).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.pid]).status().unwrap().success());
    }

    /// It stands still, and its connections stay open.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    pub fn go_on(&self) {
        self.signal("CONT");
    }

    /// SIGKILL; what it had is lost.
    pub fn kill(&mut self) {
        drop(self.watch.stdin.take());
        drop(self.watch.wait());
    }

    /// It again, empty, on the same port.
    pub fn start_again(&mut self) {
        (self.watch, self.pid) = serve(self.folder.path(), &self.words);
        self.wait_until_it_listens();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- Redis' log ---\n{}", self.log());
        }
        self.kill();
    }
}

fn serve(folder: &Path, words: &[String]) -> (Child, String) {
    let mut command = Command::new("sh");
    command.args(["-c", WATCH, "sh"]).args(words).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut watch = command.spawn().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(watch.stdout.take().unwrap()), &mut line).unwrap();
    (watch, line.trim().to_owned())
}

/// What Redis sent: a line, a text, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resp {
    Line(String),
    Text(Vec<u8>),
    List(Vec<Resp>),
}

impl Resp {
    /// The bytes of a list's element.
    pub fn at(&self, place: usize) -> &[u8] {
        match self {
            Self::List(list) => match &list[place] {
                Self::Text(text) => text,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
}

/// A connection of somebody who knows the protocol, and no more.
pub struct Raw {
    from: BufReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
}

impl Raw {
    pub async fn open(port: u16) -> Self {
        let (from, to) = TcpStream::connect(("127.0.0.1", port)).await.unwrap().into_split();
        Self { from: BufReader::new(from), to }
    }

    /// Gives a command, and waits for no answer.
    pub async fn give(&mut self, words: &[&[u8]]) {
        self.to.write_all(&command(words)).await.unwrap();
    }

    pub async fn ask(&mut self, words: &[&[u8]]) -> Resp {
        self.give(words).await;
        self.next().await
    }

    /// What Redis sends next.
    pub async fn next(&mut self) -> Resp {
        let read = read_value(&mut self.from);
        tokio::time::timeout(PATIENCE, read).await.expect("nothing came from Redis").expect("Redis is gone").0
    }

    /// The same, however long that takes; none where Redis is gone.
    pub async fn heard(&mut self) -> Option<Resp> {
        Some(read_value(&mut self.from).await?.0)
    }
}

fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).into_bytes());
        bytes.extend(*word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// One value with its bytes; `None` where the connection has ended.
async fn read_value(from: &mut BufReader<OwnedReadHalf>) -> Option<(Resp, Vec<u8>)> {
    use tokio::io::AsyncBufReadExt as _;
    let mut bytes = Vec::new();
    if from.read_until(b'\n', &mut bytes).await.ok()? == 0 {
        return None;
    }
    let line = String::from_utf8_lossy(bytes.get(1..)?).trim().to_owned();
    match *bytes.first()? {
        b'$' if line != "-1" => {
            let length: usize = line.parse().ok()?;
            let mut text = vec![0; length + 2];
            from.read_exact(&mut text).await.ok()?;
            bytes.extend(&text);
            text.truncate(length);
            Some((Resp::Text(text), bytes))
        }
        b'*' => {
            let mut list = Vec::new();
            for _ in 0..line.parse::<usize>().ok()? {
                let (value, its) = Box::pin(read_value(from)).await?;
                list.push(value);
                bytes.extend(its);
            }
            Some((Resp::List(list), bytes))
        }
        _ => Some((Resp::Line(line), bytes)),
    }
}

/// What a [`Lossy`] proxy is to do.
#[derive(Default)]
struct Orders {
    /// Messages of this channel don't arrive.
    swallowed: Option<Vec<u8>>,
    /// This is said to Redis on every connection that listens, as if the hub did; the answer is kept from the hub.
    slipped: Option<Vec<u8>>,
    lost: usize,
}

/// A proxy before Redis that loses messages, or subscriptions.
pub struct Lossy {
    pub port: u16,
    orders: Arc<Mutex<Orders>>,
    slip: Arc<tokio::sync::Notify>,
}

impl Lossy {
    pub async fn before(port: u16) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (own, orders) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Orders::default())));
        let slip = Arc::new(tokio::sync::Notify::new());
        let (its, its_slip) = (Arc::clone(&orders), Arc::clone(&slip));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, Arc::clone(&its), Arc::clone(&its_slip)));
            }
        });
        Self { port: own, orders, slip }
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on messages of this channel are lost, or of none.
    pub fn swallow(&self, channel: Option<&str>) {
        lock(&self.orders).swallowed = channel.map(|channel| channel.as_bytes().to_vec());
    }

    /// Messages that were lost.
    pub fn lost(&self) -> usize {
        lock(&self.orders).lost
    }

    /// Redis drops the subscription to this channel of everybody behind the proxy, who are not told.
    pub fn unsubscribe(&self, channel: &str) {
        lock(&self.orders).slipped = Some(channel.as_bytes().to_vec());
        self.slip.notify_waiters();
    }
}

async fn carry(client: TcpStream, port: u16, orders: Arc<Mutex<Orders>>, slip: Arc<tokio::sync::Notify>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let ((mut from_client, mut to_client), (from_server, mut to_server)) = (client.into_split(), server.into_split());
    let (listens, its) = (Arc::new(Mutex::new(false)), Arc::clone(&orders));
    let its_listens = Arc::clone(&listens);
    let asking = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        loop {
            tokio::select! {
                read = from_client.read(&mut buffer) => {
                    let Ok(read @ 1..) = read else { return };
                    if to_server.write_all(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                () = slip.notified() => {
                    let slipped = lock(&its).slipped.clone().filter(|_| *lock(&its_listens));
                    if let Some(channel) = slipped {
                        to_server.write_all(&command(&[b"UNSUBSCRIBE", &channel])).await.ok();
                    }
                }
            }
        }
    });
    let mut from_server = BufReader::new(from_server);
    while let Some((value, bytes)) = read_value(&mut from_server).await {
        if let Resp::List(list) = &value
            && let [Resp::Text(kind), Resp::Text(channel), _] = list.as_slice()
        {
            *lock(&listens) = true;
            let mut orders = lock(&orders);
            if kind == b"message" && orders.swallowed.as_ref() == Some(channel) {
                orders.lost += 1;
                continue;
            }
            if kind == b"unsubscribe" && orders.slipped.take_if(|slipped| slipped == channel).is_some() {
                continue;
            }
        }
        if to_client.write_all(&bytes).await.is_err() {
            break;
        }
    }
    asking.abort();
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
