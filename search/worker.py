"""One worker: trains a candidate epoch by epoch, fuses it, scores what would ship. An actor that is reused."""

from __future__ import annotations

import faulthandler
import json
import math
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from ray import tune
from torch import nn

from ..spaces.errors import UserError
from ..spaces.space import Candidate, SearchSpace
from ..spaces.sparsity.space import Sparsity
from ..trainers.data.front_ends import Datasets
from ..trainers.judgement import Judgement
from ..trainers.supervised import SupervisedTrainer, TrainingConfig, TrainingDivergedError
from .checkpoints import Checkpoints
from .exits.bounds import Bounds
from .files import MEASUREMENT, WEIGHTS, Files, model_folder, seal, trial_folder
from .lineage import Relative, begin_as_relative
from .patience import GoneError
from .records import EpochPoint, Measurement
from .sampling import candidate_seed
from .shipping import Shipping
from .tasks import task_of
from .teacher import has_teacher
from .training import begin_training

if TYPE_CHECKING:
    from .devices.base import Device


@dataclass(frozen=True)
class Job:
    """What all trials of a study share, the data apart."""

    space: SearchSpace
    training: TrainingConfig
    study_id: str
    study_folder: Files
    seed: int
    threads: int
    epoch_timeout_seconds: float = math.inf
    inherits: bool = False
    """Whether candidates begin with the weights of finished relatives."""
    device: str = "cpu"
    """A torch device; the backend sets it by the resources that a trial gets."""
    target: Device | None = None
    """What the model would run on. Where the file that ships is quantised for it, its errors count."""
    exit_bounds: Bounds = field(default_factory=Bounds)
    """Of the operating points of networks with early exits."""


