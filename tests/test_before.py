"""A run folder and a saved model from before the package was moved into parts still load, resume, read out and report.

`run_from_before` was made by the commit ea8e133: digits, three small encoders, two epochs.
"""

import shutil
from pathlib import Path

import numpy as np
import pytest

from closer_tf import report, summary
from closer_tf.data import load_data
from closer_tf.evaluate import evaluate_run
from closer_tf.train import train_run
from closer_tf.training.experiment import load_splits
from closer_tf.training.runs import RunFolder

FOLDER = Path(__file__).with_name("run_from_before")


@pytest.fixture
def run(tmp_path):
    shutil.copytree(FOLDER, tmp_path / "run")
    return RunFolder(tmp_path / "run")


def test_the_saved_model_is_that_of_the_checkpoint(run):
    import keras

    from closer_tf.readout.features import load_trained

    config = run.load_config()
    trained = load_trained(run, config, load_splits(config))
    assert trained.epochs == 2
    images = load_data("digits").test.inputs[:20]
    saved = keras.saving.load_model(run.ensemble_file)
    np.testing.assert_allclose(saved.predict(images, verbose=0), trained.ensemble.predict(images, verbose=0), rtol=1e-6)


def test_it_is_read_reported_and_read_out_again_to_the_same(run, tmp_path):
    before, found = run.read_results(), summary.summarise([run.path])
    assert found["accuracy"]["closer"]["single"]["mean"] == before["accuracy"]["closer"]["single"]["test"]
    page = tmp_path / "page.html"
    assert report.main([str(run.path), "-o", str(page)]) == 0 and "CLoSeR" in page.read_text()
    again = evaluate_run(run.path, redo=True)
    for condition, accuracy in before["accuracy"].items():
        assert again["accuracy"][condition]["ensemble"]["test"] == pytest.approx(accuracy["ensemble"]["test"], abs=0.005)


def test_it_goes_on(run):
    config = run.load_config()
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 3})})
    results = train_run(longer, run.path)
    rows = run.read_history()
    assert [row["epoch"] for row in rows] == [1, 2, 3] and results["epochs"] == 3
    assert rows[:2] == RunFolder(FOLDER).read_history() and rows[2]["loss"] < rows[1]["loss"]
