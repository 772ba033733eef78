//! How clients reach the cluster: WebSockets through the balancer over TLS, trusting the cluster's own authority alone, or
//! straight to a node; HTTP through the balancer; tokens; and how long to wait before coming back.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{timeout, timeout_at},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::support;

/// An opening that takes longer has failed.
const OPENING: Duration = Duration::from_secs(5);
/// After this silence a client asks whether the hub is there, and after that much more it goes elsewhere.
const QUIET: Duration = Duration::from_secs(2);
const DEAF: Duration = Duration::from_secs(3);
/// Coming back: a random time up to the first, then up to twice that, and so on up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LAST_PAUSE: Duration = Duration::from_secs(4);

/// Where a client goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Balancer,
    /// From 0.
    Node(usize),
}

/// The addresses of a cluster.
pub struct Network {
    balancer: SocketAddr,
    nodes: Vec<SocketAddr>,
    tls: TlsConnector,
    agent: ureq::Agent,
    key: EncodingKey,
    conns: AtomicU64,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A native session that has said hello.
pub struct Socket {
    socket: WebSocketStream<Box<dyn Stream>>,
    pub conn: u64,
    pub node: Option<usize>,
    heard: Instant,
    asked: bool,
    come_back: Duration,
}

/// Why there is no connection, or none any more.
#[derive(Debug)]
pub struct Ended {
    /// A close code, or a word.
    pub code: String,
    /// What the hub asked to wait.
    pub after: Option<Duration>,
}

impl Ended {
    fn by(code: impl ToString) -> Self {
        Self { code: code.to_string(), after: None }
    }
}

impl Network {
    pub fn new(balancer: u16, nodes: &[u16], authority: &Path, secret: &str) -> Self {
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let pem = std::fs::read(authority).unwrap_or_else(|error| panic!("{}: {error}", authority.display()));
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let roots = RootCerts::from(vec![Certificate::from_pem(&pem).unwrap()]);
        let agent = ureq::Agent::config_builder()
            .tls_config(TlsConfig::builder().root_certs(roots).build())
            .http_status_as_error(false)
            .timeout_global(Some(OPENING))
            .build();
        Self {
            balancer: at(balancer),
            nodes: nodes.iter().map(|port| at(*port)).collect(),
            tls: TlsConnector::from(Arc::new(config)),
            agent: agent.into(),
            key: EncodingKey::from_secret(secret.as_bytes()),
            conns: AtomicU64::new(1),
        }
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// An access token of two hours.
    pub fn token(&self, user: &str) -> String {
        let claims = json!({"token_type": "access", "user_id": user, "username": user,
                            "exp": support::now() + 7_200, "jti": support::unique()});
        jsonwebtoken::encode(&Header::default(), &claims, &self.key).unwrap()
    }

    pub async fn open(&self, route: Route, token: &str) -> Result<Socket, Ended> {
        timeout(OPENING, self.open_now(route, token)).await.unwrap_or_else(|_| Err(Ended::by("opening")))
    }

    async fn open_now(&self, route: Route, token: &str) -> Result<Socket, Ended> {
        let (address, node) = match route {
            Route::Balancer => (self.balancer, None),
            Route::Node(node) => (self.nodes[node], Some(node + 1)),
        };
        let stream = TcpStream::connect(address).await.map_err(|error| Ended::by(error.kind()))?;
        stream.set_nodelay(true).map_err(|error| Ended::by(error.kind()))?;
        let (scheme, stream): (_, Box<dyn Stream>) = if node.is_some() {
            ("ws", Box::new(stream))
        } else {
            let name = ServerName::try_from("localhost").unwrap();
            let stream = self.tls.connect(name, stream).await.map_err(|error| {
                let is_tls = error
                    .get_ref()
                    .is_some_and(<dyn std::error::Error + Send + Sync>::is::<tokio_rustls::rustls::Error>);
                assert!(!is_tls, "the balancer's certificate: {error}");
                Ended::by(error.kind())
            })?;
            ("wss", Box::new(stream))
        };
        let url = format!("{scheme}://localhost:{}/ws", address.port());
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = client_async(request, stream).await.map_err(|error| match error {
            Error::Http(answer) => {
                let after = answer.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
                Ended { code: answer.status().as_u16().to_string(), after: after.map(Duration::from_secs) }
            }
            other => Ended::by(other),
        })?;
        let conn = self.conns.fetch_add(1, Ordering::Relaxed);
        let (heard, come_back) = (Instant::now(), Duration::ZERO);
        let mut socket = Socket { socket, conn, node, heard, asked: false, come_back };
        let hello = socket.receive().await?;
        if hello["type"] == "hello" { Ok(socket) } else { Err(Ended::by(hello)) }
    }

    /// A message over HTTP: status and body, or why there is no answer. Blocks.
    pub fn post(&self, room: &str, token: &str, body: &Value) -> Result<(u16, Value), String> {
        let url = format!("https://localhost:{}/api/rooms/{room}/messages", self.balancer.port());
        let request = self.agent.post(url).header("Authorization", format!("Bearer {token}"));
        let request = request.header("Content-Type", "application/json");
        let mut answer = request.send(body.to_string()).map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        Ok((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or(Value::String(text))))
    }

    /// What one node answers to a GET: status and body, or why there is no answer. Blocks.
    pub fn get(&self, node: usize, path: &str, token: &str) -> Result<(u16, String), String> {
        let request = self.agent.get(format!("http://{}{path}", self.nodes[node]));
        let answer = request.header("Authorization", format!("Bearer {token}")).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        Ok((answer.status().as_u16(), answer.body_mut().read_to_string().map_err(|error| error.to_string())?))
    }

    /// Whether this node says that it is ready. Blocks.
    pub fn is_ready(&self, node: usize) -> bool {
        self.get(node, "/health/ready", "").is_ok_and(|(status, _)| status == 200)
    }

    /// Whether it is, and nothing works less well than it should, such as its Redis. Blocks.
    pub fn is_well(&self, node: usize) -> bool {
        let answer = self.get(node, "/health/ready", "");
        let body: Value = answer.map_or(Value::Null, |(_, body)| serde_json::from_str(&body).unwrap_or_default());
        body["status"] == "ready" && body["degraded"] == json!([])
    }

    pub fn node(&self, node: usize) -> SocketAddr {
        self.nodes[node]
    }
}

impl Socket {
    pub async fn send(&mut self, frame: &Value) -> Result<(), Ended> {
        let sending = self.socket.send(Message::text(frame.to_string()));
        match timeout(DEAF, sending).await {
            Ok(sent) => sent.map_err(Ended::by),
            Err(_) => Err(Ended::by("deaf")),
        }
    }

