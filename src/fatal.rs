//! A panic in an actor that the whole node rests on ends the process. actix drops a panicked actor and goes on, which
//! would leave a node that accepts sockets and is deaf; a supervisor (systemd, Kubernetes) starts a new one.

/// Held by an actor; ends the process when it is dropped by a panic.
pub(crate) struct AbortOnPanic(pub(crate) &'static str);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(actor = self.0, "an actor that the hub can't do without has panicked: ending the process");
            std::process::abort();
        }
    }
}
