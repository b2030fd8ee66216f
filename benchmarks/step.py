"""The whole training step: augmentation, forward, backward, optimizer; beside the time its arithmetic alone would take."""

import numpy as np

from benchmarks.backend import bare_step
from benchmarks.reference import ReferenceLoss
from benchmarks.timing import interleaved, median_ms, summary
from closer_tf.common.backend import accelerators
from closer_tf.config import load_config
from closer_tf.data.splits import Split, Splits
from closer_tf.nn.fused_model import FusedEnsembles
from closer_tf.training import experiment

NO_AUGMENTATION = "augmentation={}"
CASES = {
    "mlp q=.025": ("mlp_gaussian", ["masks.fraction=0.025"]),
    "mlp q=.1": ("mlp_gaussian", []),
    "mlp q=.25": ("mlp_gaussian", ["masks.fraction=0.25"]),
    "mlp q=.1 ring": ("mlp_gaussian_bidirectional_ring", []),
    "vit q=.05": ("vit_random_patches", ["masks.fraction=0.05"]),
    "vit q=.2": ("vit_random_patches", ["masks.fraction=0.2"]),
    "vit q=.5": ("vit_random_patches", ["masks.fraction=0.5"]),
    "neuronal": ("simulated_tcloser", ["dataset.size=paper", "num_encoders=10"]),
}
VARIANTS = {  # name -> overrides
    "default": [],
    "no augmentation": [NO_AUGMENTATION],
    "bfloat16": ["compute.precision=bfloat16"],
    "xla": [NO_AUGMENTATION, "compute.xla=true"],
    "reference loss": [],
    "reference loss, no augmentation": [NO_AUGMENTATION],
    "stacked": [],
    "stacked, no augmentation": [NO_AUGMENTATION],
}
WHICH = {  # variants measured beside the default
    "mlp q=.1": (
        "no augmentation",
        "bfloat16",
        "xla",
        "reference loss",
        "reference loss, no augmentation",
        "stacked",
        "stacked, no augmentation",
    ),
    "vit q=.05": ("no augmentation", "bfloat16"),
}


def measure(configs, rate_gflops, cases=CASES, repeats=15):
    """Times of the cases, each beside its arithmetic floor.

    Args:
        configs: folder of run configs.
        rate_gflops: the machine's matrix product rate.
        cases: dict name -> (config name, overrides).
        repeats: of each.

    Returns:
        List of dicts.
    """
    rows = []
    for case, (name, overrides) in cases.items():
        steps, floors = {}, {}
        for variant in ("default", *WHICH.get(case, ())):
            model, batch = ready(configs / f"{name}.json", [*overrides, *VARIANTS[variant]])
            floors[variant] = arithmetic_gflop(model, len(batch[0])) / rate_gflops * 1e3
            if variant.startswith("reference loss"):
                loss = model.loss
                model.compile(
                    model.optimizer, ReferenceLoss(loss.temperature, loss.graph, loss.stop_gradient), jit_compile=False
                )
            elif variant.startswith("stacked"):
                model, batch = FusedEnsembles([model]), tuple(part[None] for part in batch)
            steps[variant] = bare_step(model, batch)
        for variant, seconds in interleaved(steps, repeats, budget_s=25.0).items():
            floor = floors[variant]
            about = {"case": case, "variant": variant, "floor_ms": round(floor, 1)}
            rows.append(summary(seconds, **about, times_floor=round(median_ms(seconds) / floor, 2)))
        print(f"step: {case} done", flush=True)
    return rows


def ready(config_file, overrides=(), samples=128):
    """A compiled model of a config, and one batch for it of random pixels or simulated counts."""
    config = load_config(config_file, [*overrides, f"training.batch_size={min(samples, 128)}"])
    data = random_images(samples) if config.dataset.name.startswith("cifar") else experiment.load_splits(config)
    fields = experiment.make_receptive_fields(config, data)
    model = experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), len(data.label_names))
    return model, (data.train.inputs[:samples], data.train.labels[:samples])


def random_images(samples):
    """Random pixels in CIFAR-10's place: a step takes as long on noise."""
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (samples, 32, 32, 3)).astype("uint8"), np.arange(samples) % 10)
    return Splits("random pixels", split, split, split, tuple(str(k) for k in range(10)), 1 / 255)


def arithmetic_gflop(model, batch):
    """What a step's matrix products need, in 10^9 operations: three products per kernel, and three per pair of encoders for the
    CLoSeR loss. Transformers are counted in full, every token through every block, though ours computes less."""
    products = 0
    for encoder in model.encoders:
        tokens = encoder.input_shape[1] + 1 if any(layer.name.startswith("attention") for layer in encoder.layers) else 1
        for layer in encoder.layers:
            for weight in layer.trainable_weights:
                if len(weight.shape) == 2:
                    products += 3 * tokens * int(np.prod(weight.shape))
    encoders, dim = model.output_shape[-2:] if not isinstance(model.output_shape, dict) else (1, 1)
    bins = 2 if getattr(model.loss, "needs_previous", False) else 1
    total = 2.0 * batch * bins * products
    graph = getattr(model.loss, "graph", None)
    if bins == 1 and graph is not None:
        pairs = encoders**2 if graph.density == 1 else graph.num_edges
        total += 3 * 2.0 * batch**2 * dim * pairs
    return total / 1e9


def device():
    """What the backend computes on, in words."""
    return (accelerators() or ["CPU"])[0]