class CandidateTrainable(tune.Trainable):
    """Ray Tune's view of one trial. A step is an epoch; the last one also fuses and measures.

    What a candidate does wrong is reported (``failed``), not raised: the actor lives on for the next one.
    """

    def setup(self, config: dict[str, Any], job: Job | None = None, datasets: Datasets | None = None) -> None:
        assert job is not None and datasets is not None
        self._job, self._datasets = job, datasets
        self._task = task_of(datasets.first)
        torch.set_num_threads(job.threads)
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._number: int = new_config["number"]
        self._candidate = Candidate.from_json(new_config["candidate"])
        self._relatives = [Relative.from_json(fields) for fields in json.loads(new_config.get("relatives", "[]"))]
        self._inherited: dict[str, int] = {}
        self._dataset = self._datasets.of(self._candidate.front_end())
        self._curve: list[EpochPoint] = []
        self._notes: list[str] = []
        self._folder = trial_folder(self._job.study_folder, self._number)
        self._identity = f"{self._job.study_id} {self._number} {self._candidate.digest}"
        self._checkpoints = Checkpoints(self._folder, self._identity)
        # Built in the first step, where a failure can be reported.
        self._trainer: SupervisedTrainer | None = None
        return True

    def step(self) -> dict[str, Any]:
        """Return the curve so far, and at the end the measurement; ``notes`` are for the user."""
        with ended_after(self._job.epoch_timeout_seconds * self._epochs_of_this_step()):
            result = self._guarded_step()
        notes, self._notes = self._notes, []
        return {**result, "notes": json.dumps(notes)}

    def _epochs_of_this_step(self) -> int:
        """Return how many epochs the step may take: the last one also makes what ships, the first may miss its teacher.

        Each of several networks is looked at once more, and each is fine-tuned.
        """
        trainer = self._trainer
        is_last = trainer is None or trainer.epoch + 1 >= trainer.config.epochs
        training = self._job.training
        lost_teacher = training.epochs if trainer is None and has_teacher(self._job.space) else 0
        networks = 1 if trainer is None else trainer.networks
        ships = networks * training.quantization_aware_epochs + networks - 1
        return 1 + (ships if is_last else 0) + lost_teacher

    def _guarded_step(self) -> dict[str, Any]:
        try:
            return self._step()
        except TrainingDivergedError as error:
            return {"done": True, "failed": str(error)}
        except GoneError as error:
            # From here the store cannot be reached; from another node it may be.
            return {"done": True, "lost": str(error)}
        except UserError as error:
            # Such as a full disk: the next candidate would fare no better.
            return {"done": True, "fatal": str(error)}
        except Exception as error:
            # The candidate has failed, the search has not; the whole story stands beside its weights.
            with suppress(UserError):
                self._folder.write("error.txt", traceback.format_exc().encode())
            return {"done": True, "failed": f"{type(error).__name__}: {error} (see {self._folder.place('error.txt')})"}

    def _step(self) -> dict[str, Any]:
        if self._trainer is None:
            known = self._known_end()
            if known is not None:
                return known
            self._trainer = self._start()
        trainer = self._trainer
        if trainer.epoch < trainer.config.epochs:
            epoch = trainer.train_epoch()
            error = self._task.validation_error(trainer.model, self._dataset, self._job.device)
            self._curve.append(EpochPoint(error, epoch.loss, epoch.seconds))
            state = {
                "trainer": trainer.state_dict(),
                "curve": [list(point) for point in self._curve],
                "inherited": self._inherited,
            }
            self._checkpoints.save(trainer.epoch, state)
        # The whole curve, for a driver that was killed may not have heard of the last epochs. As text, for Ray
        # flattens what it can.
        result: dict[str, Any] = {"curve": json.dumps(self._curve)}
        if trainer.epoch >= trainer.config.epochs:
            result |= {"measurement": json.dumps(asdict(self._measure(trainer))), "done": True}
            document = json.dumps({"identity": self._identity, "result": result})
            self._folder.write(MEASUREMENT, document.encode())
        return result

    def _known_end(self) -> dict[str, Any] | None:
        """Return the last result of a trial that was measured already, by a worker whose driver did not hear of it."""
        content = self._folder.read(MEASUREMENT)
        try:
            document = {} if content is None else json.loads(content)
        except ValueError:
            # Cut short: the checkpoint is there to measure again.
            return None
        return document["result"] if document.get("identity") == self._identity else None

    def _start(self) -> SupervisedTrainer:
        seed = candidate_seed(self._job.seed, self._number)
        trainer = begin_training(self._job, self._candidate, self._dataset, seed, self._notes.append)
        saved = self._checkpoints.newest(self._notes.append)
        if saved is None:
            self._inherit(trainer.model)
            return trainer
        trainer.load_state_dict(saved["trainer"])
        self._curve = [EpochPoint(*point) for point in saved["curve"]]
        self._inherited = saved.get("inherited", {})
        return trainer

    def _inherit(self, model: nn.Module) -> None:
        """Give an untrained model the weights of its nearest relative, where it has one."""
        job = self._job
        relative = begin_as_relative(
            model, self._relatives, job.space, job.study_folder, self._dataset, self._notes.append
        )
        if relative is not None:
            self._inherited = {"trial": relative.number, "epochs": relative.epochs}

    def _measure(self, trainer: SupervisedTrainer) -> Measurement:
        job = self._job
        shipping = Shipping(
            self._dataset,
            job.training.overridden(self._candidate.training()),
            job.target,
            job.exit_bounds,
            candidate_seed(job.seed, self._number),
            job.device,
        )
        sparsity = Sparsity.of(self._candidate.sparsity())
        if sparsity is None or trainer.networks == 1:
            return self._measure_network(trainer, shipping, sparsity, None)
        networks = [
            self._measure_network(trainer, shipping, own, place) for place, own in enumerate(sparsity.networks())
        ]
        return replace(networks[0], networks=tuple(networks))

    def _measure_network(
        self, trainer: SupervisedTrainer, shipping: Shipping, sparsity: Sparsity | None, place: int | None
    ) -> Measurement:
        """Return what ships of a model, or of that of its networks which has a ``place``, and keep its weights."""
        job, folder = self._job, model_folder(self._folder, place)
        shipped = shipping.ship(trainer.model if place is None else trainer.network(place), sparsity)
        folder.write(WEIGHTS, seal(dict(shipped.fused.state_dict())))
        if shipped.content is not None:
            assert job.target is not None
            folder.write(job.target.file_name, shipped.content)
        self._tell_of_exits_off(shipped.judged)
        profile: dict[str, Any] = {}
        was_unknown = sparsity is not None and sparsity.cuts_channels and sparsity.is_allocated
        if was_unknown or place is not None:
            assert job.target is not None, "what ships is known by now alone"
            profile = asdict(self._task.form(shipped.fused, self._dataset.input_shape).profile(job.target))
        return Measurement(
            figures=shipped.judged.figures,
            details=shipped.judged.details
            | ({} if shipped.kept is None else {"sparsity": {"kept": shipped.kept}})
            | ({"inherited": self._inherited} if self._inherited else {}),
            profile=profile,
            fusion=asdict(shipped.fusion),
            seed=shipping.seed,
            epochs=trainer.epoch,
            train_seconds=sum(point.seconds for point in self._curve),
            branched_parameters=sum(parameter.numel() for parameter in trainer.model.parameters()),
            network=place,
        )

    def _tell_of_exits_off(self, judged: Judgement) -> None:
        exits = judged.details.get("exits")
        if exits is not None and not any(exits["points"][exits["chosen"]]["rates"][:-1]):
            self._notes.append(f"trial {self._number}: no early exit is good enough, so that all are off")

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: an epoch's checkpoint is written under the trial's number, whatever Ray thinks of the trial."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing: see :meth:`save_checkpoint`."""


def train_whole(job: Job, datasets: Datasets, config: dict[str, Any]) -> dict[str, Any]:
    """Train a candidate to its end outside Ray Tune, and return the last result of :meth:`CandidateTrainable.step`."""
    # Without Tune's own beginnings, its folders and loggers.
    trainable = CandidateTrainable.__new__(CandidateTrainable)
    trainable.setup(config, job, datasets)
    while not (result := trainable.step()).get("done"):
        pass
    return result


@contextmanager
def ended_after(seconds: float) -> Iterator[None]:
    """End this process when the block takes longer, with a trace of all threads in the worker's log.

    The watchdog does not wait for Python, so code that hangs in a library is ended as well.
    """
    if math.isfinite(seconds):
        faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
