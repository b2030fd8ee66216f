"""The pictures of a run: takes its data, receptive fields and results apart for the files beside, which draw."""

import numpy as np

from closer_tf import masks, plots


def draw_training(run, config, data, fields, graph, formats):
    """The pictures that the training drew, in further formats."""
    drawn = {}
    if not data.unit_areas:
        drawn["receptive_fields"] = fields.plot(data.train.inputs[0])
    drawn |= draw_map(config, fields)
    if graph is not None:
        drawn["interaction_graph"] = draw_graph(graph, config, fields)
    history = run.read_history()
    if history:
        drawn["training_curves"] = plots.plot_training_curves(history)
    for name, figure in drawn.items():
        plots.save(figure, run.figures / f"{name}.png", formats)


def draw_graph(graph, config, fields):
    """The picture of an interaction graph: on the map of the receptive fields where they or the graph follow one."""
    on_map = config.masks.scheme == "retinotopic" or graph.family == "spatial"
    return plots.plot_graph(graph, fields.labels, fields.centres() if on_map else None)


def map_of(config, fields):
    """(centres (N, 2), sigmas (N,), expected coverage (height, width)) of receptive fields on a map; None for other schemes."""
    options = config.masks
    if options.scheme != "retinotopic":
        return None
    settings = options.model_dump(exclude={"scheme", "fraction"})
    centres, sigmas = masks.retinotopic_centres(fields.grid, fields.num_encoders, **settings, seed=config.seeds.masks)
    return centres, sigmas, masks.expected_coverage(fields.grid, centres, sigmas, options.fraction)


def draw_map(config, fields):
    """dict `coverage` -> picture of receptive fields on a map; empty for other schemes."""
    found = map_of(config, fields)
    return {} if found is None else {"coverage": plots.plot_coverage(fields, *found)}


def has_trials(data):
    """Whether the data is a recording of trials that can be drawn over time."""
    return "trial" in data.test.about and data.name != "gabors"


def draw_readout(run, data, fields, results, embeddings, formats=()):
    """The pictures of a readout.

    Args:
        run: `RunFolder`.
        data: `Splits` of single bins or images.
        fields: `ReceptiveFields`.
        results: `Results`.
        embeddings: dict condition -> test embeddings (n, N, D) of the conditions that were computed now.
        formats: what to write beside PNG.
    """
    content = results.to_dict()
    about = {"chance": results.chance_level, "simulated": results.simulated, "score": results.score}
    plots.save(plots.plot_accuracy(content["accuracy"], **about), run.figures / "accuracy.png", formats)
    names = fields.labels or tuple(f"encoder {i}" for i in range(fields.num_encoders))
    if any("single" in found and found["single"].per_encoder is not None for found in results.accuracy.values()):
        figure = plots.plot_encoder_accuracy(content["accuracy"], names, **about)
        plots.save(figure, run.figures / "accuracy_per_encoder.png", formats)
    maps = {
        condition: found.class_pseudo_likelihood.per_encoder
        for condition, found in results.measures.items()
        if found.class_pseudo_likelihood is not None
    }
    if maps:
        temperatures = {condition: results.measures[condition].class_pseudo_likelihood.temperature for condition in maps}
        first = {condition: matrices[0] for condition, matrices in maps.items()}
        figure = plots.plot_pseudo_likelihood(first, data.label_names, names[0], temperatures)
        plots.save(figure, run.figures / "class_pseudo_likelihood.png", formats)
        figure = plots.plot_pseudo_likelihoods(maps, data.label_names, names, temperatures)
        plots.save(figure, run.figures / "class_pseudo_likelihood_all.png", formats)
    if has_trials(data):
        _draw_trials(run, data, fields, embeddings, formats)


def _draw_trials(run, data, fields, embeddings, formats):
    """Raster and embeddings of the first test trial of each stimulus."""
    about, trials = data.test.about, {}
    for k in np.unique(about["stimulus"]):
        of_stimulus = np.flatnonzero(about["stimulus"] == k)
        first = about["trial"][of_stimulus].min()
        stimulus = data.stimuli[k] if data.stimuli else f"stimulus {k}"
        trials[f"{stimulus}, trial {first}"] = of_stimulus[about["trial"][of_stimulus] == first]
    label, chosen = next(iter(trials.items()))
    note = f"{label} (simulated)" if data.simulated else label
    figure = plots.plot_raster(data.now(data.test)[chosen], fields, note, data.bin_width, about["frame"][chosen[0]])
    plots.save(figure, run.figures / "raster.png", formats)
    if embeddings:
        shown = {condition: {name: values[rows] for name, rows in trials.items()} for condition, values in embeddings.items()}
        seconds = data.bin_width and {name: len(rows) * data.bin_width for name, rows in trials.items()}
        figure = plots.plot_embedding_trajectories(shown, fields.labels, seconds=seconds)
        plots.save(figure, run.figures / "embeddings_over_time.png", formats)
