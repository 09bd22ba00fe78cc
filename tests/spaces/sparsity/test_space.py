"""Sparsity as dimensions of a space."""

import random
from typing import Any

import pytest

from repareto.spaces.errors import UserError
from repareto.spaces.front_end import WithFrontEnd
from repareto.spaces.space import load_space
from repareto.spaces.sparsity.space import METHODS, Sparsity, WithSparsity

FULL = {"method": ["none", "magnitude", "csp", "l0"], "level": [0.5, 0.9], "granularity": ["weight", "channel"]}


def space(**sparsity: Any) -> Any:
    return load_space({"name": "ds_cnn", "sparsity": sparsity})


def test_parameters_exist_only_where_they_mean_something() -> None:
    seen = set()
    for seed in range(60):
        candidate = space(**FULL).draw(random.Random(seed))
        values = candidate.sparsity()
        seen.add(frozenset(values))
        assert ("level" in values) == (values["method"] != "none")
        assert ("granularity" in values) == (values["method"] == "magnitude")
        assert space(**FULL).candidate(dict(candidate)) == candidate
    assert len(seen) == 3


def test_what_a_candidate_asks_for() -> None:
    assert Sparsity.of({"method": "none"}) is None
    assert Sparsity.of({}) is None
    assert Sparsity.of({"method": "l0", "level": 0.5}) == Sparsity("l0", "channel", (0.5,))
    levels = {"level1": 0.1, "level3": 0.3, "level2": 0.2}
    sparsity = Sparsity.of({"method": "magnitude", "granularity": "weight", **levels})
    assert sparsity == Sparsity("magnitude", "weight", (0.1, 0.2, 0.3))


def test_a_level_for_each_part() -> None:
    candidate = space(method="csp", granularity="weight", per_stage=True).draw(random.Random(0))
    assert set(candidate.sparsity()) == {"method", "level1", "level2", "level3"}


def test_a_method_that_shares_out_channels_itself_has_one_level() -> None:
    both = space(method=["magnitude", "l0"], granularity="channel", per_stage=True)
    seen = {frozenset(both.draw(random.Random(seed)).sparsity().items()) for seed in range(20)}
    levels = {dict(values)["method"]: {key for key, _ in values if key.startswith("level")} for values in seen}
    assert levels == {"magnitude": {"level1", "level2", "level3"}, "l0": {"level"}}


def test_heads_by_methods_that_do_weights_and_by_those_that_do_not() -> None:
    settings = {"method": ["magnitude", "csp", "l0"], "granularity": ["weight", "head"]}
    both = load_space({"name": "conformer_ctc", "sparsity": settings})
    seen = {
        (s.method, s.granularity) for s in (Sparsity.of(both.draw(random.Random(i)).sparsity()) for i in range(40)) if s
    }
    assert seen == {("magnitude", "weight"), ("magnitude", "head"), ("csp", "weight"), ("l0", "head")}
    with pytest.raises(UserError, match="conformer_ctc has no heads to take out"):
        load_space({"name": "conformer_ctc", "heads": 1, "sparsity": settings})


def test_blocks_of_the_whole_network_have_one_level() -> None:
    settings = {"method": ["magnitude", "l0"], "granularity": "block"}
    candidate = load_space({"name": "conformer_ctc", "sparsity": settings}).draw(random.Random(0))
    sparsity = Sparsity.of(candidate.sparsity())
    assert sparsity is not None and sparsity.granularity == "block" and len(sparsity.levels) == 1
    with pytest.raises(UserError, match="per_stage: blocks are of the whole network"):
        load_space({"name": "conformer_ctc", "sparsity": settings | {"per_stage": True}})


@pytest.mark.parametrize(
    ("settings", "can"),
    [
        ({}, True),
        ({"stages": 1, "blocks": [1, 2]}, True),
        ({"stages": [1, 2], "blocks": 1}, True),
        ({"stages": 1, "blocks": 1}, False),
        ({"stages": 3, "blocks": 2, "stride": 2}, False),
        ({"stages": 1, "blocks": [1, 3], "stride": 2}, True),
        ({"squeeze": True}, False),
        ({"exits": {"count": 1}}, False),
    ],
)
def test_which_repcnn_can_lose_a_block(settings: dict[str, Any], can: bool) -> None:
    """One goes only where another one like it stays."""
    sparse = {"name": "repcnn", **settings, "sparsity": {"method": "magnitude", "granularity": "block"}}
    if can:
        assert load_space(sparse).name == "repcnn"
    else:
        with pytest.raises(UserError, match="no repcnn here has several blocks alike, of which one could go"):
            load_space(sparse)


