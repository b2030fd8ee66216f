"""Any JSON as a run config either trains a step or gives one clean message: no traceback, no file outside the run folder.

CLOSER_TF_FUZZ_EXAMPLES sets how many configs are tried (default 100).
"""

import io
import json
import os
import shutil
import signal
import sys
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

EXAMPLES = int(os.environ.get("CLOSER_TF_FUZZ_EXAMPLES", 100))
SEED = int(os.environ.get("CLOSER_TF_FUZZ_SEED", 0))

# Anything that JSON can hold. Whole numbers are small or absurd: what lies between is legal and only takes long.
whole = st.one_of(
    st.integers(-3, 8), st.sampled_from([64, 2**31, 2**32, 2**63, -(2**63), 10**9, 10**12, 10**18, 10**30, 10**400])
)
real = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 1e-300, 1e300, -0.1])
)
words = st.sampled_from(
    """digits arrays session image_folder simulated natural_movie gabors cifar10 mnist gaussian random_patches custom areas
    contiguous_patches mlp vit_lite all_to_all star bidirectional_ring directional_ring random closer tcloser notcloser lpl
    supervised untrained masked_input full_input uniform per_target paper published stimulus segment time small nadam own.npz
    session.npz images masks.npy graph.json one two a b . .. ../outside own.json missing.npz /dev/zero /dev/null ~ ~nobody0
    """.split()
)
text = st.one_of(
    words, st.text(max_size=6), st.sampled_from(["\ud800", "~\x00", "a\x00b", "\x1b[31m", "[/x]", "%s", "{0}", "$a"])
)
scalar = st.one_of(st.none(), st.booleans(), whole, real, text)
anything = st.recursive(
    scalar, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=3)), max_leaves=8
)


def some(**options):
    """An object with some of the keys."""
    return st.fixed_dictionaries({}, optional=options)


def needs(required, **options):
    return st.fixed_dictionaries(required, optional=options)


positive = st.sampled_from([1e-3, 1e-3, 0.1, 1.0, 10.0, 1e-300, 1e300])
seeds = st.integers(0, 2**31 - 1)
sizes = st.lists(st.sampled_from([4, 8]), min_size=2, max_size=2)
small, fraction = st.integers(1, 6), st.sampled_from([0.05, 0.2, 0.3, 0.5, 1.0])
label = {"label": st.sampled_from(["stimulus", "segment", "time"]), "segments": st.integers(2, 4), "full_range": st.booleans()}
dataset = st.one_of(
    needs({"name": st.just("digits")}, test_fraction=fraction, input_scale=fraction),
    needs({"name": st.just("arrays"), "path": st.just("own.npz")}, test_fraction=fraction),
    needs(
        {"name": st.just("image_folder"), "path": st.sampled_from(["images", "images/a"])},
        image_size=st.one_of(sizes, st.sampled_from([4, 8])),
        background=st.lists(st.sampled_from([0, 255]), min_size=3, max_size=3),
        white_level=positive,
    ),
    needs({"name": st.just("session"), "path": st.just("session.npz")}, standardise=st.booleans(), **label),
    needs({"name": st.sampled_from(["gabors", "natural_movie", "cifar10", "cifar100"])}, path=text),
)
masks = st.one_of(
    needs({"scheme": st.just("gaussian"), "fraction": fraction}, sigma=st.floats(0.01, 100)),
    needs({"scheme": st.just("random_patches"), "fraction": fraction}, patch_size=st.sampled_from([1, 2, 3, 4])),
    needs({"scheme": st.just("contiguous_patches"), "fraction": fraction, "patch_size": st.sampled_from([1, 2])}),
    needs({"scheme": st.just("custom"), "path": st.just("masks.npy")}),
    needs({"scheme": st.just("areas")}, areas=st.lists(st.sampled_from("ab"), max_size=3)),
)
encoder = st.one_of(
    needs(
        {"type": st.just("mlp"), "hidden": st.lists(small, max_size=2), "embedding_dim": small}, dropout=fraction, l1=positive
    ),
    needs(
        {"type": st.just("vit_lite"), "embedding_dim": small, "blocks": st.just(1), "heads": small, "key_dim": small},
        mlp_dim=small,
        dropout=fraction,
    ),
)
graph = st.one_of(
    needs({"family": st.sampled_from(["all_to_all", "star", "bidirectional_ring", "directional_ring"])}),
    needs({"family": st.just("random"), "num_edges": small}),
    needs({"family": st.just("custom"), "edges": st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), max_size=4)}),
    needs({"family": st.just("custom"), "path": st.just("graph.json")}),
)
config = needs(
    {"dataset": dataset, "masks": masks, "encoder": encoder, "num_encoders": st.sampled_from([2, 3, 3, 3, 4])},
    condition=st.sampled_from(
        ["closer", "closer", "closer", "tcloser", "notcloser", "lpl", "supervised", "untrained", "masked_input"]
    ),
    seed=st.integers(0, 2**63 - 1),
    augmentation=some(horizontal_flip=st.booleans(), rotation=fraction, zoom=fraction),
    objective=some(
        temperature=positive,
        graph=graph,
        stop_gradient=st.booleans(),
        weights=st.one_of(*[st.none()] * 4, some(pull=positive, var=positive)),
    ),
    optimizer=some(learning_rate=positive, beta_2=st.just(0.9), epsilon=positive, schedule_decay=positive),
    training=some(epochs=st.integers(0, 2), batch_size=st.sampled_from([2, 8, 30]), validation_fraction=fraction),
    seeds=some(masks=seeds, dropout=seeds, augmentation=seeds, data_order=seeds),
    readout=some(after_training=st.booleans(), C=st.lists(positive, min_size=1, max_size=3)),
    description=text,
)


