"""The parameters of a training, and how the command line changes them.

A run hands its parameters over as words of the form key=value, one for each
value of deploy/train-config.yaml, in the notation of Hydra's overrides:

    python3 src/train.py optimizer.lr=0.1 model.hidden=16

Every parameter is declared here once: its default, its type and its bounds.
A word that names no parameter, or a value out of bounds, ends the program
with status 2 before anything is trained.
"""

import difflib
import sys


class Invalid(Exception):
    """What the command line got wrong, in words for the person who typed it."""


def whole(least, most):
    def convert(text):
        try:
            value = int(text)
        except ValueError:
            raise Invalid("want a whole number") from None
        return within(value, least, most)

    return convert


def real(least, most):
    def convert(text):
        try:
            value = float(text)
        except ValueError:
            raise Invalid("want a number") from None
        return within(value, least, most)

    return convert


def within(value, least, most):
    # Written so that NaN, which compares false with everything, is refused.
    if not least <= value <= most:
        raise Invalid(f"want a value from {least} to {most}")
    return value


def truth(text):
    if text.lower() not in ("true", "false"):
        raise Invalid("want true or false")
    return text.lower() == "true"


def one_of(*choices):
    def convert(text):
        if text not in choices:
            raise Invalid("want one of " + ", ".join(choices))
        return text

    return convert


def name(text):
    if not text or text.startswith(".") or "/" in text or not text.isprintable():
        raise Invalid("want a name that can be the name of a folder")
    return text


# Key: (default, how a value is read). The defaults are those of
# deploy/train-config.yaml, so that a training by hand needs no words.
PARAMETERS = {
    "seed": (2, whole(0, 2**63)),
    "epochs": (40, whole(1, 1_000_000)),
    "batch_size": (8, whole(1, 1_000_000)),
    "data.validation": (0.2, real(0.05, 0.45)),
    "data.test": (0.2, real(0.05, 0.45)),
    "data.standardize": (True, truth),
    "model.hidden": (8, whole(0, 4096)),
    "model.activation": ("tanh", one_of("tanh", "relu")),
    "optimizer.lr": (0.02, real(1e-9, 1000.0)),
    "optimizer.decay": (0.98, real(0.0, 1.0)),
    "optimizer.momentum": (0.9, real(0.0, 0.9999)),
    "optimizer.weight_decay": (0.0001, real(0.0, 10.0)),
    "checkpoint.every": (10, whole(0, 1_000_000)),
    "experiment_name": ("local", name),
}


def parse(words):
    """Turn words of the form key=value into a dict with every parameter.

    Of a key given twice the last value counts, as in Hydra. Raises Invalid.
    """
    settings = {key: default for key, (default, _) in PARAMETERS.items()}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals:
            raise Invalid(f"{word!r}: want key=value")
        if key not in PARAMETERS:
            raise Invalid(f"{word!r}: there is no parameter {key!r}, {suggestion(key)}")
        try:
            settings[key] = PARAMETERS[key][1](unquote(text))
        except Invalid as fault:
            raise Invalid(f"{word!r}: {fault}") from None
    return settings


def suggestion(key):
    near = [known for known in PARAMETERS if known.endswith("." + key)]
    near = near or difflib.get_close_matches(key, PARAMETERS, n=1)
    return f"did you mean {near[0]}?" if near else "known are " + ", ".join(PARAMETERS)


def unquote(text):
    """Take Hydra's quotes off: 'it\\'s' is it's; only a quote, and a run of
    backslashes right before one, are escaped."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return text
    quote, inner, out = text[0], text[1:-1], []
    i = 0
    while i < len(inner):
        run = len(inner[i:]) - len(inner[i:].lstrip("\\"))
        i += run
        if i == len(inner) or inner[i] == quote:
            out.append("\\" * (run // 2))
        else:
            out.append("\\" * run)
        if i < len(inner):
            out.append(inner[i])
            i += 1
    return "".join(out)


def from_command_line():
    """The settings of this process; on a mistake say so and exit with 2."""
    try:
        return parse(sys.argv[1:])
    except Invalid as fault:
        print(f"{sys.argv[0]}: {fault}", file=sys.stderr)
        sys.exit(2)
