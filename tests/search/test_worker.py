"""One worker, without Ray's actors: epochs, checkpoints, the fused measurement, failures that are reported."""

import errno
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import onnx
import pytest

from repareto.search.checkpoints import SLOTS
from repareto.search.devices.extras import MissingExtraError
from repareto.search.devices.host.devices import HostOnnxRuntime, HostOnnxRuntimeInt8
from repareto.search.devices.readers.torch_reader import read_module
from repareto.search.files import MEASUREMENT, WEIGHTS, Files, trial_folder, unseal
from repareto.search.models import fused_skeleton
from repareto.search.worker import CandidateTrainable, Job
from repareto.spaces import load_space
from repareto.spaces.branches import BranchedConv
from repareto.spaces.errors import UserError
from repareto.spaces.space import SearchSpace
from repareto.spaces.sparsity.slicing import sliced_to_counts
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.front_ends import Datasets
from repareto.trainers.supervised import TrainingConfig, error_rate

SPACE = load_space({"name": "repcnn", "stages": 1, "width": [4, 8], "blocks": 1, "kernel": 3})


@pytest.fixture(scope="module")
def dataset():
    return Digits().load(seed=0)


def worker(
    dataset, folder: Path, number: int = 3, study_id: str = "a study", target=None, space=SPACE, **training
) -> CandidateTrainable:
    training = TrainingConfig(epochs=3, **training)
    job = Job(space, training, study_id, Files(str(folder)), seed=0, threads=1, device="cpu", target=target)
    trainable = CandidateTrainable.__new__(CandidateTrainable)
    trainable.setup({"number": number, "candidate": space.middle().to_json()}, job, Datasets.single(dataset))
    return trainable


def folder_of(store: Path, number: int = 3) -> Files:
    return trial_folder(Files(str(store)), number)


def train(trainable: CandidateTrainable) -> list[dict]:
    results = []
    while not results or not results[-1].get("done"):
        results.append(trainable.step())
    return results


def test_a_trial_to_its_end(dataset, tmp_path):
    results = train(worker(dataset, tmp_path))
    assert [len(json.loads(result["curve"])) for result in results] == [1, 2, 3]
    measurement = json.loads(results[-1]["measurement"])
    assert measurement["epochs"] == 3
    assert measurement["fusion"]["largest_relative_difference"] <= 1e-4
    # The last epoch's error is the branched model's, the measured one the fused model's: they are the same function.
    last_error = json.loads(results[-1]["curve"])[-1][0]
    assert measurement["figures"]["error"] == pytest.approx(last_error, abs=1 / len(dataset.validation))
    weights = unseal(folder_of(tmp_path).read(WEIGHTS))
    assert not any("running_mean" in name for name in weights)


def test_a_child_begins_where_its_parent_ended_and_tells_of_it_after_an_interruption(dataset, tmp_path):
    train(worker(dataset, tmp_path))
    relative = {"number": 3, "candidate": SPACE.middle().to_json(), "epochs": 7}
    child, scratch = (worker(dataset, tmp_path, number=number) for number in (4, 5))
    child.reset_config(
        {"number": 4, "candidate": SPACE.middle().to_json(), "relatives": json.dumps([relative])},
    )
    first, of_scratch = (json.loads(trainable.step()["curve"])[0][0] for trainable in (child, scratch))
    assert first < of_scratch
    # Another worker goes on, with whom it began is in the checkpoint.
    measurement = json.loads(train(worker(dataset, tmp_path, number=4))[-1]["measurement"])
    assert measurement["details"]["inherited"] == {"trial": 3, "epochs": 7}
    assert measurement["epochs"] == 3


def test_a_quantised_model_is_scored_as_it_ships(dataset, tmp_path):
    target = HostOnnxRuntimeInt8()
    result = train(worker(dataset, tmp_path / "int8", target=target))[-1]
    figures = json.loads(result["measurement"])["figures"]
    content = folder_of(tmp_path / "int8").read(target.file_name)
    for key, split in (("error", dataset.validation), ("test_error", dataset.test)):
        assert figures[key] == (target.run(content, split.features).argmax(1) != split.labels).mean()
    plain = json.loads(train(worker(dataset, tmp_path / "plain"))[-1]["measurement"])["figures"]
    assert {f"float32_{key}": value for key, value in plain.items()}.items() <= figures.items()


def test_fine_tuning_changes_what_ships_and_nothing_else(dataset, tmp_path):
    target = HostOnnxRuntimeInt8()
    plain, tuned = (
        json.loads(
            train(worker(dataset, tmp_path / str(n), target=target, quantization_aware_epochs=n))[-1]["measurement"]
        )
        for n in (0, 1)
    )
    files = [folder_of(tmp_path / str(n)).read(target.file_name) for n in (0, 1)]
    assert files[0] != files[1]
    for key in ("float32_error", "float32_test_error"):
        assert tuned["figures"][key] == plain["figures"][key]


