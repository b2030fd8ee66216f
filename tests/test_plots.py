"""Pictures show what they are given, and need no TensorFlow."""

import functools
import itertools
import warnings

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Annotation, Text

from closer_tf import graphs, masks, plots
from closer_tf.config import CONDITIONS
from closer_tf.errors import ConfigError
from closer_tf.plots import style
from closer_tf.plots.shared import labels_of

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


def test_columns_of_receptive_fields_lie_equally_far_apart():
    figure = plots.plot_receptive_fields(masks.gaussian_masks((8, 8), 6, 0.2, seed=0), np.zeros((8, 8, 1)))
    FigureCanvasAgg(figure).draw()
    steps = np.diff([axis.get_position().x0 for axis in figure.axes[:6]])
    np.testing.assert_allclose(steps, steps[0], atol=1e-3)


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
    assert [axis.get_ylabel() for axis in raster.axes[:2]] == ["VISp\n6 units", "LP\n4 units"]
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
        assert figure.axes[0].get_ylabel() == "test R²"
        assert not any(line.get_linestyle() == ":" for axis in figure.axes for line in axis.lines)


def test_many_conditions_stand_in_rows_whose_names_have_as_few_keys_as_tell_them_apart():
    settings = [
        f"closer, masks.fraction={k / 20}, objective.graph.family=all_to_all, objective.stop_gradient=True" for k in range(11)
    ]
    figure = plots.plot_violins({name: {"single": [0.3], "ensemble": [0.5]} for name in settings}, chance=0.1)
    FigureCanvasAgg(figure).draw()
    labels = figure.axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"CLoSeR, fraction={k / 20:g}" for k in range(11)]
    boxes = [label.get_window_extent() for label in labels]
    assert not any(one.overlaps(other) for one, other in zip(boxes, boxes[1:]))


@pytest.mark.parametrize(
    "names, labels",
    [
        ([], []),
        (["untrained", "closer"], ["untrained", "CLoSeR"]),
        (
            [
                "closer, objective.local=False, objective.temperature=5.0",
                "closer, objective.local=True, objective.temperature=5.0",
            ],
            ["CLoSeR", "CLoSeR, local"],
        ),
        (
            ["distilled, objective.momentum=None", "distilled, objective.momentum=0.99"],
            ["distilled", "distilled, momentum=0.99"],
        ),
        (  # of keys that tell as much, one whose values are words
            ["closer, masks.e2=4.0, masks.layout=foveal", "closer, masks.e2=None, masks.layout=uniform", "closer"],
            ["CLoSeR, layout=foveal", "CLoSeR, layout=uniform", "CLoSeR"],
        ),
        (  # a value with commas in it
            ["closer, encoder.hidden=[4, 5], seed=1", "closer, encoder.hidden=[4], seed=1"],
            ["CLoSeR, hidden=[4, 5]", "CLoSeR, hidden=[4]"],
        ),
        (["closer, masks.e2=None", "closer, masks.e2=4.0", "closer"], ["CLoSeR, e2=None", "CLoSeR, e2=4", "CLoSeR"]),
        (["closer, objective.push.weight=1.0", "closer"], ["CLoSeR, push.weight=1", "CLoSeR"]),
        (["untrained", "closer, seed=1", "closer, seed=2"], ["untrained", "CLoSeR, seed=1", "CLoSeR, seed=2"]),
    ],
)
def test_labels_of_variants(names, labels):
    assert labels_of(names) == labels


AREAS = ("VISp", "VISl", "LGd", "LP", "VISam", "CA1", "VISrl")


def accuracies(level, count=7):
    rng = np.random.default_rng(count)
    each = np.clip(level + rng.normal(0, 0.05, count), 0, 1)
    return {
        "single": {"test": float(each.mean()), "per_encoder": each.tolist()},
        "ensemble": {"test": min(1.0, level + 0.2)},
    }


