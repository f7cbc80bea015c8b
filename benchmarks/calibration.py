"""How often the drift alarm is raised without drift, and how often with it; Evidently's default flags beside it.

    python -m benchmarks.calibration [--json DIR] [--minutes N] [--repeats N] [--part false-alarms|power]

References and windows are drawn from populations that are known, so that what is raised without a change is false.
Windows share a reference only where the reference is so much larger that it hardly matters, and the interval counts
what they share. Everything is seeded; less time gives fewer repeats of every cell. The tables are in docs/drift.md.
"""

import argparse
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from benchmarks.report import say, table, write
from drift.alarm.calibration import LEVELS, Calibration
from drift.alarm.persistence import Persistence
from drift.alarm.verdict import SCOPES
from drift.rows import Reference, Rows, Schema
from drift.statistics.kernel import compare
from drift.statistics.prepared import prepare

__all__ = ["POPULATIONS", "Population", "Raised", "count_raised", "main", "wilson"]

#: What is promised: false alarms of an evaluation at most.
_PROMISE: Final = 0.01
_SEED: Final = 20261124
_REFERENCE_ROWS: Final = (500, 5_000, 50_000)
_WINDOW_ROWS: Final = (50, 200, 1_000, 10_000)
#: Windows against one reference, which are as good as independent only while it is much larger.
_WINDOWS_A_REFERENCE: Final = {500: 1, 5_000: 5, 50_000: 20}
#: Power is measured against references of this size, which each stay for so many pairs of windows.
_POWER_REFERENCE: Final = 5_000
_POWER_PAIRS: Final = 10
_POWER_WINDOWS: Final = (50, 200, 1_000)
#: Standard normal quantile of a two-sided interval of 95 %.
_Z: Final = 1.959964
_CATEGORY_SHARES: Final = (0.4, 0.3, 0.15, 0.1, 0.05)
_LABELS: Final = np.array(["high", "low", "middle"], dtype=object)

Features = NDArray[np.float64]
Change = Callable[[Features], None]


@dataclass(frozen=True)
class Population:
    """Where rows come from. `categories` are as in a schema, `observe` draws the features."""

    name: str
    categories: tuple[tuple[str, ...], ...]
    observe: Callable[[np.random.Generator, int], Features]

    def draw(self, random: np.random.Generator, rows: int, change: Change | None = None) -> Rows:
        """Return rows, changed or not, with labels that follow the first feature."""
        features = self.observe(random, rows)
        if change is not None:
            change(features)
        return Rows(features, _LABELS[np.digitize(features[:, 0] + random.normal(size=rows), (-1.0, 1.0))])

    def reference(self, random: np.random.Generator, rows: int) -> Reference:
        """Return rows as a reference."""
        names = tuple(f"feature_{place}" for place in range(len(self.categories)))
        return Reference(Schema(names, "label", self.categories), self.draw(random, rows), rows)


def _mixed(normals: Features) -> Features:
    """Turn each four normals into a normal, a lognormal, a count and a category."""
    features = normals.copy()
    features[:, 1::4] = np.exp(normals[:, 1::4])
    features[:, 2::4] = np.floor(np.exp(normals[:, 2::4] / 2 + 1))
    features[:, 3::4] = np.digitize(ndtr(normals[:, 3::4]), np.cumsum(_CATEGORY_SHARES)[:-1])
    return features


def _four(random: np.random.Generator, rows: int) -> Features:
    return _mixed(random.normal(size=(rows, 4)))


def _twenty(random: np.random.Generator, rows: int) -> Features:
    """Draw 20 features of which the last twelve have correlations of 0.7 before they are mixed."""
    normals = random.normal(size=(rows, 20))
    normals[:, 8:] = math.sqrt(0.3) * normals[:, 8:] + math.sqrt(0.7) * random.normal(size=(rows, 1))
    return _mixed(normals)


def _awkward(random: np.random.Generator, rows: int) -> Features:
    """Draw heavy tails, a lognormal with two values in 1,000 missing, zeros in 60 % of the rows, 40 categories."""
    lognormal = np.where(random.random(rows) < 0.002, np.nan, random.lognormal(size=rows))
    zeros = np.maximum(random.normal(size=rows) - 0.2533, 0)
    return np.stack(
        [random.standard_cauchy(rows), lognormal, zeros, np.floor(40 * random.random(rows) ** 3)], 1
    )


