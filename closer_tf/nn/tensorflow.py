"""What TensorFlow alone has: epochs, the training step, a training on several devices, Nadam's update, TF32, random bits.

On several devices (`tf.distribute.MirroredStrategy`) every device embeds its own part of each batch; then the embeddings of all
parts are gathered, so that every sample is told from the whole batch, and every device computes the loss of the whole batch. On
its way back the gradient is cut to the device's own samples. The sum of the devices' gradients, which the optimizer takes, is
therefore the gradient of one device at the same batch.
"""

import contextlib
import functools

import keras
import numpy as np
import tensorflow as tf

from closer_tf.data.streams import steps_per_execution, training_stream
from closer_tf.data.tensorflow_stream import in_order, one_epoch, side_by_side
from closer_tf.errors import ConfigError
from closer_tf.nn.objectives import after_step


def train_step(model, data):
    """One step of gradient descent on the model's objective.

    Args:
        model: a compiled `CLoSeR` model.
        data: stimuli (B, ...), or a tuple (stimuli, labels).

    Returns:
        dict of the running means that `fit` logs: the loss and its parts.
    """
    loss = descend(model, data)
    after_step(model)
    return _logged(model, data, loss)


def test_step(model, data):
    """The objective on one batch, without a step; arguments and result as in `train_step`.

    Keras's own step takes the loss for one device's share of it.
    """
    stimuli, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    outputs = model(stimuli, training=False)
    return _logged(model, data, model.compute_loss(stimuli, labels, outputs, sample_weight, training=False))


def _logged(model, data, loss):
    stimuli, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=tf.shape(keras.tree.flatten(stimuli)[0])[0])
    return model.get_metrics_result()


def descend(model, data):
    """Update a compiled model's weights once; returns the loss before (scalar tensor). Arguments as in `train_step`."""
    stimuli, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    with tf.GradientTape() as tape:
        outputs = model(stimuli, training=True)
        loss = model.compute_loss(stimuli, labels, outputs, sample_weight, training=True)
        scaled_loss = model.optimizer.scale_loss(loss)
    weights = model.trainable_weights
    model.optimizer.apply_gradients(zip(tape.gradient(scaled_loss, weights), weights))
    return loss


def for_all_batch_sizes(function, model):
    """A model's function of batches without the traces that TensorFlow takes anew, and warns of, for every other batch size.

    Args:
        function: `tf.function` of batches, as Keras makes it for `predict`.
        model: the model; one that runs eagerly or on several devices keeps the function as it is.
    """
    if model.run_eagerly or model.distribute_strategy.num_replicas_in_sync > 1:
        return function
    traces = {}

    def call(batches):
        batches = keras.tree.map_structure(tf.convert_to_tensor, batches)
        spec = keras.tree.map_structure(lambda batch: tf.TensorSpec((None, *batch.shape[1:]), batch.dtype), batches)
        if str(spec) not in traces:
            traces[str(spec)] = function.get_concrete_function(spec)
        return traces[str(spec)](batches)

    return call


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


def update(variable, m, v, gradient, beta_1, beta_2, of_momentum, of_gradient, epsilon):
    """Move the means on, and the variable by `(of_momentum m + of_gradient gradient) / (sqrt(v) + epsilon)`.

    The first kernel is Adam's with its bias correction taken out, which leaves the momentum's part of the step; the second is
    Adagrad's, told to leave its accumulator `v` alone, which leaves the gradient's.

    Args:
        variable, m, v: Keras variables of one shape: what is trained, and the running means of its gradient and its square.
        gradient: tensor of that shape.
        beta_1, beta_2: decays of the means.
        of_momentum, of_gradient, epsilon: scalar tensors, see `closer_tf.nn.optimizers.Nadam`.
    """
    variable, m, v = (_resource(each) for each in (variable, m, v))
    dtype = gradient.dtype
    zero = tf.zeros([], dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable,
        m=m,
        v=v,
        beta1_power=zero,
        beta2_power=zero,
        lr=of_momentum,
        beta1=tf.constant(beta_1, dtype),
        beta2=tf.constant(beta_2, dtype),
        epsilon=epsilon,
        grad=gradient,
    )
    tf.raw_ops.ResourceApplyAdagradV2(var=variable, accum=v, lr=of_gradient, epsilon=epsilon, grad=gradient, update_slots=False)


def _resource(variable):
    """The handle of a Keras variable, or of the plain one that it becomes inside an update on several devices."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle


@contextlib.contextmanager
def without_tf32():
    """Context in which float32 products are true float32."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def levels(seed, shape):
    """Random whole numbers of 16 bits.

    Args:
        seed: int tensor (2,).
        shape: tuple of ints or scalar tensors.
    """
    seed = tf.cast(tf.math.floormod(seed, tf.int32.max - 1), tf.int32)
    shape = tf.convert_to_tensor(shape, tf.int32)
    count = tf.reduce_prod(shape)
    words = tf.random.stateless_uniform([(count + 3) // 4], seed, minval=None, maxval=None, dtype=tf.uint64)
    return tf.reshape(tf.reshape(tf.bitcast(words, tf.uint16), [-1])[:count], shape)


def epochs(model, data, configs, keeper, callbacks):
    """How `closer_tf.training.loop` trains, by Keras's own `fit`.

    Args:
        model: compiled `CLoSeR` model, or `FusedEnsembles` of S runs.
        data: list of S `Splits`.
        configs: list of S resolved `RunConfig`s.
        keeper: the loop's `CheckpointKeeper`.
        callbacks: further Keras callbacks.

    Returns:
        (fit, validate): function (first, last, done=0) that trains epochs, and one without arguments that returns dict name ->
        mean over validation.
    """
    size = configs[0].training.batch_size
    validation = validation_stream([each.validation for each in data], size)
    settings = {"validation_data": validation, "callbacks": [keeper, *callbacks], "shuffle": False, "verbose": 0}
    at_once = steps_per_execution(configs[0], keeper.steps) if len(data) == 1 else 1
    if model.steps_per_execution != at_once:
        model.steps_per_execution = at_once
        model.train_function = model.test_function = None  # an earlier `fit` may have traced them for another number

    def fit(first, last, done=0):
        orders, left = [(each.train, size, config.seeds.data_order) for each, config in zip(data, configs)], keeper.steps - done
        if at_once == 1:
            stream = side_by_side([training_stream(*order, first, done) for order in orders])
            model.fit(stream, initial_epoch=first, epochs=last, steps_per_epoch=left, **settings)
        else:
            model.fit(one_epoch(*orders[0], keeper.began_at, left), initial_epoch=first, epochs=last, **settings)

    def validate():
        if validation is None:
            return {}
        return model.evaluate(validation, callbacks=[keeper], return_dict=True, verbose=0)

    return fit, validate


def validation_stream(splits, batch_size):
    """The runs' validation samples side by side, in order, for `evaluate` under TensorFlow.

    None without samples, and with one alone, which is told from nothing: its loss is 0 whatever the encoders do.
    """
    return side_by_side([in_order(split, batch_size) for split in splits]) if len(splits[0]) > 1 else None
