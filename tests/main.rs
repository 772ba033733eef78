//! All tests that go through the hub's outside, in one program: one file a behaviour, run side by side.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test stops at the first thing that is not as it should be, and may say what it saw"
)]

mod accounts;
mod admission;
mod bad_input;
mod clients;
mod command_line;
mod console;
mod copy;
mod dataset;
mod deployment;
mod documents;
mod durability;
mod fan_out;
mod frames;
mod handover;
mod http_api;
mod hygiene;
mod jwks;
mod kill;
mod members;
mod mirror;
mod native_dialect;
mod openapi;
mod operator;
mod order;
mod plain_dialect;
mod postgres;
mod resume;
mod rights;
mod room_log;
mod sanctions;
mod setup;
mod simulation;
mod slow;
mod stop;
mod support;
mod tickets;
mod token_ways;
mod tokens;
mod tokens_by_key;
mod unavailable;
