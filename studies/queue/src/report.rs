//! The report: a document for a newcomer, made from the results alone.

use std::error::Error;
use std::fmt::{self, Display, Write};
use std::fs;
use std::io;
use std::path::Path;

use shared::statistics::{least, median, most};

use crate::diary::{self, STEPS};
use crate::goals::{Verdict, drained, flatness, goals, has_too_few};
use crate::peer::Peer;
use crate::plots;
use crate::results::{Bench, QueryTimes, QueueRun, Results, Store};
use crate::study::{ACTIONS, HUGE, LARGE, LOOP_SIZE, MIDDLE, REPETITIONS, SMALL, WORKERS};

/// A number without a fraction, its thousands set apart.
pub(crate) struct Grouped(pub(crate) f64);

impl Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_finite() {
            return f.pad("–");
        }
        let digits = format!("{:.0}", self.0);
        let mut text = String::new();
        for (place, digit) in digits.chars().enumerate() {
            let left = digits.len() - place;
            if place > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

/// Milliseconds with three digits.
pub(crate) struct Ms(pub(crate) f64);

impl Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if !ms.is_finite() => f.pad("–"),
            ms if ms >= 10_000.0 => write!(f, "{:.1} s", ms / 1e3),
            ms if ms >= 100.0 => write!(f, "{ms:.0} ms"),
            ms if ms >= 10.0 => write!(f, "{ms:.1} ms"),
            ms => write!(f, "{ms:.2} ms"),
        }
    }
}

/// A ratio with two digits behind the point.
pub(crate) struct Ratio(pub(crate) f64);

impl Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:.2}", self.0)
        } else {
            f.pad("–")
        }
    }
}

struct Percent(f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:.0} %", 100.0 * self.0)
        } else {
            f.pad("–")
        }
    }
}

/// Bytes.
pub(crate) fn mib(bytes: f64) -> String {
    if bytes.is_finite() {
        format!("{:.0} MiB", bytes / f64::from(1 << 20))
    } else {
        "–".to_owned()
    }
}

/// The least and the most of several.
struct Span<'a>(&'a [f64]);

impl Display for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.len() < 2 {
            return f.pad("–");
        }
        write!(f, "{} – {}", Grouped(least(self.0)), Grouped(most(self.0)))
    }
}

type Plot = fn(&Path, &Results) -> Result<(), Box<dyn Error>>;

/// Writes the document, and beside it a directory of its name with the plots and every run.
///
/// # Errors
/// When there are no results, or a file can't be written.
pub fn write(results: &Path, document: &Path) -> io::Result<()> {
    let results = Results::read(results)?;
    let beside = document.with_extension("");
    fs::create_dir_all(&beside)?;
    let plots: [(&str, Plot); 3] = [
        ("rates.svg", plots::rates),
        ("raw-limit.svg", plots::raw_limit),
        ("latency.svg", plots::latency),
    ];
    for (name, draw) in plots {
        draw(&beside.join(name), &results).map_err(|error| io::Error::other(error.to_string()))?;
    }
    fs::write(beside.join("runs.csv"), csv(&results))?;
    fs::write(document, markdown(&results))
}

/// The document.
fn markdown(results: &Results) -> String {
    let mut text = String::new();
    for section in [
        introduction,
        figures_to_reach,
        what_is_measured,
        rates,
        flatness_table,
        beside_the_diary,
        raw_limit,
        latency,
        queries,
        other_queues,
        deadlines,
        method,
    ] {
        section(&mut text, results).expect("a string grows");
    }
    text
}

