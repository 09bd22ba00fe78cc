"""What sparse weights take when they are stored without their zeros: dense, deflated as gzip does it, and encoded.

Fused RepCNNs for keywords; of each dense kernel the smallest weights are zero, in float32 and in int8. Which of the
weights they are does not matter to any of the three, and training is not needed to count bytes.
"""

from __future__ import annotations

import random
import statistics
from dataclasses import asdict

import numpy as np
import torch
from torch import nn

from repareto.search.devices.host.onnx_quantize import quantise_onnx
from repareto.search.devices.host.onnx_runtime import onnx_bytes
from repareto.search.sparse_weights.onnx_parts import sizes_of, taken_apart
from repareto.spaces.fusion import fused_copy
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.kernels import kernel_sites
from repareto.trainers.sparsity.weights import kept_count, largest

from .report import Claim, arguments, over, publish

SHAPE, CLASSES = (40, 51), 12
LEVELS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95)
CALIBRATION_SAMPLES = 64


def network(seed: int, level: float) -> nn.Module:
    torch.manual_seed(seed)
    space = load_space({"name": "repcnn", "width": [24, 64]})
    fused = fused_copy(space.build(space.draw(random.Random(seed)), SHAPE, CLASSES).eval())
    for site in kernel_sites(fused, SHAPE):
        kernel = site.kernel()
        site.set_mask(largest(kernel.abs(), kept_count(kernel.numel(), level)))
    return fused


def rows_of(seed: int, level: float) -> list[dict[str, object]]:
    in_float = onnx_bytes(network(seed, level), torch.zeros(1, *SHAPE))
    samples = np.random.default_rng(seed).standard_normal((CALIBRATION_SAMPLES, *SHAPE))
    files = {"float32": in_float, "int8": quantise_onnx(in_float, samples)}
    return [
        {"seed": seed, "level": level, "precision": precision, **asdict(sizes_of(content, *taken_apart(content)))}
        for precision, content in files.items()
    ]


def main() -> None:
    options = arguments(__doc__)
    seeds, levels = (range(2), (0.0, 0.9)) if options.quick else (range(5), LEVELS)
    rows = [row for level in levels for seed in seeds for row in rows_of(seed, level)]

    def ratios(precision: str, level: float, to: str) -> list[float]:
        chosen = [row for row in rows if (row["precision"], row["level"]) == (precision, level)]
        return [row["sparse_weights_bytes"] / row[to] for row in chosen]  # type: ignore[operator]

    print("of dense weights: zeros, float32 deflated / encoded, int8 deflated / encoded")
    for level in levels:
        told = []
        for precision in ("float32", "int8"):
            encoded = ratios(precision, level, "weights_bytes")
            deflated = [a / b for a, b in zip(encoded, ratios(precision, level, "deflated_weights_bytes"), strict=True)]
            told += [f"{statistics.median(values):.3f}" for values in (deflated, encoded)]
        print(f"{level:6.0%}  {told[0]} / {told[1]}  {told[2]} / {told[3]}")
    claims = [
        Claim(
            f"sparse_storage.{precision}_90_of_{name}",
            **over(ratios(precision, 0.9, to)),
            op="<=",
            target=target,
            what=f"bytes of {precision} weights of which 90 % are zero, encoded over {name}",
            why=why,
        )
        for precision, name, to, target, why in (
            (
                "int8",
                "deflated",
                "deflated_weights_bytes",
                1.0,
                "deflate gives frequent values fewer bits, by a window of 32 KiB; names are a tenth of what is encoded",
            ),
            ("float32", "deflated", "deflated_weights_bytes", 1.0, ""),
            (
                "int8",
                "dense",
                "weights_bytes",
                0.25,
                "scales, biases, names and depthwise kernels are in it, and are much of a small network",
            ),
        )
    ]
    command = "make bench-sparse_storage"
    publish("sparse_storage", command, claims, rows, quick=options.quick, out=options.out)


if __name__ == "__main__":
    main()