@pytest.mark.parametrize("name", ["repcnn", "bc_resnet", "mlperf_tiny"])
def test_any_space_can_be_sparse_and_has_a_front_end_too(name: str) -> None:
    both = load_space({"name": name, "sparsity": {"method": list(METHODS), "granularity": ["weight", "channel"]},
                       "front_end": {"bands": [40, 80]}})  # fmt: skip
    assert isinstance(both, WithSparsity) and isinstance(both.space, WithFrontEnd)
    assert both.name == name
    assert both.front_end_options() == {"bands": (40, 80)}
    names = [parameter.name for parameter in both.parameters()]
    assert len(names) == len(set(names))
    assert both.describe() != load_space({"name": name}).describe()


def test_a_method_alone_leaves_nothing_to_choose() -> None:
    assert set(space(method="none").draw(random.Random(0)).sparsity()) == {"method"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "space.sparsity []: must have keys (try method: [none, magnitude])"),
        ({"levels": 0.5}, "space.sparsity.levels: unknown key (did you mean level?)"),
        ({"method": "magnitud"}, "space.sparsity.method: 'magnitud' is not among"),
        ({"level": 1}, "space.sparsity.level: 1: 100% would leave nothing (at most 0.99)"),
        ({"level": [0.5, 1.0]}, "space.sparsity.level: [0.5, 1.0]: 100% would leave nothing (at most 0.99)"),
        ({"level": -0.1}, "space.sparsity.level: -0.1 is not within [0, 0.99]"),
        ({"level": "much"}, "space.sparsity.level: 'much' is neither a number nor [low, high]"),
        ({"granularity": "layer"}, "space.sparsity.granularity: 'layer' is not among"),
        ({"granularity": "block"}, "space.sparsity.granularity: no ds_cnn here has several blocks alike"),
        ({"granularity": "head"}, "space.sparsity.granularity: ds_cnn has no heads to take out (take head out)"),
        ({"per_stage": 3}, "space.sparsity.per_stage 3: must be true or false"),
        (
            {"method": "l0", "granularity": "weight"},
            "space.sparsity.granularity: l0 takes out channels (add channel, or take l0 out)",
        ),
    ],
)
def test_what_cannot_be_asked_for(settings: Any, message: str) -> None:
    with pytest.raises(UserError) as raised:
        load_space({"name": "ds_cnn", "sparsity": settings})
    assert str(raised.value).startswith(message)


def test_a_supernet_has_levels_of_its_own() -> None:
    settings = {"method": ["magnitude", "supernet"], "per_stage": True, "supernet": [0.1, 0.5, 0.85]}
    candidates = [space(**settings).draw(random.Random(seed)) for seed in range(20)]
    own = next(candidate for candidate in candidates if candidate.sparsity()["method"] == "supernet")
    assert set(own.sparsity()) == {"method", "supernet"}
    sparsity = Sparsity.of(own.sparsity())
    assert sparsity == Sparsity("supernet", "channel", (0.1,), (0.5, 0.85))
    assert [network.levels for network in sparsity.networks()] == [(0.1,), (0.5,), (0.85,)]
    assert {network.narrower for network in sparsity.networks()} == {()}
    other = Sparsity("magnitude", "channel", (0.1,))
    assert other.networks() == (other,)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"method": "supernet", "supernet": 0.5}, "must be a list of levels from 0 to 0.99"),
        ({"method": "supernet", "supernet": [0, 1]}, "must be a list of levels from 0 to 0.99"),
        ({"method": "supernet", "supernet": [0.5]}, "must be two levels or more, each above the one before"),
        ({"method": "supernet", "supernet": [0.5, 0.3]}, "must be two levels or more, each above the one before"),
        ({"method": "magnitude", "supernet": [0.3, 0.5]}, "is for a method that is not searched"),
        ({"method": "supernet", "granularity": "weight"}, "supernet takes out channels"),
    ],
)
def test_supernets_that_cannot_be(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        space(**settings)


def test_what_a_supernet_does_not_go_with() -> None:
    own = {"name": "ds_cnn", "sparsity": {"method": ["none", "supernet"]}}
    with pytest.raises(UserError, match=r"supernet does not go with space\.exits"):
        load_space(own | {"exits": {"count": 1}})
    with pytest.raises(UserError, match="networks of a supernet learn from labels alone"):
        load_space(own | {"distillation": {"from": "teacher", "teacher": {"width": 16}}})
