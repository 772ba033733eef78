//! Every fault that can be injected, and those that a mix draws from.

use rand::{RngExt, rngs::StdRng, seq::IndexedRandom};

use super::{firewall::Rule, proxy::Way};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9; the heal starts it again.
    NodeKill(usize),
    NodePause(usize),
    /// SIGTERM, until the process is gone; the heal starts it again.
    NodeStop(usize),
    /// It gets a fifth of its time.
    NodeSlow(usize),
    /// It can open no file and take no socket.
    NodeFiles(usize),
    /// Its clock stands before 1970, which makes whatever asks for the time panic: the Writer under load, the ChatServer where
    /// somebody whose ban has an end wants to join.
    NodePanic(usize, Actor),
    /// kill -9; the heal starts it again, empty.
    RedisKill,
    RedisPause,
    RedisNet(Rule),
    /// One server of the ground's own kind of Redis is killed; the heal starts it again.
    RedisServer(usize),
    /// Forged, damaged, repeated and reordered frames on the bus.
    BusAttack,
    PostgresRestart,
    /// kill -9 of all of it; the heal starts it again.
    PostgresKill,
    PostgresPause,
    /// kill -9 of one connection's process, for which the server ends all of them.
    PostgresBackend,
    /// All connections are ended, and there is room for four.
    PostgresFull,
    DatabaseWay(Way),
    DiskFull,
    /// The kernel can't write to the disk what was written to a file.
    SyncFails,
    /// It takes 300 ms each time.
    SyncSlow,
    /// Three times.
    PowerLoss(&'static str),
    /// A node's clock goes forth and back by 10 minutes, and all others stay as they are.
    ClockJumps(usize),
    /// The balancer is killed and started, and the nodes' own connections are cut where the kernel can.
    ConnectionsCut,
    /// All clients lose their connections in one moment.
    ClientsCut,
    /// One node after the other, SIGTERM.
    RollingRestart,
    SlowReaders(usize),
    Floods(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    Writer,
    ChatServer,
}

impl Fault {
    /// Whether it goes on until it is healed; others are over when they are done.
    pub fn lasts(self) -> bool {
        !matches!(
            self,
            Self::PostgresRestart
                | Self::PostgresBackend
                | Self::PowerLoss(_)
                | Self::ClockJumps(_)
                | Self::ConnectionsCut
                | Self::ClientsCut
                | Self::RollingRestart
                | Self::SlowReaders(_)
                | Self::Floods(_)
        )
    }

    /// Whether nodes are without Redis at its end, or have found another one; none where it is no matter of Redis.
    pub fn takes_redis_away(self) -> Option<bool> {
        match self {
            Self::RedisKill | Self::RedisPause => Some(true),
            // What gets through may be enough.
            Self::RedisNet(rule) => (rule != Rule::Lossy).then_some(true),
            // The first has a replica, which a sentinel makes the master.
            Self::RedisServer(place) => Some(place > 0),
            _ => None,
        }
    }

    /// All that a mix draws from.
    pub fn any(random: &mut StdRng, nodes: usize, has_firewall: bool) -> Vec<Self> {
        let node = random.random_range(1..=nodes);
        let (second, third) = (node % nodes + 1, (node + 1) % nodes + 1);
        let mut all = vec![Self::NodeKill(node)];
        all.extend([Self::NodePause(second), Self::NodeSlow(second)].choose(random));
        all.push(Self::NodeFiles(third));
        let postgres = [Self::PostgresKill, Self::PostgresPause, Self::PostgresBackend, Self::PostgresFull];
        all.extend([&postgres[..], &[Self::PostgresRestart]].concat().choose(random));
        all.extend([Self::ConnectionsCut, Self::ClientsCut, Self::RollingRestart].choose(random));
        let rules = [Rule::Blackhole, Rule::NoAnswers, Rule::Reset, Rule::Lossy].map(Self::RedisNet);
        let mut redis = vec![Self::RedisKill, Self::RedisPause];
        redis.extend(rules.iter().filter(|_| has_firewall));
        all.extend(redis.choose(random));
        all
    }
}
