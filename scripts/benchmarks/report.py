"""Figures as Markdown, and their place in docs/benchmarks.md."""

import sys
from dataclasses import dataclass
from datetime import datetime, timezone
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


@dataclass(frozen=True)
class Aim:
    """Something that should be `at_least`, or `at_most`, so much; judged by the median."""

    what: str
    values: Values
    at_least: float | None = None
    at_most: float | None = None

    def row(self) -> list[str]:
        found = median(self.values)
        if self.at_least is not None:
            met, wanted = found >= self.at_least, f"at least {number(self.at_least)}"
        else:
            met, wanted = found <= self.at_most, f"at most {number(self.at_most)}"
        return [self.what, wanted, spread(self.values), "met" if met else "**missed**"]


def aims(all_aims: list[Aim]) -> str:
    return table(["aim", "wanted", "measured", ""], [aim.row() for aim in all_aims])


def circumstances(versions: list[str]) -> str:
    """When, by what command, on what, with what: the first lines of every section."""
    command = " ".join(["scripts/bench", *sys.argv[1:]])
    today = datetime.now(timezone.utc).strftime("%Y-%m-%d")
    return f"{today}, `{command}`, on {machine.machine()}.\n{', '.join(versions)}."


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
