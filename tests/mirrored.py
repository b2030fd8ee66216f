"""Trainings on two logical CPU devices beside the same ones on one, in a process of its own: `mirrored.py WORK ...`, such as
`mirrored.py gradients:vit draws double steps:mlp`.

Prints one JSON line per finding; the tests judge them.
"""

import contextlib
import json
import os
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from closer_tf.config import parse_config
from closer_tf.data import load_data
from closer_tf.data.streams import training_stream
from closer_tf.training import experiment

MLP = {"type": "mlp", "hidden": [16, 12], "embedding_dim": 8, "dropout": 0.0}
VIT = {"type": "vit_lite", "embedding_dim": 8, "heads": 2, "key_dim": 4, "mlp_dim": 12, "dropout": 0.0}
CELLS = {"scheme": "random_patches", "fraction": 0.25, "patch_size": 2}
CASES = {
    "mlp": {"encoder": MLP},
    "vit": {"encoder": VIT, "masks": CELLS},
    "supervised": {"encoder": MLP, "condition": "supervised"},
    "penalties": {"encoder": {**MLP, "l1": 1e-3, "l2": 1e-3}},
    "chance": {"encoder": {**MLP, "dropout": 0.3}, "augmentation": {"rotation": 0.05, "zoom": 0.1}},
}


def two_devices():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)


def model_of(data, distribution, case):
    content = {"num_encoders": 3, "dataset": {"name": "digits"}, "training": {"batch_size": 32}, **CASES[case]}
    config = parse_config({**content, "compute": {"distribution": distribution}}).resolved()
    fields = experiment.make_receptive_fields(config, data)
    with experiment.on_devices(config):
        model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), 10)
    return model, config


def weights_of(model):
    return np.concatenate([np.ravel(weight) for weight in model.trainable_variables])


def trained(data, distribution, case, epochs, steps):
    model, config = model_of(data, distribution, case)
    start = weights_of(model)
    stream = training_stream(data.train, 32, config.seeds.data_order)
    validation = (data.validation.inputs, data.validation.labels)
    history = model.fit(stream, epochs=epochs, steps_per_epoch=steps, validation_data=validation, shuffle=False, verbose=0)
    return start, model, history.history


def steps(case):
    """Weights, optimizer state and logs after 50 steps, with a smaller batch on the way."""
    data = load_data("digits")
    data.__dict__["train"] = data.train[np.arange(32 * 24 + 7)]  # 25 steps in an epoch, the last of 7 samples
    start, one, logs = trained(data, "none", case, epochs=2, steps=25)
    _, two, logs_of_two = trained(data, "mirrored", case, epochs=2, steps=25)
    states = zip((*one.variables, *one.optimizer.variables), (*two.variables, *two.optimizer.variables))
    print(
        json.dumps(
            {
                "moved": float(np.abs(weights_of(one) - start).max()),
                "apart": float(np.abs(weights_of(one) - weights_of(two)).max()),
                "state_apart": max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in states),
                "devices": len(two.trainable_variables[0].value.values),
                "logs": logs,
                "logs_of_two": logs_of_two,
            }
        )
    )


def gradients(case):
    """One step's gradients: the momentum after it is (1 - beta_1) times the gradient."""
    data = load_data("digits")
    found = []
    for distribution in ("none", "mirrored"):
        _, model, _ = trained(data, distribution, case, epochs=1, steps=1)
        found.append(np.concatenate([np.ravel(momentum) for momentum in model.optimizer._momentums]) * 10)
    print(json.dumps({"largest": float(np.abs(found[0]).max()), "apart": float(np.abs(found[0] - found[1]).max())}))


def draws():
    """What the two devices drop of the same samples."""
    from closer_tf.nn.tensorflow import spread_seeds

    data = load_data("digits")
    model, _ = model_of(data, "mirrored", "chance")
    alone, _ = model_of(data, "none", "chance")
    spread_seeds(model)
    images = tf.constant(data.train.inputs[:8])
    both = model.distribute_strategy.run(tf.function(lambda: model(images, training=True))).values
    first = alone(images, training=True)
    spread = float(np.abs(both[0] - both[1]).max())
    print(json.dumps({"devices_apart": spread, "first_apart": float(np.abs(both[0] - first).max())}))


def folder(path):
    """A run that is stopped in the middle of an epoch on two devices and goes on on one, beside one that is not stopped."""
    from closer_tf.common.command import Interrupted
    from closer_tf.train import train_run
    from closer_tf.training.runs import RunFolder

    content = {
        "num_encoders": 3,
        "dataset": {"name": "digits"},
        "encoder": MLP,
        "training": {"epochs": 3, "batch_size": 128},
        "readout": {"C": [0.01, 1.0], "max_iter": 20, "pseudo_likelihood_draws": 2},
    }

    def config(distribution):
        return parse_config({**content, "compute": {"distribution": distribution}}).resolved()

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if (self.epoch, batch) == (1, 4):
                os.kill(os.getpid(), signal.SIGINT)

    try:
        train_run(config("mirrored"), f"{path}/stopped", callbacks=[Stop()])
    except Interrupted:
        print(json.dumps("stopped"))
    results = train_run(config("none"), f"{path}/stopped")
    whole = train_run(config("mirrored"), f"{path}/whole")
    apart = train_run(config("none"), f"{path}/alone")
    histories = [RunFolder(f"{path}/{name}").read_history() for name in ("stopped", "whole", "alone")]
    accuracies = [found["accuracy"]["closer"]["ensemble"]["test"] for found in (results, whole, apart)]
    print(json.dumps({"histories": histories, "accuracies": accuracies}))


def double():
    experiment._precision = lambda name: contextlib.nullcontext()  # configs know float32 at most
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")


if __name__ == "__main__":
    two_devices()
    for work in sys.argv[1:]:
        what, _, about = work.partition(":")
        if what == "double":
            double()
        else:
            {"gradients": gradients, "draws": lambda _: draws(), "steps": steps, "folder": folder}[what](about)
