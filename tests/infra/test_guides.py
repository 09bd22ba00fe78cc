"""The guides against what they speak of, and promises that hold for every file of infra/."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer.main

from repareto.search.cli import app
from tests.infra.manifests import KUBERNETES, compose, containers, documents, ray_cluster
from tests.infra.servers import INFRA, SCRIPTS

ROOT = INFRA.parent
GUIDES = sorted((ROOT / "docs").glob("cluster*.md"))
FILES = [
    path
    for path in INFRA.rglob("*")
    if path.is_file() and "secrets" not in path.relative_to(INFRA).parts[:-1] and "__pycache__" not in path.parts
]
VARIABLE = re.compile(r"\b(?:RAY|REPARETO|MLFLOW|AWS|PG|LEDGER|POSTGRES|TORCH|S3|STORE)_?[A-Z][A-Z_]+\b")
# Made by a user, as the guide says.
OF_THE_USER = {"infra/compose.override.yaml"}
# Instance metadata and the like of the cloud, a registry of the user's, and addresses of this machine.
HOSTS = re.compile(r"\b(?:ghcr|quay|docker|pypi|pythonhosted|npmjs|pytorch|gcr)\.(?:io|org|com)\b")


def blocks(guide: Path, *languages: str) -> list[str]:
    """Return the code blocks of a guide in these languages."""
    return [text for kind, text in re.findall(r"```(\w+)\n(.*?)```", guide.read_text(), re.S) if kind in languages]


def commands(guide: Path) -> list[list[str]]:
    """Return the commands of a guide's shell blocks as words."""
    lines = "\n".join(blocks(guide, "sh")).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.strip()]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_commands_of_a_guide_are_shell(guide):
    for block in blocks(guide, "sh"):
        checked = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_files_that_a_guide_names_exist(guide, secrets):
    made = {f"infra/secrets/{path.name}" for path in secrets.iterdir()} | {"infra/secrets"}
    named = set(re.findall(r"\b(?:infra|examples|docs|tests)/[\w./-]*[\w-]", guide.read_text()))
    for name in named - OF_THE_USER - made:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_links_of_a_guide_lead_somewhere(guide):
    for target in re.findall(r"\]\(([^)]+)\)", guide.read_text()):
        file, _, anchor = target.partition("#")
        page = guide.parent / file
        assert page.exists(), target
        headings = [
            re.sub(r"[^\w -]", "", line.lstrip("# ").lower())
            for line in page.read_text().splitlines()
            if line[:1] == "#"
        ]
        assert not anchor or anchor in {heading.replace(" ", "-") for heading in headings}, target


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_the_commands_of_repareto_in_a_guide_exist(guide):
    known = typer.main.get_command(app).commands
    for words in commands(guide):
        words = words[words.index("with-secrets") + 1 :] if "with-secrets" in words else words
        if words[0] != "repareto":
            continue
        command, *rest = words[1:]
        options = {name for parameter in known[command].params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= options, words


def test_each_guide_ends_at_the_front_in_the_browser():
    for guide in GUIDES:
        if guide.name != "cluster.md":
            text = guide.read_text()
            assert "repareto launch" in text and "http://127.0.0.1:5000" in text and "front.html" in text
            for heading in ("Upgrade", "When a part dies", "Clean up", "Search", "Look", "Start"):
                assert f"\n## {heading}\n" in text


def test_the_services_that_the_compose_guide_names_exist():
    guide = ROOT / "docs" / "cluster-compose.md"
    named = set()
    for words in commands(guide):
        for verb in ("exec", "run"):
            if verb in words and "docker" in words:
                named.add(next(word for word in words[words.index(verb) + 1 :] if not word.startswith("-")))
    assert named == {"ray-head", "postgres", "mlflow"} and named <= set(compose()["services"])


def test_the_resources_that_the_kubernetes_guide_names_exist():
    text = (ROOT / "docs" / "cluster-kubernetes.md").read_text()
    services = {d["metadata"]["name"]: d["spec"]["ports"] for d in documents("services") if d["kind"] == "Service"}
    head = f"{ray_cluster()['metadata']['name']}-head-svc"
    services[head] = [
        {"port": port["containerPort"]}
        for port in ray_cluster()["spec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    ]
    forwards = re.findall(r"port-forward service/(\S+) \d+:(\d+)", text)
    assert len(forwards) == 2
    for name, port in forwards:
        assert int(port) in {entry["port"] for entry in services[name]}
    assert f"get secret {ray_cluster()['metadata']['name']} " in text
    for folder in re.findall(r"-k infra/kubernetes/?(\w*)", text):
        assert (KUBERNETES / folder / "kustomization.yaml").exists()


def test_every_variable_is_documented():
    page = (ROOT / "docs" / "cluster.md").read_text()
    documented = {name.removesuffix("_FILE") for name in VARIABLE.findall(page)}
    used = {
        name.removesuffix("_FILE")
        for path in FILES
        if path.name not in {"README.md", "prepare-aws"}
        for name in VARIABLE.findall(path.read_text())
    }
    used |= {variable["name"] for container in containers() for variable in container.get("env", [])}
    assert len(used) > 30
    assert {name.removesuffix("_FILE") for name in used} - documented == set()


def test_each_documented_variable_is_used_somewhere():
    table = (ROOT / "docs" / "cluster.md").read_text().split("## Settings")[1].split("## Secrets")[0]
    text = "\n".join(path.read_text() for path in FILES)
    assert {name for name in VARIABLE.findall(table) if name not in text} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INFRA)))
def test_no_file_holds_a_secret(path):
    text = path.read_text()
    assert re.findall(r"\w+://[^/\s:@]+:[^@\s/$]+@", text) == []
    assert re.findall(r"\b(?:[0-9a-f]{32,}|AKIA[0-9A-Z]{16})\b", text) == []


def test_no_container_is_given_a_secret_as_text():
    secret = re.compile(r"PASSWORD|SECRET|ACCESS_KEY|TOKEN|CREDENTIALS")
    given = [
        (variable["name"], variable["value"])
        for container in containers()
        for variable in container.get("env", [])
        if "value" in variable
    ]
    given += [item for service in compose()["services"].values() for item in service.get("environment", {}).items()]
    settings = next(document for document in documents("services") if document["kind"] == "ConfigMap")
    given += settings["data"].items()
    found = [(name, value) for name, value in given if secret.search(name)]
    assert len(found) > 10
    assert all(name.endswith(("_FILE", "_PATH")) and value.startswith("/run/secrets/") for name, value in found)


def test_each_image_is_pinned():
    images = [service["image"] for service in compose()["services"].values()]
    images += [container["image"] for container in containers()]
    images += re.findall(r"^FROM (\S+)", (INFRA / "Dockerfile").read_text(), re.M)
    assert len(images) > 12
    for image in images:
        assert re.fullmatch(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*", image), image
    # The same in both.
    assert {image for image in images if "seaweed" in image or "postgres" in image} == {
        "chrislusf/seaweedfs:4.29",
        "postgres:18.1-bookworm",
    }


@pytest.mark.parametrize("path", [*FILES, *GUIDES], ids=lambda path: path.name)
def test_no_file_names_a_registry(path):
    assert HOSTS.findall(path.read_text()) == []


def test_each_script_is_used():
    text = "\n".join(path.read_text() for path in (*FILES, *GUIDES))
    for path in SCRIPTS.iterdir():
        assert len(re.findall(rf"\b{re.escape(path.name)}\b", text)) > 1, path.name