fn introduction(text: &mut String, results: &Results) -> fmt::Result {
    let header = &results.header;
    let machine = &header.machine;
    writeln!(
        text,
        "# Queue study\n\n\
         `example-targets/work-queue` is a durable queue of workflow actions: one engine, on SQLite \
         or on Postgres. How many actions does it complete a second? Does the rate hold when \
         hundreds of thousands of instances wait? How far is it from what the database could do \
         with the same rows? And how far from the system that it re-creates, whose author kept a \
         diary of its optimisation?\n\n\
         Made by `{}` (`scripts/queue-study`), which anyone can run; every run is in \
         [queue-study/runs.csv](queue-study/runs.csv).\n",
        header.command,
    )?;
    let memory = machine
        .memory_gib
        .map_or_else(String::new, |gib| format!(", {gib} GiB"));
    writeln!(
        text,
        "{}, {} cores{memory}, {}, {}, {}, {}, {}, {}.",
        machine.cpu,
        machine.cores,
        machine.file_system,
        machine.system,
        results
            .server
            .as_deref()
            .map_or_else(|| "no PostgreSQL".to_owned(), |v| format!("PostgreSQL {v}")),
        header.drivers.join(", "),
        header.rustc,
        header.date,
    )?;
    if header.quick {
        writeln!(
            text,
            "\n**Quick: too few and too short runs to rest anything on.**"
        )?;
    } else if has_too_few(results) {
        writeln!(
            text,
            "\n**Fewer than {REPETITIONS} runs of {} instances: the medians rest on less than they \
             should.**",
            Grouped(MIDDLE as f64)
        )?;
    }
    if let Some(load) = header.load_1m.filter(|load| *load > 0.5) {
        writeln!(
            text,
            "\n**The machine was not idle** when this began: {load:.1} tasks ran. Everything else \
             that runs makes the queue slower here."
        )?;
    }
    if let Some(reason) = &results.postgres_left_out {
        writeln!(text, "\n**Postgres was not measured**: {reason}.")?;
    }
    for (task, error) in results.failures() {
        writeln!(text, "\n**`{task}` failed**: {}.", one_line(error))?;
    }
    for (task, run) in results.queue_runs() {
        if let Some(wrong) = what_is_wrong(&run.bench) {
            writeln!(text, "\n**`{task}`** is left out of every median: {wrong}.")?;
        }
    }
    Ok(())
}

/// Why a run is in no median.
fn what_is_wrong(bench: &Bench) -> Option<String> {
    if bench.is_drained() {
        None
    } else if bench.hit_the_deadline {
        Some(format!(
            "{} of {} instances were done when its {:.0} s were over",
            Grouped(bench.instances_completed as f64),
            Grouped(bench.instances as f64),
            bench.seconds
        ))
    } else {
        Some(format!(
            "it ended with {} of {} instances, {} of them failed, and {} actions",
            bench.instances_completed, bench.instances, bench.instances_failed, bench.actions
        ))
    }
}

fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").trim_end_matches('.').to_owned()
}

fn figures_to_reach(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Figures to reach\n\n\
         Medians; n is the number of runs. A *stretch* is a hope, not a goal.\n\n\
         | figure | goal | measured | |\n|---|---|---|---|"
    )?;
    for goal in goals(results) {
        let verdict = match goal.verdict {
            Verdict::Missed if goal.is_stretch => "not reached".to_owned(),
            verdict => verdict.to_string(),
        };
        writeln!(
            text,
            "| {} | {} | {} | {verdict} |",
            goal.figure, goal.goal, goal.measured
        )?;
    }
    Ok(())
}

fn what_is_measured(text: &mut String, _results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## What is measured, and what is not\n\n\
         The workload is `queue-noop`, as in the diary. A workflow is a graph of nodes; an instance \
         executes it. Here an instance is {LOOP_SIZE} actions at once, a fan-in, {LOOP_SIZE} \
         actions one after the other with a branch on even and odd, {LOOP_SIZE} at once again, and \
         one that combines their results: {ACTIONS} actions. Handlers do nothing, so what is \
         measured is the queue. {WORKERS} workers run them.\n\n\
         The clock runs from the creation of the first instance to the end of the last: creating \
         them counts, and nothing is left over. A run whose actions are not exactly {ACTIONS} × its \
         instances is in no median.\n\n\
         **Durability is full.** SQLite: WAL, `synchronous=FULL`, a file on a disk. Postgres: the \
         server's defaults, nothing unlogged, a cluster of its own on a disk. A completion counts \
         when its transaction is durable.\n\n\
         - *Actions/s*: completed actions over that time.\n\
         - *Ready → completed*: from the moment at which an action's last predecessor is durable, \
         to the moment at which its own completion is.\n\
         - *Batch*: a transaction that writes what became of many actions of many instances.\n\
         - *Round trip*: from the creation of an instance to its end. All instances are created as \
         fast as the queue takes them, so with many it is mostly waiting for the others.\n\
         - *Client memory*: the largest resident set of the process, cache of SQLite included. The \
         Postgres server's memory is not in it.\n\n\
         **Not measured:** handlers that work, wait or fail; payloads larger than a few numbers; \
         several processes; a network: client and server share this machine and its CPUs, over a \
         Unix socket; other disks. A queue that is not saturated has shorter waits than these."
    )
}

