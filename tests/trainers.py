"""A process that has imported everything and forks a trainer per request, so that many short-lived trainers cost little.

It executes no TensorFlow operation itself, so that each trainer starts TensorFlow anew. Requests and answers are JSON lines.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path


class Trainers:
    """Starts trainers from a warm process. Use as a context."""

    def __enter__(self):
        code = [sys.executable, str(Path(__file__).resolve())]
        self.server = subprocess.Popen(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.server.stdout.readline() == "ready\n"
        return self

    def __exit__(self, *exception):
        self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()

    def start(self, folder, *arguments, file_limit=None):
        """Start `python -m closer_tf.train` with arguments in a folder; its output goes to log.txt there. Returns its pid.

        Args:
            folder: its working folder.
            *arguments: its command line.
            file_limit: the most bytes it may write to one file.
        """
        return self._ask({"folder": str(folder), "arguments": arguments, "file_limit": file_limit})

    def wait(self, pid):
        """Wait for a trainer to end; returns its exit code, or minus the signal that ended it."""
        return self._ask({"wait": pid})

    def run(self, folder, *arguments, **options):
        """Start a trainer and wait for it; returns its exit code."""
        return self.wait(self.start(folder, *arguments, **options))

    def _ask(self, request):
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        return json.loads(self.server.stdout.readline())


def _serve():
    import keras  # noqa: F401
    import sklearn.datasets  # noqa: F401
    import tensorflow  # noqa: F401

    from closer_tf import evaluate, plots, train  # noqa: F401
    from closer_tf.training import experiment, loop  # noqa: F401

    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _train(request, train.main)
        print(json.dumps(answer), flush=True)


def _train(request, main):
    code = 1
    try:
        os.chdir(request["folder"])
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if request["file_limit"] is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], resource.RLIM_INFINITY))
        code = main(request["arguments"])
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
