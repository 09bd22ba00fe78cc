"""A first config from five questions: what users of a search decide, written down with comments to go on from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..spaces.errors import UserError, nearest_hint
from .devices.targets import device_names
from .objectives import Budget

KINDS_OF_DATA = {
    "recordings": "a folder of your own, one subfolder a word",
    "synthetic": "spoken commands by a synthesiser (extra speech)",
    "wakeword": "one word in a stream, said by a synthesiser until you have recordings",
    "digits": "small images, to try things out in a minute",
}
NONE = "none"

Ask = Callable[[str, str, Callable[[str], object]], str]
"""Ask a question with a default until a check raises no :class:`UserError`, and return the answer."""


@dataclass(frozen=True)
class Answers:
    """What was answered; a bound is "none" where there is none."""

    data: str
    which: str
    """The folder of recordings, or the wake word; "" of other data."""
    device: str
    latency: str
    memory: str
    trials: int


def ask_all(ask: Ask) -> Answers:
    """Ask the five questions, and for the folder or the word where one is needed."""
    kinds = "; ".join(f"{name}: {what}" for name, what in KINDS_OF_DATA.items())
    data = ask(f"What to learn from? ({kinds})", "synthetic", _known(KINDS_OF_DATA))
    which = ""
    if data == "recordings":
        which = ask("In which folder?", "recordings", _folder)
    elif data == "wakeword":
        which = ask("Which word or words?", "hey computer", _word)
    device = ask("Which device? (repareto devices lists them)", "host-onnxruntime", _known(device_names()))
    latency = ask(f"How long may one answer take at most? (such as 2ms, or {NONE})", NONE, _bound("latency"))
    memory = ask(f"How much memory may it take at most? (such as 64KiB, or {NONE})", NONE, _bound("peak_memory"))
    trials = ask("How many candidates to train?", "16", _whole)
    return Answers(data, which, device, latency, memory, int(trials))


def _known(names: object) -> Callable[[str], object]:
    known = list(names)  # type: ignore[call-overload]

    def check(answer: str) -> None:
        if answer not in known:
            raise UserError(f'"{answer}" is unknown ({nearest_hint(answer, known)})')

    return check


def _folder(answer: str) -> None:
    if not Path(answer).expanduser().is_dir():
        raise UserError(f"{answer}: there is no such folder")


def _word(answer: str) -> None:
    if not answer:
        raise UserError("no word at all (try hey computer)")


def _bound(name: str) -> Callable[[str], object]:
    return lambda answer: None if answer == NONE else Budget.parse(name, answer)


def _whole(answer: str) -> None:
    if not answer.isdecimal() or int(answer) < 1:
        raise UserError(f'"{answer}" is not a number of candidates (try 16)')


def config_text(answers: Answers, path: Path) -> str:
    """Return the config, with comments, that the answers mean."""
    bounds = {"latency": answers.latency, "peak_memory": answers.memory}
    known = [f"  {name}: {bound}" for name, bound in bounds.items() if bound != NONE]
    budgets = ["budgets:                 # what breaks one is never trained", *known] if known else [
        "# budgets:               # what breaks one is never trained",
        "#   latency: 2ms",
    ]  # fmt: skip
    lines = [
        f"# repareto search {path.name}",
        # Quoted, for YAML has words of its own.
        f"study: {json.dumps(path.stem)}",
        "seed: 0",
        "",
        "data:",
        *_data(answers),
        "",
        "space:",
        "  name: repcnn           # branches in training, one convolution after fusion",
        "  # Every key narrows a dimension: [low, high], a list of options, or one value.",
        *_space(answers.data),
        "",
        "training:",
        "  epochs: 10             # of a candidate that is trained in full",
        "",
        f"device: {answers.device}",
        f"objectives: [error, {'latency, ' if _claims_latency(answers.device) else ''}peak_memory]",
        *budgets,
        "",
        "search:",
        f"  trials: {answers.trials}             # candidates trained; those over a budget do not count",
        "  reduction: 2           # one in so many goes on at a rung, and all that nothing dominates",
    ]
    return "\n".join(lines) + "\n"


def _claims_latency(name: str) -> bool:
    from .devices.targets import device

    return device(name).claims_latency


def _data(answers: Answers) -> list[str]:
    if answers.data == "recordings":
        return [
            "  source: speech_commands   # one subfolder a word, WAV or FLAC",
            f"  folder: {json.dumps(answers.which)}",
        ]
    if answers.data == "wakeword":
        return [
            "  source: wakeword       # missed words at one false alarm an hour",
            f"  word: {json.dumps(answers.which)}",
            "  # folder: recordings   # of the word and of others, one subfolder a word",
            "  # negatives: speech    # other speech, ten hours and more",
        ]
    return [f"  source: {answers.data}"]


def _space(data: str) -> list[str]:
    if data == "digits":
        return ["  stages: [1, 3]", "  width: [4, 32]", "  kernel: [3, 5]"]
    return [
        *(["  padding: causal        # it listens hop by hop", "  squeeze: false"] if data == "wakeword" else []),
        "  form: separable",
        "  stages: [2, 3]",
        "  width: [8, 48]",
        "  kernel: [3, 5, 7, 9]",
        "  conv_branches: [1, 3]",
    ]
