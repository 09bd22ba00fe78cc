"""A short search whose driver, worker, node, database and MLflow server are killed; `make chaos` is the long one."""

from tests.integration import chaos


def test_a_search_survives_whatever_dies(tmp_path):
    seed = 5
    kills = chaos.plan(seed, len(chaos.VICTIMS))
    with chaos.world(tmp_path) as world:
        undisturbed = chaos.run_search(world, "undisturbed", [], 0, trials=6, epochs=3)
        disturbed = chaos.run_search(world, "disturbed", kills, seed, trials=6, epochs=3)
    assert undisturbed.broken == []
    assert disturbed.broken == []
    assert chaos.differences(disturbed, undisturbed) == []
    assert {victim for _, victim in disturbed.kills} >= {"driver", "node", "postgres", "mlflow"}
