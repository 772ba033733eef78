//! Who may come in, and how often: the client's address behind trusted proxies, places for sockets (of a node, an address,
//! a user), and the rates of users, sign-ins and registrations. Shared by all workers; each map is bounded.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use ipnet::IpNet;

use crate::{
    config::Config,
    protocol::WireError,
    rates::{Buckets, SharedBucket},
    stats::Stats,
    store::{User, UserKey},
};

/// When a place may be free again.
const RETRY_MS: u64 = 5_000;
/// Over which clients that came too many at once are asked to come back.
const SPREAD_MS: u64 = 2_000;
/// Open files that are not sockets: the database, sockets whose sessions have just ended.
const RESERVED_FILES: u64 = 1_536;
/// Connections that are no session's, or not yet, beside a quarter of what sessions there may be: requests are short, and sockets
/// that say nothing are closed soon.
const SPARE_CONNECTIONS: usize = 1_024;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
/// Names that one address may try, in relation to the tries for one name.
const NAMES: u32 = 5;

/// Where a request comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    /// An IPv6 address stands for its /64, which is what one subscriber has.
    ip: IpAddr,
    /// Whether it counts: behind a proxy that is not known as one, many clients have one private address.
    counts: bool,
}

/// The node's doors.
#[derive(Debug)]
pub struct Admission {
    trusted: Vec<IpNet>,
    most_sessions: usize,
    most_per_address: u32,
    most_per_user: u32,
    sessions: AtomicUsize,
    by_address: Mutex<HashMap<IpAddr, u32>>,
    by_user: Mutex<HashMap<UserKey, u32>>,
    handshakes: SharedBucket,
    handshakes_of: Buckets<IpAddr>,
    commands: Buckets<UserKey>,
    sign_ins: Buckets<(String, IpAddr)>,
    names: Buckets<IpAddr>,
    registrations: Buckets<IpAddr>,
    stats: Arc<Stats>,
}

impl Admission {
    /// Reads its bounds from the config; raises the process's limit of open files as far as it goes.
    pub fn new(config: &Config, stats: Arc<Stats>) -> Self {
        let limits = &config.limits;
        let most_sessions = if limits.sessions == 0 { sessions_by_files() } else { limits.sessions };
        tracing::debug!(most_sessions, "places for sessions");
        Self {
            trusted: config.server.trusted_proxies.clone(),
            most_sessions,
            most_per_address: limits.sessions_per_address,
            most_per_user: limits.sessions_per_user,
            sessions: AtomicUsize::new(0),
            by_address: Mutex::default(),
            by_user: Mutex::default(),
            handshakes: SharedBucket::new(limits.handshakes_per_second.into(), limits.handshakes_burst.into()),
            handshakes_of: Buckets::with_burst(
                f64::from(limits.handshakes_per_address),
                limits.handshakes_per_address.saturating_mul(2),
            ),
            commands: Buckets::with_burst(f64::from(limits.user_commands_per_second), limits.user_commands_burst),
            sign_ins: Buckets::new(limits.sign_ins_per_minute, MINUTE),
            names: Buckets::new(limits.sign_ins_per_minute.saturating_mul(NAMES), MINUTE),
            registrations: Buckets::new(limits.registrations_per_hour, HOUR),
            stats,
        }
    }

    /// Sockets that this node takes.
    pub fn most_sessions(&self) -> usize {
        self.most_sessions
    }

    /// Connections that this node takes beside its sessions'.
    pub fn most_connections(&self) -> usize {
        (self.most_sessions / 4).saturating_add(SPARE_CONNECTIONS)
    }

    /// Where a request comes from: its peer, or what the trusted proxies before the hub say. Each proxy adds the address
    /// that it sees at the end, so the last one that is no proxy's is the client's, and what stands before it is hearsay.
    pub fn client(&self, peer: IpAddr, forwarded_for: Option<&str>) -> ClientAddress {
        let trusted = |ip: &IpAddr| self.trusted.iter().any(|net| net.contains(ip));
        let mut ip = peer.to_canonical();
        for hop in forwarded_for.unwrap_or_default().rsplit(',') {
            match parse_hop(hop) {
                Some(hop) if trusted(&ip) => ip = hop,
                _ => break,
            }
        }
        ClientAddress { ip: subscriber(ip), counts: !self.trusted.is_empty() || !is_local(ip) }
    }

