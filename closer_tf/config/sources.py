"""Config sections: the sources of data, chosen by `dataset.name`."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from closer_tf.common.values import BOUNDS
from closer_tf.config.base import Section, inconsistent
from closer_tf.config.own_parts import check_name

PATH_KEYS = ("path", "test_path", "data_dir")


class ImageSource(Section):
    """What all image sources share."""

    input_scale: float | None = Field(None, **BOUNDS["input_scale"])
    """Pixels are multiplied by this inside the model. Default null: 1 / the source's largest pixel value (1/255 for
    8-bit images, 1/16 for digits, 1 / the largest value of other integers, 1 for floating-point arrays). The published ViT
    runs used 1."""


class DigitsSource(ImageSource):
    """scikit-learn's 1797 handwritten digits, 8 x 8 pixels, one channel. Ships with scikit-learn; no download."""

    name: Literal["digits"] = "digits"
    """Chooses this source."""
    test_fraction: float = Field(0.25, **BOUNDS["test_fraction"])
    """Fraction of the images of each class held out as the test set, the same images for every seed."""


class CifarSource(ImageSource):
    """CIFAR-10 or CIFAR-100, through TensorFlow Datasets or from an .npz file: 50,000 + 10,000 images, 32 x 32 pixels, 3
    channels."""

    name: Literal["cifar10", "cifar100"]
    """Chooses this source."""
    data_dir: str | None = None
    """TensorFlow Datasets directory; or a folder that holds cifar10.npz (cifar100.npz) with the arrays x_train (n, 32, 32, 3),
    8-bit, y_train (n,) or (n, 1), integers, x_test and y_test, which is read first and needs no TensorFlow. Default null:
    $TFDS_DATA_DIR, or ~/tensorflow_datasets. Downloaded there through TensorFlow Datasets when absent."""


def _or_one_number(schema):
    """The JSON Schema of a list of two, or of one number for both."""
    pair = {key: schema.pop(key) for key in ("type", "items", "minItems", "maxItems")}
    schema["anyOf"] = [pair["items"], pair]


class ImageFolderSource(ImageSource):
    """Your own images: one subfolder per class, or a flat folder of images without labels. PNG, JPEG, TIFF, WebP, BMP, GIF and
    others; which become what: docs/images.md."""

    name: Literal["image_folder"]
    """Chooses this source."""
    path: str
    """Folder with one subfolder per class, or with the images themselves, which then have no labels."""
    test_path: str | None = None
    """Folder of the same layout with the test images. Default null: `test_fraction` of each class under `path`."""
    image_size: list[Annotated[int, Field(ge=1, le=10_000)]] = Field(
        [32, 32], min_length=2, max_length=2, json_schema_extra=_or_one_number
    )
    """[height, width] in pixels that every image is resized to (bilinear); one number for a square."""
    test_fraction: float = Field(0.2, **BOUNDS["test_fraction"])
    """Fraction of the images of each class held out as the test set when there is no `test_path`."""
    background: list[Annotated[int, Field(ge=0, le=255)]] = Field([255, 255, 255], min_length=3, max_length=3)
    """[red, green, blue] that transparent images are laid over. Default: white."""
    white_level: float | None = Field(None, gt=0)
    """Grey value that is white in grey images of more than 8 bits; brighter ones become white too. Default null: 255, 1023,
    4095, 16383 or 65535, the smallest that no image under `path` exceeds; 1 for floats that do not exceed 1."""

    @field_validator("image_size", mode="before")
    @classmethod
    def _square(cls, value):
        return [value, value] if isinstance(value, int) and not isinstance(value, bool) else value


class ArraysSource(ImageSource):
    """Your own arrays: an .npz with x_train (n, height, width, channels), y_train (n,), x_test, y_test and optionally
    label_names. Without x_test, `test_fraction` of each class is held out. Without y_train, or where all of it is -1, there are
    no labels."""

    name: Literal["arrays"]
    """Chooses this source."""
    path: str
    """The .npz file."""
    test_fraction: float = Field(0.2, **BOUNDS["test_fraction"])
    """Fraction of the samples of each class held out as the test set when the file has no x_test."""


class RecordingSource(Section):
    """What all recordings share: spike counts per unit, every unit in a brain area. Split by trial, never at random."""

    standardise: bool = False
    """Z-score each unit's counts with the training set's mean and standard deviation, inside the model. The paper: raw."""


class TrialsSource(RecordingSource):
    """What all recordings in trials of several bins share."""

    lag: int = Field(1, **BOUNDS["lag"])
    """How many bins back the bin lies that temporal objectives look at. The paper: 1."""
    folds: int = Field(5, **BOUNDS["folds"])
    """Number of folds or blocks: fold 1 + `fold` is the validation set, 3 + `fold` the test set, modulo `folds`. The paper:
    5."""
    fold: int = Field(0, **BOUNDS["fold"])
    """From 0 to `folds` - 1, which gives every trial its turn as a test trial. The paper: 0."""

    @model_validator(mode="after")
    def _one_of_the_folds(self):
        if self.fold >= self.folds:
            inconsistent("fold", f"expected 0 to {self.folds - 1}, since there are {self.folds} folds, found {self.fold}")
        return self


