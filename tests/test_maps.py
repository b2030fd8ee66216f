"""Receptive fields and graphs with a map in a run: drawn, measured, reported, and refused where there is no place."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from closer_tf import graphs, plots, report, train
from closer_tf.config import load_config, parse_config
from closer_tf.errors import ConfigError
from closer_tf.masks import expected_coverage, gaussian_masks, retinotopic_centres, retinotopic_masks
from closer_tf.training import experiment

MAP = {"scheme": "retinotopic", "fraction": 0.25, "layout": "foveal", "sigma": 1.0, "slope": 0.2}
SPATIAL = {"graph": {"family": "spatial", "num_edges": 3, "length": 1.5}, "stop_gradient": True}


def test_a_run_on_a_map(tmp_path, tiny_config, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny_config |= {"masks": MAP, "objective": SPATIAL}
    tiny_config["training"]["epochs"] = 1
    (tmp_path / "map.json").write_text(json.dumps(tiny_config))
    assert train.main(["map.json", "--run-dir", "run"]) == 0, capsys.readouterr().err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    config = load_config("map.json")
    fields = retinotopic_masks((8, 8), 3, 0.25, "foveal", 1.0, 0.2, seed=config.seeds.masks)
    graph = graphs.spatial(3, 3, 1.5, fields.centres(), config.seeds.graph)
    assert results["graph"] == graphs.measures(graph) and results["graph"]["edges"] == 3
    assert (tmp_path / "run" / "figures" / "coverage.png").exists()
    report.write_report(["run"], "page.html", embeddings="none")
    page = (tmp_path / "page.html").read_text()
    assert "Measures of the graph" in page and "expected coverage, " in page
    assert f"{results['graph']['reciprocity']:.3g}" in page


def test_the_objective_has_the_graph_of_the_fields(tiny_config):
    config = parse_config(tiny_config | {"masks": MAP, "objective": SPATIAL}).resolved()
    data = experiment.load_splits(config)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), 10)
    expected = graphs.spatial(3, 3, 1.5, fields.centres(), config.seeds.graph)
    np.testing.assert_array_equal(model.loss.graph.edges, expected.edges)


@pytest.mark.parametrize("family", ["small_world", "clustered", "scale_free"])
def test_families_by_name(tiny_config, family):
    graph = {"family": family, "num_edges": 3}
    config = parse_config(tiny_config | {"objective": {"graph": graph}}).resolved()
    made = experiment.make_objective(config).graph
    expected = getattr(graphs, family)(3, 3, seed=config.seeds.graph)
    assert made.family == family and made.edges.tolist() == expected.edges.tolist()


def test_what_cannot_be(tiny_config):
    areas = {"dataset": {"name": "simulated"}, "masks": {"scheme": "areas"}, "augmentation": {}, "condition": "tcloser"}
    config = parse_config(tiny_config | areas | {"objective": SPATIAL}).resolved()
    with pytest.raises(ConfigError, match="objective.graph: family 'spatial': needs receptive fields with a place"):
        experiment.load_splits(config)
    with pytest.raises(ConfigError, match="objective.graph: expected 1 to 6 edges among 3 encoders, found 7"):
        parse_config(tiny_config | {"objective": {"graph": {**SPATIAL["graph"], "num_edges": 7}}})
    with pytest.raises(ConfigError, match="masks.e2: expected"):
        parse_config(tiny_config | {"masks": {**MAP, "e2": 0}})


def test_the_connectome_of_the_guide(tmp_path, monkeypatch):
    """Its code, on a package that ships a table of the same layout; entry (i, j) counts the synapses from j to i."""
    (tmp_path / "cect" / "data").mkdir(parents=True)
    (tmp_path / "cect" / "__init__.py").touch()
    rows = ["pre\tpost\ttype\tsynapses", "AVAL\tAVBR\tchemical\t3", "AVAL\tAVBR\telectrical\t9", "ADAL\tAVAR\tchemical\t1"]
    rows += ["AVBL\tAVBL\tchemical\t1", "PVCR\tAVAL\tchemical\t7"]
    (tmp_path / "cect" / "data" / "aconnectome_white_1986_whole.csv").write_text("\n".join(rows) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).resolve().parents[1] / "docs" / "beyond_maps.md").read_text()
    block = next(block for block in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL) if "cect" in block)
    exec(compile(block, "beyond_maps.md", "exec"), {})
    graph = graphs.from_matrix(graphs.read_matrix("command_neurons.json"))
    assert graph.num_encoders == 10 and graph.edges.tolist() == [[0, 9], [3, 0]]
    np.testing.assert_allclose(graph.weights, [0.7, 0.3])


def test_the_pictures_of_a_map():
    fields = gaussian_masks((8, 8), 4, 0.2)
    centres, sigmas = retinotopic_centres((8, 8), 4)
    expected = expected_coverage((8, 8), centres, sigmas, 0.2)
    places, counted, wanted = plots.plot_coverage(fields, centres, sigmas, expected).axes[:3]
    np.testing.assert_array_equal(counted.images[0].get_array(), fields.coverage())
    np.testing.assert_array_equal(wanted.images[0].get_array(), expected)
    assert [text.get_text() for text in places.texts] == ["0", "1", "2", "3"]
    graph = graphs.spatial(4, 5, 2.0, centres)
    drawn = plots.plot_graph(graph, (), centres)
    at = {text.get_text(): text.get_position() for text in drawn.axes[0].texts}
    np.testing.assert_allclose([at[str(i)] for i in range(4)], [(x, -y) for y, x in centres])
