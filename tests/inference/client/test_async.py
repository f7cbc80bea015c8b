"""What only asyncio can do: many calls of one thread, and taking them back."""

import asyncio
import contextlib
import threading

import grpc
import numpy as np
import pandas as pd
import pytest

from inference.client import AsyncPredictionClient, InvalidRequestError, ServerDefectError, frame_of

FRAME = pd.DataFrame({"a": np.arange(20.0) + 0.1, "b": 0.0}, index=range(100, 120))


def test_calls_run_at_the_same_time(serve: object) -> None:
    """Ten calls of one task group are on the server together."""
    backend = serve()
    backend.gate = threading.Event()

    async def run() -> list[object]:
        async with AsyncPredictionClient(backend.address) as client:
            calls = [
                asyncio.create_task(client.predict([[float(n)]], deadline_seconds=20)) for n in range(10)
            ]
            await asyncio.to_thread(backend.wait_in_flight, 10)
            backend.gate.set()
            return await asyncio.gather(*calls)

    assert len(asyncio.run(run())) == 10


@pytest.mark.parametrize("concurrency", [1, 3])
def test_batches_run_so_many_at_a_time(serve: object, concurrency: int) -> None:
    """Never more than `concurrency` calls, as many as that, and the answers in order."""
    backend = serve()
    backend.gate = threading.Event()

    async def run() -> list[object]:
        async with AsyncPredictionClient(backend.address) as client:
            batches = client.predict_batches(
                FRAME, rows_per_call=2, concurrency=concurrency, deadline_seconds=20
            )
            first = asyncio.ensure_future(anext(batches))
            await asyncio.to_thread(backend.wait_in_flight, concurrency)
            backend.gate.set()
            return [await first, *[result async for result in batches]]

    results = asyncio.run(run())
    assert backend.most_in_flight == concurrency
    answer = frame_of(results)
    assert list(answer.index) == list(FRAME.index)
    assert list(answer["label"]) == ["high" if a > 10 else "low" for a in FRAME["a"]]


def test_a_cancelled_call_is_cancelled_on_the_server(serve: object) -> None:
    """Who takes a task back gets CancelledError, and nothing is tried again."""
    backend = serve()
    backend.gate = threading.Event()

    async def run() -> None:
        async with AsyncPredictionClient(backend.address) as client:
            call = asyncio.create_task(client.predict([[1.0]], deadline_seconds=20))
            await asyncio.to_thread(backend.wait_in_flight, 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call

    asyncio.run(run())
    assert len(backend.seen) == 1


def test_a_failed_batch_ends_the_others(serve: object) -> None:
    """The error of one call is raised; calls that still run are cancelled and awaited."""
    backend = serve(grpc.StatusCode.INTERNAL)
    backend.gate = threading.Event()

    async def run() -> None:
        async with AsyncPredictionClient(backend.address) as client:
            with pytest.raises(ServerDefectError):
                async for _ in client.predict_batches(
                    FRAME, rows_per_call=5, concurrency=1, deadline_seconds=20
                ):
                    pass
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_stopping_early_cancels_what_runs(serve: object) -> None:
    """Under `aclosing` no call outlives the loop that iterates."""
    backend = serve()

    async def run() -> None:
        async with AsyncPredictionClient(backend.address) as client:
            endless = iter(lambda: [1.0, 2.0], None)
            async with contextlib.aclosing(client.predict_batches(endless, rows_per_call=2)) as batches:
                async for result in batches:
                    assert len(result) == 2
                    break
            assert len(asyncio.all_tasks()) == 1
            with pytest.raises(ValueError, match="concurrency"):
                await anext(client.predict_batches(endless, concurrency=0))

    asyncio.run(run())


def test_batches_count_violations_from_the_first_row(serve: object) -> None:
    """As the other client does."""
    rows = [[1.0]] * 7 + [[b"x"]]

    async def run() -> None:
        async with AsyncPredictionClient(serve().address) as client:
            with pytest.raises(InvalidRequestError, match="row 7, column 0"):
                async for _ in client.predict_batches(rows, rows_per_call=3):
                    pass

    asyncio.run(run())


def test_a_client_needs_no_block(serve: object) -> None:
    """It opens with its first call, in the loop of that call, and closes when told, also when never used."""
    client = AsyncPredictionClient(serve().address)

    async def run() -> None:
        assert (await client.predict([[1.0]])).labels == ("low",)
        await client.close()
        await AsyncPredictionClient("127.0.0.1:1").close()

    asyncio.run(run())
