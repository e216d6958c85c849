"""Where a training puts things, and how files are written there.

A run names the folders in its environment. By hand they are below
outputs/<experiment_name>, from where the program was started.
"""

import json
import os
from pathlib import Path


def artifacts(settings):
    return folder("ARTIFACTS_DIR", settings, "artifacts")


def metrics(settings):
    return folder("METRICS_DIR", settings, "metrics")


def checkpoints(settings):
    return folder("CHECKPOINT_DIR", settings, "checkpoints")


def evaluation(settings):
    """Of the evaluation. Kept apart from the training's metrics, also where
    both are given one folder."""
    path = metrics(settings)
    path = path if path.name == "eval" else path / "eval"
    path.mkdir(exist_ok=True)
    return path


def folder(variable, settings, otherwise):
    path = Path(os.environ.get(variable) or Path("outputs", settings["experiment_name"], otherwise))
    path.mkdir(parents=True, exist_ok=True)
    return path


def write_json(path, value):
    """Write value to path so that a reader never sees half of it."""
    beside = path.with_name(path.name + ".tmp")
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
