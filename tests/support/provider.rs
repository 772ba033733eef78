//! An HTTP server of the tests' own, such as an identity provider's: answers by a script that may change, and counts who
//! comes.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// What is done with a connection whose request has been read.
pub type Script = Arc<dyn Fn(&mut TcpStream) + Send + Sync>;

pub struct Provider {
    pub address: SocketAddr,
    came: Arc<AtomicUsize>,
    script: Arc<Mutex<Script>>,
    stopped: Arc<AtomicBool>,
}

impl Provider {
    /// On a free port.
    pub fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script)
    }

    pub fn start_at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (came, script, stopped) = (Arc::default(), Arc::new(Mutex::new(script)), Arc::default());
        let provider = Self { address, came, script, stopped };
        let (came, script, stopped) =
            (Arc::clone(&provider.came), Arc::clone(&provider.script), Arc::clone(&provider.stopped));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                came.fetch_add(1, Ordering::SeqCst);
                let script = Arc::clone(&script.lock().unwrap());
                thread::spawn(move || {
                    read_request(&mut stream);
                    script(&mut stream);
                    drop(stream.shutdown(Shutdown::Write));
                });
            }
        });
        provider
    }

    /// Where nobody should ever come; whoever does gets 404.
    pub fn trap() -> Self {
        Self::start(Self::answer("404 Not Found", "", ""))
    }

    /// An answer with these other header lines, each with its end.
    pub fn answer(status: &str, headers: &str, body: &str) -> Script {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}");
        // Whoever asks may have heard enough before the end.
        Arc::new(move |stream| drop(stream.write_all(text.as_bytes())))
    }

    /// From now on it answers so.
    pub fn says(&self, script: Script) {
        *self.script.lock().unwrap() = script;
    }

    /// How many connections came so far.
    pub fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// From now on nothing listens.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The listener's thread waits for one more.
        drop(TcpStream::connect(self.address));
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }
}

fn read_request(stream: &mut TcpStream) {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
}