def sparse(**sparsity) -> SearchSpace:
    narrow = {"stages": 1, "width": 8, "blocks": 1, "kernel": 3, "conv_branches": 2, "identity": True}
    return load_space({"name": "repcnn", **narrow, "sparsity": sparsity})


def test_what_channels_are_left_is_known_before_training(dataset, tmp_path):
    space = sparse(method="magnitude", granularity="channel", level=0.6)
    train(worker(dataset, tmp_path, space=space))
    weights = unseal(folder_of(tmp_path).read(WEIGHTS))
    skeleton = fused_skeleton(space, space.middle(), dataset.input_shape, len(dataset.labels))
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in skeleton.state_dict().items()
    }
    assert weights["0.weight"].shape[0] == 3, "of 8 channels"
    skeleton.to_empty(device="cpu").load_state_dict(weights)
    scored = json.loads(folder_of(tmp_path).read(MEASUREMENT))["result"]["measurement"]
    assert json.loads(scored)["figures"]["test_error"] == error_rate(skeleton, dataset.test)


def test_what_ships_is_profiled_where_training_decided_its_structure(dataset, tmp_path):
    space, target = sparse(method="l0", level=0.6), HostOnnxRuntime()
    result = json.loads(train(worker(dataset, tmp_path, space=space, target=target))[-1]["measurement"])
    skeleton = fused_skeleton(space, space.middle(), dataset.input_shape, len(dataset.labels))
    estimate = asdict(target.profile(read_module(skeleton, (1, *dataset.input_shape))))
    weights = unseal(folder_of(tmp_path).read(WEIGHTS))
    kept = result["details"]["sparsity"]["kept"]
    assert kept[0] == weights["0.weight"].shape[0]
    assert result["profile"]["macs"]["value"] <= estimate["macs"]["value"]
    dense = fused_skeleton(sparse(method="none"), sparse(method="none").middle(), dataset.input_shape, 10)
    shipped, _ = sliced_to_counts(dense, dataset.input_shape, kept)
    profile = target.profile(read_module(shipped, (1, *dataset.input_shape)))
    assert result["profile"] == json.loads(json.dumps(asdict(profile)))
    shipped.to_empty(device="cpu").load_state_dict(weights)


@pytest.mark.parametrize("epochs", [0, 1])
def test_zeros_are_shipped_even_after_fine_tuning(dataset, tmp_path, epochs):
    space = sparse(method="magnitude", granularity="weight", level=0.75)
    target = HostOnnxRuntimeInt8()
    train(worker(dataset, tmp_path, space=space, target=target, quantization_aware_epochs=epochs))
    weights = unseal(folder_of(tmp_path).read(WEIGHTS))
    assert (weights["0.weight"] != 0).float().mean() == 0.25
    model = onnx.load_model_from_string(folder_of(tmp_path).read(target.file_name))
    kernels = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer if len(tensor.dims) == 4]
    # The depthwise kernel is dense; of the other two at least what was taken out is zero.
    assert sorted((kernel == 0).mean() >= 0.75 for kernel in kernels) == [False, True, True]


def test_a_killed_worker_goes_on_as_if_it_had_not_been(dataset, tmp_path):
    whole = train(worker(dataset, tmp_path / "whole"))
    first = worker(dataset, tmp_path / "killed")
    first.step()
    assert folder_of(tmp_path / "killed").read(SLOTS[1])
    rest = train(worker(dataset, tmp_path / "killed"))
    assert len(rest) == 2

    def without_seconds(result: dict) -> list:
        return [point[:2] for point in json.loads(result["curve"])]

    assert without_seconds(rest[-1]) == without_seconds(whole[-1])
    assert json.loads(rest[-1]["measurement"])["figures"] == json.loads(whole[-1]["measurement"])["figures"]


def test_a_checkpoint_cut_short_costs_one_epoch(dataset, tmp_path):
    whole = train(worker(dataset, tmp_path / "whole"))
    first = worker(dataset, tmp_path / "killed")
    first.step()
    first.step()
    folder = folder_of(tmp_path / "killed")
    folder.write(SLOTS[0], folder.read(SLOTS[0])[:-100])
    rest = train(worker(dataset, tmp_path / "killed"))
    assert len(rest) == 2, "the second epoch again, and the third"
    assert "checksum is wrong; the epoch before is used" in json.loads(rest[0]["notes"])[0]
    assert json.loads(rest[1]["notes"]) == []
    assert figures(rest) == figures(whole)


