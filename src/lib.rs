//! Hubbub: a self-hosted chat backend for an app that already has users. docs/architecture.md walks one message through
//! the code. Imports run one way: `http` and `session` → `server` → `room`, `store`, `mirror` → `protocol`.

pub mod admission;
pub mod app;
pub mod auth;
pub mod bench;
pub mod cli;
pub mod config;
mod fatal;
mod greeting;
pub mod http;
mod listener;
pub mod mirror;
mod process;
pub mod protocol;
pub mod rates;
pub mod room;
pub mod server;
pub mod session;
pub mod stats;
pub mod store;
pub mod worker;
