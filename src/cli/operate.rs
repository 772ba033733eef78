//! What the operator does to the database by hand: users, rooms, backups. Works beside a hub that runs.

use std::{
    fs::File,
    io::{self, BufRead, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
};

use clap::{Args, Subcommand};

use super::CliError;
use crate::{
    app::{self, AppError},
    auth::{Passwords, PasswordsBusy},
    config::{Config, DatabaseUrl},
    http,
    protocol::{RoomName, UserId},
    stats::Stats,
    store::{Listed, NewRoom, RoomKind, Store, User},
};

/// Who does it, in the record of acts.
const CLI: &str = "cli";
/// Rows read at once.
const PAGE: u64 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Make an account of the hub's own; its password is asked for, or read from the first line of stdin.
    Create {
        /// Its name; its id will be hub:NAME.
        name: String,
        /// Make it an admin at once.
        #[arg(long)]
        admin: bool,
    },
    /// List all users: id, name, role, whether they have a password here, when they were first seen.
    List,
    /// Let a user do everything: manage every room, read the stats, speak as others.
    Admin {
        /// The user's id, such as 7 or hub:alice.
        id: String,
        /// Take the right away again. Open sessions are closed and come back.
        #[arg(long)]
        revoke: bool,
    },
    /// Let a user do nothing: open sessions end within a second.
    Disable {
        /// The user's id.
        id: String,
        /// Why, for the record.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a disabled user in again.
    Enable {
        /// The user's id.
        id: String,
    },
    /// Let a user's tokens count again that were revoked by their time, such as those that don't say when they were issued.
    Unrevoke {
        /// The user's id.
        id: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RoomCommand {
    /// Make a room.
    Create(NewRoomPlan),
    /// List all rooms: name, kind, messages, title.
    List,
}

#[derive(Debug, Args)]
pub(super) struct NewRoomPlan {
    /// Its name, which never changes.
    name: String,
    /// The id of its owner; a user who was never seen is made.
    #[arg(long, value_name = "ID")]
    owner: String,
    /// What people read; else the name.
    #[arg(long)]
    title: Option<String>,
    /// For its members alone.
    #[arg(long)]
    private: bool,
}

pub(super) async fn user(config: &Config, command: UserCommand) -> Result<(), CliError> {
    let store = app::open_store_beside(config).await?;
    let done = match command {
        UserCommand::Create { name, admin } => create_user(&store, &name, admin).await,
        UserCommand::List => list_users(&store).await,
        UserCommand::Admin { id, revoke } => make_admin(&store, &id, !revoke).await,
        UserCommand::Disable { id, reason } => {
            let id = user_id(&id)?;
            let there = store.set_disabled(&id, true, true, reason.as_deref(), CLI).await.map_err(AppError::from);
            said(there?, &id, "is disabled")
        }
        UserCommand::Enable { id } => {
            let id = user_id(&id)?;
            let there = store.set_disabled(&id, false, false, None, CLI).await.map_err(AppError::from);
            said(there?, &id, "is enabled")
        }
        UserCommand::Unrevoke { id } => {
            let id = user_id(&id)?;
            said(store.unrevoke(&id, CLI).await.map_err(AppError::from)?, &id, "may use tokens of any time")
        }
    };
    store.close().await;
    done
}

async fn create_user(store: &Store, name: &str, admin: bool) -> Result<(), CliError> {
    if let Some((_, why)) = http::name_faults(name).next() {
        return Err(CliError::Refused(why.to_owned()));
    }
    let password = password()?;
    if let Some((_, why)) = http::password_faults(&password, name).next() {
        return Err(CliError::Refused(why.to_owned()));
    }
    let id = user_id(&format!("{}{name}", UserId::OWN_PREFIX))?;
    let passwords = Passwords::new(1, 0, Stats::new().into());
    let hash = passwords.hash(password).await.map_err(|error: PasswordsBusy| CliError::Refused(error.to_string()))?;
    if !store.create_account(&id, name, &hash, true).await.map_err(AppError::from)? {
        return Err(CliError::Refused(format!("{id} is there already")));
    }
    if admin {
        store.set_admin(&id, true, CLI).await.map_err(AppError::from)?;
    }
    super::print(&format!("made {id}{}", if admin { ", an admin" } else { "" }))
}

fn password() -> Result<String, CliError> {
    if io::stdin().is_terminal() {
        return Ok(rpassword::prompt_password("password: ")?);
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\n', '\r']).to_owned())
}

async fn list_users(store: &Store) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut after = String::new();
    loop {
        let users = store.users(Listed { q: "", after: &after, limit: PAGE }).await.map_err(AppError::from)?;
        let Some(last) = users.last() else { return Ok(()) };
        after.clone_from(&last.id);
        for user in users {
            let role = if user.admin { "admin" } else { "user" };
            let password = if user.has_password { "password" } else { "-" };
            let since = user.created_at.to_utc().format("%Y-%m-%dT%H:%M:%SZ");
            writeln!(out, "{}\t{}\t{role}\t{password}\t{since}", user.id, user.name)?;
        }
    }
}

async fn make_admin(store: &Store, id: &str, admin: bool) -> Result<(), CliError> {
    let id = user_id(id)?;
    // An app's user may be made an admin before they ever come.
    let there = store.user_by_id(&id, admin).await.map_err(AppError::from)?;
    let made = there.is_some() && store.set_admin(&id, admin, CLI).await.map_err(AppError::from)?;
    said(made, &id, if admin { "is an admin" } else { "is no admin" })
}

/// What became of a change of a user.
fn said(there: bool, id: &UserId, what: &str) -> Result<(), CliError> {
    if !there {
        return Err(CliError::Refused(format!("nobody has the id {id}; `hubbub user list` shows who was seen")));
    }
    super::print(&format!("{id} {what}"))
}

pub(super) async fn room(config: &Config, command: RoomCommand) -> Result<(), CliError> {
    let store = app::open_store_beside(config).await?;
    let done = match command {
        RoomCommand::Create(plan) => create_room(&store, plan).await,
        RoomCommand::List => list_rooms(&store).await,
    };
    store.close().await;
    done
}

async fn create_room(store: &Store, plan: NewRoomPlan) -> Result<(), CliError> {
    let refused = |error: crate::protocol::WireError| CliError::Refused(error.to_string());
    let name = RoomName::parse(&plan.name).map_err(refused)?;
    if let Some(title) = &plan.title {
        http::check_title(title).map_err(refused)?;
    }
    let owner = user_id(&plan.owner)?;
    let owner = store.user_by_id(&owner, true).await.map_err(AppError::from)?;
    let unknown = || CliError::Refused(format!("nobody has the id {}", plan.owner));
    let User { key, .. } = owner.ok_or_else(unknown)?;
    let kind = if plan.private { RoomKind::Private } else { RoomKind::Public };
    let epoch = store.epoch().await.map_err(AppError::from)?;
    let new = NewRoom { name, title: plan.title, kind, epoch, owner: key };
    if !store.create_room(&new).await.map_err(AppError::from)? {
        return Err(CliError::Refused(format!("a room {} is there already", plan.name)));
    }
    super::print(&format!("made the {} room {}, of {}", kind.as_str(), plan.name, plan.owner))
}

async fn list_rooms(store: &Store) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let mut after = String::new();
    loop {
        let rooms = store.all_rooms(&after, PAGE).await.map_err(AppError::from)?;
        let Some(last) = rooms.last() else { return Ok(()) };
        after.clone_from(&last.name);
        for room in rooms {
            writeln!(out, "{}\t{}\t{}\t{}", room.name, room.kind.as_str(), room.message_count, room.title)?;
        }
    }
}

/// Every room begins another history: for a database that was restored from a backup, before the hub starts on it.
pub(super) async fn new_epoch(config: &Config) -> Result<(), CliError> {
    // Not beside a hub: it would go on with the old epochs.
    Store::expect(&config.database, true).await?;
    let store = app::open_store(config).await?;
    let rooms = store.new_epoch().await;
    store.close().await;
    let rooms = rooms.map_err(AppError::from)?;
    super::print(&format!("{rooms} rooms have a new epoch: cursors from before get a reset"))
}

/// A copy of SQLite's database as it is at this moment.
pub(super) async fn backup(config: &Config, file: &str) -> Result<(), CliError> {
    if matches!(config.database.url, DatabaseUrl::Postgres(_)) {
        return Err(CliError::Refused("PostgreSQL has a backup of its own: use pg_dump".to_owned()));
    }
    let store = app::open_store_beside(config).await?;
    // Password hashes and keys are in it: for its owner's eyes alone. SQLite fills an empty file.
    let made = File::options().write(true).create_new(true).mode(0o600).open(file);
    made.map_err(|error| CliError::Refused(format!("{file}: {error}")))?;
    let copied = store.backup(file).await;
    store.close().await;
    copied.map_err(AppError::from)?;
    super::print(&format!("wrote {file}"))
}

fn user_id(text: &str) -> Result<UserId, CliError> {
    UserId::parse(text).ok_or(CliError::BadName)
}