def figures(results: list[dict]) -> dict:
    return json.loads(results[-1]["measurement"])["figures"]


def test_a_checkpoint_of_another_study_is_left_alone(dataset, tmp_path):
    """As when a ledger was deleted and its store was not."""
    train(worker(dataset, tmp_path, study_id="an older study"))
    assert len(train(worker(dataset, tmp_path))) == 3


def test_what_was_measured_already_is_not_measured_again(dataset, tmp_path, monkeypatch):
    """A driver that was killed did not hear of the end; the next one gives the trial out again."""
    whole = train(worker(dataset, tmp_path))
    monkeypatch.delattr(CandidateTrainable, "_measure")
    (again,) = train(worker(dataset, tmp_path))
    assert again["done"]
    assert figures([again]) == figures(whole)
    assert json.loads(again["curve"]) == json.loads(whole[-1]["curve"])


def test_a_worker_killed_after_its_last_epoch_only_measures(dataset, tmp_path):
    whole = train(worker(dataset, tmp_path))
    folder_of(tmp_path).delete(MEASUREMENT)
    (again,) = train(worker(dataset, tmp_path))
    assert again["done"]
    assert len(json.loads(again["curve"])) == 3
    assert figures([again]) == figures(whole)


def test_a_measurement_cut_short_is_made_again(dataset, tmp_path):
    whole = train(worker(dataset, tmp_path))
    folder = folder_of(tmp_path)
    folder.write(MEASUREMENT, folder.read(MEASUREMENT)[:30])
    (again,) = train(worker(dataset, tmp_path))
    assert figures([again]) == figures(whole)


def test_a_store_that_is_gone_is_the_nodes_fault(dataset, tmp_path, monkeypatch):
    def gone(*_arguments):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr("repareto.search.files.PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr("repareto.search.files.os.replace", gone)
    result = worker(dataset, tmp_path).step()
    assert result["done"] and "Stale file handle" in result["lost"]


def test_a_hung_epoch_ends_its_process(tmp_path):
    """For real, in a process of its own: the watchdog is not Python's, so that code which never returns is ended."""
    code = (
        "import time; from repareto.search.worker import ended_after\n"
        "with ended_after(60): pass\n"
        "with ended_after(0.5): time.sleep(120)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 1
    assert "Timeout" in done.stderr and "ended_after" not in done.stdout


def test_reuse_leaves_nothing_of_the_last_candidate(dataset, tmp_path):
    fresh = train(worker(dataset, tmp_path / "fresh", number=5))
    reused = worker(dataset, tmp_path / "reused", number=4)
    train(reused)
    assert reused.reset_config({"number": 5, "candidate": SPACE.middle().to_json()})
    assert figures(fresh) == figures(train(reused))


def test_a_fusion_that_differs_fails_the_trial(dataset, tmp_path, monkeypatch):
    honest = BranchedConv.kernel_and_bias

    def wrong(self):
        kernel, bias = honest(self)
        return type(honest(self))(kernel, bias + 0.1)

    monkeypatch.setattr(BranchedConv, "kernel_and_bias", wrong)
    result = train(worker(dataset, tmp_path))[-1]
    assert "differs from the trained one" in result["failed"]
    assert b"differs" in folder_of(tmp_path).read("error.txt")


def test_a_full_disk_is_fatal_and_no_fault_of_the_candidate(dataset, tmp_path, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("repareto.search.files.os.replace", full)
    result = worker(dataset, tmp_path).step()
    assert result["done"]
    assert "no space left" in result["fatal"]


class Refusing(HostOnnxRuntimeInt8):
    """A device whose tool refuses every model in its own way."""

    def __init__(self, error: UserError) -> None:
        super().__init__()
        self._error = error

    def convert(self, *_arguments) -> bytes:
        raise self._error


def test_a_model_that_its_tool_refuses_fails_alone(dataset, tmp_path):
    result = train(worker(dataset, tmp_path, target=Refusing(UserError("aten.x has no lowering"))))[-1]
    assert "aten.x has no lowering" in result["failed"] and "fatal" not in result


def test_a_tool_that_is_missing_is_no_fault_of_the_candidate(dataset, tmp_path):
    result = train(worker(dataset, tmp_path, target=Refusing(MissingExtraError('needs the extra "mcu"'))))[-1]
    assert result["fatal"] == 'needs the extra "mcu"'


def test_the_last_step_has_time_to_fine_tune(dataset, tmp_path):
    trainable = worker(dataset, tmp_path, target=HostOnnxRuntimeInt8(), quantization_aware_epochs=4)
    trainable.step()
    assert trainable._epochs_of_this_step() == 1
    trainable.step()
    assert trainable._epochs_of_this_step() == 5
