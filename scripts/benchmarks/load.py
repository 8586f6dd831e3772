"""Load generators, and the figures that one run of them yields."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import servers
from servers import Server

HERE = Path(__file__).parent
CONNECTIONS = 32
WARM_UP_S = 1
# Beyond the time a run is meant to take, until it counts as stuck.
SLACK_S = 60

# What one run measured, by name with unit: {"requests_per_s": 61234.0, "cpu_us": 7.9, …}
Figures = dict[str, float]
# The same for every repeat, in their order.
Series = dict[str, list[float]]
# By server's name.
Compared = dict[str, Series]


@dataclass(frozen=True)
class Plan:
    """How long to measure."""

    repeats: int
    seconds: int

    def compare(self, what: str, contenders: list[Server], run: Callable[[Server], Figures]) -> Compared:
        """Runs A B C A B C …, so that whatever else the machine does disturbs them alike."""
        series: Compared = {server.name: {} for server in contenders}
        for nr in range(self.repeats):
            print(f"{what}, {nr + 1} of {self.repeats}", file=sys.stderr)
            for server in contenders:
                for figure, value in run(server).items():
                    series[server.name].setdefault(figure, []).append(value)
        return series


def throughput(
    server: Server, path: str, seconds: int, body: str = "", headers: Sequence[str] = (), engine: Server | None = None
) -> Figures:
    """As many requests as 32 kept connections get through: wrk, one thread."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "30s", "-s", HERE / "wrk.lua"]
    with Watch(server, engine) as watch:
        output = _run([*command, server.url(path), "--", body, *headers], seconds)
    seen = json.loads(output.splitlines()[-1])
    if seen["failed"] or not seen["requests"]:
        raise RuntimeError(f"{server.name}{path}: {seen['failed']} of {seen['requests']} requests failed")
    return {
        "requests_per_s": seen["requests"] / seen["seconds"],
        "p50_ms": seen["p50_ms"],
        "p99_ms": seen["p99_ms"],
        **watch.figures(seen["requests"]),
    }


def latency(server: Server, path: str, seconds: int, rate: int, body: str) -> Figures:
    """Time to an answer at a fixed rate, whether the server keeps up or not: oha, open loop."""
    command = [servers.TOOLS / "bin" / "oha", "--no-tui", "--output-format", "json", "--latency-correction"]
    command += ["-c", CONNECTIONS, "-q", rate, "-z", f"{seconds}s", "-m", "POST", "-T", "application/json", "-d", body]
    seen = json.loads(_run([*command, server.url(path)], seconds))
    statuses = seen["statusCodeDistribution"]
    if set(statuses) != {"200"}:
        raise RuntimeError(f"{server.name}{path}: answers {statuses}, errors {seen['errorDistribution']}")
    percentiles = seen["latencyPercentiles"]
    return {"p50_ms": percentiles["p50"] * 1e3, "p99_ms": percentiles["p99"] * 1e3}


def streaming(server: Server, path: str, seconds: int, model: str, streams: int, spread_ms: int = 0) -> Figures:
    """Streams kept open: events that arrive, time to the first of each answer."""
    command = [servers.PROGRAMS / "bench-stream", "--url", server.url(path), "--model", model]
    command += ["--streams", streams, "--spread-ms", spread_ms, "--seconds", seconds]
    with Watch(server) as watch:
        seen = json.loads(_run(command, seconds))
    if seen["failed"]:
        raise RuntimeError(f"{server.name}{path}: {seen['failed']} streams failed, the first with {seen['failure']}")
    if not seen["events"]:
        raise RuntimeError(f"{server.name}{path}: not one event in {seconds} s")
    return {
        "events_per_s": seen["events"] / seen["seconds"],
        "ttft_p50_ms": seen["ttft_ms"]["p50"],
        "ttft_p99_ms": seen["ttft_ms"]["p99"],
        **watch.figures(seen["events"]),
    }


class Watch(threading.Thread):
    """What a server, and the engine behind it, cost while the block runs."""

    def __init__(self, server: Server, engine: Server | None = None) -> None:
        super().__init__()
        self.watched = {"cpu_us": server} | ({"engine_cpu_us": engine} if engine else {})
        self.server = server
        self.over = threading.Event()
        self.resident_mb = 0.0

    def __enter__(self) -> "Watch":
        self.cpu_s = {figure: -server.cpu_s() for figure, server in self.watched.items()}
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()
        for figure, server in self.watched.items():
            self.cpu_s[figure] += server.cpu_s()

    def run(self) -> None:
        while not self.over.wait(0.2):
            self.resident_mb = max(self.resident_mb, self.server.resident_mb())

    def figures(self, work: float) -> Figures:
        """CPU time for each unit of the work done, and the most memory seen."""
        return {figure: cpu_s / work * 1e6 for figure, cpu_s in self.cpu_s.items()} | {"resident_mb": self.resident_mb}


def _run(command: list[object], seconds: int) -> str:
    """The output of a program that ends by itself."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=seconds + SLACK_S, check=True)
    except subprocess.CalledProcessError as failed:
        raise RuntimeError(f"{words[0]} failed: {failed.stderr or failed.stdout}") from failed
    return done.stdout
