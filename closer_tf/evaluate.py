"""Read out what a run's encoders know: `python -m closer_tf.evaluate RUN_DIR`."""

import argparse
import contextlib
import time

import numpy as np

from closer_tf.command import add_figures, add_overrides, add_version, printable, run_command
from closer_tf.config import PROBE_ITERATIONS, TRAINED_CONDITIONS
from closer_tf.errors import DataError, RunError
from closer_tf.files import make_folder
from closer_tf.memory import peak_memory_gb
from closer_tf.runs import RunFolder
from closer_tf.versions import versions

EPILOG = """examples:
  python -m closer_tf.evaluate runs/quickstart --set readout.knn_neighbours=20
  python -m closer_tf.evaluate runs/quickstart --set 'readout.at_epochs=[50, 100, 250]'

The latter reads out accuracy over epochs, as far as the weights are there: give readout.at_epochs to the training."""

COMPARED = 64  # stimuli on which a saved ensemble has to do what its config says


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m closer_tf.evaluate",
        description="Linear readout and measures of a run: raw input, untrained and trained encoders, single and ensemble.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run_dir", help="a run folder made by closer_tf.train")
    parser.add_argument("--redo", action="store_true", help="read out again even what results.json already holds")
    add_overrides(
        parser, "override a key of the readout, or where the data lies, such as readout.max_iter=1000 or dataset.data_dir=DIR"
    )
    add_figures(parser)
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: evaluate_run(options.run_dir, options.redo, options.overrides, options.figures))


def evaluate_run(run_dir, redo=False, overrides=(), figures=()):
    """Probe and measure every condition of a run; write results.json and pictures; print a table.

    A condition that results.json already holds, at the same epoch and with the same protocol, is kept; so are the epochs of
    `readout.at_epochs`, of which those are read out that the training has reached.
    `peak_memory_gb` in results.json is the most memory that a process has taken that trained or read out this run.

    Args:
        run_dir: the run folder.
        redo: probe everything anew.
        overrides: strings 'key.path=value' for keys of `readout` and for where the data lies.
        figures: formats that all of the run's pictures are written in beside PNG: 'pdf', 'svg'.

    Returns:
        dict, the content of results.json; empty where the data has no labels.

    Raises:
        RunError: there is no run, it is in use, or the data is not what it was trained on.
        DataError: the run's data cannot be read any more.
    """
    run = RunFolder(run_dir)
    config = run.load_config(overrides)
    with run.locked():
        from closer_tf.determinism import make_deterministic
        from closer_tf.experiment import load_splits
        from closer_tf.readout_checks import check_readout

        if config.deterministic:
            make_deterministic()
        data = load_splits(config)
        run.check_data(data, config)
        check_readout(config, data)
        return readout(run, config, data, redo, figures)


def readout(run, config, data, redo=False, figures=()):
    """As `evaluate_run`, for a folder that is locked already and data that is loaded."""
    from closer_tf.precision import products_in

    with products_in(config.compute.precision):
        return _readout(run, config, data, redo, figures)


