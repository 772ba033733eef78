//! What sessions and HTTP ask of the ChatServer: join, open, post, create, catch up. Part of the actor in `chat_server`.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use actix::prelude::*;

use super::{
    chat_server::ChatServer,
    handle::{Catchup, Change, Create, Join, JoinsAt, Open, OpenRoom, Post, Presence, Recent},
    messages::{Attach, Audience},
    room::{Entry, Room, RoomCommand, check_name},
};
use crate::{
    protocol::{ErrorCode, RoomName, Seq, WireError, notice},
    room::{Input, Memory},
    store::{Append, NewMessage, NewRoom, Role, RoomKind, RoomRow, StoreError, UserKey},
};

/// The time in which a user's new rooms are counted.
pub(super) const HOUR: Duration = Duration::from_secs(3_600);

/// A room's row was read for the first time.
#[derive(Message)]
#[rtype(result = "()")]
struct Loaded {
    room: RoomName,
    row: Result<Option<RoomRow>, StoreError>,
    /// Whether the room's channel was subscribed before.
    followed: bool,
}

/// A room's row was made, or read again since its rights had changed.
#[derive(Message)]
#[rtype(result = "()")]
struct RowRead {
    room: RoomName,
    row: Result<RoomRow, WireError>,
    /// Who tried to make the room, and whether it was made now.
    made: Option<(UserKey, bool)>,
    /// Whoever asked for the room to be made and waits for it.
    create: Option<Create>,
}

impl ChatServer {
    /// Reads a room for the first time; with `follow`, its channel is subscribed before.
    pub(super) fn load(&self, room: RoomName, follow: bool, ctx: &Context<Self>) {
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        let following = follow.then(|| self.mirror.bus().map(|bus| bus.follow(&room))).flatten();
        actix::spawn(async move {
            if let Some(following) = following {
                following.await;
            }
            let row = store.room(&room).await;
            #[expect(clippy::disallowed_methods, reason = "one for each room that is being read")]
            server.do_send(Loaded { room, row, followed: follow });
        });
    }

    /// Makes the room's row where there is `new`, reads it, and comes back with it.
    fn read_row(&self, room: RoomName, new: Option<NewRoom>, create: Option<Create>, ctx: &Context<Self>) {
        let (store, server) = (Arc::clone(&self.store), ctx.address());
        actix::spawn(async move {
            let mut made = new.as_ref().map(|new| (new.owner, false));
            let read = async {
                if let Some(new) = &new {
                    made = Some((new.owner, store.create_room(new).await?));
                }
                store.room(&room).await
            };
            let row = match read.await {
                Ok(row) => row.ok_or_else(WireError::room_not_found),
                Err(error) => Err(error.into()),
            };
            #[expect(clippy::disallowed_methods, reason = "one for each room that is being read")]
            server.do_send(RowRead { room, row, made, create });
        });
    }

    /// Runs a command whose room is loaded.
    pub(super) fn run(&mut self, command: RoomCommand, ctx: &mut Context<Self>) {
        match command {
            RoomCommand::Join(join) => self.join(join, ctx),
            RoomCommand::Open(open) if self.mirror.is_shared() && !self.knows(&open) => self.look_up(open, ctx),
            RoomCommand::Open(open) => {
                let (name, unmade) =
                    (open.room.clone(), self.room_mut(&open.room).is_some_and(|room| room.key.is_none()));
                self.open_now(open, Seq(0));
                // One that only exists here so far may have been made by the operator's hand.
                if unmade {
                    self.refresh_once(name, ctx);
                }
            }
            RoomCommand::Post(post) => self.post(post, ctx),
            RoomCommand::Create(create) => self.create(create, ctx),
            RoomCommand::Typing(typing) => self.typing(typing),
            RoomCommand::Change(Change { ref room, by: ref user, .. })
            | RoomCommand::Presence(Presence { ref room, ref user, .. })
                if self.is_doubtful(room, user.right()) =>
            {
                self.doubt(command, ctx);
            }
            RoomCommand::Change(change) => self.change(change, ctx),
            RoomCommand::Presence(presence) => self.presence(presence),
        }
    }

    /// Answers who wants to read a room, which stands at `head` or further on.
    pub(super) fn open_now(&mut self, Open { room: name, user, reply, .. }: Open, head: Seq) {
        let auto_create = self.bounds.auto_create;
        let Some(room) = self.room_mut(&name) else { return drop(reply.send(Err(WireError::unavailable()))) };
        let head = room.log.head().max(head);
        drop(reply.send(room.judge(user.right(), auto_create).map(|()| OpenRoom { key: room.key, head })));
    }

