"""Kernels, bytes and operations of one training step on a GPU that is not there: JAX compiles for it on a processor.

    KERAS_BACKEND=jax python -m benchmarks.kernels --runs 4 -o kernels.json

Needs JAX with its CUDA plugin (`pip install "jax[cuda12]"`), but no GPU. What is counted is one step as `lax.scan` repeats it,
on batches that are there already; `h100.txtpb` describes the GPU to XLA. Bytes are those of every kernel's operands and
outputs, so that what stays in the GPU's cache between two kernels counts as if it did not.
"""

import argparse
import collections
import json
import os
import re
import time
from pathlib import Path
from types import SimpleNamespace

TARGET = Path(__file__).with_name("h100.txtpb")
BITS = {"pred": 8, "bf16": 16}  # of types that do not end with theirs
NO_KERNEL = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "call", "while"}
INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")


def main():
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.kernels", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--config", default="run_configs/mlp_gaussian.json", help="a run config of CIFAR size (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=4, help="trainings in one (default: %(default)s)")
    parser.add_argument("--precision", default="tensorfloat32", help="compute.precision (default: %(default)s)")
    parser.add_argument("--text", help="also write the compiled program here")
    parser.add_argument("-o", "--output", help="write what was counted here (JSON)")
    options = parser.parse_args()
    os.environ |= {"JAX_PLATFORMS": "cpu,cuda", "KERAS_BACKEND": "jax", "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1"}
    compiled, seconds, flop = compile_step(options.config, options.runs, options.precision)
    text = compiled.as_text()
    if options.text:
        Path(options.text).write_text(text)
    found = {
        "config": options.config,
        "runs": options.runs,
        "precision": options.precision,
        "target": "NVIDIA H100 80GB HBM3, compiled for on a processor",
        "compile_seconds": round(seconds, 1),
        "gflop": round(flop / 1e9, 2),
        **count(text),
    }
    for line in (f"{key}: {value}" for key, value in found.items()):
        print(line)
    if options.output:
        from benchmarks.timing import machine

        Path(options.output).write_text(json.dumps({**found, "machine": machine()}, indent=1) + "\n")


def compile_step(config_file, runs, precision):
    """(compiled step of `runs` trainings in one, seconds that compiling took, floating point operations of the step)."""
    import jax
    import jax.numpy as jnp
    from jax.experimental import topologies

    from closer_tf.common.backend import products_in
    from closer_tf.nn.fused_model import FusedEnsembles

    devices = topologies.get_topology_desc(
        topology_name="gpu", platform="cuda", target_config=TARGET.read_text(), topology="1x1x1"
    ).devices
    there = jax.sharding.SingleDeviceSharding(devices[0])
    models = [model_of(config_file, seed, precision) for seed in range(runs)]
    model, shape = FusedEnsembles(models), (runs, 128)  # a single run is computed so too, see `closer_tf.nn.jax`
    groups = model.trainable_variables, model.non_trainable_variables, model.optimizer.variables, model.metrics_variables

    def arguments(**where):
        state = tuple([jax.ShapeDtypeStruct(v.shape, v.dtype, **where) for v in group] for group in groups)
        images = jax.ShapeDtypeStruct((*shape, 32, 32, 3), jnp.uint8, **where)
        return state, (images, jax.ShapeDtypeStruct(shape, jnp.int32, **where))

    with products_in(precision):
        step = jax.jit(model.train_step, donate_argnums=0)
        flop = step.lower(*arguments()).cost_analysis()["flops"]
        lowered = step.trace(*arguments(sharding=there)).lower(lowering_platforms=("cuda",))
    began = time.perf_counter()
    compiled = lowered.compile(compiler_options={"xla_gpu_autotune_level": 0, "xla_gpu_enable_command_buffer": ""})
    return compiled, time.perf_counter() - began, flop


def model_of(config_file, seed, precision):
    """A compiled model for images of CIFAR's size."""
    from closer_tf.config import load_config
    from closer_tf.training import experiment

    config = load_config(config_file, [f"seed={seed}", f"compute.precision={precision}"])
    names = [str(k) for k in range(10)]
    data = SimpleNamespace(input_shape=(32, 32, 3), unit_areas=(), input_scale=1 / 255, label_names=names, name="cifar10")
    fields = experiment.make_receptive_fields(config, data)
    return experiment.make_training_model(config, experiment.make_ensemble(config, fields, data), len(names))


def count(text):
    """dict: how many kernels a compiled program launches, of which kinds, and how many megabytes they read and write."""
    computations = _computations(text)
    entry = re.search(r"^ENTRY %?([\w.\-]+)", text, re.M).group(1)
    kinds, moved = collections.Counter(), 0
    for _, type_, opcode, rest, types in _launched(entry, computations):
        operands = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        moved += _bytes(type_) + sum(_bytes(types.get(operand, "")) for operand in operands)
        target = re.search(r'custom_call_target="([^"]+)"', rest)
        kinds[target.group(1) if target else opcode] += 1
    return {"kernels": sum(kinds.values()), "megabytes": round(moved / 1e6, 1), "kinds": dict(kinds.most_common())}


def _computations(text):
    """dict name -> its instructions: (name, type, opcode, rest of the line)."""
    found, current = {}, None
    for line in text.splitlines():
        head = re.match(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{\s*$", line)
        if head:
            current = found.setdefault(head.group(1), [])
        elif line.startswith("}"):
            current = None
        elif current is not None and (instruction := INSTRUCTION.match(line)):
            current.append(instruction.groups())
    return found


def _launched(name, computations):
    """The instructions of a computation, and of those that it calls, that launch a kernel, with the types around them."""
    types = {instruction[0]: instruction[1] for instruction in computations[name]}
    for instruction in computations[name]:
        opcode, rest = instruction[2:]
        inner = re.search(r"(?:to_apply|body)=%?([\w.\-]+)", rest) if opcode in ("call", "while") else None
        if inner:
            yield from _launched(inner.group(1), computations)
        elif opcode not in NO_KERNEL and not opcode.endswith("-done"):
            yield (*instruction, types)


def _bytes(type_):
    """Bytes of a type as XLA writes it, tuples included."""
    total = 0
    for name, sides in re.findall(r"\b([a-z]+\d*)\[([\d,]*)\]", type_):
        size = BITS.get(name) or int(re.search(r"\d*$", name).group() or 0)
        for side in filter(None, sides.split(",")):
            size *= int(side)
        total += size
    return total // 8


if __name__ == "__main__":
    main()
