//! The Session actor and all that guards it. The only place that names actix_web_actors. A session lives on the worker
//! that took its socket; its actor runs only while its client takes what it is sent
//! (`flow`): nothing may rest on its timers alone, and nobody may wait for it.

mod actor;
mod commands;
mod deliver;
mod flow;
mod fragments;
mod frames;
mod guard;
mod handover;
mod incoming;
mod upgrade;

pub use frames::{Frames, Passed};
pub use handover::handover;
pub use upgrade::{echo, native, plain};
