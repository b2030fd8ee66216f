"""The orderings that the paper claims, checked one by one on finished runs.

A claim compares two series at one point each, seed by seed. It 'holds' where a one-sided paired t-test says so at p < .05,
'does not hold' where the test says the opposite, and 'cannot be seen yet' otherwise: too few seeds, too much spread, no runs.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from closer_tf.analysis.statistics import estimate, paired_t_test, permutation_test
from closer_tf.config.base import Section
from closer_tf.config.files import read_json
from closer_tf.config.reading import validated
from closer_tf.reproduction.panels import Readout, published_points
from closer_tf.reproduction.results import by_x

CLAIMS = Path(__file__).resolve().parents[1] / "reference" / "claims.json"
LIMIT = 0.05
MARGIN = 0.02  # of test accuracy: means that differ by less are level


class Side(Section):
    """One of the two things that are compared."""

    panel: str
    """The panel that shows it."""
    series: str
    """Its series there."""
    readout: Readout = "single"
    """'single', 'ensemble' or 'alignment'."""
    x: float | None = None
    """Where on the panel's axis; null where it has none."""


class Claim(Section):
    """An ordering that the paper claims."""

    claim: str
    """In words."""
    kind: Literal["above", "level"] = "above"
    """'above': the first is larger. 'level': both are the same within .02."""
    test: Literal["paired", "permutation"] = "paired"
    """'paired': t-test over the same seeds. 'permutation': of independent samples, as the paper does in figure 8."""
    first: Side
    """The one."""
    second: Side
    """The other."""


class ClaimFile(Section):
    """All claims."""

    source: str
    """Where they come from."""
    claims: list[Claim] = Field(min_length=1)
    """One by one."""


@dataclass(frozen=True)
class Verdict:
    """What runs say about a claim.

    Args:
        claim: in words.
        verdict: 'holds', 'does not hold' or 'cannot be seen yet'.
        why: the statistic, in words.
        difference: mean of the first minus mean of the second over the seeds, or None without runs.
        ci95: half width of the difference's 95% confidence interval (paired), or None.
        p: one-sided p-value of the test, or None.
        seeds: number of seeds that both have.
        published_difference: the same difference of the published means, or None.
        epochs: epochs of the runs, each number once.
    """

    claim: str
    verdict: str
    why: str
    difference: float | None
    ci95: float | None
    p: float | None
    seeds: int
    published_difference: float | None
    epochs: tuple


def load_claims():
    """The claims that ship with the package, as a list of `Claim`."""
    return validated(ClaimFile, read_json(CLAIMS), str(CLAIMS)).claims


def check(claim, panels, found):
    """Check one claim.

    Args:
        claim: `Claim`.
        panels: dict panel name -> `Panel`.
        found: dict panel name -> list of `Found` of its sweep.

    Returns:
        `Verdict`.
    """
    sides, published = [], []
    for side in (claim.first, claim.second):
        panel = panels[side.panel]
        series = next(series for series in panel.series if series.name == side.series)
        points = by_x(found.get(side.panel, []), panel, series, side.readout)
        sides.append(next((runs for x, runs in points.items() if _same(x, side.x)), {}))
        theirs = [point["mean"] for point in published_points(series, side.readout) if _same(point["x"], side.x)]
        published += theirs[:1]
    there = published[0] - published[1] if len(published) == 2 else None
    epochs = tuple(sorted({one.epochs for runs in sides for one in runs.values() if one.epochs}))
    return _judge(claim, sides, there, epochs)


def _judge(claim, sides, published, epochs):
    seeds = [seed for seed in sides[0] if seed in sides[1]]
    first, second = (
        [runs[seed].values[side.readout] for seed in seeds] for runs, side in zip(sides, (claim.first, claim.second))
    )
    if not seeds:
        which = " and ".join(
            f"{side.series} ({side.readout}{'' if side.x is None else f', {side.x:g}'})"
            for side, runs in zip((claim.first, claim.second), sides)
            if not runs
        )
        why = f"no runs of {which}" if which else "no seed in common"
        return Verdict(claim.claim, "cannot be seen yet", why, None, None, None, 0, published, epochs)
    apart = estimate(np.subtract(first, second))
    tested = permutation_test if claim.test == "permutation" else paired_t_test
    test, opposite = tested(first, second), tested(second, first)
    if claim.kind == "level":
        verdict, why = _level(apart)
    elif test.p is None:
        way = "in the direction claimed" if apart.mean > 0 else "in the other direction"
        verdict, why = "cannot be seen yet", f"one seed, {way}"
    else:
        verdict = "holds" if test.p < LIMIT else "does not hold" if opposite.p < LIMIT else "cannot be seen yet"
        why = f"{test.name}, p = {test.p:.2g}{test.stars}"
    return Verdict(claim.claim, verdict, why, apart.mean, apart.ci95, test.p, len(seeds), published, epochs)


def _level(apart):
    """Whether a mean difference is zero within the margin."""
    if apart.ci95 is None:
        return "cannot be seen yet", f"one seed, {'within' if abs(apart.mean) <= MARGIN else 'outside'} the margin {MARGIN:g}"
    low, high = apart.mean - apart.ci95, apart.mean + apart.ci95
    why = f"95% CI of the difference {low:+.3f} to {high:+.3f}, margin {MARGIN:g}"
    if -MARGIN <= low and high <= MARGIN:
        return "holds", why
    return ("does not hold", why) if low > MARGIN or high < -MARGIN else ("cannot be seen yet", why)


def to_markdown(verdicts, note):
    """A table of verdicts in Markdown."""
    lines = ["# Orderings that the paper claims", "", note, ""]
    lines += ["| claim | at this scale | statistic | ours | seeds | epochs | published |", "|---|---|---|---|---|---|---|"]
    for one in verdicts:
        ours = "" if one.difference is None else f"{one.difference:+.4f}"
        ours += "" if one.ci95 is None else f" +- {one.ci95:.4f}"
        there = "" if one.published_difference is None else f"{one.published_difference:+.4f}"
        epochs = ", ".join(map(str, one.epochs))
        lines.append(f"| {one.claim} | {one.verdict} | {one.why} | {ours} | {one.seeds} | {epochs} | {there} |")
    return "\n".join(lines) + "\n"


def to_dicts(verdicts):
    """Verdicts as plain data."""
    return [asdict(one) for one in verdicts]


def _same(a, b):
    return a is None or b is None or abs(a - b) < 1e-3
