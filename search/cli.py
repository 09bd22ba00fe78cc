"""The command line. Imports what a command needs when it runs, so that ``--help`` answers at once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..spaces.errors import UserError
from ..spaces.imports import make_importable

if TYPE_CHECKING:
    from .devices.base import Device
    from .ledger import Ledger
    from .objectives import Budget
    from .profiles import Subject
    from .results import Results

app = typer.Typer(
    help="Search small on-device models: what you deploy is what you search.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)

Store = Annotated[
    str | None,
    typer.Option(help="Folder or bucket of the study; the environment variable REPARETO_STORE or `runs` by default."),
]
LedgerUrl = Annotated[
    str | None,
    typer.Option("--ledger", help="PostgreSQL database; REPARETO_LEDGER, or SQLite in the store, by default."),
]
Address = Annotated[
    str | None, typer.Option(help="Run this command on a Ray cluster: the address of its dashboard.", metavar="URL")
]
StudyName = Annotated[str, typer.Argument(help="Name of the study.")]


def _example(text: str) -> str:
    return f"Example: `{text}`"


@app.command(epilog=_example("repareto search examples/digits.yaml --trials 20 --set budgets.latency=200us"))
def search(
    config: Annotated[Path, typer.Argument(help="A config file, see `examples/`.")],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key: `search.sampler=nsga2`.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trained candidates in all.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop after this long, such as `10m`.")] = None,
) -> None:
    """Run a search, or continue it: the same command again goes on where the study stands."""
    from .addresses import options_of
    from .config import ConfigFile
    from .run import run_search
    from .units import parse_quantity

    make_importable(config.parent, ".")  # where a space of the user's own may be
    overrides = list(set_ or [])
    settings = ConfigFile(config, overrides)
    try:
        seconds = None if time_budget is None else parse_quantity(time_budget, "duration") / 1e6
    except UserError as error:
        raise UserError(f"--time-budget {error}") from error
    study = settings.validated()
    with settings.naming_lines():
        outcome = run_search(study, trials=trials, time_budget_seconds=seconds, say=_say)
    _print_front(outcome.results)
    if outcome.unfinished:
        _say(f"{outcome.unfinished}: the same command goes on from here")
    _say(f"look at it:  {study.tracking or f'repareto ui{options_of(study)}'}")
    _say(f"take it:     repareto export {study.study} --out exported{options_of(study)}")
    if outcome.interrupted:
        raise typer.Exit(130)


@app.command(epilog=_example("repareto launch keywords.yaml --address http://head:8265 --detach"))
def launch(
    config: Annotated[Path, typer.Argument(help="A config file, see `examples/`.")],
    address: Annotated[
        str, typer.Option(envvar="RAY_ADDRESS", metavar="URL", help="The Ray cluster's dashboard: `http://head:8265`.")
    ],
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key: `search.sampler=nsga2`.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Trained candidates in all.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Stop after this long, such as `10m`.")] = None,
    detach: Annotated[bool, typer.Option(help="Return when the cluster has the search.")] = False,
    install: Annotated[bool, typer.Option(help="Have the nodes install what repareto depends on.")] = False,
) -> None:
    """Run a search on a Ray cluster, as a job that brings its code along. Ctrl-C leaves it running."""
    from .launch import launch as submit

    overrides = list(set_ or [])
    raise typer.Exit(submit(config, address, overrides, trials, time_budget, detach=detach, install=install, say=_say))


@app.command(epilog=_example("repareto status keywords"))
def status(study: StudyName, store: Store = None, ledger_url: LedgerUrl = None, address: Address = None) -> None:
    """Say how far a study is, who drives it, and what its running trials do."""
    if address:
        raise typer.Exit(_on_cluster(address, "status", study, store, ledger_url))
    from .control import print_status

    print_status(_open(study, store, ledger_url), _say)


@app.command(epilog=_example("repareto stop keywords"))
def stop(study: StudyName, store: Store = None, ledger_url: LedgerUrl = None, address: Address = None) -> None:
    """End a search when its running epochs have. Nothing is lost: the same search command goes on."""
    if address:
        raise typer.Exit(_on_cluster(address, "stop", study, store, ledger_url))
    from .control import stop_search

    stop_search(_open(study, store, ledger_url), _say)


@app.command(epilog=_example("repareto sync keywords"))
def sync(
    study: StudyName,
    tracking: Annotated[str | None, typer.Option(help="An MLflow server; by default the study's own.")] = None,
    store: Store = None,
    ledger_url: LedgerUrl = None,
    address: Address = None,
) -> None:
    """Write a study's MLflow view from the ledger: what is missing, or all of it on an empty server."""
    if address:
        words = ["--tracking", tracking] if tracking else []
        raise typer.Exit(_on_cluster(address, "sync", study, store, ledger_url, *words))
    from .control import sync_view
    from .run import stored_config

    ledger = _open(study, store, ledger_url)
    make_importable(*ledger.header()["import_folders"], ".")
    sync_view(ledger, stored_config(ledger, store, tracking), _say)


