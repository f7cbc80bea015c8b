"""The page of the last verdict: drawn when somebody asks or the alarm changes, and kept till the next."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

import structlog

from drift.errors import ReportError, ShuttingDownError
from drift.report.handover import ReportResult
from drift.report.reporter import Reporter
from drift.rows import Reference, Rows
from drift.statistics.choice import Methods

__all__ = ["ReportDesk", "Subject"]

log = structlog.stdlib.get_logger("drift")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a verdict was reached on; two of the same rows are two subjects."""

    reference: Reference
    current: Rows


class ReportDesk:
    """Draws what was reached last. Its thread is its own: evaluations never wait for a page."""

    def __init__(
        self,
        reporter: Reporter,
        methods: Methods,
        drawn: Callable[[ReportResult], None] = lambda _result: None,
    ) -> None:
        """Draw by `reporter`; `drawn` learns of each result."""
        self._reporter, self._methods, self._drawn = reporter, methods, drawn
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="report")
        self._lock = threading.Lock()
        self._subject: Subject | None = None
        self._drawing: tuple[Subject, Future[bytes]] | None = None
        self._alarm = False
        self._stopping = False

    def take(self, subject: Subject, *, alarm: bool) -> None:
        """Take in the last verdict, and begin to draw it when the alarm began or ended with it."""
        with self._lock:
            changed, self._alarm = alarm != self._alarm, alarm
            self._subject = subject
            if changed and not self._stopping:
                self._begin(subject)

    def report(self) -> Future[bytes] | None:
        """Begin to draw the last verdict, or join who does; None before the first one.

        The future gives the page as HTML, or raises `ReportError`; what failed is tried again at the next call.
        Raises `ShuttingDownError`.
        """
        with self._lock:
            if self._stopping:
                raise ShuttingDownError
            return None if self._subject is None else self._begin(self._subject)

    def stop(self, timeout_seconds: float) -> bool:
        """Draw no more, end what is being drawn; return whether it ended in time."""
        with self._lock:
            self._stopping = True
            drawing = self._drawing
            self._worker.shutdown(wait=False, cancel_futures=True)
        self._reporter.stop()
        if drawing is None or drawing[1].cancelled():
            return True
        return not wait([drawing[1]], timeout_seconds).not_done

    def _begin(self, subject: Subject) -> Future[bytes]:
        if self._drawing is None or self._drawing[0] is not subject or _failed(self._drawing[1]):
            self._drawing = (subject, self._worker.submit(self._draw, subject))
        return self._drawing[1]

    def _draw(self, subject: Subject) -> bytes:
        try:
            result = self._reporter.draw(subject.reference, subject.current, self._methods)
        except ReportError as error:
            log.error("the report was not drawn", reason=str(error))
            raise
        check = result.cross_check
        log.info(
            "report drawn",
            size_bytes=len(result.html),
            cross_check_difference=check.largest_difference,
            cross_check_column=check.column,
            features_left_out=result.left_out,
        )
        self._drawn(result)
        return result.html


def _failed(drawing: Future[bytes]) -> bool:
    return drawing.done() and (drawing.cancelled() or drawing.exception() is not None)
