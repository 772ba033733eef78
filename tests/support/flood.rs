//! A client that sends as fast as the hub takes it, until it is closed.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::support::raw::Raw;

/// A hub that has not closed by then does not.
const GIVEN_UP: Duration = Duration::from_secs(10);

/// Sends these bytes again and again on a new WebSocket until the hub takes no more; gives the code with which it closed, and
/// after how long.
pub async fn flood(address: SocketAddr, path: &str, head: &[String], bytes: &[u8]) -> (Option<u16>, Duration) {
    let mut raw = Raw::open(address, path, head, None).await;
    let start = Instant::now();
    let (reading, mut writing) = raw.stream.split();
    // It reads too, or it would be stopped by its own full socket; but not what it reads.
    let writing = async {
        while writing.write_all(bytes).await.is_ok() {}
        std::future::pending::<()>().await;
    };
    let reading = last_close_code(reading);
    let code = timeout(GIVEN_UP, async {
        tokio::select! { code = reading => code, () = writing => None }
    });
    let code = code.await.unwrap_or_else(|_| panic!("P6: an attacker is still there after {:?}", start.elapsed()));
    (code, start.elapsed())
}

/// Reads to the end of the connection, and gives the code of the close frame that is the last thing to come.
async fn last_close_code(mut reading: impl AsyncReadExt + Unpin) -> Option<u16> {
    let (mut tail, mut bytes) = (Vec::new(), vec![0; 16_384]);
    loop {
        match reading.read(&mut bytes).await {
            Ok(0) | Err(_) => break,
            Ok(count) => tail.extend(&bytes[..count]),
        }
        let keep = tail.len().saturating_sub(200);
        tail.drain(..keep);
    }
    let at = tail.iter().rposition(|byte| *byte == 0x88)?;
    Some(u16::from_be_bytes(tail.get(at + 2..at + 4)?.try_into().unwrap()))
}
