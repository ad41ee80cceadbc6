//! criterion's estimate of one operation. Started by the study.

use criterion::Criterion;
use noise_study::tools;

fn main() {
    let (op, amount) = tools::asked_for();
    let mut prepared = op.prepare(amount);
    Criterion::default()
        .without_plots()
        .output_directory(&tools::directory_asked_for())
        .warm_up_time(tools::CRITERION_WARM_UP)
        .measurement_time(tools::CRITERION_MEASUREMENT)
        .sample_size(tools::CRITERION_SAMPLES)
        .nresamples(1000)
        .bench_function(op.name(), |bencher| bencher.iter(|| prepared.run()));
}
