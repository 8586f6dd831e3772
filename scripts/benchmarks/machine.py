"""What it was measured on, and with which versions."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import servers

REPOSITORY = Path(__file__).resolve().parents[2]


# Other work on the machine widens every spread; taken before ours begins.
LOAD_BEFORE = os.getloadavg()[0]


def machine() -> str:
    memory_gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    cores = len(os.sched_getaffinity(0))
    plural = "" if cores == 1 else "s"
    system = f"Linux {platform.release()}, {_distribution()}"
    return f"{_cpu()}, {cores} core{plural}, {memory_gib:.0f} GiB, {system}, load before {LOAD_BEFORE:.1f}"


def remora() -> str:
    return f"Remora {_first_line('git', '-C', REPOSITORY, 'describe', '--always', '--dirty', '--tags')}"


def nginx() -> str:
    return _first_line("nginx", "-v").removeprefix("nginx version: ")


def wrk() -> str:
    return " ".join(_first_line("wrk", "-v").split()[:2])


def oha() -> str:
    return _first_line(servers.TOOLS / "bin" / "oha", "--version")


def python(*packages: str) -> str:
    """CPython and packages of the contenders' environment."""
    site = next((servers.VENV / "lib").glob("python3*/site-packages"))
    found = {each.name.lower(): each.version for each in metadata.distributions(path=[str(site)])}
    interpreter = _first_line(servers.VENV / "bin" / "python", "--version")
    return ", ".join([interpreter, *(f"{name} {found[name]}" for name in packages)])


def _first_line(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    # nginx tells its version on stderr, wrk with an exit status of 1.
    return (done.stdout or done.stderr).splitlines()[0].strip()


def _cpu() -> str:
    # Not on every architecture.
    name = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return name[1].strip() if name else platform.machine()


def _distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown distribution")
