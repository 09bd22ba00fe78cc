"""The live line: how many trials are done, running, rejected, stopped, failed; the hypervolume; the time left."""

from __future__ import annotations

import math
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from .records import State, TrialRecord
from .results import Results

# Without a terminal a line is printed at each end of a trial, and at most this often.
SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """An observer of a study that shows where it stands."""

    def __init__(self, results: Results, *, trials: int, epochs: int, deadline: float = math.inf) -> None:
        """``deadline`` is on the clock of ``time.monotonic``."""
        self._console = Console()
        self._live: Live | None = None
        self._results = results
        self._trials, self._epochs, self._deadline = trials, epochs, deadline
        self._started = time.monotonic()
        self._epochs_before = results.epochs.total()
        self._next_line = 0.0
        self._last_line: Text | None = None

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live = Live(self._line(), console=self._console, refresh_per_second=2, get_renderable=self._line)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._print_line()

    def say(self, text: str) -> None:
        """Print a line above the live one."""
        self._console.print(Text(text), soft_wrap=True)

    def trial_changed(self, record: TrialRecord, results: Results) -> None:
        self._results = results
        if record.state is State.FAILED:
            self.say(f"trial {record.number} failed: {record.reason}")
        now = time.monotonic()
        if self._live is None and record.state is not State.RUNNING and now >= self._next_line:
            self._next_line = now + SECONDS_BETWEEN_LINES
            self._print_line()

    def _print_line(self) -> None:
        line = self._line()
        if line != self._last_line:
            # Unwrapped, one line a state: it is read by programs and in logs.
            self._console.print(line, soft_wrap=True)
            self._last_line = line

    def _line(self) -> Text:
        counts = self._results.counts
        text = (
            f"{self._results.trained}/{self._trials} trials: "
            f"{counts[State.FINISHED]} in full, {counts[State.RUNNING]} running, "
            f"{counts[State.REJECTED]} rejected before training, {counts[State.STOPPED]} stopped early, "
            f"{counts[State.FAILED]} failed | front {len(self._results.front)} | "
            f"hypervolume {self._results.hypervolume:.4f} | {self._time_left()}"
        )
        return Text(text, overflow="fold")

    def _time_left(self) -> str:
        now = time.monotonic()
        epochs, ended = self._results.epochs, self._results.trained
        done = epochs.total() - self._epochs_before
        if done <= 0:
            left = self._deadline - now
        else:
            # Trials to come are taken to be as long as those that ended, early stops included.
            ended_epochs = sum(count for state, count in epochs.items() if state.was_trained)
            mean_epochs = ended_epochs / ended if ended else self._epochs
            epochs_left = max(0.0, (self._trials - ended) * mean_epochs - epochs[State.RUNNING])
            left = min(self._deadline - now, epochs_left * (now - self._started) / done)
        if not math.isfinite(left):
            return "time left unknown yet"
        minutes, seconds = divmod(max(0, round(left)), 60)
        return f"about {minutes}:{seconds:02d} left"
