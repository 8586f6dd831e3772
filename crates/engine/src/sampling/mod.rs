//! Choosing the next token, with vLLM's semantics.
//!
//! llama.cpp's own sampler chain is not used: without a `top_k`, vLLM's default, its `top_p` sorts the whole
//! vocabulary for every token, and log probabilities need a pass over the scores anyway.

mod draw;
mod logprobs;
mod params;

use std::collections::{HashMap, HashSet};

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::constraint::Allowed;
use crate::llama::Token;

use draw::{Candidate, draw};
pub(crate) use logprobs::{Logprobs, logprobs};
pub(crate) use params::{InvalidParams, SamplingDefaults, SamplingParams, out_of_vocabulary};

/// Buffers of the vocabulary's size, shared by every request since they choose one after the other.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    scores: Vec<f32>,
    candidates: Vec<Candidate>,
}

/// What may be chosen now.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits<'a> {
    /// Tokens that may not come yet.
    pub(crate) banned: &'a [Token],
    /// Where a constraint holds, the tokens that follow it.
    pub(crate) allowed: Option<&'a Allowed>,
    /// The tokens that end an answer.
    pub(crate) ends: &'a [Token],
}

/// The choices of one request.
#[derive(Debug)]
pub(crate) struct Sampler {
    params: SamplingParams,
    random: Xoshiro256PlusPlus,
    /// How often each token was generated.
    generated: HashMap<Token, u32>,
    /// Tokens of the prompt; empty unless the repetition penalty asks.
    prompt: HashSet<Token>,
}

impl Sampler {
    pub(crate) fn new(params: SamplingParams, prompt: &[Token]) -> Self {
        let random = match params.seed {
            Some(seed) => Xoshiro256PlusPlus::seed_from_u64(seed),
            None => rand::make_rng(),
        };
        let prompt = if params.repeats_cost() { prompt.iter().copied().collect() } else { HashSet::new() };
        Self { params, random, generated: HashMap::new(), prompt }
    }

    /// Chooses the next token by its scores, within the limits. None when no token has a usable score.
    pub(crate) fn choose(&mut self, scores: &[f32], limits: &Limits<'_>, scratch: &mut Scratch) -> Option<Token> {
        let Scratch { scores: adjusted, candidates } = scratch;
        let plain = limits.banned.is_empty() && limits.allowed.is_none() && !self.params.adjusts();
        if plain && self.params.is_greedy() {
            return likeliest(scores);
        }
        adjusted.clear();
        adjusted.extend_from_slice(scores);
        self.adjust(adjusted);
        for &token in limits.banned {
            adjusted[token as usize] = f32::NEG_INFINITY;
        }
        if let Some(allowed) = limits.allowed {
            allowed.apply(adjusted, limits.ends);
        }
        let best = likeliest(adjusted)?;
        let (top, temperature) = (adjusted[best as usize], self.params.temperature);
        if self.params.is_greedy() || top == f32::INFINITY {
            return Some(best);
        }
        candidates.clear();
        candidates.extend((0..).zip(adjusted.iter()).filter(|(_, score)| score.is_finite()).map(|(token, &score)| {
            // Weights relative to the likeliest token's, so that nothing overflows.
            Candidate { token, weight: ((score - top) / temperature).exp() }
        }));
        Some(draw(candidates, &self.params, &mut self.random))
    }

    /// Takes note of the token that was chosen.
    pub(crate) fn accept(&mut self, token: Token) {
        if self.params.counts_tokens() {
            *self.generated.entry(token).or_default() += 1;
        }
    }

