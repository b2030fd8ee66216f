"""The tables of docs/beyond*.md are those of the files in results/. `python tests/test_beyond_numbers.py` prints them."""

import json
from pathlib import Path

import numpy as np
import pytest

from closer_tf.config import parse_config

REPOSITORY = Path(__file__).resolve().parents[1]
MAPS, GRAPHS = "beyond_maps", "beyond_graphs"
RECORDINGS = {"simulated": "simulated", "movie": "natural movie"}
"""End of a summary's name -> what the tables call it."""


def content(name):
    return json.loads((REPOSITORY / "results" / f"{name}.json").read_text())


def r(value, digits=3):
    """A number as the pages write it: .308"""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def groups(name, kind):
    """dict what tells runs apart -> their names in a summary, in order.

    Args:
        name: the summary.
        kind: function from a run's config to that.
    """
    found = {}
    for run, about in content(name)["runs"].items():
        found.setdefault(kind(about["config"]), []).append(run)
    return found


def scores(name, condition, wanted):
    """'.689 (.012) | .956 (.004)': single and ensemble, mean and sd over seeds, of a condition, its name as wanted."""
    found = [of for key, of in content(name)["accuracy"].items() if key.split(",")[0] == condition and wanted(key)]
    assert len(found) == 1, (name, condition, list(content(name)["accuracy"]))
    return both(found[0])


def mean_of(name, runs, section, key, digits=3):
    values = [content(name)["runs"][run][section][key] for run in runs]
    return r(float(np.mean(values)), digits)


def rows_of_maps():
    for scheme, runs in groups(MAPS, lambda config: config["masks"].get("layout", config["masks"]["scheme"])).items():
        parts = [scores(MAPS, c, lambda key, s=scheme: f"={s}" in key) for c in ("masked_input", "untrained", "closer")]
        yield f"| {scheme} | {' | '.join(parts)} | {mean_of(MAPS, runs, 'collapse_gauge', 'effective_rank', 1)} |"


def rows_of_graphs():
    for family, runs in groups(GRAPHS, lambda config: config["objective"]["graph"]["family"]).items():
        trained = scores(GRAPHS, "closer", lambda key, f=family: f"family={f}" in key)
        measured = [mean_of(GRAPHS, runs, "graph", key, 2) for key in ("reciprocity", "clustering", "path_length")]
        silent = mean_of(GRAPHS, runs, "graph", "silent", 1)
        rank = mean_of(GRAPHS, runs, "collapse_gauge", "effective_rank", 1)
        yield f"| `{family}` | {trained} | {rank} | {silent} | {' | '.join(measured)} |"


def rows_of_recurrent():
    for end, says in RECORDINGS.items():
        name = f"beyond_rnn_{end}"
        for kind, runs in groups(name, lambda config: config["encoder"]["type"]).items():
            parts = [scores(name, c, lambda key, k=kind: f"encoder.type={k}" in key) for c in ("untrained", "tcloser")]
            yield f"| {says} | {kind} | {' | '.join(parts)} | {mean_of(name, runs, 'collapse_gauge', 'effective_rank', 1)} |"


def rows_of_local():
    for end, says in RECORDINGS.items():
        name = f"beyond_local_{end}"
        yield f"| {says} | untrained | {scores(name, 'untrained', bool)} | |"
        for local, runs in groups(name, lambda config: config["objective"].get("local", False)).items():
            of = scores(name, "tcloser", lambda key, v=local: f"objective.local={v}" in key)
            way = "layer by layer" if local else "end to end"
            yield f"| {says} | {way} | {of} | {mean_of(name, runs, 'collapse_gauge', 'effective_rank', 1)} |"


OBJECTIVES = ("closer", "push0", "push01", "push1", "simsiam", "byol99", "byol996", "local", "local128")


def rows_of_objectives():
    """Each row after its name, in the order of the page: means over seeds, their sd in brackets."""
    summary = content("beyond_objectives")
    (untrained,) = (of for name, of in summary["accuracy"].items() if name.partition(",")[0] == "untrained")
    yield f" | {validation_of(untrained)} | {both(untrained)} |"
    for name in OBJECTIVES:
        runs = [f"{name}_s{seed}" for seed in range(3)]
        (found,) = (of for key, of in summary["accuracy"].items() if is_of(key, summary["runs"][runs[0]]["config"]))
        sd, rank = (
            mean_of("beyond_objectives", runs, "collapse_gauge", *of) for of in (("embedding_sd", 2), ("effective_rank", 1))
        )
        yield f" | {validation_of(found)} | {both(found)} | {sd} | {rank} |"


