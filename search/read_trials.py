"""All trials of a study in six plain selects.

Optuna's own reading makes an object of each row, 26 a trial, and parses each parameter's distribution, of which a study
has a few dozen different ones: ten times the time, and half a gigabyte more for 10,000 trials. This knows Optuna's
tables; a test holds it equal to Optuna's reading.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, datetime
from functools import cache
from typing import Any

import sqlalchemy
from optuna.distributions import json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial


def read_trials(engine: sqlalchemy.Engine, study_id: int) -> list[FrozenTrial]:
    """Return the trials of a study, in order of their numbers."""
    trial = models.TrialModel
    parsed = cache(json_to_distribution)
    with engine.begin() as connection:

        def rows(model: Any, *columns: Any) -> Any:
            chosen = sqlalchemy.select(model.trial_id, *columns).join(trial, trial.trial_id == model.trial_id)
            # By the table's own key, in which order its rows were written.
            return connection.execute(chosen.where(trial.study_id == study_id).order_by(*model.__table__.primary_key))

        # First, for a trial's state is written last: what belongs to it is there when that is read.
        trials = connection.execute(
            sqlalchemy.select(
                trial.trial_id, trial.number, trial.state, trial._datetime_start_utc, trial._datetime_complete_utc
            )
            .where(trial.study_id == study_id)
            .order_by(trial.number)
        ).all()
        values: dict[int, dict[int, float]] = defaultdict(dict)
        for trial_id, objective, value, kind in rows(
            models.TrialValueModel,
            models.TrialValueModel.objective, models.TrialValueModel.value, models.TrialValueModel.value_type,
        ):  # fmt: skip
            values[trial_id][objective] = models.TrialValueModel.stored_repr_to_value(value, kind)
        params: dict[int, dict[str, Any]] = defaultdict(dict)
        distributions: dict[int, dict[str, Any]] = defaultdict(dict)
        p = models.TrialParamModel
        for trial_id, name, value, text in rows(p, p.param_name, p.param_value, p.distribution_json):
            distributions[trial_id][name] = parsed(text)
            params[trial_id][name] = parsed(text).to_external_repr(value)
        attributes: list[dict[int, dict[str, Any]]] = []
        for model in (models.TrialUserAttributeModel, models.TrialSystemAttributeModel):
            found: dict[int, dict[str, Any]] = defaultdict(dict)
            for trial_id, key, text in rows(model, model.key, model.value_json):
                found[trial_id][key] = json.loads(text)
            attributes.append(found)
        user, system = attributes
        return [
            FrozenTrial(
                number=number,
                state=state,
                value=None,
                values=[values[trial_id][i] for i in sorted(values[trial_id])] or None,
                datetime_start=_local(began),
                datetime_complete=_local(ended),
                params=params[trial_id],
                distributions=distributions[trial_id],
                user_attrs=user[trial_id],
                system_attrs=system[trial_id],
                intermediate_values={},
                trial_id=trial_id,
            )
            for trial_id, number, state, began, ended in trials
        ]


def _local(moment: datetime | None) -> datetime | None:
    """Optuna keeps UTC and tells local time, both without saying so."""
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
