//! Log probabilities, taken from the scores before temperature and penalties, as vLLM does.

use crate::llama::Token;

/// Log probabilities at one place of an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logprobs {
    /// Of the token that was chosen.
    pub(crate) chosen: f32,
    /// The likeliest tokens, likeliest first.
    pub(crate) top: Vec<(Token, f32)>,
}

/// Log probability of `chosen` and of the `top` likeliest tokens.
pub(crate) fn logprobs(scores: &[f32], chosen: Token, top: usize) -> Logprobs {
    let highest = scores.iter().copied().filter(|score| !score.is_nan()).fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores.iter().filter(|score| !score.is_nan()).map(|score| f64::from(score - highest).exp()).sum();
    #[expect(clippy::cast_possible_truncation, reason = "the wire has no more digits")]
    let logprob = |score: f32| (f64::from(score - highest) - sum.ln()) as f32;
    let mut ranked: Vec<(Token, f32)> = Vec::with_capacity(top + 1);
    for (token, &score) in (0..).zip(scores) {
        let full = ranked.len() == top;
        if score.is_nan() || full && ranked.last().is_none_or(|&(_, least)| score <= least) {
            continue;
        }
        let place = ranked.partition_point(|&(_, other)| other >= score);
        ranked.insert(place, (token, score));
        ranked.truncate(top);
    }
    for (_, score) in &mut ranked {
        *score = logprob(*score).max(LEAST);
    }
    Logprobs { chosen: logprob(scores[chosen as usize]).max(LEAST), top: ranked }
}

/// JSON has no negative infinity; `OpenAI` and vLLM send this.
const LEAST: f32 = -9999.0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn probabilities_are_those_of_the_scores() {
        let found = logprobs(&[0.0, 3f32.ln(), f32::NEG_INFINITY, f32::NAN], 0, 2);
        assert!((found.chosen - 0.25f32.ln()).abs() < 1e-6);
        assert_eq!(found.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [1, 0]);
        assert!((found.top[0].1 - 0.75f32.ln()).abs() < 1e-6);
        assert!((logprobs(&[0.0, f32::NEG_INFINITY], 1, 0).chosen - LEAST).abs() < f32::EPSILON);
    }

    proptest! {
        #[test]
        fn the_top_is_the_one_of_a_full_sort(scores in proptest::collection::vec(-20f32..20.0, 1..300), top in 0usize..21) {
            let found = logprobs(&scores, 0, top);
            let mut sorted: Vec<_> = (0u32..).zip(scores.iter().copied()).collect();
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let expected: Vec<_> = sorted.iter().take(top).map(|(token, _)| *token).collect();
            prop_assert_eq!(found.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), expected);
            let sum: f64 = logprobs(&scores, 0, scores.len()).top.iter().map(|(_, p)| f64::from(*p).exp()).sum();
            prop_assert!((sum - 1.0).abs() < 1e-3);
        }
    }
}
