//! A workflow that was checked, with what its execution wants to know about it.
//!
//! # Gates
//!
//! What has to come together from several places is counted at a *gate*. A node has two: its
//! *join*, where the edges that lead to it are settled (each by a value, or by being skipped), and
//! its *collection*, where the elements of its fan-out deliver. Behind the last nodes is one more
//! join, the end. A gate that waits for one thing only is never counted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::retry::RetryPolicy;
use crate::workflow::{When, Workflow};

/// Why a workflow can't be executed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// It has no nodes.
    #[error("workflow {workflow:?} has no nodes")]
    Empty {
        /// The workflow's name.
        workflow: String,
    },
    /// Two nodes have one name.
    #[error("workflow {workflow:?} has two nodes {node:?}")]
    DuplicateNode {
        /// The workflow's name.
        workflow: String,
        /// The name that they share.
        node: String,
    },
    /// A node waits for one that does not exist.
    #[error("node {node:?} of workflow {workflow:?} is after {unknown:?}, which is no node of it{}", near(.known.as_deref()))]
    UnknownPredecessor {
        /// The workflow's name.
        workflow: String,
        /// The node that waits.
        node: String,
        /// What it waits for.
        unknown: String,
        /// A node that has nearly this name.
        known: Option<String>,
    },
    /// A node waits twice for another.
    #[error(
        "node {node:?} of workflow {workflow:?} is twice after {predecessor:?}\none condition may list several values"
    )]
    DuplicateEdge {
        /// The workflow's name.
        workflow: String,
        /// The node that waits.
        node: String,
        /// What it waits for.
        predecessor: String,
    },
    /// Nodes wait for each other.
    #[error("nodes of workflow {workflow:?} wait for each other: {}", .nodes.join(" after "))]
    Cycle {
        /// The workflow's name.
        workflow: String,
        /// One cycle: the last is the first.
        nodes: Vec<String>,
    },
    /// The list of a fan-out comes from a node that it is not after.
    #[error(
        "node {node:?} of workflow {workflow:?} is over a list of {source_node:?}, which it is not after\nadd it to `after`"
    )]
    ForeignList {
        /// The workflow's name.
        workflow: String,
        /// The node.
        node: String,
        /// Where its list should come from.
        source_node: String,
    },
    /// A JSON pointer that is neither empty nor begins with a slash.
    #[error(
        "node {node:?} of workflow {workflow:?} has the JSON pointer {pointer:?}, which must be empty or begin with \"/\""
    )]
    Pointer {
        /// The workflow's name.
        workflow: String,
        /// The node.
        node: String,
        /// What it has.
        pointer: String,
    },
    /// No delivery is allowed, or no time.
    #[error("node {node:?} of workflow {workflow:?} has {what} 0, so that it could never run")]
    Never {
        /// The workflow's name.
        workflow: String,
        /// The node.
        node: String,
        /// Which setting.
        what: &'static str,
    },
}

fn near(known: Option<&str>) -> String {
    known.map_or_else(String::new, |known| format!("\ndid you mean {known:?}?"))
}

/// Where several things of an instance come together: its number in the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gate(pub u32);

/// What a gate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The edges that lead to a node.
    Join(usize),
    /// The elements of a node's fan-out.
    Collection(usize),
    /// The last nodes.
    End,
}

/// A workflow that was checked.
#[derive(Debug)]
pub struct Graph {
    name: String,
    pub(crate) nodes: Vec<GraphNode>,
    /// The edges that lead to the end.
    pub(crate) last: Vec<usize>,
    /// For each node, a bit for each node that can only run after it.
    leads_to: Vec<Vec<u64>>,
}

/// A node of a graph; others are named by their index.
#[derive(Debug)]
pub(crate) struct GraphNode {
    pub(crate) name: Arc<str>,
    pub(crate) action: Arc<str>,
    pub(crate) edges: Vec<Edge>,
    pub(crate) out: Vec<Out>,
    pub(crate) over: Option<List>,
    pub(crate) retry: RetryPolicy,
    pub(crate) timeout: Option<Duration>,
}

#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) from: usize,
    pub(crate) when: Option<When>,
}

