//! divan's estimate of one operation. Started by the study.

use divan::Bencher;
use noise_study::ops::Op;
use noise_study::tools;

fn main() {
    divan::Divan::default()
        .color(false)
        .sample_count(tools::DIVAN_SAMPLES)
        .sample_size(1)
        .run_benches();
}

#[divan::bench]
fn operation(bencher: Bencher) {
    let (op, amount): (Op, u64) = tools::asked_for();
    let mut prepared = op.prepare(amount);
    bencher.bench_local(|| prepared.run());
}
