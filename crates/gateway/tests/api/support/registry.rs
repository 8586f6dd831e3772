//! model-manager's registry, as far as the gateway sees it.

use std::convert::Infallible;

use axum::Router;
use axum::response::sse::{Event, Sse};
use axum::routing::get;
use futures::StreamExt;
use remora_types::engines::{Capability, Engine, EngineAddress, EngineLimits, EngineList, EngineModel, EngineState};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_stream::wrappers::WatchStream;

pub(crate) struct FakeRegistry {
    pub(crate) url: String,
    list: watch::Sender<EngineList>,
    _server: JoinSet<()>,
}

impl FakeRegistry {
    pub(crate) async fn start(engines: Vec<Engine>) -> Self {
        let (list, seen) = watch::channel(EngineList { revision: 1, engines });
        let events = move || {
            let lists = WatchStream::new(seen.clone());
            let events = lists.map(|list| Ok::<_, Infallible>(Event::default().json_data(list).unwrap()));
            async { Sse::new(events) }
        };
        let router = Router::new().route("/engines/events", get(events));
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(socket, router).await.unwrap() });
        Self { url, list, _server: server }
    }

    pub(crate) fn set(&self, engines: Vec<Engine>) {
        self.list.send_modify(|list| *list = EngineList { revision: list.revision + 1, engines });
    }
}

/// A ready engine that can do everything.
pub(crate) fn engine(id: &str, address: &EngineAddress, models: &[&str]) -> Engine {
    let model =
        |id: &&str| EngineModel { id: id.parse().unwrap(), root: None, parent: None, max_model_len: Some(2048) };
    Engine {
        id: id.parse().unwrap(),
        address: address.clone(),
        slot: Some(0),
        state: EngineState::Ready,
        since: "2026-01-01T00:00:00Z".parse().unwrap(),
        detail: None,
        generation: 1,
        models: models.iter().map(model).collect(),
        limits: EngineLimits::default(),
        capabilities: Capability::ALL.into_iter().collect(),
    }
}
