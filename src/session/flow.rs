//! The task that a session is. Its actor runs when there is something for it, and what it says is in its Wire, and goes out here
//! when its turn ends, many frames in one write. While the kernel takes nothing the actor does not run, and neither reads nor takes
//! what is queued for it; what the kernel was not offered yet goes out after the turn, with what that says. Lives on the session's
//! thread; ends with the actor, when its last words are out.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use actix_web::web::Bytes;
use futures_util::Stream;

use crate::server::Wire;

/// Drives an actor, which is a stream that says nothing by itself.
pub(super) struct Flow<S> {
    actor: S,
    wire: Arc<Wire>,
    /// Whether the actor has ended, and only its last words are to go.
    over: bool,
}

impl<S> Flow<S> {
    pub(super) fn new(actor: S, wire: Arc<Wire>) -> Self {
        Self { actor, wire, over: false }
    }
}

impl<S: Stream<Item = Result<Bytes, actix_web::Error>> + Unpin> Future for Flow<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.over || !self.wire.keeps() {
            ready!(self.wire.poll_flush(cx));
        }
        if !self.over {
            self.over = matches!(Pin::new(&mut self.actor).poll_next(cx), Poll::Ready(None));
            ready!(self.wire.poll_flush(cx));
        }
        if !self.over {
            return Poll::Pending;
        }
        self.wire.finish();
        Poll::Ready(())
    }
}
