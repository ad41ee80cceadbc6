//! Operations that make an allocator work: each frees all that it allocates.

use std::collections::VecDeque;
use std::hint::black_box;

pub(crate) type Operation = fn() -> usize;

pub(crate) const GROWING_VEC: (&str, Operation) = ("a Vec that grows to 4 MiB", || {
    let mut numbers = Vec::new();
    for number in 0..512 * 1024_u64 {
        numbers.push(black_box(number));
    }
    numbers.len()
});

pub(crate) const BOXES: (&str, Operation) = ("20,000 boxes, freed in another order", || {
    let mut boxes: VecDeque<Box<[u64; 8]>> = (0..20_000).map(|n| Box::new([n; 8])).collect();
    let mut sum = 0;
    while let Some(first) = boxes.pop_front() {
        sum += black_box(first)[0];
        sum += boxes.pop_back().map_or(0, |last| last[7]);
    }
    usize::try_from(sum).unwrap_or(0)
});

pub(crate) const BUFFERS: (&str, Operation) = ("8 buffers of 1 MiB, touched", || {
    let buffers: Vec<Vec<u8>> = (0..8_u8).map(|n| vec![n + 1; 1024 * 1024]).collect();
    black_box(&buffers).iter().map(Vec::len).sum()
});

pub(crate) const ALL: [(&str, Operation); 3] = [GROWING_VEC, BOXES, BUFFERS];
