//! How many threads compute fastest, found by trying.
//!
//! No rule is right everywhere: decoding is bound by memory on most machines and gains nothing from the last cores, a
//! machine whose other cores are busy loses ten times over when threads wait for each other, and a container may have
//! less than it sees. So some steps are timed, each number of threads in turn so that a busy moment meets all of them,
//! and the fewest that are nearly as fast as the best are taken. It is done in small contexts of its own, which leave
//! nothing behind in the engine's.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::llama::{Computing, Context, ContextSize, KvType, Model, Row};

/// Tokens of a step that stands for reading prompts.
const PROMPT_ROWS: u32 = 32;
/// Most rounds over the candidates.
const ROUNDS: usize = 7;
/// What is slower than the best by no more than this part counts as equal.
const NOISE: f64 = 1.07;
/// Time for each of the two measurements, where steps are short and where they are long.
const BUDGET: Duration = Duration::from_millis(220);
const LONG_BUDGET: Duration = Duration::from_millis(900);
/// A step from which on the longer time is given.
const LONG_STEP: Duration = Duration::from_millis(20);

/// How many threads, for single tokens and for prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Threads {
    pub(crate) decode: u32,
    pub(crate) prefill: u32,
}

/// Times the model with several numbers of threads, for at most about two seconds, and takes the best. The very first
/// step, which may read the weights from disk, is not timed.
pub(crate) fn choose(model: &Model, kv_type: KvType) -> Threads {
    let candidates = candidates(physical_cores());
    if let [only] = candidates.as_slice() {
        return Threads { decode: *only, prefill: *only };
    }
    let size = ContextSize { slots: 1, tokens_per_slot: 256, batch: PROMPT_ROWS };
    let open = |&threads: &u32| {
        let computing = Computing { threads, batch_threads: threads, kv_type };
        Context::new(model, size, computing).ok().map(|context| (threads, context))
    };
    let mut contexts: Vec<(u32, Context<'_>)> = candidates.iter().filter_map(open).collect();
    let candidates: Vec<u32> = contexts.iter().map(|(threads, _)| *threads).collect();
    measure(&candidates, |threads, rows| {
        let (_, context) = contexts.iter_mut().find(|(of, _)| *of == threads)?;
        context.clear(0);
        let rows: Vec<_> = (0..rows).map(|position| Row { token: 0, position, slot: 0, scores: false }).collect();
        let started = Instant::now();
        context.decode(&rows, None).ok()?;
        Some(started.elapsed())
    })
}

/// Numbers worth trying, the most promising first: time may not be enough for all.
fn candidates(cores: u32) -> Vec<u32> {
    let mut seen = BTreeSet::new();
    let all = [cores.saturating_sub(1), cores, cores / 2, cores / 4, 2, 1];
    all.into_iter().filter(|&count| (1..=cores.max(1)).contains(&count) && seen.insert(count)).collect()
}

/// Measures with what times a step of some rows on some threads; none from it is a failure.
fn measure(candidates: &[u32], mut time: impl FnMut(u32, u32) -> Option<Duration>) -> Threads {
    let safe = candidates.iter().copied().min().unwrap_or(1);
    if let Some(&first) = candidates.first() {
        time(first, 1);
    }
    let decode = fastest(candidates, 1, &mut time).unwrap_or(safe);
    // Prompts gain from more threads than single tokens do, never from fewer.
    let more: Vec<u32> = candidates.iter().copied().filter(|&count| count >= decode).collect();
    let prefill = if more.len() > 1 { fastest(&more, PROMPT_ROWS, &mut time).unwrap_or(decode) } else { decode };
    tracing::info!(decode, prefill, "threads chosen by timing the model; --threads sets them");
    Threads { decode, prefill }
}

/// The fewest threads that are as fast as any.
fn fastest(candidates: &[u32], rows: u32, time: &mut impl FnMut(u32, u32) -> Option<Duration>) -> Option<u32> {
    let mut times: Vec<(u32, Vec<Duration>)> = candidates.iter().map(|&count| (count, Vec::new())).collect();
    let (mut spent, mut budget) = (Duration::ZERO, BUDGET);
    'rounds: for _ in 0..ROUNDS {
        let best = times.iter().filter_map(|(_, times)| median(times)).min();
        for (threads, times) in &mut times {
            // Hopeless ones cost the most time.
            if best.zip(median(times)).is_some_and(|(best, own)| own > best * 2) {
                continue;
            }
            if spent >= budget {
                break 'rounds;
            }
            let step = time(*threads, rows)?;
            tracing::debug!(threads = *threads, rows, ?step, "a step was timed");
            if step >= LONG_STEP {
                budget = LONG_BUDGET;
            }
            spent += step;
            times.push(step);
        }
    }
    let medians: Vec<(u32, Duration)> =
        times.iter().filter_map(|(threads, times)| Some((*threads, median(times)?))).collect();
    let best = medians.iter().map(|&(_, time)| time).min()?;
    medians.iter().filter(|(_, time)| *time <= best.mul_f64(NOISE)).map(|&(threads, _)| threads).min()
}