def _on_cluster(address: str, command: str, study: str, store: str | None, ledger_url: str | None, *flags: str) -> int:
    """Run a command where the ledger can be reached, and return its exit code."""
    from .launch import run_as_job

    options = [("--store", store), ("--ledger", ledger_url)]
    named = [word for name, value in options if value for word in (name, value)]
    return run_as_job(address, [command, study, *flags, *named])


@app.command(epilog=_example("repareto front keywords --json"))
def front(
    study: StudyName,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the interactive plot to this file.")] = None,
    store: Store = None,
    ledger_url: LedgerUrl = None,
    address: Address = None,
) -> None:
    """Print the Pareto front of a study."""
    if address:
        if html is not None:
            raise UserError(f"--html {html}: would be written on the cluster; the study's page in MLflow has the plot")
        raise typer.Exit(_on_cluster(address, "front", study, store, ledger_url, *(["--json"] if json else [])))
    from .config import Config
    from .run import read_results

    ledger = _open(study, store, ledger_url)
    results = read_results(ledger)
    if html is not None:
        from .plots import front_html

        page = front_html(results, Config(**ledger.header()["config"]).parsed_budgets(), study)
        try:
            html.write_text(page)
        except OSError as error:
            raise UserError(f"--html {html}: cannot be written ({error.strerror})") from error
        print(f"wrote {html}", file=sys.stderr)
    if json:
        from .tables import front_json

        print(front_json(results, study))
    elif html is None:
        _print_front(results)


@app.command(epilog=_example("repareto export keywords --out wakeup --max latency=2ms --max peak_memory=64KiB"))
def export(
    study: StudyName,
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    trial: Annotated[int | None, typer.Option(help="Number of the trial to take.")] = None,
    operating_point: Annotated[int | None, typer.Option(min=0, help="Of a trial with early exits.")] = None,
    max_: Annotated[list[str] | None, typer.Option("--max", help="An upper bound: `latency=2ms`.")] = None,
    force: Annotated[bool, typer.Option(help="Replace an existing folder.")] = False,
    store: Store = None,
    ledger_url: LedgerUrl = None,
) -> None:
    """Write the best feasible fused model, checked in its runtime, and register it in MLflow as the champion."""
    from .choose import choose
    from .export import export_trial
    from .finish import register
    from .run import read_results, stored_config

    ledger = _open(study, store, ledger_url)
    make_importable(*ledger.header()["import_folders"], ".")
    config = stored_config(ledger, store)
    # What was estimated to hold a budget may have been measured not to.
    bounds = [*config.parsed_budgets(), *_bounds(max_ or [])]
    record = choose(read_results(ledger), number=trial, point=operating_point, bounds=bounds)
    manifest = export_trial(ledger, config, record, out, force=force)
    latency = manifest["profile"]["measured"]["latency_us"]
    told = f"{latency['value']:.1f} us {latency['method']}" if latency else "no latency is claimed"
    _say(f"wrote trial {record.number} to {out}: {told} on {config.device}")
    _say(register(ledger, config, record, out / "model.onnx"))


@app.command(epilog=_example("repareto stream kws recording.wav --threshold 0.8"))
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

    from .listen import Listener, blocks_of, pause_seconds

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
        _say_to_stderr(remark)
    _say_to_stderr(f"{detections} detections of {', '.join(listener.words)} in {listener.heard_seconds:.1f} s")


