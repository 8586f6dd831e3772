//! Which slot a request gets, and what of its prompt is in memory already.
//!
//! A slot keeps what it computed until another request needs the room. A prompt that begins like what a slot holds goes
//! on from there: in that slot if it is free, else in another one that gets a copy. What was computed under one adapter
//! is of no use under another, and every loading of an adapter counts as another one.

use crate::llama::{AdapterId, Token};

/// Fewest tokens that are worth a copy: it moves a slot's whole memory, which takes as long as computing about so many.
pub(super) const WORTH_A_COPY: usize = 64;

/// What a slot's memory holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// The tokens that were computed, from the first on.
    pub(super) tokens: Vec<Token>,
    /// What they were computed under.
    pub(super) adapter: Option<AdapterId>,
    /// When it was last of use, in admissions and releases; who waits longest is given up first.
    pub(super) used: u64,
}

impl Held {
    /// How many tokens of a prompt are here. Never all: the last one has to be computed to get its scores.
    fn common(&self, prompt: &[Token], adapter: Option<AdapterId>) -> usize {
        if self.adapter != adapter {
            return 0;
        }
        common(&self.tokens, prompt)
    }
}

/// How many tokens of a prompt others begin with, but for its last one.
pub(super) fn common(tokens: &[Token], prompt: &[Token]) -> usize {
    let most = prompt.len().saturating_sub(1);
    tokens.iter().zip(&prompt[..most]).take_while(|(held, wanted)| held == wanted).count()
}

/// A slot for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) slot: usize,
    /// Makes it first the same as this one.
    pub(super) copy_of: Option<usize>,
    /// How many tokens of the prompt it then has.
    pub(super) keep: usize,
}

/// Chooses among slots, each given with whether it is free. None when none is.
pub(super) fn choose(slots: &[(&Held, bool)], prompt: &[Token], adapter: Option<AdapterId>) -> Option<Choice> {
    let common: Vec<usize> = slots.iter().map(|(held, _)| held.common(prompt, adapter)).collect();
    let free = || (0..slots.len()).filter(|&slot| slots[slot].1);
    let longest = (0..slots.len()).max_by_key(|&slot| common[slot])?;
    let longest_free = free().max_by_key(|&slot| (common[slot], std::cmp::Reverse(slots[slot].0.tokens.len())))?;
    // Going on in place gives up what the slot holds beyond the common part; that should be the smaller part.
    let in_place = common[longest_free] * 2 >= slots[longest_free].0.tokens.len();
    if common[longest_free] > 0 && in_place && common[longest_free] + WORTH_A_COPY > common[longest] {
        return Some(Choice { slot: longest_free, copy_of: None, keep: common[longest_free] });
    }
    let slot = free().min_by_key(|&slot| (!slots[slot].0.tokens.is_empty(), slots[slot].0.used))?;
    if common[longest] >= common[slot] + WORTH_A_COPY {
        return Some(Choice { slot, copy_of: Some(longest), keep: common[longest] });
    }
    Some(Choice { slot, copy_of: None, keep: common[slot] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(tokens: impl IntoIterator<Item = Token>, used: u64) -> Held {
        Held { tokens: tokens.into_iter().collect(), adapter: None, used }
    }

    fn chosen(slots: &[(Held, bool)], prompt: impl IntoIterator<Item = Token>) -> Option<Choice> {
        let slots: Vec<(&Held, bool)> = slots.iter().map(|(held, free)| (held, *free)).collect();
        choose(&slots, &prompt.into_iter().collect::<Vec<_>>(), None)
    }

    #[expect(clippy::unnecessary_wraps, reason = "compared with choices, which may be none")]
    fn place(slot: usize, copy_of: Option<usize>, keep: usize) -> Option<Choice> {
        Some(Choice { slot, copy_of, keep })
    }

    #[test]
    fn a_conversation_goes_on_where_it_was() {
        let slots = [(held(0..50, 9), true), (held(0..100, 1), true), (held([], 0), true)];
        assert_eq!(chosen(&slots, 0..200), place(1, None, 100));
        assert_eq!(chosen(&slots, 0..50), place(0, None, 49), "one token is always left to compute");
        assert_eq!(chosen(&slots, 500..600), place(2, None, 0), "nothing is given up while there is room");
    }

    #[test]
    fn the_slot_of_no_use_for_longest_is_given_up() {
        let slots = [(held(0..50, 9), true), (held(0..100, 1), true), (held(7..9, 0), false)];
        assert_eq!(chosen(&slots, 500..600), place(1, None, 0));
        assert_eq!(chosen(&[(held([], 0), false)], 0..9), None);
        assert_eq!(chosen(&[], 0..9), None);
    }

    #[test]
    fn a_long_prefix_is_copied_from_a_slot_at_work_and_a_short_one_is_not() {
        let busy = (held(0..200, 3), false);
        assert_eq!(chosen(&[busy.clone(), (held([], 0), true)], 0..400), place(1, Some(0), 200));
        assert_eq!(chosen(&[busy.clone(), (held(0..190, 0), true)], 0..400), place(1, None, 190));
        assert_eq!(chosen(&[busy, (held([], 0), true)], 0..50), place(1, None, 0));
    }

    #[test]
    fn a_long_conversation_is_not_given_up_for_a_short_beginning() {
        let slots = [(held(0..1000, 9), true), (held(7000..7005, 1), true)];
        assert_eq!(chosen(&slots, (0..100).chain(5000..5100)), place(1, Some(0), 100));
        assert_eq!(chosen(&slots[..1], (0..100).chain(5000..5100)), place(0, None, 100), "but where there is no other");
    }

    #[test]
    fn another_adapter_s_work_is_of_no_use() {
        let one = Held { adapter: Some(AdapterId(1)), ..held(0..100, 1) };
        let slots = [(&one, true)];
        let prompt: Vec<Token> = (0..200).collect();
        let keep = |adapter| choose(&slots, &prompt, adapter).unwrap().keep;
        assert_eq!((keep(None), keep(Some(AdapterId(1))), keep(Some(AdapterId(2)))), (0, 100, 0));
    }
}
