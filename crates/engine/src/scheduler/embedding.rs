//! The engine's thread for an embedding model: as many inputs in each step as fit, of all requests in turn.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::oneshot;

use super::request::GenerateError;
use super::worker::{Command, Links};
use crate::llama::{ContextError, ContextSize, Embedder, Token};

/// The vectors of a request, in the order of its inputs.
pub(super) type Vectors = Result<Vec<Vec<f32>>, GenerateError>;

/// A request for vectors. Its inputs are checked: none is empty, and each fits the context.
#[derive(Debug)]
pub(super) struct EmbedJob {
    pub(super) inputs: Vec<Vec<Token>>,
    /// Closed when the client is gone.
    pub(super) answer: oneshot::Sender<Vectors>,
    pub(super) arrived: Instant,
}

/// What turns inputs into vectors; llama.cpp, or a stand-in.
pub(super) trait Embeds {
    /// Inputs (`slots`) and tokens (`batch`) of one step.
    fn size(&self) -> ContextSize;
    /// The vectors of some inputs.
    fn embed(&mut self, inputs: &[&[Token]]) -> Result<Vec<Vec<f32>>, ContextError>;
}

impl Embeds for Embedder<'_> {
    fn size(&self) -> ContextSize {
        self.size()
    }

    fn embed(&mut self, inputs: &[&[Token]]) -> Result<Vec<Vec<f32>>, ContextError> {
        self.embed(inputs)
    }
}

/// A request under way.
struct Running {
    job: EmbedJob,
    vectors: Vec<Vec<f32>>,
}

/// The loop's state.
pub(super) struct EmbedWorker<E> {
    embedder: E,
    links: Links,
    running: VecDeque<Running>,
}

impl<E: Embeds> EmbedWorker<E> {
    pub(super) fn new(embedder: E, links: Links) -> Self {
        Self { embedder, links, running: VecDeque::new() }
    }

    /// Works until nobody can submit any more and every answer is out, or is to be given up.
    pub(super) fn run(mut self) {
        while self.receive() && !self.links.abandon.load(Ordering::Relaxed) {
            self.running.retain(|running| !running.job.answer.is_closed());
            self.report();
            self.step();
            self.report();
        }
    }

    /// Takes in what was asked; sleeps while there is nothing to do. False when all is done.
    fn receive(&mut self) -> bool {
        loop {
            let command = match self.links.commands.try_recv() {
                Ok(command) => command,
                Err(TryRecvError::Disconnected) => return !self.running.is_empty(),
                Err(TryRecvError::Empty) if !self.running.is_empty() => return true,
                Err(TryRecvError::Empty) => match self.links.commands.blocking_recv() {
                    Some(command) => command,
                    None => return false,
                },
            };
            // Anything else is kept away by its route; unheard, it ends as if the engine had stopped.
            if let Command::Embed(job) = command {
                self.links.waiting.fetch_sub(1, Ordering::Relaxed);
                let tokens = job.inputs.iter().map(Vec::len).sum();
                self.links.metrics.admitted(tokens, 0, job.arrived.elapsed());
                self.running.push_back(Running { job: *job, vectors: Vec::new() });
            }
        }
    }

