//! Tickets: what stands in a socket's address in place of a token. 128 random bits, kept as their hash, good once and for
//! half a minute; taken out of the table by whoever uses them, so that on all nodes together one does.

use chrono::{DateTime, TimeDelta, Utc};
use entity::ticket;
use sea_orm::{ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, QueryFilter};
use sha2::{Digest, Sha256};

use super::{Store, StoreError, TokenMark};
use crate::protocol::UserId;

/// How long a ticket is good for.
const LIFETIME: TimeDelta = TimeDelta::seconds(30);

/// What a ticket stands for: a token that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The user.
    pub user_id: UserId,
    /// Their name.
    pub name: String,
    /// What the token can be revoked by.
    pub mark: TokenMark,
    /// When the token ends.
    pub expires_at: DateTime<Utc>,
}

impl Store {
    /// Keeps a ticket; gives its text and the milliseconds that it is good for.
    pub async fn issue_ticket(&self, ticket: Ticket) -> Result<(String, i64), StoreError> {
        let text = format!("{:032x}", rand::random::<u128>());
        let now = super::now().to_utc();
        let (jti, issued_at) = ticket.mark.parts();
        let row = ticket::ActiveModel {
            hash: Set(hash(&text)),
            user_id: Set(ticket.user_id.as_str().to_owned()),
            name: Set(ticket.name),
            jti: Set(jti),
            issued_at: Set(issued_at),
            expires_at: Set(ticket.expires_at),
            until: Set(now + LIFETIME),
        };
        self.within(async {
            // Whoever takes none of theirs leaves them to the next one.
            ticket::Entity::delete_many().filter(ticket::Column::Until.lt(now)).exec(&self.write).await?;
            ticket::Entity::insert(row).exec_without_returning(&self.write).await
        })
        .await?;
        Ok((text, LIFETIME.num_milliseconds()))
    }

    /// What a ticket stands for; it is used up. `None` where it is none, or no more.
    pub async fn take_ticket(&self, text: &str) -> Result<Option<Ticket>, StoreError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let hash = hash(text);
        let taken = self.within(async {
            // Whoever only tries does not hold up those who write.
            let Some(row) = ticket::Entity::find_by_id(hash.clone()).one(&self.read).await? else { return Ok(None) };
            // Two may have read it; one takes it away.
            let mine = ticket::Entity::delete_by_id(hash).exec(&self.write).await?.rows_affected == 1;
            Ok::<_, DbErr>(mine.then_some(row))
        });
        let row = taken.await?.filter(|row| row.until > super::now().to_utc());
        Ok(row.and_then(|row| {
            Some(Ticket {
                user_id: UserId::parse(&row.user_id)?,
                name: row.name,
                mark: TokenMark::of_parts(row.jti.as_deref(), row.issued_at),
                expires_at: row.expires_at,
            })
        }))
    }
}

fn hash(text: &str) -> String {
    Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}
