"""Who may ask: bearer tokens, compared in constant time, and a limit on guessing."""

import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from inference.errors import OverloadError, PermissionDeniedError, UnauthenticatedError

__all__ = ["AdminGuards", "TokenGuard", "admin_guards"]

#: Wrong tokens that one address may show within `_WINDOW_SECONDS`; further ones are refused for as long.
#: A person who mistypes never gets there, and guessing 2^128 tokens at this rate is hopeless.
MAX_FAILURES: Final = 10
_WINDOW_SECONDS: Final = 60.0
#: Addresses whose failures are remembered; the oldest is forgotten beyond that.
_MAX_ADDRESSES: Final = 1024


class TokenGuard:
    """Lets requests pass that show `token`: as `Authorization: Bearer …`, or in `header` when that is named.

    With `locks_out` an address that guessed too often is not listened to at all for a while. Without, its right
    token still passes: behind a proxy all callers have one address, and one of them must not lock out the others.
    Without a token, `PermissionDeniedError` is raised when `required`, with `refusal` as its sentence, and
    everything passes when not.
    """

    def __init__(
        self,
        token: str | None,
        *,
        variable: str,
        header: str = "",
        required: bool,
        refusal: str = "",
        locks_out: bool = False,
    ) -> None:
        self._token = token.encode() if token else None
        self._variable = variable
        self._header = header
        self._required = required
        self._refusal = refusal
        self._locks_out = locks_out
        self._lock = threading.Lock()
        # When each address failed within the window, the oldest address first.
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def open(self) -> bool:
        """Whether everything passes."""
        return self._token is None and not self._required

    def check(self, headers: Mapping[str, str], address: Callable[[], str]) -> None:
        """Pass, or raise `PermissionDeniedError`, `UnauthenticatedError` or, for guessing, `OverloadError`.

        `headers` has lower-case names; `address` tells where the request comes from, asked only when needed.
        """
        if self._token is None:
            if self._required:
                raise PermissionDeniedError(self._refusal)
            return
        if self._locks_out and self._failures:
            self._refuse_guessing(address())
        if not hmac.compare_digest(self._shown(headers).encode(), self._token):
            self._refuse_guessing(address())
            self._remember(address())
            named = f"{self._header}, or as " if self._header else ""
            raise UnauthenticatedError(f"show the token as {named}authorization: Bearer ({self._variable})")

    def _shown(self, headers: Mapping[str, str]) -> str:
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        shown = headers.get(self._header, "") if self._header else ""
        return shown or (bearer.strip() if scheme.lower() == "bearer" else "")

    def _refuse_guessing(self, address: str) -> None:
        with self._lock:
            recent = self._recent(address)
            if len(recent) < MAX_FAILURES:
                return
            wait = recent[-MAX_FAILURES] + _WINDOW_SECONDS - time.monotonic()
        raise OverloadError("tokens", "too many wrong tokens came from this address; try again later", wait)

    def _remember(self, address: str) -> None:
        with self._lock:
            self._failures[address] = [*self._recent(address), time.monotonic()][-MAX_FAILURES:]
            self._failures.move_to_end(address)
            while len(self._failures) > _MAX_ADDRESSES:
                self._failures.popitem(last=False)

    def _recent(self, address: str) -> list[float]:
        oldest = time.monotonic() - _WINDOW_SECONDS
        recent = [moment for moment in self._failures.get(address, ()) if moment > oldest]
        if not recent:
            self._failures.pop(address, None)
        return recent


class AdminGuards(NamedTuple):
    """Who may change the model, by where the request comes in."""

    #: On GRPC_PORT and HTTP_PORT.
    public: TokenGuard
    #: On ADMIN_PORT.
    admin: TokenGuard


def admin_guards(token: str | None, *, elsewhere: bool) -> AdminGuards:
    """Return the guards for `token`; with a listener `elsewhere` for admin requests nobody passes the public one."""
    guard = _admin_guard(token, "admin requests are off: set ADMIN_API_TOKEN to allow them")
    if not elsewhere:
        return AdminGuards(guard, guard)
    return AdminGuards(
        _admin_guard(None, "admin requests are answered on ADMIN_HOST, port ADMIN_PORT, alone"), guard
    )


def _admin_guard(token: str | None, refusal: str) -> TokenGuard:
    return TokenGuard(
        token,
        variable="ADMIN_API_TOKEN",
        header="x-admin-token",
        required=True,
        refusal=refusal,
        locks_out=True,
    )