_TEXTS: Final = tuple(f"c{place:02d}" for place in range(40))
_MIXED_TEXTS: Final = ((), (), (), _TEXTS[: len(_CATEGORY_SHARES)])
POPULATIONS: Final = (
    Population("4 mixed", _MIXED_TEXTS, _four),
    Population("20, 12 correlated", _MIXED_TEXTS * 5, _twenty),
    Population("4 awkward", ((), (), (), _TEXTS), _awkward),
)


def _shift(deviations: float) -> Change:
    def change(features: Features) -> None:
        features[:, 0] += deviations

    return change


def _widen(features: Features) -> None:
    features[:, 0] *= 1.5


def _swap_mix(features: Features) -> None:
    features[:, 3] = np.array([2, 1, 0, 3, 4])[features[:, 3].astype(int)]


def _correlate(features: Features) -> None:
    features[:, 1] = np.exp(0.6 * features[:, 0] + 0.8 * np.log(features[:, 1]))


CHANGES: Final[dict[str, Change]] = {
    "mean + 0.25 sd": _shift(0.25),
    "mean + 0.5 sd": _shift(0.5),
    "mean + 1 sd": _shift(1.0),
    "sd x 1.5": _widen,
    "40 % and 15 % of a category swapped": _swap_mix,
    "correlation 0 to 0.6": _correlate,
}


@dataclass
class Raised:
    """What was raised in windows of one kind, a row for each window: the scopes, the dataset, any feature."""

    population: str
    reference_rows: int
    window_rows: int
    flags: list[tuple[bool, ...]] = field(default_factory=list)
    references: int = 0

    def share(self, place: int | None) -> float:
        """Return the share of windows with one flag, or with any scope."""
        return float(self._raised(place).mean())

    def interval(self, place: int | None) -> tuple[float, float]:
        """Return Wilson's interval of 95 %, of as many windows as would tell as much if they shared no reference."""
        raised = self._raised(place)
        groups = raised.reshape(self.references, -1)
        share, each = raised.mean(), groups.shape[1]
        alone = share * (1 - share) / each
        together = groups.mean(axis=1).var(ddof=1) if self.references > 1 else alone
        effect = max(together / alone, 1.0) if alone > 0 else 1.0
        return wilson(share, len(raised) / effect)

    def _raised(self, place: int | None) -> NDArray[np.bool_]:
        flags = np.array(self.flags)
        return np.any(flags[:, : len(SCOPES)], axis=1) if place is None else flags[:, place]


def wilson(share: float, count: float) -> tuple[float, float]:
    """Return the interval of 95 % of a share of `count` (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    centre = (share + _Z**2 / (2 * count)) / (1 + _Z**2 / count)
    half = _Z / (1 + _Z**2 / count) * math.sqrt(share * (1 - share) / count + _Z**2 / (4 * count**2))
    return max(centre - half, 0.0), min(centre + half, 1.0)


def count_raised(
    population: Population, reference_rows: int, window_rows: int, repeats: int, seconds: float
) -> Raised:
    """Draw references and windows without a change until there are `repeats` windows or the time is over."""
    found = Raised(population.name, reference_rows, window_rows)
    random = np.random.default_rng((_SEED, reference_rows, window_rows))
    windows, ends = _WINDOWS_A_REFERENCE[reference_rows], time.monotonic() + seconds
    while len(found.flags) < repeats and (found.references < 2 or time.monotonic() < ends):
        reference = population.reference(random, reference_rows)
        calibration, prepared = Calibration(reference, found.references), prepare(reference)
        found.references += 1
        for _ in range(windows):
            current = population.draw(random, window_rows)
            finding, comparison = calibration.test(current), compare(prepared, current)
            scopes = [finding.exceeds(scope) for scope in SCOPES]
            any_feature = any(feature.drifted for feature in comparison.features)
            found.flags.append((*scopes, comparison.dataset_drift, any_feature))
    return found


@dataclass(frozen=True)
class Power:
    """How often a change is found: in one window, in two windows in a row, and by Evidently's flags."""

    population: str
    change: str
    window_rows: int
    windows: int
    once: float
    twice: float
    scopes: dict[str, float]
    evidently_dataset: float
    evidently_feature: float


