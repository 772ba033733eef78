//! SeaORM entities, one file a table. Every table bears the prefix `hub_`, so that a database shared with the app's
//! own tables stays clear. The schema itself is made by the `migration` crate.

pub mod audit;
pub mod ban;
pub mod member;
pub mod message;
pub mod revocation;
pub mod room;
pub mod setting;
pub mod ticket;
pub mod user;
