"""The numbers of README.md, docs/results.md, docs/performance.md and docs/differences.md are those of the files in results/.

Each text below is made from the files, rounded as the pages round, and has to stand in its page. A row of a table with numbers
has to be among these texts: to add one, tie it to its file here.
"""

import json
import re
from functools import cache
from glob import glob
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student_t
from scipy.stats import ttest_1samp, ttest_ind

from closer_tf import reproduce
from closer_tf.analysis.published import published_series
from closer_tf.config import load_config
from closer_tf.masks import random_patch_masks
from closer_tf.reproduce import BEGIN, END

REPOSITORY = Path(__file__).resolve().parents[1]
RESULTS = REPOSITORY / "results"
README, RESULTS_PAGE, PERFORMANCE = "README.md", "docs/results.md", "docs/performance.md"
DIFFERENCES = "docs/differences.md"
ESTIMATOR = "docs/estimator.md"


@cache
def content(name):
    """A file of results/."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def r(value, digits=3):
    """A number as the pages write it: .308"""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def accuracy(name, condition, readout, what="mean"):
    return content(name)["accuracy"][condition][readout][what]


def both(name, condition, digits=3):
    """'.308 | .466': single and ensemble."""
    return " | ".join(r(accuracy(name, condition, readout), digits) for readout in ("single", "ensemble"))


def spread(name, condition, readout):
    """'.518 (.029)': mean and sd over seeds."""
    return f"{r(accuracy(name, condition, readout))} ({r(accuracy(name, condition, readout, 'sd'))})"


def published(figure, condition, readout="single", x=None, digits=3):
    points = published_series(figure, condition, readout)
    return r(next(point["mean"] for point in points if x is None or abs(point["x"] - x) < 1e-3), digits)


def pair(figures, condition, x=None):
    """'.305, .466': published, single and ensemble."""
    return ", ".join(published(figure, condition, readout, x) for figure, readout in zip(figures, ("single", "ensemble")))


def cost(name):
    """'.16 | 3.2' of a file with one training, or what there is of it: seconds per step, GB."""
    (run,) = (run for run in content(name)["runs"].values() if run["seconds_per_epoch"])
    memory = run.get("peak_memory_gb")
    return f"{r(run['seconds_per_epoch'] / 352, 2)} | {'' if memory is None else f'{memory:.1f} '}|"


def seeds(*names, condition="untrained", readout="single"):
    """Values of several files."""
    return [value for name in names for value in accuracy(name, condition, readout, "test")]


def results_images():
    mlp, n5 = "cifar10_mlp_gaussian_20_epochs", "cifar10_mlp_gaussian_n5_100_epochs"
    full = content("cifar10_full_input")
    memory = full["runs"]["full_input"]["peak_memory_gb"]
    one = r(accuracy("cifar10_full_input", "full_input", "ensemble"))
    yield f"| `cifar10_full_input` | one probe of the full image | | {one} | | | {memory:.1f} |"
    yield f"| `{mlp}` | masked input (2 seeds) | {both(mlp, 'masked_input')} | {published('2d', 'masked_input')} single | | |"
    yield f"| | untrained (2 seeds) | {both(mlp, 'untrained')} | {pair(('2b', '2b'), 'untrained')} | | |"
    yield f"| | CLoSeR all-to-all, 20 epochs | {both(mlp, 'closer')} | {pair(('2b', '2b'), 'closer')} | {cost(mlp)}"
    yield f"| `{n5}` | N = 5: masked input | {both(n5, 'masked_input')} | | | |"
    yield f"| | untrained | {both(n5, 'untrained')} | | | |"
    for epochs, start in (("20", "CLoSeR, 20"), ("50", "50")):
        at = content(n5)["at_epochs"][epochs]["closer"]
        yield f"| | {start} epochs | {r(at['single']['mean'])} | {r(at['ensemble']['mean'])} | | | |"
    yield f"| | 100 epochs | {both(n5, 'closer')} | {published('2d', 'closer', x=5)} single | {cost(n5)}"
    for name, what, condition, there in (
        ("cifar10_stop_gradient_20_epochs", "with stop-gradient, 20 epochs", "closer", published("4b", "random_GNk", x=1)),
        (
            "cifar10_bidirectional_ring_20_epochs",
            "bidirectional ring, 20 epochs",
            "closer",
            published("4b", "bidirectional_ring"),
        ),
    ):
        yield f"| `{name}` | {what} | {both(name, condition)} | {there} single | {cost(name)}"
    name = "cifar10_supervised_10_epochs"
    yield f"| `{name}` | supervised, 10 epochs | {both(name, 'supervised')} | {pair(('2b', '2b'), 'supervised')} | {cost(name)}"
    name = "cifar100_mlp_gaussian_5_epochs"
    there = pair(("2c", "2c"), "untrained")
    yield f"| `{name}` | untrained (C = .001 alone) | {both(name, 'untrained')} | {there} | | |"
    assert {tuple(run["config"]["readout"]["C"]) for run in content(name)["runs"].values()} == {(0.001,)}
    yield f"| | CLoSeR, 5 epochs (C = .001 alone) | {both(name, 'closer')} | {pair(('2c', '2c'), 'closer')} | {cost(name)}"
    name = "cifar100_mlp_gaussian_100_epochs"
    yield f"| `{name}` | untrained | {both(name, 'untrained')} | {there} | | |"
    yield f"| | CLoSeR, 100 epochs | {both(name, 'closer')} | {pair(('2c', '2c'), 'closer')} | {cost(name)}"
    gains = [r(accuracy(name, "closer", way) - accuracy(name, "untrained", way)) for way in ("single", "ensemble")]
    yield f"after 100 epochs CLoSeR lies above untrained there by {gains[0]} (single) and {gains[1]} (ensemble), with one seed"
    name = "cifar10_vit_random_patches_5_epochs"
    yield f"| `{name}` | q = .05: untrained | {both(name, 'untrained')} | {pair(('5f', '5g'), 'untrained', 0.05)} | | |"
    yield f"| | CLoSeR, 5 epochs | {both(name, 'closer')} | {pair(('5f', '5g'), 'closer', 0.05)} | {cost(name)}"
    name = "cifar10_vit_random_patches_q10_untrained"
    values = [seeds(name, f"{name}_seeds_1_to_3", readout=readout) for readout in ("single", "ensemble")]
    random = [r(np.mean(of)) for of in values]
    (run,) = content(name)["runs"].values()
    there = pair(("5f", "5g"), "untrained", 0.1)
    yield f"| `{name}` | q = .1: untrained (4 seeds) | {' | '.join(random)} | {there} | | {run['peak_memory_gb']:.1f} |"
    yield f"random patches at q = .1 {' and '.join(random)} (4 seeds; published {there.replace(', ', ' and ')}; the"
    yield f"ensemble's sd over seeds is {r(np.std(values[1], ddof=1))})"
    name = "cifar10_vit_contiguous_5_epochs"
    values = [seeds(name, "cifar10_vit_contiguous_untrained_seed1", readout=readout) for readout in ("single", "ensemble")]
    near = [r(np.mean(of)) for of in values]
    there = pair(("5c", "5d"), "untrained", 0.1)
    yield f"| `{name}` | q = .1: untrained (2 seeds) | {' | '.join(near)} | {there} | | |"
    yield f"contiguous patches {' and '.join(near)} (2 seeds; published {there.replace(', ', ' and ')})"
    yield f"| | CLoSeR, 5 epochs | {both(name, 'closer')} | {pair(('5c', '5d'), 'closer', 0.1)} | {cost(name)}"
    ring = np.subtract(
        accuracy("cifar10_bidirectional_ring_20_epochs", "closer", "single"), accuracy(mlp, "untrained", "single", "test")[0]
    )
    yield f"(the ring's single readout by {r(ring)} only, for one seed)"


def verdict(claim):
    (found,) = (one for one in content("figures/claims_quick")["claims"] if one["claim"] == claim)
    return found


def difference(claim, digits=3):
    return r(abs(verdict(claim)["difference"]), digits)


def quick(condition, readout, q, digits=3):
    """Mean over the seeds of the quick panels; of untrained and CLoSeR."""
    rows = content("figures/fig3c_quick" if readout == "ensemble" else "figures/fig3b_quick")["rows"]
    return r(next(row["ours"] for row in rows if row["series"] == condition and row["x"] == q), digits)


def results_panels():
    seen = [one for one in content("figures/claims_quick")["claims"] if one["p"] is not None and one["p"] < 0.05]
    claims = [one for one in seen if one["verdict"] == "cannot be seen yet"]
    across = sum(one["ci95"] > one["difference"] for one in claims)
    yield f"{len(claims)} claims reach p < .05 before any correction, over two seeds"
    yield f"over two seeds, {across} of them with a 95% interval across zero"
    assert {one["seeds"] for one in claims} == {2}
    (settled,) = (one for one in seen if one not in claims)
    assert settled["verdict"] == "holds" and settled["claim"] == "the ensemble above the single encoder, untrained, q = .1"
    yield f"encoder (+{r(settled['difference'])}, {settled['seeds']} seeds)"
    start = "one probe of the concatenated embeddings above the"
    by = [difference(f"{start} {way} probability of single probes, CLoSeR, q = .1") for way in ("mean", "largest")]
    yield f"above the mean (by {by[0]}) and the largest (by {by[1]}) probability"
    full = accuracy("cifar10_full_input", "full_input", "ensemble")
    yield f"its ensemble ({quick('CLoSeR', 'ensemble', 0.1)}) above the full image ({r(full)})"
    yield f"its single encoder ({quick('CLoSeR', 'single', 0.1)}) above the full image"
    both_ways = [difference(f"all-to-all without stop-gradient above with, {way}") for way in ("single encoder", "ensemble")]
    yield f"without stop-gradient above with (+{both_ways[0]} single, +{both_ways[1]} ensemble)"
    best = "CLoSeR's"
    yield f"than at .25 (+{difference(best + ' optimum at small q: .1 above .25, ensemble')})"
    yield f"at .025 (+{difference(best + ' optimum away from the smallest q: .1 above .025, ensemble')})"
    vit = [
        difference(f"ViT, contiguous patches, q = .1: CLoSeR above untrained, {way}") for way in ("single encoder", "ensemble")
    ]
    yield f"ViT above untrained (+{vit[0]}, +{vit[1]})"
    leads = difference("CLoSeR level with supervised at small q (0.1), single encoder")
    yield f"supervised leads by {leads} on single encoders"
    ring, one_way = (
        [difference(f"{ring} ring above G_N^k with 20 edges, {way}") for way in ("single encoder", "ensemble")]
        for ring in ("bidirectional", "directional")
    )
    yield f"one is {ring[0]} (single) and {ring[1]} (ensemble) lower, the directional one {one_way[0]} and {one_way[1]}"
    yield f"where .1 and .25 are {difference(best + ' optimum at small q: .1 above .25, single encoder')} apart"
    ours = ", ".join(quick("untrained", "ensemble", q) for q in (0.025, 0.1, 0.25))
    there = ", ".join(published("3c", "untrained", "ensemble", q) for q in (0.025, 0.1, 0.25))
    yield f"{ours} at q = .025, .1, .25 (published {there})"
    there = published("3c", "closer", "ensemble", 0.25)
    rows = {row["x"]: row["values"] for row in content("figures/fig3c_quick")["rows"] if row["series"] == "CLoSeR"}
    assert len(rows[0.25]) == 2 and all(large < small for small, large in zip(rows[0.1], rows[0.25]))
    yield f"with both seeds: {quick('CLoSeR', 'ensemble', 0.25)} (published {there} after 1000)"


FULL = {"Gaussian": ("3b", "3c"), "random patches": ("3e", "3f")}
"""Receptive fields -> panels of single encoders and of the ensemble, drawn at full scale."""
UNTRAINED_FULL = "cifar10_untrained_full"
EXACT = (  # what was read out in float64, too: file, condition, seed, q
    ("cifar10_panels_quick", "untrained, masks.fraction=0.025", 0, 0.025),
    ("cifar10_panels_quick", "untrained, masks.fraction=0.1", 0, 0.1),
    ("cifar10_panels_quick_2", "untrained, masks.fraction=0.025", 1, 0.025),
    ("cifar10_panels_quick_2", "untrained, masks.fraction=0.25", 0, 0.25),
    ("cifar10_panels_quick_2", "untrained, masks.fraction=0.25", 1, 0.25),
    ("cifar10_mlp_gaussian_20_epochs", "untrained", 1, 0.1),
)


def untrained_rows(panel, series="untrained"):
    rows = content(f"figures/fig{panel}_full")["rows"]
    return [row for row in rows if row["series"] == series and row["ours"] is not None]


def share_near(seeds, limit):
    """How often two means that do not differ, over so many seeds and over the published 10, are within so many joint errors."""
    rng = np.random.default_rng(0)
    ours, theirs = (rng.normal(size=(100_000, n)) for n in (seeds, 10))
    error = np.sqrt(ours.var(axis=1, ddof=1) / seeds + theirs.var(axis=1, ddof=1) / 10)
    return np.mean(np.abs(ours.mean(axis=1) - theirs.mean(axis=1)) <= limit * error)


def signed(value, digits):
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("0.", ".", 1)  # of a rounded -0 this makes +0


def results_untrained():
    by_curve = [untrained_rows(panel) for panels in FULL.values() for panel in panels]
    seeds = content(UNTRAINED_FULL)["accuracy"]["untrained, masks.fraction=0.025, masks.scheme=random_patches"]["single"][
        "seeds"
    ]
    n = len(seeds)
    assert seeds == list(range(n)) and all(row["ours_seeds"] == n for rows in by_curve for row in rows)
    yield f"{n} seeds (published: 10)"
    for fields, panels in FULL.items():
        for of_q in zip(*map(untrained_rows, panels)):
            assert len({row["x"] for row in of_q}) == 1
            cells = [
                f"{r(row['ours'])} ({r(row['ours_sd'])}) | {r(row['published'])} | "
                f"{row['difference_in_joint_standard_errors']:+.1f}"
                for row in of_q
            ]
            yield f"| {fields} | {r(of_q[0]['x']).rstrip('0')} | {' | '.join(cells)} |"
    alone = [abs(row["difference_in_joint_standard_errors"]) for rows in by_curve for row in rows]
    pooled = []
    for rows in by_curve:
        variance = np.mean([row["ours_sd"] ** 2 for row in rows]) / n
        for row in rows:
            theirs = row["joint_standard_error"] ** 2 - row["ours_sd"] ** 2 / n
            pooled.append(abs(row["difference"]) / np.sqrt(variance + theirs))
            if pooled[-1] > 3:
                assert (row["readout"], row["x"], rows) == ("ensemble", 0.025, untrained_rows("3f"))
                yield f"whose seeds spread by {r(row['ours_sd'])} where the curve's do by {r(np.sqrt(variance * n))}"
    alone, pooled = np.array(alone), np.array(pooled)
    near = f"{sum(alone <= 2)} lie within 2 joint standard errors of the published ones, {sum(alone <= 3)} within 3"
    yield f"Of the {len(alone)} points {near}"
    yield f"estimated from {n} seeds, {share_near(n, 2):.0%} lie within 2 and {share_near(n, 3):.0%} within 3"
    yield f"{sum(pooled <= 2)} within 2 and {sum(pooled <= 3)} within 3"
    for fields, panels in FULL.items():
        means = []
        for panel in panels:
            by_seed = np.mean([np.array(row["values"]) - row["published"] for row in untrained_rows(panel)], axis=0)
            means.append(f"{signed(by_seed.mean(), 4)} +- {r(by_seed.std(ddof=1) / np.sqrt(n), 4)}")
        yield f"{fields} {means[0]} (single) and {means[1]} (ensemble)"
    seen = []
    for seed in seeds:
        config = load_config("mlp_random_patches", [f"seed={seed}", "masks.fraction=0.025"])
        fields = random_patch_masks((32, 32), 10, 0.025, 4, config.seeds.masks)
        seen.append(len(set(np.concatenate(fields.indices).tolist())))
    expected = 64 * (1 - (63 / 64) ** 10)
    yield f"cover {np.mean(seen):.1f} of the 64 patches at q = .025 on average, where chance expects {expected:.1f}"
    ensembles = content(UNTRAINED_FULL)["accuracy"]["untrained, masks.fraction=0.025, masks.scheme=random_patches"]["ensemble"]
    others = {seed: content(f"untrained_masks_of_seed_{seed}") for seed in (1, 3)}
    for seed, found in others.items():  # other weights, the same receptive fields
        fields = load_config("mlp_random_patches", [f"seed={seed}"]).seeds.masks
        assert {about["config"]["seeds"]["masks"] for about in found["runs"].values()} == {fields}
        assert {about["config"]["masks"]["fraction"] for about in found["runs"].values()} == {0.025}
    own = {seed: r(ensembles["test"][seed]) for seed in others}
    with_these = {seed: " and ".join(map(r, of["accuracy"]["untrained"]["ensemble"]["test"])) for seed, of in others.items()}
    yield f"with the receptive fields of seed 1 ({own[1]}) other initial weights give {with_these[1]}"
    yield f"with those of seed 3 ({own[3]}) {with_these[3]}"
    few, by_count = content("untrained_few_different_patches"), {}
    masks = {about["config"]["seed"]: about["config"]["seeds"]["masks"] for about in few["runs"].values()}
    for seed, value in zip(*(few["accuracy"]["untrained"]["ensemble"][key] for key in ("seeds", "test"))):
        fields = random_patch_masks((32, 32), 10, 0.025, 4, masks[seed])
        by_count.setdefault(len(set(np.concatenate(fields.indices).tolist())), []).append(value)
    assert {count: len(values) for count, values in by_count.items()} == {7: 3, 8: 3}
    seven, eight = (", ".join(map(r, by_count[count])) for count in (7, 8))
    all_of_them = few["accuracy"]["untrained"]["ensemble"]["mean"]
    yield f"three with seven different ones give {seven}, three with eight {eight}, {r(all_of_them)} on average"
    ours = ensembles["test"]
    below = ttest_ind(ours, few["accuracy"]["untrained"]["ensemble"]["test"], equal_var=False).pvalue
    yield f"below our ten seeds' mean ({r(np.mean(ours))}; p = {r(below)} by Welch's test)"
    few_of_ten = np.mean([len(set(draw)) <= 8 for draw in np.random.default_rng(0).integers(64, size=(100_000, 10)).tolist()])
    yield f"a single draw has eight or fewer with probability {r(few_of_ten, 2)}"
    row = max((row for rows in by_curve for row in rows), key=lambda row: abs(row["difference_in_joint_standard_errors"]))
    own = row["ours_sd"] ** 2 / n
    theirs = row["joint_standard_error"] ** 2 - own
    freedom = (own + theirs) ** 2 / (own**2 / (n - 1) + theirs**2 / 9)
    p = 2 * student_t.sf(abs(row["difference_in_joint_standard_errors"]), freedom)
    yield f"by itself the difference has p = {r(p, 4)} (Welch), as the largest of thirty {r(1 - (1 - p) ** len(alone), 2)}"
    (masked,) = untrained_rows("2d", "masked input")
    yield (
        f"single {r(masked['ours'], 4)} ({r(masked['ours_sd'], 4)}, {masked['ours_seeds']} seeds), "
        f"published {r(masked['published'], 4)}: {masked['difference_in_joint_standard_errors']:+.1f}"
    )


VIT_FULL = {"contiguous": ("5c", "5d"), "random": ("5f", "5g")}


def results_untrained_vit():
    apart, means = [], []
    for fields, panels in VIT_FULL.items():
        for of_q in zip(*map(untrained_rows, panels)):
            assert {row["ours_seeds"] for row in of_q} == {10}
            cells = [
                f"{r(row['ours'])} ({r(row['ours_sd'])}) | {r(row['published'])} | "
                f"{row['difference_in_joint_standard_errors']:+.1f}"
                for row in of_q
            ]
            apart += [row["difference_in_joint_standard_errors"] for row in of_q]
            yield f"| {fields} | {r(of_q[0]['x']).rstrip('0')} | {' | '.join(cells)} |"
        for panel in panels:
            by_seed = np.mean([np.array(row["values"]) - row["published"] for row in untrained_rows(panel)], axis=0)
            means.append(f"{signed(by_seed.mean(), 4)} +- {r(by_seed.std(ddof=1) / np.sqrt(10), 4)}")
    apart = np.abs(apart)
    yield f"Of these {len(apart)} points {sum(apart <= 2)} lie within 2 and {sum(apart <= 3)} within 3"
    yield f"contiguous {means[0]} (single) and {means[1]} (ensemble), random {means[2]} and {means[3]}"
    name = "untrained, masks.fraction=0.025, masks.scheme=random_patches"
    ensembles, by_count = content("cifar10_vit_untrained_full")["accuracy"][name]["ensemble"], {}
    for seed, value in zip(ensembles["seeds"], ensembles["test"]):
        config = load_config("vit_random_patches", [f"seed={seed}", "masks.fraction=0.025"])
        cells = np.concatenate(random_patch_masks((32, 32), 10, 0.025, 4, config.seeds.masks).indices)
        by_count.setdefault(len(set(cells.tolist())), []).append(value)
    assert {count: len(values) for count, values in by_count.items()} == {10: 6, 9: 3, 8: 1}
    ten, nine, eight = (r(np.mean(by_count[count])) for count in (10, 9, 8))
    yield f"with ten different patches {ten} (six seeds), with nine {nine} (three), with eight {eight} (one)"


def estimator_example():
    found = content("estimator")
    first, *others = (r(found["trained"][seed]) for seed in ("0", "1", "2"))
    yield f"This gives {first} ({others[0]} and {others[1]} with `random_state` 1 and 2)"
    yield f"on the pixels gives {r(found['pixels'])}"
    first, second, third = (r(found["untrained"][seed]) for seed in ("0", "1", "2"))
    yield f"(`epochs=0`) {first}, {second} and {third}"
    assert np.mean(list(found["untrained"].values())) > (found["pixels"] + np.mean(list(found["trained"].values()))) / 2


def performance_float32():
    differences = {}
    for name, condition, seed, q in EXACT:
        for readout in ("single", "ensemble"):
            exact = content(name)["accuracy"][condition][readout]
            rough = content(UNTRAINED_FULL)["accuracy"][f"untrained, masks.fraction={q}, masks.scheme=gaussian"][readout]
            one, other = (of["test"][of["seeds"].index(seed)] for of in (rough, exact))
            differences.setdefault(readout, []).append(one - other)
    parts = [
        f"{readout} {signed(np.mean(found), 4)} on average and at most {r(np.abs(found).max(), 4)} apart"
        for readout, found in differences.items()
    ]
    yield f"Six untrained ensembles that were read out both ways: {'; '.join(parts)}"


def results_diagnosis():
    """What the receptive fields of recordings share, as `closer_tf diagnose` wrote it."""
    recordings = {
        "Gabors, 751348571": "gabors_751348571",
        "Gabors, 755434585": "gabors_755434585",
        "movie, eight areas": "natural_movie_791319847",
    }
    for title, name in recordings.items():
        found = content(f"diagnosis/{name}")
        cells = [f"{r(found[key]['mean'], 2)} ({r(found[key]['chance'], 2)})" for key in ("averages", "dissimilarities")]
        cells += [r(found[key]["mean"], 2) for key in ("single_samples", "residuals", "residuals_without_drift")]
        cells += [f"{found['label_share']:.0%}", f"{np.mean(found['drift']):.0%}"]
        yield f"| {title} | {' | '.join(cells)} |"


def results_matrices():
    """Figure 2a."""
    found = {row["series"]: row for row in content("figures/fig2a_quick")["matrices"]}

    def span(row, prefix=""):
        return f"{r(row[prefix + 'smallest'], 4)} to {r(row[prefix + 'largest'], 4)}"

    for name in ("CLoSeR", "supervised"):
        yield f"by {r(found[name]['correlation'], 2)} and spans {span(found[name])} ("
        yield from span(found[name], "published_").split(" to ")
    yield f"correlates by {r(found['untrained']['correlation'], 2)} and is flat"


def results_best():
    """Gabors with the best epoch kept, principal components and whitened features beside."""
    files = [f"gabors_best_{session}" for session in (751348571, 755434585, 760693773)]
    rows = (("masked input", "masked_input"), ("PCA", "pca"), ("untrained", "untrained"), ("CLoSeR", "closer"))
    for title, prefix in (("", ""), (", whitened", "whitened_")):
        for name, condition in rows:
            cells = []
            for file in files:
                for way in ("single", "ensemble"):
                    seeds = len(accuracy(file, condition, prefix + way, "test"))
                    shown = spread(file, condition, prefix + way) if seeds > 1 else r(accuracy(file, condition, prefix + way))
                    cells.append(shown)
            yield f"| {name}{title} | {' | '.join(cells)} |"


def results_visual():
    """The natural movie on visual areas."""
    names = {"masked input": "masked_input", "PCA": "pca", "untrained": "untrained", "LPL": "lpl", "NoTCLoSeR": "notcloser"}
    for file in ("natural_movie_visual_thirds", "natural_movie_visual_bins"):
        for name, condition in {**names, "TCLoSeR": "tcloser"}.items():
            cells = []
            for readout in ("single", "ensemble", "whitened_single", "whitened_ensemble"):
                of = (file, condition, readout)
                cells.append(r(accuracy(*of)) if condition in ("masked_input", "pca") else spread(*of))
            yield f"| {name} | {' | '.join(cells)} |"
    one = "natural_movie_visual_thirds"

    def gains(first, second, readout):
        return np.subtract(accuracy(one, first, readout, "test"), accuracy(one, second, readout, "test"))

    for condition in ("lpl", "notcloser", "tcloser"):
        assert all(accuracy(one, condition, way) > accuracy(one, "untrained", way) for way in ("single", "ensemble"))
        assert min(gains(condition, "untrained", "single")) > 0
    gain = gains("tcloser", "untrained", "ensemble")
    assert sum(gain < 0) == 1
    yield f"(TCLoSeR's ensemble {signed(gain.mean(), 3)}, p = {r(ttest_1samp(gain, 0).pvalue, 2)}, one seed of five below)"
    whitened = [ttest_1samp(gains(c, "untrained", "whitened_ensemble"), 0).pvalue for c in ("notcloser", "tcloser")]
    assert min(whitened) > 0.05
    ahead = {
        (way, *pair): ttest_1samp(gains(*pair, way), 0).pvalue
        for way in ("single", "ensemble")
        for pair in (("lpl", "notcloser"), ("lpl", "tcloser"), ("tcloser", "notcloser"))
    }
    least = ahead.pop(("ensemble", "lpl", "notcloser"))
    assert min(ahead.values()) > 0.05
    yield f"LPL's ensemble above NoTCLoSeR's (p = {r(least, 2)} by a paired t-test"
    runs = content("natural_movie_visual_bins")["runs"].values()
    best = [run["best"]["epoch"] for run in runs]
    yield f"best epochs {min(best)} to {max(best)}"
    past = {run["config"]["dataset"]["path"][7:-4]: run["best"] for run in content("gabors_300_epochs")["runs"].values()}
    for session, says in (
        ("751348571", "epoch {epoch}: {val_loss:.3f} there, {last_val_loss:.3f} after"),
        ("755434585", "epoch {epoch}, {val_loss:.3f} and {last_val_loss:.3f}"),
    ):
        yield says.format(**past[session])


def results_neurons():
    movie, gabors, simulated = "natural_movie_791319847", "gabors_751348571", "simulated"
    yield f"chance {r(content(movie)['chance'])} and {r(content(gabors)['chance'])}"
    yield f"| masked input | {both(movie, 'masked_input')} | {both(gabors, 'masked_input')} |"
    ways = ("single", "ensemble")
    cells = [spread(name, "untrained", way) for name in (movie, gabors) for way in ways]
    yield f"| untrained | {' | '.join(cells)} |"
    for name, condition in (("LPL", "lpl"), ("NoTCLoSeR", "notcloser")):
        yield f"| {name} | {' | '.join(spread(movie, condition, way) for way in ways)} | | |"
    cells = [spread(movie, "tcloser", way) for way in ways] + [spread(gabors, "closer", way) for way in ways]
    yield f"| TCLoSeR (Gabors: CLoSeR) | {' | '.join(cells)} |"
    above = accuracy(movie, "tcloser", "ensemble") - accuracy(movie, "untrained", "ensemble")
    assert round(above / accuracy(movie, "tcloser", "ensemble", "sd")) == 3
    yield f"TCLoSeR's ensemble lies above the untrained one by {r(above)}, three times its spread over seeds"
    falls = [r(accuracy(gabors, condition, "ensemble")) for condition in ("untrained", "closer")]
    rises = [spread(gabors, condition, "mean_probability") for condition in ("untrained", "closer")]
    yield f"falls from {falls[0]} to {falls[1]} when"
    yield f"rises from {rises[0]} to {rises[1]}, within"
    yield f"| masked input | {both(simulated, 'masked_input')} |"
    for name in ("untrained", "LPL", "NoTCLoSeR", "TCLoSeR"):
        yield f"| {name} | {' | '.join(spread(simulated, name.lower(), way) for way in ways)} |"
    (paper,) = content("simulated_paper_size")["runs"].values()
    yield f"a run takes {paper['peak_memory_gb']:.1f} GB"
    fit = next(row for row in content("benchmarks/epoch")["epoch"] if row["case"] == "neuronal" and row["what"] == "fit")
    yield f"An epoch took {paper['seconds_per_epoch']:.1f} s"
    seconds = fit["median_ms"] / 1000
    calls = fit["steps_per_execution"]
    yield f"takes {seconds:.1f} s where matrix products are twice as fast and recordings take {calls} steps"
    yield f"{300 * seconds / 60:.0f} minutes for the paper's 300 epochs"


def step(case, variant="default", name="step"):
    return next(row for row in content(f"benchmarks/{name}")["step"] if (row["case"], row["variant"]) == (case, variant))


def times(value):
    return f"{value:.0f}" if value > 10 else f"{value:.2f}"


def performance_steps():
    rows = (
        ("MLP, q = .1", "mlp q=.1", "default", True),
        ("without augmentation", "mlp q=.1", "no augmentation", True),
        ("with the published formula's loss", "mlp q=.1", "reference loss", False),
        ("with the published formula's loss, without augmentation", "mlp q=.1", "reference loss, no augmentation", False),
        ("bfloat16", "mlp q=.1", "bfloat16", True),
        ("XLA, without augmentation", "mlp q=.1", "xla", True),
        ("encoders stacked, one product per layer", "mlp q=.1", "stacked", True),
        ("encoders stacked, without augmentation", "mlp q=.1", "stacked, no augmentation", True),
        ("MLP, q = .025", "mlp q=.025", "default", True),
        ("MLP, q = .25", "mlp q=.25", "default", True),
        ("MLP, q = .1, ring", "mlp q=.1 ring", "default", True),
        ("ViT, q = .05", "vit q=.05", "default", True),
        ("bfloat16", "vit q=.05", "bfloat16", True),
        ("ViT, q = .2", "vit q=.2", "default", False),
        ("ViT, q = .5", "vit q=.5", "default", False),
    )
    for name, case, variant, with_least in rows:
        row = step(case, variant)
        least = f" ({row['min_ms']:.0f})" * with_least
        yield f"| {name} | {row['median_ms']:.0f}{least} | {row['floor_ms']:.0f} | {times(row['times_floor'])} |"
    row = step("neuronal")
    least, floor = f"{row['min_ms']:.1f}", f"{row['floor_ms']:.1f}"
    yield f"| neuronal MLP, 10 areas | {row['median_ms']:.1f} ({least}) | {floor} | {times(row['times_floor'])} |"
    faster = [
        step("mlp q=.1", f"reference loss{more}")["median_ms"] / step("mlp q=.1", without)["median_ms"]
        for more, without in (("", "default"), (", no augmentation", "no augmentation"))
    ]
    yield f"is {faster[0]:.1f} times as fast as with the published formula's loss, {faster[1]:.1f} times without augmentation"
    newest = step("mlp q=.1", name="step_newest")
    yield f"it takes {newest['median_ms']:.0f} ({newest['min_ms']:.0f}) ms too"
    fast, plain = (step("mlp q=.1", variant, "step_mlp_fast") for variant in ("default", "no augmentation"))
    yield f"takes {fast['median_ms']:.0f} ms, {fast['times_floor']:.2f} times its floor of {fast['floor_ms']:.0f}"
    yield f"and {plain['median_ms']:.0f} ms without augmentation, {plain['times_floor']:.2f} times"
    slower = [
        step("mlp q=.1", f"reference loss{more}", "step_mlp_fast")["median_ms"] / without["median_ms"]
        for more, without in (("", fast), (", no augmentation", plain))
    ]
    yield f"takes {slower[0]:.0f} and {slower[1]:.0f} times as long"
    yield f"whole ViT alone takes {step('vit q=.05')['floor_ms']:.0f} ms"


def loss(family, encoders=10, ours=True):
    for row in content("benchmarks/loss")["loss"]:
        if (row["family"], row["encoders"], row["implementation"] == "ours") == (family, encoders, ours):
            return row
    raise KeyError(family)


def performance_threads():
    names = {"mlp q=.1": "MLP, q = .1", "mlp q=.1 ring": "MLP, q = .1, ring", "vit q=.05": "ViT, q = .05"}
    for case, name in {**names, "neuronal": "neuronal MLP, 10 areas"}.items():
        divided, beside = (
            np.median(
                [
                    row["median_ms"]
                    for row in content("benchmarks/threads")["turns"]
                    if (row["case"], row["threads"]) == (case, way)
                ]
            )
            for way in ("within each operation", "operations side by side")
        )
        digits = 1 if case == "neuronal" else 0
        yield f"| {name} | {divided:.{digits}f} | {beside:.{digits}f} | {r(beside / divided, 2)} |"


def performance_loss():
    families = ("all_to_all", "bidirectional_ring")
    theirs, ours = ([loss(family, ours=which) for family in families] for which in (False, True))
    cells = [f"{row['median_ms']:.0f} ms, {row['extra_memory_mb'] / 1000:.1f} GB" for row in theirs]
    yield f"| the formula as published: a (B, B, D, N, N) tensor | {' | '.join(cells)} |"
    cells = [f"{row['median_ms']:.1f} ms, {row['extra_memory_mb']:.0f} MB" for row in ours]
    yield f"| ours | {' | '.join(cells)} |"
    faster = [f"{there['median_ms'] / here['median_ms']:.0f}" for there, here in zip(theirs, ours)]
    yield f"| times faster | {' | '.join(faster)} |"
    less = [f"1/{there['extra_memory_mb'] / here['extra_memory_mb']:.0f}" for there, here in zip(theirs, ours)]
    yield f"| of the memory | {' | '.join(less)} |"
    rings = {count: loss("bidirectional_ring", count)["median_ms"] for count in (10, 100, 200)}
    yield f"A ring costs {100 * ours[1]['median_ms'] / ours[0]['median_ms']:.0f}% of all-to-all"
    yield f"{rings[100]:.0f} ms for N = 100, {rings[100] / rings[10]:.1f} times that of N = 10; {rings[200]:.0f} ms for N = 200"
    large = loss("all_to_all", 200)
    yield f"at N = 200 takes {large['median_ms'] / 1000:.1f} s and {large['extra_memory_mb'] / 1000:.1f} GB"


def performance_readout():
    file, newton = content("benchmarks/readout"), content("benchmarks/readout_newton")
    ways, ratios = file["ways"], file["ratios"]

    def singles(way):
        return sum(found["seconds"] for name, found in ways[way]["probes"].items() if name != "ensemble")

    same = f"the same accuracies and penalties in all 88 fits, {ratios['published']['times_faster']:.1f} times faster"
    yield f"| published protocol (100 iterations) | {ways['published']['seconds']:.0f} | {same} |"
    assert ratios["published"]["largest_accuracy_difference"] == 0
    assert sum(len(probe["fits"]) for probe in ways["published"]["probes"].values()) == 88
    yield f"| scikit-learn's loop, 100 iterations | {ways['sklearn_published']['seconds']:.0f} | |"
    faster = ratios["converged"]["times_faster"]
    yield f"| converged protocol, ten single probes | {singles('converged'):.0f} | {faster:.0f} times faster |"
    yield f"| scikit-learn's loop to the same tolerance, ten single probes | {singles('sklearn_converged'):.0f} | |"
    yield f"| converged protocol, ensemble | {ways['converged']['probes']['ensemble']['seconds']:.0f} | |"
    by_hand = "more than 840 | stopped in the first of eight fits"
    yield f"| scikit-learn's loop to the same tolerance, ensemble | {by_hand} |"
    apart = {}
    for name, probe in ways["sklearn_converged"]["probes"].items():
        for theirs, ours in zip(probe["fits"], ways["converged"]["probes"][name]["fits"]):
            assert theirs["C"] == ours["C"]
            apart[ours["C"]] = max(apart.get(ours["C"], 0), abs(theirs["test"] - ours["test"]))
    assert max(apart[C] for C in (1e-5, 1e-4, 1e-3, 1e-2)) <= 0.001
    points = [r(100 * apart[C], 2) for C in (0.1, 10.0, 0.0)]
    yield f"differ by up to {points[0]} point (C = .1), {points[1]} (C = 10) and, without a penalty (C = 0), {points[2]}"
    means = [
        np.mean([probe["test"] for name, probe in ways[way]["probes"].items() if name != "ensemble"])
        for way in ("converged", "sklearn_converged")
    ]
    yield f"mean over single probes, {r(means[0], 4)} and {r(means[1], 4)}, does not"
    ours, theirs = newton["ways"]["converged"], newton["ways"]["sklearn_newton"]
    yield f"| ten single probes: converged protocol | {ours['seconds']:.0f} | {ours['cpu_seconds']:.0f} |"
    yield f"| scikit-learn, `newton-cholesky` | {theirs['seconds']:.0f} | {theirs['cpu_seconds']:.0f} |"
    ways = content("benchmarks/readout_ensemble_newton")["ways"]
    ours, seconds = ways["converged"], ways["sklearn"]["seconds"]
    yield (
        f"| ensemble (`readout_ensemble_newton.json`): converged protocol | {ours['seconds']:.0f} | {ours['cpu_seconds']:.0f} |"
    )
    way = "`newton-cg` for C up to 1, L-BFGS and then `newton-cholesky` for 10; without C = 0"
    yield f"| scikit-learn, {way} | {seconds:.0f} | |"
    file = content("benchmarks/readout_ensemble")
    ours, theirs = (file["ways"][way]["seconds"] for way in ("converged", "sklearn_converged"))
    ratio = file["ratios"]["converged"]
    yield f"{ours:.0f} s against {theirs:.0f}, {ratio['times_faster']:.0f} times as long"
    yield f"no accuracy differs by more than {r(100 * ratio['largest_accuracy_difference_at_one_C'], 2)} point"
    file = content("benchmarks/readout_float32")
    ways, ratio = file["ways"], file["ratios"]["float32"]
    for way, precision in (("published", "float64"), ("published_float32", "float32")):
        tests = {name: probe["test"] for name, probe in ways[way]["probes"].items()}
        whole = tests.pop("ensemble")
        yield f"| {precision} | {ways[way]['seconds']:.0f} | {r(np.mean(list(tests.values())), 4)} | {r(whole, 4)} |"
    yield f"{ratio['times_faster']} times faster. A fit that is stopped at 100 iterations"
    one, chosen = (r(ratio[f"largest_accuracy_difference{of}"], 4) for of in ("_at_one_C", ""))
    yield f"to {one}, of one probe with the penalty chosen for it by up to {chosen}"


def performance_rest():
    epochs = {(row["case"], row["what"]): row for row in content("benchmarks/epoch")["epoch"]}
    ratios = [epochs[case, "fit"]["times_bare_steps"] for case in ("mlp q=.1", "neuronal")]
    steps = epochs["mlp q=.1", "fit"]["steps"]
    yield f"takes {ratios[0]:.2f} times its bare steps for the MLP ({steps} steps, 5 turns) and {r(ratios[1], 2)} times"
    turns = content("benchmarks/backends")["turns"]

    def speed(case, backend, what):
        rows = [row for row in turns if (row["case"], row["backend"], row["what"]) == (case, backend, what)]
        return np.mean([row["steps_per_second"] for row in rows])

    for name, backend, what in (
        ("JAX, an epoch in one call", "jax", "epoch"),
        ("JAX, Keras's `fit`", "jax", "fit"),
        ("TensorFlow, `fit`", "tensorflow", "epoch"),
    ):
        yield f"| {name} | {speed('digits', backend, what):.0f} | {speed('mlp q=.1', backend, what):.1f} |"
    before, epoch = speed("digits", "jax", "fit before"), speed("digits", "jax", "epoch")
    yield f"| JAX, `fit` before the epoch was compiled | {before:.0f} | |"
    beside = epoch / speed("digits", "tensorflow", "epoch")
    yield f"{epoch / before:.1f} times as many as `fit` did and {beside:.1f} times as many"
    whole, earlier = (speed("digits", "jax", what) for what in ("training", "training before"))
    yield f"does {whole:.0f} steps a second where it did {earlier:.0f}, {whole / earlier:.1f}"
    kernels = {(not row["code"].startswith("ecb5c10"), row["runs"]): row for row in content("benchmarks/kernels_h100")["steps"]}
    for name, row in (
        ("4 trainings in one, each encoder and run for itself", kernels[False, 4]),
        ("4 trainings in one: encoders side by side, one draw of dropout, one loss, one resampling for all", kernels[True, 4]),
        ("one training, each encoder for itself", kernels[False, 1]),
        ("one training: encoders side by side", kernels[True, 1]),
    ):
        yield f"| {name} | {row['kernels']} | {row['megabytes']:.0f} | {row['gflop']:.1f} |"
    slower = [row["times_bare_steps"] for row in content("benchmarks/fit")["epoch"] if row["what"] == "fit"]
    yield f"before recordings took 8 steps at a call, {' and '.join(f'{value:.2f}' for value in slower)}: `fit.json`"
    start = {row["case"]: row["seconds_since_start"] for row in content("benchmarks/fit")["start"]}
    first = [np.median(start[case]["first step done"]) for case in ("digits", "mlp q=.1")]
    yield f"{first[0]:.1f} s on digits, {first[1]:.1f} s for the MLP"


def differences_temperatures():
    for condition, found in content("class_pseudo_likelihood_temperatures")["conditions"].items():
        name = f"supervised, {found['epochs']} epochs" if condition == "supervised" else condition
        for row in found["temperatures"]:
            factor = row["temperature_per_dimension"]
            if condition == "untrained" or factor in (0.5, 0.001):
                numbers = f"{r(row['smallest'], 5)} | {r(row['largest'], 5)} | {r(row['sd'], 6)} | {r(row['correlation'], 2)}"
                yield f"| {name}, {factor:g} D | {numbers} |"
            if condition == "untrained" and factor in (0.001, 0.002):
                low, high = (r(limit(row["sd_of_encoders"]), 5) for limit in (min, max))
                yield f"{factor} D {'is ' * (factor == 0.001)}{low} to {high}"
        there = found["published"]
        numbers = f"{r(there['smallest'], 5)} | {r(there['largest'], 5)} | {r(there['sd'], 6)}"
        yield f"| {condition}, published | {numbers} | |"


def lengths_of(encoder, data=None):
    """Epochs of all CIFAR trainings of ten encoders of a kind."""
    runs = (run for path in RESULTS.glob("*cifar*.json") for run in content(path.stem)["runs"].values() if "config" in run)
    own = ((run["epochs"], run["config"]) for run in runs)
    of_data = [(epochs, config) for epochs, config in own if data in (None, config["dataset"]["name"])]
    return [epochs for epochs, config in of_data if config["num_encoders"] == 10 and config["encoder"]["type"] == encoder]


def readme():
    lengths = [run["epochs"] for path in RESULTS.glob("cifar*.json") for run in content(path.stem)["runs"].values()]
    yield f"at {min(length for length in lengths if length)} to {max(lengths)} of the paper's 1000 (MLP) or 2000 (ViT) epochs"
    settled = [one["claim"] for one in content("figures/claims_quick")["claims"] if one["verdict"] != "cannot be seen yet"]
    assert all("untrained" in claim for claim in settled)
    yield f"which of the orderings that it claims or shows that can settle ({len(settled)} yet, of untrained encoders)"
    longest = {kind: max(lengths_of(kind)) for kind in ("mlp", "vit_lite")}
    assert {epochs for epochs in lengths_of("mlp", "cifar100") if epochs} == {5, longest["mlp"]}
    cifar10 = max(lengths_of("mlp", "cifar10"))
    yield f"(ten encoders: {cifar10} at most, on CIFAR-100 {longest['mlp']}; ViTs: {longest['vit_lite']})"
    for name, condition in (("masked input", "masked_input"), ("untrained", "untrained"), ("CLoSeR", "closer")):
        single, ensemble = (f"{accuracy('quickstart', condition, way, 'test')[0]:.3f}" for way in ("single", "ensemble"))
        yield f"│ {name:<12} │ {single:>14} │ {ensemble:>8} │"
    closer, untrained = (accuracy("quickstart", condition, "single", "test") for condition in ("closer", "untrained"))
    assert accuracy("quickstart", "closer", "single", "seeds") == [0, 1, 2]
    ours, theirs = (" and ".join(r(value) for value in values[1:]) for values in (closer, untrained))
    yield f"with seeds 1 and 2 CLoSeR reads {ours} single against {theirs} untrained"
    closer, untrained = (accuracy("quickstart", condition, "ensemble", "test") for condition in ("closer", "untrained"))
    ours, theirs = (" and ".join(r(value) for value in values[1:]) for values in (closer, untrained))
    yield f"as ensembles {ours} against {theirs}"


MADE = {
    RESULTS_PAGE: (
        results_images,
        results_panels,
        results_untrained,
        results_untrained_vit,
        results_matrices,
        results_neurons,
        results_best,
        results_visual,
        results_diagnosis,
    ),
    ESTIMATOR: (estimator_example,),
    PERFORMANCE: (
        performance_loss,
        performance_steps,
        performance_threads,
        performance_readout,
        performance_float32,
        performance_rest,
    ),
    DIFFERENCES: (differences_temperatures,),
    README: (readme,),
}


def page(name):
    """A page's lines in one, so that texts may break where they like; without the table of claims."""
    text = (REPOSITORY / name).read_text()
    return re.sub(r"\s+", " ", re.sub(f"{BEGIN}.*?{END}", "", text, flags=re.DOTALL))


