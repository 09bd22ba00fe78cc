"""create-databases against a real PostgreSQL, create-bucket against a store that speaks S3."""

import subprocess

import boto3
import psycopg
import pytest

from tests.infra.servers import Postgres, clean_environment, run_script, script


def log_in(postgres, role: str, password: str, database: str) -> psycopg.Connection:
    return psycopg.connect(host="127.0.0.1", port=postgres.port, user=role, password=password, dbname=database)


def test_three_first_starts_at_once_make_each_database_once(superuser, secrets, tmp_path):
    with Postgres(tmp_path, (secrets / "postgres_password").read_text()) as untouched:
        values = clean_environment({**superuser, "PGPORT": untouched.port})
        starts = [
            subprocess.Popen(script("create-databases"), env=values, stdout=-1, stderr=subprocess.STDOUT, text=True)
            for _ in range(3)
        ]
        outputs = "".join(start.communicate(timeout=120)[0] for start in starts)
    assert [start.returncode for start in starts] == [0, 0, 0], outputs
    assert sorted(outputs.splitlines()) == ["database mlflow made", "database repareto made"]


def test_databases_that_exist_are_kept(superuser):
    assert run_script("create-databases", **superuser).returncode == 0
    again = run_script("create-databases", **superuser)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_an_administrator_who_is_no_superuser_is_enough(superuser, secrets, tmp_path):
    """A cloud's database service gives no superuser."""
    with Postgres(tmp_path, (secrets / "postgres_password").read_text()) as untouched:
        with log_in(untouched, "postgres", (secrets / "postgres_password").read_text(), "postgres") as connection:
            connection.execute("CREATE ROLE administrator LOGIN CREATEROLE CREATEDB PASSWORD 'of-the-cloud'")
        values = {**superuser, "PGPORT": untouched.port, "PGUSER": "administrator", "PGPASSWORD": "of-the-cloud"}
        del values["PGPASSWORD_FILE"]
        for _ in range(2):
            made = run_script("create-databases", **values)
            assert made.returncode == 0, made.stderr
        log_in(untouched, "mlflow", (secrets / "mlflow_database_password").read_text(), "mlflow").close()


def test_a_role_enters_its_own_database_only_and_only_with_its_password(postgres, superuser, secrets):
    assert run_script("create-databases", **superuser).returncode == 0
    password = (secrets / "ledger_password").read_text()
    with log_in(postgres, "repareto", password, "repareto") as connection:
        connection.execute("CREATE TABLE anything (value int)")
        connection.rollback()
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        log_in(postgres, "repareto", password, "mlflow")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(postgres, "repareto", (secrets / "mlflow_database_password").read_text(), "repareto")


def test_another_password_is_taken_over_by_running_it_again(postgres, superuser, secrets):
    changed = {**superuser, "LEDGER_PASSWORD": "another-one"}
    del changed["LEDGER_PASSWORD_FILE"]
    assert run_script("create-databases", **changed).returncode == 0
    log_in(postgres, "repareto", "another-one", "repareto").close()
    assert run_script("create-databases", **superuser).returncode == 0
    log_in(postgres, "repareto", (secrets / "ledger_password").read_text(), "repareto").close()


def test_a_wrong_password_ends_at_once_with_one_line(superuser, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    made = run_script("create-databases", **{**superuser, "PGPASSWORD_FILE": wrong})
    assert made.returncode == 1
    assert "authentication failed" in made.stderr and "Traceback" not in made.stderr


def test_a_missing_password_is_named(superuser):
    made = run_script("create-databases", **{**superuser, "LEDGER_PASSWORD_FILE": "/nowhere"})
    assert made.returncode == 1
    assert (
        made.stderr == 'create-databases: LEDGER_PASSWORD_FILE "/nowhere": cannot be read (No such file or directory)\n'
    )


def test_a_bucket_is_made_once(store):
    assert run_script("create-bucket", "new-bucket", **store).stdout == "bucket new-bucket made\n"
    again = run_script("create-bucket", "new-bucket", **store)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    client = boto3.client(
        "s3", endpoint_url=store["AWS_ENDPOINT_URL"], region_name="us-east-1",
        aws_access_key_id="anybody", aws_secret_access_key="anything",
    )  # fmt: skip
    assert [found["Name"] for found in client.list_buckets()["Buckets"]].count("new-bucket") == 1
