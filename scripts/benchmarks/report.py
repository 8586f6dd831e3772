"""Figures as Markdown, and their place in docs/benchmarks.md."""

import sys
from datetime import datetime, timezone
from math import inf
from pathlib import Path
from statistics import median

import machine

Values = list[float]


def ratios(ours: Values, theirs: Values) -> Values:
    """One ratio for each repeat: the two runs of a repeat lie side by side in time."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def differences(ours: Values, theirs: Values) -> Values:
    return [a - b for a, b in zip(ours, theirs, strict=True)]


def spread(values: Values) -> str:
    """Median, least and most: `0.92 (0.85–1.01)`."""
    return f"{number(median(values))} ({number(min(values))}–{number(max(values))})"


def number(value: float) -> str:
    """Two or three digits that mean something: 0.042, 0.92, 14.3, 61,234."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 0.1 else 3
    return f"{value:,.{digits}f}"


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def judged(values: Values, at_least: float = -inf, at_most: float = inf) -> str:
    """The spread; bold where the median misses an aim."""
    text = spread(values)
    return text if at_least <= median(values) <= at_most else f"**{text}**"


def circumstances(versions: list[str]) -> str:
    """When, by what command, on what, with what: the first lines of every section."""
    command = " ".join(["scripts/bench", *sys.argv[1:]])
    today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return f"{today}, `{command}`, {machine.machine()}.\n{', '.join(versions)}."


def write_section(page: Path, name: str, text: str) -> None:
    """Replaces one section of the page, and leaves the others and what people wrote around them."""
    begin, end = f"<!-- bench {name}: written by scripts/bench -->", f"<!-- end of bench {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    old = page.read_text() if page.exists() else "# Benchmarks\n"
    before, found, rest = old.partition(begin)
    if found:
        after = rest.partition(end)[2]
        new = before + section + after
    else:
        new = f"{old.rstrip()}\n\n{section}\n"
    page.write_text(new)
