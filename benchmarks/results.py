"""What was measured, and the arithmetic of medians and ratios on it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


class CannotMeasure(Exception):
    """A server did not do the work; the text is the reason that goes into the table."""


@dataclass(frozen=True)
class Sample:
    """One server measured once with one workload; ``error`` says why there are no figures."""

    workload: str
    server: str
    round: int
    figures: dict[str, float]
    error: str | None = None


@dataclass
class Results:
    """A whole run. It goes to JSON and back without loss."""

    command: str
    rounds: int
    seconds: float
    idle: int
    date: str
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """A tree of what JSON knows."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Results:
        """The inverse of ``to_json``; raises TypeError for a tree of another shape."""
        samples = [Sample(**sample) for sample in tree.get("samples", ())]
        return cls(**{**tree, "samples": samples})

    def values(self, workload: str, server: str, figure: str) -> dict[int, float]:
        """Round → figure, for the rounds that have it."""
        return {
            sample.round: sample.figures[figure]
            for sample in self.samples
            if (sample.workload, sample.server) == (workload, server) and figure in sample.figures
        }

    def median(self, workload: str, server: str, figure: str) -> float | None:
        """Median over the rounds, None when nothing was measured."""
        values = self.values(workload, server, figure)
        return statistics.median(values.values()) if values else None

    def ratio(self, workload: str, figure: str, server: str, other: str) -> float | None:
        """Median of the rounds' own ratios ``server / other``.

        A shared machine is slower in one round than in the next; both servers of a round
        were measured in the same minutes, so their ratio suffers less than two medians do.
        """
        pairs = self.ratios(workload, figure, server, other)
        return statistics.median(pairs) if pairs else None

    def ratios(self, workload: str, figure: str, server: str, other: str) -> list[float]:
        """The rounds' own ratios ``server / other``."""
        top, bottom = (self.values(workload, name, figure) for name in (server, other))
        return [top[number] / bottom[number] for number in top if bottom.get(number)]

    def error(self, workload: str, server: str) -> str | None:
        """Why a server could not do a workload, or None."""
        for sample in self.samples:
            if (sample.workload, sample.server) == (workload, server) and sample.error:
                return sample.error
        return None

    def measured(self, workload: str, servers: Sequence[str]) -> list[str]:
        """Those of ``servers`` that took part in the workload, failures included."""
        took_part = {sample.server for sample in self.samples if sample.workload == workload}
        return [server for server in servers if server in took_part]