    pub(super) fn join_now(&mut self, Join { room: name, user, at, position, most, reply }: Join) {
        let auto_create = self.bounds.auto_create;
        let JoinsAt { session, worker, place } = at;
        let dispatcher = self.workers.get(worker.0).and_then(|worker| worker.dispatcher.clone());
        let (Some(room), Some(dispatcher)) = (self.room_mut(&name), dispatcher) else { return };
        let joined = room.judge(user.right(), auto_create).map(|()| {
            // The session stands at its Dispatcher before the next event leaves: nothing after `head` can pass it by.
            #[expect(clippy::disallowed_methods, reason = "a session joins one room at a time")]
            dispatcher.do_send(Attach { session, room: name, place });
            room.attach(worker, position.as_ref(), most)
        });
        drop(reply.send(joined));
    }

    fn post(&mut self, post: Post, ctx: &mut Context<Self>) {
        let doubtful = self.is_doubtful(&post.room, (post.user.key, post.admin));
        let Some(room) = self.room_mut(&post.room) else { return };
        // What follows a message that waits must not overtake it.
        if doubtful || room.doubts.hold(post.user.key) {
            self.doubt(RoomCommand::Post(post), ctx);
        } else {
            self.post_now(post, ctx);
        }
    }

    /// Judges a message by the rights that are known, and gives it to the writer.
    pub(super) fn post_now(&mut self, post: Post, ctx: &mut Context<Self>) {
        let bounds = self.bounds;
        let Some(room) = self.room_mut(&post.room) else { return };
        if let Err(error) = room.judge((post.user.key, post.admin), bounds.auto_create) {
            return drop(post.reply.send(Err(error)));
        }
        if let Some(held) = &mut room.held {
            return if held.len() < bounds.writer_queue {
                held.push(post);
            } else {
                drop(post.reply.send(Err(WireError::busy())));
            };
        }
        let Some(key) = room.key else { return self.make_room_for(post, ctx) };
        let rights = room.rights;
        if room.with_writer > 0 && room.given_by < rights {
            // What the writer has may be refused, and came before.
            (room.held, room.held_until_settled) = (Some(vec![post]), true);
            return;
        }
        if self.stats.writer_queue.get() >= bounds.writer_queue {
            return drop(post.reply.send(Err(WireError::busy())));
        }
        let Post { room, user, admin, draft, received, asker, reply } = post;
        let name = room.clone();
        let Some(writer) = self.writers.get(key.lane(self.writers.len())) else { return };
        self.stats.writer_queue.add(1);
        let append = Append { message: NewMessage { room, key, rights, user, admin, draft, received, asker }, reply };
        if let Err(SendError::Full(append) | SendError::Closed(append)) = writer.try_send(append) {
            self.stats.writer_queue.sub(1);
            return drop(append.reply.send(Err(WireError::busy())));
        }
        if let Some(room) = self.room_mut(&name) {
            (room.with_writer, room.given_by) = (room.with_writer.saturating_add(1), rights);
        }
    }

    /// The writer has finished with a message of each of these rooms.
    pub(super) fn settled(&mut self, rooms: Vec<RoomName>, ctx: &mut Context<Self>) {
        for name in rooms {
            let Some(room) = self.room_mut(&name) else { continue };
            room.with_writer = room.with_writer.saturating_sub(1);
            if room.with_writer == 0 && room.held_until_settled {
                self.release_held(&name, ctx);
            }
        }
    }

    /// Judges the messages that waited for a row, in the order in which they came: not before the writer has given back
    /// all it had of the room, since some of it may be refused as well and came before.
    fn release_held(&mut self, name: &RoomName, ctx: &mut Context<Self>) {
        let Some(room) = self.room_mut(name) else { return };
        room.held_until_settled = room.with_writer > 0;
        if room.held_until_settled {
            return;
        }
        let mut held = room.held.take().unwrap_or_default();
        held.sort_by_key(|post| post.received);
        for post in held {
            self.post_now(post, ctx);
        }
    }

    /// The first message makes the room.
    fn make_room_for(&mut self, post: Post, ctx: &mut Context<Self>) {
        if let Err(error) = self.count_new_room(post.user.key) {
            return drop(post.reply.send(Err(error)));
        }
        let Some(room) = self.room_mut(&post.room) else { return };
        let new = NewRoom {
            name: post.room.clone(),
            title: None,
            kind: RoomKind::Public,
            epoch: room.epoch.clone(),
            owner: post.user.key,
        };
        let name = post.room.clone();
        room.held = Some(vec![post]);
        self.read_row(name, Some(new), None, ctx);
    }

