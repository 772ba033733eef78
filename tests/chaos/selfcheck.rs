//! The checker, checked first: made-up histories, each with the anomalies that it bears and no others, and a clean one
//! that bears none. Pure.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    history::{Event, Kind, Op, Recorder},
    scenario::admitted,
    times::Times,
    verdict::{ANOMALIES, Message, Stored, judge},
};

/// A made-up run in one room with the writer `a` and the members `m0` and `m1`.
#[derive(Clone)]
struct Story {
    events: Vec<Event>,
    stored: Vec<Message>,
}

fn event(who: &str, kind: Kind, op: Op) -> Event {
    Event::new(&who.into(), kind, op).room(&"r".into())
}

fn sent(n: i64, conn: u64) -> Event {
    event("a", Kind::Invoke, Op::Send).value(&value(n)).over(conn, Some(1))
}

fn acked(n: i64, seq: i64) -> Event {
    event("a", Kind::Ok, Op::Send).value(&value(n)).seq(seq).over(1, Some(1))
}

fn refused(n: i64) -> Event {
    event("a", Kind::Fail, Op::Send).value(&value(n)).code("client_id_reused")
}

fn seen(who: &str, n: i64, seq: i64) -> Event {
    event(who, Kind::Ok, Op::See).value(&value(n)).seq(seq).over(2, Some(2))
}

fn joined(who: &str, seq: i64) -> Event {
    event(who, Kind::Ok, Op::Join).seq(seq).over(2, Some(2))
}

fn value(n: i64) -> Arc<str> {
    format!("a-{n}").into()
}

fn stored(n: i64, seq: i64) -> Message {
    Message { seq, user: "a".to_owned(), content: value(n).to_string() }
}

impl Story {
    /// Two members, six messages, nothing wrong.
    fn clean() -> Self {
        let mut story = Self { events: vec![joined("m0", 0), joined("m1", 0)], stored: Vec::new() };
        for n in 1..=6 {
            story.goes_well(n, n);
        }
        story
    }

    fn goes_well(&mut self, n: i64, seq: i64) {
        self.events.extend([sent(n, 1), acked(n, seq), seen("m0", n, seq), seen("m1", n, seq)]);
        self.stored.push(stored(n, seq));
    }

    /// Everybody saw it and it is stored, in this order.
    fn everywhere(&mut self, messages: &[(i64, i64)]) {
        for (n, seq) in messages {
            self.events.extend([seen("m0", *n, *seq), seen("m1", *n, *seq)]);
            self.stored.push(stored(*n, *seq));
        }
    }

    fn with(mut self, events: impl IntoIterator<Item = Event>) -> Self {
        self.events.extend(events);
        self
    }

    /// Without what this member saw as this number.
    fn unseen_by(mut self, who: &str, seq: i64) -> Self {
        self.events.retain(|event| !(event.op == Op::See && &*event.proc == who && event.seq == Some(seq)));
        self
    }

    fn change(mut self, how: impl FnOnce(&mut Self)) -> Self {
        how(&mut self);
        self
    }

    fn anomalies(&self) -> BTreeSet<&'static str> {
        let rooms = Stored::from([("r".to_owned(), self.stored.clone())]);
        judge(&self.events, &rooms).found.into_keys().collect()
    }
}