    /// Applies biases and penalties, in vLLM's order.
    fn adjust(&self, scores: &mut [f32]) {
        let params = &self.params;
        if let Some(allowed) = &params.allowed {
            let mut only = vec![f32::NEG_INFINITY; scores.len()];
            for &token in allowed {
                only[token as usize] = scores[token as usize];
            }
            scores.copy_from_slice(&only);
        }
        for &(token, bias) in &params.bias {
            scores[token as usize] += bias;
        }
        if params.repeats_cost() {
            let only_in_prompt = self.prompt.iter().filter(|token| !self.generated.contains_key(token));
            for &token in self.generated.keys().chain(only_in_prompt) {
                let score = &mut scores[token as usize];
                *score = if *score > 0.0 { *score / params.repetition } else { *score * params.repetition };
            }
        }
        for (&token, &count) in &self.generated {
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^23")]
            let times = count as f32;
            scores[token as usize] -= params.frequency * times + params.presence;
        }
    }
}

/// The token with the highest score, the first of equals; scores that are no numbers do not count.
fn likeliest(scores: &[f32]) -> Option<Token> {
    let mut best: Option<(Token, f32)> = None;
    for (token, &score) in (0..).zip(scores) {
        if score > best.map_or(f32::NEG_INFINITY, |(_, best)| best) {
            best = Some((token, score));
        }
    }
    best.map(|(token, _)| token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> SamplingParams {
        SamplingParams { seed: Some(7), ..SamplingParams::default() }
    }

    fn greedy() -> SamplingParams {
        SamplingParams { temperature: 0.0, ..SamplingParams::default() }
    }

    fn choose(sampler: &mut Sampler, scores: &[f32], banned: &[Token]) -> Option<Token> {
        sampler.choose(scores, &Limits { banned, ..Limits::default() }, &mut Scratch::default())
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_highest() {
        let mut sampler = Sampler::new(greedy(), &[]);
        assert_eq!(choose(&mut sampler, &[0.5, 2.0, 2.0, f32::NAN], &[]), Some(1));
        assert_eq!(choose(&mut sampler, &[0.5, 2.0, 2.0, f32::NAN], &[1, 2]), Some(0));
        assert_eq!(choose(&mut sampler, &[f32::NAN, f32::NEG_INFINITY], &[]), None);
    }

    #[test]
    fn the_same_seed_chooses_the_same() {
        let scores: Vec<f32> = (0..50u8).map(|n| f32::from(n % 7)).collect();
        let run = |seed| {
            let mut sampler = Sampler::new(SamplingParams { seed: Some(seed), ..params() }, &[]);
            (0..40).map(|_| choose(&mut sampler, &scores, &[]).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn tokens_come_as_often_as_their_probability() {
        let mut sampler = Sampler::new(params(), &[]);
        let scores = [0.0, 3f32.ln()];
        let heads = (0..4000).filter(|_| choose(&mut sampler, &scores, &[]) == Some(1)).count();
        assert!((2880..3120).contains(&heads), "{heads} of 4000, 3000 expected");
    }

    #[test]
    fn penalties_follow_vllm() {
        let penalties = SamplingParams { presence: 0.5, frequency: 0.25, repetition: 2.0, ..greedy() };
        let mut sampler = Sampler::new(penalties, &[0, 1]);
        sampler.accept(1);
        sampler.accept(1);
        let mut scores = [4.0, 4.0, -4.0, 4.0];
        sampler.accept(2);
        sampler.adjust(&mut scores);
        // Prompt only: 4 / 2. Prompt and twice generated: 4 / 2 - 2 * 0.25 - 0.5. Generated: -4 * 2 - 0.25 - 0.5.
        assert_eq!(scores.map(f32::to_bits), [2.0, 1.0, -8.75, 4.0].map(f32::to_bits));
    }

    #[test]
    fn bias_and_allowed_tokens_hold() {
        let biased = SamplingParams { bias: vec![(0, 100.0)], ..greedy() };
        assert_eq!(choose(&mut Sampler::new(biased, &[]), &[0.0, 5.0, 9.0], &[]), Some(0));
        let allowed = SamplingParams { allowed: Some(vec![0, 1]), ..greedy() };
        assert_eq!(choose(&mut Sampler::new(allowed, &[]), &[0.0, 5.0, 9.0], &[]), Some(1));
    }
}
