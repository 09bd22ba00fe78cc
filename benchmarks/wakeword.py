"""A wake word in streams: misses at several rates of false alarms, of RepCNNs and of published networks.

Synthetic: eSpeak's "hey computer" in eSpeak's speech, speakers disjoint, and in the voices of other engines. Real:
recordings of a wake word (``--data``), amid other words and other recordings (``--negatives``, such as those that
``python -m benchmarks.prompts FOLDER`` fetches). Thresholds are chosen on one stream and told of another. RepCNN
listens hop by hop; the others look at a window ten times a second. All in float32 and in int8, all at equal epochs.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import torch

from .repcnn import UNI, gain
from .report import Claim, arguments, exactly, over, publish
from .wake_training import BRANCHED, FRONT, PEERS, Row, Run, Task, dataset, rows_of, unheard

PAIR = (BRANCHED, UNI)
RATE = 1.0
ASKED_RATE, ASKED_MISSES = 0.5, 0.05
"""What openWakeWord asks of a model: fewer than 5 % misses at fewer than 0.5 false alarms an hour."""


def misses(rows: Sequence[Row], network: str, precision: str, rate: float) -> list[float]:
    """The share of the test stream's words that is missed, by seed."""
    found = [row for row in rows if (row.network, row.precision) == (network, precision)]
    return [
        at["test_misses"]
        for row in sorted(found, key=lambda row: row.seed)
        for at in row.misses
        if at["false_alarms_per_hour"] == rate
    ]


def costs(rows: Sequence[Row], network: str, field: str, precision: str = "int8") -> float:
    """The median of a figure over seeds."""
    return statistics.median(
        getattr(row, field) for row in rows if (row.network, row.precision) == (network, precision)
    )


def claims_of(task: str, rows: Sequence[Row]) -> list[Claim]:
    """What is missed, what int8 loses, what listening costs."""
    told = ", ".join(
        f"{name} {100 * statistics.mean(misses(rows, name, 'int8', RATE)):.1f} %"
        for name in dict.fromkeys(row.network for row in rows)
    )
    asked = misses(rows, BRANCHED, "int8", ASKED_RATE)
    lost = [
        100 * (after - before)
        for name in (UNI, BRANCHED)
        for before, after in zip(
            misses(rows, name, "fp32", RATE), misses(rows, name, "int8", RATE), strict=True
        )
    ]  # fmt: skip
    pairs = list(zip(misses(rows, UNI, "int8", RATE), misses(rows, BRANCHED, "int8", RATE), strict=True))
    claims = [
        Claim(
            f"wakeword.{task}.misses", **over(asked, statistics.mean), op="<=", target=ASKED_MISSES,
            what=f"share of words that RepCNN in int8 misses where {ASKED_RATE} false alarms an hour are allowed",
            why=f"int8, {RATE:g} an hour: {told}",
        ),
        Claim(
            f"wakeword.{task}.int8_loss_points", **over(lost, statistics.mean), op="<=", target=0.5,
            what=f"points of misses that int8 loses against float32 at {RATE:g} false alarms an hour",
            why="a score that falls on the other side of a threshold is a word of a few hundred",
        ),
        Claim(
            f"wakeword.{task}.stream_difference",
            **over([row.stream_difference for row in rows if row.stream_difference is not None], max),
            op="<=", target=1e-5,
            what="largest difference of a logit between the streaming file and the window's network",
        ),
    ]  # fmt: skip
    claims.append(
        Claim(
            f"wakeword.{task}.fewer_misses", **gain(pairs), op=">=", target=0.3,
            what=f"share of misses that branches in training take away at {RATE:g} false alarms an hour",
            why="the threshold hangs on the few sounds that are most like the word, and moves from seed to seed",
        )
    )  # fmt: skip
    if "bc_resnet" in {row.network for row in rows}:
        for field, target, what in (
            ("us_per_second", 10.0, "LiteRT's time for a second of sound"),
            ("peak_memory_bytes", 2.0, "peak memory"),
        ):
            ratio = costs(rows, "bc_resnet", field) / costs(rows, BRANCHED, field)
            claims.append(
                Claim(
                    f"wakeword.{task}.{field}_ratio", **exactly(ratio), op=">=", target=target,
                    what=f"BC-ResNet-1 over RepCNN: {what}, int8",
                )
            )  # fmt: skip
    return claims


