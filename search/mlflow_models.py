"""Fused models in MLflow: logged under their trial's run, registered when exported."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .devices.shipped import INPUT_NAME, OUTPUT_NAME

if TYPE_CHECKING:
    import numpy as np
    from mlflow import MlflowClient

CHAMPION = "champion"
MODEL_NAME, EXPORT_NAME = "fused", "export"


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what MLflow says of every model: pins it would add, the local path of an artifact."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = logging.getLogger("mlflow")
        level = logger.level
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)


def log_model(
    uri: str,
    run_id: str,
    onnx_path: Path,
    input_shape: tuple[int, ...],
    metadata_: Mapping[str, Any],
    name: str = MODEL_NAME,
    example: np.ndarray | None = None,
) -> str:
    """Log an ONNX file as an MLflow model of a run and return the model's URI; a run that has one so named keeps it.

    ``mlflow.pyfunc.load_model`` reads it back and predicts on float32 arrays (batch, *input_shape), of which an
    ``example`` is kept.
    """
    import mlflow
    import numpy as np
    import onnx
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModelStatus
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    onnx_model = onnx.load(onnx_path)
    _, *output_shape = (axis.dim_value for axis in onnx_model.graph.output[0].type.tensor_type.shape.dim)
    signature = ModelSignature(
        inputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *input_shape), INPUT_NAME)]),
        outputs=Schema([TensorSpec(np.dtype(np.float32), (-1, *output_shape), OUTPUT_NAME)]),
    )
    mlflow.set_tracking_uri(uri)
    client = MlflowClient(tracking_uri=uri)
    # Made here, for Model.log would put it into the process's active experiment, not into the run's.
    experiment_id = client.get_run(run_id).info.experiment_id
    known = _logged_already(client, experiment_id, run_id, name)
    if known is not None:
        return known
    model = client.create_logged_model(experiment_id, name=name, source_run_id=run_id)
    with _quiet():
        logged = Model.log(
            artifact_path=None,
            name=name,
            flavor=mlflow.onnx,
            run_id=run_id,
            model_id=model.model_id,
            onnx_model=onnx_model,
            onnx_execution_providers=["CPUExecutionProvider"],
            signature=signature,
            input_example=None if example is None else {INPUT_NAME: example},
            # Named, for MLflow would otherwise load the model in a process of its own to find them out.
            pip_requirements=[f"{name}=={metadata.version(name)}" for name in ("numpy", "onnx", "onnxruntime")],
            save_as_external_data=False,
            metadata=dict(metadata_),
        )
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    return logged.model_uri


def _logged_already(client: MlflowClient, experiment_id: str, run_id: str, name: str) -> str | None:
    """Return the URI of a run's model of that name; one that a process left half logged is deleted."""
    from mlflow.entities import LoggedModelStatus

    known = None
    for model in client.search_logged_models([experiment_id], filter_string=f"source_run_id = '{run_id}'"):
        if model.name != name:
            continue
        if known is None and model.status == LoggedModelStatus.READY:
            known = model.model_uri
        else:
            client.delete_logged_model(model.model_id)
    return known


def register_champion(uri: str, model_uri: str, name: str, description: str, tags: Mapping[str, str]) -> int:
    """Make a new version of the registered model ``name`` with the alias ``champion`` and return its number."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    # The client and not mlflow.register_model, which prints.
    client = MlflowClient(tracking_uri=uri)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise
    model_id = model_uri.removeprefix("models:/")
    model = client.get_logged_model(model_id)
    version = client.create_model_version(
        name,
        model.artifact_location,
        run_id=model.source_run_id,
        tags=dict(tags),
        description=description,
        model_id=model_id,
    )
    client.set_registered_model_alias(name, CHAMPION, version.version)
    return int(version.version)
