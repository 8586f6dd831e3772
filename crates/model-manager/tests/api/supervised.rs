//! Engines that model-manager starts: real processes, of this very test binary and of `sh`.

use std::time::Instant;

use futures::StreamExt;
use remora_model_manager::{CommandLine, EngineDefinition, Stdin};
use remora_testing::{FakeEngine, free_port, wait_for, wait_until};
use remora_types::engines::EngineState;

use crate::manager::{Manager, config, id, script, supervised};
use crate::support::child::{Options, command};
use crate::support::{LIMIT, is_alive, kill};

fn child(options: &Options) -> EngineDefinition {
    let port = free_port();
    supervised(port, command(port, options))
}

#[tokio::test]
async fn an_engine_that_is_killed_is_started_again_as_a_new_generation() {
    let manager = Manager::start(&config([child(&Options::default())])).await;
    let first = manager.engine_in(EngineState::Ready).await;
    let pid = manager.pid().await;
    let mut lists = manager.engines.watch();
    lists.next().await;
    kill(pid);
    let (second, lost) = tokio::join!(
        manager.engine_when(|e| e.state == EngineState::Ready && e.generation > first.generation),
        lists.next(),
    );
    let lost = lost.unwrap().engines[0].detail.clone().unwrap();
    // Whether the reader sees the failure or already the next start is a matter of microseconds.
    assert!(lost.contains("ended with signal: 9 (SIGKILL)") && !lost.contains("running"), "{lost}");
    assert_eq!(second.models, first.models);
    assert_ne!(manager.pid().await, pid);
    assert_eq!(manager.vitals().await["restarts"], 1);
    manager.stop().await;
}

#[tokio::test]
async fn loading_is_told_in_the_engines_words_and_readiness_is_seen_at_once() {
    let manager = Manager::start(&config([child(&Options { loading_ms: 500, ..Options::default() })])).await;
    let loading = manager.engine_when(|e| e.detail.is_some()).await;
    assert_eq!(loading.detail.unwrap(), "the model is being loaded (40 %)");
    assert_eq!(loading.state, EngineState::Loading);
    manager.engine_in(EngineState::Ready).await;
    manager.stop().await;
}

#[tokio::test]
async fn a_crash_loop_is_slowed_down_and_explained() {
    let manager =
        Manager::start(&config([script("echo loading; echo 'Error: out of memory' >&2; echo bye; exit 3")])).await;
    let began = Instant::now();
    let restarts = async || manager.vitals().await["restarts"].as_u64().unwrap();
    wait_until(LIMIT, async || restarts().await >= 4).await;
    // Rests of 0, 100, 200 and 400 ms lie before the fourth restart.
    assert!(began.elapsed().as_millis() >= 600, "{:?}", began.elapsed());
    let failed = manager.engine_in(EngineState::Failed).await;
    let detail = failed.detail.unwrap();
    assert!(detail.starts_with("ended with exit status: 3: Error: out of memory (starting again in "), "{detail}");
    let reasons = manager.client.ready().await.unwrap().reasons;
    assert!(reasons[0].contains("out of memory"), "{reasons:?}");
    // A stop does not wait for the rest.
    tokio::time::timeout(LIMIT, manager.stop()).await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_run_is_explained() {
    let missing = supervised(free_port(), CommandLine::new("/nowhere/engine", ["--serve"]));
    let manager = Manager::start(&config([missing])).await;
    let detail = manager.engine_in(EngineState::Failed).await.detail.unwrap();
    assert!(detail.starts_with("could not run /nowhere/engine: No such file or directory"), "{detail}");
    manager.stop().await;
}

#[tokio::test]
async fn a_stranger_on_the_port_is_named_and_not_taken_for_the_engine() {
    let stranger = FakeEngine::start().await;
    let mut engine = child(&Options::default());
    engine.address = stranger.address();
    let manager = Manager::start(&config([engine])).await;
    let failed = manager.engine_in(EngineState::Failed).await;
    let expected = format!("is taken by {}", std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap());
    // The kernel keeps 15 characters of a name.
    assert!(failed.detail.as_ref().unwrap().contains(&expected[..20]), "{failed:?}");
    assert_eq!((failed.models.len(), stranger.received().len()), (0, 0));
    manager.stop().await;
}

#[tokio::test]
async fn a_stop_lets_the_engine_stop_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let farewell = folder.path().join("farewell");
    let manager =
        Manager::start(&config([child(&Options { farewell: Some(farewell.clone()), ..Options::default() })])).await;
    manager.engine_in(EngineState::Ready).await;
    let pid = manager.pid().await;
    manager.stop().await;
    assert_eq!(std::fs::read_to_string(farewell).unwrap(), "stopped");
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn an_engine_that_does_not_stop_is_killed_with_its_children() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grandchild");
    let options = Options { deaf: true, grandchild: Some(path.clone()), ..Options::default() };
    let mut config = config([child(&options)]);
    config.stop_grace_s = 1;
    let manager = Manager::start(&config).await;
    manager.engine_in(EngineState::Ready).await;
    let pid = manager.pid().await;
    let grandchild = std::fs::read_to_string(path).unwrap().parse().unwrap();
    assert!(is_alive(pid) && is_alive(grandchild));
    let began = Instant::now();
    manager.stop().await;
    assert!(began.elapsed().as_secs() >= 1, "the grace was given");
    wait_until(LIMIT, async || !is_alive(pid) && !is_alive(grandchild)).await;
}

