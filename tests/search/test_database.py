"""The database under a ledger: every complaint is one line that says how to mend it, and none has a password."""

import gc
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy

from repareto.search.addresses import absolute, folder_of, has_password, is_url, ledger_address, without_password
from repareto.search.database import open_storage
from repareto.search.ledger import Ledger
from repareto.search.patience import AwayError, patiently
from repareto.spaces.errors import UserError
from tests.integration.cluster import Postgres, free_port

# Where Optuna cannot use a database, it leaves its connection open.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def left_connections() -> Iterator[None]:
    """Have them collected here, and not in another test."""
    yield
    gc.collect()


def complaint(address: str) -> str:
    with pytest.raises(UserError) as raised:
        open_storage(address, create=True)
    message = str(raised.value)
    assert "\n" not in message and "secret" not in message and message.startswith("ledger ")
    return message


def test_what_is_no_address_of_a_database() -> None:
    for address in (
        "nonsense",
        "mysql://me:secret@host/db",
        "postgresql://me@host",
        "http://host/x",
        "postgresql://u:secret@h:port/d",
    ):
        assert "not of the form postgresql://user@host:5432/database" in complaint(address)


def test_a_server_that_is_not_there() -> None:
    assert "is the server running, and the address right?" in complaint(
        f"postgresql://me:secret@127.0.0.1:{free_port()}/x"
    )


def test_a_wrong_password(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = postgres.uri().replace(postgres.password, "secret")
    assert 'the password of user "repareto" is missing or wrong; set PGPASSWORD or PGPASSFILE' in complaint(wrong)
    monkeypatch.delenv("PGPASSWORD", raising=False)
    assert "is missing or wrong" in complaint(postgres.uri(password=False))


def test_a_password_from_the_environment(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    storage = open_storage(postgres.uri("empty_ledger", password=False), create=True)
    assert storage.get_all_studies() == []
    storage.engine.dispose()


def test_a_server_without_the_database(postgres: Postgres) -> None:
    assert 'there is no database "nowhere"; make it with: createdb nowhere' in complaint(postgres.uri("nowhere"))


def test_a_user_who_may_not_make_tables(postgres: Postgres) -> None:
    empty = postgres.create_database("without_tables")
    with psycopg.connect(empty) as connection:
        connection.execute("CREATE ROLE guest LOGIN PASSWORD 'secret'")
    guest = empty.replace(f"repareto:{postgres.password}", "guest:secret")
    assert 'user "guest" may not make tables there' in complaint(guest)


def test_a_ledger_of_another_optuna(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v99.0.0'")
    assert "was made by another version of Optuna" in complaint(f"{database}?application_name=other")
    with psycopg.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v3.2.0.a'")


def test_a_database_that_restarts_is_waited_for(lab, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """For real: the server is killed between two writes and comes back while the second one waits."""
    with Postgres(tmp_path / "postgres") as server:
        ledger = lab.ledger(server.uri())
        candidate = lab.candidate()
        ledger.start(candidate, lab.distributions(candidate), {})
        server.kill()
        server.launch()
        ledger.start(candidate, lab.distributions(candidate), {})
        assert [record.number for record in Ledger.open(server.uri(), "study").records()] == [0, 1]
        ledger._storage.engine.dispose()
    assert "does not answer" in caplog.text and "answers again" in caplog.text
    assert server.password not in caplog.text


def test_patience_ends() -> None:
    pauses: list[float] = []

    def attempt() -> None:
        raise AwayError("no answer")

    with pytest.raises(UserError, match=r"there: has not answered for 0 s \(no answer\); start it"):
        patiently(attempt, where="there", patience_seconds=0.0, pause=pauses.append)


def test_patience_waits_longer_each_time_but_not_for_ever() -> None:
    pauses: list[float] = []

    def attempt() -> str:
        if len(pauses) < 10:
            raise AwayError("no answer")
        return "here"

    assert patiently(attempt, where="there", pause=pauses.append) == "here"
    assert pauses == sorted(pauses) and pauses[0] < pauses[-1] == pauses[-2]


def test_other_errors_are_not_waited_for() -> None:
    with pytest.raises(ZeroDivisionError):
        patiently(lambda: 1 / 0, where="there")


def test_a_statement_that_is_wrong_is_not_waited_for(database: str) -> None:
    storage = open_storage(database, create=True)
    with pytest.raises(sqlalchemy.exc.ProgrammingError), storage.engine.begin() as connection:
        connection.execute(sqlalchemy.text("SELECT nonsense"))


def test_where_a_ledger_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REPARETO_LEDGER", raising=False)
    assert ledger_address("runs") == Path("runs")
    assert ledger_address("s3://bucket", "postgresql://host/db") == "postgresql://host/db"
    with pytest.raises(UserError, match=r"store s3://bucket: a ledger in SQLite needs a folder; name a PostgreSQL"):
        ledger_address("s3://bucket")
    monkeypatch.setenv("REPARETO_LEDGER", "postgresql://host/other")
    assert ledger_address("runs") == "postgresql://host/other"
    assert ledger_address("runs", "postgresql://host/db") == "postgresql://host/db"


def test_addresses_as_they_are_shown() -> None:
    assert without_password("postgresql://me:secret@host:5432/db") == "postgresql://me@host:5432/db"
    assert without_password("postgresql://me@host/db") == "postgresql://me@host/db"
    assert without_password(Path("runs")) == "runs"
    # As people write them: not percent-encoded, or in the query.
    assert without_password("postgresql://me:a/b@c@host/db") == "postgresql://me@host/db"
    assert without_password("postgresql://me@host/db?password=a&x=1") == "postgresql://me@host/db?password=***&x=1"
    assert has_password("postgresql://me:a/b@host/db") and has_password("postgresql://host/db?password=a")
    assert not has_password("postgresql://me@host:5432/db") and not has_password("http://host:5000/path")


def test_stores_that_are_folders_and_those_that_are_not() -> None:
    assert is_url("s3://bucket/x") and not is_url("runs") and not is_url("/a/b")
    assert absolute("s3://bucket/x") == "s3://bucket/x"
    assert Path(absolute("runs")).is_absolute()
    with pytest.raises(UserError, match="store s3://b: this needs a folder; do that"):
        folder_of("s3://b", "this", "do that")
