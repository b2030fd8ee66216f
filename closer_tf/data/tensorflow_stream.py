"""The training batches under TensorFlow: the data set lies in memory once, and no step waits for Python."""

import tensorflow as tf

from closer_tf.data.streams import epoch_order


def dataset(split, batch_size, seed, epoch=0, step=0):
    """What `streams.batches` yields, as a `tf.data.Dataset` that gathers the next batches while a step is computed.

    Args:
        split, batch_size, seed, epoch, step: as in `streams.batches`.

    Returns:
        Endless `tf.data.Dataset` of (stimuli, labels).
    """

    def orders(now=epoch, done=step * batch_size):
        while True:
            yield epoch_order(len(split), seed, now)[done:]
            now, done = now + 1, 0

    return _gathered(split, batch_size, orders)


def one_epoch(split, batch_size, seed, now, steps):
    """The same batches, one epoch at each iteration: where Keras takes several steps at a call, it stops at a `Dataset`'s end.

    Args:
        split, batch_size, seed: as in `dataset`.
        now: function without arguments that tells, when an iteration begins, where it begins: (epoch, step).
        steps: batches from there to the end of the epoch.

    Returns:
        `tf.data.Dataset` of (stimuli, labels).
    """

    def orders():
        epoch, step = now()
        yield epoch_order(len(split), seed, epoch)[step * batch_size :]

    return _gathered(split, batch_size, orders).apply(tf.data.experimental.assert_cardinality(steps))


def _gathered(split, batch_size, orders):
    """The samples of a split in the orders that a generator yields, batch by batch."""
    inputs, labels = tf.constant(split.inputs), tf.constant(split.labels)

    @tf.autograph.experimental.do_not_convert
    def in_batches(order):
        return tf.data.Dataset.from_tensor_slices(order).batch(batch_size)

    @tf.autograph.experimental.do_not_convert
    def gather(rows):
        return tf.gather(inputs, rows), tf.gather(labels, rows)

    order_of_epochs = tf.data.Dataset.from_generator(orders, output_signature=tf.TensorSpec((None,), tf.int64))
    return untuned(order_of_epochs.flat_map(in_batches).map(gather).prefetch(2))


def in_order(split, batch_size):
    """The batches of a `Split` in order, once, as a `tf.data.Dataset` of (stimuli, labels)."""
    return blocks((split.inputs, split.labels), batch_size)


def blocks(arrays, batch_size):
    """An array (n, ...), or a tuple of such arrays, batch by batch as a `tf.data.Dataset`."""
    return untuned(tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size))


def side_by_side(streams):
    """`tf.data.Dataset`s of (stimuli (B, ...), labels (B,)) as one of (S, B, ...) and (S, B); one alone stays as it is."""
    if len(streams) == 1:
        return streams[0]

    @tf.autograph.experimental.do_not_convert
    def stacked(*runs):
        return tuple(tf.stack(parts) for parts in zip(*runs))

    return untuned(tf.data.Dataset.zip(tuple(streams)).map(stacked).prefetch(2))


def untuned(dataset):
    """The dataset without tf.data's autotuning, which has nothing to tune here and holds up the end of every iteration.

    Its thread sleeps 10 ms, 20 ms, 40 ms and so on, and an iterator does not end before that thread wakes: with it, a `fit` of
    31 s takes 41 s.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
