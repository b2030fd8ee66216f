"""The orderings that the paper claims, checked one by one on finished runs.

A claim compares two series seed by seed: at one point each, or at the best point of each. It 'holds' where a one-sided test
over three or more seeds says so at p < .05, corrected for the number of claims tested (Holm), 'does not hold' where the test
says the opposite, and 'cannot be seen yet' otherwise: too few seeds, too much spread, no runs.
"""

from dataclasses import asdict, dataclass, replace
from math import ceil, comb, log2
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from closer_tf.analysis.statistics import (
    MOST_SEEDS,
    estimate,
    holm,
    level_test,
    paired_permutation_test,
    paired_t_test,
    permutation_test,
    seeds_needed,
    stars,
)
from closer_tf.config.base import Section
from closer_tf.config.files import read_json
from closer_tf.config.reading import validated
from closer_tf.reproduction.panels import Readout, published_points
from closer_tf.reproduction.results import by_x

CLAIMS = Path(__file__).resolve().parents[1] / "reference" / "claims.json"
LIMIT = 0.05
FEWEST_SEEDS = 3  # two seeds alone settle nothing
FEWEST_POINTS = 3  # of a curve, for its best
HOLDS, FAILS, UNSEEN = "holds", "does not hold", "cannot be seen yet"


class Side(Section):
    """One of the two things that are compared."""

    panel: str
    """The panel that shows it."""
    series: str
    """Its series there."""
    readout: Readout = "single"
    """'single', 'ensemble', 'alignment', or another way to read out an ensemble."""
    x: float | None = None
    """Where on the panel's axis; null where it has none, and where the best point is compared."""


class Claim(Section):
    """An ordering that the paper claims."""

    claim: str
    """In words."""
    kind: Literal["above", "level"] = "above"
    """'above': the first is larger. 'level': both are the same within `margin`."""
    margin: float = Field(0.02, gt=0)
    """Of test accuracy: means that differ by less are level. Smaller than the differences that the paper makes something of
    in the same panel."""
    compare: Literal["at x", "best x", "best value"] = "at x"
    """'at x': the values at one point. 'best x': where each seed is best, of the points that both series have; of such places
    on a grid the paired test is a permutation test. 'best value': how good it is there."""
    test: Literal["paired", "permutation"] = "paired"
    """'paired': t-test over the same seeds. 'permutation': of independent samples, as the paper does in figure 8."""
    first: Side
    """The one."""
    second: Side
    """The other."""
    group: str | None = None
    """The claim on several of these that this is one of."""
    note: str = ""
    """What a reader should know beside the numbers, such as where text and published numbers differ."""


class Group(Section):
    """A claim that so many of several orderings hold, such as three mice of four."""

    claim: str
    """In words; `group` of its claims."""
    at_least: int
    """How many have to hold."""
    note: str = ""
    """As of a claim."""


