//! What each answer gets before it leaves: refusals are counted, the asker's rate is told, and browsers are told to trust
//! as little as possible (<https://owasp.org/www-project-secure-headers/>). HSTS is for the proxy that ends TLS.

use actix_cors::Cors;
use actix_web::{
    HttpMessage,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{
        Method, StatusCode,
        header::{self, HeaderMap, HeaderName, HeaderValue},
    },
    middleware::Next,
    web,
};

use crate::{protocol::ErrorCode, rates::Level, worker::Worker};

/// Of answers that are no pages: nothing in them may be run or shown.
const NO_PAGE: &str = "default-src 'none'; frame-ancestors 'none'";
const EVERYWHERE: [(HeaderName, &str); 5] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CONTENT_SECURITY_POLICY, NO_PAGE),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];
const RATE: [HeaderName; 3] = [
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// The middleware.
pub(crate) async fn finish(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, actix_web::Error> {
    let worker = request.app_data::<web::Data<Worker>>().cloned();
    let mut response = next.call(request).await?;
    if let (Some(worker), Some(code)) = (worker, response.response().extensions().get::<ErrorCode>()) {
        worker.stats.refused(*code);
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let level = response.request().extensions().get::<Level>().copied();
    let headers = response.headers_mut();
    if let Some(Level { limit, remaining, full_in_s }) = level {
        for (name, number) in RATE.into_iter().zip([limit, remaining, full_in_s]) {
            headers.insert(name, number.into());
        }
    }
    for (name, value) in EVERYWHERE {
        set_default(headers, name, value);
    }
    set_default(headers, header::CACHE_CONTROL, "no-store");
    Ok(response)
}

fn set_default(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    if !headers.contains_key(&name) {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Pages of which origins may read answers: exactly those of the config, any where it names none. No cookie authenticates
/// anything, so what a page may read is what it has a token for.
pub(crate) fn cors(origins: &[String]) -> Cors {
    let methods = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let cors = Cors::default()
        .allowed_methods(methods)
        .allowed_headers([header::AUTHORIZATION, header::CONTENT_TYPE])
        .expose_headers(RATE.into_iter().chain([header::RETRY_AFTER]))
        // What a browser does not show to the page has been judged by its token all the same.
        .block_on_origin_mismatch(false)
        .max_age(3_600);
    if origins.is_empty() {
        return cors.allow_any_origin().send_wildcard();
    }
    origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin))
}
