"""Linters for what has no types: shell scripts and the Dockerfile; and what the image is made of."""

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.infra.servers import INFRA, SCRIPTS, clean_environment, run_script, script

ROOT = INFRA.parent
TOOLS = Path(sys.executable).parent
PROGRAMS = [path for path in (*SCRIPTS.iterdir(), *(INFRA / "ray-up").iterdir()) if path.read_text().startswith("#!")]
SHELL = [path for path in PROGRAMS if "python" not in path.read_text().splitlines()[0]]
INSTRUCTIONS = (INFRA / "Dockerfile").read_text().replace("\\\n", " ").splitlines()


@pytest.mark.parametrize("path", [*SHELL, SCRIPTS / "secrets.sh"], ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path):
    checked = subprocess.run(
        [TOOLS / "shellcheck", "--external-sources", path.relative_to(ROOT)], cwd=ROOT, capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.name)
def test_a_program_says_what_it_is_for_and_can_be_started(path):
    assert os.access(path, os.X_OK)
    second = path.read_text().splitlines()[1]
    assert second.startswith(("# ", '"""')) and len(second) > 30


def test_hadolint_finds_nothing():
    checked = subprocess.run([TOOLS / "hadolint", INFRA / "Dockerfile"], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout


def test_the_image_gets_every_package_and_no_secret():
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    top = {name.split(".")[1] for name in packages if "." in name}
    copied = {word for line in INSTRUCTIONS if line.startswith("COPY ") for word in shlex.split(line)[1:-1]}
    assert top <= copied
    for source in copied - {"/opt/venv", "--from=build"}:
        assert (ROOT / source).exists(), source
    ignored = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignored
    let_in = {line[1:] for line in ignored if line.startswith("!")}
    assert {source for source in copied if source not in {"/opt/venv", "--from=build"}} <= {
        *let_in,
        *(f"infra/scripts/{path.name}" for path in SCRIPTS.iterdir()),
    }
    assert not any("secrets" in name for name in let_in)


def test_the_image_runs_as_nobody_special():
    users = [line for line in INSTRUCTIONS if line.startswith("USER ")]
    assert users[-1] == "USER 1000"


def test_the_image_asks_for_extras_that_exist():
    (line,) = (line for line in INSTRUCTIONS if "list-requirements pyproject.toml" in line)
    words = shlex.split(line.split("list-requirements")[1].split(">")[0])
    listed = run_script("list-requirements", ROOT / words[0], *words[1:])
    assert listed.returncode == 0, listed.stderr
    names = {Requirement(text).name for text in listed.stdout.splitlines()}
    assert {"torch", "ray", "mlflow", "psycopg", "espeakng-loader"} <= names and "pytest" not in names
    setup = (INFRA / "ray-up" / "aws.yaml").read_text()
    assert f"pyproject.toml {' '.join(words[1:])}" in setup


def test_an_extra_that_does_not_exist_is_named():
    listed = run_script("list-requirements", ROOT / "pyproject.toml", "clusterr")
    assert listed.returncode == 1 and "no extra 'clusterr' (known: " in listed.stderr


def test_what_the_servers_need_is_pinned():
    pins = {line.split("==")[0].lower() for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    assert {"torch", "ray", "mlflow", "psycopg", "psycopg-binary", "boto3", "flask-wtf"} <= pins


def test_a_command_gets_the_secrets_of_its_node(secrets):
    values = {"RAY_AUTH_TOKEN_PATH": secrets / "ray_token", "PGPASSWORD_FILE": secrets / "ledger_password"}
    shown = subprocess.run(
        [*script("with-secrets"), "sh", "-c", "echo $PGPASSWORD $RAY_AUTH_MODE"],
        env=clean_environment(values), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert shown.stdout.split() == [(secrets / "ledger_password").read_text(), "token"], shown.stderr