/// An edge as the node sees it that it comes from: the `edge`-th of `to`, which is the end for the
/// number of nodes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    pub(crate) to: usize,
    pub(crate) edge: usize,
}

/// The list of a fan-out: at a pointer in the value of an edge, or in the instance's input.
#[derive(Debug)]
pub(crate) struct List {
    pub(crate) edge: Option<usize>,
    pub(crate) at: String,
}

impl Graph {
    /// Checks a workflow.
    ///
    /// # Errors
    ///
    /// See [`GraphError`]: each names workflow and node.
    pub fn new(workflow: &Workflow) -> Result<Self, GraphError> {
        let name = || workflow.name.clone();
        if workflow.nodes.is_empty() {
            return Err(GraphError::Empty { workflow: name() });
        }
        let mut index = HashMap::new();
        for (i, node) in workflow.nodes.iter().enumerate() {
            if index.insert(node.name.as_str(), i).is_some() {
                return Err(GraphError::DuplicateNode {
                    workflow: name(),
                    node: node.name.clone(),
                });
            }
        }
        let mut nodes = Vec::with_capacity(workflow.nodes.len());
        for node in &workflow.nodes {
            nodes.push(checked(workflow, node, &index)?);
        }
        let edges: Vec<(usize, usize, usize)> = nodes
            .iter()
            .enumerate()
            .flat_map(|(to, node)| {
                let edges = node.edges.iter().enumerate();
                edges.map(move |(edge, it)| (it.from, to, edge))
            })
            .collect();
        for (from, to, edge) in edges {
            nodes[from].out.push(Out { to, edge });
        }
        let order = order(&nodes).map_err(|cycle| GraphError::Cycle {
            workflow: name(),
            nodes: cycle.iter().map(|i| nodes[*i].name.to_string()).collect(),
        })?;
        let leads_to = leads_to(&nodes, &order);
        let end = nodes.len();
        let mut last = Vec::new();
        for (i, node) in nodes.iter_mut().enumerate() {
            if node.out.is_empty() {
                node.out.push(Out {
                    to: end,
                    edge: last.len(),
                });
                last.push(i);
            }
        }
        Ok(Self {
            name: workflow.name.clone(),
            nodes,
            last,
            leads_to,
        })
    }

    /// The workflow's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The actions that its nodes run, in the order of the nodes; one may be named twice.
    pub fn actions(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().map(|node| &*node.action)
    }

    /// Node and action, in the order of the nodes.
    pub(crate) fn nodes_and_actions(&self) -> impl Iterator<Item = (&str, &str)> {
        self.nodes.iter().map(|node| (&*node.name, &*node.action))
    }

    pub(crate) fn end(&self) -> usize {
        self.nodes.len()
    }

    /// How many edges lead to a node, or to the end.
    pub(crate) fn edges_of(&self, node: usize) -> usize {
        self.nodes
            .get(node)
            .map_or(self.last.len(), |node| node.edges.len())
    }

    /// Whether a node (or the end) can only run after another.
    pub(crate) fn leads(&self, from: usize, to: usize) -> bool {
        to == self.end() || self.leads_to[from][to / 64] & (1 << (to % 64)) != 0
    }

    pub(crate) fn join(node: usize) -> Gate {
        Gate(u32::try_from(2 * node).expect("fewer nodes than 2^31"))
    }

    pub(crate) fn collection(node: usize) -> Gate {
        Gate(u32::try_from(2 * node + 1).expect("fewer nodes than 2^31"))
    }

    pub(crate) fn place(&self, gate: Gate) -> Place {
        let node = gate.0 as usize / 2;
        match gate.0 % 2 {
            0 if node >= self.end() => Place::End,
            0 => Place::Join(node),
            _ => Place::Collection(node),
        }
    }
}

