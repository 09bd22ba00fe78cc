"""Studies as objects: run one, open one, look at its front, take a model out of it, compare several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...spaces.errors import UserError
from ...spaces.imports import make_importable
from ..addresses import default_store, ledger_address
from ..config import Config, ConfigFile
from ..facts import StudyFacts
from ..ledger import Ledger
from ..objectives import Budget
from ..reading import read_results
from ..records import TrialRecord
from ..results import Results

if TYPE_CHECKING:
    from ..compare import Comparison
    from ..run import Outcome

Say = Callable[[str], None]
ConfigSource = str | Path | Mapping[str, Any]


class OpenStudy:
    """A study as its ledger has it now: its front, its pages, its models.

    :func:`run_search` and :func:`open_study` return one. Nothing is kept between calls: while a search runs elsewhere,
    ``front`` is the front of the moment.
    """

    def __init__(
        self,
        ledger: Ledger,
        store: str | None = None,
        *,
        config: Config | None = None,
        outcome: Outcome | None = None,
    ) -> None:
        self.ledger = ledger
        self.outcome = outcome
        """Of the search that this process ran: whether it came to its end, and why not."""
        self._store, self._config = store, config

    def __repr__(self) -> str:
        return f"OpenStudy({self.name!r}, {self.results.trained} trials trained)"

    @property
    def name(self) -> str:
        return self.ledger.name

    @property
    def config(self) -> Config:
        """The config of the search that this process ran, or that it was created with, its store where it is now."""
        from ..run import stored_config

        return self._config or stored_config(self.ledger, self._store)

    @property
    def results(self) -> Results:
        """All trials, what they came to, and their hypervolume."""
        return read_results(self.ledger)

    @property
    def front(self) -> tuple[TrialRecord, ...]:
        """The non-dominated feasible trials of full fidelity, by their error.

        ``record.number``, ``record.candidate`` (a mapping) and ``record.measurement.figures`` (such as ``error`` and
        ``latency_us``) are what most programs want.
        """
        return self.results.front

    def as_dict(self) -> dict[str, Any]:
        """Return the front as JSON types: objectives, how many trials ended how, and each member with all it has."""
        from ..front_table import front_data

        return front_data(self.results, self.name, self.facts.error_examples)

    def page(self) -> str:
        """Return the interactive page of the front as HTML that loads nothing."""
        from ..importance import importances
        from ..pages.study import study_page

        results = self.results
        return study_page(results, self.facts, importances(results))

    def report(self) -> str:
        """Return the page to send to somebody as HTML: the front's page, what was measured, how it was made."""
        from ..pages.report import report_page

        return report_page(self.results, self.facts, self.ledger.header())

    def export(
        self,
        out: str | Path,
        *,
        trial: int | None = None,
        operating_point: int | None = None,
        bounds: Mapping[str, str] | None = None,
        knee: bool = False,
        weights: str | None = None,
        retrain: int | None = None,
        seeds: int = 1,
        formats: Sequence[str] = (),
        sparse_weights: bool = False,
        without_data: bool = False,
        force: bool = False,
        say: Say = print,
    ) -> dict[str, Any]:
        """Write a fused model to ``out``, checked in its runtime, register it in MLflow, and return its manifest.

        It is ``trial``, at its ``operating_point`` where it has several, or else of the members of the front that
        hold all budgets and ``bounds``, such as ``{"latency": "2ms"}``: the most accurate one, the ``knee``, or the
        best by ``weights``, such as ``"error=2,latency=1"``. With ``retrain`` it is trained again for so many epochs
        from so many ``seeds``, of which the best ships. ``formats`` are written beside those that are always there,
        such as ``"tflite-int8"``; all are checked on the study's data, or ``without_data`` on made-up inputs.

        Raises :class:`UserError` for a trial that has no model, bounds that none holds, a file that answers otherwise
        than torch, and a folder that is there (unless ``force``).
        """
        if retrain is not None and without_data:
            raise UserError("--without-data: --retrain needs the study's data (leave one of them out)")
        from ..choose import choose
        from ..export import Retraining, export_retrained, export_trial, told_latency
        from ..finish import register
        from ..packaging.package import Extras
        from ..weighing import worth_by

        self.make_importable()
        config, results = self.config, self.results
        worth = worth_by(results.objectives, knee_of_front=knee, weights=weights)
        record = choose(results, number=trial, point=operating_point, bounds=self.bounds(bounds or {}), worth=worth)
        extras = Extras(tuple(formats), sparse_weights)
        if retrain is None:
            manifest = export_trial(
                self.ledger, config, record, Path(out), force=force, extras=extras, with_data=not without_data, say=say
            )
        else:
            again = Retraining(retrain, seeds)
            manifest = export_retrained(
                self.ledger, config, record, Path(out), again, force=force, extras=extras, say=say
            )
        point = f", operating point {manifest['operating_point']}," if "operating_point" in manifest else ""
        say(f"wrote trial {record.number}{point} to {out}: {told_latency(manifest)}")
        say(register(self.ledger, config, record, Path(out)))
        return manifest

    def bounds(self, more: Mapping[str, str]) -> list[Budget]:
        """Return the budgets of the study, and more: what was estimated to hold one may have been measured not to."""
        return [*self.config.parsed_budgets(), *(Budget.parse(name, text) for name, text in more.items())]

    def make_importable(self) -> None:
        """Let the classes of the user's own that its config names be found where they were."""
        make_importable(*self.ledger.header()["import_folders"], ".")

    @property
    def facts(self) -> StudyFacts:
        """What is said of it beside its trials: budgets, device, data."""
        header = self.ledger.header()
        return StudyFacts.of(Config(**header["config"]), header)


