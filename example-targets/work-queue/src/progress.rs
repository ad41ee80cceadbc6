//! What follows from what has happened: events of instances in, one batch of changes out.
//!
//! Pure: it asks no database and no clock. What comes together within a batch never becomes a gate
//! in the database: of sixteen elements that are completed in one batch, only the node behind them
//! is written.
//!
//! # Skipped edges
//!
//! When a branch is not taken, what waits behind both arms would have to be told now, and by the
//! other arm later: a gate in the database for each step of a chain of branches. Instead, that an
//! edge was skipped travels in the row of an action (`carried`) which has to be completed before
//! that gate can open anyway.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use serde_json::Value;

use crate::graph::{Gate, Graph, Place};
use crate::inbox_cache::InboxCache;
use crate::store::{
    ActionId, Arrival, Batch, ClaimedInstance, Delivery, Element, Finished, GivenBack, InstanceId,
    NewAction, Outcome, Passed, Stale, Started,
};
use crate::value::{Json, array_of};

/// An action that this engine has.
#[derive(Clone, Debug)]
pub(crate) struct Action {
    pub(crate) id: ActionId,
    pub(crate) instance: InstanceId,
    pub(crate) graph: Arc<Graph>,
    pub(crate) node: usize,
    pub(crate) element: Option<Element>,
    pub(crate) delivery: u32,
    pub(crate) priority: i16,
    pub(crate) input: Json,
    pub(crate) carried: Vec<(Gate, u32)>,
    /// When it was known to be ready.
    pub(crate) ready: Instant,
}

impl Action {
    pub(crate) fn token(&self) -> Delivery {
        Delivery {
            action: self.id,
            delivery: self.delivery,
        }
    }
}

/// What has happened.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// An instance was claimed.
    Claimed(ClaimedInstance, Arc<Graph>),
    /// An action's handler has returned.
    Completed {
        action: Action,
        value: Json,
        ran: Duration,
    },
    /// An action's handler has failed, or did not end in time.
    Failed {
        action: Action,
        error: String,
        is_final: bool,
        ran: Duration,
    },
    /// An action will not be run here.
    Released(Action),
    /// An action of an instance that is over.
    Orphaned(Delivery),
    /// Nothing is missing at a gate any more; what arrived was read.
    GateComplete {
        instance: InstanceId,
        graph: Arc<Graph>,
        gate: Gate,
        priority: i16,
        values: Vec<(u32, Json)>,
    },
}

impl Event {
    /// Whether it rests on something that is not so any more.
    pub(crate) fn is_stale(&self, stale: &Stale) -> bool {
        match self {
            Self::Claimed(claimed, _) => stale.started.contains(&Started {
                instance: claimed.id,
                claim: claimed.claim,
            }),
            Self::Completed { action, .. }
            | Self::Failed { action, .. }
            | Self::Released(action) => stale.deliveries.contains(&action.token()),
            Self::Orphaned(delivery) => stale.deliveries.contains(delivery),
            Self::GateComplete { instance, gate, .. } => stale.passed.contains(&Passed {
                instance: *instance,
                gate: *gate,
                missing: 0,
            }),
        }
    }
}

/// Numbers that nobody else gives.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    pub(crate) next: i64,
    pub(crate) end: i64,
}

impl Numbers {
    /// How many are left.
    pub(crate) fn left(&self) -> i64 {
        self.end - self.next
    }
}

/// There were too few numbers: so many more at least.
#[derive(Debug)]
pub(crate) struct NumbersUsedUp;

/// What follows from some events.
#[derive(Debug, Default)]
pub(crate) struct Consequences {
    pub(crate) batch: Batch,
    /// The actions of the batch that are this engine's: to be run when it was applied.
    pub(crate) leased: Vec<Action>,
    /// The values of each of the batch's arrivals: to be remembered when it was applied.
    pub(crate) arrived: Vec<Vec<(u32, Json)>>,
    /// How many actions the instances that start begin with.
    pub(crate) first_actions: usize,
    /// Instances that are over when it was applied.
    pub(crate) finished: Vec<(InstanceId, Outcome)>,
}

/// What an instance's actions have in common.
#[derive(Clone)]
struct Context {
    instance: InstanceId,
    graph: Arc<Graph>,
    priority: i16,
}

