//! A TCP proxy that is slow, or stands still: what is between a hub and its database on a bad day. This kernel's own means
//! for it (netem) are not everywhere. Order is kept in each direction; what waits is bounded by the chunks on their way.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    time::sleep_until,
};

/// Chunks of a direction that are on their way.
const UNDER_WAY: usize = 1_024;

/// What the way is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Clear,
    /// So long in each direction, and up to so much longer.
    Slow(Duration, Duration),
    /// Nothing moves, and nobody is told.
    Still,
}

pub struct Proxy {
    pub address: SocketAddr,
    way: watch::Sender<Way>,
}

impl Proxy {
    /// In front of a port of this machine's.
    pub async fn before(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, way) = (listener.local_addr().unwrap(), watch::Sender::new(Way::Clear));
        let its = Arc::new(way.subscribe());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let way = Arc::clone(&its);
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    drop((client.set_nodelay(true), server.set_nodelay(true)));
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    let up = carry(from_client, to_server, (*way).clone());
                    let down = carry(from_server, to_client, (*way).clone());
                    tokio::join!(up, down);
                });
            }
        });
        Self { address, way }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, way: watch::Receiver<Way>) {
    let (give, mut take) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let mut its = way.clone();
    let reading = async move {
        let mut buffer = vec![0; 16_384];
        while let Ok(read @ 1..) = from.read(&mut buffer).await {
            let late = match *way.borrow() {
                Way::Slow(time, more) => time + more.mul_f64(rand::rng().random()),
                Way::Clear | Way::Still => Duration::ZERO,
            };
            if give.send((Instant::now() + late, buffer[..read].to_vec())).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        while let Some((due, chunk)) = take.recv().await {
            sleep_until(due.into()).await;
            if its.wait_for(|way| *way != Way::Still).await.is_err() || to.write_all(&chunk).await.is_err() {
                return;
            }
        }
        // The other side has ended.
        drop(to.shutdown().await);
    };
    tokio::join!(reading, writing);
}