def run_search(
    config: ConfigSource,
    *,
    overrides: Sequence[str] = (),
    trials: int | None = None,
    time_budget: str | None = None,
    say: Say = print,
) -> OpenStudy:
    """Run a search, or continue it, and return its study: the same call again goes on where the study stands.

    ``config`` is the path of a config file, or what would stand in one as a mapping; ``overrides`` replace keys of it,
    such as ``"search.sampler=nsga2"``. ``trials``, trained candidates in all, and ``time_budget``, such as ``"10m"``,
    replace the config's. ``say`` is told in lines of text how it goes. ``outcome.unfinished`` of the study says in
    words why trials are left, "" where none are.

    Raises :class:`UserError` for anything that the caller can mend; the ledger keeps what was done before.
    """
    from ..run import run_search as run
    from ..units import parse_quantity

    seconds = None if time_budget is None else parse_quantity(time_budget, "duration") / 1e6
    source = Path(config) if isinstance(config, str) else config
    make_importable(*([source.parent] if isinstance(source, Path) else []), ".")  # where a space of the user's may be
    settings = ConfigFile(source, overrides)
    valid = settings.validated()
    with settings.naming_lines():
        outcome = run(valid, trials=trials, time_budget_seconds=seconds, say=say)
    return OpenStudy(Ledger.open(valid.ledger_address, valid.study), valid.store, config=valid, outcome=outcome)


def open_study(name: str, *, store: str | None = None, ledger: str | None = None) -> OpenStudy:
    """Return the study of a name, which is what its config has under ``study``.

    ``store`` is its folder or bucket, by default ``REPARETO_STORE`` or ``runs``; ``ledger`` a PostgreSQL database, by
    default ``REPARETO_LEDGER``, or SQLite in the store. Raises :class:`UserError` for a study that is not there.
    """
    return OpenStudy(Ledger.open(ledger_address(store or default_store(), ledger), name), store)


def compare(names: Sequence[str], *, store: str | None = None, ledger: str | None = None) -> Comparison:
    """Return the fronts of several studies laid over one another.

    It has ``hypervolumes`` by study with one reference point, ``coverage(one, other)`` and ``union``, the front of all.
    Raises :class:`UserError` for fewer than two studies, for other objectives, and for a study without a front.
    """
    from ..compare import Comparison

    studies = [open_study(name, store=store, ledger=ledger) for name in dict.fromkeys(names)]
    return Comparison.of(
        {study.name: study.results for study in studies}, {study.name: study.facts for study in studies}
    )
