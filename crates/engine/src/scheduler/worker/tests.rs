//! The loop over a stand-in for llama.cpp: what a real model does not do on demand.

use std::sync::Mutex;

use remora_protocol::openai::StopReason;

use super::*;
use crate::sampling::SamplingParams;
use crate::scheduler::running::Deltas;
use crate::scheduler::{CachedTokens, Finish, GenerateRequest, Generation};

/// Answers `a b c d` and the end, whatever is asked; fails at the steps it is told to.
struct Script {
    steps: Arc<Mutex<Vec<Vec<Row>>>>,
    fail_at: Option<usize>,
    batch: usize,
    scores: Vec<Vec<f32>>,
    cleared: Arc<Mutex<Vec<u32>>>,
    batches: Arc<Mutex<Vec<Batch>>>,
    /// The adapters that were freed.
    freed: Arc<Mutex<Vec<AdapterId>>>,
}

/// Under which adapter a batch was computed, and how many rows it had.
type Batch = (Option<AdapterId>, usize);

const TEXTS: [&str; 6] = ["p", "a", "b", "c", "d", "<end>"];

impl Decoder for Script {
    fn batch(&self) -> usize {
        self.batch
    }

    fn decode(&mut self, rows: &[Row], adapter: Option<AdapterId>) -> Result<(), ContextError> {
        self.batches.lock().unwrap().push((adapter, rows.len()));
        let mut steps = self.steps.lock().unwrap();
        steps.push(rows.to_vec());
        assert!(!rows.is_empty() && rows.len() <= self.batch);
        if self.fail_at == Some(steps.len()) {
            return Err(ContextError::BadLength(0));
        }
        // After each token comes the next one.
        self.scores =
            rows.iter().map(|row| (0..6).map(|id| f32::from(u8::from(id == row.token + 1))).collect()).collect();
        Ok(())
    }

    fn scores(&self, row: usize) -> &[f32] {
        &self.scores[row]
    }

    fn clear(&mut self, slot: u32) {
        self.cleared.lock().unwrap().push(slot);
    }

    fn cut(&mut self, _: u32, _: u32) -> bool {
        true
    }

    fn copy(&mut self, _: u32, _: u32) {}

    fn load_adapter(&mut self, _: AdapterId, _: &[u8]) -> Result<(), AdapterLoadError> {
        Ok(())
    }

    fn free_adapter(&mut self, id: AdapterId) {
        self.freed.lock().unwrap().push(id);
    }
}

fn request(prompt: usize) -> GenerateRequest {
    GenerateRequest {
        prompt: vec![0; prompt],
        sampling: SamplingParams { temperature: 0.0, ..SamplingParams::default() },
        max_tokens: 10,
        min_tokens: 0,
        ignore_eos: false,
        stops: Vec::new(),
        keep_stop: false,
        stop_tokens: Vec::new(),
        skip_special: true,
        shown: Vec::new(),
        guide: None,
        logprobs: None,
        adapter: None,
        cached: CachedTokens::default(),
    }
}

type Answer = Result<(String, Finish), GenerateError>;

/// What was computed, what was forgotten, and every answer.
struct Outcome {
    steps: Vec<Vec<Row>>,
    cleared: Vec<u32>,
    answers: Vec<Answer>,
}

/// Runs requests to their ends on two slots.
fn run(requests: Vec<GenerateRequest>, batch: usize, fail_at: Option<usize>) -> Outcome {
    let (steps, cleared) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let script = Script {
        steps: steps.clone(),
        fail_at,
        batch,
        scores: Vec::new(),
        cleared: cleared.clone(),
        batches: Arc::default(),
        freed: Arc::default(),
    };
    let vocabulary = Vocabulary::of(&TEXTS, &[]);
    let (jobs, received) = mpsc::unbounded_channel();
    let waiting = Arc::new(AtomicUsize::new(requests.len()));
    let generations: Vec<Generation> = requests
        .into_iter()
        .map(|request| {
            let (job, generation) = job(request);
            jobs.send(Command::Generate(vec![job])).unwrap();
            generation
        })
        .collect();
    drop(jobs);
    let size = ContextSize { slots: 2, tokens_per_slot: 64, batch: 8 };
    let links = Links {
        commands: received,
        waiting: waiting.clone(),
        abandon: Arc::default(),
        metrics: Arc::new(Metrics::new()),
    };
    Worker::new(script, &vocabulary, size, links).run();
    assert_eq!(waiting.load(Ordering::Relaxed), 0);
    let answers = generations.into_iter().map(whole).collect();
    let (steps, cleared) = (steps.lock().unwrap().clone(), cleared.lock().unwrap().clone());
    Outcome { steps, cleared, answers }
}

