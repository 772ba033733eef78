//! What goes over the wire, and nothing else: commands, events, errors, close codes, and the dialects that turn text
//! into commands and events into text. No I/O, no clock, no actor: everything here is pure and runs on any thread.

mod close;
mod command;
mod dialect;
mod error;
mod event;
mod ids;
mod native;
pub mod notice;
mod plain;
mod reply;
mod text;

pub use close::CloseCode;
pub use command::{Command, Draft, Position, Request, RequestId, ResumeRoom, Window};
pub use dialect::{Dialect, Failure};
pub use error::{ErrorCode, WireError};
pub use event::{Event, EventKind, Message, Timestamp};
pub use ids::{ClientId, Epoch, NodeId, RoomName, Seq, UserId};
pub use native::object;
pub use reply::{Hello, Limits, PresenceReply, Reply, Resumed, Standing};
pub use text::MessageLimits;

/// The subprotocol's name; a breaking change of the native dialect gets the next number.
pub const SUBPROTOCOL: &str = "hubbub.v1";
