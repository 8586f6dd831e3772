//! Starting and stopping.

use std::sync::Arc;

use remora_service::{BindError, BoxError, Listener, Metrics, Process, RunError, Service, Stop};

use crate::api::{self, ApiState};
use crate::config::{EngineArgs, EngineConfig, GpuLayers};
use crate::scheduler::{AdapterLimits, Adapters, Engine, EngineState};

/// Largest request body, in bytes: room for a conversation of a long context, with JSON's escapes.
const BODY_LIMIT: usize = 32 << 20;

/// Why an engine did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// There is no memory for another thread.
    #[error("cannot start the engine's thread")]
    Thread(#[source] std::io::Error),
    /// The model could not be loaded, or the engine died. Says why.
    #[error("{0}")]
    Engine(String),
    /// A GPU is to compute, and this program cannot ask one.
    #[error(
        "--gpu-layers needs a program that was built for a GPU, with --features cuda, vulkan, metal or rocm; this one \
         computes on the CPU only"
    )]
    NoGpu,
    /// The process around it failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// Runs an engine until it is told to stop. It listens at once, and loads the model meanwhile; a model that cannot be
/// loaded ends it with an error.
pub async fn run(args: EngineArgs) -> Result<(), EngineError> {
    let listener = Listener::bind(&args.listen()).await?;
    let (service, engine) = build(listener, EngineConfig::from(&args))?;
    let process = Process::new("engine").add(service);
    let outcome = if args.lifeline {
        // Its supervisor holds it, so it needs no control socket.
        let stop = Stop::new();
        watch_stdin(stop.clone()).map_err(EngineError::Thread)?;
        process.without_control_socket().stop(stop).run().await
    } else {
        process.run().await
    };
    match engine.state() {
        EngineState::Failed(why) => Err(EngineError::Engine(why.to_string())),
        _ => Ok(outcome?),
    }
}

/// The engine as a service. Loading begins now.
pub fn service(listener: Listener, config: EngineConfig) -> Result<Service, EngineError> {
    build(listener, config).map(|(service, _)| service)
}

fn build(listener: Listener, config: EngineConfig) -> Result<(Service, Engine), EngineError> {
    if config.gpu_layers().count() > 0 && !GpuLayers::AVAILABLE {
        return Err(EngineError::NoGpu);
    }
    let metrics = Metrics::new();
    let engine_metrics = Arc::new(crate::metrics::Metrics::new());
    let names: Arc<[String]> = config.names.clone().into();
    let name = names.first().cloned().unwrap_or_default();
    metrics.register(|registry| engine_metrics.register(registry, &name));
    let root = config.model.display().to_string().into();
    let tool_parser = config.tool_parser;
    let limits = AdapterLimits { adapters: config.max_loras, rank: config.max_lora_rank };
    engine_metrics.adapter_limits(limits);
    let engine = Engine::start(config, engine_metrics).map_err(EngineError::Thread)?;
    let adapters = Adapters::new(engine.clone(), names.clone(), limits);
    let state = ApiState { engine: engine.clone(), adapters, metrics: metrics.clone(), names, root, tool_parser };
    let (probe, watched) = (state.clone(), engine.clone());
    let service = Service::new("engine", listener, api::routes(state))
        .metrics(metrics)
        .dialect("/", api::vllm_dialect)
        .body_limit(BODY_LIMIT)
        .own_probes()
        .ready(move || probe.reasons())
        .task("engine", move |stop| watch(watched, stop));
    Ok((service, engine))
}

/// Ends the process when the engine dies, and the engine when the process stops.
async fn watch(engine: Engine, stop: Stop) -> Result<(), BoxError> {
    let mut states = engine.states();
    let died = states.wait_for(|state| matches!(state, EngineState::Failed(_)));
    tokio::select! {
        died = died => {
            if let EngineState::Failed(why) = &*died? {
                return Err(why.to_string().into());
            }
        }
        () = stop.closing() => {}
    }
    engine.stop().await;
    Ok(())
}

/// Asks for a stop when standard input ends. A thread of its own, since a read of standard input cannot be cancelled
/// and would keep an async runtime from ending.
fn watch_stdin(stop: Stop) -> std::io::Result<()> {
    let watch = move || {
        // Whatever ends it, an error too, there is nobody at the other end.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        tracing::info!("standard input has ended: stopping");
        stop.request();
    };
    std::thread::Builder::new().name("lifeline".into()).spawn(watch).map(drop)
}