/// The sizes that a store has runs of.
fn sizes_of(results: &Results, store: Store) -> Vec<u64> {
    let mut sizes: Vec<u64> = results.sizes().into_iter().collect();
    sizes.retain(|instances| !results.runs(store, *instances).is_empty());
    sizes
}

fn values(runs: &[&QueueRun], value: fn(&Bench) -> Option<f64>) -> Vec<f64> {
    runs.iter().filter_map(|run| value(&run.bench)).collect()
}

fn rates(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Rate by number of instances\n\n\
         ![actions per second by number of instances](queue-study/rates.svg)\n\n\
         Medians over the runs; the smallest and the largest rate beside them.\n\n\
         | store | instances | runs | actions/s | smallest – largest | ready → completed p95 | \
         batch p99 | round trip average, p95 | client memory |\n\
         |---|---:|---:|---:|---|---:|---:|---|---:|"
    )?;
    for store in Store::ALL {
        for instances in sizes_of(results, store) {
            let runs = drained(results, store, instances);
            let rates = values(&runs, |bench| Some(bench.actions_per_second));
            let of = |value| median(&values(&runs, value));
            let memory: Vec<f64> = runs
                .iter()
                .filter_map(|run| run.peak_memory_bytes)
                .map(|bytes| bytes as f64)
                .collect();
            writeln!(
                text,
                "| {store} | {} | {} | {} | {} | {} | {} | {}, {} | {} |",
                Grouped(instances as f64),
                runs.len(),
                Grouped(median(&rates)),
                Span(&rates),
                Ms(of(|bench| Some(bench.action_p95_ms))),
                Ms(of(|bench| Some(bench.batch_p99_ms))),
                Ms(of(|bench| Some(bench.round_trip_average_ms))),
                Ms(of(|bench| Some(bench.round_trip_p95_ms))),
                mib(most(&memory)),
            )?;
        }
    }
    writeln!(
        text,
        "\nRuns of {} instances are short: what a queue needs to get going, and the last instances \
         of which too few actions are ready at once, are a larger part of them.",
        Grouped(SMALL as f64)
    )
}

fn flatness_table(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Does it stay flat?\n\n\
         A queue whose tables and indexes grow with the backlog gets slower the more waits in it: \
         the diary's fell to 0.08 × of its rate from 1,000 to 500,000 instances before it was \
         optimised. Each large run stands between two runs of {}; the ratio is its rate over their \
         mean.\n\n\
         | store | instances | ratio to {} | of each run |\n|---|---:|---:|---|",
        Grouped(SMALL as f64),
        Grouped(SMALL as f64)
    )?;
    for store in Store::ALL {
        for instances in [LARGE, HUGE] {
            let ratios = flatness(results, store, instances);
            let each: Vec<String> = ratios.iter().map(|r| Ratio(*r).to_string()).collect();
            let each = if each.is_empty() {
                "not measured".to_owned()
            } else {
                each.join(", ")
            };
            writeln!(
                text,
                "| {store} | {} | {} | {each} |",
                Grouped(instances as f64),
                Ratio(median(&ratios)),
            )?;
        }
    }
    Ok(())
}

