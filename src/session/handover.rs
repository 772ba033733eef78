//! Takes a socket out of actix-web's hands when its request was answered with 101: kept there it would cost 16 KiB of buffers, and
//! each frame a way through a payload and a body. What is refused is answered here too, and its connection closed. Runs on the
//! worker's thread; bounds: a refusal's body, and what is read of a client that was refused.

use std::{rc::Rc, sync::Arc, time::Duration};

use actix_codec::{Encoder, Framed};
use actix_http::{
    ConnectionType, HttpMessage, Request, Response,
    body::{BodySize, BoxBody, MessageBody, to_bytes},
    h1::{Codec, Message},
    ws,
};
use actix_web::{
    dev::{Service, ServiceFactory, ServiceResponse, fn_factory, fn_service},
    rt::net::TcpStream,
    web::{self, BytesMut},
};
use actix_web_actors::ws::WebsocketContext;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use super::{
    actor::{Entrance, Holds, Session},
    flow::Flow,
    guard::{Gate, Guard},
};
use crate::{
    admission::Seat,
    protocol::{Dialect, Position},
    server::Wire,
    worker::Worker,
};

/// For how long, and how many times, a refused client is listened to.
const LINGER: (Duration, u32) = (Duration::from_secs(1), 16);

/// That a request's socket can be taken; one with a body in chunks is no such request, whatever it asks for.
pub(super) struct Takeable;

/// Somebody who may come in; the upgrade's response carries it.
pub(super) struct Newcomer {
    pub(super) worker: web::Data<Worker>,
    pub(super) dialect: Dialect,
    pub(super) entrance: Entrance,
    pub(super) position: Option<Position>,
    pub(super) seat: Seat,
}

impl Newcomer {
    /// Starts the session on its socket: `head` is the response's, `ahead` what was read behind the request.
    fn enter(self, socket: TcpStream, head: BytesMut, ahead: BytesMut) {
        let Self { worker, dialect, entrance, position, seat } = self;
        let limits = &worker.config.limits;
        let (codec, gate) = (ws::Codec::new().max_size(limits.frame_bytes), Gate::new(limits.auth_frame_bytes));
        let (reads, writes) = socket.into_split();
        let wire = Arc::new(Wire::new(writes, head));
        let guard = Guard::new(reads, ahead.freeze(), Rc::clone(&gate));
        let session = Session::new(worker, dialect, entrance, position, Arc::clone(&wire), Holds { _seat: seat, gate });
        let actor = WebsocketContext::with_codec(session, guard, codec);
        actix_web::rt::spawn(Flow::new(actor, wire));
    }
}

/// What actix-http calls for requests that want another protocol: the app answers them as all others, but their bodies are not read.
pub fn handover<A, B>(
    app: A,
) -> impl ServiceFactory<
    (Request, Framed<TcpStream, Codec>),
    Config = (),
    Response = (),
    Error = actix_web::Error,
    InitError = A::InitError,
>
where
    A: ServiceFactory<Request, Config = (), Response = ServiceResponse<B>, Error = actix_web::Error> + 'static,
    A::Service: 'static,
    A::Future: 'static,
    A::InitError: 'static,
    B: MessageBody + 'static,
{
    fn_factory(move || {
        let app = app.new_service(());
        async move {
            let app = Rc::new(app.await?);
            Ok(fn_service(move |(request, framed): (Request, Framed<TcpStream, Codec>)| {
                let app = Rc::clone(&app);
                async move {
                    request.extensions_mut().insert(Takeable);
                    let answered = app.call(request).await.map(|answer| answer.map_into_boxed_body().into());
                    let response = answered.unwrap_or_else(|error| error.error_response().into());
                    if let Err(error) = answer(response, framed).await {
                        tracing::debug!(%error, "a client went before it was answered");
                    }
                    Ok(())
                }
            }))
        }
    })
}

/// Sends a response; the socket becomes a session's where the response brings one, and ends otherwise.
async fn answer(response: Response<BoxBody>, framed: Framed<TcpStream, Codec>) -> Result<(), actix_web::Error> {
    let mut parts = framed.into_parts();
    let (mut head, body) = response.into_parts();
    let newcomer = head.extensions_mut().remove::<Newcomer>();
    // Behind answers to earlier requests of the connection, if any.
    let out = &mut parts.write_buf;
    if let Some(newcomer) = newcomer {
        parts.codec.encode(Message::Item((head, BodySize::None)), out)?;
        newcomer.enter(parts.io, parts.write_buf, parts.read_buf);
        return Ok(());
    }
    head.head_mut().set_connection_type(ConnectionType::Close);
    let size = body.size();
    parts.codec.encode(Message::Item((head, size)), out)?;
    if !size.is_eof() {
        let body = to_bytes(body).await.map_err(Into::<actix_web::Error>::into)?;
        parts.codec.encode(Message::Chunk(Some(body)), out)?;
        parts.codec.encode(Message::Chunk(None), out)?;
    }
    parts.io.write_all(out).await?;
    parts.io.shutdown().await?;
    // Were the socket closed with something of the client's unread, the kernel would take the answer back.
    let listen = async {
        let (mut scrap, (_, times)) = ([0; 4_096], LINGER);
        for _ in 0..times {
            if parts.io.read(&mut scrap).await.is_ok_and(|read| read > 0) {
                continue;
            }
            break;
        }
    };
    drop(timeout(LINGER.0, listen).await);
    Ok(())
}
