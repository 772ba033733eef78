//! A TCP proxy that loses answers: what the client asked arrives and is done, and the connection ends before it is told.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

pub struct Proxy {
    pub address: SocketAddr,
    cutting: Arc<AtomicBool>,
    cut: Arc<AtomicUsize>,
}

impl Proxy {
    /// In front of this port of the machine's own.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cutting, cut) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (flag, count) = (Arc::clone(&cutting), Arc::clone(&cut));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(carry(client, port, Arc::clone(&flag), Arc::clone(&count)));
            }
        });
        Self { address, cutting, cut }
    }

    /// From now on each answer ends its connection, or no longer.
    pub fn cut(&self, on: bool) {
        self.cutting.store(on, Ordering::Relaxed);
    }

    /// How many answers were lost so far.
    pub fn lost(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}

async fn carry(client: TcpStream, port: u16, cutting: Arc<AtomicBool>, cut: Arc<AtomicUsize>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let asking = tokio::spawn(async move { copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 65_536];
    while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
        if cutting.load(Ordering::Relaxed) {
            cut.fetch_add(1, Ordering::Relaxed);
            break;
        }
        if to_client.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
    asking.abort();
}