fn beside_the_diary(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Beside the diary\n\n\
         The diary is of a queue in Rust on Postgres, with the same workload and {WORKERS} workers, \
         on its author's machine: the figures are quoted, not measured here, and the machines \
         differ. Its runs were stopped after 10 s (500,000 instances: 60 s).\n\n\
         | what the diary did | 1,000 | 10,000 | 50,000 | 500,000 | |\n|---|---:|---:|---:|---:|---|"
    )?;
    let cell = |rate: Option<f64>| rate.map_or_else(String::new, |r| Grouped(r).to_string());
    const SIZES: [u64; 4] = [SMALL, MIDDLE, LARGE, HUGE];
    for step in &STEPS {
        let [a, b, c, d] = SIZES.map(|instances| cell(step.rate(instances)));
        writeln!(
            text,
            "| {} | {a} | {b} | {c} | {d} | {} |",
            step.name, step.note
        )?;
    }
    for store in Store::ALL {
        let [a, b, c, d] = SIZES.map(|instances| {
            let runs = drained(results, store, instances);
            let rate = median(&values(&runs, |bench| Some(bench.actions_per_second)));
            cell(rate.is_finite().then_some(rate))
        });
        writeln!(
            text,
            "| **work-queue, {store}** | {a} | {b} | {c} | {d} | |"
        )?;
    }
    for store in Store::ALL {
        for instances in [MIDDLE, LARGE] {
            let runs = drained(results, store, instances);
            let rate = median(&values(&runs, |bench| Some(bench.actions_per_second)));
            let Some(end) = diary::end().rate(instances).filter(|_| rate.is_finite()) else {
                continue;
            };
            writeln!(
                text,
                "\n{store}, {} instances: {:.0} × the diary's end result.",
                Grouped(instances as f64),
                rate / end
            )?;
        }
    }
    Ok(())
}

fn raw_limit(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## How much of it is the database?\n\n\
         The *raw limit* is what the database does with the same rows and no queue around them: \
         the same tables, indexes, settings and rows inserted, updated and deleted in transactions \
         of the same size, from one loop. `work-queue bench` measures it for three seconds in the \
         same process, right after the queue. It is no upper bound in the strict sense: it is one \
         way to write these rows.\n\n\
         ![the queue beside the raw limit](queue-study/raw-limit.svg)\n\n\
         | store | instances | the queue | raw limit | ratio | actions in a batch |\n\
         |---|---:|---:|---:|---:|---:|"
    )?;
    for store in Store::ALL {
        for instances in sizes_of(results, store) {
            let runs = drained(results, store, instances);
            let of = |value| median(&values(&runs, value));
            writeln!(
                text,
                "| {store} | {} | {} | {} | {} | {} |",
                Grouped(instances as f64),
                Grouped(of(|bench| Some(bench.actions_per_second))),
                Grouped(of(|bench| bench.raw_limit_actions_per_second)),
                Percent(of(|bench| bench.raw_limit_ratio)),
                Grouped(of(|bench| Some(bench.actions_per_batch))),
            )?;
        }
    }
    writeln!(text, "\nThe ratio is the median of the runs' own ratios.")
}

fn latency(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## How long does an action wait?\n\n\
         Large batches make a queue fast and its actions wait. So the rate and the wait are those \
         of the same runs. A point is a run, the line their median.\n\n\
         ![from ready to completed](queue-study/latency.svg)\n\n\
         | store | instances | average | p95, median | p95, largest of a run |\n\
         |---|---:|---:|---:|---:|"
    )?;
    for store in Store::ALL {
        for instances in sizes_of(results, store) {
            let runs = drained(results, store, instances);
            let p95s = values(&runs, |bench| Some(bench.action_p95_ms));
            writeln!(
                text,
                "| {store} | {} | {} | {} | {} |",
                Grouped(instances as f64),
                Ms(median(&values(&runs, |bench| Some(
                    bench.action_average_ms
                )))),
                Ms(median(&p95s)),
                Ms(most(&p95s)),
            )?;
        }
    }
    Ok(())
}

/// What a kind of query is for.
fn meaning(query: &str) -> &'static str {
    match query {
        "create_instances" => "new instances",
        "claim_instances" => "claims instances that nobody has started",
        "claim_actions" => "claims actions that nobody has",
        "delete_actions" => "completed actions go",
        "enqueue_actions" => "actions that became ready, already claimed",
        "give_back_actions" => "actions that go back",
        "arrivals" => "what arrives at gates (fan-ins) that are not complete",
        "pass_gates" => "gates that are complete go",
        "update_instances" => "instances that start or end",
        "log" => "what was completed, a row a batch",
        "commit" => "makes a batch durable: the sync",
        "apply" => "**a whole batch**, from its begin to durable",
        "read_inbox" => "reads what has arrived at a gate",
        "renew" => "renews the lease",
        _ => "",
    }
}

/// The run whose rate is the median, or next to it.
fn middle_run(results: &Results, store: Store, instances: u64) -> Option<&QueueRun> {
    let mut runs = drained(results, store, instances);
    runs.sort_by(|a, b| {
        a.bench
            .actions_per_second
            .total_cmp(&b.bench.actions_per_second)
    });
    runs.get(runs.len() / 2).copied()
}