class ClaimFile(Section):
    """All claims."""

    source: str
    """Where they come from."""
    claims: list[Claim] = Field(min_length=1)
    """One by one."""
    groups: list[Group] = []
    """Those on several of them."""


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
        p_corrected: as `p`, corrected for the number of claims tested; None below three seeds.
        seeds: number of seeds that both have.
        seeds_needed: seeds of each side with which the test sees the published difference four times of five, at the strictest
            level of the correction; None where that cannot be said.
        published_difference: the same difference of the published means, or None.
        published: 'as claimed', 'against the claim' or 'no numbers'.
        note: the claim's.
        epochs: epochs of the runs, each number once.
    """

    claim: str
    verdict: str
    why: str
    difference: float | None
    ci95: float | None
    p: float | None
    p_corrected: float | None
    seeds: int
    seeds_needed: int | None
    published_difference: float | None
    published: str
    note: str
    epochs: tuple


@dataclass(frozen=True)
class _Measured:
    """Both sides of a claim: values of the seeds that both have, or why there are none, and what was published."""

    claim: Claim
    first: list
    second: list
    why: str
    epochs: tuple
    published: tuple | None
    published_sds: tuple | None


def load_claims():
    """The claims that ship with the package, as a list of `Claim`."""
    return _file().claims


def load_groups():
    """The claims on several of them, as a list of `Group`."""
    return _file().groups


def _file():
    return validated(ClaimFile, read_json(CLAIMS), str(CLAIMS))


def check(claim, panels, found):
    """Check one claim by itself.

    Args:
        claim: `Claim`.
        panels: dict panel name -> `Panel`.
        found: dict panel name -> list of `Found` of its sweep.

    Returns:
        `Verdict`.
    """
    return check_all([claim], [], panels, found)[0]


def check_all(claims, groups, panels, found):
    """Check claims together, corrected for their number.

    Args:
        claims: list of `Claim`.
        groups: list of `Group` on some of them.
        panels, found: as for `check`.

    Returns:
        List of `Verdict`: of the claims in their order, then of the groups.
    """
    measured = [_measure(claim, panels, found) for claim in claims]
    tests = [_tests(one) for one in measured]
    tested = [k for k, pair in enumerate(tests) if pair and len(measured[k].first) >= FEWEST_SEEDS]
    corrected = [dict(zip(tested, holm([tests[k][side].p for k in tested]))) for side in (0, 1)]
    level = LIMIT / max(1, len(claims))
    verdicts = [
        _judge(one, pair, corrected[0].get(k), corrected[1].get(k), level) for k, (one, pair) in enumerate(zip(measured, tests))
    ]
    return verdicts + [
        _count(group, [verdict for verdict, claim in zip(verdicts, claims) if claim.group == group.claim]) for group in groups
    ]


def _measure(claim, panels, found):
    sides = (claim.first, claim.second)
    series = [next(one for one in panels[side.panel].series if one.name == side.series) for side in sides]
    ours = [by_x(found.get(side.panel, []), panels[side.panel], one, side.readout) for side, one in zip(sides, series)]
    theirs = [published_points(one, side.readout) for side, one in zip(sides, series)]
    values, why, epochs = (_at_x if claim.compare == "at x" else _at_best)(claim, sides, series, ours)
    there = (_published_at_x if claim.compare == "at x" else _published_at_best)(claim, sides, theirs)
    seeds = [seed for seed in values[0] if seed in values[1]]
    first, second = ([of[seed] for seed in seeds] for of in values)
    why = why or ("" if seeds else "no seed in common")
    means, sds = zip(*there) if len(there) == 2 else (None, None)
    return _Measured(claim, first, second, why, epochs, means, None if sds is None or None in sds else sds)


def _at_x(claim, sides, series, ours):
    """What both sides have at their points: two dicts seed -> value, why there is nothing to compare or '', and epochs."""
    runs = [_at(points, side.x) for side, points in zip(sides, ours)]
    values = [{seed: one.values[side.readout] for seed, one in of.items()} for side, of in zip(sides, runs)]
    values = [_of_all_seeds(of, other) if one.constant else of for one, of, other in zip(series, values, values[::-1])]
    return values, _missing(sides, values), _epochs(one for of in runs for one in of.values())


def _at_best(claim, sides, series, ours):
    """As `_at_x`, of the best points; of those that both sides have."""
    common = [x for x in ours[0] if x is not None and any(_same(x, other) for other in ours[1])]
    values = [_best(claim.compare, side.readout, points, common) for side, points in zip(sides, ours)]
    why = "" if all(values) else "no seed with runs at all points"
    if len(common) < FEWEST_POINTS:
        why = f"runs at {len(common)} points of both, fewer than {FEWEST_POINTS}"
    return values, why, _epochs(one for points in ours for x in common for one in _at(points, x).values())


def _published_at_x(claim, sides, theirs):
    """(mean, sd or None) of each side's published point, of those that there are."""
    points = [next((point for point in of if _same(point["x"], side.x)), None) for side, of in zip(sides, theirs)]
    return [(point["mean"], _sd(point)) for point in points if point]


def _published_at_best(claim, sides, theirs):
    """As `_published_at_x`, of the best points; where they lie has no sd."""
    curves = [{point["x"]: point for point in of} for of in theirs]
    common = [x for x in curves[0] if x in curves[1]]
    points = [max((curve[x] for x in common), key=lambda point: point["mean"]) for curve in curves] if common else []
    return [(point["x"], None) if claim.compare == "best x" else (point["mean"], _sd(point)) for point in points]


