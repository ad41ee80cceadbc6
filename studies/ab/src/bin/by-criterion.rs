//! The work as a benchmark of criterion. Started by the study, as a copy with the amount in its
//! name, with criterion's own arguments.

use criterion::Criterion;

fn main() {
    let pages = ab_study::amounts::of_this_program();
    Criterion::default()
        .without_plots()
        .configure_from_args()
        .bench_function("pages", |bencher| bencher.iter(|| subject::work(pages)));
}
