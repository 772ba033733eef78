//! A call in the context of the database's own runtime: it is polled, and dropped, by whoever makes it, but the sockets,
//! timers and tasks that it makes belong to that runtime. (tokio-util's `TokioContext` does the same but for the drop,
//! in which sqlx gives a connection back by a task.)

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use tokio::runtime::Handle;

/// The call.
pub(super) struct AtHome<F> {
    runtime: Handle,
    call: Option<Pin<Box<F>>>,
}

impl<F: Future> AtHome<F> {
    pub(super) fn new(runtime: &Handle, call: F) -> Self {
        Self { runtime: runtime.clone(), call: Some(Box::pin(call)) }
    }
}

impl<F: Future> Future for AtHome<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _home = this.runtime.enter();
        match &mut this.call {
            Some(call) => call.as_mut().poll(context),
            // Only drop leaves nothing behind.
            None => Poll::Pending,
        }
    }
}

impl<F> Drop for AtHome<F> {
    fn drop(&mut self) {
        let _home = self.runtime.enter();
        drop(self.call.take());
    }
}
