"""The tables of docs/beyond_maps.md are those of the files in results/. `python tests/test_beyond_numbers.py` prints them."""

import json
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
MAPS, GRAPHS, SIMULATED = "beyond_maps", "beyond_graphs", "beyond_rnn_simulated"


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
    return " | ".join(f"{r(found[0][k]['mean'])} ({r(found[0][k]['sd'])})" for k in ("single", "ensemble"))


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


def rows_of_recordings():
    for kind, runs in groups(SIMULATED, lambda config: config["encoder"]["type"]).items():
        parts = [scores(SIMULATED, c, lambda key, k=kind: f"encoder.type={k}" in key) for c in ("untrained", "tcloser")]
        yield f"| {kind} | {' | '.join(parts)} | {mean_of(SIMULATED, runs, 'collapse_gauge', 'effective_rank', 1)} |"


@pytest.mark.parametrize("rows", [rows_of_maps, rows_of_graphs, rows_of_recordings])
def test_the_tables_are_those_of_the_files(rows):
    page = (REPOSITORY / "docs" / "beyond_maps.md").read_text()
    for row in rows():
        assert row in page


if __name__ == "__main__":
    print(*rows_of_maps(), *rows_of_graphs(), *rows_of_recordings(), sep="\n")
