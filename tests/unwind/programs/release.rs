//! release: a Rust program as `cargo build --release` makes it: generic code, closures, collections, dynamic calls.

use std::collections::{BTreeMap, HashMap};
use std::hint::black_box;

trait Shape {
    fn area(&self, depth: u32) -> f64;
}

struct Square(f64);
struct Nested(Vec<Box<dyn Shape>>);

impl Shape for Square {
    #[inline(never)]
    fn area(&self, depth: u32) -> f64 {
        (0..2_000).fold(self.0, |sum, step| black_box(sum + f64::from(step) * f64::from(depth)))
    }
}

impl Shape for Nested {
    #[inline(never)]
    fn area(&self, depth: u32) -> f64 {
        black_box(self.0.iter().map(|shape| shape.area(depth + 1)).sum::<f64>())
    }
}

#[inline(never)]
fn nest(depth: u32) -> Box<dyn Shape> {
    match depth {
        0 => Box::new(Square(1.0)),
        _ => Box::new(Nested((0..2).map(|_| nest(depth - 1)).collect())),
    }
}

#[inline(never)]
fn sort(seed: u64) -> u64 {
    let mut numbers: Vec<u64> = (0..2_000).map(|n| n * seed % 1_009).collect();
    numbers.sort_by_key(|n| black_box(n ^ 0x55));
    numbers[1]
}

#[inline(never)]
fn count(seed: u64) -> usize {
    let mut words: HashMap<String, usize> = HashMap::new();
    for number in 0..500 {
        *words.entry(format!("{}", number * seed % 97)).or_default() += 1;
    }
    words.into_iter().collect::<BTreeMap<_, _>>().len()
}

fn main() {
    let shape = nest(6);
    for seed in 1.. {
        black_box((shape.area(0), sort(seed), count(seed)));
    }
}
