//! The history: everything that writers, members and the nemesis did and saw, in the order in which it happened, in memory
//! for the verdict and as NDJSON for people. One clock for all: microseconds since the run began. It grows with the run, which
//! is short.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::Serialize;

/// Jepsen's four: begun, done, known not to be done, and anything else that is worth a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Invoke,
    Ok,
    Fail,
    Info,
}

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Op {
    /// A writer's message: each try begins, ends in an ack (ok), a refusal for good (fail) or doubt (info).
    Send,
    /// A member was sent an event.
    See,
    /// A member's connection stands in its room (ok; `seq` is the cursor that it named), or it did not come to that (fail).
    Join,
    /// The hub could not serve the cursor; `seq` is the head from which the member goes on.
    Reset,
    /// A connection ended that should have gone on.
    Lost,
    /// A client closed its connection in order to go elsewhere.
    Move,
    /// The nemesis does harm.
    Fault,
    /// The nemesis makes it good.
    Heal,
    /// The run's own progress.
    Phase,
}

#[derive(Clone, Debug, Serialize)]
pub struct Event {
    pub t_us: u64,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Who: a writer or a member, which keeps its name over connections, or the nemesis.
    pub proc: Arc<str>,
    pub op: Op,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<i64>,
    /// The node of the connection, where a client knows it: those behind the balancer don't.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conn: Option<u64>,
    /// When the message was to be sent, whatever held it up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub due_us: Option<u64>,
    /// The code of a refusal or of a close frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Arc<str>>,
}

impl Event {
    pub fn new(proc: &Arc<str>, kind: Kind, op: Op) -> Self {
        Self {
            t_us: 0,
            kind,
            proc: Arc::clone(proc),
            op,
            room: None,
            client_id: None,
            value: None,
            seq: None,
            node: None,
            conn: None,
            due_us: None,
            code: None,
        }
    }

    pub fn room(mut self, room: &Arc<str>) -> Self {
        self.room = Some(Arc::clone(room));
        self
    }

    /// A message's text, which is its `client_id` too.
    pub fn value(mut self, value: &Arc<str>) -> Self {
        (self.value, self.client_id) = (Some(Arc::clone(value)), Some(Arc::clone(value)));
        self
    }

    pub fn seq(mut self, seq: i64) -> Self {
        self.seq = Some(seq);
        self
    }

    pub fn over(mut self, conn: u64, node: Option<usize>) -> Self {
        (self.conn, self.node) = (Some(conn), node);
        self
    }

    pub fn due(mut self, due_us: u64) -> Self {
        self.due_us = Some(due_us);
        self
    }

    pub fn code(mut self, code: &str) -> Self {
        self.code = Some(code.into());
        self
    }
}

/// Where everybody writes what they did. Clones are one.
#[derive(Clone)]
pub struct Recorder {
    zero: Instant,
    kept: Arc<Mutex<Kept>>,
}

struct Kept {
    events: Vec<Event>,
    file: Option<BufWriter<File>>,
}

impl Recorder {
    /// Into this file, made anew, beside memory.
    pub fn new(file: &Path) -> Self {
        let file = File::create(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self::with(Some(BufWriter::new(file)))
    }

    /// In memory alone.
    pub fn made_up() -> Self {
        Self::with(None)
    }

    fn with(file: Option<BufWriter<File>>) -> Self {
        Self { zero: Instant::now(), kept: Arc::new(Mutex::new(Kept { events: Vec::new(), file })) }
    }

    /// Microseconds since the run began.
    pub fn micros(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.zero).as_micros()).unwrap()
    }

    /// An event of now: the time is taken under the lock, so that the file's order is the clock's.
    pub fn record(&self, event: Event) {
        let mut kept = self.kept();
        let now = self.micros(Instant::now());
        kept.push(Event { t_us: now, ..event });
    }

    /// An event of a time that the caller says.
    pub fn record_at(&self, t_us: u64, event: Event) {
        self.kept().push(Event { t_us, ..event });
    }

    /// All that was recorded, with the file written out.
    pub fn take(&self) -> Vec<Event> {
        let mut kept = self.kept();
        if let Some(file) = &mut kept.file {
            file.flush().unwrap();
        }
        std::mem::take(&mut kept.events)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn push(&mut self, event: Event) {
        if let Some(file) = &mut self.file {
            serde_json::to_writer(&mut *file, &event).unwrap();
            file.write_all(b"\n").unwrap();
        }
        self.events.push(event);
    }
}
