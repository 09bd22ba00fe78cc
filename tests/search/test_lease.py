"""One driver a study, whoever dies and however."""

import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import sqlalchemy

from repareto.search import lease as module
from repareto.search.addresses import LedgerAddress
from repareto.search.database import open_storage
from repareto.search.lease import Holder, Leases, hold_lease
from repareto.spaces.errors import UserError


@pytest.fixture(params=["tmp_path", "database"])
def address(request: pytest.FixtureRequest) -> LedgerAddress:
    return request.getfixturevalue(request.param)


@pytest.fixture
def leases(address: LedgerAddress) -> Leases:
    return Leases(open_storage(address, create=True).engine)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hearts beat twenty times as fast."""
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(module, "DEAD_SECONDS", 0.4)
    monkeypatch.setattr(module, "VALID_SECONDS", 0.3)
    monkeypatch.setattr(module, "WATCH_SECONDS", 0.02)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process takes itself for one of another machine, of which nothing is known but its beats."""
    monkeypatch.setattr(Holder, "is_gone", False)


def test_a_second_driver_is_refused_and_told_who_the_first_one_is(leases: Leases, address: LedgerAddress) -> None:
    with hold_lease(address, "study"):
        here = Holder.this_process()
        with pytest.raises(UserError) as raised:
            leases.take("study")
        assert str(raised.value).startswith(f"study study is being searched already, by process {here.process} on ")
        assert "repareto stop study" in str(raised.value)
        leases.take("another study").release()


def test_a_released_lease_is_free_at_once(leases: Leases, address: LedgerAddress) -> None:
    for _ in range(3):
        with hold_lease(address, "study"):
            assert leases.is_held("study")
        assert not leases.is_held("study")
        assert leases.read("study").holder is None


def test_a_killed_driver_of_this_machine_is_dead_at_once(address: LedgerAddress, leases: Leases) -> None:
    code = (
        "import sys, time; from pathlib import Path; from repareto.search.lease import hold_lease\n"
        "address = sys.argv[1] if '://' in sys.argv[1] else Path(sys.argv[1])\n"
        "with hold_lease(address, 'study'): print('held', flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(address)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {process.pid} on "):
            leases.take("study")
        process.kill()
        process.wait()
    assert not leases.is_held("study")
    leases.take("study").release()


@pytest.mark.usefixtures("quick", "elsewhere")
def test_a_driver_whose_heart_stopped_is_dead_after_its_time(leases: Leases) -> None:
    first = leases.take("study")
    first._released.set()  # its heart stops and the lease stays
    first._thread.join()
    before = time.monotonic()
    second = leases.take("study")
    assert time.monotonic() - before >= module.DEAD_SECONDS
    time.sleep(module.VALID_SECONDS)
    with pytest.raises(module.LeaseLostError, match=r"study study: process \d+ on .* has taken over"):
        first.ensure()
    second.ensure()
    second.release()


@pytest.mark.usefixtures("quick", "elsewhere")
def test_a_beating_heart_keeps_others_away(leases: Leases) -> None:
    lease = leases.take("study")
    end = time.monotonic() + 3 * module.DEAD_SECONDS
    while time.monotonic() < end:
        with pytest.raises(UserError, match="is being searched already"):
            leases.take("study")
        lease.ensure()
    lease.release()


@pytest.mark.usefixtures("quick", "elsewhere")
def test_of_many_who_want_a_dead_lease_one_gets_it(leases: Leases) -> None:
    dead = leases.take("study")
    dead._released.set()
    dead._thread.join()
    won: list[object] = []

    def want() -> None:
        try:
            won.append(leases.take("study"))
        except UserError:
            return

    threads = [threading.Thread(target=want) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()


def test_a_stop_reaches_the_driver_with_its_next_beat(leases: Leases, address: LedgerAddress) -> None:
    with hold_lease(address, "study") as lease:
        assert not lease.stop_requested
        leases.request_stop("study")
        lease._beat()
        assert lease.stop_requested
    with hold_lease(address, "study") as lease:
        lease._beat()
        assert not lease.stop_requested, "the wish was for the driver before"


def test_a_process_number_that_is_used_again_is_another_process() -> None:
    here = Holder.this_process()
    assert not here.is_gone
    assert replace(here, began="1").is_gone
    assert not replace(here, machine="another machine", began="1").is_gone, "nothing is known of others"


def test_the_table_may_be_made_by_two_at_once(address: LedgerAddress, leases: Leases, monkeypatch) -> None:
    """As when another process makes it after this one has looked."""
    engine = open_storage(address, create=True).engine

    def create_all(_engine: sqlalchemy.Engine) -> None:
        module._LEASES.create(engine)

    monkeypatch.setattr(module._METADATA, "create_all", create_all)
    assert Leases(engine).read("study").holder is None
    assert leases.read("study").holder is None