def _epochs(runs):
    return tuple(sorted({one.epochs for one in runs if one.epochs}))


def _missing(sides, values):
    """Which sides have no runs, in words; '' where both have."""
    which = []
    for side in (side for side, of in zip(sides, values) if not of):
        which.append(f"{side.series} ({side.readout}{'' if side.x is None else f', {side.x:g}'})")
    return f"no runs of {' and '.join(which)}" if which else ""


def _of_all_seeds(values, other):
    """What does not depend on the seed, such as a probe on the full image, stands beside each seed of the other side."""
    return dict.fromkeys(other, float(np.mean(list(values.values())))) if values else {}


def _best(compare, readout, points, xs):
    """dict seed -> where it is best, or how good it is there; of seeds that have all of `xs`, three or more."""
    if len(xs) < FEWEST_POINTS:
        return {}
    curves = [{seed: one.values[readout] for seed, one in _at(points, x).items()} for x in xs]
    best = {}
    for seed in (seed for seed in curves[0] if all(seed in curve for curve in curves)):
        values = [curve[seed] for curve in curves]
        best[seed] = max(values) if compare == "best value" else xs[int(np.argmax(values))]
    return best


def _at(points, x):
    return next((runs for place, runs in points.items() if _same(place, x)), {})


def _sd(point):
    """Standard deviation over seeds of a published point, or None."""
    if point["sem"] is not None:
        return point["sem"] * point["seeds"] ** 0.5
    return 0.0 if point["ci95"] == 0 else None


def _tests(one):
    """The test of a measured claim and the one of its opposite; None without runs, or where there are too few to test."""
    if one.why:
        return None
    if one.claim.kind == "level":
        margin = one.claim.margin
        pair = level_test(one.first, one.second, margin), _apart_test(one.first, one.second, margin)
    else:
        paired = paired_permutation_test if one.claim.compare == "best x" else paired_t_test
        tested = permutation_test if one.claim.test == "permutation" else paired
        pair = tested(one.first, one.second), tested(one.second, one.first)
    return None if pair[0].p is None else pair


def _apart_test(first, second, margin):
    """The opposite of a level test: whether the means differ by more than the margin, either way."""
    if np.mean(first) < np.mean(second):
        first, second = second, first
    test = paired_t_test(np.subtract(first, margin), second)
    return test if test.p is None else replace(test, p=min(1.0, 2 * test.p))


def _judge(one, tests, corrected, opposite, level):
    claim, count = one.claim, len(one.first)
    there = one.published[0] - one.published[1] if one.published else None
    if there is None:
        published = "no numbers"
    else:
        agrees = there > 0 if claim.kind == "above" else abs(there) <= claim.margin
        published = "as claimed" if agrees else "against the claim"
    about = {"seeds_needed": _needed(one, there, level), "published_difference": there, "published": published}
    about |= {"note": claim.note, "epochs": one.epochs}
    if one.why:
        return Verdict(claim.claim, UNSEEN, one.why, None, None, None, None, 0, **about)
    apart = estimate(np.subtract(one.first, one.second))
    if tests is None:
        within = abs(apart.mean) <= claim.margin
        way = f"{'within' if within else 'outside'} the margin {claim.margin:g}" if claim.kind == "level" else _way(apart.mean)
        return Verdict(claim.claim, UNSEEN, f"one seed, {way}", apart.mean, None, None, None, count, **about)
    if claim.kind == "level":
        low, high = apart.mean - apart.ci95, apart.mean + apart.ci95
        why = f"95% CI of the difference {low:+.3f} to {high:+.3f}, margin {claim.margin:g}, p = {tests[0].p:.2g}"
    else:
        why = f"{tests[0].name}, p = {tests[0].p:.2g}"
    if corrected is None:
        verdict, why = UNSEEN, f"{why}; {count} seeds settle nothing"
    else:
        verdict = HOLDS if corrected < LIMIT else FAILS if opposite < LIMIT else UNSEEN
        why += f", corrected {corrected:.2g}{stars(corrected)}"
    return Verdict(claim.claim, verdict, why, apart.mean, apart.ci95, tests[0].p, corrected, count, **about)


