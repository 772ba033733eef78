//! What an admin sees of all nodes, whichever is asked: their sessions, the busiest rooms, and one history.

use std::time::Duration;

use serde_json::{Value, json};

use super::{nodes, options, until};
use crate::support::{Hub, PATIENCE, Redis};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_of_all_nodes_are_listed_and_a_silent_node_is_named() {
    let hubs: [Hub; 3] = nodes(options(&Redis::shared().url())).await;
    let admin = hubs[0].admin();
    let node = |hub: &Hub| hub.api("root").get("/api/admin/stats").body["node"].as_str().unwrap().to_owned();
    let names = hubs.iter().map(node).collect::<Vec<_>>();
    let _alice = hubs[0].member("alice", "tea").await;
    let mut bob = hubs[1].member("bob", "tea").await;
    let _carol = hubs[2].client("carol").await;
    let list = |query: &str| admin.get(&format!("/api/admin/sessions{query}")).body;
    let seen = |list: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut seen: Vec<_> = list["sessions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|session| (text(&session["user_id"]), text(&session["node"])))
            .collect();
        seen.sort();
        seen
    };
    let expected: Vec<_> =
        ["alice", "bob", "carol"].into_iter().map(str::to_owned).zip(names.iter().cloned()).collect();
    until("all nodes answer", PATIENCE, async || seen(&list("")) == expected).await;
    assert_eq!((&list("")["total"], &list("")["silent"]), (&json!(3), &json!([])));
    assert_eq!(seen(&list("?q=BOB")), [expected[1].clone()]);
    assert_eq!((list("?limit=1")["sessions"].as_array().unwrap().len(), &list("?limit=1")["total"]), (1, &json!(3)));
    // Closing one that is on another node goes as before.
    let close = list("?q=bob")["sessions"][0]["session"].as_str().unwrap().to_owned();
    assert_eq!(admin.post(&format!("/api/admin/sessions/{close}/close"), &json!({})).status, 202);
    assert_eq!(bob.closed().await.map(|closed| closed.code), Some(4505));
    until("it is gone", PATIENCE, async || list("")["total"] == 2).await;
    // A node that stands still is waited for half a second, and named as long as its lease holds.
    hubs[2].signal("STOP");
    let start = std::time::Instant::now();
    let without = list("");
    assert_eq!((&without["silent"], &without["total"]), (&json!([names[2]]), &json!(1)), "{without}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    hubs[2].signal("CONT");
    until("it answers again", PATIENCE, async || list("")["silent"] == json!([]) && list("")["total"] == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_node_has_the_history_and_the_busiest_rooms_of_all() {
    let hubs: [Hub; 2] = nodes(options(&Redis::shared().url())).await;
    let admins = [hubs[0].admin(), hubs[1].api("root")];
    let mut alice = hubs[0].member("alice", "tea").await;
    let mut bob = hubs[1].member("bob", "tea").await;
    // On each node the other one's sessions and messages count too.
    let all = async |admin: &crate::support::Api| {
        let points = admin.get("/api/admin/history").body["points"].clone();
        points.as_array().unwrap().iter().any(|point| {
            let number = |field: &str| point[field].as_f64().unwrap();
            (number("nodes"), number("sessions"), number("users")) == (2.0, 2.0, 2.0)
                && number("messages_per_s") > 0.0
                && number("commit_p99_us") > 0.0
                && number("delivery_p99_us") > 0.0
        })
    };
    until("both nodes' points", PATIENCE, async || {
        alice.say("tea", "hi").await;
        bob.say("tea", "ho").await;
        all(&admins[0]).await && all(&admins[1]).await
    })
    .await;
    for _ in 0..3 {
        alice.say("milk", "hi").await;
    }
    until("the busiest rooms of both", PATIENCE, async || {
        let sums =
            admins.each_ref().map(|admin| admin.get("/api/admin/stats").body["cluster"]["sum"]["busiest"].clone());
        let first = sums.each_ref().map(|busiest| {
            let tea = &busiest[0];
            (tea["room"] == "tea" && tea["sessions"] == 2).then(|| tea["messages_1m"].as_u64().unwrap())
        });
        let own = admins[0].get("/api/admin/stats").body["rooms"]["busiest"][0]["messages_1m"].as_u64().unwrap();
        // More than this node has stored by itself.
        first.iter().all(|messages| messages.is_some_and(|messages| messages > own))
    })
    .await;
}
