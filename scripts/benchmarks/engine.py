"""The embedded engine against llama.cpp's own server, and against llama-cpp-python's: same model, threads, slots and context."""

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import median, quantiles

import load
import machine
import report
import servers
import tokens
from load import Compared, Figures, Plan
from report import ratios, spread
from servers import Server

OURS, THEIRS, PYTHON = "engine", "llama-server", "llama-cpp-python"
REPOSITORY = machine.REPOSITORY
SLOTS, CONTEXT = 16, 2048
STREAMS = (1, 4, 8, 16)
# llama-cpp-python answers one request at a time: more streams only wait.
PYTHON_STREAMS = (1, 4)
SAMPLED_STREAMS = 8
ANSWER_TOKENS = 128
# Words of the long prompts, which are about 1,000 tokens, and how many come in one run.
LONG_WORDS, LONG_PROMPTS = 330, 3
STEADY_STREAMS, STEADY_TOKENS = 4, 1800
# As `remora up` starts the engine: threads that wait do not spin. The same for all.
ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GGML_NO_BACKTRACE": "1"}
WORDS = "river stone light engine model token paper winter green table quick seven ocean letter music garden".split()


@dataclass(frozen=True)
class Measured:
    """One comparison for each kind of load."""

    streams: dict[int, Compared]
    sampled: Compared
    first_token: Compared
    mixed: Compared


def run(plan: Plan, folder: Path) -> str:
    measured = {}
    for name, file in _models().items():
        here = folder / file.stem
        here.mkdir()
        with ExitStack() as stack:
            ours = stack.enter_context(_engine(here, file))
            theirs = stack.enter_context(_llama_server(here, file))
            python = stack.enter_context(_llama_cpp_python(here, file))
            measured[name] = _measure(plan, name, ours, theirs, python)
    return _text(measured)


def _models() -> dict[str, Path]:
    large = Path(os.environ["BENCH_MODELS"]) / "bench.gguf"
    if not large.exists():
        print("Making a model of 100 million random parameters.", file=sys.stderr)
        script = REPOSITORY / "scripts/test-models/bench_model.py"
        subprocess.run([servers.VENV / "bin" / "python", script, large], check=True)
    return {
        "demo model, 1.8 M, F16": REPOSITORY / "crates/engine/models/demo/remora-demo.gguf",
        "Llama, 100 M, Q8_0": large,
    }


def _threads() -> int:
    """What the engine takes for models that are not tiny: it leaves a core to the rest."""
    return max(1, len(os.sched_getaffinity(0)) - 1)


@contextmanager
def _engine(folder: Path, model: Path) -> Iterator[Server]:
    port = servers.free_port()
    size = ["--slots", SLOTS, "--ctx", CONTEXT, "--threads", _threads()]
    command = [servers.PROGRAMS / "remora", "engine", "--model", model, "--port", port, *size]
    with servers.running(OURS, command, port, folder, ready="/health", env=ENVIRONMENT) as server:
        yield server


@contextmanager
def _llama_server(folder: Path, model: Path) -> Iterator[Server]:
    port = servers.free_port()
    size = ["--parallel", SLOTS, "--ctx-size", SLOTS * CONTEXT, "--threads", _threads(), "--threads-batch", _threads()]
    program = servers.TOOLS / "llama.cpp" / "bin" / "llama-server"
    command = [program, "--model", model, "--host", "127.0.0.1", "--port", port, *size]
    with servers.running(THEIRS, command, port, folder, ready="/health", env=ENVIRONMENT) as server:
        yield server


@contextmanager
def _llama_cpp_python(folder: Path, model: Path) -> Iterator[Server]:
    """Without its habit of breaking off an answer when the next request comes."""
    port = servers.free_port()
    size = ["--n_ctx", CONTEXT, "--n_threads", _threads(), "--n_threads_batch", _threads()]
    options = ["--host", "127.0.0.1", "--port", port, "--interrupt_requests", "False", *size]
    command = [servers.VENV / "bin" / "python", "-m", "llama_cpp.server", "--model", model, *options]
    env = ENVIRONMENT | {"LLAMA_CPP_LIB_PATH": str(servers.TOOLS / "llama.cpp" / "bin")}
    with servers.running(PYTHON, command, port, folder, ready="/v1/models", env=env) as server:
        yield server


