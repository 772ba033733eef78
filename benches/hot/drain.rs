//! The clients' ends of a bench's sockets: a thread of its own reads them, over and over and without sleeping, since on loopback
//! whoever writes pays for waking the reader. Holds no more than one buffer; ends with the bench that it was made for.

use std::{
    io::{ErrorKind, Read},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The thread.
pub struct Drain {
    bytes: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    /// Reads these from now on.
    pub fn of(mut ends: Vec<TcpStream>) -> Self {
        let (bytes, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (sum, told) = (Arc::clone(&bytes), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            ends.iter().for_each(|end| end.set_nonblocking(true).unwrap());
            while !told.load(Ordering::Relaxed) {
                for end in &mut ends {
                    match end.read(&mut buffer) {
                        Ok(read) => drop(sum.fetch_add(u64::try_from(read).unwrap(), Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "a member's socket: {error}"),
                    }
                }
            }
        });
        Self { bytes, over, thread: Some(thread) }
    }

    /// Waits until so many bytes came in all; more are not to come.
    pub fn expect(&self, bytes: u64) {
        let patience = Instant::now() + Duration::from_secs(60);
        while self.bytes.load(Ordering::Relaxed) < bytes && Instant::now() < patience {
            thread::yield_now();
        }
        assert_eq!(self.bytes.load(Ordering::Relaxed), bytes, "bytes that came to members");
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}
