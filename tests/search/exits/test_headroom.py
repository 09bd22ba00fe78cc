"""The figures of users in a search: who may ask for them, and where they stand."""

import pytest

from repareto.search.devices.targets import device
from repareto.search.exits.headroom import refuse_without_users
from repareto.spaces.errors import UserError
from repareto.trainers.data.digits import Digits
from repareto.trainers.data.users.options import Users


def test_who_asks_for_users_needs_some_and_heads_that_learn() -> None:
    plain = Digits().load(seed=0)
    target = device("host-onnxruntime")
    refuse_without_users(["error", "latency"], plain, target)
    with pytest.raises(UserError, match="personal_error: the data has no users"):
        refuse_without_users(["error", "personal_error"], plain, target)
    with_users = Digits(users=Users(count=1, labelled=10, unlabelled=0, tested=10)).load(seed=0)
    refuse_without_users(["error", "personal_error"], with_users, target)
    with pytest.raises(UserError, match="int8 heads do not learn"):
        refuse_without_users(["personal_error"], with_users, device("host-onnxruntime-int8"))
