"""From measured times of networks to the costs of what they do."""

from collections.abc import Sequence

import numpy as np

from .roofline import Rate
from .workload import Work, total_terms

# Where the fit of a roofline starts, and stays for what the networks do not tell; the bounds are factors around it.
_START_NETWORK_US, _START = 5.0, Rate(overhead_us=1.0, macs_per_us=3e4, bytes_per_us=1e4)
_LARGEST_FACTOR = 1000.0
_PULL_TO_START = 0.02
_OUTLIER_LOG_ERROR = 0.1

# A small ridge: of two terms that always come together, both share the cost.
_RIDGE = 0.01
_OUTLIER_ERROR = 0.05
_REWEIGHTINGS = 12


def fit_costs(works: Sequence[Sequence[Work]], times_us: np.ndarray) -> tuple[float, dict[str, float]]:
    """The network overhead in us and the cost of each term in ns that explain ``times_us``, shape (networks,).

    Least squares of the relative errors over costs that are not negative, reweighted so that outliers count by their
    size and not its square (Huber).
    """
    from scipy.optimize import nnls

    totals = [total_terms(network) for network in works]
    names = sorted({name for total in totals for name in total})
    counts = np.array([[1e3, *(total.get(name, 0.0) for name in names)] for total in totals]) / 1e3
    relative = counts / times_us[:, None]
    scale = 1 / np.maximum(np.sqrt((relative**2).mean(0)), 1e-300)
    weights = np.ones(len(times_us))
    ridge = _RIDGE * np.eye(len(scale))
    costs = np.zeros(len(scale))
    for _ in range(_REWEIGHTINGS):
        rows = relative * scale * weights[:, None]
        costs = nnls(np.vstack([rows, ridge]), np.r_[weights, np.zeros(len(scale))], maxiter=100 * len(scale))[0]
        errors = np.abs(relative @ (costs * scale) - 1)
        weights = np.sqrt(1 / np.maximum(1, errors / _OUTLIER_ERROR))
    overhead_us, *found = (costs * scale).tolist()
    return overhead_us, dict(zip(names, found, strict=True))


def fit_rates(works: Sequence[Sequence[Work]], times_us: np.ndarray) -> tuple[float, dict[str, Rate]]:
    """The network overhead and the rates of a roofline for each kind that explain ``times_us`` best, in relative terms.

    Bounded least squares on logarithms, robust to outliers, from a fixed start: deterministic.
    """
    from scipy.optimize import least_squares

    kinds = sorted({work.kind for network in works for work in network} | {"elementwise"})
    place = {kind: number for number, kind in enumerate(kinds)}
    owner = np.array([number for number, network in enumerate(works) for _ in network])
    kind = np.array([place[work.kind] for network in works for work in network])
    calls, macs, nbytes = np.array([[w.calls, w.macs, w.nbytes] for network in works for w in network], float).T
    target = np.log(times_us)
    start_rates = [_START.overhead_us, _START.macs_per_us, _START.bytes_per_us]
    start = np.log(np.r_[_START_NETWORK_US, np.repeat(start_rates, len(kinds))])
    reach = np.log(_LARGEST_FACTOR)

    def residuals(logs: np.ndarray) -> np.ndarray:
        overhead, peak, bandwidth = np.exp(logs[1:]).reshape(3, -1)
        parts = calls * overhead[kind] + np.maximum(macs / peak[kind], nbytes / bandwidth[kind])
        totals = np.exp(logs[0]) + np.bincount(owner, parts, minlength=len(works))
        return np.r_[np.log(totals) - target, _PULL_TO_START * (logs - start)]

    found = least_squares(
        residuals, start, bounds=(start - reach, start + reach), loss="soft_l1", f_scale=_OUTLIER_LOG_ERROR
    )
    overheads, peaks, bandwidths = np.exp(found.x[1:]).reshape(3, -1).tolist()
    rates = {name: Rate(overheads[i], peaks[i], bandwidths[i]) for name, i in place.items()}
    return float(np.exp(found.x[0])), rates