def keys(content, path=()):
    """All paths in a config."""
    found = [path] if path else []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        found += keys(value, (*path, key))
    return found


@st.composite
def broken(draw):
    """A sound config with up to three values replaced, dropped or added."""
    content = draw(config)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2, 3]))):
        *parents, last = draw(st.sampled_from(keys(content)))
        target = content
        for key in parents:
            target = target[key]
        what = draw(st.integers(0, 3))
        if what == 0 and isinstance(target, dict):
            target[draw(text)] = draw(anything)
        elif what == 1 and isinstance(target, dict):
            del target[last]
            if not content:
                break
        else:
            target[last] = draw(anything if what == 2 else scalar)
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with a small file of every kind."""
    here = tmp_path_factory.mktemp("fuzz")
    rng = np.random.default_rng(0)
    np.savez(here / "own.npz", x_train=rng.integers(0, 256, (60, 8, 8, 1)).astype(np.uint8), y_train=np.arange(60) % 3)
    counts = {f"counts_{name}": rng.poisson(1.0, (6, 12, 8)) for name in ("one", "two")}
    np.savez(here / "session.npz", unit_ids=np.arange(8), unit_areas=np.array(list("aaabbbcc")), bin_width=0.03, **counts)
    np.save(here / "masks.npy", rng.random((3, 8, 8)) < 0.5)
    (here / "graph.json").write_text("[[0, 1, 1], [1, 0, 0], [0, 2, 0]]")
    for name in ("a", "b"):
        (here / "images" / name).mkdir(parents=True)
        for k in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)).save(here / "images" / name / f"{k}.png")
    return here


class Watch:
    """Notes every path that this process opens for writing, makes or renames while it is on."""

    def __init__(self):
        self.on, self.paths = False, []
        sys.addaudithook(self._heard)

    def _heard(self, event, args):
        if not self.on:
            return
        if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.paths.append(args[0])
        elif event in ("os.mkdir", "os.remove", "os.rmdir") and args[-1] == -1:  # else relative to an open folder
            self.paths.append(args[0])
        elif event == "os.rename":
            self.paths += args[:2]


@pytest.mark.timeout(0)
@pytest.mark.filterwarnings("default")  # numbers near the ends of their range overflow, and say so
def test_any_json_trains_a_step_or_gives_a_clean_message(folder, monkeypatch):
    import keras
    import requests
    import tensorflow as tf

    from closer_tf import evaluate, plots, train
    from closer_tf.common import backend
    from closer_tf.training import loop

    def no_network(*args, **options):
        raise requests.ConnectionError

    def stop_soon(keeper, epoch, logs=None):
        begin(keeper, epoch, logs)
        keeper.signal_number = signal.SIGTERM

    begin = loop.CheckpointKeeper.on_epoch_begin
    monkeypatch.chdir(folder)
    monkeypatch.setenv("MPLCONFIGDIR", str(folder / "run"))
    monkeypatch.setattr(requests, "head", no_network)
    monkeypatch.setattr(loop.CheckpointKeeper, "on_epoch_begin", stop_soon)
    monkeypatch.setattr(backend, "import_keras", lambda: keras)
    monkeypatch.setattr(evaluate, "readout", lambda run, config, data, trained: {})
    monkeypatch.setattr(plots, "save", lambda figure, path: None)  # drawing takes longer than all the rest
    tf.config.run_functions_eagerly(True)  # tracing does, too; other tests train traced
    watch, codes = Watch(), {}
    allowed = ("run/", str(folder / "run"), "/dev/null", os.path.join(tempfile.gettempdir(), tempfile.gettempprefix()))
    before = sorted(folder.rglob("*"))

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(broken(), broken(), broken(), broken(), anything))
    def check(content):
        keras.utils.clear_session(free_memory=False)
        written = json.dumps(content)
        (folder / "own.json").write_text(written)
        output, errors = io.StringIO(), io.StringIO()
        watch.paths, watch.on = [], True
        try:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", output)
                patch.setattr(sys, "stderr", errors)
                code = train.main(["own.json", "--run-dir", "run"])
        finally:
            watch.on = False
        codes[code] = codes.get(code, 0) + 1
        if sum(codes.values()) % 250 == 0:
            print(f"{sum(codes.values())} configs, exit codes {codes}", file=sys.__stderr__, flush=True)
        assert code in (0, 2, 3, 143), (code, written)
        assert "Traceback" not in errors.getvalue(), written
        if code in (2, 3):
            assert errors.getvalue().strip().splitlines()[-1] and "error: " in errors.getvalue(), written
        outside = [path for path in watch.paths if not str(path).startswith(allowed)]
        assert not [path for path in outside if str(path) != "run"], (outside, written)
        shutil.rmtree(folder / "run", ignore_errors=True)
        assert [path for path in sorted(folder.rglob("*")) if path.name != "own.json"] == before, written

    try:
        check()
    finally:
        tf.config.run_functions_eagerly(False)
    print(f"exit codes: {codes}")
    assert codes.get(143, 0) > EXAMPLES / 50 and codes.get(2, 0) > EXAMPLES / 10
