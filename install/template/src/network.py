"""A small neural network in plain Python, trained by gradient descent.

With hidden units it is features -> hidden -> classes; with none, features ->
classes, which is softmax regression.
"""

import math
import random


class Network:
    def __init__(self, layers, activation):
        # A layer is a list of units; a unit is its weights, the bias last.
        self.layers, self.activation = layers, activation

    @classmethod
    def fresh(cls, widths, activation, seed):
        """A network with small random weights; widths as in [4, 8, 3]."""
        dice = random.Random(f"weights {seed}")
        layers = []
        for fan_in, units in zip(widths, widths[1:]):
            bound = math.sqrt(6.0 / (fan_in + units))
            layers.append(
                [[dice.uniform(-bound, bound) for _ in range(fan_in)] + [0.0] for _ in range(units)]
            )
        return cls(layers, activation)

    def forward(self, features):
        """Return the outputs of every layer; the last holds probabilities."""
        outputs, signal = [], features
        for depth, layer in enumerate(self.layers):
            sums = [unit[-1] + sum(w * x for w, x in zip(unit, signal)) for unit in layer]
            if depth == len(self.layers) - 1:
                signal = softmax(sums)
            elif self.activation == "tanh":
                signal = [math.tanh(s) for s in sums]
            else:
                signal = [max(0.0, s) for s in sums]
            outputs.append(signal)
        return outputs

    def predict(self, features):
        """The most probable class."""
        probabilities = self.forward(features)[-1]
        return probabilities.index(max(probabilities))

    def gradient(self, batch):
        """The mean gradient of the cross entropy over batch, shaped like layers."""
        total = zeros_like(self.layers)
        for features, label in batch:
            outputs = self.forward(features)
            # Of softmax with cross entropy: probability minus truth.
            delta = [p - (i == label) for i, p in enumerate(outputs[-1])]
            for depth in reversed(range(len(self.layers))):
                signal = outputs[depth - 1] if depth else features
                for unit, d in zip(total[depth], delta):
                    for i, x in enumerate(signal):
                        unit[i] += d * x / len(batch)
                    unit[-1] += d / len(batch)
                if depth:
                    delta = [
                        self.slope(y) * sum(unit[i] * d for unit, d in zip(self.layers[depth], delta))
                        for i, y in enumerate(signal)
                    ]
        return total

    def slope(self, output):
        """The derivative of the activation, by its output."""
        if self.activation == "tanh":
            return 1.0 - output * output
        return 1.0 if output > 0.0 else 0.0

    def measure(self, rows):
        """Return (mean cross entropy, accuracy) over rows."""
        loss, right = [], 0
        for features, label in rows:
            probabilities = self.forward(features)[-1]
            loss.append(-math.log(max(probabilities[label], 1e-300)))
            right += probabilities.index(max(probabilities)) == label
        return math.fsum(loss) / len(rows), right / len(rows)


class Descent:
    """Stochastic gradient descent with momentum and weight decay."""

    def __init__(self, velocity, momentum, weight_decay):
        self.velocity, self.momentum, self.weight_decay = velocity, momentum, weight_decay

    def step(self, network, gradient, lr):
        for layer, moves, slopes in zip(network.layers, self.velocity, gradient):
            for unit, move, slope in zip(layer, moves, slopes):
                last = len(unit) - 1
                for i in range(len(unit)):
                    # A bias shifts, it does not scale: decay leaves it alone.
                    pull = self.weight_decay * unit[i] if i < last else 0.0
                    move[i] = self.momentum * move[i] - lr * (slope[i] + pull)
                    unit[i] += move[i]


def zeros_like(layers):
    return [[[0.0] * len(unit) for unit in layer] for layer in layers]


def softmax(sums):
    top = max(sums)
    powers = [math.exp(s - top) for s in sums]
    total = sum(powers)
    return [p / total for p in powers]
