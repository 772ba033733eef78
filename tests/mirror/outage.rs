//! Redis that is killed, paused, not there from the start, or that silently stops bringing something. P9: messages are
//! acked and delivered on their own node as before, other nodes have them within a second from the database, nothing is
//! lost, doubled or out of order, the node says what is wrong and stays ready, and the bus works again by itself.
//!
//! Seen to fail with the hub broken so (scripts/mutants): heads never compared with the database (P9: what other nodes
//! store never comes).

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{ACROSS, Outcome, Traffic, nodes, options, prefixed, redis_is, typical, until};
use crate::support::{Client, Hub, Lossy, PATIENCE, Redis, unique};

const FELT_WITHIN: Duration = Duration::from_secs(3);
const HEALED_WITHIN: Duration = Duration::from_secs(2);
/// Between two messages of a writer.
const PAUSE: Duration = Duration::from_millis(10);

async fn for_ms(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Traffic goes on for a while, and must have come by the bus: the database alone is asked twice a second.
async fn by_the_bus(traffic: Traffic, hubs: &[Hub], what: &str) -> Outcome {
    let healed = Instant::now();
    for_ms(700).await;
    let outcome = traffic.finish(&hubs[0]).await;
    outcome.hold_times(what);
    let across = typical(outcome.across(healed, Instant::now()));
    assert!(
        across < Duration::from_millis(100),
        "P9: {across:?} to another node, so it is not the bus that brings them"
    );
    outcome
}

/// In a room in which only the other node speaks: nothing that this one says shows it that something is missing.
struct OneWay(Client, Client);

impl OneWay {
    async fn between(hubs: &[Hub]) -> Self {
        Self(hubs[0].member("speaks", "aside").await, hubs[1].member("listens", "aside").await)
    }

    async fn holds(&mut self, what: &str) {
        let Self(near, far) = self;
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            for_ms(rand::random_range(0..100)).await;
            let since = Instant::now();
            let seq = near.say("aside", "hi").await["seq"].clone();
            assert!(since.elapsed() < ACROSS, "P9: {what}: an ack only after {:?}", since.elapsed());
            let heard = timeout(PATIENCE / 2, far.message()).await;
            let heard =
                heard.unwrap_or_else(|_| panic!("P9: {what}: nothing comes to a node that says nothing itself"));
            assert_eq!(heard["seq"], seq, "P3: {what}");
            longest = longest.max(since.elapsed());
        }
        eprintln!("{what}: one way at most {longest:?}");
        assert!(longest < ACROSS, "P9: {what}: {longest:?} to a node that says nothing itself");
    }
}

async fn under(what: &str, mut redis: Redis, away: fn(&mut Redis), back: fn(&mut Redis)) {
    let hubs: [Hub; 2] = nodes(options(&redis.url())).await;
    let traffic = Traffic::start(&hubs, "lobby", PAUSE).await;
    let mut one_way = OneWay::between(&hubs).await;
    for_ms(300).await;
    away(&mut redis);
    let since = Instant::now();
    one_way.holds(&format!("{what}, just now")).await;
    let left = FELT_WITHIN.saturating_sub(since.elapsed());
    for hub in &hubs {
        redis_is(hub, "away", left).await;
    }
    one_way.holds(what).await;
    back(&mut redis);
    let (since, mut took) = (Instant::now(), Duration::ZERO);
    for hub in &hubs {
        redis_is(hub, "up", HEALED_WITHIN).await;
        took = since.elapsed();
    }
    assert!(took < HEALED_WITHIN, "P9: the bus works only {took:?} after Redis was back");
    eprintln!("{what}: up again after {took:?}");
    by_the_bus(traffic, &hubs, what).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_redis_is_killed_and_comes_back_empty() {
    under("killed", Redis::start(&[]), Redis::kill, Redis::start_again).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_redis_stands_still_with_its_connections_open() {
    under("paused", Redis::start(&[]), |redis| redis.pause(), |redis| redis.go_on()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_redis_is_not_there_when_the_nodes_start() {
    let mut redis = Redis::start(&[]);
    redis.kill();
    let options = options(&redis.url());
    let hubs = [(); 2].map(|()| Hub::with(options.clone()));
    for hub in &hubs {
        redis_is(hub, "away", FELT_WITHIN).await;
    }
    let traffic = Traffic::start(&hubs, "lobby", PAUSE).await;
    OneWay::between(&hubs).await.holds("not there at the start").await;
    redis.start_again();
    for hub in &hubs {
        redis_is(hub, "up", HEALED_WITHIN).await;
    }
    by_the_bus(traffic, &hubs, "not there at the start").await;
}

/// Redis ends the connections by which nodes listen, and leaves those by which they publish.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_the_listening_connections_end() {
    let redis = Redis::start(&[]);
    let hubs: [Hub; 2] = nodes(options(&redis.url())).await;
    let traffic = Traffic::start(&hubs, "lobby", PAUSE).await;
    for _ in 0..3 {
        let killed = async || redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]) != "0";
        until("P9: a node listens", FELT_WITHIN + HEALED_WITHIN, killed).await;
        for_ms(300).await;
    }
    for_ms(100).await;
    until("P9: nodes listen again", FELT_WITHIN + HEALED_WITHIN, async || {
        let listening = redis.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).lines().count();
        listening == hubs.len()
    })
    .await;
    for hub in &hubs {
        redis_is(hub, "up", FELT_WITHIN + HEALED_WITHIN).await;
    }
    by_the_bus(traffic, &hubs, "listeners ended").await;
}

