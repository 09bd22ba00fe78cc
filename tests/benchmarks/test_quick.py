"""Each benchmark's quick form runs the whole path and publishes its claims."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def publish(benchmark: str, out: Path, *words: str, name: str | None = None) -> dict:
    """Run a benchmark and return what it writes, under its own name unless told otherwise."""
    command = [sys.executable, "-m", f"benchmarks.{benchmark}", "--quick", "--out", str(out), *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads((out / f"{name or benchmark}.quick.json").read_text())
    assert document["quick"]
    assert document["rows"]
    return document


def check_claims(document: dict, *ids: str) -> None:
    claims = {claim["id"]: claim for claim in document["claims"]}
    assert set(claims) == set(ids)
    for claim in claims.values():
        assert claim["low"] <= claim["value"] <= claim["high"]
        inside = claim["value"] <= claim["target"] if claim["op"] == "<=" else claim["value"] >= claim["target"]
        assert claim["holds"] == inside


@pytest.mark.slow  # a minute, for it searches on Ray three times
def test_overhead(tmp_path):
    check_claims(publish("overhead", tmp_path), "overhead.to_plain", "overhead.to_reuse")


@pytest.mark.slow  # minutes, for it searches twice, as tests of searches do
def test_first_light(tmp_path):
    names = (
        "minutes", "again_seconds", "trained", "in_full", "front", "accuracy",
        "fusion_speed_up", "fusion_difference", "budget_check_ms", "help_seconds",
    )  # fmt: skip
    check_claims(publish("first_light", tmp_path), *(f"first_light.{name}" for name in names))


def test_repcnn(tmp_path):
    names = ("fewer_errors", "fewer_errors_equal_time", "training_cost")
    document = publish("repcnn", tmp_path)
    check_claims(document, *(f"repcnn.keywords.{name}" for name in names))
    # What is compared ships alike.
    assert len({(row["fused_parameters"], row["fused_macs"]) for row in document["rows"]}) == 1


def test_wakeword(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    document = publish("wakeword", tmp_path)
    assert {
        "wakeword.synthetic.misses",
        "wakeword.synthetic.int8_loss_points",
        "wakeword.synthetic.stream_difference",
    } <= {claim["id"] for claim in document["claims"]}
    assert {(row["network"], row["precision"]) for row in document["rows"]} == {
        (network, precision) for network in ("4conv+1x1+skip", "1conv", "repcnn-2x16") for precision in ("fp32", "int8")
    }
    # Branches cost nothing once they are fused.
    assert len({row["macs"] for row in document["rows"] if row["network"] != "repcnn-2x16"}) == 1
    for row in document["rows"]:
        # What is shipped hears other engines too: all that are installed, at all rates.
        assert ("hibari" in row["unheard_engines"]) == (row["precision"] == "int8")
        assert all(len(misses) == len(row["misses"]) for misses in row["unheard_engines"].values())


def test_branch_costs(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    document = publish("branch_costs", tmp_path)
    pairs = [(form, name) for form in ("separable", "full") for name in ("1conv+1x1+skip", "4conv+1x1+skip")]
    ids = [f"branch_costs.training.{form}.{name}" for form, name in pairs]
    for runtime in ("host-onnxruntime", "host-litert"):
        ids += [f"branch_costs.{runtime}.{form}.{name}.{of}" for form, name in pairs for of in ("latency", "memory")]
    check_claims(document, *ids)


def test_int8(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    document = publish("int8", tmp_path)
    names = ("separable-4conv+1x1+skip", "separable-4conv+1x1+skip-squeeze")
    pairs = [(device, name) for device in ("host-litert-int8", "host-onnxruntime-int8") for name in names]
    check_claims(document, *(f"int8.{device}.{name}{tuned}" for device, name in pairs for tuned in ("", ".tuned")))


def test_asr_exits(tmp_path):
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")
    document = publish("asr_exits", tmp_path)
    names = [f"{head}.{figure}" for head in ("shared", "own") for figure in ("speed_up", "lost_points")]
    check_claims(document, *(f"asr_exits.{name}" for name in names))
    for row in document["rows"]:
        assert 0 < row["up_to_us"][0] < row["up_to_us"][1] < row["up_to_us"][2]
        assert sum(row["rates"]) == pytest.approx(1)


def test_asr(tmp_path):
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")
    document = publish("asr", tmp_path)
    names = (
        "half.parameters", "half.latency", "onnx_difference", "synthetic.depth.cut_points",
        "synthetic.depth.whole_points", "synthetic.half.points", "synthetic.half_taught.points",
        "synthetic.half_taught.gain",
    )  # fmt: skip
    check_claims(document, *(f"asr.{name}" for name in names))
    errors = [row for row in document["rows"] if row["table"] == "errors"]
    assert {(row["way"], row["depth"]) for row in errors if row["way"] in ("dense", "to be cut")} == {
        (way, depth) for way in ("dense", "to be cut") for depth in (1, 2, 3)
    }
    # Halves ship alike, whatever they learnt from, and as the network that is timed.
    timed = {row["network"]: row["parameters"] for row in document["rows"] if row["table"] == "time"}
    assert {row["parameters"] for row in errors if row["way"].startswith("half")} == {timed["half"]}
    # Fewer blocks are fewer parameters, of the same training.
    by_depth = sorted((row["depth"], row["parameters"]) for row in errors if row["way"] == "to be cut")
    assert [parameters for _, parameters in by_depth] == sorted({parameters for _, parameters in by_depth})


def test_matched_error(tmp_path):
    document = publish("matched_error", tmp_path)
    matches = [row for row in document["rows"] if row["what"] == "match"]
    hosts = {runtime + precision for runtime in ("host-onnxruntime", "host-litert") for precision in ("", "-int8")}
    compared = {(equal, device) for equal in ("epochs", "seconds") for device in (*hosts, "cortex-m4", "ethos-u55-128")}
    assert {(row["equal"], row["device"]) for row in matches} == compared
    labels = {"epochs": "", "seconds": "_seconds"}
    ids = [f"matched{label}.keywords.tau1.validation_error_ratio" for label in labels.values()]
    for row in matches:
        reached = row["repcnn_validation_error"] <= row["bc_resnet_validation_error"]
        assert row["reached"] == reached
        prefix = f"{'matched' if reached else 'nearest'}{labels[row['equal']]}.keywords.tau1.{row['device']}"
        ids += [f"{prefix}.runtime_ratio", f"{prefix}.peak_memory_ratio"]
    check_claims(document, *ids)


@pytest.mark.skipif("REPARETO_RECORDINGS" not in os.environ, reason="REPARETO_RECORDINGS names no folder of recordings")
def test_recordings(tmp_path):
    document = publish("recordings", tmp_path, "--data", os.environ["REPARETO_RECORDINGS"])
    assert all(row["front"] for row in document["rows"])


def test_claims_lists_what_is_kept():
    command = [sys.executable, "-m", "benchmarks.claims"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for path in (ROOT / "benchmarks" / "results").glob("*.json"):
        for claim in json.loads(path.read_text())["claims"]:
            assert claim["id"] in printed


def test_search_quality(tmp_path):
    document = publish("search_quality", tmp_path, "--keep", str(tmp_path / "kept.jsonl"))
    check_claims(document, "search_quality.dtlz2", "search_quality.growth")
    searches = [row["search"] for row in document["rows"] if "search" in row]
    assert searches[0] == "frontier" and {"random", "Optuna TPE", "Ray OptunaSearch TPE + ASHA"} < set(searches)


def test_real_search(tmp_path):
    searches = ("frontier", "tpe with early stopping", "frontier with inheritance", "Ray OptunaSearch TPE + ASHA")
    document = publish("real_search", tmp_path, "--searches", *searches, name="real_search_digits")
    others = [name.lower().replace(" ", "_") for name in searches[1:]]
    check_claims(document, *(f"real_search.digits.{name}" for name in (*others, f"{others[-1]}.share", "costs")))
    for row in document["rows"]:
        assert row["trace"][-1][0] <= row["epochs"] and row["trace"][-1][1] == row["hypervolume"] > 0


def test_inheritance(tmp_path):
    names = ("equal_own_third", "equal_own", "equal_total_third", "equal_total")
    check_claims(publish("inheritance", tmp_path), *(f"inheritance.{name}" for name in names))


def test_prune(tmp_path):
    document = publish("prune", tmp_path)
    others = ("gentle", "gentler", "at_once", "scratch", "scratch_long")
    check_claims(document, *(f"prune.{other}_70" for other in others))
    # What is compared ships alike.
    assert len({row["parameters"] for row in document["rows"] if row["way"] != "dense"}) == 1


def test_sparsity(tmp_path):
    pytest.importorskip("ai_edge_litert", reason="needs the extra litert")
    document = publish("sparsity", tmp_path)
    sizes = (f"{method}_{size}_points" for method in ("l0", "l0_constrained") for size in ("expected", "shipped"))
    names = ("csp_90", "csp_90_global", "l0", *sizes, "reconstruction", "layer_set_seconds")
    steps = ("step_magnitude", "step_admm", "step_csp_weights")
    check_claims(document, *(f"sparsity.{name}" for name in (*names, *steps)))
    errors = [row for row in document["rows"] if row["table"] == "errors"]
    # What is compared ships alike: as many weights that are not zero, or no more than an equal share of each width.
    assert len({row["nonzero_weights"] for row in errors if row["granularity"] == "weight"}) == 1
    channels = {row["method"]: row for row in errors if row["granularity"] == "channel"}
    for size in ("parameters", "macs"):
        assert max(row[size] for row in channels.values()) == channels["magnitude"][size]
    on_host = {row["network"]: row for row in document["rows"] if row.get("device") == "host-litert"}
    # Zeros are computed with; channels that are gone are not.
    assert on_host["dense"]["macs"] == on_host["weights 90 %"]["macs"] > 3 * on_host["channels 50%"]["macs"]


def test_supernet(tmp_path):
    document = publish("supernet", tmp_path)
    kinds = ("each_as_long", "epochs_in_all", "time_in_all")
    names = (f"{figure}_{kind}" for figure in ("points", "hypervolume") for kind in kinds)
    check_claims(document, *(f"supernet.{name}" for name in (*names, "training_time")))
    # What is compared ships alike.
    sizes = {(row["level"], row["parameters"], row["macs"]) for row in document["rows"]}
    assert len(sizes) == len({level for level, _, _ in sizes}) == 2


def test_sparse_storage(tmp_path):
    document = publish("sparse_storage", tmp_path)
    names = ("int8_90_of_deflated", "float32_90_of_deflated", "int8_90_of_dense")
    check_claims(document, *(f"sparse_storage.{name}" for name in names))
    for row in document["rows"]:
        # A tensor that is not sparse is stored as it is, with its name and its shape: up to 60 bytes for each.
        assert row["sparse_weights_bytes"] < 1.02 * row["weights_bytes"] + 100
        assert row["zero_share"] >= row["level"] - 0.1


def test_exits(tmp_path):
    document = publish("exits", tmp_path)
    names = (
        f"exits.{backbone}.{figure}"
        for backbone in ("detached", "joint", "balanced")
        for figure in ("speed_up", "lost_points")
    )
    check_claims(document, *names)
    for row in document["rows"]:
        assert abs(sum(row["rates"]) - 1) < 1e-9
        assert row["up_to_us"][0] <= row["expected_us"] <= row["up_to_us"][-1]


def test_exit_places(tmp_path):
    document = publish("exit_places", tmp_path)
    names = ("searched_over_even", "searched_over_all_places", "trainings_saved")
    check_claims(document, *(f"exit_places.{name}" for name in names))
    rows = {row["kind"]: row for row in document["rows"]}
    assert rows["all places"]["placement"] == list(range(rows["all places"]["places"]))
    # The searched placement is the best of the validation split, evenly spaced ones among them.
    assert all(row["validation_hypervolume"] <= rows["searched"]["validation_hypervolume"] for row in rows.values())


def test_personalization(tmp_path):
    pytest.importorskip("espeakng_loader", reason="needs the extra speech")
    document = publish("personalization", tmp_path)
    names = ("gain_points", "unlabelled_points", "unlabelled_points_over_exits", "unlabelled_mean_points", "speed_up")
    ratios = [f"{cost}_ratio{by}" for cost in ("macs", "seconds", "memory_bytes") for by in ("", "_by_labels")]
    check_claims(document, *(f"personalization.synthetic.{name}" for name in (*names, *ratios)))
    by_method: dict[str, list] = {}
    for row in document["rows"]:
        by_method.setdefault(row["method"], []).append(row)
    assert len(by_method) == 8 and {len(rows) for rows in by_method.values()} == {2}
    assert all(row["macs"] == 0 for row in by_method["none"])
    both = "labels and pseudo-labels"
    for own, tuned in zip(by_method[both], by_method[f"fine-tuning by {both}"], strict=True):
        assert 0 < own["macs"] < tuned["macs"] and 0 < own["memory_bytes"] < tuned["memory_bytes"]


def test_formats(tmp_path):
    document = publish("formats", tmp_path)
    names = ("written", "float32_difference", "int8_difference", "int8_points_lost", "front_end_difference")
    check_claims(document, *(f"formats.{name}" for name in names))
    formats = [row["format"] for row in document["rows"] if "format" in row]
    assert formats == ["onnx", "onnx-int8", "tflite", "tflite-int8", "executorch", "executorch-int8", "c"]


def test_front(tmp_path):
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium on this machine")
    document = publish("front", tmp_path)
    names = ("page_megabytes", "interactive_seconds", "update_seconds", "command_seconds", "export_seconds")
    check_claims(document, *(f"front.{name}" for name in names))
    # Each of 36 models in full and 12 stopped ones is in three pairs of objectives, 12 rejected ones are in one.
    assert {row["points"] for row in document["rows"] if row["what"] == "page"} == {3 * 48 + 12}
