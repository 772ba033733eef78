//! The other nodes, as far as they were heard of lately. A node's lease is its last beat: it is held by whoever heard it,
//! so nothing of a node that crashed stays anywhere, also when Redis comes back empty. Bounded. Pure code: times are since
//! this node's start.

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
    heard: Duration,
    stopping: bool,
    report: ByteString,
}

/// Which nodes there are beside this one.
#[derive(Clone, Debug, Default)]
pub struct Nodes(HashMap<NodeId, Node>);

impl Nodes {
    /// A node beat. A beat that is not newer than the last one was repeated by somebody, and says nothing.
    pub fn hear(&mut self, node: NodeId, count: u64, stopping: bool, report: Option<ByteString>, now: Duration) {
        let full = self.0.len() >= MOST;
        match self.0.get_mut(&node) {
            Some(known) if known.count >= count => {}
            Some(known) => {
                let report = report.unwrap_or_else(|| known.report.clone());
                *known = Node { count, heard: now, stopping, report };
            }
            None if full => {}
            None => {
                let report = report.unwrap_or_default();
                self.0.insert(node, Node { count, heard: now, stopping, report });
            }
        }
    }

    /// The nodes whose lease holds, with their numbers.
    pub fn living(&self, now: Duration) -> impl Iterator<Item = (NodeId, &ByteString)> {
        let holds = move |node: &Node| !node.stopping && now.saturating_sub(node.heard) <= LEASE;
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

    #[test]
    fn a_node_lives_as_long_as_it_is_heard() {
        let second = Duration::from_secs;
        let mut nodes = Nodes::default();
        let living = |nodes: &Nodes, now| nodes.living(now).count();
        nodes.hear(NodeId(1), 5, false, None, second(1));
        assert_eq!(living(&nodes, second(2)), 1);
        nodes.hear(NodeId(1), 5, false, None, second(5));
        assert_eq!(living(&nodes, second(7)), 0, "P11: a repeated beat keeps a dead node");
        nodes.hear(NodeId(1), 6, false, None, second(8));
        assert_eq!(living(&nodes, second(8)), 1);
        nodes.hear(NodeId(1), 7, true, None, second(8));
        assert_eq!(living(&nodes, second(8)), 0, "a lease that was given up");
    }

    #[test]
    fn the_table_is_bounded() {
        let mut nodes = Nodes::default();
        for node in 0..5_000 {
            nodes.hear(NodeId(node), 1, false, None, Duration::ZERO);
        }
        assert_eq!(nodes.0.len(), MOST, "P5");
        nodes.sweep(Duration::from_secs(3_600));
        assert_eq!(nodes.0.len(), 0);
    }
}