fn queries(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Where does the time go?\n\n\
         The queries of the run with the median rate, of {} instances. Each is timed by itself: \
         the wait until a batch is full or a connection is free is in none of them. *Share* is \
         of the run's time; what several connections do at once can come to more than all of it. \
         `apply` contains the others of its batch.",
        Grouped(MIDDLE as f64)
    )?;
    for store in Store::ALL {
        let Some(run) = middle_run(results, store, MIDDLE) else {
            writeln!(text, "\n{store}: not measured.")?;
            continue;
        };
        let bench = &run.bench;
        writeln!(
            text,
            "\n{store}: {} actions/s, {} batches of {} actions.\n\n\
             | query | what it does | n | rows each | average | p95 | longest | share |\n\
             |---|---|---:|---:|---:|---:|---:|---:|",
            Grouped(bench.actions_per_second),
            Grouped(bench.batches as f64),
            Grouped(bench.actions_per_batch),
        )?;
        let mut queries: Vec<&QueryTimes> = bench.queries.iter().filter(|q| q.n > 0).collect();
        queries.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms));
        for query in queries {
            writeln!(
                text,
                "| `{}` | {} | {} | {} | {} | {} | {} | {} |",
                query.query,
                meaning(&query.query),
                Grouped(query.n as f64),
                Grouped(query.rows as f64 / query.n as f64),
                Ms(query.average_ms),
                Ms(query.p95_ms),
                Ms(query.max_ms),
                Percent(query.total_ms / 1e3 / bench.seconds),
            )?;
        }
        for message in &bench.messages {
            writeln!(text, "\nThe queue said: {}.", one_line(message))?;
        }
    }
    Ok(())
}

fn other_queues(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## Beside other queues\n\n\
         Two queues that Rust programs use, in the same rounds on the same machine \
         (`studies/queue/peers`). Jobs that do nothing are enqueued in bulk, then drained; rates \
         are over both, and over the draining alone, which is what the queue's own author would \
         show. As durable as above. [apalis](https://github.com/apalis-dev/apalis) has a store on \
         each database, as here. [graphile_worker](https://github.com/leo91000/graphile_worker_rs) \
         has Postgres alone and batches more; it is set up as in its own benchmark of throughput."
    )?;
    if let Some(reason) = &results.peers_left_out {
        return writeln!(text, "\nNot measured: {reason}.");
    }
    writeln!(
        text,
        "\n| queue | store | runs | jobs | jobs/s | smallest – largest | draining alone | memory | \
         set-up |\n|---|---|---:|---:|---:|---|---:|---:|---|"
    )?;
    for peer in Peer::ALL {
        let mut runs = results.peer_runs(peer);
        runs.retain(|run| run.bench.completed == run.bench.jobs);
        let Some(last) = runs.last() else {
            writeln!(
                text,
                "| {} | {} | 0 | – | – | – | – | – | not measured |",
                peer.queue(),
                peer.store()
            )?;
            continue;
        };
        let rates: Vec<f64> = runs.iter().map(|run| run.bench.jobs_per_second).collect();
        let drained: Vec<f64> = runs
            .iter()
            .map(|run| run.bench.drained_per_second)
            .collect();
        let memory: Vec<f64> = runs
            .iter()
            .filter_map(|run| run.peak_memory_bytes)
            .map(|bytes| bytes as f64)
            .collect();
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            last.bench.versions.join(", "),
            peer.store(),
            runs.len(),
            Grouped(last.bench.jobs as f64),
            Grouped(median(&rates)),
            Span(&rates),
            Grouped(median(&drained)),
            mib(most(&memory)),
            last.bench.settings,
        )?;
    }
    for store in Store::ALL {
        let runs = drained(results, store, MIDDLE);
        let rates = values(&runs, |bench| Some(bench.actions_per_second));
        if rates.is_empty() {
            continue;
        }
        writeln!(
            text,
            "| work-queue | {store} | {} | {} actions | {} | {} | | | |",
            rates.len(),
            Grouped((MIDDLE * ACTIONS) as f64),
            Grouped(median(&rates)),
            Span(&rates),
        )?;
    }
    writeln!(
        text,
        "\nA job is not quite an action:\n\n\
         - A job stands alone and waits in the table before it is claimed. An action of work-queue \
         belongs to a graph: its completion delivers a value, makes others ready and enqueues them, \
         already claimed, in the same transaction. That is more work an action, and it is also why \
         few actions have to be claimed by a query.\n\
         - All three are durable queues with retries, priorities and scheduled times, and a job \
         can run again after its worker died. In work-queue a completion carries the token of its \
         delivery, so that a late one changes nothing.\n\
         - apalis keeps the row of a finished job and marks it; work-queue deletes it and appends \
         to a log; graphile_worker deletes it. apalis has workflows, too, in a crate of its own \
         which is not measured here. Its own set-up of SQLite turns syncs off \
         (`synchronous = OFF`); here they are on. It is helped once, outside the clock: SQLite gets \
         statistics of the table, without which it would look for a finished job by its worker \
         and take time by the square of the number of jobs.\n\
         - The others are made for jobs that take a while, and offer what work-queue does not: \
         middleware, cron, a web page, other databases. For most programs their rate is ample."
    )
}

