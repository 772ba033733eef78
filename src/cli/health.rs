//! Asking a running hub how it is, for whoever watches over it where there is no other client: an image holds nothing but
//! the hub.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use ureq::Agent;

use super::CliError;

/// What is shown of an answer.
const SHOWN_BYTES: u64 = 4_096;

/// What `/health/live` or `/health/ready` says, of the hub that listens where the settings say.
pub(super) fn ask(bind: SocketAddr, ready: bool, timeout: Duration) -> Result<String, CliError> {
    let expected = if ready { "ready" } else { "live" };
    let Some(address) = reachable(bind) else {
        return Err(CliError::Refused("with port 0 in server.bind nobody knows where the hub listens".to_owned()));
    };
    let url = format!("http://{address}/health/{expected}");
    // Whatever the environment says of proxies: this is the same machine.
    let agent: Agent = Agent::config_builder()
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .timeout_global(Some(timeout))
        .build()
        .into();
    let refused = |error: ureq::Error| CliError::Refused(format!("{url} does not answer: {error}"));
    let mut answer = agent.get(&url).call().map_err(refused)?;
    let body = answer.body_mut().with_config().limit(SHOWN_BYTES).read_to_string().map_err(refused)?;
    let says = serde_json::from_str::<Value>(&body).unwrap_or_default();
    if answer.status() == 200 && says.get("status").and_then(Value::as_str) == Some(expected) {
        Ok(format!("http://{address} is {expected}"))
    } else {
        Err(CliError::Refused(format!("{url} answers {}: {body}", answer.status())))
    }
}

/// Where a hub that listens on all addresses can be asked.
fn reachable(mut bind: SocketAddr) -> Option<SocketAddr> {
    if bind.ip().is_unspecified() {
        bind.set_ip(match bind.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    (bind.port() != 0).then_some(bind)
}
