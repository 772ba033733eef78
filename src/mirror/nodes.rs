//! The other nodes, as far as they were heard of lately. A node's lease is its last beat: it is held by whoever heard it,
//! so nothing of a node that crashed stays anywhere, also when Redis comes back empty. A node is met once it says that it has
//! heard of this one: what somebody recorded before this one's start does not. Bounded. Pure code: times are since this node's
//! start.

use std::{collections::HashMap, time::Duration};

use bytestring::ByteString;

use crate::protocol::NodeId;

/// A node that was not heard of for so long is gone.
pub const LEASE: Duration = Duration::from_secs(5);
/// More nodes than any hub has.
const MOST: usize = 1_000;

#[derive(Clone, Debug)]
struct Node {
    count: u64,
    met: bool,
    heard: Duration,
    stopping: bool,
    report: ByteString,
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub struct Beat {
    /// Goes up by one each time.
    pub count: u64,
    /// Whether it has heard of this node.
    pub knows_us: bool,
    /// Whether it is going to end.
    pub stopping: bool,
    /// Its numbers as JSON; not in every beat.
    pub report: Option<ByteString>,
}

/// Which nodes there are beside this one.
#[derive(Clone, Debug, Default)]
pub struct Nodes(HashMap<NodeId, Node>);

impl Nodes {
    /// A node beat; `knows_us` where it has heard of this one. A beat that is not newer than the last one was repeated by
    /// somebody, and says nothing. Says whether the node is new here.
    pub fn hear(&mut self, node: NodeId, beat: Beat, now: Duration) -> bool {
        let Beat { count, knows_us, stopping, report } = beat;
        let full = self.0.len() >= MOST;
        match self.0.get_mut(&node) {
            Some(known) if known.count >= count => false,
            Some(known) => {
                let report = report.unwrap_or_else(|| known.report.clone());
                *known = Node { count, met: known.met || knows_us, heard: now, stopping, report };
                false
            }
            None if full => false,
            None => {
                let report = report.unwrap_or_default();
                self.0.insert(node, Node { count, met: knows_us, heard: now, stopping, report });
                true
            }
        }
    }

    /// Whether this node has heard of us: what it says is no older than we are.
    pub fn has_met(&self, node: NodeId) -> bool {
        self.0.get(&node).is_some_and(|node| node.met)
    }

    /// The nodes that were heard of lately.
    pub fn heard_of(&self, now: Duration) -> Vec<NodeId> {
        let lately = |node: &&Node| now.saturating_sub(node.heard) <= LEASE;
        self.0.iter().filter(|(_, node)| lately(node)).map(|(id, _)| *id).collect()
    }

    /// The nodes whose lease holds, with their numbers.
    pub fn living(&self, now: Duration) -> impl Iterator<Item = (NodeId, &ByteString)> {
        let holds = move |node: &Node| node.met && !node.stopping && now.saturating_sub(node.heard) <= LEASE;
        self.0.iter().filter(move |(_, node)| holds(node)).map(|(id, node)| (*id, &node.report))
    }

    /// Forgets nodes that are long gone; a repeated beat can't bring one back for longer than a lease.
    pub fn sweep(&mut self, now: Duration) {
        const KEPT: Duration = Duration::from_secs(600);
        self.0.retain(|_, node| now.saturating_sub(node.heard) <= KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(count: u64, knows_us: bool) -> Beat {
        Beat { count, knows_us, stopping: false, report: None }
    }

    #[test]
    fn a_node_lives_as_long_as_it_is_heard() {
        let second = Duration::from_secs;
        let mut nodes = Nodes::default();
        let living = |nodes: &Nodes, now| nodes.living(now).count();
        assert!(nodes.hear(NodeId(1), beat(4, false), second(1)));
        assert_eq!(
            (living(&nodes, second(1)), nodes.has_met(NodeId(1))),
            (0, false),
            "P12: older than this node, maybe"
        );
        assert_eq!(nodes.heard_of(second(1)), [NodeId(1)], "it must be told, or it never says so");
        assert!(!nodes.hear(NodeId(1), beat(5, true), second(1)));
        assert_eq!((living(&nodes, second(2)), nodes.has_met(NodeId(1))), (1, true));
        nodes.hear(NodeId(1), beat(5, true), second(5));
        assert_eq!(living(&nodes, second(7)), 0, "P11: a repeated beat keeps a dead node");
        nodes.hear(NodeId(1), beat(6, false), second(8));
        assert_eq!(living(&nodes, second(8)), 1);
        nodes.hear(NodeId(1), Beat { stopping: true, ..beat(7, true) }, second(8));
        assert_eq!(living(&nodes, second(8)), 0, "a lease that was given up");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut nodes = Nodes::default();
        for node in 0..5_000 {
            nodes.hear(NodeId(node), beat(1, true), Duration::ZERO);
        }
        assert_eq!(nodes.0.len(), MOST, "P5");
        nodes.sweep(Duration::from_secs(3_600));
        assert_eq!(nodes.0.len(), 0);
    }
}
