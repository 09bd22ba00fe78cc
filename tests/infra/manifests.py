"""The Kubernetes manifests and the compose file as data, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.infra.servers import INFRA

KUBERNETES = INFRA / "kubernetes"


def documents(folder: str) -> list[dict[str, Any]]:
    """Return the resources that the kustomization of ``folder`` names, as they stand in the files."""
    kustomization = yaml.safe_load((KUBERNETES / folder / "kustomization.yaml").read_text())
    return [
        document
        for name in kustomization["resources"]
        if name.endswith(".yaml")
        for document in yaml.safe_load_all((KUBERNETES / folder / name).read_text())
    ]


def ray_cluster() -> dict[str, Any]:
    (cluster,) = documents("cluster")
    return cluster


def pod_templates(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every pod template within a resource."""
    for value in document.values() if isinstance(document, dict) else document:
        if isinstance(value, dict) and "containers" in value.get("spec", {}):
            yield value
        elif isinstance(value, (dict, list)):
            yield from pod_templates(value)


def containers() -> Iterator[dict[str, Any]]:
    """Yield every container of the manifests."""
    for folder in ("services", "cluster"):
        for document in documents(folder):
            for template in pod_templates(document):
                yield from template["spec"]["containers"]


def compose() -> dict[str, Any]:
    return yaml.safe_load((INFRA / "compose.yaml").read_text())
