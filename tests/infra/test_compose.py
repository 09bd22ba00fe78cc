"""The compose file against the compose specification, and what it promises."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.infra.manifests import compose
from tests.infra.servers import INFRA, SCRIPTS

SERVICES = compose()["services"]


def validate(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a file with the schema of the specification, which the package brings along."""
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(path)],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_the_file_follows_the_specification():
    done = validate(INFRA / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_a_misspelt_key_is_found(tmp_path):
    text = json.loads(json.dumps(compose()))
    text["services"]["mlflow"]["depend_on"] = ["postgres"]
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(text))
    done = validate(tmp_path / "compose.yaml")
    assert done.returncode == 1 and "depend_on" in done.stdout


def test_ports_are_published_on_this_machine_only():
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert sorted(ports) == ["127.0.0.1:5000:5000", "127.0.0.1:8265:8265"]
    assert all("network_mode" not in service for service in SERVICES.values())


def test_every_secret_is_a_file_that_make_secrets_makes(secrets):
    made = {path.name for path in secrets.iterdir()}
    named = compose()["secrets"]
    assert set(named) == made
    assert all(entry == {"file": f"secrets/{name}"} for name, entry in named.items())


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_names_only_secrets_that_it_has(name):
    service = SERVICES[name]
    has = set(service.get("secrets", []))
    text = json.dumps([service.get("environment", {}), service.get("command", [])]).replace('"', " ").replace("=", " ")
    used = {word.removeprefix("/run/secrets/").rstrip(",") for word in text.split() if word.startswith("/run/secrets/")}
    assert used == has


def test_no_service_but_prepare_and_the_server_itself_has_the_superuser_s_password():
    holders = {name for name, service in SERVICES.items() if "postgres_password" in service.get("secrets", [])}
    assert holders == {"postgres", "prepare"}


@pytest.mark.parametrize(
    "name", [name for name, service in SERVICES.items() if service["image"].startswith("repareto:")]
)
def test_the_command_of_a_service_is_a_script_that_exists(name):
    command = SERVICES[name]["command"]
    words = command[2].replace("&&", " ").split() if command[:2] == ["sh", "-c"] else command
    assert any((SCRIPTS / word).is_file() for word in words)
    # Nobody else's image of this name gets our secrets.
    assert SERVICES[name]["pull_policy"] == "never"


def test_the_files_that_a_service_mounts_exist():
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    local = [path for path in mounted if path.startswith(".")]
    assert local == ["./scripts/start-store"]
    assert all((INFRA / path).is_file() for path in local)
    assert {path for path in mounted if not path.startswith(".")} == set(compose()["volumes"])


def test_what_is_waited_for_can_say_that_it_is_ready():
    for service in SERVICES.values():
        for name, waited in service.get("depends_on", {}).items():
            if waited["condition"] == "service_healthy":
                assert "healthcheck" in SERVICES[name]
            else:
                assert waited["condition"] == "service_completed_successfully" and name == "prepare"


def test_jobs_inherit_the_whole_of_what_a_search_needs():
    for name in ("ray-head", "ray-worker"):
        environment = SERVICES[name]["environment"]
        assert environment["REPARETO_LEDGER"].startswith("postgresql://repareto@postgres")
        assert environment["REPARETO_STORE"].startswith("s3://")
        needed = {"PGPASSWORD", "MLFLOW_TRACKING_PASSWORD"}
        # Ray Tune would write keys from the environment into Ray's logs.
        assert environment["AWS_SHARED_CREDENTIALS_FILE"] == "/run/secrets/s3_credentials"
        assert not {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} & {key.removesuffix("_FILE") for key in environment}
        assert {f"{variable}_FILE" for variable in needed} <= set(environment)
        # What start-head and start-worker read is what they are given.
        assert all(variable in (SCRIPTS / "secrets.sh").read_text() for variable in needed)