fn deadlines(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## After a deadline\n\n\
         The diary's benchmark hung past its time limit. Here {} instances get a few seconds, and \
         the process is to end on its own. *Beyond* is from the start of the process to its end, \
         less its deadline: connecting, making the tables and exiting included. The Postgres \
         server is one that ran before.\n\n\
         | store | deadline | beyond | actions until then |\n|---|---:|---:|---:|",
        Grouped(HUGE as f64)
    )?;
    for store in Store::ALL {
        let runs = results.deadline_runs(store);
        if runs.is_empty() {
            writeln!(text, "| {store} | – | not measured | – |")?;
        }
        for run in runs {
            let note = if run.bench.hit_the_deadline {
                ""
            } else {
                " (done before its deadline)"
            };
            writeln!(
                text,
                "| {store} | {} s | {:.2} s | {}{note} |",
                run.deadline_seconds,
                run.beyond_seconds(),
                Grouped(run.bench.actions as f64),
            )?;
        }
    }
    Ok(())
}

fn method(text: &mut String, results: &Results) -> fmt::Result {
    writeln!(
        text,
        "\n## How it was run\n\n\
         Each run is a process of its own with an empty database, `work-queue bench queue-noop \
         --store … --instances … --loop-size {LOOP_SIZE} --workers {WORKERS} --json`, built as the \
         gates are (`--profile perf`). Before it, `sync` writes what others left. SQLite's file is \
         temporary, on a disk; Postgres is a temporary cluster of the installed server with its \
         defaults. The stores and the other queues take turns in {REPETITIONS} rounds, so that a \
         machine which changes changes for all. {} instances are in three of the rounds; {} run \
         once a store, at the end. Memory is what the kernel noted as the largest resident set \
         (`VmHWM`).\n\n\
         **To repeat it**: `make queue-study` on an otherwise idle machine, about 20 minutes; \
         `scripts/queue-study --help` for shorter ones and for going on after it broke off. One \
         machine is one machine: the figures are of that above{}.",
        Grouped(LARGE as f64),
        Grouped(HUGE as f64),
        if results.header.machine.cores <= 2 {
            ", whose two CPUs the client, the server and the kernel's writing share"
        } else {
            ""
        },
    )
}

