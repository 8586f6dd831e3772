"""The gateway against nginx as a reverse proxy and against LiteLLM's proxy, before the same fake engine."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request

import load
import machine
import nginx
import report
import servers
from load import Compared, Figures, Plan
from report import differences, ratios, spread
from servers import Server

CHAT = "/v1/chat/completions"
BODY = '{"model":"bench","messages":[{"role":"user","content":"Say hello to the bench."}],"max_tokens":16}'
DIRECT, NGINX, OURS, PYTHON = "direct", "nginx", "gateway", "LiteLLM"

# Requests per second of the open loops: what every proxy here bears easily, and what LiteLLM bears.
RATE, GENTLE_RATE = 1000, 50
# A model at 50 tokens per second and stream, and one that is never waited for.
PACED, FLOOD = "bench", "bench-flood"
EVENTS, GAP_MS, FLOOD_EVENTS = 50, 20, 500
# As above for the paced ones; those without a pause are few enough for LiteLLM to serve each of them.
STREAMS, GENTLE_STREAMS, FLOOD_STREAMS = 32, 4, 8


@dataclass(frozen=True)
class Measured:
    """One comparison for each kind of load."""

    requests: Compared
    latency: Compared
    gentle_latency: Compared
    paced: Compared
    gentle_paced: Compared
    flood: Compared


def run(plan: Plan, folder: Path) -> str:
    with ExitStack() as stack:
        direct = stack.enter_context(fake_engine(folder))
        theirs = stack.enter_context(nginx.proxy(folder, direct))
        ours = stack.enter_context(gateway(folder, direct))
        python = stack.enter_context(litellm(folder, direct))
        return _text(_measure(plan, direct, theirs, ours, python))


def _measure(plan: Plan, direct: Server, theirs: Server, ours: Server, python: Server) -> Measured:
    everyone, quick, slow = [direct, theirs, ours, python], [direct, theirs, ours], [direct, ours, python]

    def requests(server: Server) -> Figures:
        return load.throughput(server, CHAT, plan.seconds, BODY, engine=direct)

    def latency(rate: int) -> Callable[[Server], Figures]:
        return lambda server: load.latency(server, CHAT, plan.seconds, rate, BODY)

    def streams(model: str, count: int, spread_ms: int = 0) -> Callable[[Server], Figures]:
        # A paced answer takes a second.
        seconds = max(plan.seconds, 2)
        return lambda server: load.streaming(server, CHAT, seconds, model, count, spread_ms)

    for server in everyone:
        _check(server)
        load.throughput(server, CHAT, load.WARM_UP_S, BODY)
    return Measured(
        requests=plan.compare("gateway: requests", everyone, requests),
        latency=plan.compare("gateway: latency", quick, latency(RATE)),
        gentle_latency=plan.compare("gateway: latency at a gentle rate", slow, latency(GENTLE_RATE)),
        paced=plan.compare("gateway: streams", quick, streams(PACED, STREAMS, EVENTS * GAP_MS)),
        gentle_paced=plan.compare("gateway: few streams", slow, streams(PACED, GENTLE_STREAMS, EVENTS * GAP_MS)),
        flood=plan.compare("gateway: streams without a pause", everyone, streams(FLOOD, FLOOD_STREAMS)),
    )


@contextmanager
def fake_engine(folder: Path) -> Iterator[Server]:
    port = servers.free_port()
    models = ["--model", f"{PACED}:{EVENTS}:{GAP_MS}", "--model", f"{FLOOD}:{FLOOD_EVENTS}:0"]
    command = [servers.PROGRAMS / "bench-upstream", "--listen", f"127.0.0.1:{port}", *models]
    with servers.running(DIRECT, command, port, folder, ready="/health") as server:
        yield server


@contextmanager
def gateway(folder: Path, engine: Server) -> Iterator[Server]:
    port = servers.free_port()
    config = folder / "gateway.toml"
    config.write_text(
        f'[gateway]\nlisten = "127.0.0.1:{port}"\n[[gateway.engines]]\nid = "bench"\naddress = "{engine.url("")}"\n'
    )
    command = [servers.PROGRAMS / "remora-gateway", "--config", config]
    with servers.running(OURS, command, port, folder, ready="/ready") as server:
        yield server


@contextmanager
def litellm(folder: Path, engine: Server) -> Iterator[Server]:
    """One worker, no database, no key, its price list not fetched from the network."""
    port = servers.free_port()
    there = {"api_base": engine.url("/v1"), "api_key": "none"}
    models = [{"model_name": name, "litellm_params": {"model": f"hosted_vllm/{name}", **there}} for name in (PACED, FLOOD)]
    config = folder / "litellm.yaml"
    # JSON is YAML.
    config.write_text(json.dumps({"model_list": models, "litellm_settings": {"num_retries": 0, "telemetry": False}}))
    options = ["--config", config, "--host", "127.0.0.1", "--port", port, "--num_workers", 1]
    env = {
        "LITELLM_LOG": "ERROR",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    command = [servers.VENV / "bin" / "litellm", *options]
    with servers.running(PYTHON, command, port, folder, ready="/health/liveliness", env=env) as server:
        yield server


def _check(server: Server) -> None:
    """Makes sure that the server forwards before its speed is looked at."""
    request = Request(server.url(CHAT), BODY.encode(), {"Content-Type": "application/json"})
    with servers.DIRECT.open(request) as answer:
        content = json.load(answer)["choices"][0]["message"]["content"]
    if not content.startswith("Hello from the bench"):
        raise RuntimeError(f"{server.name} answers {content!r}")


def _text(measured: Measured) -> str:
    versions = [machine.remora(), machine.nginx(), machine.python("litellm"), machine.wrk(), machine.oha()]
    return "\n\n".join(
        [
            "## Requests and streams: gateway",
            report.circumstances(versions),
            _aims(measured),
            "Ratios, gateway to the other:",
            _ratios(measured),
            "Latency added to the fake engine's own, in ms. Answers at a fixed rate; first events of "
            f"streams of {EVENTS} events with {GAP_MS} ms between them.",
            _latency(measured),
            f"Whole answers over {load.CONNECTIONS} connections, as fast as they go:",
            _requests(measured.requests),
            f"{STREAMS} streams at that pace ({GENTLE_STREAMS} of LiteLLM's), and {FLOOD_STREAMS} without any:",
            _streams(measured),
        ]
    )


def _aims(measured: Measured) -> str:
    rates = {rival: _to(measured.requests, rival, "requests_per_s") for rival in (NGINX, PYTHON)}
    added = _added(measured.latency, OURS, "p50_ms")
    loads = (compared[OURS]["resident_mb"] for compared in (measured.requests, measured.paced, measured.flood))
    resident_mb = [max(repeat) for repeat in zip(*loads, strict=True)]
    rows = [
        ["requests/s, of nginx's", "at least 0.7", report.judged(rates[NGINX], at_least=0.7)],
        ["requests/s, of LiteLLM's", "at least 200", report.judged(rates[PYTHON], at_least=200)],
        [f"added p50 at {RATE}/s, ms", "at most 0.35", report.judged(added, at_most=0.35)],
        ["resident under load, MiB", "at most 50", report.judged(resident_mb, at_most=50)],
    ]
    return report.table(["", "aim", "measured"], rows)


def _ratios(measured: Measured) -> str:
    rows = [
        [
            rival,
            spread(_to(measured.requests, rival, "requests_per_s")),
            spread(_to(measured.requests, rival, "cpu_us")),
            spread(_to(paced, rival, "cpu_us")),
            spread(_to(measured.flood, rival, "events_per_s")),
            spread(_to(measured.flood, rival, "cpu_us")),
        ]
        for rival, paced in ((NGINX, measured.paced), (PYTHON, measured.gentle_paced))
    ]
    head = ["to", "requests/s", "CPU/request", "CPU/event, paced", "events/s, not paced", "CPU/event, not paced"]
    return report.table(head, rows)


def _latency(measured: Measured) -> str:
    rows = []
    for what, compared, figure in [
        (f"answer at {RATE}/s", measured.latency, "p"),
        (f"answer at {GENTLE_RATE}/s", measured.gentle_latency, "p"),
        (f"first event, {STREAMS} streams", measured.paced, "ttft_p"),
        (f"first event, {GENTLE_STREAMS} streams", measured.gentle_paced, "ttft_p"),
    ]:
        for percentile in ("50", "99"):
            name = f"{figure}{percentile}_ms"
            row = [f"{what}, p{percentile}", spread(compared[DIRECT][name])]
            for server in (NGINX, OURS, PYTHON):
                row.append(spread(_added(compared, server, name)) if server in compared else "")
            rows.append(row)
    return report.table(["", "direct takes", "nginx adds", "gateway adds", "LiteLLM adds"], rows)


def _requests(requests: Compared) -> str:
    head = {
        "requests_per_s": "requests/s",
        "cpu_us": "CPU/request, µs",
        "engine_cpu_us": "the fake engine's, µs",
        "p50_ms": "p50, ms",
        "p99_ms": "p99, ms",
        "resident_mb": "resident, MiB",
    }
    rows = [[name, *(spread(series[figure]) for figure in head)] for name, series in requests.items()]
    return report.table(["", *head.values()], rows)


def _streams(measured: Measured) -> str:
    paced = measured.gentle_paced | measured.paced
    head = {"events_per_s": "events/s, not paced", "cpu_us": "CPU/event, not paced, µs", "resident_mb": "resident, MiB"}
    rows = [
        [name, spread(paced[name]["cpu_us"]), *(spread(series[figure]) for figure in head)]
        for name, series in measured.flood.items()
    ]
    return report.table(["", "CPU/event, paced, µs", *head.values()], rows)


def _to(compared: Compared, rival: str, figure: str) -> list[float]:
    return ratios(compared[OURS][figure], compared[rival][figure])


def _added(compared: Compared, server: str, figure: str) -> list[float]:
    return differences(compared[server][figure], compared[DIRECT][figure])