/// A request for one answer, and where it comes out.
fn job(request: GenerateRequest) -> (Job, Generation) {
    let (steps, received) = mpsc::unbounded_channel();
    let job = Job { request, deltas: Deltas { steps, answer: 0 }, arrived: Instant::now() };
    (job, Generation::new(received, 1))
}

fn whole(mut generation: Generation) -> Answer {
    let mut text = String::new();
    while let Some((_, delta)) = generation.steps.blocking_recv() {
        let delta = delta?;
        text.push_str(&delta.text);
        if let Some(finish) = delta.finish {
            return Ok((text, finish));
        }
    }
    Err(GenerateError::Stopped)
}

#[expect(clippy::unnecessary_wraps, reason = "compared with answers, which may fail")]
fn ended(text: &str, reason: FinishReason, stop: Option<StopReason>) -> Answer {
    Ok((text.to_owned(), Finish { reason, stop }))
}

#[test]
fn answers_end_where_they_should() {
    let stopped = GenerateRequest { stops: vec!["cd".into()], ..request(1) };
    let at_token = GenerateRequest { stop_tokens: vec![3], ..request(1) };
    let short = GenerateRequest { max_tokens: 2, ..request(1) };
    let outcome = run(vec![request(1), stopped, at_token, short], 8, None);
    assert_eq!(
        outcome.answers,
        [
            ended("abcd", FinishReason::Stop, None),
            ended("ab", FinishReason::Stop, Some(StopReason::Text("cd".into()))),
            ended("ab", FinishReason::Stop, Some(StopReason::Token(3))),
            ended("ab", FinishReason::Length, None),
        ]
    );
    assert_eq!(outcome.cleared.len(), 2, "a slot is emptied when the next one has no use for what it holds");
}

#[test]
fn long_prompts_are_cut_into_steps_and_do_not_hold_up_answers() {
    let outcome = run(vec![request(1), request(20)], 8, None);
    assert!(outcome.answers.iter().all(|answer| *answer == ended("abcd", FinishReason::Stop, None)));
    let first = outcome.steps.iter().map(|rows| rows.iter().filter(|row| row.slot == 0).count());
    assert_eq!(first.take(5).collect::<Vec<_>>(), [1; 5], "one token of the short one in each of the first steps");
    let second: Vec<Row> = outcome.steps.concat().into_iter().filter(|row| row.slot == 1).collect();
    assert!(second.iter().map(|row| row.position).eq(0..24), "positions follow each other");
    assert_eq!(second.iter().filter(|row| row.scores).count(), 5, "scores are asked for once a token is to be chosen");
}

#[test]
fn several_answers_count_the_seed_up() {
    let seeds = |seed| {
        let sampling = SamplingParams { seed, ..SamplingParams::default() };
        let answers = GenerateRequest { sampling, ..request(1) }.times(3);
        answers.into_iter().map(|answer| answer.sampling.seed).collect::<Vec<_>>()
    };
    assert_eq!(seeds(Some(7)), [Some(7), Some(8), Some(9)]);
    assert_eq!(seeds(Some(u64::MAX)), [Some(u64::MAX), Some(0), Some(1)]);
    assert_eq!(seeds(None), [None; 3]);
}