def _readout(run, config, data, redo, figures):
    from closer_tf import over_epochs
    from closer_tf.devices import computed_with
    from closer_tf.experiment import check_units
    from closer_tf.plots import CONDITION_NAMES

    if not data.labelled:
        print(f"no readout: {data.name} has no labels here, so there is nothing to probe; {run.ensemble_file} gives embeddings")
        return {}

    make_folder(run.figures)  # a copy of a run may come without
    data = data.current()  # the readout sees the current bin alone, embeddings and counts alike
    fields = run.load_masks()
    check_units(fields, data)
    trained, model, epochs, step = _trained(run, config, data)
    results = {} if redo else run.read_results()
    peak = peak_so_far(run)
    about = {
        "config_digest": config.digest(),
        "changes": run.changes(),
        "epochs": epochs,
        "step": step,
        "protocol": protocol(config),
        "dataset": data.name,
        "simulated": data.simulated,
        "chance": data.chance,
        "samples": _sample_counts(config, data),
        "data": data.identity and data.identity["fingerprint"],
    }
    stored, results = results, _without_other_neighbours(results, about)
    if results is not stored:
        run.write_results(results)
    compared = about if "data" in results else {key: value for key, value in about.items() if key != "data"}  # from before
    if any(results.get(key) != value for key, value in compared.items()):
        known = over_epochs.still_known(results, about)
        about |= {"versions": versions(), "compute": computed_with(config)}
        results = {**about, "accuracy": {}, "probes": {}, "measures": {}, "seconds": {}, **known}
    embeddings, new = {}, []
    own = [] if config.condition in TRAINED_CONDITIONS and not (epochs or step) else [config.condition]
    for condition in [*(c for c in config.readout.conditions if c not in own), *own]:
        probed = _is_done(condition, results, config.readout)
        if probed and _has_neighbours(results["accuracy"][condition], config.readout):
            if figures and _has_trials(data) and condition not in ("masked_input", "full_input"):
                embeddings[condition] = _embeddings(condition, config, data, fields, trained)["test"]
            continue
        began = time.perf_counter()
        embedded = _embeddings(condition, config, data, fields, trained)
        if embedded is not None:
            embeddings[condition] = embedded["test"]
        if probed:
            new.append(f"{config.readout.knn_neighbours} nearest neighbours of {CONDITION_NAMES[condition]}")
            results["accuracy"][condition] |= _neighbours_of(condition, config, data, fields, embedded)
        else:
            new.append(CONDITION_NAMES[condition])
            outcome = _evaluate_condition(condition, config, data, fields, embedded)
            for key, value in outcome.items():
                results[key][condition] = value
            results["seconds"][condition] = round(time.perf_counter() - began, 1)
        results["peak_memory_gb"] = max(peak, peak_memory_gb())
        run.write_results(results)
    over_epochs.read_out(run, config, data, trained, model, results)
    if fields.labels and results.get("areas") != list(fields.labels):
        results["areas"] = list(fields.labels)
        run.write_results(results)
    _note_advice(run, config, results)
    if figures:
        _draw_training(run, config, data, fields, figures)
    _draw(run, data, fields, results, embeddings, figures)
    over_epochs.draw(run, config, results, figures)
    print_table(results)
    print_areas(results)
    if len(new) < len(results["accuracy"]) or any("neighbours" in name for name in new):
        print(f"new in this: {', '.join(new) or 'nothing'}; the rest was read out before (--redo reads out all of it again)")
    over_epochs.print_table(config, results)
    for note in results.get("notes", []):
        print(f"note: {note}")
    return results


def _note_advice(run, config, results):
    """Bring `notes` of results.json up to date."""
    from closer_tf.advice import advice

    with contextlib.suppress(RunError):  # a damaged history.csv, which others complain of
        before, notes = results.pop("notes", []), advice(results, config, run.read_history())
        results |= {"notes": notes} if notes else {}
        if notes != before:
            run.write_results(results)


def _without_other_neighbours(results, about):
    """The results without their nearest neighbours, if these are all that is to be read out in another way."""
    then, now = results.get("protocol"), about["protocol"]
    if not then or then == now or {**then, "knn_neighbours": None} != {**now, "knn_neighbours": None}:
        return results
    accuracy = {
        condition: {name: value for name, value in found.items() if not name.startswith("knn_")}
        for condition, found in results["accuracy"].items()
    }
    kept = {key: value for key, value in results.items() if key not in ("at_epochs", "not_kept")}  # these have them, too
    return {**kept, "protocol": now, "accuracy": accuracy}


def _has_neighbours(accuracy, options):
    """Whether a condition's accuracies hold the nearest neighbours, if they are asked for."""
    return options.knn_neighbours is None or "knn_ensemble" in accuracy


