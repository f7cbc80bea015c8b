"""Waiting for a server."""

import asyncio
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import grpc
import pytest

from inference.client import AsyncPredictionClient, DeadlineExceededError, PredictionClient, PredictionError


def test_a_server_that_is_ready(running: object, ask: object) -> None:
    """Nothing to wait for, with a real server."""
    began = time.monotonic()
    assert ask(running.address, "wait_ready", 20) is None
    assert time.monotonic() - began < 5


def test_the_moment_a_model_is_loaded(make_service: object) -> None:
    """Health of a real server without a model keeps the caller waiting; loading it ends the wait."""
    running = make_service(load=False)
    with PredictionClient(running.address) as client:
        with pytest.raises(DeadlineExceededError, match=r"not ready within 0\.2 s: health says NOT_SERVING"):
            client.wait_ready(0.2)
        loading = threading.Thread(target=running.service.load)
        loading.start()
        client.wait_ready(20)
        assert client.predict([[5.1, 3.5, 1.4, 0.2]]).labels == ("setosa",)
        loading.join()


def test_many_wait_at_the_same_time(make_service: object) -> None:
    """Eight clients of both kinds wait for one real server; all go on, and so does the server.

    By `Watch` this hangs the server for good, see `inference.client.readiness`.
    """
    running = make_service(load=False)

    async def wait() -> None:
        async with AsyncPredictionClient(running.address) as client:
            await client.wait_ready(20)

    with ExitStack() as stack, ThreadPoolExecutor(8) as pool:
        clients = [stack.enter_context(PredictionClient(running.address)) for _ in range(4)]
        waits = [pool.submit(client.wait_ready, 20) for client in clients]
        waits += [pool.submit(asyncio.run, wait()) for _ in range(4)]
        running.service.load()
        for waiting in waits:
            waiting.result(20)
        assert clients[0].predict([[5.1, 3.5, 1.4, 0.2]], deadline_seconds=5).labels == ("setosa",)


def test_a_server_that_starts_later(serve: object) -> None:
    """Nobody listens at first; the client goes on trying, and is there when somebody does."""
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else takes the port
        port = reserved.getsockname()[1]
        with PredictionClient(f"127.0.0.1:{port}") as client, ThreadPoolExecutor(1) as pool:
            with pytest.raises(DeadlineExceededError, match=r"not ready within 0\.3 s: .*[Rr]efused"):
                client.wait_ready(0.3)
            waiting = pool.submit(client.wait_ready, 20)
            serve(port=port, options=(("grpc.so_reuseport", 1),))
            waiting.result(20)
            assert client.predict([[1.0]]).labels == ("low",)


def test_a_server_that_restarts_meanwhile(serve: object) -> None:
    """Neither the broken connection nor the other process behind the port ends the wait."""
    first = serve(serving=False, options=(("grpc.so_reuseport", 1),))
    with PredictionClient(first.address) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait_ready, 20)
        port = int(first.address.rpartition(":")[2])
        serve(port=port, options=(("grpc.so_reuseport", 1),))
        first.stop()
        waiting.result(20)


def test_a_server_without_health(ask: object) -> None:
    """It will never say that it is ready, so the wait ends at once, in words."""
    server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(PredictionError, match="does not tell its health") as caught:
        ask(f"127.0.0.1:{port}", "wait_ready", 20)
    assert caught.value.code is grpc.StatusCode.UNIMPLEMENTED
    server.stop(None)
