"""The weights of the epochs at which a run is read out (`readout.at_epochs`), in the run folder's `weights`.

Each file is a checkpoint of the model alone, named as checkpoints are; a full checkpoint in its place serves as well.
"""

import warnings

from closer_tf.common.files import make_folder, remove, write_atomically
from closer_tf.errors import CloserWarning, RunError
from closer_tf.training.checkpoints import PATTERN, Checkpoint, checkpoint_files, load_checkpoint, save_weights


def begin(run, config, epochs):
    """Bring the folder to the moment that a training begins at or goes on from.

    What is there of later epochs is of an attempt that the run went back from; it is removed, since these epochs are trained
    again. Checkpoints of epochs that are asked for only now are copied before they make room for later ones.

    Args:
        run: `RunFolder`.
        config: resolved `RunConfig`.
        epochs: epochs done.
    """
    for path in checkpoint_files(run.weights):
        if path.name > PATTERN.format(epochs, 0):
            remove(path)
    for epoch in config.read_out_at():
        kept, checkpoint = (folder / PATTERN.format(epoch, 0) for folder in (run.weights, run.checkpoints))
        if epoch <= epochs and checkpoint.exists() and not kept.exists():
            make_folder(run.weights)
            write_atomically(kept, checkpoint.read_bytes())


def keep(run, config, model, epochs, history):
    """Write the weights after an epoch, if it is one to read out at.

    Args:
        run, config: as for `begin`.
        model: the compiled model in training.
        epochs: epochs done.
        history: one row for each.

    Raises:
        DivergedError: a weight is not finite; nothing is written.
        RunError: the file cannot be written.
    """
    if epochs in config.read_out_at():
        save_weights(run.weights, model, Checkpoint(epochs, 0, history, config.digest(), arrays=[]))


def load(run, config, epoch):
    """The weights after an epoch of a run's training.

    Args:
        run, config: as for `begin`.
        epoch: whole epochs done.

    Returns:
        `Checkpoint`, or None: there is none. A file that is damaged or of another training is left out with a warning.
    """
    for folder in (run.weights, run.checkpoints):
        path = folder / PATTERN.format(epoch, 0)
        if not path.exists():
            continue
        try:
            found = load_checkpoint(path)
            if (found.epoch, found.step, found.digest) != (epoch, 0, run.digest_at(config, epoch)):
                raise RunError(f"{path}: not of this training after {epoch} epochs: of another config or learning rate")
            return found
        except RunError as error:
            warnings.warn(f"{error}; left aside", CloserWarning, stacklevel=2)
    return None
