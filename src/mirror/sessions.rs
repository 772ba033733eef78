//! What nodes tell each other of their open sessions when an admin looks through them: which come first, how several lists
//! are one, and what is searched for. Pure code; each list has at most `MOST` sessions.

use serde::{Deserialize, Serialize};

use crate::protocol::NodeId;

/// Sessions in an answer.
const MOST: usize = 100;
/// Of a session's id.
const DIGITS: usize = 16;

/// Which sessions are wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSearch {
    /// What is to be in the user's id or name, or the session's id; in lower case. Any where it is empty.
    q: String,
    /// How many.
    limit: usize,
}

impl SessionSearch {
    /// At most so many, with this text somewhere.
    pub fn new(q: &str, limit: usize) -> Self {
        Self { q: q.to_lowercase(), limit: limit.min(MOST) }
    }

    /// At most so many, whoever asks.
    pub fn limit(&self) -> usize {
        self.limit.min(MOST)
    }

    /// Whether it is part of this session's id, as that is written.
    pub fn names(&self, session: u64) -> bool {
        let digits = self.q.bytes().all(|byte| byte.is_ascii_hexdigit());
        let (Some(over), Ok(part)) =
            (DIGITS.checked_sub(self.q.len()).filter(|_| digits), u64::from_str_radix(&self.q, 16))
        else {
            return self.q.is_empty();
        };
        let mask = u64::MAX >> (4 * over);
        (0..=over).any(|place| (session >> (4 * place)) & mask == part)
    }

    /// Whether one of these has it. Asked for each session of a worker, so that plain text is compared as it stands.
    pub fn is_in(&self, texts: [&str; 2]) -> bool {
        let wanted = self.q.as_bytes();
        let Some(first) = wanted.first() else { return true };
        let starts = |part: &[u8]| part.first().is_some_and(|byte| byte.to_ascii_lowercase() == *first);
        let plain = |text: &str| {
            let mut parts = text.as_bytes().windows(wanted.len());
            parts.any(|part| starts(part) && part.eq_ignore_ascii_case(wanted))
        };
        let has = |text: &str| if text.is_ascii() { plain(text) } else { text.to_lowercase().contains(&self.q) };
        texts.into_iter().any(has)
    }
}

/// One open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// Its id, as in `hello`.
    pub session: String,
    /// Whose.
    pub user_id: String,
    /// Their name.
    pub user: String,
    /// Whether it speaks the tutorial's dialect.
    pub plain: bool,
    /// For how long it has been open.
    pub open_for_s: u64,
    /// Rooms that it has joined.
    pub rooms: usize,
    /// Frames that are queued for it.
    pub queued: usize,
    /// Whether it missed something and has not drained since.
    pub lagging: bool,
    /// What is left until it ends with its token.
    pub ends_in_s: u64,
}

impl SessionRow {
    /// Bytes of it on the bus, nearly.
    pub(super) fn bytes(&self) -> usize {
        self.user_id.len().saturating_add(self.user.len()).saturating_add(self.session.len())
    }

    /// Those that lag, then the longest queue, then the newest; the id, so that an order is always the same.
    fn place(&self) -> impl Ord + use<'_> {
        (!self.lagging, std::cmp::Reverse(self.queued), self.open_for_s, &self.session)
    }
}

/// The first ones of all that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// How many there are.
    pub total: u64,
    /// The first of them.
    pub sessions: Vec<SessionRow>,
}

impl SessionList {
    /// Several lists in one.
    pub fn merge(lists: impl IntoIterator<Item = Self>, limit: usize) -> Self {
        let mut all = Self::default();
        for list in lists {
            all.total = all.total.saturating_add(list.total);
            all.sessions.extend(list.sessions);
        }
        all.sessions.sort_unstable_by(|a, b| a.place().cmp(&b.place()));
        all.sessions.truncate(limit);
        all
    }
}

/// The same of several nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionsOfNodes {
    /// How many there are.
    pub total: u64,
    /// The first of them, and where each is.
    pub sessions: Vec<(NodeId, SessionRow)>,
    /// Nodes that did not answer in time.
    pub silent: Vec<NodeId>,
}

impl SessionsOfNodes {
    /// What these nodes say, and who says nothing.
    pub fn merge(lists: Vec<(NodeId, SessionList)>, silent: Vec<NodeId>, limit: usize) -> Self {
        let total = lists.iter().map(|(_, list)| list.total).fold(0, u64::saturating_add);
        let each = |(node, list): (NodeId, SessionList)| list.sessions.into_iter().map(move |session| (node, session));
        let mut sessions: Vec<_> = lists.into_iter().flat_map(each).collect();
        sessions.sort_unstable_by(|(_, a), (_, b)| a.place().cmp(&b.place()));
        sessions.truncate(limit);
        Self { total, sessions, silent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(session: &str, lagging: bool, queued: usize, open_for_s: u64) -> SessionRow {
        let (user_id, user) = (String::new(), String::new());
        SessionRow {
            session: session.into(),
            user_id,
            user,
            plain: false,
            open_for_s,
            rooms: 0,
            queued,
            lagging,
            ends_in_s: 0,
        }
    }

    #[test]
    fn those_that_need_a_look_come_first() {
        let one = SessionList { total: 7, sessions: vec![row("new", false, 0, 1), row("old", false, 0, 9)] };
        let other = SessionList { total: 2, sessions: vec![row("lags", true, 0, 5), row("queue", false, 3, 5)] };
        let all = SessionsOfNodes::merge(vec![(NodeId(1), one), (NodeId(2), other)], Vec::new(), 3);
        let names: Vec<_> = all.sessions.iter().map(|(node, row)| (node.0, row.session.as_str())).collect();
        assert_eq!((all.total, names), (9, vec![(2, "lags"), (2, "queue"), (1, "new")]));
    }

    #[test]
    fn text_is_found_whatever_its_case_and_characters() {
        let search = |q: &str| SessionSearch::new(q, 10);
        assert!(search("ALI").is_in(["7", "alice"]) && search("ali").is_in(["ALICE", "x"]));
        assert!(search("").is_in(["", ""]) && !search("bob").is_in(["alice", "bo"]));
        assert!(search("ÉTÉ").is_in(["7", "l'été"]) && search("김").is_in(["김민준", ""]));
        assert!(!search("%").is_in(["alice", "a_b"]) && search("_").is_in(["alice", "a_b"]));
        assert!(search("").names(7) && search("00000000000000ab").names(0xab) && !search(&"0".repeat(17)).names(0));
        assert!(search("1234").names(0x0012_3400_0000_0000) && !search("+1").names(1) && search("8").names(1 << 63));
        assert!(search("0AB").names(0xab) && !search("0abx").names(0xab) && !search("c").names(0xab));
        assert_eq!(search("").limit(), 10);
        assert_eq!(SessionSearch { q: String::new(), limit: 1_000_000 }.limit(), MOST, "P5");
    }
}