#[test]
fn a_prompt_that_is_being_computed_is_waited_for() {
    let long = |last| {
        let prompt = (0..100).map(|_| 0).chain([last]).collect();
        GenerateRequest { prompt, ..request(1) }
    };
    let outcome = run(vec![long(0), long(1), request(1)], 40, None);
    let rows = outcome.steps.concat();
    assert_eq!(rows.iter().filter(|row| row.position < 100).count(), 100 + 1 + 4, "its own four are the short one's");
    assert_eq!(outcome.answers[0], ended("abcd", FinishReason::Stop, None));
    assert_eq!(outcome.answers[1], ended("bcd", FinishReason::Stop, None));
    assert_eq!(outcome.answers[2], ended("abcd", FinishReason::Stop, None), "who need not wait goes ahead");
    let second = rows.iter().find(|row| row.slot == 1).unwrap();
    assert_eq!(second.position, 0, "in the slot that is free meanwhile");
}

#[test]
fn a_step_that_fails_breaks_off_what_was_in_it_and_nothing_else() {
    let outcome = run(vec![request(1), request(1), request(1)], 8, Some(3));
    assert_eq!(outcome.answers[..2], [Err(GenerateError::Failed), Err(GenerateError::Failed)]);
    assert_eq!(outcome.answers[2], ended("abcd", FinishReason::Stop, None), "the one that waited gets its turn");
}

#[test]
fn those_who_left_while_waiting_are_passed_over() {
    let (job, generation) = job(request(1));
    let (jobs, jobs_received) = mpsc::unbounded_channel();
    drop(generation);
    jobs.send(Command::Generate(vec![job])).unwrap();
    drop(jobs);
    let steps = Arc::new(Mutex::default());
    let script = Script {
        steps: steps.clone(),
        fail_at: None,
        batch: 8,
        scores: Vec::new(),
        cleared: Arc::default(),
        batches: Arc::default(),
        freed: Arc::default(),
    };
    let waiting = Arc::new(AtomicUsize::new(1));
    let links = Links {
        commands: jobs_received,
        waiting: waiting.clone(),
        abandon: Arc::default(),
        metrics: Arc::new(Metrics::new()),
    };
    let size = ContextSize { slots: 2, tokens_per_slot: 64, batch: 8 };
    Worker::new(script, &Vocabulary::of(&TEXTS, &[]), size, links).run();
    assert_eq!((waiting.load(Ordering::Relaxed), steps.lock().unwrap().len()), (0, 0));
}

#[test]
fn a_batch_is_for_one_adapter_which_is_freed_when_nobody_holds_it() {
    let (batches, freed) = (Arc::new(Mutex::default()), Arc::new(Mutex::default()));
    let script = Script {
        steps: Arc::default(),
        fail_at: None,
        batch: 8,
        scores: Vec::new(),
        cleared: Arc::default(),
        batches: batches.clone(),
        freed: freed.clone(),
    };
    let (commands, received) = mpsc::unbounded_channel();
    let (adapter, told) = HeldAdapter::new(AdapterId(7), "seven", &commands);
    let adapter = Arc::new(adapter);
    let mut answers = Vec::new();
    for adapter in [None, Some(adapter)] {
        let (job, generation) = job(GenerateRequest { adapter, ..request(1) });
        answers.push(generation);
        commands.send(Command::Generate(vec![job])).unwrap();
    }
    let links = Links {
        commands: received,
        waiting: Arc::new(AtomicUsize::new(2)),
        abandon: Arc::default(),
        metrics: Arc::new(Metrics::new()),
    };
    let worker = std::thread::spawn(move || {
        let size = ContextSize { slots: 2, tokens_per_slot: 64, batch: 8 };
        Worker::new(script, &Vocabulary::of(&TEXTS, &[]), size, links).run();
    });
    for answer in answers {
        assert_eq!(whole(answer), ended("abcd", FinishReason::Stop, None));
    }
    // Closed, and nothing sent: its memory is free, though the engine goes on.
    assert!(told.blocking_recv().is_err());
    assert_eq!(*freed.lock().unwrap(), [AdapterId(7)]);
    drop(commands);
    worker.join().unwrap();
    let (base, adapter) = ((None, 1), (Some(AdapterId(7)), 1));
    // Each step begins with the adapter that the last one ended with.
    let alternating = [[base, adapter], [adapter, base]].concat().repeat(3);
    assert_eq!(*batches.lock().unwrap(), alternating[..10]);
}
