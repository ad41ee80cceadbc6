//! A batch as one SQL statement.
//!
//! Its parts are data-modifying CTEs, put together from what the batch has. Each part asks for
//! `signed`, the row of the batch's lane, so that nothing happens before the lane is locked, and
//! nothing at all when the batch was applied before. In the end the statement compares how many
//! rows its parts changed with how many the batch says; where they differ it raises an error, and
//! everything is undone.
//!
//! All parts see the tables as they were before the statement, and a row may be changed by one of
//! them only.

use std::collections::HashMap;
use std::fmt::Write as _;

use deadpool_postgres::GenericClient;
use deadpool_postgres::tokio_postgres::Row;
use deadpool_postgres::tokio_postgres::types::ToSql;

use super::failure::Failure;
use super::{FREE, in_us};
use crate::store::carried_text;
use crate::store::{Arrival, Batch, Delivery, InstanceId, NewAction, Passed, SessionId, Stamp};
use crate::value::Json;

type Parameter<'a> = Box<dyn ToSql + Send + Sync + 'a>;

/// A batch as SQL.
pub(super) struct Statement<'a> {
    text: String,
    parameters: Vec<Parameter<'a>>,
    /// Conditions that hold when something was out of date.
    mismatches: String,
    /// Its shape comes again and again, so that its plan is worth keeping on each connection.
    is_usual: bool,
}

impl<'a> Statement<'a> {
    pub(super) fn of(stamp: Stamp, batch: &'a Batch) -> Self {
        let mut statement = Self {
            text: String::with_capacity(4_096),
            parameters: Vec::with_capacity(40),
            mismatches: String::with_capacity(512),
            is_usual: true,
        };
        statement.sign(stamp);
        statement.delete(&batch.completed);
        statement.give_back(batch);
        statement.pass(&batch.passed);
        statement.update_instances(batch);
        statement.enqueue(stamp.session, batch);
        statement.arrive(&batch.arrivals);
        statement.log(batch);
        statement.end(!batch.arrivals.is_empty());
        statement
    }

    /// Executes it: the gates that are complete now.
    pub(super) async fn run(&self, client: &impl GenericClient) -> Result<Vec<Row>, Failure> {
        let prepared = match self.is_usual {
            true => client.prepare_cached(&self.text).await?,
            false => client.prepare(&self.text).await?,
        };
        Ok(client.query(&prepared, &self.parameters()).await?)
    }

