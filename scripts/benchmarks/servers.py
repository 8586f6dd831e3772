"""Servers under measurement: how each is started, and what it costs while it runs."""

import os
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Set by scripts/bench. Servers run in another folder, hence absolute.
PROGRAMS, VENV, TOOLS = (
    Path(os.getenv(name, "")).absolute() for name in ("BENCH_PROGRAMS", "BENCH_VENV", "BENCH_TOOLS")
)

START_LIMIT_S = 120
STOP_LIMIT_S = 10
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

# Whatever proxy this machine is told to use, it is not for loopback.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """A running server: all processes of one session."""

    name: str
    port: int
    session: int

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def cpu_s(self) -> float:
        """Time on a CPU so far, in user and kernel, of all its processes."""
        # The clock that clock_getcpuclockid(3) gives: nanoseconds, where /proc/PID/stat counts in ticks of 10 ms.
        return sum(time.clock_gettime(~process << 3 | 2) for process, _ in self._processes())

    def resident_mb(self) -> float:
        """Memory in use now, in MiB; pages shared by its processes count once for each."""
        return sum(int(stat[21]) for _, stat in self._processes()) * PAGE_BYTES / 2**20

    def _processes(self) -> Iterator[tuple[int, list[str]]]:
        """Each process, with its `/proc/PID/stat` from the third field on (the second may hold blanks)."""
        for process in Path("/proc").glob("[0-9]*"):
            try:
                stat = (process / "stat").read_text().rpartition(") ")[2].split()
            except OSError:
                continue  # it has just ended
            if int(stat[3]) == self.session:
                yield int(process.name), stat


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    name: str, command: list[object], port: int, folder: Path, ready: str = "/", env: dict[str, str] | None = None
) -> Iterator[Server]:
    """Runs a server until the block ends; the block begins when the path `ready` answers 200.

    It sees a bare environment and works in `folder`, so that no setting of this machine reaches it. Its output goes to
    a file there, and is shown when it does not start.
    """
    log = folder / f"{name}.log"
    bare = {"PATH": os.environ["PATH"], "HOME": str(folder), **(env or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=folder,
            env=bare,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = Server(name, port, process.pid)
    try:
        _wait_until_ready(server, process, ready, log)
        yield server
    finally:
        _stop(process)


def _wait_until_ready(server: Server, process: subprocess.Popen[bytes], path: str, log: Path) -> None:
    end = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < end:
        try:
            with DIRECT.open(server.url(path), timeout=5):
                return
        except OSError:  # an answer that is an error counts among them
            time.sleep(0.1)
    how = f"ended with {process.poll()}" if process.poll() is not None else f"was not ready in {START_LIMIT_S} s"
    lines = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
    raise RuntimeError(f"{server.name} {how}:\n{lines}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the whole session, kindly at first."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(STOP_LIMIT_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