struct Pending {
    expected: u32,
    arrived: u32,
    values: Vec<(u32, Json)>,
}

/// A gate that is complete, with what came through it.
struct Open {
    gate: Gate,
    values: Vec<(u32, Json)>,
}

struct Builder<'a> {
    cache: &'a InboxCache,
    numbers: Numbers,
    capacity: usize,
    pending: FxHashMap<(InstanceId, Gate), (Context, Pending)>,
    failed: HashSet<InstanceId>,
    log: String,
    out: Consequences,
    /// Within an event: complete gates to go through.
    open: Vec<Open>,
    /// Within an event: gates at which only skipped edges have arrived.
    skipped: Vec<Gate>,
    now: Instant,
}

/// Computes one batch. At most `capacity` of the actions that become ready stay with this engine.
pub(crate) fn consequences(
    events: &[Event],
    cache: &InboxCache,
    numbers: &mut Numbers,
    capacity: usize,
    now: Instant,
) -> Result<Consequences, NumbersUsedUp> {
    let mut builder = Builder {
        cache,
        numbers: Numbers {
            next: numbers.next,
            end: numbers.end,
        },
        capacity,
        pending: FxHashMap::default(),
        failed: HashSet::new(),
        log: String::with_capacity(48 * events.len()),
        out: Consequences::default(),
        open: Vec::new(),
        skipped: Vec::new(),
        now,
    };
    // A failure ends its instance, wherever it stands among the events.
    for event in events {
        if let Event::Failed {
            action, is_final, ..
        } = event
            && (*is_final || wait_after(action).is_none())
        {
            builder.failed.insert(action.instance);
        }
    }
    for event in events {
        builder.event(event)?;
    }
    builder.finish().map(|(out, used)| {
        *numbers = used;
        out
    })
}

fn wait_after(action: &Action) -> Option<Duration> {
    let node = &action.graph.nodes[action.node];
    node.retry.wait_after(action.delivery)
}

