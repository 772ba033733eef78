//! `GET /api/me`: who the token says one is.

use actix_web::{HttpResponse, Responder};
use serde_json::json;

use super::signed_in::Asker;

pub(super) async fn me(Asker(user): Asker) -> impl Responder {
    HttpResponse::Ok().json(json!({"user_id": user.id, "user": &*user.name}))
}
