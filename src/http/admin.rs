//! For the operator: `GET /api/admin/stats` for admins, `GET /metrics` for Prometheus.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use serde_json::{Map, Value, json};
use subtle::ConstantTimeEq;

use super::{
    ApiError,
    extract::{Admin, Asker, bearer},
    health,
};
use crate::{
    protocol::WireError,
    stats::{CONTENT_TYPE, Standing, sums},
    worker::Worker,
};

/// `GET /api/admin/stats`: this node's numbers, each other node's, and the sums.
pub(super) async fn stats(_: Admin, worker: web::Data<Worker>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(cluster(&worker))
}

/// This node's report and its bounds, with the reports of all living nodes, this one first, and what adds up.
fn cluster(worker: &Worker) -> Value {
    let mut own = worker.stats.report();
    let bus = worker.mirror.bus();
    let others = bus.map(|bus| bus.nodes()).unwrap_or_default();
    let others: Vec<Value> = others.iter().filter_map(|report| serde_json::from_str(report).ok()).collect();
    let nodes: Vec<&Value> = std::iter::once(&own).chain(&others).collect();
    let redis = bus.map(|bus| if bus.is_up() { "up" } else { "away" });
    let cluster = json!({"redis": redis, "sum": sums(&nodes), "nodes": nodes});
    let bounds: Map<String, Value> =
        limits(worker).into_iter().map(|(name, bound)| (name.to_owned(), bound.into())).collect();
    if let Some(own) = own.as_object_mut() {
        own.insert("limits".into(), bounds.into());
        own.insert("cluster".into(), cluster);
    }
    own
}

/// `GET /metrics`, for an admin's token or `server.metrics_token`.
pub(super) async fn metrics(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, ApiError> {
    let expected = worker.config.server.metrics_token.reveal();
    let given = bearer(&request).unwrap_or_default();
    let scrapes = !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
    if !scrapes {
        Admin::check(Asker::of(&request, &worker).await?)?;
    }
    let others = worker.mirror.bus().map_or(0, |bus| bus.nodes().len());
    let standing = Standing {
        database_up: health::can_store(&worker).await,
        nodes: others.saturating_add(1),
        limits: limits(&worker),
    };
    let text = worker.stats.metrics(standing).map_err(|_| WireError::internal())?;
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text))
}

/// The bounds of all that the gauges count.
fn limits(worker: &Worker) -> Vec<(&'static str, usize)> {
    let limits = &worker.config.limits;
    vec![
        // In the config 0 stands for as many as there are files for.
        ("sessions", worker.admission.most_sessions()),
        ("recent_total_bytes", limits.recent_total_bytes),
        ("server_queue", limits.server_queue),
        ("writer_queue", limits.writer_queue),
        ("dispatcher_queue", limits.dispatcher_queue),
        ("session_queue_frames", limits.session_queue_frames),
        ("mirror_queue", limits.mirror_queue),
        ("mirror_queue_bytes", limits.mirror_queue_bytes),
        ("read_marks", limits.read_marks),
        ("password_checks", limits.password_checks),
        ("password_queue", limits.password_queue),
    ]
}
