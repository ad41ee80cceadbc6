//! Random graphs, executed in random batches against a small model of a store, end as a plain
//! evaluation of the graph does.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::store::{NewAction, WorkflowId};
use crate::workflow::{After, Node, Over, When, Workflow};

/// A small generator (xorshift64*): the same numbers everywhere.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    fn index(&mut self, n: usize) -> usize {
        usize::try_from(self.below(n as u64)).expect("an index")
    }
}

fn random_workflow(dice: &mut Dice) -> Workflow {
    let mut workflow = Workflow::new("random");
    let nodes = 1 + dice.index(9);
    for i in 0..nodes {
        let mut node = Node::new(format!("n{i}"), "action");
        for before in 0..i {
            if dice.below(10) < 4 {
                let when = (dice.below(2) == 0).then(|| When {
                    at: "/k".into(),
                    is: vec![json!(dice.below(3))],
                    not: dice.below(3) == 0,
                });
                node.after.push(After {
                    node: format!("n{before}"),
                    when,
                });
            }
        }
        if dice.below(3) == 0 {
            node.over = Some(match node.after.is_empty() {
                true => Over {
                    node: None,
                    at: "/l".into(),
                },
                false => {
                    let edge = dice.index(node.after.len());
                    Over {
                        node: Some(node.after[edge].node.clone()),
                        at: String::new(),
                    }
                }
            });
        }
        workflow = workflow.node(node);
    }
    // A list that an element-wise node is over comes from a node that makes one.
    workflow
}

