"""What requests for predictions share over HTTP: body, bytes in memory, admission, and the answer on its way."""

import asyncio
from collections.abc import Callable
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from inference.core import Admission, DataPlane
from inference.gateway.edge import Asked, Edge, Endpoint, Followed
from inference.gateway.json_fields import invalid
from inference.gateway.replies import read_body
from inference.rows import quoted
from inference.status import Failure
from inference.tokens import TokenGuard

__all__ = ["Answering"]

#: Answers from this size on count as bytes in memory until the caller has taken them, as over gRPC.
_LARGE_BYTES: Final = 64 * 1024
#: How much of a large answer is handed to the transport at one time: what asyncio buffers before it says "wait".
_PIECE_BYTES: Final = 64 * 1024
#: Threads that read bodies and predict, others than those of /metrics. Python runs one of them at a time, and the
#: numbers of a JSON body take ten times its size while it is read: with anyio's 40 threads 128 requests of 65,536 rows
#: took 812 MB at their height, with these 581 (benchmarks.overload).
_THREADS: Final = 8
#: Bodies from this size on take their turn: what Python makes of 1 MiB of JSON is some 30 MB at the most.
_LARGE_BODY_BYTES: Final = 1 << 20
#: Large bodies that are read at one time. One of 16 MiB takes 500 MB, and where all threads had one,
#: eight callers made 5.4 GB of it; smaller requests have the other threads meanwhile.
_LARGE_BODIES: Final = 2
#: How long a caller may take for a large answer: 16 MiB at 2 Mbit/s.
TAKE_SECONDS: Final = 60.0


class Answering:
    """Answers requests for predictions from the data plane."""

    def __init__(
        self, edge: Edge, plane: DataPlane, guard: TokenGuard, *, track: str, max_body_bytes: int
    ) -> None:
        self._edge = edge
        self._plane = plane
        self._guard = guard
        self._track = track
        self._max_body_bytes = max_body_bytes
        self._limiter: CapacityLimiter | None = None  # made within the event loop
        self._large_limiter: CapacityLimiter | None = None

    @property
    def max_rows(self) -> int:
        """Most rows that one request may have."""
        return self._plane.max_rows

    def endpoint(
        self,
        followed: Followed,
        answer: Callable[[Request, bytes, str], Response],
        fail: Callable[[Failure, str], Response],
    ) -> Endpoint:
        """Return the endpoint of one kind of request.

        `answer` answers the body of a request, given its identifier, on a thread.
        """

        async def work(request: Request, request_id: str) -> Response:
            admission = self._plane.admission
            if admission.full:  # not even its body is read
                raise admission.refusal()
            _refuse_encoding(request)
            kept = _Kept(admission)
            try:
                body = await read_body(request, self._max_body_bytes, kept.keep)
                response = await self._admitted(answer, request, body, request_id)
            finally:
                kept.let_go()
            if len(response.body) < _LARGE_BYTES:
                return response
            admission.keep(len(response.body))
            return _UntilTaken(response, admission)

        return self._edge.endpoint(Asked(work, fail, self._guard, followed))

    async def _admitted(
        self,
        answer: Callable[[Request, bytes, str], Response],
        request: Request,
        body: bytes,
        request_id: str,
    ) -> Response:
        # Only now: a caller who sends its body slowly keeps nobody else out.
        admission = self._plane.admission
        admission.enter()
        try:
            if admission.over:
                raise admission.refusal()
            limiter = self._limiter_of(len(body))
            return await to_thread.run_sync(answer, request, body, request_id, limiter=limiter)
        finally:
            admission.leave()

    def _limiter_of(self, size_bytes: int) -> CapacityLimiter:
        if size_bytes > _LARGE_BODY_BYTES:
            self._large_limiter = self._large_limiter or CapacityLimiter(_LARGE_BODIES)
            return self._large_limiter
        self._limiter = self._limiter or CapacityLimiter(_THREADS)
        return self._limiter

    def headers(self, request_id: str, version: str | None = None) -> dict[str, str]:
        """Return the headers of a reply; without a version those of the default model."""
        serving = self._plane.serving
        version = version or (serving.version if serving is not None else None)
        shown = {"x-model-version": version} if version else {}
        return {**shown, "x-deployment-track": self._track, "x-request-id": request_id}


def _refuse_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise invalid("Content-Encoding", f"found {quoted(encoding)}, expected none: send the body as it is")


class _Kept:
    """The bytes of one body, counted as they come."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._size_bytes = 0

    def keep(self, size_bytes: int) -> None:
        self._admission.keep(size_bytes)
        self._size_bytes += size_bytes  # not before: what was refused is not counted

    def let_go(self) -> None:
        self._admission.let_go(self._size_bytes)


class _UntilTaken(Response):
    """A large answer, whose bytes count until its caller has taken all but the last pieces."""

    def __init__(self, response: Response, admission: Admission) -> None:
        super().__init__(None, response.status_code)
        self.body = response.body
        self.raw_headers = response.raw_headers
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # as ASGI has it
        """Send the answer, one piece after the other; who does not take it in time is cut off."""
        size_bytes = len(self.body)
        try:
            async with asyncio.timeout(TAKE_SECONDS):
                await self._send(send)
        except TimeoutError:
            return  # uvicorn says so and closes the connection, since the answer is not complete
        finally:
            self.body = b""
            self._admission.let_go(size_bytes)

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        pieces = memoryview(self.body)
        for start in range(0, len(pieces), _PIECE_BYTES):
            # Waits while the transport still has most of the pieces before.
            piece = bytes(pieces[start : start + _PIECE_BYTES])
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
