"""The promise of the swap: no call fails while the model changes."""

import os
import threading
from itertools import pairwise
from pathlib import Path

import httpx

from inference.client import PredictionClient, RetryPolicy

RELOADS = 10
CALLERS = 4


def test_ten_reloads_under_load_fail_no_call(
    make_process: object, make_bundle: object, tmp_path: Path
) -> None:
    """Four callers in a closed loop, ten reloads between two models: every call is answered, by one of them."""
    link = tmp_path / "model"
    models = [make_bundle(seed=1), make_bundle(seed=2)]
    link.symlink_to(models[0])
    process = make_process(MODEL_PATH=link, ADMIN_API_TOKEN="t", PREDICTION_LOG_SAMPLE_RATE="0.01")
    ports = process.wait_for("listening")
    process.wait_for("serving")
    digests: list[list[str]] = [[] for _ in range(CALLERS)]
    stop = threading.Event()

    never = RetryPolicy(max_attempts=1)  # a retry would hide what is tested here

    def call(number: int) -> None:
        with PredictionClient(f"127.0.0.1:{ports['grpc_port']}", retry=never) as client:
            while not stop.is_set():
                digests[number].append(client.predict([[5.1, 3.5, 1.4, 0.2]]).model_digest)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(CALLERS)]
    for thread in threads:
        thread.start()
    seen = []
    reload_url = f"http://127.0.0.1:{ports['http_port']}/admin/reload"
    try:
        for reload in range(RELOADS):
            link.with_suffix(".new").symlink_to(models[(reload + 1) % 2])
            os.replace(link.with_suffix(".new"), link)
            reply = httpx.post(reload_url, headers={"X-Admin-Token": "t"}, timeout=30)
            assert reply.json()["outcome"] == "swapped"
            seen.append(reply.json()["model"]["digest"])
            with PredictionClient(f"127.0.0.1:{ports['grpc_port']}") as client:
                assert client.predict([[5.1, 3.5, 1.4, 0.2]]).model_digest == seen[-1]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    # A call that failed would have ended its caller (an exception in a thread fails the test).
    assert all(set(answered) == set(seen) for answered in digests)
    for answered in digests:  # each caller sees the models change at most as often as they did
        changes = sum(before != after for before, after in pairwise(answered))
        assert changes <= RELOADS
