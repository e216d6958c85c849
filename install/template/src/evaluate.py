"""Measure a trained model on the flowers it has never seen.

    python3 src/evaluate.py [key=value ...]

Takes the words that src/train.py takes; of them only experiment_name matters,
and only by hand: the model remembers its own parameters. Prints the confusion
matrix and writes metrics.json and confusion.json to the metrics.
"""

import json
import sys

import dataset
import folders
import settings as parameters
from network import Network


def main():
    settings = parameters.from_command_line()
    path = folders.artifacts(settings) / "model.json"
    try:
        with open(path, encoding="utf-8") as file:
            model = json.load(file)
    except FileNotFoundError:
        print(f"{sys.argv[0]}: there is no model at {path}: train first", file=sys.stderr)
        sys.exit(1)

    trained = model["settings"]
    rows, species = dataset.load()
    _, _, test = dataset.split(rows, trained["data.validation"], trained["data.test"], trained["seed"])
    test = dataset.Scale(model["means"], model["deviations"]).apply(test)
    network = Network(model["layers"], trained["model.activation"])

    loss, accuracy = network.measure(test)
    confusion = [[0] * len(species) for _ in species]
    for features, label in test:
        confusion[label][network.predict(features)] += 1

    show(confusion, species)
    print(f"test_accuracy {accuracy:.3f}  test_loss {loss:.4f}  on {len(test)} flowers", flush=True)
    folder = folders.evaluation(settings)
    folders.write_json(folder / "confusion.json", {"species": species, "counts": confusion})
    folders.write_json(folder / "metrics.json", {"test_accuracy": accuracy, "test_loss": loss})


def show(confusion, species):
    wide = max(len(kind) for kind in species)
    print(f"{'true':{wide}}  predicted " + "  ".join(species))
    for kind, counts in zip(species, confusion):
        cells = "  ".join(f"{n:{len(s)}}" for n, s in zip(counts, species))
        print(f"{kind:{wide}}            {cells}")


if __name__ == "__main__":
    main()
