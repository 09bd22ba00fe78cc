"""Who decides and what is kept: study, ledger, devices, front, tracking, export, command line."""

import os

# Ray and MLflow read these once, when they are imported, so they are set before any module here can import them. What
# the user has set stays.
for _name, _value in {
    # Nothing here reports usage to anybody.
    "RAY_USAGE_STATS_ENABLED": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    # A tracking server that is down is given up at once: the view looks at what is there and writes again later. A
    # request that is repeated unseen could make a run twice.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    # Ray Tune's own loggers, output and snapshots of an experiment play no part: the ledger does.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "RAY_AIR_NEW_OUTPUT": "0",
    # How many trials wait is the study's affair, which gives out no more than there are places.
    "TUNE_MAX_PENDING_TRIALS_PG": "100000",
    # A trial that was given no GPU sees none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}.items():
    os.environ.setdefault(_name, _value)
