//! The matrix: every scenario, with what it stands on, its load, its fault and the bounds on its times. The names F1 to F20 are the
//! rows of docs/reliability.md.

use std::time::Duration;

use super::{
    fault::{Actor, Fault},
    firewall::Rule,
    ground::Ground,
    load::Ways,
    proxy::Way,
};

/// What happens under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Harm {
    None,
    One(Fault),
    /// From before the first message until after the last.
    Throughout(Fault),
    Mix,
}

/// Who writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowd {
    /// A few busy rooms, over all ways, with some that move and some that use HTTP.
    Lively,
    /// The same rooms, with all members on node 1 and all writers elsewhere.
    Apart,
    /// So many connections in many rooms, which come this way.
    Many(Ways, usize),
}

/// What must be kept beside the promises. Times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Across nodes: p99 of a second meanwhile, of two from the heal.
    Across,
    /// p99 of acks meanwhile.
    Ack(u64),
    /// The same at least, or the fault was none.
    Felt(u64),
    /// p99 of acks meanwhile: at most twice what it was before, and 10 ms.
    AckAsBefore,
    /// p99 from the ack to members on the same node: at most twice what it was before, and 20 ms.
    SameNodeAsBefore,
    /// p99 of the clients' way back.
    BackP99(u64),
    /// The last client's way back.
    BackLast(u64),
    /// From the heal to the next ack.
    Flow(u64),
    /// How long the harm took.
    Harm(u64),
    /// Each member got this close code, and no other end.
    EachGot(&'static str),
    /// Not one page of events was read from the database.
    NoPageRead,
    /// No node took more clients than so many a second and so many at once (`limits.handshakes_per_second`, `…_burst`).
    Admission(u64, u64),
    /// Some clients were told to come later, by 503.
    ToldToWait,
    /// Mebibytes of any node.
    Memory(u64),
}

pub struct Scenario {
    pub name: &'static str,
    pub what: &'static str,
    /// Whether CI runs it.
    pub ci: bool,
    pub ground: Ground,
    pub crowd: Crowd,
    pub harm: Harm,
    /// How long the faults last, unless the command says.
    pub seconds: u64,
    pub limits: &'static [Limit],
}

impl Scenario {
    pub fn named(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|scenario| scenario.name == name)
    }

    const fn ci(self) -> Self {
        Self { ci: true, ..self }
    }

    const fn on(self, ground: Ground) -> Self {
        Self { ground, ..self }
    }

    const fn with(self, crowd: Crowd) -> Self {
        Self { crowd, ..self }
    }

    const fn keeps(self, limits: &'static [Limit]) -> Self {
        Self { limits, ..self }
    }
}

const fn scenario(name: &'static str, harm: Harm, seconds: u64, what: &'static str) -> Scenario {
    let (ground, crowd) = (Ground::Plain, Crowd::Lively);
    Scenario { name, what, ci: false, ground, crowd, harm, seconds, limits: &[] }
}

const fn one(name: &'static str, fault: Fault, seconds: u64, what: &'static str) -> Scenario {
    scenario(name, Harm::One(fault), seconds, what)
}

const SLOW: Way = Way::Slow(Duration::from_millis(40), Duration::from_millis(20));
/// What clients do after silence of 5 s, and one try that comes to nothing.
const GIVEN_UP: u64 = 7_000;

