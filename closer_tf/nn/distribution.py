"""One training on several devices of one machine, under TensorFlow (`tf.distribute.MirroredStrategy`).

Every device embeds its own part of each batch; then the embeddings of all parts are gathered, so that every sample is told
from the whole batch, and every device computes the loss of the whole batch. On its way back the gradient is cut to the device's
own samples. The sum of the devices' gradients, which the optimizer takes, is therefore the gradient of one device at the same
batch.
"""

import functools

import keras
import numpy as np
import tensorflow as tf

from closer_tf.errors import ConfigError


def strategy_of(config):
    """The `tf.distribute` strategy of a run config with `compute.distribution: mirrored`.

    Args:
        config: resolved `RunConfig`.

    Returns:
        `tf.distribute.MirroredStrategy` over all visible GPUs, or without any over all logical CPU devices.

    Raises:
        ConfigError: there is one device only, or the batch does not divide among the devices.
    """
    devices = [device.name for device in tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")]
    if len(devices) < 2:
        raise ConfigError(
            f"compute.distribution: 'mirrored' needs at least two devices, found {', '.join(devices)}; "
            f"expected 'none', or more GPUs made visible (CUDA_VISIBLE_DEVICES)"
        )
    if config.training.batch_size % len(devices):
        raise ConfigError(
            f"training.batch_size: expected a multiple of the {len(devices)} devices that compute.distribution 'mirrored' "
            f"shares a batch among, found {config.training.batch_size}"
        )
    return _mirrored(tuple(devices))


@functools.cache
def _mirrored(devices):
    """One strategy per process: the collective operations of two would have the same keys."""
    return tf.distribute.MirroredStrategy(devices)


def replicas():
    """How many devices share the batch of the step in which this is called; 1 outside of one."""
    context = tf.distribute.get_replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def gathered(values):
    """Tensors of this device's samples (b, ...), in any structure, as those of the whole batch (B, ...), in order.

    The gradient of what is gathered goes to this device's own samples alone: what every device computes from the whole batch
    must be the same, and is not counted once per device. Devices may hold different numbers of samples. With one device nothing
    is done.
    """
    if replicas() == 1:
        return values
    context = tf.distribute.get_replica_context()
    own = tf.shape(tf.nest.flatten(values)[0])[0]
    first = tf.reduce_sum(context.all_gather(tf.reshape(own, (1,)), axis=0)[: context.replica_id_in_sync_group])

    @tf.custom_gradient
    def gather(x):
        def backward(upstream):
            return upstream[first : first + own]

        whole = context.all_gather(tf.stop_gradient(x), axis=0)
        return tf.ensure_shape(whole, (None, *x.shape[1:])), backward

    return tf.nest.map_structure(gather, values)


def once(value):
    """A scalar that every device computes alike, such that its gradient, summed over devices, is counted once."""
    share = value / replicas()
    return share + tf.stop_gradient(value - share)


def spread_seeds(model):
    """Have the devices of a mirrored model draw different random numbers: the first what one device would draw.

    Args:
        model: a Keras model; nothing is done to one that is not mirrored. What the first device draws from is what a
            checkpoint holds; the other devices' seeds follow from it.
    """
    for variable in model.variables:
        copies = getattr(variable.value, "values", ())
        if variable.name != "seed_generator_state" or len(copies) < 2:
            continue
        seed, drawn = (int(number) for number in np.asarray(copies[0]))
        for replica, copy in enumerate(copies[1:], start=1):
            own = np.random.SeedSequence([seed, replica]).generate_state(1)[0] >> 1
            copy.assign(np.array([own, drawn], dtype=keras.backend.standardize_dtype(variable.dtype)))
