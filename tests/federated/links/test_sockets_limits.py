"""Where a link over sockets comes to its limits, nobody waits for ever and no stranger fills the memory."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest

from federated.errors import MessageRefused
from federated.links.frames import AT_ONCE, HEAD_LIMIT, HEADER_SIZE, MAGIC, VERSION, FrameKind
from federated.links.sockets import Backoff, Modeller
from federated.task.envelope import Envelope
from tests.federated.links.cast import MODELLER, WAIT_S, dialled, hub_at, until
from tests.federated.links.raw import RawPod


async def test_more_requests_than_a_pod_works_on_at_once_are_all_answered() -> None:
    open_now = most = 0

    async def counted(request: Envelope) -> Envelope:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.01)
        open_now -= 1
        return request

    async with hub_at() as hub, dialled(hub, counted) as said, asyncio.timeout(20):
        heads = [str(number).encode() for number in range(2 * AT_ONCE + 5)]
        answers = await asyncio.gather(*(hub.ask("leeds", Envelope(head)) for head in heads))
        assert [answer.head for answer in answers] == heads
        assert most <= AT_ONCE
        assert said == ["Connected to the modeller's program."]


async def test_the_same_request_asked_twice_at_once_is_answered_twice() -> None:
    async def slow(request: Envelope) -> Envelope:
        await asyncio.sleep(0.1)
        return request

    async with hub_at() as hub, dialled(hub, slow), asyncio.timeout(5):
        same = Envelope(b"1", b"body")
        answers = await asyncio.gather(hub.ask("leeds", same), hub.ask("leeds", same))
        assert [bytes(answer.body) for answer in answers] == [b"body", b"body"]


async def test_requests_given_up_make_room_for_others() -> None:
    release = asyncio.Event()

    async def gated(request: Envelope) -> Envelope:
        if request.head != b"last":
            await release.wait()
        return request

    async with hub_at() as hub, dialled(hub, gated) as said, asyncio.timeout(20):
        await until(lambda: bool(hub.connected))
        given_up = [
            asyncio.create_task(hub.ask("leeds", Envelope(str(number).encode()))) for number in range(AT_ONCE)
        ]
        last = asyncio.create_task(hub.ask("leeds", Envelope(b"last")))
        await asyncio.sleep(0.2)
        for task in given_up:
            task.cancel()
        release.set()
        assert (await last).head == b"last"
        assert said == ["Connected to the modeller's program."]


async def test_an_answer_too_long_to_send_is_no_answer() -> None:
    async def long(request: Envelope) -> Envelope:
        return Envelope(bytes(HEAD_LIMIT + 1))

    async with hub_at() as hub, dialled(hub, long), asyncio.timeout(5):
        with pytest.raises(MessageRefused, match="program failed"):
            await hub.ask("leeds", Envelope(b"1"))


def _header(head: int) -> bytes:
    return MAGIC + bytes((VERSION, FrameKind.HELLO, 0, 0)) + bytes(8) + head.to_bytes(4, "big") + bytes(8)


async def test_strangers_do_not_choose_what_the_hub_remembers_of_them() -> None:
    def attack(address: tuple[str, int], head: int) -> None:
        with RawPod(address) as stranger:
            data = _header(head)
            assert len(data) == HEADER_SIZE
            stranger.tls.sendall(data)
            assert stranger.is_closed()

    async with hub_at() as hub:
        for head in range(100_000, 100_005):
            await asyncio.to_thread(attack, hub.address, head)
        await until(lambda: sum(hub.refusals.values()) == 5)
        assert len(hub.refusals) == 1


@pytest.mark.parametrize("host", ["a" * 64 + ".invalid", "..", ""])
async def test_a_host_name_that_is_none_is_a_modeller_that_cannot_be_reached(host: str) -> None:
    paused = asyncio.Event()

    async def sleep(seconds: float) -> None:
        paused.set()
        await asyncio.Event().wait()

    async with hub_at() as hub, asyncio.timeout(5):
        modeller = Modeller(host, 1, MODELLER.public)
        async with dialled(hub, modeller=modeller, backoff=Backoff(sleep=sleep)) as said:
            await paused.wait()
            assert "cannot be reached: the name of its machine is not known" in said[0]


async def test_a_port_at_which_nobody_listens_is_told_from_a_name_that_is_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    async with hub_at() as hub, dialled(hub, modeller=Modeller("127.0.0.1", port, MODELLER.public)) as said:
        await until(lambda: len(said) > 0)
    assert "nothing listens at its port" in said[0]


async def test_a_pod_goes_on_where_no_thread_can_be_started_for_a_connection(monkeypatch) -> None:
    start, failures = threading.Thread.start, [1, 1]  # at the hub and at the pod

    def fails_once(thread: threading.Thread) -> None:
        if thread.name == "trialveil-link" and failures:
            failures.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    async with hub_at() as hub:
        monkeypatch.setattr(threading.Thread, "start", fails_once)
        async with dialled(hub), asyncio.timeout(5):
            assert (await hub.ask("leeds", Envelope(b"1"))).head == b"1"
    assert not failures


async def test_a_silent_name_server_does_not_keep_a_pod_from_ending(monkeypatch) -> None:
    asked, answer = threading.Event(), threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        asked.set()
        answer.wait(WAIT_S)
        return []

    async def ends() -> None:
        async with hub_at() as hub, dialled(hub):
            await asyncio.to_thread(asked.wait, WAIT_S)

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    began = time.monotonic()
    await asyncio.to_thread(
        asyncio.run, ends()
    )  # a whole program: its end waits for what it left in its threads
    assert time.monotonic() - began < WAIT_S / 2
    answer.set()


async def test_a_pod_that_runs_twice_is_noticed() -> None:
    async with hub_at() as hub, dialled(hub):
        await until(lambda: "leeds" in hub.connected)
        async with dialled(hub):
            await until(lambda: any("runs twice" in reason for reason in hub.refusals))
