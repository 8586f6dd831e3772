"""Anthropic's Messages API: the gateway's translation against LiteLLM's, and against vLLM's own; many streams; cancels."""

import http.client
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request

import gateway
import load
import machine
import report
import servers
from gateway import CHAT, DIRECT, FLOOD, FLOOD_EVENTS, FLOOD_STREAMS, GENTLE_STREAMS, OURS, PACED, PYTHON
from load import Compared, Figures, Plan
from report import differences, ratios, spread
from servers import Server

MESSAGES = "/v1/messages"
MODEL = machine.REPOSITORY / "crates" / "engine" / "models" / "demo" / "safetensors"
VLLM, CHATTED, TRANSLATED = "vLLM", "gateway, chat", "gateway, messages"
MANY_STREAMS, CANCELS = 1000, 100


def run(plan: Plan, folder: Path) -> str:
    with ExitStack() as stack:
        direct = stack.enter_context(gateway.fake_engine(folder))
        ours = stack.enter_context(gateway.gateway(folder, direct))
        python = stack.enter_context(gateway.litellm(folder, direct))
        for server in (ours, python):
            _check(server)
        flood = _floods(plan, direct, ours, python)
        first = plan.compare("messages: first events", [direct, ours, python], lambda server: _paced(plan, server))
        cancels = [_cancel_ms(ours, direct) for _ in range(CANCELS)]
    # A gateway of its own, which has not served anything else before.
    with gateway.fake_engine(folder) as direct, gateway.gateway(folder, direct) as ours:
        memory = plan.compare(f"messages: {MANY_STREAMS} streams", [ours], lambda server: _many(plan, server))
    return _text(flood, first, cancels, memory[OURS]["resident_mb"], _vllm(plan, folder))


def _floods(plan: Plan, direct: Server, ours: Server, python: Server) -> Compared:
    """Answers without a pause: chat straight from the engine and through the gateway, messages through both proxies."""
    paths = {DIRECT: CHAT, CHATTED: CHAT, TRANSLATED: MESSAGES, PYTHON: MESSAGES}
    named = [direct, Server(CHATTED, ours.port, ours.session), Server(TRANSLATED, ours.port, ours.session), python]
    measure = lambda server: load.streaming(server, paths[server.name], plan.seconds, FLOOD, FLOOD_STREAMS)  # noqa: E731
    return plan.compare("messages: streams without a pause", named, measure)


def _paced(plan: Plan, server: Server) -> Figures:
    path = CHAT if server.name == DIRECT else MESSAGES
    spread_ms = gateway.EVENTS * gateway.GAP_MS
    return load.streaming(server, path, max(plan.seconds, 2), PACED, GENTLE_STREAMS, spread_ms)


def _many(plan: Plan, server: Server) -> Figures:
    return load.streaming(server, MESSAGES, max(plan.seconds, 4), PACED, MANY_STREAMS, gateway.EVENTS * gateway.GAP_MS)


def _cancel_ms(server: Server, engine: Server) -> float:
    """Time from a client's going away in mid-stream until the engine's connection is closed."""
    watch = http.client.HTTPConnection("127.0.0.1", engine.port)
    _wait_until_closed(watch)  # what LiteLLM left behind
    client = http.client.HTTPConnection("127.0.0.1", server.port)
    client.request("POST", MESSAGES, json.dumps(_body(PACED)), {"Content-Type": "application/json"})
    answer = client.getresponse()
    answer.readline()
    if _open_streams(watch) != 1:
        raise RuntimeError("the stream is not open at the engine")
    answer.close()
    client.close()
    taken_ms = _wait_until_closed(watch)
    watch.close()
    return taken_ms


def _wait_until_closed(watch: http.client.HTTPConnection) -> float:
    """Milliseconds until the engine has no open stream."""
    begin = time.perf_counter()
    while _open_streams(watch):
        if time.perf_counter() - begin > 10:
            raise RuntimeError("the engine's stream was not closed within 10 s")
    return (time.perf_counter() - begin) * 1e3


def _open_streams(watch: http.client.HTTPConnection) -> int:
    watch.request("GET", "/open")
    return int(watch.getresponse().read())


