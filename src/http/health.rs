//! Whether the process lives, and whether it should be sent work.

use std::time::Duration;

use actix::Addr;
use actix_web::{HttpResponse, Responder, web};
use serde_json::{Value, json};

use crate::{store::Probe, worker::Worker};

/// The longest a balancer has to wait for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers as long as the worker's thread turns.
pub(super) async fn live() -> impl Responder {
    HttpResponse::Ok().json(json!({"status": "live"}))
}

/// 200 where messages can be stored and delivered: the ChatServer and the writer answer, and so does the writing
/// connection itself. 503 where not, and as soon as a stop is announced. What works less well than it should, such as a hub
/// without its Redis, is named in `degraded`.
pub(super) async fn ready(worker: web::Data<Worker>) -> impl Responder {
    let (database, works) = database_in_time(&worker).await;
    let stopping = worker.stopping.is_announced();
    let status = match (stopping, serving(&worker) && works) {
        (true, _) => "stopping",
        (false, true) => "ready",
        (false, false) => "unavailable",
    };
    // Without Redis nothing is lost, and other nodes' messages come a little later: no reason to take a node out.
    let redis = worker.mirror.bus().map(|bus| if bus.is_up() { "up" } else { "away" });
    let degraded: Vec<&str> = redis.filter(|state| *state == "away").map(|_| "redis").into_iter().collect();
    let body = json!({"status": status, "database": database, "redis": redis, "degraded": degraded});
    if status == "ready" { HttpResponse::Ok().json(body) } else { HttpResponse::ServiceUnavailable().json(body) }
}

/// Whether messages can be stored, whether or not this node is about to stop.
pub(super) async fn can_store(worker: &Worker) -> bool {
    serving(worker) && database_in_time(worker).await.1
}

fn serving(worker: &Worker) -> bool {
    worker.server.connected() && worker.writers.iter().all(Addr::connected)
}

async fn database_in_time(worker: &Worker) -> (Value, bool) {
    let answer = tokio::time::timeout(PATIENCE, database(worker)).await;
    answer.unwrap_or_else(|_| (json!({"error": "no answer"}), false))
}

async fn database(worker: &Worker) -> (Value, bool) {
    for writer in &worker.writers {
        match writer.send(Probe).await {
            Ok(state) if state.failing => return (json!({"error": "not writable", "queued": state.queued}), false),
            Ok(_) => {}
            Err(_) => return (json!({"error": "no writer"}), false),
        }
    }
    match worker.store.health().await {
        Ok(health) => (json!(health), true),
        Err(_) => (json!({"error": "no answer from the writing connection"}), false),
    }
}