#[tokio::test]
async fn the_children_of_an_engine_that_died_do_not_outlive_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("grandchild");
    let manager =
        Manager::start(&config([child(&Options { grandchild: Some(path.clone()), ..Options::default() })])).await;
    let first = manager.engine_in(EngineState::Ready).await;
    let grandchild = std::fs::read_to_string(path).unwrap().parse().unwrap();
    kill(manager.pid().await);
    wait_until(LIMIT, async || !is_alive(grandchild)).await;
    manager.engine_when(|e| e.state == EngineState::Ready && e.generation > first.generation).await;
    manager.stop().await;
}

#[tokio::test]
async fn a_restart_can_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let farewell = folder.path().join("farewell");
    let manager =
        Manager::start(&config([child(&Options { farewell: Some(farewell.clone()), ..Options::default() })])).await;
    let first = manager.engine_in(EngineState::Ready).await;
    let pid = manager.pid().await;
    assert_eq!(manager.engines.restart(&id("a")).await.unwrap().generation, first.generation);
    manager.engine_when(|e| e.state == EngineState::Ready && e.generation > first.generation).await;
    assert_ne!(manager.pid().await, pid);
    assert!(farewell.exists(), "it was stopped in order");
    manager.stop().await;
}

#[tokio::test]
async fn an_engine_that_never_gets_ready_is_started_again() {
    let mut config = config([script("exec sleep 1000")]);
    config.start_limit_s = 1;
    let manager = Manager::start(&config).await;
    let first = manager.pid().await;
    let again = manager.engine_when(|e| e.detail.as_ref().is_some_and(|d| d.contains("started again"))).await;
    assert_eq!(again.detail.unwrap(), "started again; the last time it was not ready for 1 s, stopped it");
    assert_ne!(manager.pid().await, first);
    assert!(!is_alive(first));
    manager.stop().await;
}

#[tokio::test]
async fn a_lifeline_stays_open_and_no_lifeline_is_an_end_at_once() {
    let reader = "read line; echo 'my input has ended'; exit 7";
    let held = EngineDefinition { stdin: Stdin::Lifeline, ..script(reader) };
    let free = EngineDefinition { id: id("b"), ..script(reader) };
    let manager = Manager::start(&config([held, free])).await;
    let pid = manager.pid().await;
    let ended = wait_for(LIMIT, async || manager.engines.get(&id("b")).await.unwrap().detail).await;
    assert!(ended.contains("exit status: 7: my input has ended"), "{ended}");
    assert_eq!((manager.pid().await, manager.vitals().await["restarts"].as_u64()), (pid, Some(0)));
    manager.stop().await;
}