fn checked(
    workflow: &Workflow,
    node: &crate::workflow::Node,
    index: &HashMap<&str, usize>,
) -> Result<GraphNode, GraphError> {
    let names = || (workflow.name.clone(), node.name.clone());
    let pointer = |at: &str| {
        if at.is_empty() || at.starts_with('/') {
            return Ok(());
        }
        let (workflow, node) = names();
        Err(GraphError::Pointer {
            workflow,
            node,
            pointer: at.to_owned(),
        })
    };
    for (what, is_zero) in [
        ("deliveries_max", node.retry.deliveries_max == 0),
        ("timeout_ms", node.timeout_ms == Some(0)),
    ] {
        if is_zero {
            let (workflow, node) = names();
            return Err(GraphError::Never {
                workflow,
                node,
                what,
            });
        }
    }
    let mut edges: Vec<Edge> = Vec::new();
    for after in &node.after {
        let Some(&from) = index.get(after.node.as_str()) else {
            let (workflow, node) = names();
            return Err(GraphError::UnknownPredecessor {
                workflow,
                node,
                unknown: after.node.clone(),
                known: nearest(&after.node, index.keys().copied()),
            });
        };
        if edges.iter().any(|edge| edge.from == from) {
            let (workflow, node) = names();
            return Err(GraphError::DuplicateEdge {
                workflow,
                node,
                predecessor: after.node.clone(),
            });
        }
        if let Some(when) = &after.when {
            pointer(&when.at)?;
        }
        edges.push(Edge {
            from,
            when: after.when.clone(),
        });
    }
    let over = match &node.over {
        None => None,
        Some(over) => {
            pointer(&over.at)?;
            let edge = match &over.node {
                None if edges.is_empty() => None,
                // The only predecessor is meant.
                None if edges.len() == 1 => Some(0),
                None => return Err(foreign(names(), "the instance's input")),
                Some(source) => {
                    let found = index
                        .get(source.as_str())
                        .and_then(|from| edges.iter().position(|edge| edge.from == *from));
                    Some(found.ok_or_else(|| foreign(names(), source))?)
                }
            };
            Some(List {
                edge,
                at: over.at.clone(),
            })
        }
    };
    Ok(GraphNode {
        name: node.name.as_str().into(),
        action: node.action.as_str().into(),
        edges,
        out: Vec::new(),
        over,
        retry: node.retry,
        timeout: node.timeout_ms.map(Duration::from_millis),
    })
}

fn foreign((workflow, node): (String, String), source: &str) -> GraphError {
    GraphError::ForeignList {
        workflow,
        node,
        source_node: source.to_owned(),
    }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    known
        .map(|other| (strsim::jaro_winkler(name, other), other))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, other)| other.to_owned())
}

/// The nodes, each behind what it is after; or a cycle.
fn order(nodes: &[GraphNode]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waiting: Vec<usize> = nodes.iter().map(|node| node.edges.len()).collect();
    let mut order: Vec<usize> = (0..nodes.len()).filter(|i| waiting[*i] == 0).collect();
    let mut done = 0;
    while done < order.len() {
        let from = order[done];
        done += 1;
        for out in &nodes[from].out {
            waiting[out.to] -= 1;
            if waiting[out.to] == 0 {
                order.push(out.to);
            }
        }
    }
    if order.len() == nodes.len() {
        return Ok(order);
    }
    // Going back from one that still waits, along what still waits, comes round.
    let stuck = |i: &usize| waiting[*i] > 0;
    let mut path: Vec<usize> = (0..nodes.len()).find(stuck).into_iter().collect();
    loop {
        let last = path[path.len() - 1];
        let before = nodes[last].edges.iter().map(|edge| edge.from).find(stuck);
        let before = before.expect("what still waits is after something that does");
        if let Some(begin) = path.iter().position(|node| *node == before) {
            path.push(before);
            return Err(path.split_off(begin));
        }
        path.push(before);
    }
}

fn leads_to(nodes: &[GraphNode], order: &[usize]) -> Vec<Vec<u64>> {
    let mut all = vec![vec![0; nodes.len().div_ceil(64)]; nodes.len()];
    for &from in order.iter().rev() {
        let mut reached = vec![0_u64; nodes.len().div_ceil(64)];
        for out in &nodes[from].out {
            reached[out.to / 64] |= 1 << (out.to % 64);
            for (word, more) in reached.iter_mut().zip(&all[out.to]) {
                *word |= more;
            }
        }
        all[from] = reached;
    }
    all
}