def _neighbours_of(condition, config, data, fields, embedded):
    """The accuracies of a condition's nearest neighbours alone."""
    from closer_tf.plots import CONDITION_NAMES
    from closer_tf.progress import console

    labels = _arranged(config, data, lambda split: split.labels)
    found = _neighbours(_features(condition, config, data, fields, embedded), labels, config.readout.knn_neighbours)
    said = ", ".join(f"{name.removeprefix('knn_')} {values['test']:.3f}" for name, values in found.items())
    console().print(f"readout: {CONDITION_NAMES[condition]}, {config.readout.knn_neighbours} nearest neighbours: {said}")
    return found


def _neighbours(sets, labels, neighbours):
    """`knn_single` and `knn_ensemble` of named features, as results.json holds them."""
    from closer_tf.probes import knn_probe

    found = {name: knn_probe(features, labels, neighbours) for name, features in sets.items()}
    ensemble = {"knn_ensemble": {"test": found.pop("ensemble")}}
    each = list(found.values())
    return ({"knn_single": {"test": float(np.mean(each)), "per_encoder": each}} if each else {}) | ensemble


def peak_so_far(run):
    """The `peak_memory_gb` of results.json, or 0."""
    with contextlib.suppress(RunError):  # damaged: whoever needs its content says so
        peak = run.read_results().get("peak_memory_gb", 0.0)
        return peak if isinstance(peak, float) else 0.0
    return 0.0


def _is_done(condition, results, options):
    """Whether results.json holds a condition, with as many draws as asked for."""
    likelihood = results["measures"].get(condition, {}).get("class_pseudo_likelihood")
    drawn = likelihood is None or likelihood["draws"] == options.pseudo_likelihood_draws
    return condition in results["accuracy"] and drawn


def trained_ensemble(run, config, data):
    """The run's ensemble with its latest weights: those of the last checkpoint, or where there is none of `ensemble.keras`.

    Returns:
        (ensemble, epochs, step): `CLoSeR` model from stimuli to embeddings, and how long it was trained: whole epochs, and
        steps of the next one.

    Raises:
        RunError: the weights cannot be read, are not of this config, or it is not clear how long they were trained.
    """
    ensemble, _, epochs, step = _trained(run, config, data)
    return ensemble, epochs, step


def _trained(run, config, data):
    """As `trained_ensemble`, with the compiled model in second place; None where there are no weights that it could take."""
    from closer_tf.checkpoints import latest_checkpoint, restore_checkpoint
    from closer_tf.experiment import make_ensemble, make_training_model

    ensemble, model = make_ensemble(config, run.load_masks(), data), None
    checkpoint = latest_checkpoint(run.checkpoints, run.digests(config))
    if checkpoint is not None or config.read_out_at():
        model = make_training_model(config, ensemble, len(data.label_names))
    if checkpoint is not None:
        restore_checkpoint(model, checkpoint)
        return ensemble, model, checkpoint.epoch, checkpoint.step
    if config.condition not in TRAINED_CONDITIONS or not run.ensemble_file.exists():
        return ensemble, model, 0, 0
    saved = run.load_ensemble(compiled=True)
    _take_weights(ensemble, saved, run, data.train.inputs[:COMPARED])
    return ensemble, model, _epochs_trained(saved, run, config, data), 0


def _take_weights(ensemble, saved, run, stimuli):
    """Give an ensemble the weights of a saved one, which has to do the same."""
    expected, found = ([tuple(weight.shape) for weight in model.weights] for model in (ensemble, saved))
    if found != expected or saved.output_shape != ensemble.output_shape:
        raise RunError(
            f"{run.ensemble_file}: not an ensemble of {run.config_file.name}: expected {len(expected)} weights, embeddings "
            f"{ensemble.output_shape[1:]}; found {len(found)} weights, embeddings {saved.output_shape[1:]}"
            + _first_difference(expected, found)
        )
    ensemble.set_weights(saved.get_weights())
    ours, theirs = (model.predict(stimuli, batch_size=len(stimuli), verbose=0) for model in (ensemble, saved))
    if not np.allclose(ours, theirs, rtol=0, atol=1e-3 * np.abs(theirs).max()):
        raise RunError(
            f"{run.ensemble_file}: its weights fit {run.config_file.name}, but with the masks of {run.masks_file.name} and the "
            "config's input scale and encoders they give other embeddings than the file itself: it is of another run"
        )


