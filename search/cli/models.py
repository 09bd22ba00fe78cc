"""Commands on a model that was found: make it smaller, run it, and adapt it to a user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ...spaces.errors import UserError
from .common import LedgerUrl, SparseWeights, Store, example, say, say_to_stderr

commands = typer.Typer()


@commands.command(epilog=example("repareto prune keywords --trial 7 --method l0 --target latency=200us --out small"))
def prune(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A study, or a folder that `repareto export` wrote.")],
    target: Annotated[str, typer.Option(help="What it is to come to: `latency=2ms`, `parameters=20k`, `level=0.5`.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    method: Annotated[
        str, typer.Option(help="How channels or weights are chosen, see the guide to sparsity.")
    ] = "magnitude",
    granularity: Annotated[str | None, typer.Option(help="`channel`, `weight`, `head` or `block`.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Of training meanwhile; the study's by default.")] = None,
    data: Annotated[list[str] | None, typer.Option(help="Another place of its data: `folder=recordings`.")] = None,
    trial: Annotated[int | None, typer.Option(help="Of a study: number of the trial; its best by default.")] = None,
    sparse_weights: SparseWeights = False,
    force: Annotated[bool, typer.Option(help="Replace an existing folder.")] = False,
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Take channels or weights out of a trained model, outside any search, and write what is left as an export."""
    from ..api.models import prune as shrink
    from ..export import told_latency
    from ..pruning.report import print_pruned

    pruned = shrink(
        model, target, out, method=method, granularity=granularity, epochs=epochs, data=_data_changes(data or []),
        trial=trial, sparse_weights=sparse_weights, force=force, store=store, ledger=ledger_url, say=say,
    )  # fmt: skip
    print_pruned(pruned)
    say(f"wrote {out}: {told_latency(pruned.manifest)}")


def _data_changes(texts: list[str]) -> dict[str, Any]:
    import yaml

    changes = {}
    for text in texts:
        key, equals, value = text.partition("=")
        try:
            changes[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f'--data "{text}": the value is not YAML') from error
        if not equals:
            raise UserError(f'--data "{text}": not of the form key=value (try --data folder=recordings)')
    return changes


@commands.command(epilog=example("repareto stream kws recording.wav --threshold 0.8"))
def stream(
    folder: Annotated[Path, typer.Argument(help="What `repareto export` wrote, of a space with `padding: causal`.")],
    sound: Annotated[str, typer.Argument(help="A WAV or FLAC file, or `-`: raw 16-bit mono samples from a pipe.")],
    rate: Annotated[int | None, typer.Option(min=1000, help="Samples a second of a pipe; the model's own.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Score from which a word counts, 0 to 1.")] = None,
    smoothing: Annotated[int | None, typer.Option(min=1, help="Hops over which scores are averaged.")] = None,
    pause: Annotated[str | None, typer.Option(help="After a detection nothing is detected for, such as `1s`.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Listen to a sound with an exported streaming model, and print each detection with its time and score."""
    from dataclasses import asdict
    from json import dumps

    from ..listen import Listener, blocks_of, pause_seconds

    given = {
        "threshold": threshold,
        "smoothing_hops": smoothing,
        "pause_seconds": None if pause is None else pause_seconds(pause),
    }
    listener = Listener(folder, **{name: value for name, value in given.items() if value is not None})
    detections = 0
    for found in listener.listen(blocks_of(sound, rate, listener.sample_rate_hz)):
        detections += 1
        print(dumps(asdict(found)) if json else f"{found.seconds:9.2f} s  {found.word}  {found.score:.2f}", flush=True)
    for remark in listener.remarks():
        say_to_stderr(remark)
    say_to_stderr(f"{detections} detections of {', '.join(listener.words)} in {listener.heard_seconds:.1f} s")


@commands.command(epilog=example("repareto predict kws recording.wav"))
def predict(
    folder: Annotated[Path, typer.Argument(help="What `repareto export` wrote.")],
    files: Annotated[list[Path], typer.Argument(help="WAV or FLAC files, or features as `.npy`.")],
    operating_point: Annotated[int | None, typer.Option(min=0, help="Of early exits; the exported one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Say what is in each file, with an exported classifier or transcriber; early exits stop once they are sure."""
    from dataclasses import asdict
    from json import dumps

    from ..api.models import predict as answers

    for path, answer in zip(files, answers(folder, files, operating_point=operating_point), strict=True):
        told = f"{path}  {answer.label}  {answer.probability:.2f}  exit {answer.exit} of {answer.exits}"
        print(dumps({"file": str(path), **asdict(answer)}) if json else told, flush=True)


@commands.command(epilog=example("repareto enroll wake --data recordings-of-the-word"))
def enroll(
    folder: Annotated[Path, typer.Argument(help="What `repareto export` wrote of a wake word.")],
    data: Annotated[Path, typer.Option(help="Recordings of a user who says the word: five or so, WAV or FLAC.")],
    false_alarms: Annotated[float, typer.Option(min=0, help="At most so many an hour, for a user who is hard.")] = 2.0,
) -> None:
    """Fit the threshold of an exported wake word to one user, and say what that costs in false alarms."""
    from ..api.models import enroll as fit

    found = fit(folder, data, false_alarms=false_alarms, say=say_to_stderr)
    count = len(found.scores)
    say(
        f"{found.word}: {found.heard_at(found.threshold)} of {count} recordings are heard from {found.threshold:.3f}, "
        f"{found.heard_at(found.threshold_before)} at the {found.threshold_before:.3f} of all users"
    )
    say(f"at the new threshold {found.false_alarms_per_hour:g} false alarms an hour are to be expected")


@commands.command(epilog=example("repareto personalize kws --data recordings --labels 30"))
def personalize(
    folder: Annotated[Path, typer.Argument(help="What `repareto export` wrote of a trial with early exits.")],
    data: Annotated[Path, typer.Option(help="A user's recordings: `<label>/<file>`, and files without a label.")],
    labels: Annotated[int | None, typer.Option(min=0, help="Labels to learn from; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws which recordings only test.")] = 0,
) -> None:
    """Adapt an export's early exits to one user, and print accuracy, exit rates and cost before and after."""
    from ..api.models import personalize as adapt
    from ..tables import print_personalised

    print_personalised(adapt(folder, data, labels=labels, seed=seed, say=say_to_stderr))
