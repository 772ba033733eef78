//! HTTP as one user.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;

/// A client for the API.
pub struct Api {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// A status and the body's JSON.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
    pub headers: ureq::http::HeaderMap,
}

impl Answer {
    /// Status and error code together.
    pub fn refusal(&self) -> (u16, &str) {
        (self.status, self.body["error"]["code"].as_str().unwrap_or("none"))
    }
}

impl Api {
    pub fn new(address: SocketAddr, token: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build();
        Self { agent: config.into(), base: format!("http://{address}"), token }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, None)
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_text(path, &body.to_string())
    }

    pub fn post_text(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, Some(("application/json", body)))
    }

    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, Some(("application/json", &body.to_string())))
    }

    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.call("PATCH", path, Some(("application/json", &body.to_string())))
    }

    pub fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, None)
    }

    /// A call without a body, with these headers.
    pub fn with_headers(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.send(method, path, headers, None)
    }

    /// A POST that a proxy says is from this address.
    pub fn post_from(&self, address: &str, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[("X-Forwarded-For", address)], Some(("application/json", body)))
    }

    /// Any call; `body` with its content type.
    pub fn call(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Answer {
        self.send(method, path, &[], body)
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<(&str, &str)>) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        answer(match body {
            None => self.agent.run(request.body(()).unwrap()).unwrap(),
            Some((kind, text)) => {
                self.agent.run(request.header("Content-Type", kind).body(text.to_owned()).unwrap()).unwrap()
            }
        })
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Answer {
    let text = response.body_mut().read_to_string().unwrap();
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status: response.status().as_u16(), body, headers: response.headers().clone() }
}