def _measure(plan: Plan, name: str, ours: Server, theirs: Server, python: Server) -> Measured:
    pair, everyone = [ours, theirs], [ours, theirs, python]
    numbers = iter(range(1 << 30))

    def chat(server: Server, words: int, answer: int, **more: object) -> str:
        # It does not know `ignore_eos`; the two tokens that could end an answer are its first and third.
        never = {"logit_bias": {"0": -100, "2": -100}} if server is python else {}
        return tokens.body(_prompt(next(numbers), words), answer, **never, **more)

    def speed(streams: int, rounds: int, **more: object) -> Callable[[Server], Figures]:
        def run(server: Server) -> Figures:
            bodies = (chat(server, 8, ANSWER_TOKENS, **more) for _ in range(streams * rounds))
            return _speed(server, bodies, streams)

        return run

    def first_token(server: Server) -> Figures:
        return _first_token(server, [chat(server, LONG_WORDS, 2) for _ in range(LONG_PROMPTS)])

    def mixed(server: Server) -> Figures:
        steady = [chat(server, 8, STEADY_TOKENS) for _ in range(STEADY_STREAMS)]
        return _mixed(server, steady, [chat(server, LONG_WORDS, 1) for _ in range(LONG_PROMPTS)])

    per_s = {}
    for server in everyone:
        _first_token(server, [chat(server, LONG_WORDS, 2)])
        per_s[server.name] = speed(1, 1)(server)["tokens_per_s"]

    def rounds(streams: int) -> int:
        # As many as take the time with no gain from batching: with it, a run is shorter, never longer.
        return max(1, ceil(plan.seconds * min(per_s[OURS], per_s[THEIRS]) / ANSWER_TOKENS / streams))

    # llama-server's own defaults, said to both; vLLM's have no `top_k`.
    sampling = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
    return Measured(
        streams={
            streams: plan.compare(
                f"engine: {name}, {streams} streams",
                everyone if streams in PYTHON_STREAMS else pair,
                speed(streams, rounds(streams)),
            )
            for streams in STREAMS
        },
        sampled=plan.compare(f"engine: {name}, sampled", pair, speed(SAMPLED_STREAMS, rounds(SAMPLED_STREAMS), **sampling)),
        first_token=plan.compare(f"engine: {name}, first tokens", everyone, first_token),
        mixed=plan.compare(f"engine: {name}, mixed load", pair, mixed),
    )


def _prompt(number: int, words: int) -> str:
    """A prompt like no other from its first word on."""
    random_words = random.Random(number)
    return f"{number} " + " ".join(random_words.choices(WORDS, k=words))


def _speed(server: Server, bodies: Iterator[str], streams: int) -> Figures:
    with load.Watch(server) as watch:
        answers = tokens.answers(server, bodies, streams)
    generated = sum(answer.tokens for answer in answers)
    if server.name != PYTHON and generated != len(answers) * ANSWER_TOKENS:
        raise RuntimeError(f"{server.name} generated {generated} tokens in {len(answers)} answers")
    took_s = max(answer.arrivals_s[-1] for answer in answers) - min(answer.asked_s for answer in answers)
    return {"tokens_per_s": generated / took_s, **watch.figures(generated)}


def _first_token(server: Server, bodies: list[str]) -> Figures:
    """Each prompt once, when the server has not seen it, and once more."""
    pairs = [(tokens.answers(server, [body], 1)[0], tokens.answers(server, [body], 1)[0]) for body in bodies]
    cold, warm = zip(*pairs, strict=True)
    return {
        "cold_ms": median(answer.ttft_ms() for answer in cold),
        "warm_ms": median(answer.ttft_ms() for answer in warm),
    }


