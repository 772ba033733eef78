//! The times of a run, from its history: acks from when a message was due, deliveries from the ack, how long clients were
//! away, how long it took until all was well again. Pure. Split by the fault: before, during, after.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use super::history::{Event, Kind, Op};

pub const PHASES: [&str; 3] = ["before", "during", "after"];

/// Some times, by their ranks; microseconds.
#[derive(Clone, Default)]
pub struct Spread(Vec<u64>);

impl Spread {
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this part of them does not pass; none where there are none.
    pub fn quantile(&self, percent: usize) -> Option<u64> {
        let last = self.0.len().checked_sub(1)?;
        let rank = (self.0.len() * percent).div_ceil(100).saturating_sub(1);
        self.0.get(rank.min(last)).copied()
    }

    pub fn p99(&self) -> Option<u64> {
        self.quantile(99)
    }

    fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        Self(times)
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p99, max] = [50, 99, 100].map(|percent| self.quantile(percent).map_or("–".to_owned(), millis));
        write!(out, "p50 {p50:>9}  p99 {p99:>9}  max {max:>9}  of {}", self.count())
    }
}

pub fn millis(micros: u64) -> String {
    format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100)
}

#[derive(Default)]
pub struct Times {
    /// From due to acked.
    pub ack: [Spread; 3],
    /// From acked to the last member that has it; all members, those on the writer's node (that stood there already when it was
    /// acked: others were away), those on others.
    pub everywhere: [Spread; 3],
    pub same_node: [Spread; 3],
    pub cross_node: [Spread; 3],
    /// Across nodes, from the heal on, for what was acked during the fault and still to come then.
    pub cross_from_heal: Spread,
    /// From a connection's loss to the member's next join.
    pub back: Spread,
    /// From the heal until all that was due before it is acked and everywhere.
    pub to_heal: Option<u64>,
    /// From the heal until the next ack.
    pub flow: Option<u64>,
    /// Why tries of a message were answered otherwise than by an ack, by code.
    pub refusals: BTreeMap<String, usize>,
    /// How members' and writers' connections ended that should have gone on, by code.
    pub losses: BTreeMap<String, usize>,
    /// From the fault's begin to its heal's end.
    pub fault: Option<(u64, u64)>,
    /// From the first harm's begin until it was done.
    pub harm: Option<u64>,
}

/// One value's times.
struct Message {
    due: u64,
    ack: Option<(u64, Option<usize>)>,
    last: u64,
    same: Option<u64>,
    cross: Option<u64>,
}

impl Times {
    pub fn of(events: &[Event]) -> Self {
        let begin = events.iter().find(|event| event.op == Op::Fault).map(|event| event.t_us);
        let end = events.iter().rev().find(|event| matches!(event.op, Op::Fault | Op::Heal)).map(|event| event.t_us);
        let fault = begin.zip(end);
        let done = events.iter().find(|event| event.op == Op::Fault && event.kind == Kind::Ok).map(|event| event.t_us);
        let harm = begin.zip(done).map(|(begin, done)| done - begin);
        let phase = |due: u64| match fault {
            Some((begin, end)) if due >= begin => 1 + usize::from(due > end),
            _ => 0,
        };
        let mut messages = messages(events);
        see(events, &mut messages);
        let mut raw: [[Vec<u64>; 3]; 4] = Default::default();
        let (mut from_heal, mut to_heal) = (Vec::new(), None);
        for message in messages.values() {
            let Some((ack, _)) = message.ack else { continue };
            let here = phase(message.due);
            raw[0][here].push(ack.saturating_sub(message.due));
            raw[1][here].push(message.last.saturating_sub(ack));
            raw[2][here].extend(message.same.map(|at| at.saturating_sub(ack)));
            raw[3][here].extend(message.cross.map(|at| at.saturating_sub(ack)));
            let Some((begin, end)) = fault else { continue };
            if message.due < end {
                let done = ack.max(message.last).saturating_sub(end);
                to_heal = to_heal.max(Some(done));
            }
            if (begin..end).contains(&ack) {
                from_heal.extend(message.cross.filter(|at| *at > end).map(|at| at - end));
            }
        }
        let [ack, everywhere, same_node, cross_node] = raw.map(|phases| phases.map(Spread::of));
        let (back, losses) = losses(events);
        let cross_from_heal = Spread::of(from_heal);
        let acks = events.iter().filter(|event| event.op == Op::Send && event.kind == Kind::Ok).map(|event| event.t_us);
        let flow = fault.and_then(|(_, end)| acks.filter(|at| *at >= end).min().map(|at| at - end));
        let mut refusals = BTreeMap::new();
        for event in events.iter().filter(|event| event.op == Op::Send && matches!(event.kind, Kind::Info | Kind::Fail))
        {
            *refusals.entry(event.code.as_deref().unwrap_or("none").to_owned()).or_default() += 1;
        }
        Self {
            ack,
            everywhere,
            same_node,
            cross_node,
            cross_from_heal,
            back,
            to_heal,
            flow,
            refusals,
            losses,
            fault,
            harm,
        }
    }
}

fn messages(events: &[Event]) -> HashMap<&str, Message> {
    let mut messages: HashMap<&str, Message> = HashMap::new();
    for event in events.iter().filter(|event| event.op == Op::Send) {
        let Some(value) = event.value.as_deref() else { continue };
        let due = event.due_us.unwrap_or(event.t_us);
        let new = Message { due, ack: None, last: 0, same: None, cross: None };
        let message = messages.entry(value).or_insert(new);
        if event.kind == Kind::Ok {
            message.ack.get_or_insert((event.t_us, event.node));
        }
    }
    messages
}

fn see<'a>(events: &'a [Event], messages: &mut HashMap<&'a str, Message>) {
    let mut joined: HashMap<Option<u64>, u64> = HashMap::new();
    for event in events {
        match (event.op, event.kind) {
            (Op::Join, Kind::Ok) => drop(joined.entry(event.conn).or_insert(event.t_us)),
            (Op::See, _) => {}
            _ => continue,
        }
        let Some(message) = event.value.as_deref().and_then(|value| messages.get_mut(value)) else { continue };
        message.last = message.last.max(event.t_us);
        if let (Some((ack, Some(from))), Some(to)) = (message.ack, event.node) {
            let stood = joined.get(&event.conn).is_some_and(|joined| *joined <= ack);
            let last = if from == to { &mut message.same } else { &mut message.cross };
            *last = (*last).max(Some(event.t_us).filter(|_| from != to || stood));
        }
    }
}

fn losses(events: &[Event]) -> (Spread, BTreeMap<String, usize>) {
    let (mut away, mut back, mut codes): (HashMap<&str, u64>, Vec<u64>, BTreeMap<String, usize>) = Default::default();
    for event in events {
        match event.op {
            Op::Lost => {
                away.entry(&event.proc).or_insert(event.t_us);
                *codes.entry(event.code.as_deref().unwrap_or("none").to_owned()).or_default() += 1;
            }
            Op::Join if event.kind == Kind::Ok => {
                back.extend(away.remove(&*event.proc).map(|lost| event.t_us.saturating_sub(lost)));
            }
            _ => {}
        }
    }
    (Spread::of(back), codes)
}