fn median(times: &[Duration]) -> Option<Duration> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.get(times.len().checked_sub(1)? / 2).copied()
}

/// Cores that can compute at the same time, within what this process may use. Hyper-threads do not count: two of them
/// share one core's arithmetic.
fn physical_cores() -> u32 {
    let usable = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX));
    let siblings = (0..).map_while(|cpu| {
        std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")).ok()
    });
    let cores = siblings.collect::<BTreeSet<_>>().len();
    if cores == 0 { usable } else { usable.min(u32::try_from(cores).unwrap_or(u32::MAX)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measures a machine where a row takes this many microseconds on so many threads, and counts its time.
    fn machine(cores: u32, micros: impl Fn(u32, u32) -> u64) -> (Threads, Duration) {
        let mut total = Duration::ZERO;
        let chosen = measure(&candidates(cores), |threads, rows| {
            let step = Duration::from_micros(micros(threads, rows));
            total += step;
            Some(step)
        });
        (chosen, total)
    }

    #[test]
    fn few_numbers_are_tried() {
        assert_eq!(candidates(1), [1]);
        assert_eq!(candidates(2), [1, 2]);
        assert_eq!(candidates(16), [15, 16, 8, 4, 2, 1]);
        assert!(physical_cores() >= 1);
    }

    #[test]
    fn decoding_stops_gaining_before_prompts_do() {
        // Four threads saturate the memory; arithmetic goes on to gain.
        let (chosen, spent) =
            machine(
                16,
                |threads, rows| {
                    if rows == 1 { 8000 / u64::from(threads.min(4)) } else { 32 * 4000 / u64::from(threads) }
                },
            );
        assert_eq!(chosen, Threads { decode: 4, prefill: 15 });
        assert!(spent < Duration::from_millis(500), "{spent:?}");
    }

    #[test]
    fn on_a_busy_machine_one_thread_wins() {
        let (chosen, _) = machine(2, |threads, rows| u64::from(rows) * if threads == 1 { 300 } else { 3000 });
        assert_eq!(chosen, Threads { decode: 1, prefill: 1 });
    }

    #[test]
    fn a_moment_of_others_work_does_not_decide() {
        let mut steps = 0;
        let chosen = measure(&[3, 4, 2, 1], |threads, rows| {
            steps += 1;
            let busy = if steps % 5 == 0 { 20 } else { 1 };
            Some(Duration::from_micros(u64::from(rows) * 6000 / u64::from(threads) * busy))
        });
        assert_eq!(chosen.decode, 4);
    }

    #[test]
    fn a_large_model_is_measured_in_about_two_seconds() {
        let (chosen, spent) = machine(8, |threads, rows| u64::from(rows.min(8)) * 1_200_000 / u64::from(threads));
        assert!(chosen.decode >= 7, "{chosen:?}");
        assert!(spent < Duration::from_secs(5), "{spent:?}");
    }

    #[test]
    fn a_failure_leaves_the_fewest() {
        assert_eq!(measure(&[3, 4, 1], |_, _| None), Threads { decode: 1, prefill: 1 });
    }
}