    fn create(&mut self, create: Create, ctx: &mut Context<Self>) {
        if self.bounds.only_admins_create && !create.user.admin {
            return drop(create.reply.send(Err(WireError::forbidden("only admins may make rooms here"))));
        }
        // Counted before the name is looked at, and for good where it is taken: whoever tries names learns little.
        if let Err(error) = self.count_new_room(create.user.key) {
            return drop(create.reply.send(Err(error)));
        }
        let Some(room) = self.room_mut(&create.new.room) else { return };
        if room.key.is_some() || room.held.is_some() || room.workers().next().is_some() {
            return drop(create.reply.send(Err(room_exists())));
        }
        let epoch = room.epoch.clone();
        let name = create.new.room.clone();
        let new = NewRoom {
            name: name.clone(),
            title: create.new.title.clone(),
            kind: create.new.kind,
            epoch,
            owner: create.user.key,
        };
        if let Some(room) = self.room_mut(&name) {
            room.expect_kind(new.kind, new.owner);
            room.held = Some(Vec::new());
        }
        self.read_row(name, Some(new), Some(create), ctx);
    }

    fn count_new_room(&mut self, user: UserKey) -> Result<(), WireError> {
        let most = self.bounds.new_rooms_per_hour;
        let (made, since) = self.makers.entry(user).or_insert_with(|| (0, Instant::now()));
        if since.elapsed() >= HOUR {
            (*made, *since) = (0, Instant::now());
        }
        if *made >= most {
            let wait = HOUR.saturating_sub(since.elapsed());
            let error = WireError::new(ErrorCode::RoomLimit, format!("a user can make {most} rooms an hour"));
            return Err(error.retry_after_ms(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
        }
        *made = made.saturating_add(1);
        Ok(())
    }

    /// Takes back what `count_new_room` counted for a room that was not made.
    fn uncount_new_room(&mut self, user: UserKey) {
        if let Some((made, _)) = self.makers.get_mut(&user) {
            *made = made.saturating_sub(1);
        }
    }

    /// Judges messages again that were judged by rights which have changed since.
    pub(super) fn judge_again(&mut self, appends: Vec<Append>, ctx: &mut Context<Self>) {
        for Append { message, reply } in appends {
            let NewMessage { room: name, user, admin, draft, received, asker, .. } = message;
            let post = Post { room: name.clone(), user, admin, draft, received, asker, reply };
            if post.received.elapsed() > self.bounds.writer.timeout {
                drop(post.reply.send(Err(WireError::unavailable())));
                continue;
            }
            match self.room_mut(&name) {
                Some(Room { held: Some(held), .. }) => held.push(post),
                Some(room) => {
                    room.held = Some(vec![post]);
                    self.read_row(name, None, None, ctx);
                }
                None => {
                    self.stats.server_queue.add(1);
                    self.take(RoomCommand::Post(post), ctx);
                }
            }
        }
    }

    /// Whoever made a room learns of it on all open sessions.
    fn tell_owner(&self, create: &Create) {
        let added = notice::member_added(&create.new.room, &create.user.id, Role::Owner.as_str());
        self.notify(&Audience::User(create.user.key, None), &added);
    }
}

impl Handler<Join> for ChatServer {
    type Result = ();

    fn handle(&mut self, join: Join, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Join(join), ctx);
    }
}

impl Handler<Open> for ChatServer {
    type Result = ();

    fn handle(&mut self, open: Open, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Open(open), ctx);
    }
}

impl Handler<Post> for ChatServer {
    type Result = ();

    fn handle(&mut self, post: Post, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Post(post), ctx);
    }
}

impl Handler<Create> for ChatServer {
    type Result = ();

    fn handle(&mut self, create: Create, ctx: &mut Context<Self>) {
        self.take(RoomCommand::Create(create), ctx);
    }
}

impl Handler<Recent> for ChatServer {
    type Result = ();

    fn handle(&mut self, Recent { room, user, after, reply }: Recent, _: &mut Context<Self>) {
        self.stats.server_queue.sub(1);
        let (events, bytes) = (self.bounds.page_events, self.bounds.page_bytes);
        let auto_create = self.bounds.auto_create;
        let found = match self.room_mut(&room) {
            Some(room) => room
                .judge(user.right(), auto_create)
                .map(|()| Catchup { memory: room.log.recent_after(after, events, bytes), key: room.key }),
            None => Ok(Catchup { memory: Memory::NotHere, key: None }),
        };
        drop(reply.send(found));
    }
}

