"""What is encoded comes back bit for bit, in NumPy and in C, and a damaged file is refused by both."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from repareto.search.sparse_weights import encoding
from repareto.search.sparse_weights.encoding import ALL, BITMAP, GAPS_4, GAPS_8, TYPES, decode, encode
from repareto.spaces.errors import UserError

DECODER = Path(encoding.__file__).with_name("decoder.c")
# Prints of each tensor its name, its shape and its elements, as bytes.
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
int main(void) {
    static uint8_t file[1 << 22];
    const size_t size = fread(file, 1, sizeof file, stdin);
    uint8_t *exact = malloc(size ? size : 1); /* a read beyond the end is seen by the sanitizer */
    memcpy(exact, file, size);
    struct sparse_reader reader;
    struct sparse_tensor tensor;
    if (sparse_open(&reader, exact, size)) return SPARSE_DAMAGED;
    int state;
    while ((state = sparse_next(&reader, &tensor)) == SPARSE_OK) {
        const size_t bytes = (size_t)tensor.elements * tensor.item_bytes;
        if (bytes > sizeof file) return SPARSE_DAMAGED;
        uint8_t *out = malloc(bytes ? bytes : 1);
        if (sparse_decode(&tensor, out)) return SPARSE_DAMAGED;
        fwrite(tensor.name, 1, tensor.name_bytes, stdout);
        fwrite(tensor.shape, 4, tensor.dimensions, stdout);
        fwrite(out, 1, bytes, stdout);
        free(out);
    }
    free(exact);
    return state == SPARSE_END ? 0 : state;
}
"""


@pytest.fixture(scope="module")
def read_in_c(tmp_path_factory: pytest.TempPathFactory):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("c")
    (folder / "main.c").write_text(f'#include "{DECODER}"\n{PROGRAM}')
    command = [compiler, "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "main.c", "-o", "read"]
    # Not every compiler comes with the libraries that see reads outside the file.
    if subprocess.run([*command, "-fsanitize=address,undefined"], cwd=folder, check=False).returncode:
        subprocess.run(command, cwd=folder, check=True)
    quiet = {"ASAN_OPTIONS": "detect_leaks=0"}
    return lambda content: subprocess.run([folder / "read"], input=content, capture_output=True, check=False, env=quiet)


def sparse(share: float, dtype: np.dtype, shape: tuple[int, ...] = (37, 3, 5), seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < share, 0, rng.integers(1, 100, shape)).astype(dtype)


def printed(tensors: dict[str, np.ndarray]) -> bytes:
    return b"".join(
        name.encode() + np.array(tensor.shape, "<u4").tobytes() + tensor.tobytes() for name, tensor in tensors.items()
    )


MANY = {
    f"{dtype.name} {share}": sparse(share, dtype) for dtype in TYPES for share in (0.0, 0.3, 0.6, 0.9, 0.97, 0.999, 1.0)
} | {
    "scalar": np.array(3, np.int64),
    "none": np.zeros((0, 4), np.float32),
    "not a number": np.array([0.0, np.nan, 1.0] + [0.0] * 600 + [-np.inf], np.float32),
    "as long as a gap": np.array(([0] * 15 + [1]) * 3 + [0] * 510 + [7] + [0] * 255, np.int8),
}


def test_all_comes_back_in_numpy_and_in_c(read_in_c) -> None:
    content = encode(MANY)
    back = decode(content)
    assert list(back) == list(MANY)
    for name, tensor in MANY.items():
        assert (back[name].dtype, back[name].shape) == (tensor.dtype, tensor.shape)
        assert back[name].tobytes() == tensor.tobytes(), name
    done = read_in_c(content)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == printed(MANY)


def test_of_a_zero_the_sign_is_lost() -> None:
    """Masked training leaves zeros of either sign, which all compute alike."""
    zeros = np.array([0.0, -0.0] * 400 + [1.0], np.float32)
    content = encode({"w": zeros})
    assert len(content) < 50
    assert decode(content)["w"].tobytes() == np.abs(zeros).tobytes()


@given(
    tensor=st.sampled_from(TYPES).flatmap(
        lambda dtype: arrays.arrays(dtype, arrays.array_shapes(min_dims=0, max_side=9), fill=st.just(0))
    )
)
def test_any_tensor_comes_back(tensor: np.ndarray) -> None:
    without_sign = np.where(tensor == 0, np.zeros_like(tensor), tensor)
    assert decode(encode({"w": tensor}))["w"].tobytes() == without_sign.tobytes()


@pytest.mark.parametrize(("share", "form"), [(0.05, ALL), (0.5, BITMAP), (0.9, GAPS_4), (0.99, GAPS_8)])
def test_each_form_is_the_least_somewhere(share: float, form: int) -> None:
    tensor = sparse(share, np.dtype("i1"), (40, 40, 9))
    content = encode({"w": tensor})
    assert content[12] == form
    assert len(content) <= tensor.nbytes + 40


def test_damaged_files_are_refused_in_numpy_and_in_c(read_in_c) -> None:
    content = encode({name: MANY[name] for name in ("float32 0.0", "int8 0.6", "int8 0.9", "int64 0.999")})
    for damaged in (b"", b"RPSX" + content[4:], content[:-1], content[:200], content[:13] + b"\x09" + content[14:]):
        with pytest.raises(UserError, match="sparse weights: the file is damaged"):
            decode(damaged)
        assert read_in_c(damaged).returncode == 2


@pytest.mark.parametrize("seed", range(20))
def test_noise_in_a_file_reads_nothing_outside_it(read_in_c, seed: int) -> None:
    content = bytearray(encode({name: MANY[name] for name in ("int8 0.6", "float32 0.9", "int8 0.97")}))
    rng = np.random.default_rng(seed)
    for place in rng.integers(12, len(content), 12):
        content[place] = rng.integers(256)
    done = read_in_c(bytes(content))
    assert done.returncode in (0, 2), done.stderr
    assert b"Sanitizer" not in done.stderr
