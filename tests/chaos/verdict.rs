//! The verdict: a history held against the database. Each anomaly bears Jepsen's name where it has one, a count and a few
//! examples. Pure, and linear in what was sent and seen.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::history::{Event, Kind, Op};

/// A message as the database has it.
#[derive(Clone)]
pub struct Message {
    pub seq: i64,
    pub user: String,
    pub content: String,
}

/// A room's name and its messages, in the order of their numbers.
pub type Stored = BTreeMap<String, Vec<Message>>;

/// Every anomaly that is looked for, with the promise that it breaks.
pub const ANOMALIES: &[(&str, &str)] = &[
    ("lost-prefix", "P1 P4: acked, and missing before the first that is there"),
    ("lost-middle", "P1 P4: acked, and missing between others that are there"),
    ("lost-tail", "P1 P4: acked, and missing after the last that is there"),
    ("duplicate", "P2: one value at two numbers, or twice to one member"),
    ("inconsistent-offsets", "P3: two values at one number, or another number than the ack's"),
    ("hole", "P3: a number that the database has not"),
    ("nonmonotonic", "P3: to a member a lower number after a higher one"),
    ("skip", "P4: to a member a number that does not follow its cursor"),
    ("phantom", "P12: nobody sent it so, or it was refused for good"),
    ("unseen", "P4: in the database, and no member ever had it"),
    ("nonmonotonic-send", "P3: sent after the ack of another one of its writer, numbered before it"),
    ("reordered-send", "P3: sent on one connection one after the other, numbered the other way round"),
    ("reset", "P4: a cursor was not served that was near enough"),
    ("acked-then-refused", "P2: one try was acked, another one refused for good"),
    ("never-acked", "P9: tried again and again after all was healed, in vain"),
];

/// A member that is further behind may be told to page the history (`limits.replay_join`).
const NEAR_ENOUGH: i64 = 500;

/// How many examples of each are kept.
const EXAMPLES: usize = 5;

#[derive(Default)]
pub struct Finding {
    pub count: usize,
    pub examples: Vec<String>,
}

/// What was found, by the anomaly's name. Empty is good.
#[derive(Default)]
pub struct Verdict {
    pub found: BTreeMap<&'static str, Finding>,
    pub attempted: usize,
    pub acked: usize,
    pub stored: usize,
    pub seen: usize,
    pub members: usize,
    /// Resets of members that were too far behind, which is as it should be.
    pub too_far_behind: usize,
}

impl Verdict {
    fn add(&mut self, name: &'static str, example: impl FnOnce() -> String) {
        debug_assert!(ANOMALIES.iter().any(|(known, _)| *known == name), "{name}");
        let finding = self.found.entry(name).or_default();
        finding.count += 1;
        if finding.examples.len() < EXAMPLES {
            finding.examples.push(example());
        }
    }
}

/// What became of one value.
struct Attempt<'a> {
    writer: &'a str,
    room: &'a str,
    tries: usize,
    /// The highest number of its writer that was acked before it was first sent.
    floor: i64,
    ack: Option<i64>,
    refused: Option<&'a str>,
}

/// What one member was sent.
#[derive(Default)]
struct Member<'a> {
    room: &'a str,
    /// Where it first came in.
    start: i64,
    cursor: i64,
    first: Option<i64>,
    values: HashSet<&'a str>,
    /// What resets left out that were in order: after the first, up to the second.
    left_out: Vec<(i64, i64)>,
}

#[derive(Default)]
struct Seen<'a> {
    attempts: HashMap<&'a str, Attempt<'a>>,
    highest: HashMap<&'a str, i64>,
    members: BTreeMap<&'a str, Member<'a>>,
    at: HashMap<(&'a str, i64), &'a str>,
    number: HashMap<&'a str, i64>,
    /// Values in the order of their first try, by connection.
    lines: BTreeMap<u64, Vec<&'a str>>,
}

