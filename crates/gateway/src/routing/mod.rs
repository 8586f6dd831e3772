//! Which of several engines with the same model gets a request.
//!
//! Requests that begin alike go to the same engine, which has their beginning in its prefix cache, unless that engine
//! has clearly more to do than the others: rendezvous hashing with bounded loads (Mirrokni, Thorup and Zadimoghaddam,
//! 2016). Where there is no beginning worth remembering, the least busy engine is asked.

mod beginning;

use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) use beginning::beginning;

/// How far above its share of the work an engine may be before its requests go elsewhere, in percent.
const MOST_OF_SHARE: u64 = 125;

/// An engine, as far as the choice goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate<'a> {
    /// Its id: what remembers it across restarts.
    pub(crate) id: &'a str,
    /// Requests that it has not answered whole.
    pub(crate) load: u32,
    /// Requests that it computes at the same time, where it says so.
    pub(crate) slots: Option<u32>,
}

/// The order in which engines are to be tried, as indexes; `beginning` is what the request's beginning hashes to.
pub(crate) fn order(candidates: &[Candidate<'_>], beginning: Option<u64>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    let all_say = candidates.iter().all(|candidate| candidate.slots.is_some_and(|slots| slots > 0));
    let slots = |candidate: &Candidate<'_>| if all_say { u64::from(candidate.slots.unwrap_or(1)) } else { 1 };
    let busy = |candidate: &Candidate<'_>| u64::from(candidate.load) * 1_000 / slots(candidate);
    let Some(beginning) = beginning else {
        order.sort_by_key(|index| busy(&candidates[*index]));
        return order;
    };
    let work = candidates.iter().map(|candidate| u64::from(candidate.load)).sum::<u64>() + 1;
    let all_slots: u64 = candidates.iter().map(slots).sum();
    let has_too_much = |candidate: &Candidate<'_>| {
        let share = (work * slots(candidate) * MOST_OF_SHARE).div_ceil(all_slots * 100);
        u64::from(candidate.load) >= share
    };
    order.sort_by_cached_key(|index| {
        let candidate = &candidates[*index];
        let too_much = has_too_much(candidate);
        // Who has too much comes last, the least busy of them first.
        (too_much, if too_much { busy(candidate) } else { 0 }, !liking(beginning, candidate.id))
    });
    order
}

/// How much an engine likes a beginning: the same in every process, and independent of which other engines there are.
fn liking(beginning: u64, id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (beginning, id).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(candidates: &[Candidate<'_>], beginning: u64) -> &'static str {
        let id = candidates[order(candidates, Some(beginning))[0]].id;
        ["a", "b", "c", "d"].into_iter().find(|name| *name == id).unwrap()
    }

    fn idle(ids: &[&'static str]) -> Vec<Candidate<'static>> {
        ids.iter().map(|id| Candidate { id, load: 0, slots: None }).collect()
    }

    #[test]
    fn a_beginning_keeps_its_engine_when_others_come_and_go() {
        let (three, four) = (idle(&["a", "b", "c"]), idle(&["d", "c", "b", "a"]));
        let mut counts = [0; 3];
        for beginning in 0..3_000 {
            let engine = first(&three, beginning);
            counts[usize::from(engine.as_bytes()[0] - b'a')] += 1;
            let now = first(&four, beginning);
            assert!(now == engine || now == "d", "only the new engine takes any");
        }
        assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
    }

    #[test]
    fn an_engine_with_clearly_more_to_do_is_spared() {
        let mut two = idle(&["a", "b"]);
        let liked = order(&two, Some(7))[0];
        two[liked].load = 1;
        assert_eq!(order(&two, Some(7))[0], liked, "one more than the other is not clearly more");
        two[liked].load = 2;
        assert_eq!(order(&two, Some(7))[0], 1 - liked);
        two[1 - liked].load = 2;
        assert_eq!(order(&two, Some(7))[0], liked);
        // Whatever all say they can hold counts.
        two[liked] = Candidate { load: 5, slots: Some(8), ..two[liked] };
        two[1 - liked] = Candidate { load: 1, slots: Some(1), ..two[1 - liked] };
        assert_eq!(order(&two, Some(7))[0], liked);
    }

    #[test]
    fn without_a_beginning_the_least_busy_is_first() {
        let mut three = idle(&["a", "b", "c"]);
        assert_eq!(order(&three, None), [0, 1, 2]);
        three[0].load = 2;
        three[1].load = 1;
        assert_eq!(order(&three, None), [2, 1, 0]);
    }
}
