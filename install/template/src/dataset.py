"""The data: 150 flowers of three species of iris, four measures each.

Collected by Edgar Anderson, published by R. A. Fisher, "The use of multiple
measurements in taxonomic problems", Annals of Eugenics 7 (1936), 179-188. The
values are those of the paper: two rows differ from a copy that is common on
the web and has errors.
"""

import csv
import math
import random
from pathlib import Path

FILE = Path(__file__).resolve().parent / "data" / "iris.csv"


def load():
    """Return (rows, species): rows of (four measures in cm, index of species)."""
    with open(FILE, newline="", encoding="utf-8") as file:
        records = list(csv.reader(file))[1:]
    species = sorted({record[-1] for record in records})
    rows = [([float(x) for x in record[:-1]], species.index(record[-1])) for record in records]
    return rows, species


def split(rows, validation, test, seed):
    """Divide rows into (training, validation, test), each species alike.

    validation and test are fractions of the whole; the same seed divides the
    same way, whatever else changes.
    """
    parts = ([], [], [])
    for label in sorted({label for _, label in rows}):
        group = [row for row in rows if row[1] == label]
        random.Random(f"split {seed} {label}").shuffle(group)
        a, b = round(len(group) * test), round(len(group) * validation)
        for part, chosen in zip(parts, (group[a + b :], group[a : a + b], group[:a])):
            part.extend(chosen)
    return parts


class Scale:
    """Moves each measure to mean 0 and deviation 1, as seen in the training part."""

    def __init__(self, means, deviations):
        self.means, self.deviations = means, deviations

    @classmethod
    def of(cls, rows):
        columns = list(zip(*(features for features, _ in rows)))
        means = [math.fsum(column) / len(column) for column in columns]
        deviations = [
            math.sqrt(math.fsum((x - mean) ** 2 for x in column) / len(column)) or 1.0
            for column, mean in zip(columns, means)
        ]
        return cls(means, deviations)

    @classmethod
    def none(cls, width):
        return cls([0.0] * width, [1.0] * width)

    def apply(self, rows):
        return [
            ([(x - m) / d for x, m, d in zip(features, self.means, self.deviations)], label)
            for features, label in rows
        ]