impl Builder<'_> {
    fn number(&mut self) -> Result<i64, NumbersUsedUp> {
        if self.numbers.next >= self.numbers.end {
            return Err(NumbersUsedUp);
        }
        self.numbers.next += 1;
        Ok(self.numbers.next - 1)
    }

    fn event(&mut self, event: &Event) -> Result<(), NumbersUsedUp> {
        match event {
            Event::Claimed(claimed, graph) => {
                self.out.batch.started.push(Started {
                    instance: claimed.id,
                    claim: claimed.claim,
                });
                let context = Context {
                    instance: claimed.id,
                    graph: Arc::clone(graph),
                    priority: claimed.priority,
                };
                let before = self.out.batch.actions.len();
                self.unit(&context, |this| {
                    for (node, it) in graph.nodes.iter().enumerate() {
                        if it.edges.is_empty() {
                            this.enqueue(&context, node, &claimed.input, &[])?;
                        }
                    }
                    Ok(())
                })?;
                self.out.first_actions += self.out.batch.actions.len() - before;
                Ok(())
            }
            Event::Completed { action, value, ran } => {
                self.out.batch.completed.push(action.token());
                self.log(action, "completed", *ran, None);
                if self.failed.contains(&action.instance) {
                    return Ok(());
                }
                let context = Context {
                    instance: action.instance,
                    graph: Arc::clone(&action.graph),
                    priority: action.priority,
                };
                self.unit(&context, |this| {
                    for (gate, n) in &action.carried {
                        this.arrive(&context, *gate, *n, None);
                    }
                    match action.element {
                        Some(Element { index, of }) => {
                            let gate = Graph::collection(action.node);
                            this.arrive_of(&context, gate, of, 1, Some((index, value.clone())));
                        }
                        None => this.deliver(&context, action.node, value),
                    }
                    Ok(())
                })
            }
            Event::Failed {
                action,
                error,
                is_final,
                ran,
            } => {
                self.log(action, "failed", *ran, Some(error));
                match wait_after(action) {
                    Some(wait) if !is_final => {
                        self.out.batch.given_back.push(GivenBack {
                            delivery: action.token(),
                            wait,
                            is_untouched: false,
                        });
                    }
                    _ => {
                        self.out.batch.completed.push(action.token());
                        self.fail(action, error);
                    }
                }
                Ok(())
            }
            Event::Released(action) => {
                self.out.batch.given_back.push(GivenBack {
                    delivery: action.token(),
                    wait: Duration::ZERO,
                    is_untouched: true,
                });
                Ok(())
            }
            Event::Orphaned(delivery) => {
                self.out.batch.completed.push(*delivery);
                Ok(())
            }
            Event::GateComplete {
                instance,
                graph,
                gate,
                priority,
                values,
            } => {
                let passed = Passed {
                    instance: *instance,
                    gate: *gate,
                    missing: 0,
                };
                // It may have been found twice.
                if self.out.batch.passed.contains(&passed) {
                    return Ok(());
                }
                self.out.batch.passed.push(passed);
                let context = Context {
                    instance: *instance,
                    graph: Arc::clone(graph),
                    priority: *priority,
                };
                self.unit(&context, |this| {
                    this.open.push(Open {
                        gate: *gate,
                        values: values.clone(),
                    });
                    Ok(())
                })
            }
        }
    }

    fn fail(&mut self, action: &Action, error: &str) {
        let node = &action.graph.nodes[action.node];
        let result = serde_json::json!({
            "node": &*node.name,
            "action": &*node.action,
            "element": action.element.map(|element| element.index),
            "deliveries": action.delivery,
            "error": error,
        });
        self.end(
            action.instance,
            Outcome::Failed,
            Json::trusted(result.to_string()),
        );
    }

    fn end(&mut self, instance: InstanceId, outcome: Outcome, result: Json) {
        self.out.finished.push((instance, outcome));
        self.out.batch.finished.push(Finished {
            instance,
            outcome,
            result,
        });
    }

    /// One event: what it opens is gone through to the end; what it only skips is carried.
    fn unit(
        &mut self,
        context: &Context,
        begin: impl FnOnce(&mut Self) -> Result<(), NumbersUsedUp>,
    ) -> Result<(), NumbersUsedUp> {
        let first = self.out.batch.actions.len();
        begin(self)?;
        while let Some(open) = self.open.pop() {
            self.go_through(context, open)?;
        }
        for gate in std::mem::take(&mut self.skipped) {
            let key = (context.instance, gate);
            let Some((_, pending)) = self.pending.get(&key) else {
                continue;
            };
            let node = match context.graph.place(gate) {
                Place::Join(node) => node,
                Place::End => context.graph.end(),
                Place::Collection(_) => continue,
            };
            let mut enqueued = self.out.batch.actions[first..].iter_mut();
            let before = enqueued.find(|action| context.graph.leads(action.node as usize, node));
            if let (true, Some(action)) = (pending.values.is_empty(), before) {
                action.carried.push((gate, pending.arrived));
                self.pending.remove(&key);
            }
        }
        Ok(())
    }

    /// A node's value goes along its edges.
    fn deliver(&mut self, context: &Context, node: usize, value: &Json) {
        let graph = &context.graph;
        let mut parsed: Option<Value> = None;
        for out in &graph.nodes[node].out {
            let when = graph
                .nodes
                .get(out.to)
                .and_then(|to| to.edges[out.edge].when.as_ref());
            let is_taken = when.is_none_or(|when| {
                let parsed = parsed.get_or_insert_with(|| value.to().unwrap_or(Value::Null));
                when.holds(parsed)
            });
            let arrives = is_taken.then(|| (position(out.edge), value.clone()));
            self.arrive(context, Graph::join(out.to), 1, arrives);
        }
    }

    /// At a join.
    fn arrive(&mut self, context: &Context, gate: Gate, n: u32, value: Option<(u32, Json)>) {
        let node = match context.graph.place(gate) {
            Place::Join(node) => node,
            Place::Collection(_) | Place::End => context.graph.end(),
        };
        let expected = position(context.graph.edges_of(node));
        self.arrive_of(context, gate, expected, n, value);
    }

    fn arrive_of(
        &mut self,
        context: &Context,
        gate: Gate,
        expected: u32,
        n: u32,
        value: Option<(u32, Json)>,
    ) {
        if expected == n {
            let values = value.into_iter().collect();
            self.open.push(Open { gate, values });
            return;
        }
        if value.is_none() {
            self.skipped.push(gate);
        }
        let key = (context.instance, gate);
        let (_, pending) = self.pending.entry(key).or_insert_with(|| {
            let pending = Pending {
                expected,
                arrived: 0,
                values: Vec::new(),
            };
            (context.clone(), pending)
        });
        pending.arrived += n;
        pending.values.extend(value);
        let arrived = pending.arrived;
        let remembered = self
            .cache
            .get(key)
            .filter(|remembered| remembered.missing == arrived);
        if arrived == pending.expected {
            let (_, pending) = self.pending.remove(&key).expect("just looked at");
            let values = pending.values;
            self.open.push(Open { gate, values });
        } else if let Some(remembered) = remembered {
            let (_, pending) = self.pending.remove(&key).expect("just looked at");
            self.out.batch.passed.push(Passed {
                instance: context.instance,
                gate,
                missing: arrived,
            });
            let mut values = remembered.values.clone();
            values.extend(pending.values);
            self.open.push(Open { gate, values });
        }
    }

    fn go_through(&mut self, context: &Context, open: Open) -> Result<(), NumbersUsedUp> {
        let Open { gate, mut values } = open;
        values.sort_unstable_by_key(|(position, _)| *position);
        let graph = Arc::clone(&context.graph);
        match graph.place(gate) {
            Place::Collection(node) => {
                let list = array_of(values.iter().map(|(_, value)| value.as_str()));
                self.deliver(context, node, &list);
            }
            Place::Join(node) if values.is_empty() => {
                for out in &graph.nodes[node].out {
                    self.arrive(context, Graph::join(out.to), 1, None);
                }
            }
            Place::Join(node) => {
                let edges = &graph.nodes[node].edges;
                let names = |edge: u32| &*graph.nodes[edges[edge as usize].from].name;
                let input = together(&values, edges.len(), names);
                self.enqueue(context, node, &input, &values)?;
            }
            Place::End => {
                let names = |edge: u32| &*graph.nodes[graph.last[edge as usize]].name;
                let result = together(&values, graph.last.len(), names);
                self.end(context.instance, Outcome::Completed, result);
            }
        }
        Ok(())
    }

    /// A node is ready: with what arrived along its edges.
    fn enqueue(
        &mut self,
        context: &Context,
        node: usize,
        input: &Json,
        values: &[(u32, Json)],
    ) -> Result<(), NumbersUsedUp> {
        let it = &context.graph.nodes[node];
        let Some(over) = &it.over else {
            return self.push(context, node, None, input.clone());
        };
        let source = match over.edge {
            None => Some(input),
            Some(edge) => values
                .iter()
                .find(|(position, _)| *position as usize == edge)
                .map(|(_, value)| value),
        };
        // A list that was skipped has no elements.
        let elements = match source {
            None => Some(Vec::new()),
            Some(source) => source.at(&over.at).and_then(|list| list.elements()),
        };
        match elements {
            None => {
                let error = format!(
                    "there is no list at {:?} of the value that it is over",
                    over.at
                );
                let result = serde_json::json!({
                    "node": &*it.name, "action": &*it.action, "error": error,
                });
                let result = Json::trusted(result.to_string());
                self.failed.insert(context.instance);
                self.end(context.instance, Outcome::Failed, result);
            }
            Some(elements) if elements.is_empty() => {
                let none = array_of(std::iter::empty());
                self.deliver(context, node, &none);
            }
            Some(elements) => {
                let of = position(elements.len());
                for (index, input) in (0..).zip(elements) {
                    self.push(context, node, Some(Element { index, of }), input)?;
                }
            }
        }
        Ok(())
    }

    fn push(
        &mut self,
        context: &Context,
        node: usize,
        element: Option<Element>,
        input: Json,
    ) -> Result<(), NumbersUsedUp> {
        let id = ActionId(self.number()?);
        let is_leased = self.capacity > 0;
        self.capacity = self.capacity.saturating_sub(1);
        self.out.batch.actions.push(NewAction {
            id,
            instance: context.instance,
            node: position(node),
            element,
            priority: context.priority,
            input,
            carried: Vec::new(),
            is_leased,
        });
        // Without what it carries, which is known when the event is over.
        if is_leased {
            let new = &self.out.batch.actions[self.out.batch.actions.len() - 1];
            self.out.leased.push(Action {
                id,
                instance: context.instance,
                graph: Arc::clone(&context.graph),
                node,
                element,
                delivery: 1,
                priority: context.priority,
                input: new.input.clone(),
                carried: Vec::new(),
                ready: self.now,
            });
        }
        Ok(())
    }

    fn log(&mut self, action: &Action, outcome: &str, ran: Duration, error: Option<&str>) {
        let log = &mut self.log;
        log.push(if log.is_empty() { '[' } else { ',' });
        let mut digits = itoa::Buffer::new();
        log.push('[');
        log.push_str(digits.format(action.id.0));
        log.push(',');
        log.push_str(digits.format(action.instance.0));
        log.push(',');
        log.push_str(digits.format(action.node));
        log.push(',');
        let element = action
            .element
            .map_or(-1, |element| i64::from(element.index));
        log.push_str(digits.format(element));
        log.push(',');
        log.push_str(digits.format(action.delivery));
        log.push_str(",\"");
        log.push_str(outcome);
        log.push_str("\",");
        log.push_str(digits.format(ran.as_micros()));
        if let Some(error) = error {
            _ = write!(log, ",{}", Value::from(error));
        }
        log.push(']');
    }

    fn finish(mut self) -> Result<(Consequences, Numbers), NumbersUsedUp> {
        let failed = &self.failed;
        self.pending
            .retain(|(instance, _), _| !failed.contains(instance));
        let mut pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        // In one order everywhere: two engines that wait for each other's rows would wait for ever.
        pending.sort_unstable_by_key(|(key, _)| *key);
        for ((instance, gate), (_, pending)) in pending {
            let pairs = pending.values.iter();
            let pairs: Vec<String> = pairs
                .map(|(position, value)| format!("[{position},{value}]"))
                .collect();
            let values = (!pairs.is_empty()).then(|| array_of(pairs.iter().map(String::as_str)));
            let part = self.number()?;
            self.out.arrived.push(pending.values);
            self.out.batch.arrivals.push(Arrival {
                instance,
                gate,
                expected: pending.expected,
                arrived: pending.arrived,
                values,
                part,
            });
        }
        let mut leased = self.out.leased.iter_mut();
        for new in &self.out.batch.actions {
            if new.is_leased {
                let action = leased.next().expect("one for each");
                action.carried.clone_from(&new.carried);
            }
        }
        if !self.log.is_empty() {
            self.log.push(']');
            self.out.batch.log = Some(Json::trusted(self.log));
        }
        // Of a failed instance nothing more becomes ready.
        let failed = &self.failed;
        if !failed.is_empty() {
            let is_alive = |instance: &InstanceId| !failed.contains(instance);
            self.out.batch.actions.retain(|new| is_alive(&new.instance));
            self.out.leased.retain(|action| is_alive(&action.instance));
            let mut seen = HashSet::new();
            let first = |instance: InstanceId, outcome: Outcome, seen: &mut HashSet<_>| {
                (outcome == Outcome::Failed || is_alive(&instance)) && seen.insert(instance)
            };
            self.out
                .batch
                .finished
                .retain(|it| first(it.instance, it.outcome, &mut seen));
            seen.clear();
            self.out
                .finished
                .retain(|(instance, outcome)| first(*instance, *outcome, &mut seen));
        }
        Ok((self.out, self.numbers))
    }
}

fn position(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32")
}

/// One value as it is; several by the names of where they come from.
fn together<'a>(values: &[(u32, Json)], edges: usize, name: impl Fn(u32) -> &'a str) -> Json {
    match values {
        [] => Json::null(),
        [(_, value)] if edges == 1 => value.clone(),
        _ => {
            let mut text = String::from("{");
            for (edge, value) in values {
                if text.len() > 1 {
                    text.push(',');
                }
                _ = write!(text, "{}:{value}", Value::from(name(*edge)));
            }
            text.push('}');
            Json::trusted(text)
        }
    }
}

#[cfg(test)]
mod tests;