def _first_difference(expected, found):
    pairs = [(a, b) for a, b in zip(expected, found) if a != b]
    return f"; first of another shape: expected {pairs[0][0]}, found {pairs[0][1]}" if pairs else ""


def _epochs_trained(saved, run, config, data):
    """Epochs that a saved ensemble was trained: what history.csv says, and its optimizer's steps agree with if it has one."""
    from closer_tf.streams import steps_per_epoch

    rows = run.read_history()
    epochs = rows[-1].get("epoch", 0.5) if rows else 0
    if epochs != int(epochs):
        raise RunError(f"{run.history_file}: damaged: its last row has no epoch")
    steps = steps_per_epoch(data.train, config.training.batch_size)
    counted = int(saved.optimizer.iterations) if getattr(saved, "optimizer", None) else None
    if counted not in (None, epochs * steps) or (counted is None and not rows and config.training.epochs):
        says = f"says {epochs:.0f} epochs of {steps} steps" if rows else "is not there"
        counts = f"the optimizer in ensemble.keras counts {counted} steps" if counted is not None else "there is no optimizer"
        raise RunError(
            f"{run.ensemble_file}: trained for how long? {run.history_file.name} {says}, {counts}; bring both from one run"
        )
    if rows:
        by = "history.csv and its optimizer say" if counted is not None else "history.csv says"
        print(f"no checkpoint: reading out {run.ensemble_file}, trained for {epochs:.0f} epochs, as {by}")
    return int(epochs)


def print_table(results):
    """Print the accuracies of a results.json, single and ensemble, beside the chance level."""
    from rich.table import Table

    from closer_tf.plots import CONDITION_NAMES
    from closer_tf.progress import console

    score = "R^2" if results["protocol"]["probe"].startswith("ridge") else "accuracy"
    simulated = ", simulated data" if results.get("simulated") else ""
    length = f"{results['epochs']} epochs" + (f" and {results['step']} steps" if results["step"] else "")
    title = f"test {score} after {length} (chance {results['chance']:.3f}{simulated})"
    table = Table(title=title)
    table.add_column("condition")
    columns = {"single": "single encoder", "ensemble": "ensemble"}
    neighbours = results["protocol"].get("knn_neighbours")
    if neighbours is not None:
        columns |= {"knn_single": f"single, {neighbours}-NN", "knn_ensemble": f"ensemble, {neighbours}-NN"}
    for says in columns.values():
        table.add_column(says, justify="right")
    for condition, found in results["accuracy"].items():
        table.add_row(CONDITION_NAMES[condition], *cells(found, columns))
    console().print(table)
    fits = [fit for probes in results["probes"].values() for probe in probes.values() for fit in probe["fits"]]
    stopped = sum(not fit["converged"] for fit in fits)
    name, limit = (results["protocol"][key] for key in ("name", "max_iter"))
    console().print(f"{name} probe: {stopped} of {len(fits)} fits stopped at {limit} iterations before they had converged.")


def cells(accuracy, names=("single", "ensemble")):
    """The test accuracies of single encoder and ensemble as texts of a table, '-' where there is none."""
    return [f"{accuracy[name]['test']:.3f}" if name in accuracy else "-" for name in names]


