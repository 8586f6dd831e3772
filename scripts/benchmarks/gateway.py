"""The gateway against nginx as a reverse proxy and against LiteLLM's proxy, before the same fake engine."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import Request

import load
import machine
import nginx
import report
import servers
from load import Figures, Plan, Series
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
# As above: for all, and for LiteLLM.
STREAMS, GENTLE_STREAMS = 32, 4

# By server.
Compared = dict[str, Series]


def run(plan: Plan, folder: Path) -> str:
    with ExitStack() as stack:
        direct = stack.enter_context(_fake_engine(folder))
        theirs = stack.enter_context(nginx.proxy(folder, direct))
        ours = stack.enter_context(_gateway(folder, direct))
        python = stack.enter_context(_litellm(folder, direct))
        everyone, quick, slow = [direct, theirs, ours, python], [direct, theirs, ours], [direct, ours, python]
        for server in everyone:
            _check(server)
            load.throughput(server, CHAT, 1, BODY)  # warms up

        def requests(server: Server) -> Figures:
            return load.throughput(server, CHAT, plan.seconds, BODY, upstream=None if server is direct else direct)

        def latency(rate: int) -> Callable[[Server], Figures]:
            return lambda server: load.latency(server, CHAT, plan.seconds, rate, BODY)

        def streams(model: str, count: int, spread_ms: int = 0) -> Callable[[Server], Figures]:
            return lambda server: load.streaming(server, CHAT, plan.seconds, model, count, spread_ms)

        return _text(
            requests=plan.compare("gateway: requests", everyone, requests),
            latency=plan.compare("gateway: latency", quick, latency(RATE)),
            gentle_latency=plan.compare("gateway: latency at a gentle rate", slow, latency(GENTLE_RATE)),
            paced=plan.compare("gateway: streams", quick, streams(PACED, STREAMS, EVENTS * GAP_MS)),
            gentle_paced=plan.compare("gateway: few streams", slow, streams(PACED, GENTLE_STREAMS, EVENTS * GAP_MS)),
            flood=plan.compare("gateway: streams without a pause", everyone, streams(FLOOD, STREAMS)),
        )


@contextmanager
def _fake_engine(folder: Path) -> Iterator[Server]:
    port = servers.free_port()
    models = ["--model", f"{PACED}:{EVENTS}:{GAP_MS}", "--model", f"{FLOOD}:{FLOOD_EVENTS}:0"]
    command = [servers.PROGRAMS / "bench-upstream", "--listen", f"127.0.0.1:{port}", *models]
    with servers.running(DIRECT, command, port, folder, ready="/health") as server:
        yield server


@contextmanager
def _gateway(folder: Path, engine: Server) -> Iterator[Server]:
    port = servers.free_port()
    config = folder / "gateway.toml"
    config.write_text(
        f'[gateway]\nlisten = "127.0.0.1:{port}"\n'
        f'[[gateway.engines]]\nid = "bench"\naddress = "{engine.url("")}"\n'
    )
    command = [servers.PROGRAMS / "remora-gateway", "--config", config]
    with servers.running(OURS, command, port, folder, ready="/ready") as server:
        yield server


@contextmanager
def _litellm(folder: Path, engine: Server) -> Iterator[Server]:
    """One worker, no database, no key, its price list not fetched from the network."""
    port = servers.free_port()
    there = {"api_base": engine.url("/v1"), "api_key": "none"}
    models = [
        {"model_name": name, "litellm_params": {"model": f"openai/{name}", **there}} for name in (PACED, FLOOD)
    ]
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


def _text(
    requests: Compared, latency: Compared, gentle_latency: Compared, paced: Compared, gentle_paced: Compared, flood: Compared
) -> str:
    versions = [machine.remora(), machine.nginx(), machine.python("litellm"), machine.wrk(), machine.oha()]
    return "\n\n".join(
        [
            "## Requests and streams: gateway",
            report.circumstances(versions),
            _aims(requests, latency, paced, flood),
            "Ratios, gateway to the other:",
            _ratios(requests, flood),
            f"Latency added to the fake engine's own, in ms. Answers: open loop at {RATE} and at {GENTLE_RATE} requests per "
            f"second. First event: {STREAMS} and {GENTLE_STREAMS} streams of {EVENTS} events with {GAP_MS} ms between them.",
            _latency(latency, gentle_latency, paced, gentle_paced),
            f"Whole answers, {load.CONNECTIONS} connections, as fast as they go:",
            _requests(requests),
            f"Streams: CPU time per event at the pace of a model ({STREAMS} streams; LiteLLM {GENTLE_STREAMS}), and "
            f"{STREAMS} streams of {FLOOD_EVENTS} events that nobody waits for:",
            _streams(paced, gentle_paced, flood),
        ]
    )


def _aims(requests: Compared, latency: Compared, paced: Compared, flood: Compared) -> str:
    loads = (requests[OURS], paced[OURS], flood[OURS])
    resident_mb = [max(loaded) for loaded in zip(*(series["resident_mb"] for series in loads), strict=True)]
    rows = [
        ["requests/s, of nginx's", "at least 0.7", report.judged(_to(requests, NGINX, "requests_per_s"), at_least=0.7)],
        ["requests/s, of LiteLLM's", "at least 200", report.judged(_to(requests, PYTHON, "requests_per_s"), at_least=200)],
        [f"added p50 at {RATE}/s, ms", "at most 0.35", report.judged(_added(latency, OURS, "p50_ms"), at_most=0.35)],
        ["resident under load, MiB", "at most 50", report.judged(resident_mb, at_most=50)],
    ]
    return report.table(["", "aim", "measured"], rows)


def _ratios(requests: Compared, flood: Compared) -> str:
    rows = [
        [
            rival,
            spread(_to(requests, rival, "requests_per_s")),
            spread(_to(requests, rival, "cpu_us")),
            spread(_to(flood, rival, "events_per_s")),
            spread(_to(flood, rival, "cpu_us")),
        ]
        for rival in (NGINX, PYTHON)
    ]
    return report.table(["to", "requests/s", "CPU per request", "streamed events/s", "CPU per streamed event"], rows)


def _latency(latency: Compared, gentle: Compared, paced: Compared, gentle_paced: Compared) -> str:
    rows = []
    for what, compared, figure in [
        (f"answer at {RATE}/s", latency, "p"),
        (f"answer at {GENTLE_RATE}/s", gentle, "p"),
        (f"first event, {STREAMS} streams", paced, "ttft_p"),
        (f"first event, {GENTLE_STREAMS} streams", gentle_paced, "ttft_p"),
    ]:
        for percentile in ("50", "99"):
            name = f"{figure}{percentile}_ms"
            added = [spread(_added(compared, rival, name)) if rival in compared else "" for rival in (NGINX, OURS, PYTHON)]
            rows.append([f"{what}, p{percentile}", spread(compared[DIRECT][name]), *added])
    return report.table(["", "direct takes", "nginx adds", "gateway adds", "LiteLLM adds"], rows)


def _requests(requests: Compared) -> str:
    figures = ["requests_per_s", "cpu_us", "p50_ms", "p99_ms", "resident_mb"]
    rows = [[name, *(spread(series[figure]) for figure in figures)] for name, series in requests.items()]
    return report.table(["", "requests/s", "CPU per request, µs", "p50, ms", "p99, ms", "resident, MiB"], rows)


def _streams(paced: Compared, gentle_paced: Compared, flood: Compared) -> str:
    pace = gentle_paced | paced
    rows = [
        [
            name,
            spread(pace[name]["cpu_us"]),
            spread(series["events_per_s"]),
            spread(series["cpu_us"]),
            spread(series["resident_mb"]),
        ]
        for name, series in flood.items()
    ]
    head = ["", "CPU per event, paced, µs", "events/s, not paced", "CPU per event, not paced, µs", "resident, MiB"]
    return report.table(head, rows)


def _to(compared: Compared, rival: str, figure: str) -> list[float]:
    return ratios(compared[OURS][figure], compared[rival][figure])


def _added(compared: Compared, server: str, figure: str) -> list[float]:
    return differences(compared[server][figure], compared[DIRECT][figure])
