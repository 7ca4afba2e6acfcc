//! Rust: threads, channels, locks, maps and boxes; one checksum per step.
use std::collections::{BTreeMap, HashMap};
use std::sync::{mpsc, Arc, Condvar, Mutex};
use std::time::Duration;
use std::{env, process, thread};

const WORKERS: u64 = 4;
const JOBS: u64 = 16;

fn fail(message: String) -> ! {
    eprintln!("FAIL {}", message);
    process::exit(1);
}

fn seconds() -> f64 {
    let arguments: Vec<String> = env::args().collect();
    match arguments.iter().position(|a| a == "--seconds") {
        Some(at) => arguments[at + 1].parse().expect("a number after --seconds"),
        None => 3.0,
    }
}

/// Fills maps with boxed strings, takes half out again, and sums up what is left.
fn churn(seed: u64) -> u64 {
    let mut x = seed.wrapping_mul(2862933555777941757).wrapping_add(3037000493);
    let mut unordered: HashMap<u64, Box<String>> = HashMap::new();
    for i in 0..50000u64 {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        unordered.insert(x % 5000, Box::new(format!("{}-{}", i, x)));
        if i % 2 == 0 {
            unordered.remove(&(x >> 32).wrapping_rem(5000));
        }
    }
    let ordered: BTreeMap<_, _> = unordered.into_iter().collect();
    ordered.iter().fold(seed, |sum, (key, text)| {
        text.bytes().fold(sum.wrapping_mul(31).wrapping_add(*key), |s, byte| {
            s.wrapping_mul(131).wrapping_add(byte as u64)
        })
    })
}

/// Waits with a timeout that is far away, so that the thread sleeps in a timed futex wait.
fn await_turn(turn: &(Mutex<u64>, Condvar), step: u64) {
    let mut current = turn.0.lock().unwrap();
    while *current < step {
        let (guard, timeout) = turn.1.wait_timeout(current, Duration::from_secs(3600)).unwrap();
        if timeout.timed_out() {
            fail(format!("expected step {} within an hour", step));
        }
        current = guard;
    }
}

fn main() {
    let steps = (seconds() * 10.0) as u64 + 1;
    let turn = Arc::new((Mutex::new(0u64), Condvar::new()));
    let (sender, receiver) = mpsc::channel::<(u64, u64)>();
    let mut pool = Vec::new();
    for worker in 0..WORKERS {
        let (turn, sender) = (Arc::clone(&turn), sender.clone());
        pool.push(thread::spawn(move || {
            for step in 1..=steps {
                await_turn(&turn, step);
                for job in (worker..JOBS).step_by(WORKERS as usize) {
                    sender.send((job, churn(step * 1000 + job))).unwrap();
                }
            }
        }));
    }
    println!("ready");
    let mut rolling = 0u64;
    for step in 1..=steps {
        *turn.0.lock().unwrap() = step;
        turn.1.notify_all();
        let mut values = vec![None; JOBS as usize];
        for _ in 0..JOBS {
            let (job, value) = receiver.recv().unwrap();
            if values[job as usize].replace(value).is_some() {
                fail(format!("step {}: expected job {} once, saw it twice", step, job));
            }
        }
        for value in values {
            rolling = rolling.wrapping_mul(1000003).wrapping_add(value.unwrap());
        }
        println!("step {}: {:016x}", step, rolling);
    }
    for thread in pool {
        if thread.join().is_err() {
            fail("expected threads to end, saw a panic".to_string());
        }
    }
    println!("ok");
}