def validation_of(found):
    return r(float(np.mean(found["single"]["validation"])))


def rows_of_cifar():
    """Each row after its name, in the order of the file's runs: the values of each seed, in order."""
    summary = content("beyond_cifar10")
    for name, found in cifar_variants().items():
        abouts = [about for about in summary["runs"].values() if is_of(name, about["config"])]
        seeds = [about["config"]["seed"] for about in abouts]
        assert all(found[readout]["seeds"] == seeds == sorted(seeds) for readout in ("single", "ensemble"))
        gauges = [about.get("collapse_gauge", {}) for about in abouts]
        columns = [
            each(found["single"].get("validation", [None])),
            *(each(found[readout]["test"]) for readout in ("single", "ensemble")),
            each((gauge.get("embedding_sd") for gauge in gauges), 2),
            each((gauge.get("effective_rank") for gauge in gauges), 1),
        ]
        yield f" | {' | '.join(columns)} |"


def cifar_variants():
    """dict name of a condition -> its accuracies, in the order in which its runs come first."""
    summary = content("beyond_cifar10")
    names = (
        next(key for key in summary["accuracy"] if is_of(key, about["config"])) for about in summary["runs"].values()
    )  # the same for another seed
    return {name: summary["accuracy"][name] for name in names}


def each(values, digits=3):
    """'.352, .349': the values of each seed, '-' where it is not known; '' where none is."""
    values = list(values)
    return ", ".join("-" if value is None else r(value, digits) for value in values) if set(values) != {None} else ""


def both(found):
    """'.689 (.012) | .956 (.004)' of a condition's accuracies."""
    return " | ".join(f"{r(found[readout]['mean'])} ({r(found[readout]['sd'])})" for readout in ("single", "ensemble"))


def rows_of_costs():
    """Each row from the graph on; what comes second in a pair beside what comes first."""
    found = {(row["what"], row["graph"], row["kind"]): row["median_ms"] for row in content("benchmarks/beyond")["rows"]}
    loss, step = "loss and gradient", "training step"
    for what, first, second, graphs in (
        (loss, "pull", "push", ("directional_ring", "bidirectional_ring")),
        (step, "end to end", "layer by layer", ("directional_ring", "all_to_all")),
    ):
        for graph in graphs:
            name, digits = "all-to-all" if graph == "all_to_all" else graph.replace("_", " "), 1 if what == loss else 0
            base, other = (found[what, graph, kind] for kind in (first, second))
            yield f"{first} | {name} | {base:.{digits}f} | |"
            yield f"{second} | {name} | {other:.{digits}f} | {other / base:.2f} x {first} |"


def is_of(name, config):
    """Whether a name of a summary's condition is that of a run with this config, which may be from before a key was there."""
    condition, *told = name.split(", ")
    config = parse_config(config).resolved().to_dict()
    for part in told:
        key, value = part.split("=")
        at = config
        for step in key.split("."):
            at = at.get(step) if isinstance(at, dict) else None
        if str(at) != value:
            return False
    push = config["objective"].get("push")
    return condition == config["condition"] and ("push.weight" in name) == (push is not None)


@pytest.mark.parametrize(
    "page, rows",
    [
        ("beyond_maps", rows_of_maps),
        ("beyond_maps", rows_of_graphs),
        ("beyond_maps", rows_of_recurrent),
        ("beyond", rows_of_costs),
        ("beyond", rows_of_local),
        ("beyond", rows_of_objectives),
        ("beyond", rows_of_cifar),
    ],
)
def test_the_tables_are_those_of_the_files(page, rows):
    text, place = (REPOSITORY / "docs" / f"{page}.md").read_text(), 0
    for row in rows():
        assert row in text
        if page == "beyond":
            place = text.index(row, place) + 1  # in this order


CIFAR = "beyond_cifar10"
ALL_TO_ALL = ("scheme=gaussian", "family=all_to_all", "local=False", "stop_gradient=False")


def by_seed(name, condition, readout, *parts, without=()):
    """dict seed -> test accuracy of a summary's one condition whose name has all the parts and none of the others."""
    (found,) = (
        values[readout]
        for key, values in content(name)["accuracy"].items()
        if key.partition(",")[0] == condition
        and all(part in key for part in parts)
        and not any(part in key for part in without)
    )
    return dict(zip(found["seeds"], found["test"]))


def above(one, other):
    """'.039, .039': differences of seeds, in their order."""
    return each(one[seed] - other[seed] for seed in one.keys() & other.keys())


