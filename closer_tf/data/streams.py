"""The order in which training samples come, which follows from (seed, epoch), the batches in that order, and how many of them
are taken in one call."""

import numpy as np


def epoch_order(count, seed, epoch):
    """The order of `count` training samples in an epoch, which follows from (seed, epoch) alone: int array (count,)."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def steps_per_execution(config, steps):
    """Training steps at one call from Python: `compute.steps_per_execution`, or what it is by itself.

    Args:
        config: resolved `RunConfig`.
        steps: steps per epoch; under JAX a call takes them all by itself.
    """
    import keras

    from closer_tf.config import RecordingSource

    backend, chosen = keras.backend.backend(), config.compute.steps_per_execution
    if backend == "jax":
        return min(chosen or steps, steps)
    if backend != "tensorflow" or config.compute.distribution != "none":
        return 1
    return chosen or (8 if isinstance(config.dataset, RecordingSource) else 1)


def batches(split, batch_size, seed, epoch=0, step=0):
    """Shuffled batches without end: every epoch in an order of its own, which follows from (seed, epoch) alone.

    Args:
        split: `Split`.
        batch_size: samples per batch; the last batch of an epoch holds what is left.
        seed: int.
        epoch, step: where to begin.

    Yields:
        (stimuli, labels).
    """
    while True:
        order = epoch_order(len(split), seed, epoch)
        for start in range(step * batch_size, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield split.inputs[chosen], split.labels[chosen]
        epoch, step = epoch + 1, 0


def training_stream(split, batch_size, seed, epoch=0, step=0):
    """The same batches in the form that the backend takes in fastest; arguments as in `batches`."""
    import keras

    if keras.backend.backend() != "tensorflow":
        return batches(split, batch_size, seed, epoch, step)
    from closer_tf.data.tensorflow_stream import dataset

    return dataset(split, batch_size, seed, epoch, step)
