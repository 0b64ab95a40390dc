//! The call tree: stacks with the same beginning merged.
//!
//! Contract: the total of a node is its own weight plus the totals of its children. No function here
//! recurses, so a stack may be as deep as it likes.

use std::collections::HashMap;

use super::label::Label;

/// A node of a [`CallTree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The id as an index into what belongs to the nodes of one tree, in the order of [`CallTree::nodes`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug)]
struct Node {
    label: u32,
    parent: Option<NodeId>,
    total: u64,
    own: u64,
}

/// A call tree; there is no node above the roots.
#[derive(Debug, Default)]
pub struct CallTree {
    labels: Vec<Label>,
    label_ids: HashMap<Label, u32>,
    nodes: Vec<Node>,
    children: HashMap<(Option<NodeId>, u32), NodeId>,
    total: u64,
}

impl CallTree {
    /// Adds a stack, root first. One without labels counts only in the total.
    pub fn add(&mut self, path: impl IntoIterator<Item = Label>, weight: u64) {
        self.total = self.total.saturating_add(weight);
        let mut at = None;
        for label in path {
            let node = self.child(at, label);
            let total = &mut self.nodes[node.0 as usize].total;
            *total = total.saturating_add(weight);
            at = Some(node);
        }
        if let Some(leaf) = at {
            let own = &mut self.nodes[leaf.0 as usize].own;
            *own = own.saturating_add(weight);
        }
    }

    /// Adds all stacks of another tree.
    pub fn merge(&mut self, other: &Self) {
        let mut placed = vec![None; other.nodes.len()];
        // A parent is always made before its children.
        for (index, node) in other.nodes.iter().enumerate() {
            let parent = node.parent.and_then(|parent| placed[parent.0 as usize]);
            let here = self.child(parent, other.labels[node.label as usize].clone());
            let mine = &mut self.nodes[here.0 as usize];
            mine.total = mine.total.saturating_add(node.total);
            mine.own = mine.own.saturating_add(node.own);
            placed[index] = Some(here);
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// The tree of nodes that are listed with the place of their parent in the list, their label and
    /// their own weight. `None` if a parent does not stand before its child.
    pub fn from_nodes(
        nodes: impl IntoIterator<Item = (Option<usize>, Label, u64)>,
    ) -> Option<Self> {
        let mut tree = Self::default();
        let mut placed: Vec<NodeId> = Vec::new();
        for (parent, label, own) in nodes {
            let parent = match parent {
                Some(place) => Some(*placed.get(place)?),
                None => None,
            };
            let node = tree.child(parent, label);
            let mine = &mut tree.nodes[node.0 as usize].own;
            *mine = mine.saturating_add(own);
            placed.push(node);
        }
        // Backwards: children were made after their parents.
        for index in (0..tree.nodes.len()).rev() {
            let node = &mut tree.nodes[index];
            node.total = node.total.saturating_add(node.own);
            let (total, parent) = (node.total, node.parent);
            let above = match parent {
                Some(parent) => &mut tree.nodes[parent.0 as usize].total,
                None => &mut tree.total,
            };
            *above = above.saturating_add(total);
        }
        Some(tree)
    }

    /// All nodes, each after its parent, in the order in which they were made.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        (0..self.nodes.len() as u32).map(NodeId)
    }

    /// The weight of all stacks.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// The label of a node.
    pub fn label(&self, node: NodeId) -> &Label {
        &self.labels[self.nodes[node.0 as usize].label as usize]
    }

    /// The distinct labels; [`Self::label_index`] is a place in them.
    pub fn labels(&self) -> &[Label] {
        &self.labels
    }

    /// The place of the node's label in [`Self::labels`].
    pub fn label_index(&self, node: NodeId) -> u32 {
        self.nodes[node.0 as usize].label
    }

    /// The node below, towards the root; `None` for a root.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.nodes[node.0 as usize].parent
    }

    /// The weight of stacks through the node.
    pub fn node_total(&self, node: NodeId) -> u64 {
        self.nodes[node.0 as usize].total
    }

    /// The weight of stacks that end at the node.
    pub fn node_own(&self, node: NodeId) -> u64 {
        self.nodes[node.0 as usize].own
    }

