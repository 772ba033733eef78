//! What the hub says on stdout when it listens, for people and for scripts that took port 0: where it is, and, as long as there
//! is no admin, how to become one. That is in no log: who reads logs is not always who runs the hub.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use crate::store::SetupSecret;

/// Says it, in one write: whoever reads the first line alone, and goes, ends nothing by that.
pub(crate) fn greet(addresses: &[SocketAddr], setup: Option<&SetupSecret>) -> Result<(), io::Error> {
    for address in addresses {
        tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "listening");
    }
    let mut out = io::stdout().lock();
    out.write_all(greeting(addresses, setup).as_bytes())?;
    out.flush()
}

fn greeting(addresses: &[SocketAddr], setup: Option<&SetupSecret>) -> String {
    let mut text = String::new();
    for address in addresses {
        // A String takes whatever is written.
        writeln!(text, "hubbub listens on http://{address}").ok();
    }
    if let (Some(SetupSecret { token, left }), Some(address)) = (setup, addresses.first()) {
        let (address, token, left) = (reachable(*address), token.reveal(), spoken(*left));
        let line = format!("no admin yet: open http://{address}/admin#setup={token} (good for {left}, works once)");
        writeln!(text, "{line}").ok();
    }
    text
}

fn spoken(time: Duration) -> String {
    match time.as_secs().div_ceil(60) {
        minutes @ ..=90 => format!("{minutes} minutes"),
        minutes => format!("{} hours", (minutes + 30) / 60),
    }
}

/// Where a browser on this machine finds what listens there.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_can_be_opened_where_the_hub_runs() {
        let secret = SetupSecret { token: "abc".to_owned().into(), left: Duration::from_secs(86_399) };
        let addresses = ["0.0.0.0:8000", "[::]:8000"].map(|address| address.parse().unwrap());
        assert_eq!(
            greeting(&addresses, Some(&secret)),
            "hubbub listens on http://0.0.0.0:8000\nhubbub listens on http://[::]:8000\n\
             no admin yet: open http://127.0.0.1:8000/admin#setup=abc (good for 24 hours, works once)\n"
        );
        assert_eq!(reachable(addresses[1]), "[::1]:8000".parse().unwrap());
        assert_eq!(
            (spoken(Duration::from_secs(3_601)), spoken(Duration::ZERO)),
            ("61 minutes".into(), "0 minutes".into())
        );
        assert_eq!(greeting(&[], Some(&secret)), "");
    }
}
