"""What TensorBoard shows of a run: `python -m closer_tf.train CONFIG --tensorboard`, then `tensorboard --logdir RUN_DIR`."""

import io

import keras
import numpy as np

from closer_tf.common.files import write_atomically
from closer_tf.nn.ensemble import embed
from closer_tf.plots.pixels import pixels

PROJECTED = 500  # stimuli in the embedding projector


class RunBoard(keras.callbacks.TensorBoard):
    """Keras's TensorBoard callback, with the run's pictures and its embeddings in the projector.

    Scalars are written after each epoch; pictures at the start; the ensemble's embeddings of test stimuli at the end. It only
    looks on: a run trains the same weights with it as without.

    Args:
        folder: where TensorBoard's files go.
        ensemble: `CLoSeR` model whose embeddings are projected.
        test: `Split`, test stimuli of single bins or images.
        label_names: tuple of str; empty where labels are numbers.
        pictures: dict name -> matplotlib Figure.
    """

    def __init__(self, folder, ensemble, test, label_names, pictures):
        super().__init__(str(folder), write_graph=False, profile_batch=0)
        self.folder, self.ensemble, self.label_names, self.pictures = folder, ensemble, label_names, pictures
        self.test = test[:PROJECTED]

    def on_train_begin(self, logs=None):
        """Write the pictures."""
        super().on_train_begin(logs)
        with self._train_writer.as_default():
            for name, figure in self.pictures.items():
                self.summary.image(name, pixels(figure)[None], step=0)
            self.summary.flush()

    def on_train_end(self, logs=None):
        """Close the files; write the embeddings for the projector."""
        super().on_train_end(logs)
        write_projection(self.folder, self.ensemble, self.test, self.label_names)

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        """Close the files when the training was stopped, which Keras does not tell its callbacks."""
        if kind is not None and self._prev_summary_state:
            self._pop_writer()
            self._close_writers()


def write_projection(folder, ensemble, test, label_names):
    """Write embeddings, labels and the projector's config.

    Args:
        folder: TensorBoard's folder.
        ensemble: `CLoSeR` model.
        test: `Split`.
        label_names: tuple of str; empty where labels are numbers.
    """
    from tensorboard.plugins import projector

    embeddings = embed(ensemble, test.inputs)
    text = io.StringIO()
    np.savetxt(text, embeddings.reshape(len(embeddings), -1), fmt="%.5g", delimiter="\t")
    write_atomically(folder / "embeddings.tsv", text.getvalue())
    labels = [label_names[label] if label_names else f"{label:.4f}" for label in test.labels]
    write_atomically(folder / "labels.tsv", "\n".join(labels) + "\n")
    config = projector.ProjectorConfig()
    shown = config.embeddings.add()
    shown.tensor_name, shown.tensor_path, shown.metadata_path = "ensemble, test stimuli", "embeddings.tsv", "labels.tsv"
    write_atomically(folder / "projector_config.pbtxt", str(config))
