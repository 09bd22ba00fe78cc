"""The byte array of a TFLite model, compiled and read back."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from repareto.search.devices.tflite.convert import convert
from repareto.search.devices.tflite.read import read_tflite
from repareto.search.packaging.c_source import c_source

GCC, GXX = shutil.which("gcc"), shutil.which("g++")
READER = """
#include <stdio.h>
#include "model_data.h"
int main(void) {
    fwrite(model_data, 1, sizeof model_data, stdout);
    return (unsigned long)model_data % 16 != 0 || MODEL_TENSOR_ARENA_BYTES > MODEL_ARENA_BYTES;
}
"""


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3))
    samples = np.random.default_rng(0).standard_normal((8, 1, 8, 8)).astype(np.float32)
    return convert(model.eval(), (1, 1, 8, 8), "int8", samples, ["a", "b", "c"])


@pytest.mark.parametrize(("compiler", "suffix"), [(GCC, "c"), (GXX, "cc")])
def test_a_compiler_reads_the_same_bytes(content: bytes, tmp_path: Path, compiler: str | None, suffix: str) -> None:
    if compiler is None:
        pytest.skip("no such compiler here")
    for name, text in {**c_source(content), "main.c": READER}.items():
        (tmp_path / name.replace(".c", f".{suffix}")).write_text(text)
    sources = [f"model_data.{suffix}", f"main.{suffix}"]
    strict = ["-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([compiler, *strict, *sources, "-o", "main"], cwd=tmp_path, check=True, capture_output=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    assert done.stdout == content


def test_the_header_names_the_operators_and_the_arena(content: bytes) -> None:
    header = c_source(content)["model_data.h"]
    assert "Operators to register: CONV_2D, FULLY_CONNECTED" in header
    assert f"#define MODEL_DATA_BYTES {len(content)}" in header
    activations = max(
        t.nbytes for name, t in read_tflite(content).tensors.items() if name in read_tflite(content).inputs
    )
    arena = int(header.split("MODEL_TENSOR_ARENA_BYTES ")[1].split()[0])
    assert arena > activations