/// Judges a run; `stored` has the rooms of this run.
pub fn judge(events: &[Event], stored: &Stored) -> Verdict {
    let (mut verdict, mut seen) = (Verdict::default(), Seen::default());
    for event in events {
        match event.op {
            Op::Send => seen.send(event, &mut verdict),
            Op::Join | Op::Reset | Op::See => seen.member(event, &mut verdict),
            Op::Lost | Op::Move | Op::Fault | Op::Heal | Op::Phase => {}
        }
    }
    seen.against(stored, &mut verdict);
    seen.lines(&mut verdict);
    verdict.attempted = seen.attempts.len();
    verdict.acked = seen.attempts.values().filter(|attempt| attempt.ack.is_some()).count();
    verdict.stored = stored.values().map(Vec::len).sum();
    verdict.members = seen.members.len();
    verdict
}

impl<'a> Seen<'a> {
    fn send(&mut self, event: &'a Event, verdict: &mut Verdict) {
        let (Some(value), Some(room)) = (event.value.as_deref(), event.room.as_deref()) else { return };
        let writer = &*event.proc;
        let highest = self.highest.entry(writer).or_default();
        let attempt = self.attempts.entry(value).or_insert_with(|| Attempt {
            writer,
            room,
            tries: 0,
            floor: *highest,
            ack: None,
            refused: None,
        });
        match (event.kind, event.seq) {
            (Kind::Invoke, _) => {
                attempt.tries += 1;
                if let (1, Some(conn)) = (attempt.tries, event.conn) {
                    self.lines.entry(conn).or_default().push(value);
                }
            }
            (Kind::Ok, Some(seq)) => {
                if let Some(before) = attempt.ack.filter(|before| *before != seq) {
                    verdict.add("duplicate", || format!("{value} acked as {before} and as {seq}"));
                } else if attempt.ack.is_none() && seq <= attempt.floor {
                    verdict.add("nonmonotonic-send", || {
                        format!("{value} got {seq}, sent after its writer had the ack of {}", attempt.floor)
                    });
                }
                if let Some(code) = attempt.refused {
                    verdict.add("acked-then-refused", || format!("{value} refused as {code}, acked as {seq}"));
                }
                attempt.ack.get_or_insert(seq);
                *highest = seq.max(*highest);
            }
            (Kind::Fail, _) => {
                let code = event.code.as_deref().unwrap_or("?");
                attempt.refused = Some(code);
                if let Some(seq) = attempt.ack {
                    verdict.add("acked-then-refused", || format!("{value} acked as {seq}, then refused as {code}"));
                }
            }
            (Kind::Ok | Kind::Info, _) => {}
        }
    }

    fn member(&mut self, event: &'a Event, verdict: &mut Verdict) {
        let (Some(room), Some(seq)) = (event.room.as_deref(), event.seq) else { return };
        let who = &*event.proc;
        let member = self.members.entry(who).or_insert_with(|| Member { room, start: seq, ..Member::default() });
        if event.op != Op::See {
            if event.op == Op::Reset && seq > member.cursor + NEAR_ENOUGH {
                member.left_out.push((member.cursor, seq));
                verdict.too_far_behind += 1;
            } else if event.op == Op::Reset {
                verdict.add("reset", || format!("{who} stood at {}, and the head was {seq}", member.cursor));
            }
            member.cursor = seq;
            return;
        }
        verdict.seen += 1;
        let value = event.value.as_deref().unwrap_or_default();
        let (cursor, conn) = (member.cursor, event.conn.unwrap_or_default());
        let again = !member.values.insert(value);
        if again {
            verdict.add("duplicate", || format!("{who} was sent {value} again, as {seq} on connection {conn}"));
        } else if seq <= cursor {
            verdict.add("nonmonotonic", || format!("{who} was sent {seq} after {cursor} on connection {conn}"));
        } else if seq > cursor + 1 {
            verdict.add("skip", || format!("{who} was sent {seq} after {cursor} on connection {conn}"));
        }
        member.cursor = cursor.max(seq);
        member.first.get_or_insert(seq);
        let there = *self.at.entry((room, seq)).or_insert(value);
        let number = *self.number.entry(value).or_insert(seq);
        if self.attempts.get(value).is_none_or(|attempt| attempt.room != room) {
            verdict.add("phantom", || format!("{who} was sent {value:?} as {seq} of {room}"));
        }
        if there != value {
            verdict.add("inconsistent-offsets", || format!("{who} was sent {value} as {seq}, another one {there}"));
        } else if number != seq {
            verdict.add("duplicate", || format!("{who} was sent {value} as {seq}, another one as {number}"));
        }
    }