@app.command(epilog=_example("repareto predict kws recording.wav"))
def predict(
    folder: Annotated[Path, typer.Argument(help="What `repareto export` wrote.")],
    files: Annotated[list[Path], typer.Argument(help="WAV or FLAC files, or features as `.npy`.")],
    operating_point: Annotated[int | None, typer.Option(min=0, help="Of early exits; the exported one.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Say what is in each file, with an exported classifier; one with early exits stops as soon as it is sure."""
    from dataclasses import asdict
    from json import dumps

    from .exits.runner import StagedModel, read_manifest
    from .predict import features_of

    manifest = read_manifest(folder)
    model = StagedModel(folder, operating_point)
    for path in files:
        answer = model(features_of(path, manifest))
        told = f"{path}  {answer.label}  {answer.probability:.2f}  exit {answer.exit} of {model.stages}"
        print(dumps({"file": str(path), **asdict(answer)}) if json else told, flush=True)


@app.command(epilog=_example("repareto personalize kws --data recordings --labels 30"))
def personalize(
    folder: Annotated[Path, typer.Argument(help="What `repareto export` wrote of a trial with early exits.")],
    data: Annotated[Path, typer.Option(help="A user's recordings: `<label>/<file>`, and files without a label.")],
    labels: Annotated[int | None, typer.Option(min=0, help="Labels to learn from; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Draws which recordings only test.")] = 0,
) -> None:
    """Adapt an export's early exits to one user, and print accuracy, exit rates and cost before and after."""
    from .exits.personalize import personalize as adapt
    from .tables import print_personalised

    print_personalised(adapt(folder, data, labels=labels, seed=seed, say=_say_to_stderr))


@app.command(epilog=_example("repareto download speech_commands recordings"))
def download(
    recordings: Annotated[str, typer.Argument(help="What to fetch: `speech_commands`, version 0.02, some 2.4 GB.")],
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    url: Annotated[str | None, typer.Option(help="Take the archive from here.")] = None,
    sha256: Annotated[str | None, typer.Option(help="SHA-256 of an archive that is another.")] = None,
) -> None:
    """Fetch a public set of recordings to search on. After Ctrl-C or a failure the same command goes on."""
    from ..trainers.data.download import archive_of
    from ..trainers.data.download import download as fetch

    fetch(archive_of(recordings, url, sha256), folder, _say)


@app.command(epilog=_example("repareto devices --json"))
def devices(
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """List what models can be profiled for: how each figure is got there, and the error to expect."""
    rows = [
        {"name": name, "missing": found}
        if isinstance(found, str)
        else {"name": name, "runtime": found.runtime, "precision": found.precision, **found.describe()}
        for name, found in _all_devices().items()
    ]
    if json:
        _print_json(rows)
        return
    from .tables import print_devices

    print_devices(rows)


@app.command(epilog=_example("repareto profile exported/model.onnx --device host-onnxruntime --layers"))
def profile(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A `.pt2`, `.onnx`, `.tflite` or a config.")],
    device: Annotated[
        str | None, typer.Option(help="What it would run on: by default the config's, or `host-onnxruntime`.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Print what each layer costs.")] = False,
    memory_map: Annotated[
        Path | None, typer.Option(help="Draw the memory over time, as `.svg` or `.html`.", metavar="FILE")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Compare with another model, or with this one on another device.")
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Run the device's own tool on the file.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Override a key of the config.")] = None,
) -> None:
    """Say what a model costs on a device, and what does not run well there.

    Of a config, the candidate in the middle of its space is taken.
    """
    from .devices.report import memory_map as maps
    from .profiles import report_data, report_on

    if memory_map is not None:
        maps.refuse_other_suffix(memory_map)
    subject, target = _subject(model, device, set_ or [], quiet=json)
    report = report_on(subject, target, measure)
    other = None
    if against is not None:
        other = report_on(*_other(against, subject, target, set_ or [], quiet=json), measure)
    if memory_map is not None:
        maps.write_memory_map(memory_map, report.graph, report.plan, f"{report.title} on {target.name}")
        print(f"wrote {memory_map}", file=sys.stderr)
    if json:
        _print_json(report_data(report, other))
        return
    from .tables import print_comparison, print_report

    print_report(report, layers)
    if other is not None:
        print_comparison(report, other)


def _subject(model: Path, device: str | None, overrides: list[str], quiet: bool) -> tuple[Subject, Device]:
    """Read a model file or a config, and find the device that it is to be profiled for."""
    from .devices import targets
    from .profiles import CONFIG_SUFFIXES, middle_of, read_file

    if model.suffix not in CONFIG_SUFFIXES:
        target = targets.device(device or "host-onnxruntime")
        return read_file(model), target
    from .config import ConfigFile

    make_importable(model.parent, ".")
    settings = ConfigFile(model, [*overrides, *([f"device={device}"] if device else [])])
    with settings.naming_lines():
        config = settings.validated()
        return middle_of(config, _say_to_stderr if quiet else _say), targets.device(config.device)


def _other(against: str, subject: Subject, target: Device, overrides: list[str], quiet: bool) -> tuple[Subject, Device]:
    """What ``--against`` names: another model for the same device, or another device for the same model."""
    from .devices import targets
    from .profiles import CONFIG_SUFFIXES, MODEL_SUFFIXES

    if Path(against).suffix in (*MODEL_SUFFIXES, *CONFIG_SUFFIXES):
        return _subject(Path(against), target.name, overrides, quiet)[0], target
    try:
        return subject, targets.device(against)
    except UserError as error:
        raise UserError(f"--against {against}: neither a model file nor a config; as a device: {error}") from error


@app.command(epilog=_example("repareto calibrate --device host-onnxruntime"))
def calibrate(
    device: Annotated[str, typer.Option(help="A device whose latency is fitted on this machine.")] = "host-onnxruntime",
) -> None:
    """Fit a device's latency model on this machine, and print its error on models that the fit has not seen.

    Takes less than three minutes. Keep the machine quiet meanwhile.
    """
    from .devices import targets
    from .devices.host.devices import Calibrated
    from .devices.latency.calibration import calibration_path, recalibrate
    from .tables import print_calibration

    target = targets.device(device)
    if not isinstance(target, Calibrated):
        fitted = (name for name, other in _all_devices().items() if isinstance(other, Calibrated))
        raise UserError(f"--device {device}: nothing is fitted there (fitted on a machine: {', '.join(fitted)})")
    _say(f"timing layers and networks in {target.runtime}, {target.precision}; keep the machine quiet")
    print_calibration(recalibrate(target.runtime, target.precision))
    _say(f"kept in {calibration_path(target.runtime, target.precision)}")


def _all_devices() -> dict[str, Device | str]:
    """Each device by name, or why it cannot be had here."""
    from .devices import targets

    found: dict[str, Device | str] = {}
    for name in targets.device_names():
        try:
            found[name] = targets.device(name)
        except UserError as error:
            found[name] = str(error)
    return found


@app.command(epilog=_example("repareto ui --port 5001"))
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on this machine.")] = 5000,
    store: Store = None,
) -> None:
    """Open the MLflow UI on the store that the search wrote. Ctrl-C ends it."""
    from .addresses import default_store, folder_of
    from .ui import serve

    where = store or default_store()
    serve(folder_of(where, "this command", "open the page of the MLflow server that the search writes to"), port)


def _open(study: str, store: str | None, ledger_url: str | None) -> Ledger:
    from .addresses import default_store, ledger_address
    from .ledger import Ledger

    return Ledger.open(ledger_address(store or default_store(), ledger_url), study)


def _bounds(texts: list[str]) -> list[Budget]:
    from .objectives import Budget

    bounds = []
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UserError(f'--max "{text}": not of the form objective=bound (try --max latency=2ms)')
        bounds.append(Budget.parse(name.strip(), value))
    return bounds


def _print_front(results: Results) -> None:
    from .tables import print_front

    print_front(results)


def _print_json(data: object) -> None:
    import json

    print(json.dumps(data, indent=2))


def _say(text: str) -> None:
    print(text, flush=True)


def _say_to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Run the command line: a user's mistake is one line on standard error and exit code 2."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
