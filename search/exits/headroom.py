"""Personalisation headroom as figures of a trial: what users get of a few labels, and the memory that it takes."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from torch import nn

from ...spaces.errors import UserError
from ...trainers.data.dataset import Dataset
from ...trainers.exits.headroom import headroom_of

if TYPE_CHECKING:
    from ..devices.base import Device

PERSONAL = "personal_error"


def personal_figures(fused: nn.Module, dataset: Dataset, device: str) -> dict[str, float]:
    """Return the figures of a fused network in eval mode, of data with users."""
    found = headroom_of(fused, dataset, device=device)
    return {
        "users_error": found.error_before,
        PERSONAL: found.error,
        "personal_memory_bytes": found.memory_bytes,
    }


def refuse_without_users(names: Collection[str], dataset: Dataset, target: Device) -> None:
    """Raise :class:`UserError` where objectives or budgets want the figures of users and there are none."""
    if PERSONAL not in names:
        return
    if not dataset.users:
        raise UserError(f"{PERSONAL}: the data has no users (add data.users, such as `users: {{count: 12}}`)")
    if target.quantises:
        raise UserError(f"{PERSONAL}: int8 heads do not learn, and {target.name} runs no others (name another device)")
