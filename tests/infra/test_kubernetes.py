"""The manifests against Kubernetes' own schemas, KubeRay's fields, and the reader of Ray's autoscaler."""

import copy
import json
import shutil
import subprocess

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft202012Validator
from ray.autoscaler._private.kuberay.autoscaling_config import _derive_autoscaling_config_from_ray_cr

from tests.infra.manifests import KUBERNETES, containers, documents, pod_templates, ray_cluster
from tests.infra.servers import SCRIPTS

VERSION = "1.34"
RAY_KINDS = Draft202012Validator(
    yaml.safe_load((KUBERNETES.parents[1] / "tests" / "infra" / "schemas" / "ray.io-v1.yaml").read_text())
)


def check(document: dict) -> None:
    """Check a resource; raises where a field is unknown or of the wrong type."""
    if document["apiVersion"] == "ray.io/v1":
        RAY_KINDS.validate(document)
        for template in pod_templates(document):
            pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}, "template": template}
            kubernetes_validate.validate(pod, VERSION, strict=True)
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


def ray_job() -> dict:
    """Return the RayJob with the cluster in it, as its kustomization puts it there."""
    (job,) = (document for document in documents("job") if document["kind"] == "RayJob")
    job = copy.deepcopy(job)
    job["spec"]["rayClusterSpec"] = copy.deepcopy(ray_cluster()["spec"])
    return job


@pytest.mark.parametrize(
    "document",
    [*documents("services"), *documents("cluster"), ray_job()],
    ids=lambda document: f"{document['kind']}-{document['metadata']['name']}",
)
def test_a_manifest_follows_its_schema(document):
    check(document)


@pytest.mark.parametrize("place", ["spec", "spec.headGroupSpec", "spec.headGroupSpec.template.spec.containers.0"])
def test_a_misspelt_field_is_found(place):
    cluster = copy.deepcopy(ray_cluster())
    target = cluster
    for key in place.split("."):
        target = target[int(key) if key.isdigit() else key]
    target["imagee"] = "anything"
    with pytest.raises(Exception, match="imagee"):
        check(cluster)


def test_ray_s_autoscaler_reads_the_groups():
    cluster = copy.deepcopy(ray_cluster())
    cluster["metadata"]["namespace"] = "repareto"
    config = _derive_autoscaling_config_from_ray_cr(cluster)
    groups = config["available_node_types"]
    assert {name: (kind["min_workers"], kind["max_workers"]) for name, kind in groups.items()} == {
        "headgroup": (0, 0),
        "cpu": (1, 10),
        "gpu": (0, 4),
    }
    assert groups["headgroup"]["resources"]["CPU"] == 0
    assert groups["cpu"]["resources"]["CPU"] == 2 and "GPU" not in groups["cpu"]["resources"]
    assert groups["gpu"]["resources"]["GPU"] == 1
    assert config["max_workers"] == 14


def test_the_operator_s_own_rules_hold():
    spec = ray_cluster()["spec"]
    assert spec["authOptions"] == {"mode": "token"}
    assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 52, 0)
    # The second autoscaler refuses any other restart policy than Never, which is the operator's default.
    assert spec["autoscalerOptions"]["version"] == "v2"
    for template in pod_templates(spec):
        assert "restartPolicy" not in template["spec"]


def test_the_version_of_ray_is_the_pinned_one():
    pins = (KUBERNETES.parents[1] / "constraints.txt").read_text().splitlines()
    assert f"ray=={ray_cluster()['spec']['rayVersion']}" in pins


def test_every_secret_and_setting_that_a_container_names_is_made(secrets):
    made = {path.name for path in secrets.iterdir()}
    settings = next(d for d in documents("services") if d["kind"] == "ConfigMap")
    named = 0
    for container in containers():
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            if "secretKeyRef" in source:
                assert source["secretKeyRef"]["name"] == "repareto" and source["secretKeyRef"]["key"] in made
                named += 1
            if "configMapKeyRef" in source:
                assert source["configMapKeyRef"]["name"] == settings["metadata"]["name"]
                assert source["configMapKeyRef"]["key"] in settings["data"]
                named += 1
    for document in (*documents("services"), *documents("cluster")):
        for template in pod_templates(document):
            files = {}
            for volume in template["spec"].get("volumes", []):
                if "secret" in volume:
                    files = {item["path"]: item["key"] for item in volume["secret"]["items"]}
                    assert set(files.values()) <= made
            for container in template["spec"]["containers"]:
                text = json.dumps(container)
                for path in (
                    word for word in text.replace('"', " ").replace("=", " ").split() if "/run/secrets/" in word
                ):
                    if path != "/run/secrets/repareto":
                        assert path.removeprefix("/run/secrets/repareto/") in files, path
                        named += 1
    assert named > 20


def test_nothing_is_reachable_from_outside_the_cluster():
    for document in (*documents("services"), *documents("cluster")):
        assert document["kind"] not in {"Ingress", "Gateway", "HTTPRoute"}
        if document["kind"] == "Service":
            assert document["spec"].get("type", "ClusterIP") == "ClusterIP"
        for template in pod_templates(document):
            assert not template["spec"].get("hostNetwork")
            assert all("hostPort" not in port for c in template["spec"]["containers"] for port in c.get("ports", []))
    assert ray_cluster()["spec"]["headGroupSpec"]["serviceType"] == "ClusterIP"


def test_no_container_runs_as_root_or_gains_rights():
    for document in (*documents("services"), *documents("cluster")):
        for template in pod_templates(document):
            assert template["spec"]["securityContext"]["runAsNonRoot"] is True
            for container in template["spec"]["containers"]:
                assert container["securityContext"]["allowPrivilegeEscalation"] is False
                assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_each_script_that_a_manifest_calls_exists():
    ours = [container for container in containers() if container["image"].startswith("repareto:")]
    commands = [container["command"] for container in ours if "command" in container]
    assert ["start-mlflow"] in commands
    for command in commands:
        words = command[2].replace("&&", " ").split() if command[:2] == ["sh", "-c"] else command
        assert any((SCRIPTS / word).is_file() for word in words), command


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on this machine")
@pytest.mark.parametrize("folder", [".", "services", "cluster", "job"])
def test_kustomize_renders(folder):
    rendered = subprocess.run(
        ["kubectl", "kustomize", KUBERNETES / folder], capture_output=True, text=True, check=True
    ).stdout
    found = list(yaml.safe_load_all(rendered))
    for document in found:
        assert document["metadata"].get("namespace") == "repareto"
        check(document)
    kinds = [document["kind"] for document in found]
    if folder == "job":
        assert sorted(kinds) == ["ConfigMap", "RayJob"]
        job = next(document for document in found if document["kind"] == "RayJob")
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
        assert head["volumes"][-1] == {"name": "study", "configMap": {"name": "repareto-study"}}
        mounts = head["containers"][0]["volumeMounts"]
        assert [mount["mountPath"] for mount in mounts] == ["/run/secrets/repareto", "/etc/repareto"]