/// Every run, one a line.
fn csv(results: &Results) -> String {
    let mut text = String::from(
        "task,queue,store,instances_or_jobs,done,seconds,per_second,ready_to_completed_p95_ms,\
         batch_p99_ms,round_trip_p95_ms,raw_limit_per_second,peak_memory_bytes,load_1m\n",
    );
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| format!("{value:.3}"));
    for (task, run) in results.queue_runs() {
        let bench = &run.bench;
        writeln!(
            text,
            "{task},work-queue,{},{},{},{:.3},{:.1},{:.3},{:.3},{:.3},{},{},{}",
            run.store.name(),
            bench.instances,
            bench.instances_completed,
            bench.seconds,
            bench.actions_per_second,
            bench.action_p95_ms,
            bench.batch_p99_ms,
            bench.round_trip_p95_ms,
            number(bench.raw_limit_actions_per_second),
            run.peak_memory_bytes
                .map_or_else(String::new, |bytes| bytes.to_string()),
            number(run.load_1m),
        )
        .expect("a string grows");
    }
    for peer in Peer::ALL {
        for (at, run) in results.peer_runs(peer).into_iter().enumerate() {
            let bench = &run.bench;
            writeln!(
                text,
                "round-{}/{},{},{},{},{},{:.3},{:.1},,,,,{},",
                at + 1,
                peer.name(),
                peer.queue(),
                peer.store().name(),
                bench.jobs,
                bench.completed,
                bench.enqueue_seconds + bench.drain_seconds,
                bench.jobs_per_second,
                run.peak_memory_bytes
                    .map_or_else(String::new, |bytes| bytes.to_string()),
            )
            .expect("a string grows");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::results::tests::{header, run, task};
    use crate::results::{DeadlineRun, Outcome, PeerBench, PeerRun};

    fn results() -> Results {
        let queue = |name: &str, instances, rate| {
            task(name, Outcome::Queue(run(Store::Sqlite, instances, rate)))
        };
        let mut unfinished = run(Store::Postgres, HUGE, 60_000.0);
        unfinished.bench.hit_the_deadline = true;
        unfinished.bench.instances_completed = 499_999;
        Results {
            header: header(),
            server: Some("15.18".into()),
            postgres_left_out: None,
            peers_left_out: None,
            tasks: vec![
                queue("round-1/sqlite/1000", SMALL, 160_000.0),
                queue("round-1/sqlite/10000", MIDDLE, 151_999.6),
                queue("round-1/sqlite/50000", LARGE, 150_000.0),
                queue("round-1/sqlite/1000-after", SMALL, 140_000.0),
                task(
                    "round-1/postgres/10000",
                    Outcome::Queue(run(Store::Postgres, MIDDLE, 51_060.0)),
                ),
                task("long/postgres/500000", Outcome::Queue(unfinished)),
                task(
                    "deadline-1/sqlite",
                    Outcome::Deadline(DeadlineRun {
                        store: Store::Sqlite,
                        deadline_seconds: 5.0,
                        wall_seconds: 5.25,
                        bench: Bench {
                            hit_the_deadline: true,
                            ..run(Store::Sqlite, HUGE, 1e5).bench
                        },
                    }),
                ),
                task(
                    "round-1/apalis-sqlite",
                    Outcome::Peer(PeerRun {
                        peer: Peer::ApalisSqlite,
                        bench: PeerBench {
                            jobs: 50_000,
                            completed: 50_000,
                            versions: vec!["apalis 1.0.0".into()],
                            settings: "`batch_size(100)`".into(),
                            enqueue_seconds: 1.0,
                            drain_seconds: 4.0,
                            jobs_per_second: 10_000.0,
                            drained_per_second: 12_500.0,
                        },
                        peak_memory_bytes: Some(20 << 20),
                    }),
                ),
                task(
                    "round-1/graphile-worker",
                    Outcome::Failed {
                        error: "it said\nnothing.".into(),
                    },
                ),
            ],
        }
    }

    fn contains(text: &str, wanted: &[&str]) {
        for part in wanted {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
    }

    #[test]
    fn the_document_says_what_was_measured() {
        let text = markdown(&results());
        contains(
            &text,
            &[
                "a CPU, 2 cores, 24 GiB, ext4, Linux 6.18, PostgreSQL 15.18, rusqlite 0.41.1, \
                 rustc 1.95.0, 2026-11-21.",
                "| SQLite, 10,000 instances: actions/s | ≥ 150,000 | 152,000 (n = 1) | reached |",
                "| SQLite, 10,000 instances: actions/s, stretch | ≥ 300,000 | 152,000 (n = 1) | \
                 not reached |",
                "| SQLite, the same runs: rate ÷ raw limit | ≥ 50 % | 50 % (n = 1) | reached |",
                "| SQLite, the same runs: p95 from ready to completed | < 20.0 ms | 12.5 ms | \
                 reached |",
                "| SQLite, 50,000 instances: rate ÷ rate with 1,000 | ≥ 0.90 | 1.00 (n = 1) | \
                 reached |",
                "| SQLite: exit after a deadline, the longest | < 2.00 s | 0.25 s | reached |",
                "| Postgres, 10,000 instances: actions/s | ≥ 60,000 | 51,060 (n = 1) | MISSED |",
                "| Postgres, the same runs: rate ÷ raw limit | ≥ 55 % | 50 % (n = 1) | MISSED |",
                "| Postgres: exit after a deadline, the longest | < 2.00 s | – | not measured |",
                "| SQLite | 1,000 | 2 | 150,000 | 140,000 – 160,000 | 12.5 ms | 9.00 ms | 40.0 ms, \
                 50.0 ms | 100 MiB |",
                "| `UNNEST` arrays, redundant index dropped |  | 2,553 | 2,396 |  | the end result \
                 |",
                "| **work-queue, Postgres** |  | 51,060 |  |  | |",
                "Postgres, 10,000 instances: 20 × the diary's end result.",
                "| `commit` | makes a batch durable: the sync | 1,000 | 490 | 1.50 ms | 2.00 ms | \
                 30.0 ms |",
                "| apalis 1.0.0 | SQLite | 1 | 50,000 | 10,000 | – | 12,500 | 20 MiB | \
                 `batch_size(100)` |",
                "| graphile-worker | Postgres | 0 | – | – | – | – | – | not measured |",
            ],
        );
    }

    #[test]
    fn what_went_wrong_stands_at_the_top() {
        let text = markdown(&results());
        let top = text.split("\n## ").next().expect("an introduction");
        contains(
            top,
            &[
                "**`round-1/graphile-worker` failed**: it said nothing.",
                "**`long/postgres/500000`** is left out of every median: 499,999 of 500,000 \
                 instances were done",
                "**Fewer than 5 runs of 10,000 instances",
            ],
        );
        let mut quiet = results();
        quiet
            .tasks
            .retain(|(name, _)| name.starts_with("round-1/sqlite"));
        quiet.header.load_1m = Some(3.0);
        quiet.postgres_left_out = Some("there is no server".into());
        let text = markdown(&quiet);
        contains(
            &text,
            &[
                "**The machine was not idle** when this began: 3.0 tasks ran.",
                "**Postgres was not measured**: there is no server.",
                "| Postgres, 10,000 instances: actions/s | ≥ 60,000 | – | not measured |",
                "Postgres: not measured.",
            ],
        );
        assert!(!text.contains("failed**"), "{text}");
    }

    #[test]
    fn every_table_has_as_many_cells_in_each_row() {
        let text = markdown(&results());
        let tables: Vec<&str> = text
            .split("\n\n")
            .filter(|block| block.starts_with('|'))
            .collect();
        assert!(tables.len() >= 8, "{}", tables.len());
        for table in tables {
            let columns: BTreeSet<_> = table.lines().map(|row| row.matches('|').count()).collect();
            assert_eq!(columns.len(), 1, "{table}");
        }
    }

    #[test]
    fn everything_is_written_beside_the_document() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("results.jsonl");
        for results in [
            results(),
            Results {
                tasks: Vec::new(),
                ..results()
            },
        ] {
            let mut writer = crate::results::Writer::create(&file, &results.header).expect("new");
            for (task, outcome) in results.tasks.clone() {
                let line = crate::results::Line::Task { task, outcome };
                writer.write(&line).expect("written");
            }
            let document = directory.path().join("queue-study.md");
            write(&file, &document).expect("a report");
            let text = fs::read_to_string(&document).expect("it is there");
            for link in text
                .split("](")
                .skip(1)
                .filter_map(|rest| rest.split(')').next())
            {
                let is_there = link.starts_with("https://") || directory.path().join(link).exists();
                assert!(is_there, "{link}");
            }
            let runs = fs::read_to_string(directory.path().join("queue-study/runs.csv"));
            let columns: BTreeSet<_> = runs
                .expect("it is there")
                .lines()
                .map(|line| line.matches(',').count())
                .collect();
            assert_eq!(columns, BTreeSet::from([12]));
        }
    }

    #[test]
    fn numbers_are_easy_to_read() {
        for (value, text) in [
            (0.0, "0"),
            (999.4, "999"),
            (1_000.0, "1,000"),
            (24_500_000.0, "24,500,000"),
            (-1_234.0, "-1,234"),
            (-123.0, "-123"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(Grouped(value).to_string(), text);
        }
        for (ms, text) in [
            (0.0312, "0.03 ms"),
            (12.34, "12.3 ms"),
            (532.1, "532 ms"),
            (162_000.0, "162.0 s"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(Ms(ms).to_string(), text);
        }
    }
}
