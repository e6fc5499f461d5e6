"""The hasher: one permit, one job; and the rules of what may be a password."""

import asyncio
import os
import sys
import threading

import argon2
import pytest

from auth_service.accounts import rules
from auth_service.passwords import Hasher, standard, threads_per_worker
from common.errors import ServiceUnavailable
from tests.auth_service.client import CHEAP, CountingArgon, cheap_hasher


def test_parameters_are_the_recommended_ones():
    encoded = standard().hash("x")
    assert encoded.startswith("$argon2id$v=19$m=19456,t=2,p=1$")


async def test_unknown_user_costs_a_whole_hash_and_never_matches():
    hasher = Hasher(standard(), threads=1)
    dummy = hasher._dummy
    assert argon2.extract_parameters(dummy) == argon2.extract_parameters(standard().hash("x"))
    with hasher.admit() as permit:
        assert await permit.matches(None, "") is False
    hasher.close()


async def test_unreadable_hash_matches_nothing():
    hasher = cheap_hasher()
    with hasher.admit() as permit:
        assert await permit.matches("not a hash", "x") is False
    hasher.close()


async def test_unused_permit_comes_back():
    hasher = cheap_hasher(threads=1, queue_max=0)
    for _ in range(3):
        with hasher.admit():
            assert hasher.free == 0
    assert hasher.free == 1
    hasher.close()


async def test_full_queue_refuses_at_once():
    hasher = cheap_hasher(threads=1, queue_max=2)
    permits = [hasher.admit() for _ in range(3)]
    with pytest.raises(ServiceUnavailable):
        hasher.admit()
    for permit in permits:
        with permit:
            pass
    assert hasher.free == 3
    hasher.close()


class Held(CountingArgon):
    """Hashes when allowed to."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.started = threading.Event()
        self.seen: list[int] = []

    def hash(self, *args, **kwargs):
        self.started.set()
        assert self.go_on.wait(10)
        if sys.platform == "linux":
            self.seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        return super().hash(*args, **kwargs)


async def test_permits_do_not_leak_when_clients_go_away():
    """One job runs, one waits in the queue; both callers are cancelled."""
    argon = Held()
    hasher = cheap_hasher(argon, threads=1, queue_max=1)

    async def call():
        with hasher.admit() as permit:
            await permit.hash("x")

    running, waiting = asyncio.create_task(call()), asyncio.create_task(call())
    await asyncio.to_thread(argon.started.wait, 10)
    running.cancel()
    waiting.cancel()
    await asyncio.gather(running, waiting, return_exceptions=True)
    assert hasher.free == 1  # the queued job is gone, the running one still counts
    with hasher.admit() as permit:
        last = asyncio.create_task(permit.hash("y"))
        await asyncio.sleep(0)
    assert hasher.free == 0
    argon.go_on.set()
    await last
    async with asyncio.timeout(10):
        while hasher.free < 2:
            await asyncio.sleep(0)
    assert argon.calls == 2
    hasher.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
async def test_hashing_threads_are_nicer_than_the_loop():
    argon = Held()
    argon.go_on.set()
    hasher = cheap_hasher(argon, threads=1)
    with hasher.admit() as permit:
        await permit.hash("x")
    assert argon.seen == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)] or argon.seen == [10]
    hasher.close()


async def test_hashing_goes_on_where_priorities_must_not_be_changed(monkeypatch):
    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "setpriority", refuse)
    hasher = cheap_hasher(threads=1)
    with hasher.admit() as permit:
        assert (await permit.hash("x")).startswith("$argon2id$")
    hasher.close()


def test_threads_are_shared_out_among_workers():
    cores = os.cpu_count() or 1
    assert threads_per_worker(1) == cores
    assert threads_per_worker(1000) == 1


async def test_permit_is_good_for_one_hash():
    hasher = cheap_hasher()
    with hasher.admit() as permit:
        await permit.hash("x")
        with pytest.raises(AssertionError):
            await permit.hash("x")
    hasher.close()


def test_cheap_parameters_of_the_tests_are_still_argon2id():
    assert CHEAP.type is standard().type


def test_common_passwords_are_refused_in_any_case():
    assert len(rules.common_passwords()) >= 200
    assert all(len(word) >= rules.LENGTH_MIN and word == word.casefold() for word in rules.common_passwords())
    assert rules.weakness("PassWord1", []) == "Password is too common"
    assert rules.weakness("correct horse battery", []) is None


@pytest.mark.parametrize("password", ["Ada@Example.com", "adalovelace", "Ada Lovelace 1815!", "ada_lovelace99"])
def test_own_name_and_address_are_refused(password):
    assert rules.weakness(password, ["ada@example.com", "Ada Lovelace", "ada_lovelace", None])


def test_names_within_a_longer_password_are_no_fault():
    assert rules.weakness("ada likes long walks", ["ada@example.com", "Ada", None]) is None
