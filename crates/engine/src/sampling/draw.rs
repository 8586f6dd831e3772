//! Narrowing the candidates and drawing one.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::params::SamplingParams;
use crate::llama::Token;

/// A token and how likely it is, relative to the likeliest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: Token,
    pub(super) weight: f32,
}

/// Draws a token. There is at least one candidate; `candidates` is left narrowed.
pub(super) fn draw(candidates: &mut Vec<Candidate>, params: &SamplingParams, random: &mut Xoshiro256PlusPlus) -> Token {
    if params.min_p > 0.0 {
        let top = candidates.iter().fold(0.0, |top: f32, candidate| top.max(candidate.weight));
        candidates.retain(|candidate| candidate.weight >= params.min_p * top);
    }
    if params.top_k > 0 && params.top_k < candidates.len() {
        candidates.select_nth_unstable_by(params.top_k - 1, likelier);
        candidates.truncate(params.top_k);
    }
    if params.top_p < 1.0 {
        keep_nucleus(candidates, f64::from(params.top_p));
    }
    let mut left = random.random::<f64>() * mass(candidates);
    for candidate in candidates.iter() {
        left -= f64::from(candidate.weight);
        if left < 0.0 {
            return candidate.token;
        }
    }
    // Rounding can leave a sliver: it belongs to the last one.
    candidates.last().expect("there is at least one candidate").token
}

/// Keeps the fewest of the likeliest candidates that together reach this share of the whole.
fn keep_nucleus(candidates: &mut Vec<Candidate>, share: f64) {
    let wanted = share * mass(candidates);
    // Sorting a vocabulary of 128,000 takes milliseconds; the nucleus is mostly a few dozen, so look there first.
    let mut head = 64;
    while head < candidates.len() {
        candidates.select_nth_unstable_by(head - 1, likelier);
        if mass(&candidates[..head]) >= wanted {
            break;
        }
        head *= 8;
    }
    let head = head.min(candidates.len());
    candidates[..head].sort_unstable_by(likelier);
    let mut reached = 0.0;
    let kept = candidates[..head].iter().position(|candidate| {
        reached += f64::from(candidate.weight);
        reached >= wanted
    });
    candidates.truncate(kept.map_or(head, |last| last + 1));
}

/// Likeliest first; the lower token of equals, so that an order is always the same.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that sorting asks for")]
fn likelier(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.weight.total_cmp(&a.weight).then(a.token.cmp(&b.token))
}

fn mass(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|candidate| f64::from(candidate.weight)).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        proptest::collection::vec(0.001f32..1.0, 1..2000)
            .prop_map(|weights| (0..).zip(weights).map(|(token, weight)| Candidate { token, weight }).collect())
    }

    proptest! {
        #[test]
        fn the_nucleus_is_the_one_of_a_full_sort(mut some in candidates(), share in 0.01f64..1.0) {
            let mut sorted = some.clone();
            sorted.sort_by(likelier);
            let wanted = share * mass(&sorted);
            let mut before = 0.0;
            let naive: Vec<_> = sorted
                .into_iter()
                .take_while(|candidate| {
                    let keep = before < wanted;
                    before += f64::from(candidate.weight);
                    keep
                })
                .collect();
            keep_nucleus(&mut some, share);
            // Sums in another order differ in the last bits, so the border may differ by one.
            prop_assert!(some.len().abs_diff(naive.len()) <= 1);
            let both = some.len().min(naive.len());
            prop_assert_eq!(&some[..both], &naive[..both]);
        }

        #[test]
        fn what_is_drawn_passed_every_filter(
            mut some in candidates(), top_k in 0usize..50, top_p in 0.05f32..=1.0, min_p in 0f32..=1.0, seed: u64,
        ) {
            let all = some.clone();
            let params = SamplingParams { top_k, top_p, min_p, ..SamplingParams::default() };
            let token = draw(&mut some, &params, &mut Xoshiro256PlusPlus::seed_from_u64(seed));
            let chosen = all[token as usize];
            let likelier_ones = all.iter().filter(|other| other.weight > chosen.weight).count();
            prop_assert!(top_k == 0 || likelier_ones < top_k);
            let top = all.iter().fold(0.0, |top: f32, candidate| top.max(candidate.weight));
            prop_assert!(chosen.weight >= min_p * top);
        }
    }
}