def measure_power(population: Population, name: str, window_rows: int, repeats: int, seconds: float) -> Power:
    """Draw pairs of changed windows until there are `repeats` pairs or the time is over."""
    random = np.random.default_rng((_SEED, window_rows))
    flags: list[list[bool]] = []
    twice: list[bool] = []
    ends = time.monotonic() + seconds
    while len(twice) < repeats and (not twice or time.monotonic() < ends):
        reference = population.reference(random, _POWER_REFERENCE)
        calibration, prepared = Calibration(reference, len(twice)), prepare(reference)
        for _ in range(_POWER_PAIRS):
            persistence = Persistence()
            for _ in range(2):
                current = population.draw(random, window_rows, CHANGES[name])
                finding, comparison = calibration.test(current), compare(prepared, current)
                alarm = persistence.update(finding)
                scopes = [finding.exceeds(scope) for scope in SCOPES]
                any_feature = any(feature.drifted for feature in comparison.features)
                flags.append([*scopes, any(scopes), comparison.dataset_drift, any_feature])
            twice.append(alarm.any)
    shares = np.mean(flags, axis=0).tolist()
    scopes_found = dict(zip(SCOPES, shares, strict=False))
    return Power(
        population=population.name,
        change=name,
        window_rows=window_rows,
        windows=len(flags),
        once=shares[3],
        twice=float(np.mean(twice)),
        scopes=scopes_found,
        evidently_dataset=shares[4],
        evidently_feature=shares[5],
    )


def main() -> int:
    """Measure and show; exit 1 when a lower bound of false alarms is above what is promised."""
    options = _parse()
    results: dict[str, object] = {"levels": dict(LEVELS)}
    failed = False
    if options.part != "power":
        cells = list(_false_alarms(options.repeats, options.minutes * 60))
        failed = any(cell.interval(None)[0] > _PROMISE for cell in cells)
        results["false_alarms"] = [_as_json(cell) for cell in cells]
    if options.part != "false-alarms":
        results["power"] = [asdict(power) for power in _powers(options.repeats, options.minutes * 60)]
    write(options.json, "calibration", results)
    return int(failed)


def _false_alarms(repeats: int, seconds: float) -> Iterator[Raised]:
    head = [
        "features",
        "reference",
        "window",
        "windows",
        "ours, % (95 %)",
        *SCOPES,
        "Evidently's dataset",
        "any feature",
    ]
    say(table(head, []))
    cells = list(itertools.product(POPULATIONS, _REFERENCE_ROWS, _WINDOW_ROWS))
    ends = time.monotonic() + seconds
    for place, (population, reference_rows, window_rows) in enumerate(cells):
        left = (ends - time.monotonic()) / (len(cells) - place)
        cell = count_raised(population, reference_rows, window_rows, repeats, left)
        low, high = cell.interval(None)
        shares = [_percent(cell.share(at)) for at in range(len(SCOPES) + 2)]
        ours = f"{_percent(cell.share(None))} ({_percent(low)} to {_percent(high)})"
        say(_line([cell.population, reference_rows, window_rows, len(cell.flags), ours, *shares]))
        yield cell


def _powers(repeats: int, seconds: float) -> Iterator[Power]:
    head = [
        "features",
        "change",
        "window",
        "windows",
        "ours, %",
        "twice in a row, %",
        "scopes",
        "Evidently's dataset",
        "any feature",
    ]
    say("\n" + table(head, []))
    cells = list(itertools.product(POPULATIONS[:2], CHANGES, _POWER_WINDOWS))
    ends = time.monotonic() + seconds
    for place, (population, name, window_rows) in enumerate(cells):
        left = (ends - time.monotonic()) / (len(cells) - place)
        power = measure_power(population, name, window_rows, repeats, left)
        shares = " ".join(_percent(share) for share in power.scopes.values())
        others = [_percent(share) for share in (power.evidently_dataset, power.evidently_feature)]
        ours = [_percent(power.once), _percent(power.twice), shares]
        say(_line([power.population, name, window_rows, power.windows, *ours, *others]))
        yield power


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _percent(share: float) -> str:
    return f"{100 * share:.2f}" if share < 0.1 else f"{100 * share:.0f}"


def _as_json(cell: Raised) -> dict[str, object]:
    names = [*SCOPES, "evidently_dataset", "evidently_feature"]
    return {
        "population": cell.population,
        "reference_rows": cell.reference_rows,
        "window_rows": cell.window_rows,
        "windows": len(cell.flags),
        "references": cell.references,
        "any": cell.share(None),
        "interval": cell.interval(None),
        **{name: cell.share(place) for place, name in enumerate(names)},
    }


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.calibration", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--json", type=Path, metavar="DIR", help="write the results there as well")
    parser.add_argument("--minutes", type=float, default=20.0, metavar="N", help="time of each part at most")
    parser.add_argument(
        "--repeats", type=int, default=1000, metavar="N", help="windows, or pairs, of each cell"
    )
    parser.add_argument("--part", choices=("false-alarms", "power"), help="measure one part alone")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