def texts_of(name):
    return [re.sub(r"\s+", " ", text) for make in MADE[name] for text in make()]


@pytest.mark.parametrize("name", MADE)
def test_the_numbers_are_those_of_the_files(name):
    text = page(name)
    missing = [one for one in texts_of(name) if one not in text]
    assert not missing, f"{name} says otherwise than the files; expected:\n" + "\n".join(missing)


@pytest.mark.parametrize("name", [RESULTS_PAGE, PERFORMANCE])
def test_every_row_of_a_table_is_tied_to_its_file(name):
    text = re.sub(f"{BEGIN}.*?{END}", "", (REPOSITORY / name).read_text(), flags=re.DOTALL)
    rows = [re.sub(r"\s+", " ", line) for line in text.splitlines() if line.startswith("|") and re.search(r"\d", line)]
    heads = [row for row, after in zip(text.splitlines(), text.splitlines()[1:]) if after.startswith("|---")]
    untied = [row for row in rows if row not in texts_of(name) and row not in heads]
    assert len(rows) > 20 and not untied, f"{name}: tie to a file above:\n" + "\n".join(untied)


def test_a_wrong_number_is_seen(monkeypatch):
    right = (REPOSITORY / RESULTS_PAGE).read_text()
    wrong = right.replace("| masked input | .678 | .981 |", "| masked input | .678 | .982 |")
    assert wrong != right
    monkeypatch.setattr(
        Path, "read_text", lambda self, *args, read=Path.read_text: wrong if self.name == "results.md" else read(self)
    )
    with pytest.raises(AssertionError, match=r"\| masked input \| \.678 \| \.981 \|"):
        test_the_numbers_are_those_of_the_files(RESULTS_PAGE)


