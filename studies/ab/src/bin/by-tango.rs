//! The work as a benchmark of tango-bench. Started by the study, as a copy with the amount in its
//! name, with tango's own arguments.

use std::process::ExitCode;

use tango_bench::{IntoBenchmarks, benchmark_fn, cli};

fn main() -> ExitCode {
    let pages = ab_study::amounts::of_this_program();
    let benchmark = benchmark_fn("pages", move |bencher| {
        bencher.iter(move || subject::work(pages))
    });
    match cli::run([benchmark].into_benchmarks()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::from(101)
        }
    }
}
