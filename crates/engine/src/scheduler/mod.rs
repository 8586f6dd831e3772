//! The engine: a thread that owns the model's context, and the handle through which requests reach it.

mod adapters;
mod embedding;
mod prefix;
mod request;
mod running;
mod text;
mod worker;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::EngineConfig;
use crate::constraint::Grammars;
use crate::llama::{AdapterId, Computing, Context, Embedder, LoadError, Model, ModelFile, Token};
use crate::load::{Plan, Progress, SMALL_MODEL_BYTES, Threads, choose_threads, read_ahead};
use crate::metrics::Metrics;
use crate::sampling::SamplingDefaults;
use crate::template::{ChatTemplate, TemplateError};

pub(crate) use adapters::{AdapterLimits, Adapters, AdaptersError, HeldAdapter, ListedAdapter};
use embedding::{EmbedJob, EmbedWorker};
pub(crate) use request::{
    CachedTokens, Delta, Finish, GenerateError, GenerateRequest, GeneratedToken, Generation, SubmitError,
};
use running::{Deltas, Job};
use worker::{Command, Links, Worker};

/// The share of loading that is reading the file.
const READING: f32 = 0.9;

/// What the engine is doing.
#[derive(Debug, Clone)]
pub(crate) enum EngineState {
    /// The model is being read; the share that is in, 0 to 1.
    Loading(f32),
    /// It answers.
    Ready(Arc<Loaded>),
    /// The model could not be loaded, or the thread died. Says why.
    Failed(Arc<str>),
    /// It was stopped.
    Stopped,
}

/// Why there are no vectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EmbedError {
    #[error(transparent)]
    Submit(#[from] SubmitError),
    #[error(transparent)]
    Failed(#[from] GenerateError),
}

/// A model that is ready to be used.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: Model,
    /// The file's chat template, or why there is none.
    pub(crate) template: Result<ChatTemplate, TemplateError>,
    /// What the model's author recommends.
    pub(crate) defaults: SamplingDefaults,
    /// Longest prompt and answer together, in tokens.
    pub(crate) max_model_len: u32,
    /// Made for the first constrained answer: it takes a third of a second for a large vocabulary.
    grammars: OnceLock<Option<Grammars>>,
}

impl Loaded {
    /// What makes constraints; none where the vocabulary has no token that ends an answer.
    pub(crate) fn grammars(&self) -> Option<&Grammars> {
        self.grammars.get_or_init(|| Grammars::new(self.model.vocabulary())).as_ref()
    }
}

/// The handle; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    shared: Arc<Shared>,
    state: watch::Receiver<EngineState>,
}

#[derive(Debug)]
struct Shared {
    /// Gone once the engine was stopped; the thread ends when it is.
    commands: Mutex<Option<mpsc::UnboundedSender<Command>>>,
    /// How many adapters were ever loaded.
    adapters: AtomicU64,
    waiting: Arc<AtomicUsize>,
    max_queue: usize,
    abandon: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Starts the thread, which loads the model and then works.
    pub(crate) fn start(config: EngineConfig, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let (commands, received) = mpsc::unbounded_channel();
        let (states, state) = watch::channel(EngineState::Loading(0.0));
        let (waiting, abandon) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let max_queue = config.max_queue;
        let links = Links { commands: received, waiting: waiting.clone(), abandon: abandon.clone(), metrics };
        let thread = std::thread::Builder::new().name("engine".into()).spawn(move || {
            let work = AssertUnwindSafe(|| work(&config, links, &states));
            let end = match std::panic::catch_unwind(work) {
                Ok(Ok(()) | Err(LoadError::GivenUp)) => EngineState::Stopped,
                Ok(Err(error)) => EngineState::Failed(one_line(&error).into()),
                Err(_) => EngineState::Failed("the engine's thread panicked; the log has the place".into()),
            };
            states.send_replace(end);
        })?;
        let shared = Shared {
            commands: Mutex::new(Some(commands)),
            adapters: AtomicU64::new(0),
            waiting,
            max_queue,
            abandon,
            thread: Mutex::new(Some(thread)),
        };
        Ok(Self { shared: Arc::new(shared), state })
    }

    /// What it is doing now.
    pub(crate) fn state(&self) -> EngineState {
        self.state.borrow().clone()
    }

    /// Tells of every change.
    pub(crate) fn states(&self) -> watch::Receiver<EngineState> {
        self.state.clone()
    }

    /// Queues the answers of one request: all of them or none.
    pub(crate) fn submit(&self, requests: Vec<GenerateRequest>) -> Result<Generation, SubmitError> {
        let answers = requests.len();
        self.enqueue(answers)?;
        let (steps, received) = mpsc::unbounded_channel();
        let arrived = Instant::now();
        let job = |(answer, request)| Job { request, deltas: Deltas { steps: steps.clone(), answer }, arrived };
        let jobs = requests.into_iter().enumerate().map(job).collect();
        let commands = self.commands().ok_or(SubmitError::Stopped)?;
        commands.send(Command::Generate(jobs)).map_err(|_| SubmitError::Stopped)?;
        Ok(Generation::new(received, answers))
    }

