"""Train a classifier of iris flowers.

    python3 src/train.py [key=value ...]

The parameters are those of deploy/train-config.yaml (see settings.py). Writes
model.json to the artifacts, metrics.jsonl (a line an epoch) and metrics.json
(final values) to the metrics, and goes on from a checkpoint if it finds one
that the same parameters wrote. A training that learns nothing ends with status
1 and leaves no model.
"""

import json
import math
import random
import sys

import dataset
import folders
import settings as parameters
from network import Descent, Network, zeros_like


def main():
    settings = parameters.from_command_line()
    rows, species = dataset.load()
    training, validation, _ = dataset.split(
        rows, settings["data.validation"], settings["data.test"], settings["seed"]
    )
    width = len(training[0][0])
    scale = dataset.Scale.of(training) if settings["data.standardize"] else dataset.Scale.none(width)
    training, validation = scale.apply(training), scale.apply(validation)

    say(f"{settings['experiment_name']}: {len(training)} flowers to learn from, {len(validation)} to validate")
    for key, value in settings.items():
        say(f"  {key} = {value}")

    network, descent, history = begin(settings, width, len(species))
    with open(folders.metrics(settings) / "metrics.jsonl", "w", encoding="utf-8") as log:
        for line in history:
            log.write(json.dumps(line) + "\n")
        log.flush()
        for epoch in range(len(history) + 1, settings["epochs"] + 1):
            line = learn(network, descent, settings, epoch, training, validation)
            history.append(line)
            log.write(json.dumps(line) + "\n")
            log.flush()
            say(
                f"epoch {epoch:4}/{settings['epochs']}  loss {line['loss']:.4f}  "
                f"val_loss {line['val_loss']:.4f}  val_accuracy {line['val_accuracy']:.3f}"
            )
            if not math.isfinite(line["loss"]):
                give_up("the training diverged")
            every = settings["checkpoint.every"]
            if every and epoch % every == 0 and epoch < settings["epochs"]:
                save_checkpoint(settings, network, descent, history)

    # Who guesses evenly among the species has this loss.
    if history[-1]["loss"] > math.log(len(species)):
        give_up("the training learned less than guessing knows")
    finish(settings, network, scale, species, history)


def learn(network, descent, settings, epoch, training, validation):
    """Go once through the training part; return the epoch's line of metrics."""
    lr = settings["optimizer.lr"] * settings["optimizer.decay"] ** (epoch - 1)
    # Shuffled by seed and epoch, so that a training that goes on from a
    # checkpoint takes the very steps it would have taken without a break.
    order = list(training)
    random.Random(f"order {settings['seed']} {epoch}").shuffle(order)
    size = settings["batch_size"]
    for start in range(0, len(order), size):
        descent.step(network, network.gradient(order[start : start + size]), lr)
    loss, _ = network.measure(training)
    val_loss, val_accuracy = network.measure(validation)
    return {"epoch": epoch, "loss": loss, "val_loss": val_loss, "val_accuracy": val_accuracy, "lr": lr}


def begin(settings, width, classes):
    """Return (network, descent, history) from the checkpoint, or from nothing."""
    saved = load_checkpoint(settings)
    if saved:
        say(f"going on from the checkpoint after epoch {len(saved['history'])}")
        layers, velocity, history = saved["layers"], saved["velocity"], saved["history"]
        network = Network(layers, settings["model.activation"])
    else:
        widths = [width] + [settings["model.hidden"]] * (settings["model.hidden"] > 0) + [classes]
        network = Network.fresh(widths, settings["model.activation"], settings["seed"])
        velocity, history = zeros_like(network.layers), []
    return network, Descent(velocity, settings["optimizer.momentum"], settings["optimizer.weight_decay"]), history


def finish(settings, network, scale, species, history):
    last = history[-1]
    folders.write_json(
        folders.artifacts(settings) / "model.json",
        {
            "species": species,
            "means": scale.means,
            "deviations": scale.deviations,
            "layers": network.layers,
            "settings": settings,
        },
    )
    finals = {key: value for key, value in last.items() if key not in ("epoch", "lr")}
    finals["best_val_accuracy"] = max(line["val_accuracy"] for line in history)
    folders.write_json(folders.metrics(settings) / "metrics.json", finals)
    # A finished training has no use for it, and a new one begins anew.
    checkpoint_file(settings).unlink(missing_ok=True)
    say(f"done: val_accuracy {last['val_accuracy']:.3f}, model in {folders.artifacts(settings) / 'model.json'}")


def checkpoint_file(settings):
    return folders.checkpoints(settings) / "checkpoint.json"


def fingerprint(settings):
    """What a checkpoint must agree with. A later attempt has another name, and
    how long to train and how often to save change no step."""
    return {k: v for k, v in settings.items() if k not in ("experiment_name", "epochs", "checkpoint.every")}


def save_checkpoint(settings, network, descent, history):
    folders.write_json(
        checkpoint_file(settings),
        {
            "settings": fingerprint(settings),
            "layers": network.layers,
            "velocity": descent.velocity,
            "history": history,
        },
    )


def load_checkpoint(settings):
    path = checkpoint_file(settings)
    try:
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
    except FileNotFoundError:
        return None
    except ValueError as fault:
        say(f"the checkpoint {path} is unreadable ({fault}): beginning anew")
        return None
    if saved["settings"] != fingerprint(settings) or len(saved["history"]) > settings["epochs"]:
        say(f"the checkpoint {path} is of other parameters: beginning anew")
        return None
    return saved


def give_up(why):
    say(f"{why}: another optimizer.lr or more epochs may help")
    sys.exit(1)


def say(text):
    # Flushed, so that whoever follows the log sees each line when it is true.
    print(text, flush=True)


if __name__ == "__main__":
    main()