@functools.cache
def pictures():
    rng = np.random.default_rng(0)
    low = {name: accuracies(0.1) for name in ("masked_input", "untrained", "closer")}
    high = {name: accuracies(0.93) for name in ("masked_input", "full_input", "untrained", "lpl", "notcloser", "tcloser")}
    negative = {name: {"single": {"test": -0.2, "per_encoder": [-0.5, 0.1]}, "ensemble": {"test": 0.3}} for name in high}
    seeds = {name: {"single": [0.1, 0.15], "ensemble": [0.2]} for name in high}
    classes = tuple(plots.CIFAR10_CLASS_ORDER)
    matrices = [rng.random((10, 10))] * 7
    fields = masks.area_masks([area for area in AREAS for _ in range(4)], AREAS)
    walks = {name: {"movie_one, trial 3": rng.normal(size=(30, 7, 4))} for name in ("untrained", "tcloser")}
    return {
        "low": plots.plot_accuracy(low, 0.1),
        "high": plots.plot_accuracy(high, 0.9, simulated=True),
        "negative": plots.plot_accuracy(negative, score="R^2"),
        "encoders": plots.plot_encoder_accuracy(high, AREAS, 0.93),
        "violins": plots.plot_violins(seeds, 0.1, title="a mouse"),
        "curves": plots.plot_training_curves(HISTORY),
        "maps": plots.plot_pseudo_likelihood({"closer": matrices[0], "untrained": matrices[0]}, classes, "VISp"),
        "all maps": plots.plot_pseudo_likelihoods({"closer": matrices, "untrained": matrices}, classes, AREAS),
        "graph": graphs.all_to_all(7).plot(AREAS),
        "raster": plots.plot_raster(rng.poisson(1, (30, 28)), fields, "movie_one, trial 3", 0.033, 2),
        "over time": plots.plot_embedding_trajectories(walks, AREAS),
    }


def boxes_of_texts(figure):
    """(text, box) of all that is written: turned text as the box that holds it, so kept apart by `straight`."""
    FigureCanvasAgg(figure).draw()
    shown = []
    for text in figure.findobj(Text):
        if text.get_text().strip() and text.get_visible():
            box = Text.get_window_extent(text) if isinstance(text, Annotation) else text.get_window_extent()
            shown.append((text, box))
    return shown


def _is_straight(text):
    return text.get_rotation() % 90 == 0


@pytest.mark.parametrize(
    "name", ["low", "high", "negative", "encoders", "violins", "maps", "all maps", "graph", "raster", "over time"]
)
def test_no_text_lies_over_another_or_a_legend(name):
    figure = pictures()[name]
    ticks = {
        label
        for axis in figure.axes
        for each in (axis.xaxis, axis.yaxis)
        for tick in each.get_major_ticks()
        for label in (tick.label1, tick.label2)
    }  # of which those outside the limits are there and not drawn
    drawn = {
        label
        for axis in figure.axes
        for each in (axis.xaxis, axis.yaxis)
        for tick in each._update_ticks()
        for label in (tick.label1, tick.label2)
    }
    texts = [(text, box) for text, box in boxes_of_texts(figure) if _is_straight(text) and (text not in ticks or text in drawn)]
    for (one, a), (other, b) in itertools.combinations(texts, 2):
        overlap = min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(overlap) <= 1, (one.get_text(), other.get_text())
    legends = [legend.get_window_extent() for legend in figure.legends]
    assert not any(axis.get_legend() for axis in figure.axes)  # a legend within an axis lies over what is drawn there
    for axis in figure.axes:
        for box in legends:
            assert not axis.get_window_extent().overlaps(box)


@pytest.mark.parametrize("name", ["low", "high", "encoders"])
def test_the_axis_of_an_accuracy_begins_at_zero_and_names_nothing_above_one(name):
    for axis in pictures()[name].axes:
        assert axis.get_ylim()[0] == 0
        assert all(0 <= tick <= 1 for tick in axis.get_yticks())


def test_every_encoder_has_its_name_and_every_axis_its_unit():
    shown = pictures()
    assert [label.get_text() for label in shown["encoders"].axes[0].get_xticklabels()] == list(AREAS)
    written = {text.get_text() for text in shown["graph"].axes[0].texts}
    assert set(AREAS) <= written
    assert [label.get_text() for label in shown["graph"].axes[1].get_yticklabels()] == list(AREAS)
    assert [axis.get_title() for axis in shown["all maps"].axes[:7]] == list(AREAS)
    assert [label.get_text() for label in shown["all maps"].axes[0].get_yticklabels()] == list(plots.CIFAR10_CLASS_ORDER)
    assert [axis.get_title() for axis in shown["over time"].axes] == [*AREAS, *AREAS]
    assert all(axis.get_xlabel().startswith("PC 1 (") for axis in shown["over time"].axes)
    assert shown["raster"].axes[6].get_xlabel() == "time in the trial (s)"
    assert shown["raster"].axes[0].images[0].get_extent()[:2] == pytest.approx([2 * 0.033, 32 * 0.033])
    assert shown["raster"].axes[7].get_ylabel() == "spikes per bin of 33 ms"