class SessionSource(TrialsSource):
    """A session file of your own or from `closer_tf allen`: two or more stimuli, each shown repeatedly."""

    name: Literal["session"]
    """Chooses this source."""
    path: str
    """The .npz file."""
    stimuli: list[str] | None = None
    """Stimuli in the order of their labels. Default null: all in the file."""
    label: str = Field("stimulus", min_length=1)
    """What is read out: 'stimulus' (which), 'segment' (which part of it), 'time' (within it, from 0 to 1, by linear
    regression), the name of a label in the file, or 'none': nothing, as for blocks of time, which are no stimuli."""
    regress: bool = False
    """Read a label of the file out as a number, by linear regression, not as classes."""
    period: float | None = Field(None, **BOUNDS["period"])
    """Read a label of the file out as an angle, which comes full circle after so much, such as 360 for degrees: by linear
    regression onto its sine and its cosine together. Default null: what the file says of the label, with `regress`."""
    split: Literal["trials", "blocks", "label"] = "trials"  # type: ignore[assignment]  # one more than the others have
    """How trials are divided: 'trials': by their number modulo `folds`; 'blocks': in `folds` blocks of time; 'label': as
    `split_label` says."""
    split_label: str | None = None
    """Name of a label in the file with 'train', 'validation' or 'test' for each trial."""
    segments: int = Field(3, **BOUNDS["segments"])
    """Number of equal parts for label 'segment'."""
    full_range: bool = False
    """Use every bin that has a whole window; the paper's code leaves out the first and the last of
    these in each trial."""
    window: int = Field(2, **BOUNDS["window"])
    """Consecutive bins per sample, ending with the current one. Bins whose window would begin before their trial are left out.
    Recurrent encoders run over all of a window; others see its last two bins at most."""

    @model_validator(mode="after")
    def _a_number_of_the_file(self):
        if self.label in ("none", "stimulus", "segment", "time"):
            says = f"label '{self.label}' is no such: name that label"
            if self.period is not None:
                inconsistent("period", f"goes with a label of the file that is an angle; {says}")
            if self.regress and self.label == "none":
                inconsistent("regress", f"goes with a label of the file that is a number; {says}")
        return self


class SimulatedSource(TrialsSource):
    """A simulated session of two movies, for a first try without a download; no animal was recorded."""

    name: Literal["simulated"]
    """Chooses this source."""
    split: Literal["trials", "blocks"] = "trials"
    """As for 'session'."""
    seed: int = Field(0, ge=0, lt=2**63)
    """Seed of the simulation."""
    size: Literal["small", "paper"] = "small"
    """'small': six areas, 120 and 480 frames. 'paper': ten areas, 668 units, 900 and 3600 frames."""
    label: Literal["stimulus", "segment", "time"] = "stimulus"
    """As for 'session'."""
    segments: int = Field(3, **BOUNDS["segments"])
    """As for 'session'."""
    full_range: bool = False
    """As for 'session'."""
    window: int = Field(2, **BOUNDS["window"])
    """As for 'session'."""


class NaturalMovieSource(TrialsSource):
    """An array file of natural movie one in bins of one second (`counts`, `areas`, `unit_ids`)."""

    name: Literal["natural_movie"]
    """Chooses this source."""
    split: Literal["trials", "blocks"] = "trials"
    """As for 'session'."""
    path: str
    """The .npz file."""
    label: Literal["segment", "time"] = "segment"
    """As for 'session'."""
    segments: int = Field(3, **BOUNDS["segments"])
    """As for 'session'."""
    full_range: bool = False
    """As for 'session'."""
    window: int = Field(2, **BOUNDS["window"])
    """As for 'session'."""


class GaborsSource(RecordingSource):
    """An array file of Gabor patches shown one by one (`counts`, `areas`, `x`, `y`, ...); the label is the position."""

    name: Literal["gabors"]
    """Chooses this source."""
    path: str
    """The .npz file."""


class OwnSource(ImageSource):
    """A data source of your own, which a module registers: docs/extending.md."""

    name: Literal["own"]
    """Chooses this source."""
    source: str | None = None
    """What it was registered as. Default null: as for the encoder."""
    options: dict[str, JsonValue] = {}
    """Its own arguments, by name."""

    @field_validator("source", mode="after")
    @classmethod
    def _is_registered(cls, source):
        return source and check_name("source", source)


Dataset = Annotated[
    DigitsSource
    | CifarSource
    | ImageFolderSource
    | ArraysSource
    | SessionSource
    | SimulatedSource
    | NaturalMovieSource
    | GaborsSource
    | OwnSource,
    Field(discriminator="name"),
]