/// Each history, and what is to be found in it.
fn stories() -> Vec<(&'static str, Story, &'static [&'static str])> {
    let clean = Story::clean;
    vec![
        ("a clean run", clean(), &[]),
        ("a retry that is told the first one's number", clean().with([sent(3, 4), acked(3, 3)]), &[]),
        (
            "a member that comes back with its cursor",
            clean().with([joined("m1", 6)]).change(|s| s.goes_well(7, 7)),
            &[],
        ),
        (
            "sent at once, acked in another order",
            clean()
                .with([sent(7, 1), sent(8, 1), acked(8, 8), acked(7, 7)])
                .change(|s| s.everywhere(&[(7, 7), (8, 8)])),
            &[],
        ),
        ("the first is not stored", clean().change(|s| drop(s.stored.remove(0))), &["hole", "lost-prefix"]),
        (
            "another is stored in its place",
            clean().with([sent(7, 3), acked(7, 3)]),
            &["lost-middle", "nonmonotonic-send"],
        ),
        ("the last is not stored", clean().with([sent(7, 1), acked(7, 7)]), &["lost-tail"]),
        ("the first is not delivered", clean().unseen_by("m1", 1), &["lost-prefix", "skip"]),
        ("one is not delivered", clean().unseen_by("m1", 3), &["lost-middle", "skip"]),
        ("the last is not delivered", clean().unseen_by("m1", 6), &["lost-tail"]),
        ("stored twice", clean().change(|s| s.stored.push(stored(3, 7))), &["duplicate"]),
        ("delivered twice", clean().with([seen("m1", 3, 3)]), &["duplicate"]),
        ("delivered again after a resume", clean().with([joined("m1", 6), seen("m1", 6, 6)]), &["duplicate"]),
        ("a retry that is told another number", clean().with([sent(3, 4), acked(3, 9)]), &["duplicate"]),
        (
            "two members see two values at one number",
            clean().unseen_by("m1", 5).unseen_by("m1", 6).with([seen("m1", 6, 5), seen("m1", 5, 6)]),
            &["inconsistent-offsets"],
        ),
        (
            "the database has another order than the members",
            clean().change(|s| (s.stored[2], s.stored[3]) = (stored(4, 3), stored(3, 4))),
            &["inconsistent-offsets"],
        ),
        (
            "a number that was never given",
            clean().with([joined("m0", 7), joined("m1", 7)]).change(|s| s.goes_well(7, 8)),
            &["hole"],
        ),
        (
            "an older one after a newer one",
            clean().unseen_by("m1", 5).with([seen("m1", 5, 5)]),
            &["nonmonotonic", "skip"],
        ),
        (
            "an older one than the cursor",
            clean().change(|s| s.events.insert(0, joined("m2", 6))).with([seen("m2", 2, 2)]),
            &["nonmonotonic"],
        ),
        ("delivered and never sent", clean().with([seen("m1", 7, 7)]), &["phantom"]),
        ("stored and never sent", clean().change(|s| s.everywhere(&[(7, 7)])), &["phantom"]),
        ("stored as another user's", clean().change(|s| s.stored[2].user = "b".to_owned()), &["phantom"]),
        (
            "refused, and there all the same",
            clean().with([sent(7, 1), refused(7)]).change(|s| s.everywhere(&[(7, 7)])),
            &["phantom"],
        ),
        (
            "stored and told to nobody",
            clean().with([sent(7, 1)]).change(|s| s.stored.push(stored(7, 7))),
            &["never-acked", "unseen"],
        ),
        (
            "sent after an ack, numbered before it",
            clean()
                .with([sent(7, 1), acked(7, 8), sent(8, 2), acked(8, 7)])
                .change(|s| s.everywhere(&[(8, 7), (7, 8)])),
            &["nonmonotonic-send"],
        ),
        (
            "one after the other on one connection, numbered the other way",
            clean()
                .with([sent(7, 1), sent(8, 1), acked(7, 8), acked(8, 7)])
                .change(|s| s.everywhere(&[(8, 7), (7, 8)])),
            &["reordered-send"],
        ),
        (
            "a reset of a member that is too far behind",
            clean()
                .change(|s| s.goes_well(7, 7))
                .unseen_by("m1", 7)
                .with([event("m1", Kind::Info, Op::Reset).seq(507)]),
            &[],
        ),
        ("a reset", clean().with([event("m1", Kind::Info, Op::Reset).seq(6)]), &["reset"]),
        ("refused after its ack", clean().with([sent(3, 4), refused(3)]), &["acked-then-refused"]),
        ("never answered", clean().with([sent(7, 1)]), &["never-acked"]),
    ]
}

/// Passed, and what failed.
pub fn run() -> (usize, Vec<String>) {
    let (mut passed, mut failed) = (0, Vec::new());
    let mut check = |name: &str, good: bool, why: &dyn Fn() -> String| {
        if good {
            passed += 1;
        } else {
            failed.push(format!("self-check «{name}»: {}", why()));
        }
    };
    let mut proven = BTreeSet::new();
    for (name, story, expected) in stories() {
        let (found, expected) = (story.anomalies(), expected.iter().copied().collect::<BTreeSet<_>>());
        check(name, found == expected, &|| format!("found {found:?} instead of {expected:?}"));
        proven.extend(expected);
    }
    let unproven: Vec<_> = ANOMALIES.iter().filter(|(name, _)| !proven.contains(name)).collect();
    check("every anomaly is in some history", unproven.is_empty(), &|| format!("{unproven:?} are not"));
    let times = made_up_times();
    check("times", times.is_ok(), &|| times.clone().unwrap_err());
    // 300 at once, then one every 10 ms: 100 a second beyond the 300 are admitted, 50 a second are not.
    let (rush, over) = (made_up_rush(100), made_up_rush(50));
    check("admission", (rush, over) == (300, 350), &|| format!("{rush} and {over} were admitted beyond their rates"));
    (passed, failed)
}

/// Due at 1 s, acked at 1.2 s on node 1, seen at 1.25 s there and at 1.5 s on node 2, with a fault from 0.9 s to 1.4 s and a
/// member that was away from 0.9 s to 1.1 s. Another one that comes to
/// node 1 at 1.3 s was not there. The next ack is at 1.7 s.
fn made_up_times() -> Result<(), String> {
    let recorder = Recorder::made_up();
    let at = |t_us, event| recorder.record_at(t_us, event);
    at(900_000, event("nemesis", Kind::Invoke, Op::Fault));
    at(900_000, event("m1", Kind::Info, Op::Lost).code("1006"));
    at(950_000, joined("m0", 0).over(3, Some(1)));
    at(1_100_000, sent(1, 1).due(1_000_000));
    at(1_100_000, joined("m1", 0));
    at(1_200_000, acked(1, 1));
    at(1_250_000, seen("m0", 1, 1).over(3, Some(1)));
    at(1_300_000, joined("m2", 0).over(4, Some(1)));
    at(1_350_000, seen("m2", 1, 1).over(4, Some(1)));
    at(1_400_000, event("nemesis", Kind::Ok, Op::Heal));
    at(1_500_000, seen("m1", 1, 1));
    at(1_700_000, acked(2, 2));
    let times = Times::of(&recorder.take());
    let found = [
        times.ack[1].p99(),
        times.everywhere[1].p99(),
        times.same_node[1].p99(),
        times.cross_node[1].p99(),
        times.cross_from_heal.p99(),
        times.back.p99(),
        times.to_heal,
        times.flow,
    ];
    let expected = [200_000, 300_000, 50_000, 300_000, 100_000, 200_000, 100_000, 300_000].map(Some);
    let others = times.ack[0].count();
    if found == expected && others == 0 { Ok(()) } else { Err(format!("{found:?} instead of {expected:?}")) }
}

/// How many of those who come to node 2 within a second of a fault are beyond so many a second.
fn made_up_rush(rate: u64) -> u64 {
    let recorder = Recorder::made_up();
    recorder.record_at(0, event("nemesis", Kind::Invoke, Op::Fault));
    let waits = (1..=100).map(|n| n * 10_000);
    for t_us in std::iter::repeat_n(0, 300).chain(waits) {
        recorder.record_at(t_us, joined("m1", 0));
    }
    admitted(&recorder.take(), rate)
}