def print_tables(task: str, rows: Sequence[Row]) -> None:
    """Print what each network misses, the mean over its seeds, as the tables of ``docs/listening.md``."""
    rates = [at["false_alarms_per_hour"] for at in rows[0].misses]
    head = " | ".join(f"{rate:g}" for rate in rates)
    print(f"| {task} | {head} | float32 | parameters | peak | a second of sound |")
    print("|---" * (len(rates) + 5) + "|")
    for name in dict.fromkeys(row.network for row in rows):
        missed = [statistics.mean(misses(rows, name, "int8", rate)) for rate in rates]
        in_float = statistics.mean(misses(rows, name, "fp32", RATE))
        parameters, peak, us = (
            costs(rows, name, field) for field in ("parameters", "peak_memory_bytes", "us_per_second")
        )
        cells = " | ".join(f"{100 * share:.1f} %" for share in (*missed, in_float))
        print(f"| {name} | {cells} | {parameters / 1000:.1f} k | {peak / 1024:.1f} KiB | {us:.0f} us |")
    for engine in sorted({engine for row in rows for engine in row.unheard_engines}):
        print(f"| {task}, said by {engine} | {head} |")
        print("|---" * (len(rates) + 1) + "|")
        for name in dict.fromkeys(row.network for row in rows if engine in row.unheard_engines):
            told = [
                row.unheard_engines[engine] for row in rows if row.network == name and engine in row.unheard_engines
            ]
            means = [statistics.mean(at["test_misses"] for at in at_rate) for at_rate in zip(*told, strict=True)]
            print(f"| {name} | " + " | ".join(f"{100 * share:.0f} %" for share in means) + " |")


def runs_of(tasks: Sequence[Task], networks: Sequence[str], seeds: int, epochs: int) -> list[Run]:
    """Of the pair all seeds, of the others one; in the order given, so that a run that is cut off has the first."""
    pairs = [Run(task, name, seed, epochs) for task in tasks for seed in range(seeds) for name in PAIR]
    return [*pairs, *(Run(task, name, 0, epochs) for name in networks for task in tasks)]


def measure(runs: Sequence[Run], workers: int, keep: Path) -> tuple[list[Claim], list[Row]]:
    """Train all networks on all tasks, and tell each row as it comes."""
    tasks = list(dict.fromkeys(run.task for run in runs))
    for task in tasks:
        unheard(task)  # made once, before two processes make it at once, and the data with it
        for note in dataset(task).notes:
            print(f"{task.name}: {note}", flush=True)
    rows: list[Row] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for found in pool.map(partial(rows_of, keep=keep), runs):
            rows += found
            for row in found:
                at = next(at for at in row.misses if at["false_alarms_per_hour"] == RATE)
                print(
                    f"{row.task} {row.network} {row.seed} {row.precision}: {at['test_misses']:.1%} missed, "
                    f"{at['test_false_alarms_per_hour']:.2g} false alarms an hour, {row.run_us:.1f} us a run",
                    flush=True,
                )
    for task in tasks:
        print_tables(task.name, [row for row in rows if row.task == task.name])
    claims = [claim for task in tasks for claim in claims_of(task.name, [row for row in rows if row.task == task.name])]
    return claims, rows


def main() -> None:
    """Measure and publish."""
    options = arguments(
        __doc__,
        ("--data", {"type": Path, "help": "folder of recordings, a folder a word"}),
        ("--word", {"default": "alexa", "help": "which of them is the wake word"}),
        ("--negatives", {"type": Path, "help": "folder of recordings of other speech"}),
        ("--hours", {"type": float, "default": 0.75, "help": "of synthetic speech in each stream without negatives"}),
        ("--windows", {"type": int, "default": 8000, "help": "that train, of each task"}),
        ("--seeds", {"type": int, "default": 5, "help": "of RepCNN with branches and without; one of all others"}),
        ("--networks", {"nargs": "*", "default": [*FRONT, *PEERS], "choices": [*FRONT, *PEERS]}),
        ("--epochs", {"type": int, "default": 6}),
        ("--workers", {"type": int, "default": os.cpu_count()}),
        ("--keep", {"type": Path, "help": "folder of what was found: a run that was cut off goes on there"}),
    )
    torch.set_num_threads(1)
    if options.quick:
        tasks, networks, seeds, epochs = [Task("synthetic", "hey computer", 0.01, 500)], ["repcnn-2x16"], 1, 1
    else:
        tasks = [Task("synthetic", "hey computer", options.hours, options.windows)]
        if options.data:
            hours = 0.0 if options.negatives else options.hours
            tasks.append(Task("real", options.word, hours, options.windows, options.data, options.negatives))
        networks, seeds, epochs = options.networks, options.seeds, options.epochs
    runs = runs_of(tasks, networks, seeds, epochs)
    with tempfile.TemporaryDirectory() as own:
        claims, rows = measure(runs, options.workers, options.keep or Path(own))
    command = f"python -m benchmarks.wakeword --seeds {seeds} --epochs {epochs} --windows {options.windows}"
    command += f" --hours {options.hours:g} --networks {' '.join(networks)}"
    command += f" --data FOLDER --word {options.word}" if options.data else ""
    command += " --negatives FOLDER" if options.negatives else ""
    publish("wakeword", command, claims, [asdict(row) for row in rows], quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