/// One room's messages don't come, while all others and the beats do: nothing tells but that they don't come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p9_one_room_s_subscription_dies_in_silence() {
    let redis = Redis::start(&[]);
    let proxy = Lossy::before(redis.port()).await;
    let prefix = unique();
    let options = prefixed(&redis.url(), &prefix);
    let hubs: [Hub; 2] = {
        let [near] = nodes(options.clone()).await;
        let [far] = nodes(options.set("redis.url", proxy.url())).await;
        [near, far]
    };
    let channel = format!("{prefix}room:lobby");
    let listeners = || redis.command(&["PUBSUB", "NUMSUB", &channel]).lines().last().unwrap().to_owned();
    let traffic = Traffic::start(&hubs, "lobby", PAUSE).await;
    for_ms(200).await;
    proxy.swallow(Some(&channel));
    for_ms(1_500).await;
    proxy.swallow(None);
    assert!(proxy.lost() > 10, "only {} messages were lost", proxy.lost());
    for_ms(300).await;
    assert_eq!(listeners(), "2");
    let mut one_way = OneWay::between(&hubs).await;
    proxy.swallow(Some(&format!("{prefix}room:aside")));
    one_way.holds("one room's messages are swallowed").await;
    proxy.swallow(None);
    proxy.unsubscribe(&channel);
    until("the subscription is gone", ACROSS, async || listeners() == "1").await;
    let took = until("P9: the subscription is made anew", Duration::from_secs(4), async || listeners() == "2").await;
    eprintln!("subscribed anew after {took:?}");
    by_the_bus(traffic, &hubs, "one subscription lost").await;
}

fn files(hub: &Hub) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", hub.pid())).unwrap().count()
}

/// Redis comes and goes, and stands still while nodes try to connect: no try leaves anything behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_many_returns_of_redis_leave_nothing_open() {
    let mut redis = Redis::start(&[]);
    let [hub]: [Hub; 1] = nodes(options(&redis.url()).set("redis.timeout", "100ms")).await;
    let mut alice = hub.member("alice", "lobby").await;
    let before = files(&hub);
    for _ in 0..5 {
        redis.kill();
        redis_is(&hub, "away", FELT_WITHIN).await;
        redis.start_again();
        redis_is(&hub, "up", HEALED_WITHIN).await;
    }
    redis.pause();
    redis_is(&hub, "away", FELT_WITHIN).await;
    let mut most = 0;
    for _ in 0..40 {
        for_ms(100).await;
        most = most.max(files(&hub));
    }
    redis.go_on();
    redis_is(&hub, "up", HEALED_WITHIN).await;
    let mut after = 0;
    until("P5: files are closed", FELT_WITHIN, async || {
        after = files(&hub);
        after <= before + 4
    })
    .await;
    eprintln!("files: {before} before, at most {most} while Redis stood still, {after} after");
    assert!(most <= before + 6, "P5: {most} files are open instead of {before} while Redis stands still");
    assert_eq!(alice.say("lobby", "hi").await["seq"], 1);
}
