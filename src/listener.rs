//! The port: who takes its connections, how they are bounded, and what answers them. A request goes to the App; one that becomes a
//! session's goes there by `session::handover`. Called once; what it builds runs on the workers' threads.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use actix_http::{Extensions, HttpService};
use actix_service::map_config;
use actix_web::{
    App,
    dev::{AppConfig, Server},
    middleware::{NormalizePath, from_fn},
    rt::net::TcpStream,
    web,
};
use socket2::{Domain, SockRef, Socket, Type};

use crate::{config::Config, http, session, worker::Worker};

/// What requests under way get at the end of a stop, and a client to take a last answer.
pub(crate) const LAST: Duration = Duration::from_secs(1);
/// Time for a request's head to come whole: a client that sends a byte now and then is answered 408.
const REQUEST_HEAD: Duration = Duration::from_secs(5);
/// Connections that the kernel keeps until the hub takes them.
const BACKLOG: i32 = 1_024;

/// Opens the port, on which connections are taken when the server that this returns is run. `make_worker` is called once on each
/// worker's thread.
pub(crate) fn open(
    config: &Config,
    connections: usize,
    make_worker: impl Fn() -> web::Data<Worker> + Clone + Send + 'static,
) -> io::Result<(Server, SocketAddr)> {
    let (listener, address) = listen(config.server.bind)?;
    let workers = config.server.workers();
    let builder = Server::build()
        .workers(workers)
        .max_concurrent_connections(connections.div_ceil(workers))
        .disable_signals()
        .shutdown_timeout(LAST.as_secs());
    let stops = builder.graceful_shutdown_signal();
    let (origins, echo) = (config.server.origins.clone(), config.server.echo);
    let limits = &config.limits;
    let (body_bytes, send_buffer, stalled) = (limits.body_bytes, limits.send_buffer_bytes, limits.stalled_timeout);
    let server = builder.listen("hub", listener, move || {
        let worker = make_worker();
        let app = || {
            let app = App::new()
                .app_data(worker.clone())
                .app_data(web::QueryConfig::default().error_handler(http::query_error))
                .app_data(web::PayloadConfig::new(body_bytes))
                .wrap(NormalizePath::trim())
                .wrap(from_fn(http::finish))
                .wrap(http::cors(&origins))
                .configure(|routes| {
                    if echo {
                        routes.route("/ws/echo", web::get().to(session::echo));
                    }
                })
                .route("/ws", web::get().to(session::native))
                .route("/ws/chat", web::get().to(session::plain))
                .route("/ws/chat/{room}", web::get().to(session::plain))
                .configure(http::routes);
            map_config(app, |()| AppConfig::default())
        };
        let stops = stops.clone();
        HttpService::build()
            .graceful_shutdown_signal(move || {
                let stops = stops.clone();
                async move { stops.notified().await }
            })
            .client_request_timeout(REQUEST_HEAD)
            .client_disconnect_timeout(LAST)
            .on_connect_ext(move |socket, _: &mut Extensions| guard_socket(socket, send_buffer, stalled))
            .upgrade(session::handover(app()))
            .finish(app())
            .tcp()
    })?;
    Ok((server.run(), address))
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    // A hub that starts anew need not wait for the connections of the one before.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let listener = TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A client that takes nothing is cut by the kernel, or by its Dispatcher: its session's actor does not run then. Its send buffer is
/// bounded too.
fn guard_socket(stream: &TcpStream, send_buffer: usize, stalled: Duration) {
    let socket = SockRef::from(stream);
    let set = socket.set_send_buffer_size(send_buffer).and_then(|()| {
        // An ack and an event are two small writes: the second must not wait for the client's delayed acknowledgement.
        socket.set_tcp_nodelay(true)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(stalled))?;
        #[cfg(not(target_os = "linux"))]
        let _ = stalled;
        Ok(())
    });
    if let Err(error) = set {
        tracing::debug!(%error, "a socket's options could not be set");
    }
}