def test_the_table_of_claims_is_the_one_that_its_command_makes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    text = (REPOSITORY / RESULTS_PAGE).read_text()
    (command,) = re.findall(r"^    python -m closer_tf.reproduce (--claims.*?)\n\n", text, flags=re.DOTALL | re.MULTILINE)
    named, every = command.replace("\\\n", " ").split("$(printf -- '--from %s ' ")
    every, _, last = every.partition(")")
    arguments = named.split() + [word for path in sorted(glob(every)) for word in ("--from", path)] + last.split()
    copy = tmp_path / "results.md"
    copy.write_text(text)
    arguments[arguments.index(RESULTS_PAGE)] = str(copy)
    assert reproduce.main([*arguments, "--out", str(tmp_path)]) == 0
    assert copy.read_text() == text, "run the command above the table in docs/results.md"
    assert json.loads((tmp_path / "claims_quick.json").read_text()) == content("figures/claims_quick")


def test_what_the_configs_say_of_the_time_follows_from_the_benchmarks():
    mlp, small, large = (352 * step(case)["median_ms"] / 1000 for case in ("mlp q=.1", "vit q=.05", "vit q=.2"))
    fit = next(row for row in content("benchmarks/epoch")["epoch"] if row["case"] == "neuronal" and row["what"] == "fit")
    mouse = fit["median_ms"] / 1000
    said = {
        "mlp_gaussian": f"About {mlp:.0f} s per epoch on 2 quiet CPU cores, 8 1/2 hours in all",
        "vit_contiguous": f"On 2 quiet CPU cores about {small:.0f} s per epoch at q = .05, {large:.0f} s at q = .2",
        "mouse_751348571_tcloser": f"About {mouse:.1f} s per epoch on 2 quiet CPU cores",
    }
    assert 1000 * mlp / 3600 == pytest.approx(8.5, abs=0.1)
    for name, text in said.items():
        assert text in json.loads((REPOSITORY / "run_configs" / f"{name}.json").read_text())["description"]
    for path in (REPOSITORY / "run_configs").glob("*.json"):
        description = json.loads(path.read_text())["description"]
        for text in re.findall(r"[^.]*per epoch on[^.]*[.\d]* s?[^.]*", description):
            assert "43 s" not in text and "3 minutes" not in text, path.name