def print_areas(results):
    """Print the accuracy of every single encoder of a recording's results.json under its brain area."""
    from rich.table import Table
    from rich.text import Text

    from closer_tf.plots import CONDITION_NAMES
    from closer_tf.progress import console

    areas = results.get("areas", ())
    values = {name: found["single"]["per_encoder"] for name, found in results["accuracy"].items() if "single" in found}
    if not areas or not values:
        return
    table = Table(title="single encoders, by area")
    table.add_column("area")
    for condition in values:
        table.add_column(CONDITION_NAMES[condition], justify="right")
    for i, area in enumerate(areas):
        table.add_row(Text(printable(area)), *(f"{found[i]:.3f}" for found in values.values()))
    console().print(table)


def protocol(config):
    """How a config's run is read out, as the dict that results.json holds."""
    options = config.readout
    by_number = getattr(config.dataset, "label", None) == "time"
    logistic = "multinomial logistic regression, L2, L-BFGS from a cold start, on z-scored features"
    if options.protocol == "converged":
        logistic += ", to its optimum"
    return {
        "name": options.protocol,
        "probe": "ridge regression on z-scored features, judged by R^2" if by_number else logistic,
        "C": list(options.C),
        "max_iter": options.max_iter or PROBE_ITERATIONS[options.protocol],
        "validation_fraction": options.validation_fraction,
        "knn_neighbours": options.knn_neighbours,
        "seed": config.seeds.readout,
    }


def probe_splits(config, data):
    """Positions of the probe's training and validation samples among training plus validation samples."""
    if data.fixed_validation:
        return np.arange(len(data.train)), len(data.train) + np.arange(len(data.validation))
    count = len(data.train) + len(data.validation)
    order = np.random.default_rng(config.seeds.readout).permutation(count)
    held_out = max(1, round(config.readout.validation_fraction * count))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _sample_counts(config, data):
    train, validation = probe_splits(config, data)
    return {"train": len(train), "validation": len(validation), "test": len(data.test)}


def _arranged(config, data, of_split):
    """What `of_split` gives for every `Split`, as the dict `train`, `validation`, `test` of the probe."""
    train, validation = probe_splits(config, data)
    pooled = np.concatenate([of_split(split) for split in (data.train, data.validation) if len(split)])
    return {"train": pooled[train], "validation": pooled[validation], "test": of_split(data.test)}


def _evaluate_condition(condition, config, data, fields, embedded):
    """dict with `accuracy`, `probes` and `measures` of one condition."""
    from closer_tf.plots import CONDITION_NAMES

    features = _features(condition, config, data, fields, embedded)
    accuracy, probes = probe(features, config, data, CONDITION_NAMES[condition])
    outcome = {"accuracy": accuracy, "probes": probes}
    if embedded is not None:
        outcome["measures"] = _measures(condition, embedded["test"], data.test.labels, data.label_names, config)
    return outcome


def _embeddings(condition, config, data, fields, trained):
    """The condition's embeddings (n, N, D), arranged for the probe; None where the input itself is read out."""
    from closer_tf.experiment import make_ensemble

    if condition in ("masked_input", "full_input"):
        return None
    return embeddings_of(make_ensemble(config, fields, data) if condition == "untrained" else trained, config, data)


def embeddings_of(model, config, data):
    """An ensemble's embeddings (n, N, D), arranged for the probe."""
    from closer_tf.ensemble import embed

    stimuli = _arranged(config, data, lambda split: split.inputs)
    embedded = {key: embed(model, values) for key, values in stimuli.items()}
    if not all(np.isfinite(values).all() for values in embedded.values()):
        raise DataError(
            f"{data.name}: the embeddings of some stimuli are not finite: their values, up to "
            f"{np.abs(data.train.inputs).max():.3g}, are too large for float32 after scaling; set "
            f"dataset.input_scale, or rescale the data"
        )
    return embedded


def _features(condition, config, data, fields, embedded):
    """dict name -> features for the probe: 'encoder_0', ..., and 'ensemble', their concatenation."""
    if condition == "full_input":
        return {"ensemble": _arranged(config, data, lambda split: split.inputs.reshape(len(split), -1))}
    if condition == "masked_input":
        sets = {
            f"encoder_{i}": _arranged(config, data, lambda split, i=i: fields.apply(split.inputs, i))
            for i in range(fields.num_encoders)
        }
        keys = ("train", "validation", "test")
        sets["ensemble"] = {key: np.concatenate([one[key] for one in sets.values()], axis=1) for key in keys}
        return sets
    return features_of(embedded)


