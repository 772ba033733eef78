//! For the operator: `GET /api/admin/stats` for admins, `GET /metrics` for Prometheus.

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use subtle::ConstantTimeEq;

use super::{
    ApiError,
    extract::{Admin, Asker, bearer},
};
use crate::{protocol::WireError, stats::CONTENT_TYPE, worker::Worker};

/// `GET /api/admin/stats`: this node's numbers.
pub(super) async fn stats(_: Admin, worker: web::Data<Worker>) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(worker.stats.report())
}

/// `GET /metrics`, for an admin's token or `server.metrics_token`.
pub(super) async fn metrics(request: HttpRequest, worker: web::Data<Worker>) -> Result<HttpResponse, ApiError> {
    let expected = worker.config.server.metrics_token.reveal();
    let given = bearer(&request).unwrap_or_default();
    let scrapes = !expected.is_empty() && bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
    if !scrapes {
        Admin::check(Asker::of(&request, &worker).await?)?;
    }
    let text = worker.stats.metrics().map_err(|_| WireError::internal())?;
    Ok(HttpResponse::Ok().content_type(CONTENT_TYPE).body(text))
}