    /// Makes a vector of each input, which fits the context.
    pub(crate) async fn embed(&self, inputs: Vec<Vec<Token>>) -> Result<Vec<Vec<f32>>, EmbedError> {
        self.enqueue(1)?;
        let (answer, answered) = oneshot::channel();
        let job = EmbedJob { inputs, answer, arrived: Instant::now() };
        let commands = self.commands().ok_or(SubmitError::Stopped)?;
        commands.send(Command::Embed(Box::new(job))).map_err(|_| SubmitError::Stopped)?;
        drop(commands);
        Ok(answered.await.map_err(|_| GenerateError::Stopped)??)
    }

    /// Takes places in the queue, which the thread gives back.
    fn enqueue(&self, places: usize) -> Result<(), SubmitError> {
        let Shared { waiting, max_queue, .. } = &*self.shared;
        let most = *max_queue;
        if places > most.max(1) {
            return Err(SubmitError::TooMany { asked: places, most });
        }
        let so_many_more = |waiting: usize| (waiting + places <= most).then_some(waiting + places);
        let taken = waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, so_many_more);
        taken.map(drop).map_err(SubmitError::QueueFull)
    }

    /// Loads an adapter from the content of a GGUF file that this program made. Beside it comes what is closed when its
    /// memory is free again.
    async fn load_adapter(
        &self,
        name: &str,
        gguf: Vec<u8>,
    ) -> Result<(HeldAdapter, oneshot::Receiver<()>), AdaptersError> {
        let commands = self.commands().ok_or(AdaptersError::Stopped)?;
        let id = AdapterId(self.shared.adapters.fetch_add(1, Ordering::Relaxed));
        let (adapter, freed) = HeldAdapter::new(id, name, &commands);
        let (answer, answered) = oneshot::channel();
        commands.send(Command::Load { adapter, gguf, answer }).map_err(|_| AdaptersError::Stopped)?;
        drop(commands);
        let adapter = answered.await.map_err(|_| AdaptersError::Stopped)?.map_err(AdaptersError::Refused)?;
        Ok((adapter, freed))
    }

    /// The way to the thread, until it is told to end.
    fn commands(&self) -> Option<mpsc::UnboundedSender<Command>> {
        self.shared.commands.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the thread after the step it is in, and waits for it; what is unfinished breaks off.
    pub(crate) async fn stop(&self) {
        self.shared.abandon.store(true, Ordering::Relaxed);
        drop(self.shared.commands.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.shared.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic was caught and told inside the thread.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The thread's life: load, then work.
fn work(config: &EngineConfig, links: Links, states: &watch::Sender<EngineState>) -> Result<(), LoadError> {
    let started = Instant::now();
    let file = ModelFile::read(&config.model)?;
    let Plan { size, need } = Plan::make(config, &file)?;
    let mut heard = {
        let (states, abandon, mut progress) = (states.clone(), links.abandon.clone(), Progress::new());
        move |share| {
            if let Some(share) = progress.heard(share) {
                states.send_replace(EngineState::Loading(share));
            }
            !abandon.load(Ordering::Relaxed)
        }
    };
    // Nearly all of the time goes into reading; what llama.cpp then does with it is the rest.
    read_ahead(file.files(), |share| heard(share * READING));
    let model = Model::load(&file, config.gpu_layers().count(), move |share| heard(READING + share * (1.0 - READING)));
    if links.abandon.load(Ordering::Relaxed) {
        return Err(LoadError::GivenUp);
    }
    let model = model?;
    let threads = match config.threads {
        Some(threads) => Threads { decode: threads, prefill: threads },
        None if model.size_bytes() < SMALL_MODEL_BYTES => Threads { decode: 1, prefill: 1 },
        None => choose_threads(&model, config.kv_type),
    };
    let computing = Computing { threads: threads.decode, batch_threads: threads.prefill, kv_type: config.kv_type };
    let loaded = Arc::new(Loaded {
        template: ChatTemplate::of_model(&model),
        defaults: SamplingDefaults::read(&model),
        max_model_len: size.tokens_per_slot,
        grammars: OnceLock::new(),
        model,
    });
    let ready = || {
        tracing::info!(
            model = %config.model.display(),
            parameters = loaded.model.parameters(),
            size_bytes = loaded.model.size_bytes(),
            memory_bytes = need.total(),
            slots = size.slots,
            context = size.tokens_per_slot,
            threads = threads.decode,
            prompt_threads = threads.prefill,
            elapsed_ms = started.elapsed().as_millis(),
            "model loaded"
        );
        links.metrics.loaded(size.slots);
        states.send_replace(EngineState::Ready(loaded.clone()));
    };
    if let Some(kind) = loaded.model.embedding() {
        let embedder = Embedder::new(&loaded.model, kind, size, computing)?;
        ready();
        EmbedWorker::new(embedder, links).run();
    } else {
        if let Err(error) = &loaded.template {
            tracing::warn!("no chat: {error}");
        }
        let context = Context::new(&loaded.model, size, computing)?;
        ready();
        Worker::new(context, loaded.model.vocabulary(), size, links).run();
    }
    Ok(())
}

/// An error and its causes.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
