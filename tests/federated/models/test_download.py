"""Models fetched over real TLS: only the pinned one, only numbers, and the address stays secret."""

from __future__ import annotations

import hashlib
import logging
import pickle
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ehr.transport.tls import tls_context
from federated.errors import TaskRefused
from federated.models.download import Fetching, fetch
from federated.models.files import load, to_bytes
from federated.types.access import ModelURLs
from tests.fakes.throwaway_ca import ThrowawayCA, throwaway_ca

MODEL = to_bytes({"weights": np.arange(50_000.0)})
PICKLE = pickle.dumps({"weights": [1, 2, 3]})
SECRET = "Signature-c4n4ry"  # what no error or log may hold
Answer = tuple[int, dict[str, str], bytes]


class Store:
    """A server of models that counts what it was asked for."""

    def __init__(self, ca: ThrowawayCA) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, Answer] = {"/model": (200, {}, MODEL)}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = ca.server().wrap_socket(self._server.socket, server_side=True)
        self.origin = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                store.asked.append(path)
                status, headers, body = store.answers[path]
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(OSError):  # a client that has seen enough went away
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None: ...

        return Handler

    def urls(self, path: str = "/model") -> ModelURLs:
        return ModelURLs(model_download_url=f"{self.origin}{path}?{SECRET}", model_weights_url=None)

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayCA:
    return throwaway_ca(tmp_path_factory.mktemp("ca"))


@pytest.fixture
def store(ca: ThrowawayCA) -> Iterator[Store]:
    made = Store(ca)
    yield made
    made.close()


@pytest.fixture
def how(ca: ThrowawayCA, tmp_path: Path) -> Callable[..., Fetching]:
    def choose(**changes: Any) -> Fetching:
        return Fetching(tmp_path / "models", **{"tls": tls_context(ca.ca_file), **changes})

    return choose


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def refused(said: str, urls: ModelURLs, sha256: str, how: Fetching) -> None:
    with pytest.raises(TaskRefused, match=said) as caught:
        fetch(urls, sha256, how)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in repr(error) + str(error)
        assert "127.0.0.1" not in str(error)
        error = None if error.__suppress_context__ else error.__context__
    folder = how.folder
    assert not folder.exists() or not list(folder.iterdir()), "nothing that was refused is left"


def test_the_pinned_model_is_fetched_once(store: Store, how: Callable[..., Fetching]) -> None:
    path = fetch(store.urls(), digest(MODEL), how())
    assert fetch(store.urls(), f"SHA256:{digest(MODEL).upper()}".lower(), how()) == path
    assert load(path).tensors["weights"].size == 50_000
    assert store.asked == ["/model"]
    assert [one.name for one in path.parent.iterdir()] == [f"{digest(MODEL)}.safetensors"]


def test_weights_are_taken_before_the_model_s_own_file(store: Store, how: Callable[..., Fetching]) -> None:
    urls = ModelURLs(model_download_url=f"{store.origin}/code.py", model_weights_url=f"{store.origin}/model")
    fetch(urls, digest(MODEL), how())
    assert store.asked == ["/model"]


def test_a_kept_model_that_was_changed_is_fetched_again(store: Store, how: Callable[..., Fetching]) -> None:
    path = fetch(store.urls(), digest(MODEL), how())
    path.write_bytes(b"other")
    assert fetch(store.urls(), digest(MODEL), how()).read_bytes() == MODEL
    assert len(store.asked) == 2


def test_another_model_than_the_task_names_is_refused(store: Store, how: Callable[..., Fetching]) -> None:
    refused("another SHA-256", store.urls(), "0" * 64, how())
    refused("64 hexadecimal", store.urls(), "", how())


def test_a_pickle_is_refused_though_its_digest_is_right(store: Store, how: Callable[..., Fetching]) -> None:
    store.answers["/model"] = (200, {}, PICKLE)
    refused("no safetensors file", store.urls(), digest(PICKLE), how())


def test_too_much_is_refused_while_it_comes(store: Store, how: Callable[..., Fetching]) -> None:
    refused("more than the 1000 bytes", store.urls(), digest(MODEL), how(largest=1000))


def test_what_comes_too_slowly_is_refused(store: Store, how: Callable[..., Fetching]) -> None:
    times = iter([0.0, 5.0, 11.0, 12.0, 13.0])
    refused("within 10 s", store.urls(), digest(MODEL), how(seconds=10.0, clock=lambda: next(times)))


def test_a_server_that_sends_a_few_bytes_at_a_time_does_not_outlast_the_clock(
    store: Store, how: Callable[..., Fetching]
) -> None:
    store.answers["/model"] = (200, {"Content-Length": str(len(MODEL))}, MODEL[:10])
    times = iter([0.0, 11.0])
    refused("within 10 s", store.urls(), digest(MODEL), how(seconds=10.0, clock=lambda: next(times)))


def test_a_redirect_on_the_same_server_is_followed_to_its_bound(
    store: Store, how: Callable[..., Fetching]
) -> None:
    store.answers["/old"] = (302, {"Location": f"/model?{SECRET}"}, b"")
    fetch(store.urls("/old"), digest(MODEL), how())
    store.answers["/loop"] = (307, {"Location": f"/loop?{SECRET}"}, b"")
    fresh = Fetching(how().folder / "other", tls=how().tls)
    refused("more than 3 times", store.urls("/loop"), digest(MODEL), fresh)
    assert store.asked.count("/loop") == 4


@pytest.mark.parametrize(
    "target", ["https://localhost:{port}/model", "http://127.0.0.1:{port}/model", "//[::1"]
)
def test_a_redirect_elsewhere_is_not_followed(
    store: Store, how: Callable[..., Fetching], target: str
) -> None:
    location = target.format(port=store.origin.rpartition(":")[2])
    store.answers["/model"] = (302, {"Location": f"{location}?{SECRET}"}, b"")
    refused("another server|not plain https|cannot be read|fetched", store.urls(), digest(MODEL), how())
    assert store.asked == ["/model"]


def test_a_server_that_is_not_trusted_or_fails_is_refused(store: Store, how: Callable[..., Fetching]) -> None:
    refused("ConnectError", store.urls(), digest(MODEL), how(tls=ssl.create_default_context()))
    store.answers["/model"] = (403, {}, b"expired " + SECRET.encode())
    refused("HTTP 403", store.urls(), digest(MODEL), how())
    store.answers["/model"] = (200, {"Content-Length": str(len(MODEL) + 9)}, MODEL)
    refused("RemoteProtocolError", store.urls(), digest(MODEL), how())


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1/m", "file:///etc/passwd", "https://a:b@127.0.0.1/m", "", "\0"]
)
def test_an_address_that_is_not_plain_https_is_not_asked(how: Callable[..., Fetching], address: str) -> None:
    urls = ModelURLs(model_download_url=address, model_weights_url=None)
    refused("address", urls, digest(MODEL), how())


def test_no_log_holds_the_address(
    store: Store, how: Callable[..., Fetching], caplog: pytest.LogCaptureFixture
) -> None:
    store.answers["/old"] = (302, {"Location": f"/model?{SECRET}"}, b"")
    with caplog.at_level(logging.DEBUG):
        for name in ("httpx", "httpcore", "httpcore.http11", "httpcore.connection"):
            caplog.set_level(logging.DEBUG, logger=name)
        fetch(store.urls("/old"), digest(MODEL), how())
    assert SECRET not in caplog.text