    /// All nodes, a parent before its children and children by label, whatever the order in which
    /// stacks were added.
    pub fn preorder(&self) -> Vec<NodeId> {
        let mut below: HashMap<Option<NodeId>, Vec<NodeId>> = HashMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            below.entry(node.parent).or_default().push(NodeId(index as u32));
        }
        for siblings in below.values_mut() {
            // Backwards, because they are taken from the end.
            siblings.sort_by(|a, b| self.label(*b).cmp(self.label(*a)));
        }
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut open = below.remove(&None).unwrap_or_default();
        while let Some(node) = open.pop() {
            order.push(node);
            open.extend(below.remove(&Some(node)).unwrap_or_default());
        }
        order
    }

    /// The stacks that end at a node with a weight of its own, root first, in preorder.
    pub fn paths(&self) -> impl Iterator<Item = (Vec<&Label>, u64)> {
        self.preorder().into_iter().filter(|node| self.node_own(*node) > 0).map(|leaf| {
            let up = std::iter::successors(Some(leaf), |node| self.parent(*node));
            let mut path: Vec<_> = up.map(|node| self.label(node)).collect();
            path.reverse();
            (path, self.node_own(leaf))
        })
    }

    /// The node of that label below `parent`, made if it is not there.
    pub(super) fn child(&mut self, parent: Option<NodeId>, label: Label) -> NodeId {
        let label = match self.label_ids.get(&label) {
            Some(known) => *known,
            None => {
                let id = self.labels.len() as u32;
                self.labels.push(label.clone());
                self.label_ids.insert(label, id);
                id
            }
        };
        let nodes = &mut self.nodes;
        *self.children.entry((parent, label)).or_insert_with(|| {
            nodes.push(Node { label, parent, total: 0, own: 0 });
            NodeId((nodes.len() - 1) as u32)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::profile::label::LabelKind;

    fn label(name: &str) -> Label {
        Label { name: name.into(), kind: LabelKind::User, module: None }
    }

    fn tree(stacks: &[(Vec<u8>, u64)]) -> CallTree {
        let mut tree = CallTree::default();
        for (path, weight) in stacks {
            tree.add(path.iter().map(|name| label(&name.to_string())), *weight);
        }
        tree
    }

    /// Path, total and own weight of each node, in preorder.
    fn shown(tree: &CallTree) -> Vec<(String, u64, u64)> {
        let path = |node| {
            let up = std::iter::successors(Some(node), |node| tree.parent(*node));
            let mut names: Vec<_> = up.map(|node| tree.label(node).name.to_string()).collect();
            names.reverse();
            names.join("/")
        };
        let row = |node| (path(node), tree.node_total(node), tree.node_own(node));
        tree.preorder().into_iter().map(row).collect()
    }

    #[test]
    fn stacks_with_the_same_beginning_merge() {
        let tree = tree(&[(vec![1, 2], 3), (vec![1], 4), (vec![1, 3], 5), (vec![2], 6)]);
        let row = |path: &str, total, own| (path.to_owned(), total, own);
        assert_eq!(
            shown(&tree),
            [row("1", 12, 4), row("1/2", 3, 3), row("1/3", 5, 5), row("2", 6, 6)]
        );
        assert_eq!(tree.total(), 18);
    }

    proptest! {
        #[test]
        fn listed_nodes_make_the_same_tree(
            stacks in proptest::collection::vec((proptest::collection::vec(0_u8..4, 1..6), 0_u64..9), 0..20),
        ) {
            let tree = tree(&stacks);
            let order = tree.preorder();
            let place = |id| order.iter().position(|node| *node == id);
            let listed = order.iter().map(|&node| {
                (tree.parent(node).and_then(place), tree.label(node).clone(), tree.node_own(node))
            });
            let again = CallTree::from_nodes(listed).unwrap();
            prop_assert_eq!(shown(&again), shown(&tree));
            prop_assert_eq!(again.total(), tree.total());
        }

        #[test]
        fn merging_trees_is_merging_stacks(
            a in proptest::collection::vec((proptest::collection::vec(0_u8..4, 0..6), 0_u64..9), 0..20),
            b in proptest::collection::vec((proptest::collection::vec(0_u8..4, 0..6), 0_u64..9), 0..20),
        ) {
            let mut merged = tree(&a);
            merged.merge(&tree(&b));
            let both: Vec<_> = a.iter().chain(&b).cloned().collect();
            let together = tree(&both);
            prop_assert_eq!(shown(&merged), shown(&together));
            prop_assert_eq!(merged.total(), together.total());
            for node in merged.preorder() {
                let below: u64 = merged.preorder().into_iter()
                    .filter(|child| merged.parent(*child) == Some(node))
                    .map(|child| merged.node_total(child)).sum();
                prop_assert_eq!(merged.node_total(node), merged.node_own(node) + below);
            }
        }
    }
}