def features_of(embedded):
    """The features of arranged embeddings, as from `_features`."""
    count = embedded["test"].shape[1]
    sets = {f"encoder_{i}": {key: values[:, i] for key, values in embedded.items()} for i in range(count)}
    sets["ensemble"] = {key: values.reshape(len(values), -1) for key, values in embedded.items()}
    return sets


def probe(sets, config, data, name):
    """(accuracy, probes) of named features, as results.json holds them; prints the accuracy after the name of it all."""
    from closer_tf.progress import console

    accuracy, probes = _fit_probes(sets, config, data, name)
    found = ", ".join(f"{key} {accuracy[key]['test']:.3f}" for key in ("single", "ensemble") if key in accuracy)
    console().print(f"readout: {name}: {found}")
    return accuracy, probes


def _fit_probes(sets, config, data, name):
    """As `probe`, with a progress bar in place of the line."""
    from closer_tf.probes import COMBINATIONS, combine, probe_all, ridge_all
    from closer_tf.progress import bar

    labels = _arranged(config, data, lambda split: split.labels)
    options = config.readout
    if not data.label_names:
        probes = ridge_all(sets, labels, options.C)
        accuracy = {"ensemble": {"test": probes["ensemble"].test, "validation": probes["ensemble"].validation}}
        if len(probes) > 1:
            accuracy["single"] = _single([probe for name, probe in probes.items() if name != "ensemble"])
        return accuracy, _plain(probes)
    with bar(len(sets) * len(options.C), f"readout: {name}") as progress:
        probes, probabilities = probe_all(
            sets,
            labels,
            options.C,
            options.max_iter,
            progress=lambda: progress.advance(progress.task_ids[0]),
            return_probabilities=True,
            protocol=options.protocol,
        )
    accuracy = {"ensemble": {"test": probes["ensemble"].test, "validation": probes["ensemble"].validation}}
    names = [key for key in sets if key != "ensemble"]
    if names:
        accuracy = {"single": _single([probes[name] for name in names]), **accuracy}
        said = np.stack([probabilities[name] for name in names])
        for method in COMBINATIONS:
            accuracy[method] = {"test": float((combine(said, method) == labels["test"]).mean())}
    if options.knn_neighbours is not None:
        accuracy |= _neighbours(sets, labels, options.knn_neighbours)
    return accuracy, _plain(probes)


def _plain(probes):
    return {name: vars(probe) | {"fits": list(probe.fits)} for name, probe in probes.items()}


def _single(probes):
    return {
        "test": float(np.mean([probe.test for probe in probes])),
        "validation": float(np.mean([probe.validation for probe in probes])),
        "per_encoder": [probe.test for probe in probes],
    }


def _measures(condition, embeddings, labels, label_names, config):
    """The measures of test embeddings (n, N, D), as results.json holds them."""
    from closer_tf import measures

    seed = config.seeds.readout
    found = {
        "alignment": _finite(measures.off_diagonal_mean(measures.alignment(embeddings, seed=seed))),
        "agreement": _finite(measures.off_diagonal_mean(measures.agreement(embeddings, seed=seed))),
    }
    if label_names and np.bincount(labels, minlength=len(label_names)).min() >= 2:
        temperature = measures.pseudo_likelihood_temperature(condition, embeddings.shape[2])
        draws = config.readout.pseudo_likelihood_draws
        found["class_pseudo_likelihood"] = {
            "temperature": temperature,
            "draws": draws,
            "per_encoder": [
                np.round(measures.class_pseudo_likelihood(of_encoder, labels, temperature, draws=draws, seed=seed), 7).tolist()
                for of_encoder in np.moveaxis(embeddings, 1, 0)
            ],
        }
    return found