def test_what_is_said_of_cifar_is_in_the_file():
    """Differences are between runs of one seed, named in the order of seeds."""
    text = " ".join((REPOSITORY / "docs" / "beyond.md").read_text().split())
    clusters, weak, strong = (
        by_seed(CIFAR, "closer", "ensemble", "family=custom", *parts, without=without)
        for parts, without in (((), ("push",)), (("weight=0.1",), ()), (("weight=1.0",), ()))
    )
    assert f"by {above(weak, clusters)} with lambda .1 and by {above(strong, clusters)} with lambda 1" in text
    for readout in ("single", "ensemble"):
        untrained = by_seed(CIFAR, "untrained", readout, "scheme=gaussian")
        closer = by_seed(CIFAR, "closer", readout, *ALL_TO_ALL)
        byol = by_seed(CIFAR, "distilled", readout, "momentum=0.996")
        layers = by_seed(CIFAR, "closer", readout, "local=True")
        assert f"{above(byol, untrained)} above untrained" in text and f"{above(closer, byol)} below CLoSeR" in text
        assert f"{above(layers, untrained)} beside untrained" in text
        gains = [
            above(by_seed(CIFAR, "closer", readout, fields, *ALL_TO_ALL[1:]), by_seed(CIFAR, "untrained", readout, fields))
            for fields in ("layout=uniform", "layout=foveal", "scheme=gaussian")
        ]
        assert f"{gains[0]} on a uniform map, {gains[1]} on a foveal one, against {gains[2]}" in text


def test_what_is_said_of_graphs_on_cifar_is_in_the_file():
    text = " ".join((REPOSITORY / "docs" / "beyond.md").read_text().split())
    measured = {
        (about["config"]["objective"]["graph"]["family"], about["config"]["seed"]): about["graph"]
        for about in content(CIFAR)["runs"].values()
        if about.get("graph") and about["graph"]["edges"] == 20
    }
    families = {family for family, _ in measured}
    silent = {key for key, graph in measured.items() if graph["silent"]}
    assert len(families) == 7 and silent == {("clustered", 0), ("clustered", 1), ("spatial", 1), ("random", 1)}
    assert all(measured[key]["silent"] == 1 for key in silent)
    assert measured["small_world", 0] == measured["bidirectional_ring", 0]
    assert measured["small_world", 1]["clustering"] > measured["bidirectional_ring", 1]["clustering"] == 0
    for readout in ("single", "ensemble"):
        found = {f: by_seed(CIFAR, "closer", readout, f"family={f},", "scheme=gaussian") for f in families}
        untrained = by_seed(CIFAR, "untrained", readout, "scheme=gaussian")
        spans, ranked = [], []
        for seed, all_to_all in by_seed(CIFAR, "closer", readout, *ALL_TO_ALL).items():
            of_seed = {family: values[seed] for family, values in found.items()}
            spans.append(f"{r(min(of_seed.values()))} to {r(max(of_seed.values()))}")
            ranked.append(sorted(families, key=of_seed.get, reverse=True))
            assert max(of_seed.values()) < all_to_all
        assert f"{readout} {' and '.join(spans)} where untrained encoders are at {each(untrained.values())}" in text
        assert ranked[0][-1] == ranked[1][0] == "scale_free" and ranked[0][0] == "random" and "random" in ranked[1][:3]
        assert found["small_world"][0] == found["bidirectional_ring"][0]
        star = by_seed(CIFAR, "closer", readout, "family=star")
        assert f"{readout} {each(star.values())}" in text
        behind = [sum(values[seed] > star[seed] for values in found.values()) for seed in (0, 1)]
        assert behind[0] == 7 and behind[1] in (3, 4)


def test_what_another_machine_and_an_earlier_version_gave():
    text = " ".join((REPOSITORY / "docs" / "beyond.md").read_text().split())
    apart = {}
    for readout in ("single", "ensemble"):
        for family, stops in (("all_to_all", False), ("random", True), ("bidirectional_ring", True)):
            parts = (f"family={family}", f"stop_gradient={stops}")
            now = by_seed(CIFAR, "closer", readout, "scheme=gaussian", *parts, without=("local=True",))
            then = by_seed("cifar10_panels_quick_2", "closer", readout, "fraction=0.1", *parts)
            apart.setdefault(readout, []).append(r(abs(now[1] - then[1])))
    single, ensemble = ("{}, {} and {}".format(*values) for values in apart.values())
    assert f"came out {single} apart on single encoders, {ensemble} on the ensemble" in text


if __name__ == "__main__":
    print(*rows_of_maps(), *rows_of_graphs(), *rows_of_recurrent(), *rows_of_local(), *rows_of_objectives(), sep="\n")