    /// A place for a socket, held until it is dropped.
    pub fn seat(self: &Arc<Self>, client: ClientAddress) -> Result<Seat, WireError> {
        // When a node goes, its clients come to the others: not all in the same moment, nor again in another one.
        let spread =
            |wait: u64| WireError::busy().retry_after_ms(wait.saturating_add(rand::random_range(0..SPREAD_MS)));
        let full = || WireError::busy().retry_after_ms(RETRY_MS);
        let key = client.counts.then_some(client.ip);
        // An address that tries too much costs itself alone: the node's rate comes last.
        if let Some(ip) = key {
            self.handshakes_of.of(ip).take(1).map_err(spread)?;
        }
        if let Some(ip) = key
            && !enter(&self.by_address, ip, self.most_per_address).0
        {
            return Err(full());
        }
        // From here on it is given back when it is dropped.
        let seat = Seat { admission: Arc::clone(self), of: SeatOf::Node(key) };
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= self.most_sessions {
            return Err(full());
        }
        self.handshakes.take(1).map_err(spread)?;
        Ok(seat)
    }

    /// A place for a user's session, held until it is dropped; none where they have as many as one may have.
    pub fn user_seat(self: &Arc<Self>, user: UserKey) -> Option<Seat> {
        let (entered, users) = enter(&self.by_user, user, self.most_per_user);
        self.stats.users.set(users);
        entered.then(|| Seat { admission: Arc::clone(self), of: SeatOf::User(user) })
    }

    /// The bucket of a user's commands and requests; none for admins.
    pub fn commands(&self, user: &User) -> Option<SharedBucket> {
        (!user.admin).then(|| self.commands.of(user.key))
    }

    /// Whether somebody may try a password now; else after how many milliseconds.
    pub fn sign_in(&self, name: &str, client: ClientAddress) -> Result<(), u64> {
        if client.counts {
            self.names.of(client.ip).take(1)?;
        }
        // What is no name is cut, so that a long one costs no more memory than others.
        let name = name.chars().take(64).flat_map(char::to_lowercase).collect();
        self.sign_ins.of((name, client.ip)).take(1)
    }

    /// Whether somebody may make an account now; else after how many milliseconds.
    pub fn registration(&self, client: ClientAddress) -> Result<(), u64> {
        if client.counts { self.registrations.of(client.ip).take(1) } else { Ok(()) }
    }
}

/// A place that is taken.
#[derive(Debug)]
pub struct Seat {
    admission: Arc<Admission>,
    of: SeatOf,
}

#[derive(Debug)]
enum SeatOf {
    /// The node's, and an address's where that counts.
    Node(Option<IpAddr>),
    User(UserKey),
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self.of {
            SeatOf::Node(ip) => {
                self.admission.sessions.fetch_sub(1, Ordering::Relaxed);
                if let Some(ip) = ip {
                    leave(&self.admission.by_address, ip);
                }
            }
            SeatOf::User(user) => self.admission.stats.users.set(leave(&self.admission.by_user, user)),
        }
    }
}

/// Counts one in, if there is a place; gives how many keys have one.
fn enter<K: Eq + Hash>(seats: &Mutex<HashMap<K, u32>>, key: K, most: u32) -> (bool, usize) {
    let mut seats = seats.lock().unwrap_or_else(PoisonError::into_inner);
    let count = seats.entry(key).or_insert(0);
    let entered = *count < most;
    *count = count.saturating_add(u32::from(entered));
    (entered, seats.len())
}

