//! All tests that go through the hub's outside, in one program: one file a behaviour, run side by side.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first thing that is not as it should be"
)]
#![expect(unreachable_pub, missing_docs, reason = "the modules of one test program")]

mod room_log;