def test_what_is_left_out_of_embeddings_over_time_is_said():
    rng = np.random.default_rng(0)
    trials = {f"stimulus {k}": rng.normal(size=(10, 15, 3)) for k in range(8)}
    figure = plots.plot_embedding_trajectories({"untrained": trials})
    assert len(figure.axes) == 12
    assert "first 12 of 15 encoders, first 6 of 8 stimuli" in figure._suptitle.get_text()


NAMES = ("\u732b\u72ac", "na\u00efve $x$", "\u05d0\u05d1", "\x1b[31m", "\U0001f600", "\ud800")


def test_letters_of_any_script_are_drawn_or_written_as_numbers(tmp_path):
    matrix = np.full((6, 6), 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = plots.plot_pseudo_likelihood({"closer": matrix}, NAMES, title="\U0001f600 $a$")
        for suffix in ("png", "svg", "pdf"):
            plots.save(figure, tmp_path / f"x.{suffix}")
    known, numbers = style._fonts_with(frozenset("\u732b"))
    shown = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert shown[0] == ("\u732b\u72ac" if known and not numbers else "\\u732b\\u72ac")
    assert shown[1] == "na\u00efve $x$" and shown[3] == "\\u001b[31m" and shown[5] == "\\ud800"
    assert any("written as numbers" in text.get_text() for text in figure.texts)


def test_a_letter_that_another_font_has_is_taken_from_it(monkeypatch):
    usual = style._characters(font_manager.findfont("DejaVu Sans"))
    letter = next(c for c in sorted(style._characters(font_manager.findfont("STIXGeneral")) - usual) if c.isprintable())
    figure = plots.plot_violins({"closer": {"single": [0.5]}}, title=f"a {letter}")
    assert figure._suptitle.get_text() == f"a {letter}" and len(figure._suptitle.get_fontfamily()) > 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FigureCanvasAgg(figure).draw()


def test_the_same_figure_gives_the_same_bytes(tmp_path, monkeypatch):
    fields = masks.gaussian_masks((8, 8), 2, 0.2)
    written = []
    for name, now in (("one", "1000000000"), ("two", "1100000000")):
        monkeypatch.setenv("SOURCE_DATE_EPOCH", now)  # what matplotlib takes for the time of writing
        plots.save(plots.plot_receptive_fields(fields, np.zeros((8, 8, 1))), tmp_path / f"{name}.png", ["pdf", "svg"])
        written.append([(tmp_path / f"{name}.{suffix}").read_bytes() for suffix in ("png", "pdf", "svg")])
    assert written[0] == written[1]


def test_pictures_as_pdf_and_svg(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    figure = plots.plot_accuracy(ACCURACY)
    plots.save(figure, "~/a.png", formats=["pdf", "svg"])
    assert (tmp_path / "a.pdf").read_bytes().startswith(b"%PDF") and b"<svg" in (tmp_path / "a.svg").read_bytes()
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match=r"a.jpeg: expected a picture's name that ends in .png, .pdf, .svg"):
        plots.save(figure, tmp_path / "a.jpeg")


def test_conditions_have_colours_that_the_colour_blind_tell_apart():
    colours = {name: condition.colour for name, condition in CONDITIONS.items() if name != "tcloser"}  # CLoSeR in time
    assert len(set(colours.values())) == len(colours)
    # Vi\u00e9not, Brettel and Mollon 1999: what is left of linear RGB without the long or the middle cones
    without = ([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]],
               [[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])  # fmt: skip
    for cones in (np.eye(3), *map(np.array, without)):
        seen = [cones @ (np.array([int(c[k : k + 2], 16) for k in (1, 3, 5)]) / 255) ** 2.2 for c in colours.values()]
        seen = [np.clip(s, 0, 1) ** (1 / 2.2) for s in seen]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.1


def test_pictures_of_very_many_encoders_can_be_written(tmp_path):
    count, pair = 500, ("a", "b")
    each = {"single": {"test": 0.5, "per_encoder": [0.5] * count}, "ensemble": {"test": 0.5}}
    names = tuple(f"encoder {i}" for i in range(count))
    for figure in (
        plots.plot_encoder_accuracy({"closer": each}, names),
        plots.plot_pseudo_likelihoods({"closer": [np.eye(2)] * count}, pair, names),
    ):
        plots.save(figure, tmp_path / "x.png")  # matplotlib draws nothing wider than 65,536 pixels
    assert figure._suptitle.get_text() == "first 30 of 500 encoders"


def test_a_panels_legend_names_what_is_drawn_and_writes_formulas():
    from closer_tf.plots.panels import plot_panel_lines

    point = {"x": 0.1, "mean": 0.5, "half": None, "values": [0.5]}
    series = [
        {"name": name, "colour": "C0", "constant": False, "ours": [], "published": []} for name in ("G_N^k", "none", "a$b$")
    ]
    series[0]["ours"] = series[2]["ours"] = [point]
    figure = plot_panel_lines(series, "h", "x", "y", has_published=False)
    plots.style.make_legible(figure)
    found = [(text.get_text(), text.get_parse_math()) for text in figure.legends[0].get_texts()]
    assert found == [("$G_N^k$", True), ("a$b$", False), ("ours", False), ("our seeds", False)]


def test_marks_are_moved_aside_only_where_several_stand():
    from closer_tf.plots.panels import plot_panel_lines

    def one(name, places):
        points = [{"x": x, "mean": 0.5, "half": None, "values": [0.5]} for x in places]
        return {"name": name, "colour": "C0", "constant": False, "ours": points, "published": []}

    figure = plot_panel_lines([one("a", [0.1, 0.2]), one("b", [0.2])], "h", "x", "y")
    axis = figure.axes[0]
    FigureCanvasAgg(figure).draw()
    marks = [line for line in axis.lines if line.get_marker() == "o"]
    aside = [line.get_transform().transform([(line.get_xdata()[0], 0)])[0, 0] - axis.transData.transform([(x, 0)])[0, 0]
             for line, x in zip(marks, (0.1, 0.2, 0.2))]  # fmt: skip
    assert aside[0] == pytest.approx(0, abs=1e-6) and aside[1] < -1 and aside[2] > 1


def test_images_of_any_number_of_channels_are_shown():
    fields = masks.gaussian_masks((8, 8), 2, 0.2)
    for channels in (1, 2, 3, 4, 7):
        figure = plots.plot_receptive_fields(fields, np.random.default_rng(0).uniform(size=(8, 8, channels)))
        FigureCanvasAgg(figure).draw()


def test_long_names_leave_room_for_what_is_named():
    names = [f"Primary somatosensory area, layer {i}" for i in range(8)]
    figure = plots.plot_graph(graphs.directional_ring(8), names)
    assert [text.get_text() for text in figure.axes[0].texts][:2] == ["Primar…yer 0", "Primar…yer 1"]
    low, high = figure.axes[0].get_xlim()
    assert high < 2.5 and low > -2.5


def test_variants_beyond_the_colours_have_marks_of_their_own():
    curves = {f"closer, masks.fraction={k / 100}": {"single": {1: [0.2], 20: [0.3, 0.4]}} for k in range(12)}
    figure = plots.plot_accuracy_over_epochs(curves)
    lines = [container.lines[0] for container in figure.axes[0].containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 12
    assert "mean and sd of 1 to 2 seeds" in figure.axes[0].get_legend().get_texts()[0].get_text()
    ends = figure.axes[0].containers[0].lines[2][0].get_segments()
    assert not len(ends[0]) and len(ends[1])  # one value has no spread


def test_maps_say_their_temperature():
    figure = plots.plot_pseudo_likelihoods({"closer": [np.eye(2)] * 12}, ("a", "b"), (), {"closer": 640.0})
    assert [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel().startswith("CL")] == [
        "CLoSeR, τ = 640\nb in class"
    ] * 2
    assert figure.get_size_inches()[0] < 20
