"""agents-server against nginx and against FastAPI's StaticFiles, on the same files."""

import random
import string
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from statistics import median
from urllib.error import HTTPError
from urllib.request import Request

import load
import machine
import nginx
import report
import servers
from load import WARM_UP_S, Compared, Figures, Plan, Series
from report import number, ratios, spread
from servers import Server

SIZES = {"1 KB": 1 << 10, "100 KB": 100 << 10, "1 MB": 1 << 20}
WHOLE, UNCHANGED = "whole file", "`If-None-Match`: 304"
OURS, NGINX, PYTHON = "agents-server", "nginx", "FastAPI"
# By size and kind of request.
Measured = dict[tuple[str, str], Compared]


def run(plan: Plan, folder: Path) -> str:
    root = folder / "agents"
    files = _make_files(root / "bench")
    measured: Measured = {}
    with _agents_server(folder, root) as ours, nginx.static(folder, root) as theirs, _fastapi(folder, root) as python:
        for size, content in files.items():
            measured |= _measure(plan, [ours, theirs, python], size, content)
    return _text(measured)


def _measure(plan: Plan, contenders: list[Server], size: str, content: bytes) -> Measured:
    path = f"/agents/bench/{_file_name(size)}"
    etags = {server.name: _check(server, path, content) for server in contenders}

    def whole(server: Server) -> Figures:
        return load.throughput(server, path, plan.seconds)

    def unchanged(server: Server) -> Figures:
        return load.throughput(server, path, plan.seconds, headers=[f"If-None-Match: {etags[server.name]}"])

    for server in contenders:
        load.throughput(server, path, WARM_UP_S)
    return {
        (size, WHOLE): plan.compare(f"static: {size}, {WHOLE}", contenders, whole),
        (size, UNCHANGED): plan.compare(f"static: {size}, {UNCHANGED}", contenders, unchanged),
    }


def _make_files(folder: Path) -> dict[str, bytes]:
    """A bundle with one file of each size, the same in every run."""
    folder.mkdir(parents=True)
    (folder / "bundle.yaml").write_text("name: bench\ndescription: Files to measure with.\n")
    letters = random.Random(1)
    files = {size: "".join(letters.choices(string.ascii_letters, k=length)).encode() for size, length in SIZES.items()}
    for size, content in files.items():
        (folder / _file_name(size)).write_bytes(content)
    return files


def _file_name(size: str) -> str:
    return f"{size.replace(' ', '').lower()}.txt"


@contextmanager
def _agents_server(folder: Path, root: Path) -> Iterator[Server]:
    port = servers.free_port()
    config = folder / "agents-server.toml"
    config.write_text(f'[agents_server]\nlisten = "127.0.0.1:{port}"\nroot = "{root}"\n')
    command = [servers.PROGRAMS / "remora-agents-server", "--config", config]
    with servers.running(OURS, command, port, folder, ready="/ready") as server:
        yield server


@contextmanager
def _fastapi(folder: Path, root: Path) -> Iterator[Server]:
    """One worker on uvloop and httptools, which `uvicorn[standard]` brings; no access log."""
    port = servers.free_port()
    app = ["--app-dir", Path(__file__).parent, "static_app:app"]
    command = [servers.VENV / "bin" / "uvicorn", *app, "--host", "127.0.0.1", "--port", port, "--no-access-log"]
    env = {"BENCH_ROOT": str(root)}
    with servers.running(PYTHON, command, port, folder, ready="/agents/bench/bundle.yaml", env=env) as server:
        yield server


def _check(server: Server, path: str, content: bytes) -> str:
    """The file's ETag, after making sure that the server does what is going to be measured."""
    with servers.DIRECT.open(server.url(path)) as answer:
        etag = str(answer.headers["ETag"])
        if answer.read() != content:
            raise RuntimeError(f"{server.name} sends another file than {path}")
    try:
        servers.DIRECT.open(Request(server.url(path), headers={"If-None-Match": etag})).close()
    except HTTPError as answer:
        if answer.code == HTTPStatus.NOT_MODIFIED:
            return etag
    raise RuntimeError(f"{server.name} does not answer 304 to If-None-Match")


def _text(measured: Measured) -> str:
    versions = [machine.remora(), machine.nginx(), machine.wrk(), machine.python("fastapi", "starlette", "uvicorn")]
    compared = [
        [
            size,
            request,
            report.judged(_to(series, NGINX, "requests_per_s"), at_least=1.0),
            report.judged(_to(series, PYTHON, "requests_per_s"), at_least=10.0),
            spread(_to(series, NGINX, "cpu_us")),
        ]
        for (size, request), series in measured.items()
    ]
    absolute = [
        [size, request, *(_absolute(series[name]) for name in (OURS, NGINX, PYTHON))]
        for (size, request), series in measured.items()
    ]
    head = ["file", "request", "requests/s, of nginx's (aim: 1.0)", "of FastAPI's (aim: 10)", "CPU/request, of nginx's"]
    return "\n\n".join(
        [
            "## Files: agents-server",
            report.circumstances(versions),
            report.table(head, compared),
            "Medians in requests per second, with CPU time per request:",
            report.table(["file", "request", OURS, NGINX, PYTHON], absolute),
        ]
    )


def _to(series: Compared, rival: str, figure: str) -> list[float]:
    return ratios(series[OURS][figure], series[rival][figure])


def _absolute(series: Series) -> str:
    return f"{number(median(series['requests_per_s']))} ({number(median(series['cpu_us']))} µs)"