/// What a handler makes of an input: for a node that others fan out over, a list.
fn act(graph: &Graph, node: usize, element: Option<u32>, input: &Json) -> Json {
    let text = format!("{node}/{element:?}/{input}");
    let hash = text.bytes().fold(7_u64, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let k = (hash >> 7) % 3;
    let is_list = graph.nodes.iter().any(|other| {
        let from = other.over.as_ref().and_then(|over| over.edge);
        from.is_some_and(|edge| other.edges[edge].from == node)
    });
    let value = if is_list && graph.nodes[node].over.is_none() {
        (0..k).map(|i| json!({ "k": i })).collect()
    } else {
        json!({ "k": k, "from": node })
    };
    Json::of(&value).expect("JSON")
}

/// The same without a queue.
fn evaluate(graph: &Graph, input: &Json) -> Json {
    let mut values: Vec<Option<Json>> = Vec::new();
    for node in 0..graph.nodes.len() {
        let it = &graph.nodes[node];
        let arrived: Vec<(u32, Json)> = (0..)
            .zip(&it.edges)
            .filter_map(|(i, edge)| {
                let value = values[edge.from].clone()?;
                let parsed = value.to().expect("JSON");
                let holds = edge.when.as_ref().is_none_or(|when| when.holds(&parsed));
                holds.then_some((i, value))
            })
            .collect();
        let is_run = it.edges.is_empty() || !arrived.is_empty();
        values.push(is_run.then(|| {
            let input = if it.edges.is_empty() {
                input.clone()
            } else {
                let name = |edge: u32| &*graph.nodes[it.edges[edge as usize].from].name;
                together(&arrived, it.edges.len(), name)
            };
            match &it.over {
                None => act(graph, node, None, &input),
                Some(over) => {
                    let list = match over.edge {
                        None => Some(&input),
                        Some(edge) => arrived
                            .iter()
                            .find(|(i, _)| *i as usize == edge)
                            .map(|(_, value)| value),
                    };
                    let elements = list.map_or_else(Vec::new, |list| {
                        list.at(&over.at)
                            .and_then(|it| it.elements())
                            .expect("a list")
                    });
                    let done: Vec<Json> = (0..)
                        .zip(&elements)
                        .map(|(i, element)| act(graph, node, Some(i), element))
                        .collect();
                    array_of(done.iter().map(Json::as_str))
                }
            }
        }));
    }
    let arrived: Vec<(u32, Json)> = (0..)
        .zip(&graph.last)
        .filter_map(|(i, node)| Some((i, values[*node].clone()?)))
        .collect();
    let name = |edge: u32| &*graph.nodes[graph.last[edge as usize]].name;
    together(&arrived, graph.last.len(), name)
}

/// How many are missing at a gate, and what has arrived.
type Missing = (u32, Vec<(u32, Json)>);

#[derive(Default)]
struct Model {
    actions: BTreeMap<ActionId, (NewAction, u32)>,
    gates: BTreeMap<(InstanceId, Gate), Missing>,
    finished: BTreeMap<InstanceId, (Outcome, Json)>,
    started: HashSet<InstanceId>,
}

impl Model {
    fn apply(&mut self, batch: &Batch) -> Result<Vec<(InstanceId, Gate)>, Stale> {
        let mut stale = Stale::default();
        for delivery in &batch.completed {
            let is_so = self
                .actions
                .get(&delivery.action)
                .is_some_and(|(_, latest)| *latest == delivery.delivery);
            if !is_so {
                stale.deliveries.push(*delivery);
            }
        }
        for passed in &batch.passed {
            let gate = self.gates.get(&(passed.instance, passed.gate));
            if gate.is_none_or(|(missing, _)| *missing != passed.missing) {
                stale.passed.push(*passed);
            }
        }
        for started in &batch.started {
            if self.started.contains(&started.instance) {
                stale.started.push(*started);
            }
        }
        if !stale.is_empty() {
            return Err(stale);
        }
        for delivery in &batch.completed {
            self.actions.remove(&delivery.action);
        }
        for passed in &batch.passed {
            self.gates.remove(&(passed.instance, passed.gate));
        }
        self.started
            .extend(batch.started.iter().map(|it| it.instance));
        for new in &batch.actions {
            let delivery = u32::from(new.is_leased);
            let before = self.actions.insert(new.id, (new.clone(), delivery));
            assert!(before.is_none(), "{:?} is used twice", new.id);
        }
        let mut complete = Vec::new();
        for arrival in &batch.arrivals {
            let key = (arrival.instance, arrival.gate);
            let gate = self
                .gates
                .entry(key)
                .or_insert((arrival.expected, Vec::new()));
            gate.0 = gate
                .0
                .checked_sub(arrival.arrived)
                .expect("no more than expected");
            if let Some(values) = &arrival.values {
                let values: Vec<(u32, Box<serde_json::value::RawValue>)> =
                    values.to().expect("pairs");
                let values = values.into_iter();
                gate.1
                    .extend(values.map(|(at, it)| (at, Json::trusted(it.get()))));
            }
            if gate.0 == 0 {
                complete.push(key);
            }
        }
        for finished in &batch.finished {
            let end = (finished.outcome, finished.result.clone());
            let before = self.finished.insert(finished.instance, end);
            assert!(before.is_none(), "{} ended twice", finished.instance);
        }
        Ok(complete)
    }
}

struct Execution {
    graph: Arc<Graph>,
    model: Model,
    cache: InboxCache,
    numbers: Numbers,
    events: Vec<Event>,
    /// Whether what arrived is remembered; otherwise it is read back.
    remembers: bool,
}

impl Execution {
    /// A batch of some of the events.
    fn step(&mut self, dice: &mut Dice) {
        let n = 1 + dice.index(self.events.len());
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..n {
            let at = dice.index(self.events.len());
            events.push(self.events.swap_remove(at));
        }
        let capacity = dice.index(6);
        let done = consequences(
            &events,
            &self.cache,
            &mut self.numbers,
            capacity,
            Instant::now(),
        );
        let done = done.expect("enough numbers");
        match self.model.apply(&done.batch) {
            Err(stale) => {
                for passed in &stale.passed {
                    self.cache.forget((passed.instance, passed.gate));
                }
                let rest = events.into_iter().filter(|event| !event.is_stale(&stale));
                self.events.extend(rest);
            }
            Ok(complete) => {
                // One of them comes again, late.
                if dice.below(4) == 0 {
                    self.events.extend(events.first().cloned());
                }
                for passed in &done.batch.passed {
                    self.cache.forget((passed.instance, passed.gate));
                }
                if self.remembers {
                    for (arrival, values) in done.batch.arrivals.iter().zip(done.arrived) {
                        self.cache.add(arrival, values);
                    }
                }
                for (instance, gate) in complete {
                    let (_, values) = &self.model.gates[&(instance, gate)];
                    self.events.push(Event::GateComplete {
                        instance,
                        graph: Arc::clone(&self.graph),
                        gate,
                        priority: 0,
                        values: values.clone(),
                    });
                }
                for action in done.leased {
                    self.run(action);
                }
            }
        }
    }

    fn run(&mut self, action: Action) {
        let element = action.element.map(|element| element.index);
        let value = act(&self.graph, action.node, element, &action.input);
        self.events.push(Event::Completed {
            action,
            value,
            ran: Duration::ZERO,
        });
    }

    /// What nobody has is claimed, from its row alone.
    fn claim(&mut self) {
        let free: Vec<ActionId> = self
            .model
            .actions
            .iter()
            .filter(|(_, (_, delivery))| *delivery == 0)
            .map(|(id, _)| *id)
            .collect();
        for id in free {
            let (new, delivery) = self.model.actions.get_mut(&id).expect("just seen");
            *delivery += 1;
            let action = Action {
                id,
                instance: new.instance,
                graph: Arc::clone(&self.graph),
                node: new.node as usize,
                element: new.element,
                delivery: *delivery,
                priority: 0,
                input: new.input.clone(),
                carried: new.carried.clone(),
                ready: Instant::now(),
            };
            self.run(action);
        }
    }
}

fn execute(seed: u64) {
    let mut dice = Dice(seed * 2 + 1);
    for _ in 0..10 {
        dice.below(2);
    }
    let workflow = random_workflow(&mut dice);
    let graph = Arc::new(Graph::new(&workflow).expect("a graph"));
    let input = Json::of(&json!({ "l": [{"k": 1}, {"k": 2}, {"k": 0}] })).expect("JSON");
    let expected = evaluate(&graph, &input);
    let mut execution = Execution {
        graph: Arc::clone(&graph),
        model: Model::default(),
        cache: InboxCache::default(),
        numbers: Numbers {
            next: 1,
            end: i64::MAX,
        },
        events: Vec::new(),
        remembers: dice.below(2) == 0,
    };
    let instances = 3;
    for i in 0..instances {
        let claimed = ClaimedInstance {
            id: InstanceId(i),
            workflow: WorkflowId(1),
            input: input.clone(),
            priority: 0,
            claim: 1,
        };
        execution
            .events
            .push(Event::Claimed(claimed, Arc::clone(&graph)));
    }
    for _ in 0..10_000 {
        execution.claim();
        if execution.events.is_empty() {
            break;
        }
        execution.step(&mut dice);
    }
    let definition = || serde_json::to_string(&workflow).expect("JSON");
    for i in 0..instances {
        let end = execution.model.finished.get(&InstanceId(i));
        let expected = (Outcome::Completed, expected.clone());
        assert_eq!(end, Some(&expected), "seed {seed}: {}", definition());
    }
    let model = &execution.model;
    assert!(model.actions.is_empty(), "seed {seed}: {}", definition());
    assert!(
        model.gates.is_empty(),
        "seed {seed}: {:?} {}",
        model.gates,
        definition()
    );
}

#[test]
fn random_graphs_in_random_batches_end_as_they_should() {
    for seed in 0..4_000 {
        execute(seed);
    }
}

/// The workload that the queue is measured with: a step of the loop leaves no gate behind.
#[test]
fn a_chain_of_branches_writes_no_gate() {
    let graph = Arc::new(Graph::new(&crate::queue_noop::workflow(4)).expect("a graph"));
    let mut numbers = Numbers {
        next: 1,
        end: 1_000,
    };
    let cache = InboxCache::default();
    let node = |name: &str| {
        let at = graph.nodes.iter().position(|node| &*node.name == name);
        at.expect("a node of it")
    };
    let mut action = Action {
        id: ActionId(1_000),
        instance: InstanceId(1),
        graph: Arc::clone(&graph),
        node: node("step-1-odd"),
        element: None,
        delivery: 1,
        priority: 0,
        input: Json::null(),
        carried: vec![
            (Graph::join(node("step-2-even")), 1),
            (Graph::join(node("step-2-odd")), 1),
        ],
        ready: Instant::now(),
    };
    for (step, parity) in [(2, "even"), (3, "odd")] {
        let value = Json::of(&json!({ "parity": parity })).expect("JSON");
        let events = [Event::Completed {
            action,
            value,
            ran: Duration::ZERO,
        }];
        let done = consequences(&events, &cache, &mut numbers, 100, Instant::now());
        let mut done = done.expect("enough numbers");
        assert!(done.batch.arrivals.is_empty(), "{:?}", done.batch.arrivals);
        assert_eq!(done.leased.len(), 1);
        action = done.leased.remove(0);
        assert_eq!(
            *action.graph.nodes[action.node].name,
            format!("step-{step}-{parity}")
        );
        assert_eq!(action.carried, done.batch.actions[0].carried);
    }
}
