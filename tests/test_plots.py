"""Pictures show what they are given, and need no TensorFlow."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from closer_tf import graphs, masks, plots

HISTORY = [{"epoch": k + 1, "seconds": 1.0, "loss": 3.0 - k, "val_loss": 3.5 - k, "var": 1.0 + k} for k in range(3)]
ACCURACY = {
    "untrained": {"single": {"test": 0.3, "per_encoder": [0.2, 0.4]}, "ensemble": {"test": 0.5}},
    "closer": {"single": {"test": 0.45, "per_encoder": [0.4, 0.5]}, "ensemble": {"test": 0.6}},
    "full_input": {"ensemble": {"test": 0.7}},
}


def test_training_curves_show_every_logged_value():
    figure = plots.plot_training_curves(HISTORY)
    axes = {axis.get_ylabel(): axis for axis in figure.axes if axis.lines}
    assert set(axes) == {"loss", "var"}
    assert [list(line.get_ydata()) for line in axes["loss"].lines] == [[3.0, 2.0, 1.0], [3.5, 2.5, 1.5]]


def test_accuracies_are_the_bars_heights():
    figure = plots.plot_accuracy(ACCURACY, chance=0.1, simulated=True)
    single, ensemble = figure.axes
    assert [bar.get_height() for bar in single.patches] == [0.3, 0.45]
    assert [label.get_text() for label in ensemble.get_xticklabels()] == ["full input", "untrained", "CLoSeR"]
    assert figure._suptitle.get_text() == "simulated data"


def test_receptive_fields_have_a_panel_each():
    fields = masks.gaussian_masks((8, 8), 4, 0.2)
    figure = plots.plot_receptive_fields(fields, np.zeros((8, 8, 1)))
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["stimulus", "encoder 0", "encoder 1", "encoder 2", "encoder 3", "encoders per pixel"]
    np.testing.assert_array_equal(figure.axes[5].images[0].get_array(), fields.coverage())


def test_pseudo_likelihood_in_the_papers_class_order():
    names = tuple(sorted(plots.CIFAR10_CLASS_ORDER))
    matrix = np.eye(10)
    matrix[names.index("automobile"), names.index("truck")] = 0.5
    figure = plots.plot_pseudo_likelihood({"closer": matrix}, names)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == list(plots.CIFAR10_CLASS_ORDER)
    assert figure.axes[0].images[0].get_array()[0, 1] == 0.5


@pytest.mark.parametrize("graph", [graphs.star(5), graphs.random_graph(10, 20), graphs.directional_ring(3)])
def test_graphs_beside_their_matrix(graph):
    figure = graph.plot()
    np.testing.assert_allclose(figure.axes[1].images[0].get_array(), graph.matrix())
    assert f"{graph.num_edges} edges" in figure.axes[0].get_title()


def test_raster_trajectories_and_violins(tmp_path):
    rng = np.random.default_rng(0)
    fields = masks.area_masks(["LP"] * 4 + ["VISp"] * 6, ["VISp", "LP"])
    raster = plots.plot_raster(rng.poisson(1, (30, 10)), fields, "trial 3")
    assert [axis.get_ylabel() for axis in raster.axes[:2]] == ["VISp\n(6)", "LP\n(4)"]
    paths = {"untrained": {"a": rng.normal(size=(30, 2, 5))}, "tcloser": {"a": rng.normal(size=(30, 2, 5))}}
    assert len(plots.plot_embedding_trajectories(paths, fields.labels).axes) == 4
    values = {"lpl": {"single": [0.7, 0.8], "ensemble": [0.9]}, "masked_input": {"single": [0.75], "ensemble": [0.85]}}
    violins = plots.plot_violins(values, chance=2 / 3, title="a mouse")
    for name, figure in (("raster", raster), ("violins", violins)):
        plots.save(figure, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_numbers_as_labels_are_judged_by_r_squared_and_have_no_chance_line():
    values = {"lpl": {"single": [0.7, 0.8], "ensemble": [0.9]}}
    for figure in (plots.plot_accuracy(ACCURACY, score="R^2"), plots.plot_violins(values, score="R^2")):
        assert figure.axes[0].get_ylabel() == "test R^2"
        assert not any(line.get_linestyle() == ":" for axis in figure.axes for line in axis.lines)


def test_labels_of_many_conditions_do_not_overlap():
    settings = [
        f"closer, masks.fraction=0.{k}, objective.graph.family=all_to_all, objective.stop_gradient=true" for k in range(11)
    ]
    figure = plots.plot_violins({name: {"single": [0.3], "ensemble": [0.5]} for name in settings}, chance=0.1)
    FigureCanvasAgg(figure).draw()
    for axis in figure.axes:
        boxes = [label.get_window_extent() for label in axis.get_xticklabels()]
        assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:]))