def _finite(value):
    return value if np.isfinite(value) else None


def _draw_training(run, config, data, fields, formats):
    """The pictures that the training drew, in further formats."""
    from closer_tf import plots
    from closer_tf.config import build_graph

    drawn = {}
    if not data.unit_areas:
        drawn["receptive_fields"] = fields.plot(data.train.inputs[0])
    if config.condition in TRAINED_CONDITIONS and config.condition not in ("supervised", "lpl"):
        graph = build_graph(config.objective.graph, config.num_encoders, config.seeds.graph)
        drawn["interaction_graph"] = graph.plot(fields.labels)
    history = run.read_history()
    if history:
        drawn["training_curves"] = plots.plot_training_curves(history)
    for name, figure in drawn.items():
        plots.save(figure, run.figures / f"{name}.png", formats)


def _has_trials(data):
    """Whether the data is a recording of trials that can be drawn over time."""
    return "trial" in data.test.about and data.name != "gabors"


def _draw(run, data, fields, results, embeddings, formats=()):
    """The pictures of a readout.

    Args:
        embeddings: dict condition -> test embeddings (n, N, D) of the conditions that were computed now.
        formats: what to write beside PNG.
    """
    from closer_tf import plots

    by_number = not data.label_names
    chance, score = (None, "R^2") if by_number else (results["chance"], "accuracy")
    figure = plots.plot_accuracy(results["accuracy"], chance, results["simulated"], score)
    plots.save(figure, run.figures / "accuracy.png", formats)
    names = fields.labels or tuple(f"encoder {i}" for i in range(fields.num_encoders))
    if any("per_encoder" in found.get("single", {}) for found in results["accuracy"].values()):
        figure = plots.plot_encoder_accuracy(results["accuracy"], names, chance, results["simulated"], score)
        plots.save(figure, run.figures / "accuracy_per_encoder.png", formats)
    maps = {
        condition: found["class_pseudo_likelihood"]["per_encoder"]
        for condition, found in results["measures"].items()
        if "class_pseudo_likelihood" in found
    }
    if maps:
        first = {condition: matrices[0] for condition, matrices in maps.items()}
        figure = plots.plot_pseudo_likelihood(first, data.label_names, title=names[0])
        plots.save(figure, run.figures / "class_pseudo_likelihood.png", formats)
        figure = plots.plot_pseudo_likelihoods(maps, data.label_names, names)
        plots.save(figure, run.figures / "class_pseudo_likelihood_all.png", formats)
    if _has_trials(data):
        _draw_trials(run, data, fields, embeddings, formats)


def _draw_trials(run, data, fields, embeddings, formats):
    """Raster and embeddings of the first test trial of each stimulus."""
    from closer_tf import plots

    about, trials = data.test.about, {}
    for k in np.unique(about["stimulus"]):
        of_stimulus = np.flatnonzero(about["stimulus"] == k)
        first = about["trial"][of_stimulus].min()
        stimulus = data.stimuli[k] if data.stimuli else f"stimulus {k}"
        trials[f"{stimulus}, trial {first}"] = of_stimulus[about["trial"][of_stimulus] == first]
    label, chosen = next(iter(trials.items()))
    note = f"{label} (simulated)" if data.simulated else label
    figure = plots.plot_raster(data.test.inputs[chosen], fields, note, data.bin_width, about["frame"][chosen[0]])
    plots.save(figure, run.figures / "raster.png", formats)
    if embeddings:
        shown = {condition: {name: values[rows] for name, rows in trials.items()} for condition, values in embeddings.items()}
        seconds = data.bin_width and {name: len(rows) * data.bin_width for name, rows in trials.items()}
        figure = plots.plot_embedding_trajectories(shown, fields.labels, seconds=seconds)
        plots.save(figure, run.figures / "embeddings_over_time.png", formats)


if __name__ == "__main__":
    raise SystemExit(main())
