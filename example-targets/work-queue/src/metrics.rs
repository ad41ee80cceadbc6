//! What the queue has done and what it took: a snapshot, by query.

use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

/// The parts of a store's work that are timed by themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Query {
    /// New instances, a batch.
    CreateInstances,
    /// Claiming instances, a batch.
    ClaimInstances,
    /// Claiming actions that nobody has, a batch.
    ClaimActions,
    /// Completed actions go, a batch.
    DeleteActions,
    /// Actions that became ready, a batch.
    EnqueueActions,
    /// Actions that go back, a batch.
    GiveBackActions,
    /// What arrives at gates that are not complete, a batch.
    Arrivals,
    /// Gates that are complete go, a batch.
    PassGates,
    /// Instances that start or finish, a batch.
    UpdateInstances,
    /// A batch of the log.
    Log,
    /// Making a batch durable.
    Commit,
    /// A batch from its begin to durable.
    Apply,
    /// Reading what has arrived at a gate.
    ReadInbox,
    /// Renewing the lease.
    Renew,
}

impl Query {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::CreateInstances,
        Self::ClaimInstances,
        Self::ClaimActions,
        Self::DeleteActions,
        Self::EnqueueActions,
        Self::GiveBackActions,
        Self::Arrivals,
        Self::PassGates,
        Self::UpdateInstances,
        Self::Log,
        Self::Commit,
        Self::Apply,
        Self::ReadInbox,
        Self::Renew,
    ];

    /// As it is printed.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CreateInstances => "create_instances",
            Self::ClaimInstances => "claim_instances",
            Self::ClaimActions => "claim_actions",
            Self::DeleteActions => "delete_actions",
            Self::EnqueueActions => "enqueue_actions",
            Self::GiveBackActions => "give_back_actions",
            Self::Arrivals => "arrivals",
            Self::PassGates => "pass_gates",
            Self::UpdateInstances => "update_instances",
            Self::Log => "log",
            Self::Commit => "commit",
            Self::Apply => "apply",
            Self::ReadInbox => "read_inbox",
            Self::Renew => "renew",
        }
    }
}

/// Times, from a microsecond to an hour, with three digits.
#[derive(Debug)]
pub struct Times(Mutex<Recorded>);

#[derive(Debug)]
struct Recorded {
    histogram: Histogram<u64>,
    total: Duration,
    rows: u64,
}

const HOUR_NS: u64 = 3_600_000_000_000;

impl Default for Times {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1_000, HOUR_NS, 2).expect("fixed bounds");
        Self(Mutex::new(Recorded {
            histogram,
            total: Duration::ZERO,
            rows: 0,
        }))
    }
}

impl Times {
    /// One that took so long, for so many rows.
    pub fn add(&self, took: Duration, rows: usize) {
        self.add_many(std::iter::once(took), rows);
    }

    /// Several at once.
    pub fn add_many(&self, took: impl Iterator<Item = Duration>, rows: usize) {
        let mut recorded = self.0.lock();
        for took in took {
            let ns = u64::try_from(took.as_nanos()).unwrap_or(HOUR_NS);
            recorded.histogram.saturating_record(ns);
            recorded.total += took;
        }
        recorded.rows += u64::try_from(rows).unwrap_or(u64::MAX);
    }

    /// What was recorded.
    #[must_use]
    pub fn summary(&self) -> TimesSummary {
        let recorded = self.0.lock();
        let at = |quantile| Duration::from_nanos(recorded.histogram.value_at_quantile(quantile));
        let n = recorded.histogram.len();
        TimesSummary {
            n,
            rows: recorded.rows,
            mean_us: in_us(recorded.total) / (n.max(1) as f64),
            median_us: in_us(at(0.5)),
            p95_us: in_us(at(0.95)),
            p99_us: in_us(at(0.99)),
            max_us: in_us(at(1.0)),
            total_ms: in_us(recorded.total) / 1e3,
        }
    }
}

fn in_us(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e7).round() / 10.0
}

/// What a kind of query took, or what something had to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TimesSummary {
    /// How many there were.
    pub n: u64,
    /// How many rows they were about.
    pub rows: u64,
    /// Microseconds, as all below but the last.
    pub mean_us: f64,
    /// Half took no longer.
    pub median_us: f64,
    /// 95 of 100 took no longer.
    pub p95_us: f64,
    /// 99 of 100 took no longer.
    pub p99_us: f64,
    /// The longest.
    pub max_us: f64,
    /// Milliseconds, all together.
    pub total_ms: f64,
}

/// What a store's queries took, by kind; those that there were.
pub type QueryTimes = Vec<(Query, TimesSummary)>;

/// Times by query.
#[derive(Debug, Default)]
pub struct TimesByQuery([Times; Query::ALL.len()]);

impl TimesByQuery {
    /// One query that took so long, for so many rows.
    pub fn add(&self, query: Query, took: Duration, rows: usize) {
        self.0[query as usize].add(took, rows);
    }

    /// What was recorded.
    #[must_use]
    pub fn summary(&self) -> QueryTimes {
        Query::ALL
            .into_iter()
            .map(|query| (query, self.0[query as usize].summary()))
            .filter(|(_, times)| times.n > 0)
            .collect()
    }
}
