//! An engine that is ours: started, watched, started again when it dies, stopped at the end.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use remora_api_client::engine::{EngineClient, EngineWatch, Pace, Sighting};
use remora_service::Stop;
use remora_types::EngineId;
use remora_types::engines::EngineState;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::backoff::Backoff;
use super::{Command, Driver, Instance, Keep, StartError, Vitals, set, set_ready};
use crate::config::Config;
use crate::registry::{Registry, now_unix_ms};

/// Keeps one supervised engine.
pub(super) struct Supervised {
    entry: Entry,
    driver: Box<dyn Driver>,
    client: EngineClient,
    commands: mpsc::Receiver<Command>,
    pace: Pace,
    start_limit: Duration,
    stop_grace: Duration,
    /// Of its latest life; 0 before the first.
    generation: u64,
}

/// An engine's place in the registry and in `/status`.
pub(super) struct Entry {
    pub(super) id: EngineId,
    pub(super) registry: Registry,
    pub(super) vitals: Arc<Vitals>,
}

/// How one life of an engine ended.
enum End {
    /// By itself, or it never began; says how.
    Died(String),
    /// It was not ready for too long.
    Stuck,
    /// Somebody asked for a restart.
    Restart,
    /// The process is closing.
    Closing,
}

impl Supervised {
    pub(super) fn new(
        entry: Entry,
        driver: Box<dyn Driver>,
        client: EngineClient,
        commands: mpsc::Receiver<Command>,
        config: &Config,
    ) -> Self {
        Self {
            entry,
            driver,
            client,
            commands,
            pace: config.pace(),
            start_limit: config.start_limit(),
            stop_grace: config.stop_grace(),
            generation: 0,
        }
    }

    /// One life after the other until the process closes.
    async fn run(mut self, stop: Stop) {
        let mut backoff = Backoff::default();
        let mut before = None;
        while stop.closing().now_or_never().is_none() {
            let began = Instant::now();
            let reason = match self.live(before.take(), &stop).await {
                End::Closing => break,
                End::Restart => {
                    backoff.reset();
                    before = Some("started again as asked".to_owned());
                    continue;
                }
                End::Stuck => format!("was not ready for {} s, stopped it", self.start_limit.as_secs()),
                End::Died(reason) => reason,
            };
            let rest = backoff.after(began.elapsed());
            let again = if rest.is_zero() { "now".to_owned() } else { format!("in {} ms", rest.as_millis()) };
            self.entry.set(EngineState::Failed, Some(format!("{reason} (starting again {again})")));
            before = Some(format!("started again; the last time it {reason}"));
            tokio::select! {
                () = sleep(rest) => {}
                Some(Command::Restart) = self.commands.recv() => backoff.reset(),
                () = stop.closing() => {}
            }
        }
        self.entry.set(EngineState::Stopped, None);
    }

    /// Starts the engine and stays with it to its end, also an end by our own hand.
    async fn live(&mut self, before: Option<String>, stop: &Stop) -> End {
        if self.generation != 0 {
            self.entry.vitals.restarts.fetch_add(1, Ordering::Relaxed);
        }
        self.generation = now_unix_ms().max(self.generation + 1);
        self.entry.begin(self.generation, before);
        let mut instance = match self.driver.start().await {
            Ok(instance) => instance,
            Err(error) => return End::Died(explain(&error)),
        };
        self.entry.vitals.pid.store(instance.pid().unwrap_or_default(), Ordering::Relaxed);
        let end = self.attend(&mut *instance, stop).await;
        match end {
            End::Died(_) => {}
            End::Stuck => self.halt(instance, EngineState::Failed, "not ready for too long, stopping it").await,
            End::Restart => self.halt(instance, EngineState::Loading, "stopping, to start again as asked").await,
            End::Closing => self.halt(instance, EngineState::Stopped, "model-manager is stopping").await,
        }
        self.entry.vitals.pid.store(0, Ordering::Relaxed);
        end
    }

    /// Watches a running engine until it ends or has to.
    async fn attend(&mut self, instance: &mut dyn Instance, stop: &Stop) -> End {
        let mut watch = EngineWatch::new(self.client.clone(), self.pace);
        let mut deadline = Some(Instant::now() + self.start_limit);
        loop {
            let sighting = tokio::select! {
                reason = instance.ended() => return End::Died(reason),
                () = stop.closing() => return End::Closing,
                Some(Command::Restart) = self.commands.recv() => return End::Restart,
                () = passed(deadline) => return End::Stuck,
                sighting = watch.next() => sighting,
            };
            deadline = match sighting {
                Sighting::Ready(_) => None,
                _ => deadline.or_else(|| Some(Instant::now() + self.start_limit)),
            };
            self.entry.take_in(sighting);
        }
    }

    /// Tells the readers first, so that no new request goes to an engine that is being stopped.
    async fn halt(&self, instance: Box<dyn Instance>, state: EngineState, detail: &str) {
        self.entry.set(state, Some(detail.to_owned()));
        instance.stop(self.stop_grace).await;
    }
}

impl Keep for Supervised {
    fn keep(self: Box<Self>, stop: Stop) -> BoxFuture<'static, ()> {
        Box::pin(self.run(stop))
    }
}

impl Entry {
    /// A new life, told before the engine can answer: nobody takes what is loaded into it for the old one's.
    fn begin(&self, generation: u64, detail: Option<String>) {
        self.registry.update(&self.id, |engine| {
            engine.generation = generation;
            set(engine, EngineState::Loading, detail);
        });
    }

    fn set(&self, state: EngineState, detail: Option<String>) {
        self.registry.update(&self.id, |engine| set(engine, state, detail));
    }

    fn take_in(&self, sighting: Sighting) {
        match sighting {
            // Generations are counted by starts here, which miss none.
            Sighting::Ready(seen) => self.registry.update(&self.id, |engine| set_ready(engine, seen)),
            Sighting::Loading { detail } => self.set(EngineState::Loading, Some(detail)),
            Sighting::Failed { detail } => self.set(EngineState::Failed, Some(detail)),
            // The process runs and does not listen yet. What happened before it began is worth more than that.
            Sighting::Waiting { .. } => {}
        }
    }
}

/// Completes at the deadline; without one, never.
async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn explain(error: &StartError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