    /// The database against what was sent, acked and seen.
    fn against(&self, stored: &Stored, verdict: &mut Verdict) {
        let mut numbers: HashMap<&str, i64> = HashMap::new();
        let mut ends: HashMap<&str, (i64, i64)> = HashMap::new();
        for (room, messages) in stored {
            let mut last = 0;
            for message in messages {
                let (value, seq) = (message.content.as_str(), message.seq);
                if seq != last + 1 {
                    verdict.add("hole", || format!("{room} has {seq} after {last}"));
                }
                last = seq;
                match self.attempts.get(value) {
                    None => verdict.add("phantom", || format!("{value:?} is {seq} of {room}, and nobody sent it")),
                    Some(attempt) if attempt.writer != message.user || attempt.room != room => {
                        verdict.add("phantom", || format!("{value} is {}'s in {room}", message.user));
                    }
                    Some(Attempt { refused: Some(code), ack: None, .. }) => {
                        verdict.add("phantom", || format!("{value} is {seq} of {room}, and was refused as {code}"));
                    }
                    Some(_) => {}
                }
                let before = *numbers.entry(value).or_insert(seq);
                if before != seq {
                    verdict.add("duplicate", || format!("{value} is {before} and {seq} of {room}"));
                }
                match self.at.get(&(room.as_str(), seq)) {
                    Some(seen) if *seen != value => {
                        verdict.add("inconsistent-offsets", || format!("{seq} of {room} is {value}, seen as {seen}"));
                    }
                    None if !self.number.contains_key(value) => {
                        verdict.add("unseen", || format!("{value} is {seq} of {room}"));
                    }
                    _ => {}
                }
            }
            ends.insert(room, (messages.first().map_or(i64::MAX, |m| m.seq), last));
        }
        let mut acked: HashMap<&str, Vec<(&str, i64)>> = HashMap::new();
        for (value, attempt) in &self.attempts {
            match (attempt.ack, numbers.get(value)) {
                (None, _) if attempt.refused.is_none() => {
                    verdict.add("never-acked", || format!("{value}, after {} tries", attempt.tries));
                }
                (Some(seq), None) => {
                    let (first, last) = ends.get(attempt.room).copied().unwrap_or((i64::MAX, 0));
                    let example = || format!("{value} was acked as {seq} of {} and is not stored", attempt.room);
                    verdict.add(lost(seq, first, last), example);
                }
                (Some(seq), Some(number)) if seq != *number => {
                    verdict.add("inconsistent-offsets", || format!("{value} was acked as {seq} and is {number}"));
                }
                (Some(seq), Some(_)) => acked.entry(attempt.room).or_default().push((value, seq)),
                (None, _) => {}
            }
        }
        for (who, member) in &self.members {
            let (first, last) = (member.first.unwrap_or(i64::MAX), member.cursor);
            for (value, seq) in acked.get(member.room).into_iter().flatten() {
                let left_out = member.left_out.iter().any(|(after, to)| seq > after && seq <= to);
                if *seq > member.start && !left_out && !member.values.contains(value) {
                    let example = || format!("{who} never had {value}, acked as {seq}; it had {first} to {last}");
                    verdict.add(lost(*seq, first, last), example);
                }
            }
        }
    }

    /// What was sent once, on one connection, must have its numbers in that order.
    fn lines(&self, verdict: &mut Verdict) {
        for line in self.lines.values() {
            let mut highest = (0, "");
            for value in line {
                let Some(Attempt { tries: 1, ack: Some(seq), .. }) = self.attempts.get(value) else { continue };
                if *seq <= highest.0 {
                    verdict
                        .add("reordered-send", || format!("{value} got {seq} after {} got {}", highest.1, highest.0));
                }
                highest = highest.max((*seq, value));
            }
        }
    }
}

fn lost(seq: i64, first: i64, last: i64) -> &'static str {
    if seq > last {
        "lost-tail"
    } else if seq < first {
        "lost-prefix"
    } else {
        "lost-middle"
    }
}