def _vllm(plan: Plan, folder: Path) -> Compared | None:
    """The real vLLM, where scripts/test has installed it: its own Messages API, and ours over its chat."""
    program = os.getenv("BENCH_VLLM", "")
    if not program:
        return None
    with _vllm_server(program, folder) as direct, gateway.gateway(folder, direct) as ours:
        measure = lambda server: load.streaming(server, MESSAGES, max(plan.seconds, 4), "demo", 4)  # noqa: E731
        for server in (direct, ours):
            measure(server)
        return plan.compare("messages: vLLM", [direct, ours], measure)


@contextmanager
def _vllm_server(program: str, folder: Path) -> Iterator[Server]:
    port = servers.free_port()
    options = ["--host", "127.0.0.1", "--port", port, "--dtype", "float32", "--enforce-eager"]
    options += ["--served-model-name", "demo"]
    env = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "WARNING"}
    command = [program, "serve", MODEL, *options]
    with servers.running(VLLM, command, port, folder, ready="/health", env=env) as server:
        yield server


def _body(model: str) -> dict[str, object]:
    messages = [{"role": "user", "content": "Say hello to the bench."}]
    return {"model": model, "messages": messages, "max_tokens": 100, "stream": True}


def _check(server: Server) -> None:
    """Makes sure that the server translates before its speed is looked at."""
    body = json.dumps(_body(PACED) | {"stream": False}).encode()
    request = Request(server.url(MESSAGES), body, {"Content-Type": "application/json", "x-api-key": "none"})
    with servers.DIRECT.open(request) as answer:
        text = json.load(answer)["content"][0]["text"]
    if not text.startswith("Hello from the bench"):
        raise RuntimeError(f"{server.name} answers {text!r}")


def _text(
    flood: Compared, first: Compared, cancels_ms: list[float], resident_mb: list[float], real: Compared | None
) -> str:
    versions = [machine.remora(), machine.python("litellm")]
    sections = [
        "## Anthropic's messages: gateway",
        report.circumstances(versions),
        _aims(flood, cancels_ms, resident_mb),
        f"{FLOOD_STREAMS} streams of {FLOOD_EVENTS} events without a pause; chat passes through, messages are translated:",
        _streams(flood),
        f"First events of {GENTLE_STREAMS} paced streams, in ms:",
        _first(first),
    ]
    if real:
        sections += ["The real vLLM on this CPU, 4 streams: its own Messages API, and the gateway's over its chat:", _real(real)]
    return "\n\n".join(sections)


def _aims(flood: Compared, cancels_ms: list[float], resident_mb: list[float]) -> str:
    cost = differences(flood[TRANSLATED]["cpu_us"], flood[CHATTED]["cpu_us"])
    rate = ratios(flood[TRANSLATED]["events_per_s"], flood[PYTHON]["events_per_s"])
    rows = [
        ["translation of an event, µs of CPU", "at most 20", report.judged(cost, at_most=20)],
        ["events/s, of LiteLLM's", "at least 200", report.judged(rate, at_least=200)],
        ["client gone until the engine knows, ms", "at most 100", report.judged(cancels_ms, at_most=100)],
        [f"resident with {MANY_STREAMS} streams, MiB", "at most 50", report.judged(resident_mb, at_most=50)],
    ]
    return report.table(["", "aim", "measured"], rows)


def _streams(flood: Compared) -> str:
    head = {"events_per_s": "events/s", "cpu_us": "CPU/event, µs", "resident_mb": "resident, MiB"}
    rows = [[name, *(spread(series[figure]) for figure in head)] for name, series in flood.items()]
    return report.table(["", *head.values()], rows)


def _first(first: Compared) -> str:
    added = lambda server, name: spread(differences(first[server][name], first[DIRECT][name]))  # noqa: E731
    rows = [
        [f"p{percentile}", spread(first[DIRECT][name]), added(OURS, name), added(PYTHON, name)]
        for percentile, name in (("50", "ttft_p50_ms"), ("99", "ttft_p99_ms"))
    ]
    return report.table(["", "direct takes", "gateway adds", "LiteLLM adds"], rows)


def _real(real: Compared) -> str:
    direct, ours = real[VLLM], real[OURS]
    rows = [
        ["answers' events/s, of vLLM's own", spread(ratios(ours["events_per_s"], direct["events_per_s"]))],
        ["first event, p50, ms more", spread(differences(ours["ttft_p50_ms"], direct["ttft_p50_ms"]))],
        ["the gateway's CPU/event, µs", spread(ours["cpu_us"])],
    ]
    return report.table(["", "gateway"], rows)