def _mixed(server: Server, steady: list[str], sudden: list[str]) -> Figures:
    gaps, answers = tokens.gaps_while(server, steady, sudden)
    return {
        "p50_ms": median(gaps),
        "p99_ms": quantiles(gaps, n=100)[98],
        "most_ms": max(gaps),
        "ttft_ms": median(answer.ttft_ms() for answer in answers),
    }


def _text(measured: dict[str, Measured]) -> str:
    threads = _threads()
    plural = "" if threads == 1 else "s"
    versions = [machine.remora(), machine.python("llama_cpp_python"), "llama-server of the same sources"]
    absolute = [part for name, each in measured.items() for part in _absolute(name, each)]
    return "\n\n".join(
        [
            "## Answers: the embedded engine",
            report.circumstances(versions),
            f"{threads} thread{plural}, {SLOTS} slots of {CONTEXT:,} tokens. Ratios, engine to llama-server; more is better "
            "in the first four rows, less in the others.",
            _ratios(measured),
            *absolute,
        ]
    )


def _ratios(measured: dict[str, Measured]) -> str:
    def row(what: str, aim: str, ratio_of: Callable[[Measured], list[float]], **bounds: float) -> list[str]:
        return [what, aim, *(report.judged(ratio_of(each), **bounds) for each in measured.values())]

    def of(compared: Compared, figure: str) -> list[float]:
        return ratios(compared[OURS][figure], compared[THEIRS][figure])

    def rate(streams: int) -> Callable[[Measured], list[float]]:
        return lambda each: of(each.streams[streams], "tokens_per_s")

    least, most = {"at_least": 1.0}, {"at_most": 1.0}
    rows = [row(f"tokens/s, {streams} streams", "at least 1.0", rate(streams), **least) for streams in STREAMS]
    rows += [
        row(
            f"tokens/s, {SAMPLED_STREAMS} streams, sampled",
            "at least 1.0",
            lambda each: of(each.sampled, "tokens_per_s"),
            **least,
        ),
        row("CPU/token, 1 stream", "at most 1.0", lambda each: of(each.streams[1], "cpu_us"), **most),
        row("CPU/token, 16 streams", "at most 1.0", lambda each: of(each.streams[16], "cpu_us"), **most),
        row("first token of a long prompt", "at most 1.0", lambda each: of(each.first_token, "cold_ms"), **most),
        row("the same prompt again", "at most 1.0", lambda each: of(each.first_token, "warm_ms"), **most),
        row("p99 between tokens, mixed load", "at most 1.0", lambda each: of(each.mixed, "p99_ms"), **most),
        row("resident memory", "at most 1.0", lambda each: of(each.streams[16], "resident_mb"), **most),
    ]
    return report.table(["", "aim", *measured], rows)


def _absolute(name: str, each: Measured) -> list[str]:
    contenders = [OURS, THEIRS, PYTHON]

    def cells(compared: Compared, figure: str) -> list[str]:
        return [spread(compared[server][figure]) if server in compared else "" for server in contenders]

    rows = [[f"tokens/s, {streams} streams", *cells(each.streams[streams], "tokens_per_s")] for streams in STREAMS]
    rows += [
        [f"tokens/s, {SAMPLED_STREAMS} streams, sampled", *cells(each.sampled, "tokens_per_s")],
        ["CPU/token, 1 stream, µs", *cells(each.streams[1], "cpu_us")],
        ["CPU/token, 16 streams, µs", *cells(each.streams[16], "cpu_us")],
        ["first token of a long prompt, ms", *cells(each.first_token, "cold_ms")],
        ["the same prompt again, ms", *cells(each.first_token, "warm_ms")],
        ["between tokens, mixed load, p50, ms", *cells(each.mixed, "p50_ms")],
        ["the same, p99, ms", *cells(each.mixed, "p99_ms")],
        ["the same, longest, ms", *cells(each.mixed, "most_ms")],
        ["first token of the long prompts meanwhile, ms", *cells(each.mixed, "ttft_ms")],
        ["resident, MiB", *cells(each.streams[16], "resident_mb")],
    ]
    return [f"{name}:", report.table(["", *contenders], rows)]
