"""A real HTTP server that answers as broken registries do."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from inference.artifacts import MlflowRepository
from inference.errors import InferenceError
from tests.inference.artifacts.bundle_kit import digest_of

__all__ = ["Answer", "FaultyServer", "fail"]

#: Status and body.
Answer = tuple[int, bytes]


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Write nothing when a client goes away in the middle: some tests have it killed."""


class FaultyServer:
    """An HTTP server whose answers a test chooses by path; it notes what it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Answer] = lambda _path: (500, b"oh dear")
        self.asked: list[tuple[str, str]] = []
        faulty = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                faulty.asked.append((self.path, self.headers.get("Authorization", "")))
                status, body = faulty.answer(self.path)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Write no log."""

        self._server = _QuietServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def serve(
        self,
        bundle: Path,
        *,
        version: str = "1",
        digest: str | None = None,
        artifact_uri: str = "mlflow-artifacts:/b",
    ) -> None:
        """Answer as a sound registry that has one version with one bundle."""
        tags = [{"key": "coalmine.digest", "value": digest or digest_of(bundle)}]
        fields = {"name": "iris", "version": version, "status": "READY", "tags": tags}

        def answer(path: str) -> Answer:
            files = "/api/2.0/mlflow-artifacts/artifacts"
            if path.startswith(f"{files}/"):
                return 200, (bundle / path.removeprefix(f"{files}/b/")).read_bytes()
            answers = {
                "/api/2.0/mlflow/model-versions/get-download-uri": {"artifact_uri": artifact_uri},
                "/api/2.0/mlflow/registered-models/alias": {"model_version": fields},
                "/api/2.0/mlflow/model-versions/get": {"model_version": fields},
                files: {"files": [{"path": file.name, "is_dir": file.is_dir()} for file in bundle.iterdir()]},
                "/version": "3.17.2",
            }
            return 200, json.dumps(answers[path.partition("?")[0]]).encode()

        self.answer = answer

    def serve_all(self, versions: dict[str, Path]) -> None:
        """Answer as a sound registry that has these versions of one model."""

        def answer(path: str) -> Answer:
            files = "/api/2.0/mlflow-artifacts/artifacts"
            place, _, query = path.partition("?")
            asked = parse_qs(query)
            if place.startswith(f"{files}/"):
                number, _, file = place.removeprefix(f"{files}/").partition("/")
                return 200, (versions[number] / file).read_bytes()
            if place == files:
                found = versions[asked["path"][0]]
                names = [{"path": file.name, "is_dir": file.is_dir()} for file in found.iterdir()]
                return 200, json.dumps({"files": names}).encode()
            if place == "/version":
                return 200, b"3.17.2"
            number = asked["version"][0]
            tags = [{"key": "coalmine.digest", "value": digest_of(versions[number])}]
            fields = {"name": "iris", "version": number, "status": "READY", "tags": tags}
            download = {"artifact_uri": f"mlflow-artifacts:/{number}"}
            found_version = {"model_version": fields}
            return 200, json.dumps(download if "download" in place else found_version).encode()

        self.answer = answer

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def fail(repository: MlflowRepository) -> InferenceError:
    """Fetch and give the error that comes."""
    with pytest.raises(InferenceError) as caught:
        repository.fetch()
    return caught.value