    /// Executes it and lets the server say what each part took: its plan, as JSON.
    pub(super) async fn run_explained(&self, client: &impl GenericClient) -> Result<Row, Failure> {
        let text = format!("EXPLAIN (ANALYZE, COSTS off, FORMAT json) {}", self.text);
        Ok(client.query_one(&text, &self.parameters()).await?)
    }

    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        let parameters = self.parameters.iter();
        parameters
            .map(|parameter| &**parameter as &(dyn ToSql + Sync))
            .collect()
    }

    /// One more parameter; its number.
    fn parameter(&mut self, value: impl ToSql + Send + Sync + 'a) -> usize {
        self.parameters.push(Box::new(value));
        self.parameters.len()
    }

    /// One more column of rows that a part works on: an array.
    fn column<T: ToSql + Send + Sync + 'a>(
        &mut self,
        name: &str,
        sql_type: &str,
        values: impl Iterator<Item = T>,
    ) -> &mut Self {
        let array: Vec<T> = values.collect();
        let number = self.parameter(array);
        let comma = if self.text.ends_with('(') {
            "SELECT"
        } else {
            ","
        };
        _ = write!(
            self.text,
            "{comma} unnest(${number}::{sql_type}[]) AS {name}"
        );
        self
    }

    /// The same where often all rows have one value, which then travels once.
    fn column_or_value<T: ToSql + Copy + PartialEq + Send + Sync + 'a>(
        &mut self,
        name: &str,
        sql_type: &str,
        mut values: impl Iterator<Item = T> + Clone,
    ) -> &mut Self {
        let all = values.clone();
        match values.next() {
            Some(first) if values.all(|value| value == first) => {
                let number = self.parameter(first);
                _ = write!(self.text, ", ${number}::{sql_type} AS {name}");
                self
            }
            _ => self.column(name, sql_type, all),
        }
    }

    /// Begins a part: `(`, for columns.
    fn part(&mut self, begin: &str) -> &mut Self {
        self.text.push_str(",\n");
        self.text.push_str(begin);
        self.text.push('(');
        self
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// So many rows of a part are expected to come back.
    fn expect(&mut self, part: &str, rows: usize) {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        let number = self.parameter(rows);
        _ = write!(
            self.mismatches,
            " OR (SELECT count(*) FROM {part}) <> ${number}"
        );
    }

    fn sign(&mut self, stamp: Stamp) {
        self.parameter(stamp.session.0);
        self.parameter(i32::try_from(stamp.lane).unwrap_or(i32::MAX));
        self.parameter(stamp.number);
        self.text(
            "WITH signed AS (
                UPDATE lane SET number = $3
                WHERE session = $1 AND lane = $2 AND number < $3 RETURNING 1)",
        );
    }

    /// Most deliveries are first ones: for these the keys alone are looked up, in their order,
    /// without a join.
    fn delete(&mut self, completed: &'a [Delivery]) {
        let (first, repeated): (Vec<&Delivery>, Vec<&Delivery>) =
            completed.iter().partition(|it| it.delivery == 1);
        if !first.is_empty() {
            let mut ids: Vec<i64> = first.iter().map(|it| it.action.0).collect();
            ids.sort_unstable();
            self.expect("deleted", ids.len());
            let ids = self.parameter(ids);
            let part = format!(
                ",
            deleted AS (DELETE FROM action WHERE EXISTS (SELECT FROM signed)
                AND id = ANY(${ids}::bigint[]) AND delivery = 1 RETURNING 1)"
            );
            self.text(&part);
        }
        if !repeated.is_empty() {
            self.is_usual = false;
            self.part("deleted_again AS (DELETE FROM action USING ")
                .column("id", "bigint", repeated.iter().map(|it| it.action.0))
                .column(
                    "delivery",
                    "integer",
                    repeated.iter().map(|it| int(it.delivery)),
                )
                .text(
                    ") AS it
                    WHERE EXISTS (SELECT FROM signed)
                        AND action.id = it.id AND action.delivery = it.delivery RETURNING 1)",
                )
                .expect("deleted_again", repeated.len());
        }
    }

    fn give_back(&mut self, batch: &'a Batch) {
        let given_back = &batch.given_back;
        if given_back.is_empty() {
            return;
        }
        self.is_usual = false;
        let tokens = || given_back.iter().map(|it| it.delivery);
        self.part(
            "given_back AS (
            UPDATE action SET owner = CASE WHEN it.wait = 0 THEN 0 ELSE -1 END,
                due_at = now() + it.wait * interval '1 microsecond',
                delivery = action.delivery - it.untouched
            FROM ",
        )
        .column("id", "bigint", tokens().map(|it| it.action.0))
        .column("delivery", "integer", tokens().map(|it| int(it.delivery)))
        .column("wait", "bigint", given_back.iter().map(|it| in_us(it.wait)))
        .column(
            "untouched",
            "integer",
            given_back.iter().map(|it| i32::from(it.is_untouched)),
        )
        .text(
            ") AS it
            WHERE EXISTS (SELECT FROM signed)
                AND action.id = it.id AND action.delivery = it.delivery RETURNING 1)",
        )
        .expect("given_back", given_back.len());
    }

    fn pass(&mut self, passed: &'a [Passed]) {
        if passed.is_empty() {
            return;
        }
        let mut passed: Vec<&Passed> = passed.iter().collect();
        passed.sort_unstable_by_key(|it| (it.instance, it.gate));
        self.part("leaving AS ")
            .column("instance", "bigint", passed.iter().map(|it| it.instance.0))
            .column("gate", "integer", passed.iter().map(|it| int(it.gate.0)))
            .column(
                "missing",
                "integer",
                passed.iter().map(|it| int(it.missing)),
            )
            .text(
                "),
            passed AS (DELETE FROM gate USING leaving AS it
                WHERE EXISTS (SELECT FROM signed) AND gate.instance = it.instance
                    AND gate.gate = it.gate AND gate.missing = it.missing RETURNING 1),
            emptied AS (DELETE FROM inbox USING leaving AS it
                WHERE EXISTS (SELECT FROM signed) AND inbox.instance = it.instance
                    AND inbox.gate = it.gate)",
            )
            .expect("passed", passed.len());
    }

    /// An instance that starts and finishes at once has its row changed once.
    fn update_instances(&mut self, batch: &'a Batch) {
        if batch.started.is_empty() && batch.finished.is_empty() {
            return;
        }
        let mut changes: Vec<InstanceChange<'a>> = Vec::new();
        let mut places: HashMap<InstanceId, usize> = HashMap::new();
        for started in &batch.started {
            places.insert(started.instance, changes.len());
            changes.push(InstanceChange {
                instance: started.instance,
                claim: Some(int(started.claim)),
                outcome: None,
                result: None,
            });
        }
        for finished in &batch.finished {
            let place = *places.entry(finished.instance).or_insert_with(|| {
                changes.push(InstanceChange {
                    instance: finished.instance,
                    claim: None,
                    outcome: None,
                    result: None,
                });
                changes.len() - 1
            });
            // The first end counts.
            if changes[place].outcome.is_none() {
                changes[place].outcome = Some(finished.outcome.as_str());
                changes[place].result = Some(finished.result.as_str());
            }
        }
        changes.sort_unstable_by_key(|it| it.instance);
        self.part(
            "changed AS (
            UPDATE instance SET owner = NULL,
                started_at = coalesce(started_at, now()),
                finished_at = CASE WHEN it.outcome IS NULL THEN finished_at ELSE now() END,
                outcome = coalesce(it.outcome, instance.outcome),
                result = coalesce(it.result, instance.result)
            FROM ",
        )
        .column("id", "bigint", changes.iter().map(|it| it.instance.0))
        .column("claim", "integer", changes.iter().map(|it| it.claim))
        .column("outcome", "text", changes.iter().map(|it| it.outcome))
        .column("result", "text", changes.iter().map(|it| it.result))
        .text(
            ") AS it
            WHERE EXISTS (SELECT FROM signed) AND instance.id = it.id
                AND (it.claim IS NULL OR (it.claim = instance.claim AND started_at IS NULL))
                AND (it.outcome IS NULL OR finished_at IS NULL)
            RETURNING it.claim)",
        );
        if !batch.started.is_empty() {
            self.expect("changed WHERE claim IS NOT NULL", batch.started.len());
        }
    }

    fn enqueue(&mut self, session: SessionId, batch: &'a Batch) {
        let actions = &batch.actions;
        if actions.is_empty() {
            return;
        }
        let elements = || actions.iter().map(|it| it.element);
        // What is this session's from the beginning is its first delivery.
        let owner = |it: &NewAction| if it.is_leased { session.0 } else { FREE };
        self.text(
            ",
            enqueued AS (
            INSERT INTO action
                (id, instance, node, element, elements, delivery, owner, priority, input, carried)
            (",
        )
        .column("id", "bigint", actions.iter().map(|it| it.id.0))
        .column("instance", "bigint", actions.iter().map(|it| it.instance.0))
        .column("node", "integer", actions.iter().map(|it| int(it.node)))
        .column(
            "element",
            "integer",
            elements().map(|it| it.map(|it| int(it.index))),
        )
        .column(
            "elements",
            "integer",
            elements().map(|it| it.map(|it| int(it.of))),
        )
        .column_or_value(
            "delivery",
            "integer",
            actions.iter().map(|it| i32::from(it.is_leased)),
        )
        .column_or_value("owner", "bigint", actions.iter().map(owner))
        .column_or_value("priority", "smallint", actions.iter().map(|it| it.priority))
        .column("input", "text", actions.iter().map(|it| it.input.as_str()));
        if actions.iter().all(|it| it.carried.is_empty()) {
            self.text(", NULL");
        } else {
            let carried = actions
                .iter()
                .map(|it| (!it.carried.is_empty()).then(|| carried_text(&it.carried)));
            self.column("carried", "text", carried);
        }
        self.text(" WHERE EXISTS (SELECT FROM signed)))");
    }

    fn arrive(&mut self, arrivals: &'a [Arrival]) {
        if arrivals.is_empty() {
            return;
        }
        // In one order everywhere: two batches that wait for each other's rows would wait for ever.
        let mut arrivals: Vec<&Arrival> = arrivals.iter().collect();
        arrivals.sort_unstable_by_key(|it| (it.instance, it.gate));
        self.part("arrived AS (INSERT INTO gate (instance, gate, missing, latest) ")
            .column(
                "instance",
                "bigint",
                arrivals.iter().map(|it| it.instance.0),
            )
            .column("gate", "integer", arrivals.iter().map(|it| int(it.gate.0)))
            .column(
                "missing",
                "integer",
                arrivals.iter().map(|it| int(it.expected) - int(it.arrived)),
            )
            .column(
                "latest",
                "integer",
                arrivals.iter().map(|it| int(it.arrived)),
            )
            .text(
                " WHERE EXISTS (SELECT FROM signed))
            ON CONFLICT (instance, gate) DO UPDATE SET missing = gate.missing - excluded.latest
            RETURNING instance, gate, missing)",
            );
        arrivals.retain(|it| it.values.is_some());
        if arrivals.is_empty() {
            return;
        }
        self.part("delivered AS (INSERT INTO inbox (instance, gate, part, entries) ")
            .column(
                "instance",
                "bigint",
                arrivals.iter().map(|it| it.instance.0),
            )
            .column("gate", "integer", arrivals.iter().map(|it| int(it.gate.0)))
            .column("part", "bigint", arrivals.iter().map(|it| it.part))
            .column(
                "entries",
                "text",
                arrivals
                    .iter()
                    .map(|it| it.values.as_ref().map(Json::as_str)),
            )
            .text(" WHERE EXISTS (SELECT FROM signed)))");
    }

    fn log(&mut self, batch: &'a Batch) {
        let Some(log) = &batch.log else {
            return;
        };
        let number = self.parameter(log.as_str());
        let part = format!(
            ",
            logged AS (INSERT INTO log (at, entries) SELECT now(), ${number}::text FROM signed)"
        );
        self.text(&part);
    }

    /// Says which gates are complete now, unless something was out of date.
    fn end(&mut self, has_arrivals: bool) {
        if has_arrivals {
            self.text("\nSELECT instance, gate FROM arrived WHERE missing <= 0 UNION ALL");
        }
        let mismatches = std::mem::take(&mut self.mismatches);
        self.text("\nSELECT refuse(), 0 WHERE NOT EXISTS (SELECT FROM signed)")
            .text(&mismatches);
    }
}

struct InstanceChange<'a> {
    instance: InstanceId,
    claim: Option<i32>,
    outcome: Option<&'a str>,
    result: Option<&'a str>,
}

/// Numbers of nodes, gates, elements and deliveries. The engine gives none above.
pub(super) fn int(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
