"""Hub and pods over real TLS sockets on loopback."""

from __future__ import annotations

import asyncio
import os
import threading

import numpy as np
import pytest

from federated.errors import LinkLost, MessageRefused
from federated.links.sockets import Backoff, LinkSettings, Modeller
from federated.task.envelope import Envelope
from tests.federated.links.cast import LEEDS, MODELLER, YORK, dialled, echo, hub_at, until
from tests.federated.links.raw import RawPod


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize("size", [0, 5, 16_000, 17_000, 3_000_001])
async def test_what_is_asked_arrives_and_is_answered(size: int) -> None:
    body = os.urandom(size)
    async with hub_at() as hub, dialled(hub):
        answer = await hub.ask("leeds", Envelope(b"head", body))
        assert (answer.head, bytes(answer.body)) == (b"head", body)


async def test_a_request_waits_for_a_pod_that_is_away() -> None:
    async with hub_at() as hub:
        asked = asyncio.create_task(hub.ask("leeds", Envelope(b"1")))
        await asyncio.sleep(0)
        assert hub.connected == frozenset()
        async with dialled(hub):
            assert (await asked).head == b"1"
            assert hub.connected == {"leeds"}
        await until(lambda: not hub.connected)


async def test_w26_pods_and_tasks_are_asked_at_the_same_time() -> None:
    waiting = asyncio.Barrier(4)

    async def together(request: Envelope) -> Envelope:
        await waiting.wait()  # only if all four are asked before the first has answered
        return request

    async with hub_at() as hub, dialled(hub, together), dialled(hub, together, "york", YORK):
        asks = [hub.ask(pod, Envelope(task)) for pod in ("leeds", "york") for task in (b"1", b"2")]
        assert [each.head for each in await asyncio.gather(*asks)] == [b"1", b"2", b"1", b"2"]


async def test_a_cancelled_request_is_forgotten_and_its_late_answer_dropped() -> None:
    release = asyncio.Event()

    async def slow(request: Envelope) -> Envelope:
        if request.head == b"slow":
            await release.wait()
        return request

    async with hub_at() as hub, dialled(hub, slow):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(hub.ask("leeds", Envelope(b"slow", bytes(100_000))), 0.1)
        release.set()
        assert (await hub.ask("leeds", Envelope(b"next"))).head == b"next"
        assert hub.connected == {"leeds"}
        assert not hub.refusals


async def test_a_new_connection_takes_the_place_of_the_old_and_is_asked_again() -> None:
    async with hub_at() as hub:
        with await asyncio.to_thread(RawPod, hub.address) as old:
            await asyncio.to_thread(old.prove)
            await until(lambda: hub.connected == {"leeds"})
            asked = asyncio.create_task(hub.ask("leeds", Envelope(b"1")))
            assert (await asyncio.to_thread(old.receive))[1] == b"1"
            async with dialled(hub):
                assert (await asked).head == b"1"
                assert await asyncio.to_thread(old.is_closed)


async def test_a_request_that_comes_again_is_not_begun_again() -> None:
    begun: list[bytes] = []
    release = asyncio.Event()

    async def slow(request: Envelope) -> Envelope:
        begun.append(request.head)
        await release.wait()
        return request

    async with hub_at() as hub, dialled(hub, slow) as said:
        asked = asyncio.create_task(hub.ask("leeds", Envelope(b"1")))
        await until(lambda: begun == [b"1"])
        for _, wire in hub._seats.values():
            wire.stop()  # the network fails; both sides stay
        await until(lambda: sum(text.startswith("Connected") for text in said) == 2)
        again = asyncio.create_task(hub.ask("leeds", Envelope(b"2")))
        await until(lambda: begun[-1] == b"2")
        release.set()
        assert [(await asked).head, (await again).head] == [b"1", b"2"]
        assert begun == [b"1", b"2"]


async def test_a_fault_of_the_pod_s_program_ends_one_request_only() -> None:
    async def faulty(request: Envelope) -> Envelope:
        if request.head == b"bad":
            raise ZeroDivisionError("a patient's name")
        return request

    async with hub_at() as hub, dialled(hub, faulty):
        with pytest.raises(MessageRefused, match="its own log says why") as seen:
            await hub.ask("leeds", Envelope(b"bad"))
        assert "patient" not in str(seen.value)
        assert (await hub.ask("leeds", Envelope(b"good"))).head == b"good"


