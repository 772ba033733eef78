//! The body of a session's response: the actor runs when it is asked for, and says nothing by it. What the actor says is in its Wire,
//! and goes out here when its turn ends, many frames in one write. While the kernel takes nothing the actor does not run, and
//! neither reads nor takes what is queued for it. Lives on the session's thread.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::web::Bytes;
use futures_util::{Stream, future::LocalBoxFuture};

use crate::server::Wire;

/// Drives an actor's stream.
pub(super) struct Flow<S> {
    actor: Pin<Box<S>>,
    wire: Arc<Wire>,
    /// Whether this was asked for before: the response's head is out from the second time on.
    asked: bool,
    /// The wait for a socket that takes nothing.
    waits: Option<LocalBoxFuture<'static, io::Result<()>>>,
    /// Whether the actor has ended, and only its last words are to go.
    over: bool,
}

impl<S> Flow<S> {
    pub(super) fn new(actor: S, wire: Arc<Wire>) -> Self {
        Self { actor: Box::pin(actor), wire, asked: false, waits: None, over: false }
    }

    /// Sends what waits; pending as long as the kernel does not take it.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.waits.is_some() || !self.wire.flush() {
            let wire = &self.wire;
            let waits = self.waits.get_or_insert_with(|| {
                let wire = Arc::clone(wire);
                Box::pin(wire.flushed())
            });
            match waits.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) => self.waits = None,
                Poll::Ready(Err(error)) => {
                    // No more sockets can be waited for.
                    tracing::debug!(%error, "a session's socket is given up");
                    self.wire.give_up();
                    self.waits = None;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<S: Stream<Item = Result<Bytes, actix_web::Error>>> Stream for Flow<S> {
    type Item = Result<Bytes, actix_web::Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.asked {
            self.wire.begin();
        } else {
            // The head is written when this returns.
            self.asked = true;
            cx.waker().wake_by_ref();
        }
        if self.poll_flush(cx).is_pending() {
            return Poll::Pending;
        }
        if !self.over {
            match self.actor.as_mut().poll_next(cx) {
                Poll::Pending => {}
                Poll::Ready(None) => self.over = true,
                Poll::Ready(said) => return Poll::Ready(said),
            }
        }
        match self.poll_flush(cx) {
            Poll::Ready(()) if self.over => Poll::Ready(None),
            _ => Poll::Pending,
        }
    }
}