pub const SCENARIOS: &[Scenario] = &[
    scenario("calm", Harm::None, 10, "no fault"),
    one("node-kill", Fault::NodeKill(1), 6, "F1: kill -9 of a node, started again after a while")
        .ci()
        .keeps(&[Limit::BackP99(5_000), Limit::SameNodeAsBefore]),
    one("node-pause", Fault::NodePause(1), 10, "F2: a node stands still and goes on")
        .keeps(&[Limit::BackP99(GIVEN_UP)]),
    one("redis-kill", Fault::RedisKill, 6, "F3: kill -9 of Redis, started again empty")
        .ci()
        .keeps(&[Limit::Across, Limit::AckAsBefore]),
    scenario("redis-away", Harm::Throughout(Fault::RedisKill), 10, "F3: no Redis from the first message to the last")
        .keeps(&[Limit::Across]),
    one("redis-pause", Fault::RedisPause, 20, "F4: Redis stands still and goes on")
        .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one("redis-blackhole", Fault::RedisNet(Rule::Blackhole), 15, "F5: nothing goes to or from Redis")
        .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one("redis-one-way", Fault::RedisNet(Rule::NoAnswers), 15, "F5: what is said to Redis arrives, and no answer does")
        .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one("redis-reset", Fault::RedisNet(Rule::Reset), 10, "F5: Redis' port resets every connection")
        .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one("redis-lossy", Fault::RedisNet(Rule::Lossy), 15, "F5: one packet in five to and from Redis is lost")
        .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one(
        "redis-failover",
        Fault::RedisServer(0),
        12,
        "F3: the master is killed, and a sentinel makes the replica the master",
    )
    .on(Ground::Sentinel)
    .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one(
        "redis-shard",
        Fault::RedisServer(1),
        10,
        "F3: a Redis Cluster loses a master that has no replica, and gets it back",
    )
    .on(Ground::RedisCluster)
    .keeps(&[Limit::Across, Limit::AckAsBefore]),
    one(
        "connections-cut",
        Fault::ConnectionsCut,
        6,
        "F6: every connection over the balancer, to Redis and PostgreSQL is cut",
    )
    .keeps(&[Limit::BackP99(5_000), Limit::Flow(2_000)]),
    one("database-slow", Fault::DatabaseWay(SLOW), 15, "F7: 100 ± 20 ms between the nodes and PostgreSQL")
        .on(Ground::SlowWay)
        .keeps(&[Limit::Felt(80), Limit::Ack(1_000)]),
    one("database-stall", Fault::DatabaseWay(Way::Still), 10, "F7: nothing moves between the nodes and PostgreSQL")
        .on(Ground::SlowWay)
        .keeps(&[Limit::Flow(2_000)]),
    one("postgres-restart", Fault::PostgresRestart, 6, "F8: PostgreSQL is restarted").ci().keeps(&[Limit::Flow(2_000)]),
    one("postgres-kill", Fault::PostgresKill, 8, "F8: kill -9 of all of PostgreSQL").keeps(&[Limit::Flow(2_000)]),
    one("postgres-pause", Fault::PostgresPause, 10, "F8: PostgreSQL stands still and goes on")
        .keeps(&[Limit::Flow(2_000)]),
    one("postgres-backend", Fault::PostgresBackend, 6, "F8: kill -9 of one connection's process")
        .keeps(&[Limit::Flow(2_000)]),
    one("postgres-full", Fault::PostgresFull, 10, "F8: PostgreSQL takes four connections of the nodes' twenty-four")
        .keeps(&[Limit::Flow(2_000)]),
    one(
        "slow-readers",
        Fault::SlowReaders(100),
        25,
        "F12: a hundred clients take nothing, or a byte now and then, of a loud room",
    )
    .keeps(&[Limit::AckAsBefore]),
    one("floods", Fault::Floods(20), 5, "F13: twenty clients send as fast as they can")
        .on(Ground::Limits)
        .keeps(&[Limit::AckAsBefore]),
    one("storm", Fault::ClientsCut, 10, "F14: all connections are lost in one moment, and resume")
        .with(Crowd::Many(Ways::Spread, 5_000))
        .keeps(&[Limit::BackLast(5_000), Limit::NoPageRead, Limit::Memory(160)]),
    one("storm-doors", Fault::ClientsCut, 20, "F14: the same, where nodes take 300 a second")
        .on(Ground::Doors)
        .with(Crowd::Many(Ways::Spread, 5_000))
        .keeps(&[Limit::BackLast(15_000), Limit::Admission(300, 300), Limit::ToldToWait, Limit::Memory(160)]),
    one(
        "storm-kill",
        Fault::NodeKill(1),
        10,
        "F14: kill -9 of a node with a third of all connections, behind the balancer",
    )
    .with(Crowd::Many(Ways::Balancer, 2_000))
    .keeps(&[Limit::BackP99(5_000)]),
    one("drain", Fault::NodeStop(1), 5, "F16: SIGTERM to the node that has all connections")
        .with(Crowd::Many(Ways::Node(0), 5_000))
        .keeps(&[Limit::Harm(10_000), Limit::EachGot("4000")]),
    one("rolling-restart", Fault::RollingRestart, 6, "F16: one node after the other is restarted")
        .ci()
        .keeps(&[Limit::BackP99(5_000)]),
    one("files", Fault::NodeFiles(1), 12, "F17: a node can open no file and take no socket")
        .keeps(&[Limit::SameNodeAsBefore]),
    one("processor", Fault::NodeSlow(1), 12, "F17: a node gets a fifth of its time").keeps(&[Limit::Felt(30)]),
    one("panic-writer", Fault::NodePanic(1, Actor::Writer), 6, "F18: a panic in the Writer ends the process")
        .ci()
        .on(Ground::Clocks { apart: false })
        .keeps(&[Limit::BackP99(5_000)]),
    one("panic-server", Fault::NodePanic(1, Actor::ChatServer), 6, "F18: a panic in the ChatServer ends the process")
        .on(Ground::Clocks { apart: false })
        .with(Crowd::Apart)
        .keeps(&[Limit::BackP99(5_000)]),
    one("clocks", Fault::ClockJumps(3), 12, "F15: clocks 5 minutes early and late, and one that jumps by 10")
        .on(Ground::Clocks { apart: true })
        .keeps(&[Limit::AckAsBefore]),
    one("bus-attack", Fault::BusAttack, 10, "F19: forged, damaged, repeated and reordered frames on the bus")
        .keeps(&[Limit::Across]),
    scenario("mix", Harm::Mix, 60, "F20: random faults together, in periods of 10 s"),
    one("postgres-power", Fault::PowerLoss("postgres"), 12, "F11: three power losses of PostgreSQL's machine")
        .on(Ground::PostgresImage)
        .keeps(&[Limit::Flow(2_000)]),
    one("sqlite-kill", Fault::NodeKill(1), 4, "F1: kill -9 of a hub on SQLite")
        .on(Ground::Sqlite)
        .keeps(&[Limit::Flow(2_000)]),
    one("sqlite-power", Fault::PowerLoss("node1"), 12, "F11: three power losses of a hub on SQLite")
        .on(Ground::SqliteImage)
        .keeps(&[Limit::Flow(2_000)]),
    one("disk-full", Fault::DiskFull, 10, "F9: SQLite's disk is full")
        .on(Ground::SmallDisk)
        .keeps(&[Limit::Flow(2_000)]),
    one("disk-fails", Fault::SyncFails, 10, "F10: what SQLite wrote can't be brought to the disk")
        .on(Ground::Sqlite)
        .keeps(&[Limit::Flow(2_000)]),
    one("disk-slow", Fault::SyncSlow, 10, "F10: the disk takes 300 ms for what it takes 1 for")
        .on(Ground::Sqlite)
        .keeps(&[Limit::Felt(300), Limit::Ack(2_500), Limit::Memory(100)]),
];