async def test_closing_the_hub_tells_who_waits_and_leaves_no_thread_or_descriptor() -> None:
    async with hub_at() as hub, dialled(hub):  # the loop's own pool is started here
        await hub.ask("leeds", Envelope(b"1"))
    before, threads = _descriptors(), threading.active_count()
    async with hub_at() as hub:
        async with dialled(hub):
            await hub.ask("leeds", Envelope(b"1"))
        asked = asyncio.create_task(hub.ask("york", Envelope(b"1")))
        await asyncio.sleep(0)
        await hub.close()
        await hub.close()
        with pytest.raises(LinkLost):
            await asked
        with pytest.raises(LinkLost):
            await hub.ask("leeds", Envelope(b"1"))
    assert (_descriptors(), threading.active_count()) == (before, threads)


async def test_a_pod_without_a_pinned_key_is_never_waited_for() -> None:
    async with hub_at() as hub:
        with pytest.raises(LinkLost):
            await hub.ask("kent", Envelope(b"1"))


async def test_a_modeller_with_another_key_gets_no_signature_and_no_name() -> None:
    async with hub_at() as hub:
        wrong = Modeller(*hub.address, YORK.public)
        async with dialled(hub, modeller=wrong) as said:
            await until(lambda: len(said) >= 2)
            assert all("has not proved the key" in text for text in said)
            assert hub.connected == frozenset()


@pytest.mark.parametrize(("name", "key"), [("kent", LEEDS), ("york", LEEDS), ("leeds", MODELLER)])
async def test_unknown_names_and_wrong_keys_are_refused_in_the_same_words(name, key) -> None:
    async with hub_at() as hub, dialled(hub, name="york", key=YORK):
        async with dialled(hub, name=name, key=key) as said:
            await until(lambda: bool(said))
            assert said[0].startswith("The modeller's program does not take this pod: its name or its key")
        assert (await hub.ask("york", Envelope(b"1"))).head == b"1"


async def test_a_silent_peer_is_taken_to_be_gone() -> None:
    async with hub_at(silence_s=0.3) as hub:
        with await asyncio.to_thread(RawPod, hub.address) as pod:
            await asyncio.to_thread(pod.prove)
            await until(lambda: hub.connected == {"leeds"})
            await until(lambda: not hub.connected)  # the socket is open, and nothing comes over it


async def test_signs_of_life_keep_a_quiet_connection() -> None:
    quick = LinkSettings(silence_s=0.3)
    async with hub_at(silence_s=0.3) as hub, dialled(hub, settings=quick) as said:
        await until(lambda: hub.connected == {"leeds"})
        wire = hub._seats["leeds"][1]
        heard = wire._heard
        await until(lambda: wire._heard > heard + 0.6)
        assert said == ["Connected to the modeller's program."]


def test_waits_double_up_to_a_cap_and_half_of_each_hangs_on_chance() -> None:
    least, most = Backoff(chance=lambda: 0.0), Backoff(chance=lambda: 1.0)
    assert [most.wait_s(n) for n in (1, 2, 3, 8, 10_000)] == [0.5, 1.0, 2.0, 60.0, 60.0]
    assert least.wait_s(3) == 1.0


async def test_a_pod_dials_for_ever_until_its_hub_is_there() -> None:
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(0)

    async with hub_at() as gone:
        address = gone.address
    waits = Backoff(chance=lambda: 1.0, sleep=sleep)
    async with dialled(gone, modeller=Modeller(*address, MODELLER.public), backoff=waits):
        await until(lambda: len(waited) > 10)
        assert waited[:3] == [0.5, 1.0, 2.0]
        async with hub_at(port=address[1]) as hub:
            assert (await hub.ask("leeds", Envelope(b"1"))).head == b"1"


async def test_the_body_that_arrives_begins_at_a_multiple_of_sixteen() -> None:
    async with hub_at() as hub, dialled(hub, echo):
        answer = await hub.ask("leeds", Envelope(b"h", bytes(1_000_003)))
        assert np.frombuffer(answer.body, np.uint8).ctypes.data % 16 == 0
