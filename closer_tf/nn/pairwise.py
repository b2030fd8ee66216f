"""The loss over a graph's pairs of encoders with its gradient in closed form, computed together and block by block.

For an edge (i, j) of weight w, a sample b of the target j and the samples m of the pulled encoder i (paper: equations 1 to 5):

    z[b, m] = (2 t_b . p_m - |p_m|^2) / tau          the logits: t = mu_j, p = mu_i; |t_b|^2 cancels
    loss    = w / B sum_b -log softmax(z)[b, b]
    a[b, m] = w / B softmax(z)[b, m]
    d loss / d t_b = 2 / tau (sum_m a[b, m] p_m - w / B p_b)
    d loss / d p_m = 2 / tau (sum_b a[b, m] t_b - w / B t_m - (sum_b a[b, m] - w / B) p_m)

Nothing is kept for a backward pass, so that memory is what one block takes. Where all pairs are computed without stop-gradient,
both sums are one product with a + a^T: two large products in all, where automatic differentiation needs three.

An edge that pushes has the same logits, and with q_b the softmax over the others, m != b, alone:

    loss    = v / B sum_b -log(1 - softmax(z)[b, b]) = v / B sum_b (logsumexp_m z[b, m] - logsumexp_{m != b} z[b, m])
    a[b, m] = v / B (softmax(z)[b, m] - q_b[m])      in the sums above, in place of a and of w / B at m = b
"""

import keras
from keras import ops

# Arrays of one float per logit that are alive at once: logits, log-softmax, softmax, its transpose, their sum.
ARRAYS_PER_LOGIT = 5
ARRAYS_PER_PUSH_LOGIT = 8  # and whether it is the own sample, the others' log-softmax, their softmax

FAR = -1e30  # in place of a logit that is left out


def pair_loss(embeddings, temperature, graph, stop_gradient, dense, max_memory_mb, push=False):
    """The loss of a batch over a graph; differentiable once, by its gradient in closed form.

    Args:
        embeddings: tensor (N, B, D), near its common centre.
        temperature: scale of the squared distances [tau].
        graph: `InteractionGraph` over the N encoders.
        stop_gradient: True: an edge (i, j) sends a gradient to encoder i only.
        dense: compute all pairs at once (True) or only the graph's edges (False).
        max_memory_mb: most memory, in MiB, for what is computed per pair of samples; more than that is computed in blocks.
        push: the edges push: the loss is -log(1 - p) in place of -log p. A batch of one has none.

    Returns:
        Scalar tensor.
    """
    compute = _all_pairs if dense else _edges

    @ops.custom_gradient
    def loss_of(x):
        loss, gradient = compute(x, temperature, graph, stop_gradient, max_memory_mb, push)

        def backward(*args, upstream=None):
            return (upstream if upstream is not None else args[0]) * gradient

        return loss, backward

    return loss_of(embeddings)


