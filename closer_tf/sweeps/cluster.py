"""Where a sweep's workers come from: processes of this machine, a running Dask scheduler, or a batch system.

Each worker runs one training at a time, in a process of its own. Dask is imported here alone, and dask-jobqueue only for a
batch system.
"""

import contextlib
import gc
import inspect
import logging

from closer_tf.config import suggestion
from closer_tf.errors import CloserError, ConfigError

BATCH_SYSTEMS = {"slurm": "SLURMCluster", "lsf": "LSFCluster", "pbs": "PBSCluster"}
CONNECT_SECONDS = 30


@contextlib.contextmanager
def local_cluster(workers):
    """Context with a Dask client of a cluster on this machine.

    Args:
        workers: number of worker processes.
    """
    distributed = import_distributed()
    options = {"dashboard_address": "127.0.0.1:0", "silence_logs": logging.CRITICAL}  # any free port: several sweeps may run
    options["memory_limit"] = 0  # trainings are processes of their own; a worker holds nothing
    with (
        distributed.LocalCluster(n_workers=workers, threads_per_worker=1, processes=True, **options) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(_leave_foreground(distributed))
        yield client


@contextlib.contextmanager
def running_cluster(address):
    """Context with a Dask client of a running scheduler.

    Args:
        address: such as 'tcp://10.0.0.5:8786'.

    Raises:
        ConfigError: nothing answers there.
    """
    distributed = import_distributed()
    problem = None
    try:
        client = distributed.Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError) as error:
        problem = str(error)
    if problem is not None:
        gc.collect()  # closes the client that was half made: a later collection may come while Dask holds its lock, and hang
        raise ConfigError(
            f"--scheduler {address}: no Dask scheduler answers ({problem}); expected an address such as "
            f"tcp://HOST:8786, as `dask scheduler` prints it"
        )
    with client:
        yield client


@contextlib.contextmanager
def batch_cluster(system, jobs, options):
    """Context with a Dask client of workers that a batch system starts, one per job.

    Args:
        system: 'slurm', 'lsf' or 'pbs'.
        jobs: number of jobs.
        options: dict, further arguments of dask-jobqueue's cluster class, such as {"memory": "8GB", "walltime": "12:00:00"}.
            What is not there comes from dask-jobqueue's own configuration file.

    Raises:
        ConfigError: dask-jobqueue is not installed, or does not take these options.
    """
    distributed = import_distributed()
    with make_batch_cluster(system, options) as cluster:
        cluster.scale(jobs=jobs)
        with distributed.Client(cluster) as client:
            yield client


def make_batch_cluster(system, options):
    """dask-jobqueue's cluster object for a batch system; arguments and errors as for `batch_cluster`."""
    try:
        import dask_jobqueue
    except ImportError:
        raise ConfigError(f"--batch {system}: dask-jobqueue is not installed: pip install 'closer_tf[sweep]'") from None
    make = getattr(dask_jobqueue, BATCH_SYSTEMS[system])
    known = {name for part in (*make.__mro__, *make.job_cls.__mro__) for name in _parameters(part)}
    for name in options:
        if name not in known:
            raise ConfigError(f"--batch-options: {name}: {BATCH_SYSTEMS[system]} has no such option.{suggestion(name, known)}")
    given = {"cores": 1, "processes": 1, "scheduler_options": {"dashboard_address": ":0"}, **options}
    if (given["cores"], given["processes"]) != (1, 1):  # its CPUs are asked for apart
        raise ConfigError("--batch-options: cores and processes: expected 1, as each job runs one training; see docs/sweeps.md")
    try:
        return make(**given)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"--batch-options: {error}") from None


def _parameters(part):
    return inspect.signature(part.__init__).parameters if "__init__" in vars(part) else ()


def trainings_per_host(client):
    """The most trainings that a host of a cluster runs at once: the threads of its workers.

    Args:
        client: Dask client.
    """
    at_once = {}
    for worker in client.scheduler_info()["workers"].values():
        at_once[worker["host"]] = at_once.get(worker["host"], 0) + worker["nthreads"]
    return max(at_once.values(), default=1)


def import_distributed():
    """Dask's `distributed`, or an error that says how to get it."""
    try:
        import distributed
    except ImportError:
        raise CloserError("sweeps need Dask: pip install 'closer_tf[sweep]'") from None
    return distributed


def _leave_foreground(distributed):
    from closer_tf.sweeps.worker import leave_foreground

    class LeaveForeground(distributed.WorkerPlugin):
        """Ctrl-C in a terminal reaches every process of its foreground group; workers leave it."""

        name = "leave-foreground"

        def setup(self, worker):
            leave_foreground()

    return LeaveForeground()
