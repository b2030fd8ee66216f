"""The benchmarks measure what they say: the reference formula is the equation, each command writes what it measured."""

import json

import numpy as np
import pytest
import reference
from gradients import value_and_gradient

from benchmarks.reference import reference_loss
from closer_tf import graphs


@pytest.mark.parametrize("stop_gradient", [False, True])
@pytest.mark.parametrize("make", [graphs.all_to_all, graphs.directional_ring])
def test_the_reference_formula_is_the_equation(make, stop_gradient):
    graph, values = make(4), np.random.default_rng(0).normal(size=(6, 4, 3)).astype(np.float32)
    loss, gradient = value_and_gradient(lambda point: reference_loss(point, 2.0, graph, stop_gradient), values)
    expected = reference.closer_gradient(values, 2.0, graph.edges, graph.weights, stop_gradient)
    assert loss == pytest.approx(reference.closer_loss(values, 2.0, graph.edges, graph.weights), rel=1e-5)
    np.testing.assert_allclose(gradient, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("condition, bins, pairs", [("closer", 1, 9), ("tcloser", 2, 0)])
def test_the_floor_counts_each_product_once(condition, bins, pairs):
    """By hand: 3 encoders of 4 cells, one hidden layer of 8 and D = 4; a pair's distances only where the loss has them."""
    from benchmarks.step import arithmetic_gflop
    from closer_tf import CLoSeRLoss, TemporalLoss, build_ensemble, mlp
    from closer_tf.masks import gaussian_masks

    fields = gaussian_masks((8, 8), num_encoders=3, fraction=1 / 16)
    ensemble = build_ensemble((8, 8, 1), fields, lambda i, shape: mlp(shape, hidden=(8,), embedding_dim=4))
    ensemble.compile(loss=CLoSeRLoss(graph=graphs.all_to_all(3)) if condition == "closer" else TemporalLoss())
    products = 3 * 2 * 16 * bins * 3 * (4 * 8 + 8 * 4) + 3 * 2 * 16**2 * 4 * pairs
    assert arithmetic_gflop(ensemble, 16) == pytest.approx(products / 1e9)


@pytest.mark.slow
def test_the_command_writes_numbers_and_a_picture(tmp_path):
    from benchmarks.run import main

    main(
        [
            "-o",
            str(tmp_path / "new" / "here"),
            "--parts",
            "loss",
            "step",
            "--sizes",
            "2",
            "--cases",
            "neuronal",
            "--repeats",
            "3",
        ]
    )
    found = json.loads((tmp_path / "new" / "here.json").read_text())
    ours = [row for row in found["loss"] if row["implementation"] == "ours" and row["family"] == "bidirectional_ring"]
    assert ours[0]["edges"] == 2 and len(ours[0]["repeats_ms"]) == 3
    assert found["step"][0]["median_ms"] > 0 and found["matrix_product_gflops"] > 0
    assert (tmp_path / "new" / "here.png").stat().st_size > 10_000


@pytest.mark.slow
def test_trainings_in_one_are_measured(tmp_path, monkeypatch):
    from benchmarks import fused

    monkeypatch.setitem(fused.CASES, "digits", ("quickstart", [], 64, (2,)))
    fused.main(["-o", str(tmp_path / "fused"), "--cases", "digits", "--repeats", "3", "--seconds", "0.5"])
    found = json.loads((tmp_path / "fused.json").read_text())
    assert [row["variant"] for row in found["steps"]] == ["one after another", "fused, stacked", "fused, separate products"]
    assert all(row["runs"] == 2 and row["median_ms"] > 0 for row in found["steps"])
    assert isinstance(found["machine"]["other_work_ran_beside"], bool)
