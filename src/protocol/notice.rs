//! What users are told on all their native sessions beside the rooms' logs: who belongs where, who is typing, what is read.
//! Without a number, so it may be lost; after a reconnect a client reads `GET /api/me/rooms` again.

use bytestring::ByteString;
use serde_json::json;

use super::{RoomName, Seq, Timestamp, UserId, reply::to_json};

/// The user belongs to the room now, or has another role in it.
pub fn member_added(room: &RoomName, user: &UserId, role: &str) -> ByteString {
    to_json(&json!({"type": "member_added", "room": room, "user_id": user, "role": role}))
}

/// The user belongs to the room no longer.
pub fn member_removed(room: &RoomName, user: &UserId) -> ByteString {
    to_json(&json!({"type": "member_removed", "room": room, "user_id": user}))
}

/// The user is banned from the room, where `until` is set till then.
pub fn banned(room: &RoomName, user: &UserId, until: Option<Timestamp>, reason: Option<&str>) -> ByteString {
    to_json(&json!({
        "type": "member_removed", "room": room, "user_id": user, "banned": true, "until": until, "reason": reason,
    }))
}

/// The room's title is another.
pub fn room_updated(room: &RoomName, title: &str) -> ByteString {
    to_json(&json!({"type": "room_updated", "room": room, "title": title}))
}

/// The user is typing; forget it after seven seconds, or when a message of theirs comes.
pub fn typing(room: &RoomName, user: &UserId, name: &str) -> ByteString {
    to_json(&json!({"type": "typing", "room": room, "user_id": user, "user": name}))
}

/// One has read the room up to here, on another session.
pub fn read(room: &RoomName, seq: Seq) -> ByteString {
    to_json(&json!({"type": "read", "room": room, "seq": seq}))
}
