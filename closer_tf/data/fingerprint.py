"""What a run remembers of its data: a fingerprint of the content, wherever the files lie, and what differs from another's.

Equal values are equal data: 8-bit images and the same numbers as int64 or float32 have one fingerprint, and so have images from
TensorFlow Datasets and the same images from an .npz. Values are compared as float32, which is what encoders compute in. Order
counts. Not in it: the ids of units, which only order them; numbers of trials and frames; the validation set that a run draws.
"""

import hashlib
import json
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from closer_tf.data.scales import scale_of

SPLITS = ("train", "validation", "test")
BLOCK = 2**18  # numbers that are hashed at once, each block by another core; small enough to stay in a cache
SPLIT_NAMES = {"train": "training", "validation": "validation", "test": "test"}


def identity_of(source):
    """A source's data as plain data.

    Args:
        source: `Source`, before a validation set is drawn from it.

    Returns:
        dict: `fingerprint` (SHA-256, hex, over what follows up to `unit_areas` but dtypes); per split (None where the source
        has none) `samples`, `shape` and `dtype` of one input, `inputs` and `labels` (SHA-256); `label_names`; `unit_areas`;
        `period`, where labels are angles;
        `input_scale`; `scale`, the `Scale` of the training inputs; `white_level`, `bin_width`, as of the `Source`.
    """
    with ThreadPoolExecutor() as cores:
        found = {name: _of_split(getattr(source, name), cores) for name in SPLITS}
    found |= {"label_names": list(source.label_names), "unit_areas": list(source.unit_areas)}
    if source.period is not None:
        found["period"] = float(source.period)
    text = json.dumps({**found, **{name: _without_dtype(found[name]) for name in SPLITS}}, sort_keys=True)
    fingerprint = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
    scales = {"input_scale": float(source.input_scale), "scale": scale_of(source.train.inputs)._asdict()}
    of_source = {
        key: None if value is None else float(value)
        for key, value in (("white_level", source.white_level), ("bin_width", source.bin_width))
    }
    return {"fingerprint": fingerprint, **found, **scales, **of_source}


def differences(then, now, scaled=True):
    """What differs between two identities, as texts for a message; none where the data is the same.

    Args:
        then, now: dicts as `identity_of` returns them.
        scaled: the source's own `input_scale` is in use.
    """
    texts = []
    for name in SPLITS:
        texts += [f"{SPLIT_NAMES[name]} set: {text}" for text in _differences_of_split(then[name], now[name])]
    for key, called in (("label_names", "label names"), ("unit_areas", "brain areas of the units")):
        if then[key] != now[key]:
            texts.append(f"{called}: {_first_difference(then[key], now[key])}")
    if then.get("period") != now.get("period"):
        texts.append(f"period of the label: {then.get('period') or 'none'} then, {now.get('period') or 'none'} now")
    if scaled and not math.isclose(then["input_scale"], now["input_scale"], rel_tol=1e-6):
        kinds = {what["train"]["dtype"] for what in (then, now)}
        because = f" ({then['train']['dtype']} then, {now['train']['dtype']} now)" if len(kinds) > 1 else ""
        texts.append(f"scale of the inputs: {then['input_scale']:.4g} then, {now['input_scale']:.4g} now{because}")
    whites = [what.get("white_level") for what in (then, now)]  # identities from before do not know theirs
    if texts and None not in whites and whites[0] != whites[1]:
        texts.append(f"white level of grey images: {whites[0]:g} then, {whites[1]:g} now")
    return texts


def digest_of_values(array, cores):
    """SHA-256 (hex) of an array's values in order, whatever their type.

    Args:
        array: array (n, ...) of numbers.
        cores: executor that hashes blocks.
    """
    rows = max(1, BLOCK // max(1, math.prod(array.shape[1:])))
    blocks = cores.map(_digest_of_block, (array[start : start + rows] for start in range(0, len(array), rows)))
    return hashlib.sha256(b"".join(blocks)).hexdigest()


def _digest_of_block(block):
    if block.dtype != np.uint8:
        values = block.astype(np.float32, copy=False) + np.float32(0)  # -0 is 0
        block = values.astype(np.uint8 if _are_bytes(values) else "<f4", copy=False)
    return hashlib.sha256(np.ascontiguousarray(block)).digest()


def _are_bytes(values):
    """Whether all values are whole numbers from 0 to 255; a look at the first ones spares most arrays the rest."""
    return all(
        (part >= 0).all() and (part <= 255).all() and (part == np.floor(part)).all() for part in (values.ravel()[:1000], values)
    )


def _of_split(split, cores):
    if split is None:
        return None
    return {
        "samples": len(split),
        "shape": list(split.inputs.shape[1:]),
        "dtype": str(split.inputs.dtype),
        "inputs": digest_of_values(split.inputs, cores),
        "labels": digest_of_values(split.labels, cores),
    }


def _without_dtype(split):
    return split and {key: value for key, value in split.items() if key != "dtype"}


def _differences_of_split(then, now):
    if then is None or now is None:
        return (
            [] if then is now else [f"{'none' if then is None else 'its own'} then, {'none' if now is None else 'its own'} now"]
        )
    texts = [f"{key} {then[key]} then, {now[key]} now" for key in ("samples", "shape") if then[key] != now[key]]
    if texts:  # then all values differ
        return texts
    return [f"{what} differ, in value or order" for what in ("inputs", "labels") if then[what] != now[what]]


def _first_difference(then, now):
    if len(then) != len(now):
        return f"{len(then)} then, {len(now)} now"
    place = next(k for k, (a, b) in enumerate(zip(then, now)) if a != b)
    return f"number {place} '{then[place]}' then, '{now[place]}' now"