fn leave<K: Eq + Hash>(seats: &Mutex<HashMap<K, u32>>, key: K) -> usize {
    let mut seats = seats.lock().unwrap_or_else(PoisonError::into_inner);
    if let Entry::Occupied(mut seat) = seats.entry(key) {
        match seat.get().saturating_sub(1) {
            0 => drop(seat.remove()),
            left => drop(seat.insert(left)),
        }
    }
    seats.len()
}

/// One address of `X-Forwarded-For`, some of which come with a port.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let ip = hop.parse::<IpAddr>().or_else(|_| hop.parse::<std::net::SocketAddr>().map(|address| address.ip()));
    ip.ok().map(|ip| ip.to_canonical())
}

fn subscriber(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Loopback, private (RFC 1918, RFC 4193) and link-local.
fn is_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// As many as there are files for, with those that are no session's.
fn sessions_by_files() -> usize {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(1_024);
    let sockets = usize::try_from(files.saturating_sub(RESERVED_FILES)).unwrap_or(usize::MAX);
    (sockets.saturating_sub(SPARE_CONNECTIONS) / 5).saturating_mul(4).max(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(trusted: &[&str]) -> Admission {
        let mut config = crate::config::load(&crate::config::Overrides::default()).unwrap();
        config.server.trusted_proxies = trusted.iter().map(|net| net.parse().unwrap()).collect();
        config.limits.sessions = 3;
        config.limits.sessions_per_address = 2;
        Admission::new(&config, Arc::new(Stats::new()))
    }

    #[test]
    fn only_trusted_proxies_say_whose_request_it_is() {
        let client = |trusted: &[&str], peer: &str, forwarded: Option<&str>| {
            let ClientAddress { ip, counts } = admission(trusted).client(peer.parse().unwrap(), forwarded);
            format!("{ip} {counts}")
        };
        assert_eq!(client(&[], "203.0.113.7", Some("198.51.100.1")), "203.0.113.7 true");
        assert_eq!(client(&[], "10.0.0.1", Some("198.51.100.1")), "10.0.0.1 false");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", Some("1.1.1.1, 198.51.100.1")), "198.51.100.1 true");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", Some("198.51.100.1, 10.0.0.2")), "198.51.100.1 true");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", Some("198.51.100.1:4711")), "198.51.100.1 true");
        assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", Some("198.51.100.1, nonsense")), "10.0.0.1 true");
        assert_eq!(client(&["10.0.0.0/8"], "203.0.113.7", Some("198.51.100.1")), "203.0.113.7 true");
        assert_eq!(client(&["10.0.0.0/8"], "::ffff:10.0.0.1", Some("2001:db8:1:2:3::4")), "2001:db8:1:2:: true");
    }

    #[test]
    fn a_seat_is_given_back() {
        let admission = Arc::new(admission(&["10.0.0.0/8"]));
        let client = admission.client("203.0.113.7".parse().unwrap(), None);
        let seats: Vec<_> = [(); 3].map(|()| admission.seat(client)).into_iter().collect();
        assert_eq!(seats.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, true, false]);
        drop(seats);
        assert!(admission.by_address.lock().unwrap().is_empty());
        assert!(admission.seat(client).is_ok());
    }

    #[test]
    fn an_address_that_opens_too_many_costs_itself_alone() {
        let mut config = crate::config::load(&crate::config::Overrides::default()).unwrap();
        (config.limits.handshakes_per_address, config.limits.handshakes_per_second) = (1, 10);
        config.limits.handshakes_burst = 10;
        let admission = Arc::new(Admission::new(&config, Arc::new(Stats::new())));
        let client = |ip: &str| admission.client(ip.parse().unwrap(), None);
        let opened = |ip: &str| admission.seat(client(ip)).is_ok();
        assert!(opened("203.0.113.7") && opened("203.0.113.7"));
        assert!((0..100).all(|_| !opened("203.0.113.7")), "P6: past its rate");
        assert!((0..8).all(|n| opened(&format!("198.51.100.{n}"))), "P6: others are kept out");
        assert!(!opened("198.51.100.9"), "past the node's rate");
    }
}