    /// The next frame but heartbeats. A hub that is silent is asked, and given up. May be dropped while it waits.
    pub async fn receive(&mut self) -> Result<Value, Ended> {
        loop {
            let until = self.heard + if self.asked { QUIET + DEAF } else { QUIET };
            let Ok(came) = timeout_at(until.into(), self.socket.next()).await else {
                if self.asked {
                    return Err(Ended::by("silent"));
                }
                self.asked = true;
                self.send(&json!({"type": "ping"})).await?;
                continue;
            };
            (self.heard, self.asked) = (Instant::now(), false);
            match came {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).expect("a frame that is not JSON");
                    match frame["type"].as_str() {
                        Some("ping" | "pong") => {}
                        Some("bye") => {
                            self.come_back = Duration::from_millis(frame["after_ms"].as_u64().unwrap_or_default());
                        }
                        _ => return Ok(frame),
                    }
                }
                Some(Ok(Message::Close(frame))) => return Err(self.closed(frame.map(|frame| frame.code.into()))),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(self.closed(None)),
            }
        }
    }

    /// The reply to the command with this id; nothing may come before it.
    pub async fn reply(&mut self, id: &Value) -> Result<Value, Ended> {
        let reply = timeout(OPENING, self.receive()).await.unwrap_or_else(|_| Err(Ended::by("no reply")))?;
        assert_eq!(reply["id"], *id, "not the reply that was due: {reply}");
        Ok(reply)
    }

    fn closed(&self, code: Option<u16>) -> Ended {
        let Some(code) = code else { return Ended::by(1006) };
        let come_back = matches!(code, 4000..=4099 | 1001 | 1006 | 1011 | 1012 | 1013);
        assert!(come_back, "the hub closed with {code}, which no client of this run deserves");
        Ended { code: code.to_string(), after: (code == 4000).then_some(self.come_back) }
    }

    /// Ends the connection as a client does that wants to.
    pub async fn close(mut self) {
        drop(timeout(Duration::from_millis(500), self.socket.close(None)).await);
    }
}

/// Full jitter, or what the hub asked for.
pub fn pause(tries: u32, after: Option<Duration>) -> Duration {
    let most = FIRST_PAUSE.saturating_mul(1 << tries.min(8)).min(LAST_PAUSE);
    after.unwrap_or_else(|| most.mul_f64(rand::random()))
}