def _all_pairs(x, tau, graph, stop_gradient, max_memory_mb, push):
    """(loss, gradient (N, B, D)) from one product over all encoders, or from blocks of its rows."""
    num_encoders, batch, dim = x.shape[0], ops.shape(x)[1], x.shape[2]
    samples = num_encoders * batch
    rows = _at_least_one(_per_block(max_memory_mb, samples, x.dtype, push))
    towards = _constant(graph.matrix().T, x) / ops.cast(batch, x.dtype)  # row j: weights of the edges towards j
    flat = ops.reshape(x, (-1, dim))

    def whole():
        weights = ops.repeat(towards, batch, axis=0)
        loss, a = _softmax_of_rows(flat, flat, weights, _arange(samples) % batch, tau, push)
        return loss, _towards_pulled(a, flat, flat) if stop_gradient else _both_ways(a, flat)

    def by_blocks():
        def add_block(k, carry):
            loss, gradient = carry
            inside, weighs = _block(k, rows, samples, x.dtype)
            targets = ops.take(flat, inside, axis=0)
            weights = ops.take(towards, inside // batch, axis=0) * weighs
            more, a = _softmax_of_rows(targets, flat, weights, inside % batch, tau, push)
            gradient = gradient + _towards_pulled(a, targets, flat)
            if not stop_gradient:
                gradient = gradient + ops.segment_sum(ops.matmul(a, flat), inside, num_segments=samples)
            return loss + more, gradient

        return ops.fori_loop(0, -(-samples // rows), add_block, (ops.zeros((), x.dtype), ops.zeros_like(flat)))

    loss, gradient = _where(samples <= rows, whole, by_blocks)
    if push:
        return loss, ops.reshape(gradient, ops.shape(x)) * (2 / tau)
    own = graph.matrix() + (0 if stop_gradient else graph.matrix().T)
    pulled = graph.matrix().sum(axis=1, keepdims=True)  # weight by which each encoder is pulled
    per_encoder = ops.reshape(x, (num_encoders, -1))
    at_own_sample = ops.matmul(_constant(own, x), per_encoder) - _constant(pulled, x) * per_encoder
    gradient = gradient - ops.reshape(at_own_sample, ops.shape(gradient)) / ops.cast(batch, x.dtype)
    return loss, ops.reshape(gradient, ops.shape(x)) * (2 / tau)


def _softmax_of_rows(targets, flat, weights, sample, tau, push):
    """The loss of some target samples, and their weighted softmax over the samples of each pulled encoder: `a` above.

    Args:
        targets: tensor (R, D).
        flat: tensor (P * B, D), the samples of the first pulled encoder, then those of the second, ...
        weights: tensor (R, P), w_ij / B.
        sample: int tensor (R,), which sample of the batch each target is.
        push: as for `pair_loss`.

    Returns:
        (scalar, tensor (R, P * B)).
    """
    rows, pulled = ops.shape(targets)[0], weights.shape[1]
    batch = ops.shape(flat)[0] // pulled
    norms = ops.sum(ops.square(flat), axis=1) / tau
    logits = ops.matmul(targets * (2 / tau), ops.transpose(flat)) - norms
    log_p = ops.log_softmax(ops.reshape(logits, (rows, pulled, batch)), axis=2)
    if push:
        is_own = ops.expand_dims(ops.equal(ops.expand_dims(sample, 1), _arange(batch)), 1)
        loss, a = _pushed(log_p, is_own, weights)
        return loss, ops.reshape(a, ops.shape(logits))
    blocks = ops.expand_dims(_arange(rows), 1) * pulled + _arange(pulled)
    own = ops.take(ops.reshape(log_p, (-1,)), blocks * batch + ops.expand_dims(sample, 1))
    a = ops.exp(log_p) * ops.expand_dims(weights, 2)
    return -ops.sum(weights * own), ops.reshape(a, ops.shape(logits))


def _pushed(log_p, is_own, weights):
    """The loss of edges that push, and its slopes by the logits, which sum to 0 over each row.

    Args:
        log_p: tensor (..., B), log-softmax of the logits.
        is_own: bool tensor that broadcasts to it, true at the own sample.
        weights: tensor (...), weight of each row.

    Returns:
        (scalar, tensor (..., B)).
    """
    weights = weights * ops.cast(ops.shape(log_p)[-1] > 1, log_p.dtype)  # a sample alone is told from nothing
    others = ops.where(is_own, ops.cast(FAR, log_p.dtype), log_p)
    largest = ops.max(others, axis=-1, keepdims=True)
    each = ops.exp(others - largest)  # one exponential of all logits serves the loss and both softmaxes
    total = ops.sum(each, axis=-1, keepdims=True)
    log_of_others = (largest + ops.log(total))[..., 0]  # log(1 - p), exact where p is near 1
    own = ops.sum(ops.where(is_own, log_p, ops.zeros_like(log_p)), axis=-1)
    near_0 = ops.log1p(-ops.exp(ops.minimum(own, -0.5)))  # exact where p is small
    log_1_minus_p = ops.where(own < -1, near_0, log_of_others)
    slope = ops.expand_dims(weights * ops.exp(own), -1)  # of the own logit; the others share its opposite
    a = ops.where(is_own, slope, -each * (slope / total))
    return -ops.sum(weights * log_1_minus_p), a


def _towards_pulled(a, targets, flat):
    """sum_r a[r, m] (t_r - p_m): (R, M), (R, D), (M, D) -> (M, D)."""
    return ops.matmul(ops.transpose(a), targets) - ops.expand_dims(ops.sum(a, axis=0), 1) * flat


def _both_ways(a, flat):
    """`_towards_pulled` plus sum_m a[r, m] p_m, where targets and pulled are the same samples."""
    both = a + ops.transpose(a)
    return ops.matmul(both, flat) - ops.expand_dims(ops.sum(a, axis=0), 1) * flat


def _edges(x, tau, graph, stop_gradient, max_memory_mb, push):
    """(loss, gradient (N, B, D)) from one product per edge, or from blocks of edges, or of samples of an edge."""
    num_encoders, batch = x.shape[0], ops.shape(x)[1]
    edges, weights = graph.edges.astype("int32"), graph.weights
    at_once = _per_block(max_memory_mb, batch * batch, x.dtype, push)

    def block(first, last):
        return _edge_block(x, edges[first:last], _constant(weights[first:last], x), tau, stop_gradient, push)

    def whole():
        return block(0, len(edges))

    sources, targets, w = _constant(edges[:, 0], None), _constant(edges[:, 1], None), _constant(weights, x)
    start = (ops.zeros((), x.dtype), ops.zeros_like(x))

    def by_blocks():
        def add_block(k, carry):
            inside, weighs = _block(k, at_once, len(edges), x.dtype)
            chosen = ops.stack([ops.take(sources, inside), ops.take(targets, inside)], axis=1)
            more, gradient = _edge_block(x, chosen, ops.take(w, inside) * weighs[:, 0], tau, stop_gradient, push)
            return carry[0] + more, carry[1] + gradient

        return ops.fori_loop(0, -(-len(edges) // at_once), add_block, start)

    def by_rows():
        rows = _at_least_one(_per_block(max_memory_mb, batch, x.dtype, push))
        per_edge = -(-batch // rows)

        def add_block(k, carry):
            edge = k // per_edge
            i, j = ops.take(sources, edge), ops.take(targets, edge)
            inside, weighs = _block(k % per_edge, rows, batch, x.dtype)
            pulled, rows_of_j = ops.take(x, i, axis=0), ops.take(ops.take(x, j, axis=0), inside, axis=0)
            each = ops.take(w, edge) * weighs / ops.cast(batch, x.dtype)
            more, a = _softmax_of_rows(rows_of_j, pulled, each, inside, tau, push)
            if not push:
                a = a - each * ops.one_hot(inside, batch, dtype=x.dtype)
            gradient = _one_encoder(_towards_pulled(a, rows_of_j, pulled), i, num_encoders)
            if not stop_gradient:
                of_rows = ops.segment_sum(ops.matmul(a, pulled), inside, num_segments=batch)
                gradient = gradient + _one_encoder(of_rows, j, num_encoders)
            return carry[0] + more, carry[1] + gradient * (2 / tau)

        return ops.fori_loop(0, len(edges) * per_edge, add_block, start)

    return _where(len(edges) <= at_once, whole, lambda: _where(at_once > 0, by_blocks, by_rows))


def _one_encoder(gradient, encoder, num_encoders):
    """(B, D) as the part of one encoder: (N, B, D), zero elsewhere."""
    chosen = ops.one_hot(encoder, num_encoders, dtype=gradient.dtype)
    return ops.reshape(chosen, (-1, 1, 1)) * gradient


def _block(k, size, count, dtype):
    """Block k of `count` things: their positions (size,), the last one repeated past the end, and a column of 1, there of 0."""
    index = k * size + _arange(size)
    weighs = ops.cast(ops.expand_dims(index < count, 1), dtype)
    return ops.minimum(index, count - 1), weighs


def _edge_block(x, edges, weights, tau, stop_gradient, push):
    """(loss, gradient (N, B, D)) of some edges (E, 2) with weights (E,)."""
    num_encoders, batch, dim = x.shape[0], ops.shape(x)[1], x.shape[2]
    pulled, targets = ops.take(x, edges[:, 0], axis=0), ops.take(x, edges[:, 1], axis=0)
    weights = ops.reshape(weights, (-1, 1, 1)) / ops.cast(batch, x.dtype)
    norms = ops.expand_dims(ops.sum(ops.square(pulled), axis=2), 1) / tau
    log_p = ops.log_softmax(ops.matmul(targets * (2 / tau), ops.transpose(pulled, (0, 2, 1))) - norms, axis=2)
    if push:
        loss, slope = _pushed(log_p, ops.equal(ops.expand_dims(_arange(batch), 1), _arange(batch)), weights[:, :, 0])
    else:
        own = ops.take(ops.reshape(log_p, (-1, batch * batch)), _arange(batch) * (batch + 1), axis=1)
        loss = -ops.sum(weights[:, :, 0] * own)
        slope = (ops.exp(log_p) - ops.eye(batch, dtype=x.dtype)) * weights
    of_pulled = ops.matmul(ops.transpose(slope, (0, 2, 1)), targets) - ops.expand_dims(ops.sum(slope, axis=1), 2) * pulled
    gradient = _sum_by_encoder(of_pulled, edges[:, 0], num_encoders)
    if not stop_gradient:
        gradient = gradient + _sum_by_encoder(ops.matmul(slope, pulled), edges[:, 1], num_encoders)
    return loss, ops.reshape(gradient, (num_encoders, batch, dim)) * (2 / tau)


def _sum_by_encoder(values, encoders, num_encoders):
    flat = ops.reshape(values, (ops.shape(values)[0], -1))
    return ops.segment_sum(flat, encoders, num_segments=num_encoders)


def _per_block(max_memory_mb, logits, dtype, push):
    """How many times that many logits fit into the memory; an int tensor where the batch is not known yet."""
    arrays = ARRAYS_PER_PUSH_LOGIT if push else ARRAYS_PER_LOGIT
    allowed = int(max_memory_mb * 2**20) // (arrays * (8 if _name(dtype) == "float64" else 4))
    return min(allowed, 2**31 - 1) // logits


def _at_least_one(count):
    return max(1, count) if isinstance(count, int) else ops.maximum(1, count)


def _where(condition, yes, no):
    """`yes()` or `no()`; both are built where the batch is not known yet."""
    return (yes() if condition else no()) if isinstance(condition, bool) else ops.cond(condition, yes, no)


def _arange(count):
    return ops.arange(count, dtype="int32")


def _constant(values, like):
    return ops.convert_to_tensor(values, dtype=None if like is None else like.dtype)


def _name(dtype):
    return keras.backend.standardize_dtype(dtype)