impl Handler<Loaded> for ChatServer {
    type Result = ();

    fn handle(&mut self, Loaded { room: name, row, followed }: Loaded, ctx: &mut Context<Self>) {
        let Some(Entry::Loading { heard, waiting, seen, rights }) = self.rooms.get_mut(&name) else { return };
        if matches!(&row, Ok(Some(row)) if row.rights < *rights) {
            // Read before a change that was heard of since.
            return self.load(name, followed, ctx);
        }
        let heard = mem::take(heard);
        if heard && matches!(row, Ok(None)) {
            // Made on another node since it was read.
            return self.load(name, followed, ctx);
        }
        let (waiting, seen) = (mem::take(waiting), *seen);
        // Only an operator's hand makes rooms of reserved names.
        let row = match row {
            Ok(None) if name.is_reserved() => {
                Err((check_name(&name).err().unwrap_or_else(WireError::internal), waiting))
            }
            Ok(None) if !self.bounds.auto_create => {
                // A room may still be made where none appears by itself.
                let (creates, others) =
                    waiting.into_iter().partition::<Vec<_>, _>(|command| matches!(command, RoomCommand::Create(_)));
                others.into_iter().for_each(|command| command.refuse(WireError::room_not_found()));
                if creates.is_empty() { Err((WireError::room_not_found(), creates)) } else { Ok((None, creates)) }
            }
            Ok(row) => Ok((row, waiting)),
            Err(error) => {
                tracing::warn!(room = %name, %error, "a room could not be read");
                Err((error.into(), waiting))
            }
        };
        match row {
            Ok((row, waiting)) => {
                let mut room = Room::new(row, self.bounds.recent, &self.epoch);
                room.followed = followed || !self.mirror.is_shared();
                self.rooms.insert(name.clone(), Entry::Ready(Box::new(room)));
                if seen > Seq(0) {
                    self.apply(&name, Input::Head(seen), ctx);
                }
                for command in waiting {
                    self.run(command, ctx);
                }
                if heard {
                    self.refresh_once(name, ctx);
                }
            }
            Err((error, waiting)) => {
                self.rooms.remove(&name);
                if followed {
                    self.unfollow(vec![name]);
                }
                waiting.into_iter().for_each(|command| command.refuse(error.clone()));
            }
        }
    }
}

impl Handler<RowRead> for ChatServer {
    type Result = ();

    fn handle(&mut self, RowRead { room: name, row, made, create }: RowRead, ctx: &mut Context<Self>) {
        if let Some((maker, false)) = made
            && (create.is_none() || row.is_err())
        {
            self.uncount_new_room(maker);
        }
        let Some(room) = self.room_mut(&name) else { return };
        match row {
            Ok(row) => {
                let key = row.key;
                // A try whose answer was lost may have made it: then it is its owner's, as they asked.
                let own =
                    |create: &Create| made.is_some_and(|(_, made)| made) || row.members.contains(&create.user.key);
                let created = create.map(|create| (own(&create), create));
                self.settle_row(&name, row, ctx);
                if made.is_some() {
                    // Sessions elsewhere may be in it already.
                    self.publish(&name, &[]);
                }
                match created {
                    None => {}
                    Some((false, create)) => drop(create.reply.send(Err(room_exists()))),
                    Some((true, create)) => {
                        self.tell_owner(&create);
                        drop(create.reply.send(Ok(key)));
                    }
                }
                self.release_held(&name, ctx);
            }
            Err(error) => {
                tracing::warn!(room = %name, %error, "a room could not be made or read again");
                let held = room.held.take().unwrap_or_default();
                // Whether its row is there is not known: it is read again by whoever comes next.
                let nobody = room.workers().next().is_none()
                    && room.waiting.is_empty()
                    && room.doubts.is_empty()
                    && room.with_writer == 0;
                if nobody {
                    let memory = room.log.recent_bytes();
                    self.recent_bytes = self.recent_bytes.saturating_sub(memory);
                    self.rooms.remove(&name);
                    // One whose row could not be read may be followed without being known to be.
                    self.unfollow(vec![name]);
                }
                if let Some(create) = create {
                    drop(create.reply.send(Err(error.clone())));
                }
                for post in held {
                    drop(post.reply.send(Err(error.clone())));
                }
            }
        }
    }
}

fn room_exists() -> WireError {
    WireError::new(ErrorCode::RoomExists, "a room of this name is there already")
}