    /// Computes one step: an input of every request in turn, until it is full.
    fn step(&mut self) {
        let chosen = self.choose();
        let inputs: Vec<&[Token]> =
            chosen.iter().map(|&(request, input)| self.running[request].job.inputs[input].as_slice()).collect();
        if inputs.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "a step has few rows")]
        self.links.metrics.iteration_tokens.observe(inputs.iter().map(|input| input.len()).sum::<usize>() as f64);
        match self.embedder.embed(&inputs) {
            Ok(vectors) => {
                // Those of one request are chosen in their order.
                for ((request, _), vector) in chosen.into_iter().zip(vectors) {
                    self.running[request].vectors.push(vector);
                }
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, inputs = inputs.len(), "a step failed");
                let mut failed: Vec<usize> = chosen.into_iter().map(|(request, _)| request).collect();
                failed.dedup();
                failed.sort_unstable();
                failed.dedup();
                for request in failed.into_iter().rev() {
                    if let Some(running) = self.running.remove(request) {
                        let _ = running.job.answer.send(Err(GenerateError::Failed));
                    }
                }
            }
        }
        self.answer();
    }

    /// Requests and inputs of the next step.
    fn choose(&self) -> Vec<(usize, usize)> {
        let ContextSize { slots, batch, .. } = self.embedder.size();
        let (mut chosen, mut room) = (Vec::new(), batch as usize);
        let rounds = self.running.iter().map(|running| running.job.inputs.len() - running.vectors.len()).max();
        for round in 0..rounds.unwrap_or(0) {
            let before = chosen.len();
            for (request, running) in self.running.iter().enumerate() {
                let input = running.vectors.len() + round;
                let length = running.job.inputs.get(input).map_or(usize::MAX, Vec::len);
                // One that was passed over is not overtaken by the next of the same request.
                let in_turn = round == 0 || chosen.contains(&(request, input - 1));
                if in_turn && length <= room && chosen.len() < slots as usize {
                    room -= length;
                    chosen.push((request, input));
                }
            }
            if chosen.len() == before {
                break;
            }
        }
        chosen
    }

    /// Sends what is complete.
    fn answer(&mut self) {
        while let Some(done) = self.running.iter().position(|running| running.vectors.len() == running.job.inputs.len())
        {
            let Some(Running { job, vectors }) = self.running.remove(done) else { return };
            self.links.metrics.embedded(job.arrived.elapsed());
            let _ = job.answer.send(Ok(vectors));
        }
    }

    fn report(&self) {
        self.links.metrics.occupancy(self.running.len(), self.links.waiting.load(Ordering::Relaxed), 0.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize};
    use std::sync::{Arc, Mutex};

    use tokio::sync::mpsc;

    use super::*;
    use crate::metrics::Metrics;

    /// Gives every input its first token as a vector, remembers the steps, and fails over token 9.
    struct Echo(Arc<Mutex<Vec<usize>>>);

    impl Embeds for Echo {
        fn size(&self) -> ContextSize {
            ContextSize { slots: 3, tokens_per_slot: 8, batch: 8 }
        }

        fn embed(&mut self, inputs: &[&[Token]]) -> Result<Vec<Vec<f32>>, ContextError> {
            assert!(inputs.len() <= 3 && inputs.iter().map(|input| input.len()).sum::<usize>() <= 8);
            self.0.lock().unwrap().push(inputs.len());
            if inputs.iter().any(|input| input.contains(&9)) {
                return Err(ContextError::NoVector);
            }
            Ok(inputs.iter().map(|input| vec![f32::from(u8::try_from(input[0]).unwrap())]).collect())
        }
    }

    /// The steps, and the answers in the order of the requests.
    fn run(requests: Vec<Vec<Vec<Token>>>) -> (Vec<usize>, Vec<Vectors>) {
        let (commands, received) = mpsc::unbounded_channel();
        let waiting = Arc::new(AtomicUsize::new(requests.len()));
        let answers: Vec<_> = requests
            .into_iter()
            .map(|inputs| {
                let (answer, answered) = oneshot::channel();
                let job = EmbedJob { inputs, answer, arrived: Instant::now() };
                commands.send(Command::Embed(Box::new(job))).unwrap();
                answered
            })
            .collect();
        drop(commands);
        let steps = Arc::new(Mutex::default());
        let links = Links {
            commands: received,
            waiting: waiting.clone(),
            abandon: Arc::new(AtomicBool::new(false)),
            metrics: Arc::new(Metrics::new()),
        };
        EmbedWorker::new(Echo(steps.clone()), links).run();
        assert_eq!(waiting.load(Ordering::Relaxed), 0);
        let answers = answers.into_iter().map(|answer| answer.blocking_recv().unwrap()).collect();
        (Arc::try_unwrap(steps).unwrap().into_inner().unwrap(), answers)
    }

    #[test]
    fn requests_share_steps_and_keep_their_order() {
        let many: Vec<Vec<Token>> = (0..7).map(|id| vec![id]).collect();
        let (steps, answers) = run(vec![many, vec![vec![20]], vec![vec![30; 8]]]);
        assert_eq!(answers[0].as_ref().unwrap().concat(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(answers[1].as_ref().unwrap().concat(), [20.0]);
        assert_eq!(answers[2].as_ref().unwrap().concat(), [30.0]);
        assert_eq!(steps.iter().sum::<usize>(), 9);
        assert_eq!(steps[0], 3, "two of the first and the short one of the second");
    }

    #[test]
    fn a_failed_step_fails_the_requests_in_it() {
        let (_, answers) = run(vec![vec![vec![9; 8]], vec![vec![1]]]);
        assert_eq!(answers[0], Err(GenerateError::Failed));
        assert_eq!(answers[1], Ok(vec![vec![1.0]]));
    }
}
