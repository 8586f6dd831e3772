"""Measures Remora side by side with what people use instead, and writes docs/benchmarks.md.

Run by scripts/bench, which sets up what is needed. Each bench replaces its own section of the page.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

import engine
import gateway
import machine
import messages
import report
import static
from load import Plan

# A bench takes a plan and a folder of its own, and gives its section. In the order of the page.
BENCHES = {"static": static.run, "gateway": gateway.run, "messages": messages.run, "engine": engine.run}
PAGE = machine.REPOSITORY / "docs" / "benchmarks.md"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("benches", nargs="*", metavar="BENCH", help=f"all (the default), {', '.join(BENCHES)}")
    parser.add_argument("--repeats", type=int, help="how often each contender is measured, in turn (5)")
    parser.add_argument("--seconds", type=int, help="length of each measurement (4)")
    parser.add_argument("--quick", action="store_true", help="2 repeats of 1 second: proves that all of it runs")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write (docs/benchmarks.md)")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    for bench in asked.benches:
        if bench not in {"all", *BENCHES}:
            parser.error(f"there is no bench {bench!r}; there are: all, {', '.join(BENCHES)}")
    return asked


def main() -> None:
    asked = arguments()
    if asked.check:
        return
    default = Plan(repeats=2, seconds=1) if asked.quick else Plan(repeats=5, seconds=4)
    plan = Plan(asked.repeats or default.repeats, asked.seconds or default.seconds)
    # A polite kill ends the servers too, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    wanted = BENCHES if not asked.benches or "all" in asked.benches else asked.benches
    print(f"Load before: {machine.LOAD_BEFORE:.1f}. The machine should do nothing else meanwhile.", file=sys.stderr)
    for name in wanted:
        with tempfile.TemporaryDirectory(prefix="remora-bench-") as folder:
            report.write_section(asked.page, name, BENCHES[name](plan, Path(folder)))
        print(f"Wrote the section {name} of {asked.page}.", file=sys.stderr)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("stopped")
    except RuntimeError as failure:
        sys.exit(f"error: {failure}")
