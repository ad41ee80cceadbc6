//! What a workflow is: named nodes, what each waits for, and which action it runs.
//!
//! A definition is data, in Rust or as JSON; [`Graph::new`](crate::Graph::new) checks it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::retry::RetryPolicy;

/// A graph of named nodes.
///
/// ```
/// use work_queue::{Graph, Node, Workflow};
///
/// // Thumbnails of all pictures, then one page; and a letter if the order was large.
/// let workflow = Workflow::new("album")
///     .node(Node::new("thumbnail", "make-thumbnail").over_input("/pictures"))
///     .node(Node::new("page", "lay-out").after("thumbnail"))
///     .node(Node::new("letter", "send-letter").after_when("page", "/size", "large"));
/// let graph = Graph::new(&workflow)?;
/// assert_eq!(graph.actions().collect::<Vec<_>>(), ["make-thumbnail", "lay-out", "send-letter"]);
/// # Ok::<(), work_queue::GraphError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workflow {
    /// Names it.
    pub name: String,
    /// In any order.
    pub nodes: Vec<Node>,
}

/// A step of a workflow. It runs when every node that it is after has delivered or was skipped.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Names it within the workflow.
    pub name: String,
    /// The handler that runs it.
    pub action: String,
    /// What it waits for. Without any it runs first, with the instance's input.
    ///
    /// With one predecessor, its input is that one's value; with several, an object from the names
    /// of those that delivered to their values. It is skipped when all of them are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<After>,
    /// Runs the action once for each element of a list, all at the same time. The node's value is
    /// then the list of their values, in the order of the elements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
    /// When it fails.
    #[serde(default)]
    pub retry: RetryPolicy,
    /// How long a delivery may take, in milliseconds; otherwise what the engine allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// An edge: what a node waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// The predecessor.
    pub node: String,
    /// Skips the edge unless the predecessor's value is so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<When>,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// A JSON pointer into the value; "" is the whole. What is missing is `null`.
    #[serde(default)]
    pub at: String,
    /// It holds for one of these.
    pub is: Vec<Value>,
    /// It holds for all but these instead.
    #[serde(default)]
    pub not: bool,
}

/// Where the elements of a fan-out come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Over {
    /// A predecessor; the instance's input for a node that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// A JSON pointer to the list in its value; "" is the whole.
    #[serde(default)]
    pub at: String,
}

impl Workflow {
    /// One without nodes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nodes: Vec::new(),
        }
    }

    /// With one more node.
    #[must_use]
    pub fn node(mut self, node: Node) -> Self {
        self.nodes.push(node);
        self
    }
}

impl Node {
    /// A node that waits for nothing.
    #[must_use]
    pub fn new(name: impl Into<String>, action: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            action: action.into(),
            after: Vec::new(),
            over: None,
            retry: RetryPolicy::default(),
            timeout_ms: None,
        }
    }

    /// Waits for that node, too.
    #[must_use]
    pub fn after(self, node: impl Into<String>) -> Self {
        self.edge(node.into(), None)
    }

    /// Waits for that node, too, and is only reached from it when the value at that pointer is this.
    #[must_use]
    pub fn after_when(
        self,
        node: impl Into<String>,
        at: impl Into<String>,
        is: impl Into<Value>,
    ) -> Self {
        let when = When {
            at: at.into(),
            is: vec![is.into()],
            not: false,
        };
        self.edge(node.into(), Some(when))
    }

    /// Waits for that node, too, and is not reached from it when the value at that pointer is this.
    #[must_use]
    pub fn after_unless(
        self,
        node: impl Into<String>,
        at: impl Into<String>,
        is: impl Into<Value>,
    ) -> Self {
        let when = When {
            at: at.into(),
            is: vec![is.into()],
            not: true,
        };
        self.edge(node.into(), Some(when))
    }

    fn edge(mut self, node: String, when: Option<When>) -> Self {
        self.after.push(After { node, when });
        self
    }

    /// Runs once for each element of the list at that pointer of a predecessor's value.
    #[must_use]
    pub fn over(mut self, node: impl Into<String>, at: impl Into<String>) -> Self {
        self.over = Some(Over {
            node: Some(node.into()),
            at: at.into(),
        });
        self
    }

    /// Runs once for each element of the list at that pointer of the instance's input.
    #[must_use]
    pub fn over_input(mut self, at: impl Into<String>) -> Self {
        self.over = Some(Over {
            node: None,
            at: at.into(),
        });
        self
    }

    /// When it fails.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How long a delivery may take, in milliseconds.
    #[must_use]
    pub fn timeout_ms(mut self, timeout_ms: u64) -> Self {
        self.timeout_ms = Some(timeout_ms);
        self
    }
}

impl When {
    pub(crate) fn holds(&self, value: &Value) -> bool {
        let found = value.pointer(&self.at).unwrap_or(&Value::Null);
        self.is.contains(found) != self.not
    }
}