def _way(difference):
    return "in the direction claimed" if difference > 0 else "in the other direction"


def _needed(one, there, level):
    """Seeds that the published difference and spread ask for; of the spread of our own seeds where none was published."""
    paired, sds, known = one.claim.test == "paired", one.published_sds, there
    if known is None or sds is None:
        if len(one.first) < FEWEST_SEEDS:
            return None
        apart = estimate(np.subtract(one.first, one.second))
        known, sds, paired = (apart.mean if known is None else known), (apart.sd, 0.0), True
    effects = [one.claim.margin - known, one.claim.margin + known] if one.claim.kind == "level" else known
    needed = seeds_needed(effects, sds, level, paired=paired)
    if needed is not None and one.claim.test == "permutation":  # of few values there are few permutations
        needed = next(seeds for seeds in range(needed, MOST_SEEDS) if comb(2 * seeds, seeds) * level >= 1)
    if needed is not None and one.claim.compare == "best x":
        needed = max(needed, ceil(log2(1 / level)))
    return None if needed is None else max(needed, FEWEST_SEEDS)


def _count(group, verdicts):
    holding = sum(one.verdict == HOLDS for one in verdicts)
    failing = sum(one.verdict == FAILS for one in verdicts)
    verdict = HOLDS if holding >= group.at_least else FAILS if failing > len(verdicts) - group.at_least else UNSEEN
    known = [one for one in verdicts if one.published != "no numbers"]
    there = sum(one.published == "as claimed" for one in known)
    published = "no numbers" if len(known) < len(verdicts) else "as claimed" if there >= group.at_least else "against the claim"
    why = f"{holding} of {len(verdicts)} hold, {failing} do not"
    if known:
        why += f"; published {there} of {len(known)}"
    epochs = tuple(sorted({count for one in verdicts for count in one.epochs}))
    seeds = min((one.seeds for one in verdicts), default=0)
    return Verdict(group.claim, verdict, why, None, None, None, None, seeds, None, None, published, group.note, epochs)


def note_on(verdicts, scale):
    """What to say above a table of verdicts: how they were found.

    Args:
        verdicts: list of `Verdict`.
        scale: 'quick' or 'full'.
    """
    tested = sum(one.p_corrected is not None for one in verdicts)
    said = {HOLDS: "hold", FAILS: "do not hold", UNSEEN: UNSEEN}
    counts = ", ".join(f"{sum(one.verdict == verdict for one in verdicts)} {word}" for verdict, word in said.items())
    return (
        f"{scale} scale, {len(verdicts)} claims: {counts}. Differences are means over the seeds that both sides have, with 95% "
        f"CI (Student t, paired). A claim holds, or does not hold, where a one-sided test over {FEWEST_SEEDS} or more seeds "
        f"says so at p < {LIMIT:g}, corrected for the number of claims tested so (Holm; here {tested}); everything else cannot "
        "be seen yet. Needed: seeds with which the test sees the published difference four times of five, given the published "
        "spreads as of independent seeds, at the strictest level of the correction, if all claims are tested."
    )


def to_markdown(verdicts):
    """A table of verdicts in Markdown."""
    names = ("claim", "at this scale", "statistic", "ours", "seeds", "needed", "epochs", "published")
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    for one in verdicts:
        ours = "" if one.difference is None else f"{one.difference:+.4f}"
        ours += "" if one.ci95 is None else f" +- {one.ci95:.4f}"
        there = "" if one.published_difference is None else f"{one.published_difference:+.4f}"
        there = ", ".join(part for part in (there, one.published * (one.published != "as claimed")) if part)
        needed = "" if one.seeds_needed is None else one.seeds_needed
        claim = f"{one.claim} ({one.note})" if one.note else one.claim
        epochs = ", ".join(map(str, one.epochs))
        lines.append(f"| {claim} | {one.verdict} | {one.why} | {ours} | {one.seeds} | {needed} | {epochs} | {there} |")
    return "\n".join(lines) + "\n"


def to_dicts(verdicts):
    """Verdicts as plain data."""
    return [asdict(one) for one in verdicts]


def _same(a, b):
    return a is None or b is None or abs(a - b) < 1e-3
