"""Read out what a run's encoders know: `python -m closer_tf.evaluate RUN_DIR`."""

import argparse
import time

import numpy as np

from closer_tf.command import add_version, run_command
from closer_tf.runs import RunFolder, versions


def main(arguments=None):
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m closer_tf.evaluate",
        description="Linear readout of a run: masked raw input, untrained and trained encoders, single and ensemble.",
        epilog="example: python -m closer_tf.evaluate runs/quickstart",
    )
    parser.add_argument("run_dir", help="a run folder made by closer_tf.train")
    parser.add_argument("--redo", action="store_true", help="read out again even what results.json already holds")
    add_version(parser)
    options = parser.parse_args(arguments)
    return run_command(lambda: evaluate_run(options.run_dir, redo=options.redo))


def evaluate_run(run_dir, redo=False):
    """Probe every condition of a run, write results.json and the accuracy picture, print a table.

    A condition that results.json already holds, at the same epoch and with the same protocol, is kept.

    Args:
        run_dir: the run folder.
        redo: probe everything anew.

    Returns:
        dict, the content of results.json.

    Raises:
        RunError: there is no run, or it is in use.
        DataError: the run's data cannot be read any more.
    """
    run = RunFolder(run_dir)
    config = run.load_config()
    with run.locked():
        from closer_tf.experiment import load_splits

        return readout(run, config, load_splits(config), redo)


def readout(run, config, data, redo=False):
    """As `evaluate_run`, for a folder that is locked already and data that is loaded."""
    from closer_tf import plots

    model, epochs = trained_ensemble(run, config, data)
    results = {} if redo else run.read_results()
    about = {
        "config_digest": config.digest(),
        "epochs": epochs,
        "protocol": _protocol(config),
        "chance": data.chance,
        "samples": _sample_counts(config, data),
    }
    if any(results.get(key) != value for key, value in about.items()):
        results = {**about, "versions": versions(), "accuracy": {}, "probes": {}, "seconds": {}}
    fields = run.load_masks()
    for condition in ("masked_input", "untrained", *(["closer"] if epochs else [])):
        if condition in results["accuracy"]:
            continue
        began = time.perf_counter()
        features = _features(condition, config, data, fields, model)
        outcome = _probe_condition(features, config, data, condition)
        results["accuracy"][condition], results["probes"][condition] = outcome
        results["seconds"][condition] = round(time.perf_counter() - began, 1)
        run.write_results(results)
    plots.save(plots.plot_accuracy(results["accuracy"], results["chance"]), run.figures / "accuracy.png")
    print_table(results)
    return results


def trained_ensemble(run, config, data):
    """The run's ensemble with its latest weights.

    Returns:
        (model, epochs): compiled `CLoSeR` model and the epochs it was trained for.
    """
    from closer_tf.checkpoints import latest_checkpoint, restore_checkpoint
    from closer_tf.experiment import make_ensemble, make_objective, make_optimizer

    model = make_ensemble(config, run.load_masks(), data.input_shape, data.input_scale)
    model.compile(make_optimizer(config), make_objective(config))
    checkpoint = latest_checkpoint(run.checkpoints, config.digest())
    if checkpoint is None:
        return model, 0
    restore_checkpoint(model, checkpoint)
    return model, checkpoint.epoch


def print_table(results):
    """Print the accuracies of a results.json, single and ensemble, beside the chance level."""
    from rich.table import Table

    from closer_tf.plots import CONDITION_NAMES
    from closer_tf.progress import console

    table = Table(title=f"test accuracy after {results['epochs']} epochs (chance {results['chance']:.3f})")
    table.add_column("condition")
    table.add_column("single encoder", justify="right")
    table.add_column("ensemble", justify="right")
    for condition, found in results["accuracy"].items():
        single, ensemble = found["single"]["test"], found["ensemble"]["test"]
        table.add_row(CONDITION_NAMES[condition], f"{single:.3f}", f"{ensemble:.3f}")
    console().print(table)
    fits = [fit for probes in results["probes"].values() for probe in probes.values() for fit in probe["fits"]]
    stopped = sum(not fit["converged"] for fit in fits)
    limit = results["protocol"]["max_iter"]
    console().print(f"{stopped} of {len(fits)} probe fits stopped at {limit} iterations before they had converged.")


def _protocol(config):
    return {
        "probe": "multinomial logistic regression, L2, L-BFGS from a cold start, on z-scored features",
        "C": list(config.readout.C),
        "max_iter": config.readout.max_iter,
        "validation_fraction": config.readout.validation_fraction,
        "seed": config.seeds.readout,
    }


def _probe_splits(config, data):
    """Positions of the probe's training and validation samples among training plus validation samples."""
    count = len(data.train) + len(data.validation)
    order = np.random.default_rng(config.seeds.readout).permutation(count)
    held_out = max(1, round(config.readout.validation_fraction * count))
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _sample_counts(config, data):
    train, validation = _probe_splits(config, data)
    return {"train": len(train), "validation": len(validation), "test": len(data.test)}


def _features(condition, config, data, fields, model):
    """List of functions, one per encoder, from `Split` to features; embeddings are computed once."""
    if condition == "masked_input":
        return [lambda split, i=i: fields.apply(split.inputs, i) for i in range(fields.num_encoders)]
    if condition == "untrained":
        from closer_tf.experiment import make_ensemble

        model = make_ensemble(config, fields, data.input_shape, data.input_scale)
    from closer_tf.ensemble import embed

    embedded = {id(split): embed(model, split.inputs) for split in (data.train, data.validation, data.test) if len(split)}
    return [lambda split, i=i: embedded[id(split)][:, i] for i in range(fields.num_encoders)]


def _probe_condition(features, config, data, condition):
    from closer_tf.plots import CONDITION_NAMES
    from closer_tf.probes import probe_all
    from closer_tf.progress import bar, console

    train, validation = _probe_splits(config, data)
    known = [split for split in (data.train, data.validation) if len(split)]
    pooled_labels = np.concatenate([split.labels for split in known])
    labels = {"train": pooled_labels[train], "validation": pooled_labels[validation], "test": data.test.labels}

    def arranged(of_split):
        pooled = np.concatenate([of_split(split) for split in known])
        return {"train": pooled[train], "validation": pooled[validation], "test": of_split(data.test)}

    sets = {f"encoder_{i}": arranged(of_split) for i, of_split in enumerate(features)}
    sets["ensemble"] = {
        key: np.concatenate([sets[f"encoder_{i}"][key] for i in range(len(features))], axis=1) for key in labels
    }
    options = config.readout
    with bar(len(sets) * len(options.C), f"readout: {CONDITION_NAMES[condition]}") as progress:
        probes = probe_all(sets, labels, options.C, options.max_iter, progress=lambda: progress.advance(progress.task_ids[0]))
    single = [probes[f"encoder_{i}"] for i in range(len(features))]
    accuracy = {
        "single": {
            "test": float(np.mean([probe.test for probe in single])),
            "validation": float(np.mean([probe.validation for probe in single])),
            "per_encoder": [probe.test for probe in single],
        },
        "ensemble": {"test": probes["ensemble"].test, "validation": probes["ensemble"].validation},
    }
    console().print(
        f"readout: {CONDITION_NAMES[condition]}: single {accuracy['single']['test']:.3f}, "
        f"ensemble {accuracy['ensemble']['test']:.3f}"
    )
    return accuracy, {name: vars(probe) | {"fits": list(probe.fits)} for name, probe in probes.items()}


if __name__ == "__main__":
    raise SystemExit(main())
