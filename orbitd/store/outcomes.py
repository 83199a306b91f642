"""How an attempt ended, as a child reports it.

    Report.succeeded     -> succeeded
    Report.retry         -> retried, and scheduled again; one error more
    Report.snoozed       -> snoozed, and scheduled again
    Report.interrupted   -> interrupted, and pending again in its old place
    Report.failed        -> failed, in the dead-letter queue; one error more
    Report.cancelled     -> cancelled

Only these constructors make reports, so that no impossible one can be written down; the table's CHECKs say the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from orbitd.store.rows import Fence

MAX_ERROR_BYTES = 8 * 1024
MAX_TRACE_BYTES = 64 * 1024

_UNSTORABLE = "(this text cannot be stored)"


class Outcome(StrEnum):
    """How one attempt ended."""

    SUCCEEDED = "succeeded"
    RETRIED = "retried"
    SNOOZED = "snoozed"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    CANCELLED = "cancelled"


def clean_text(text: str, max_bytes: int) -> str:
    """The text as any Postgres can store it: no NUL, no lone surrogate, its middle cut out when it is too long.

    Never raises: what is not even a proper text becomes a constant that says so.
    """
    try:
        encoded = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}").encode()
        if len(encoded) > max_bytes:
            mark = f"\n... {len(encoded)} bytes, cut here ...\n".encode()
            half = max(0, max_bytes - len(mark)) // 2
            encoded = encoded[:half] + mark + encoded[len(encoded) - half :]
        return encoded.decode("utf-8", "ignore")
    except Exception:  # noqa: BLE001  a subclass of str may do anything
        return _UNSTORABLE


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt did not succeed; the texts are cleaned and cut here."""

    cause: str
    error: str
    traceback: str | None = None
    stack: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", clean_text(self.error, MAX_ERROR_BYTES))
        for name in ("traceback", "stack"):
            if (text := getattr(self, name)) is not None:
                object.__setattr__(self, name, clean_text(text, MAX_TRACE_BYTES))

    def without_texts(self) -> Failure:
        """The same cause with a constant for its error: for a database that cannot store these characters."""
        return replace(self, error=_UNSTORABLE, traceback=None, stack=None)


@dataclass(frozen=True, slots=True)
class Report:
    """How one attempt ended. Made by the constructors below only.

    `seconds` is how long it took, for those that waited for their turn after the claim.
    """

    fence: Fence
    outcome: Outcome
    delay_seconds: float | None = None
    result: str | None = None
    failure: Failure | None = None
    seconds: float | None = None

    @classmethod
    def succeeded(cls, fence: Fence, result: str, seconds: float | None = None) -> Report:
        """It returned; `result` is JSON text."""
        return cls(fence, Outcome.SUCCEEDED, result=result, seconds=seconds)

    @classmethod
    def retry(cls, fence: Fence, delay_seconds: float, failure: Failure) -> Report:
        """It failed, and has attempts left: again after a delay."""
        return cls(fence, Outcome.RETRIED, delay_seconds=delay_seconds, failure=failure)

    @classmethod
    def snoozed(cls, fence: Fence, delay_seconds: float) -> Report:
        """It asked to be called again later; that is no error."""
        return cls(fence, Outcome.SNOOZED, delay_seconds=delay_seconds)

    @classmethod
    def failed(cls, fence: Fence, failure: Failure) -> Report:
        """It failed for good."""
        return cls(fence, Outcome.FAILED, failure=failure)

    @classmethod
    def cancelled(cls, fence: Fence, failure: Failure | None = None) -> Report:
        """It was stopped because somebody cancelled the run."""
        return cls(fence, Outcome.CANCELLED, failure=failure)

    @classmethod
    def interrupted(cls, fence: Fence, failure: Failure) -> Report:
        """It was stopped because the daemon stops: the run goes on later, uncharged."""
        return cls(fence, Outcome.INTERRUPTED, failure=failure)

    def after_refusal(self, why: str) -> Report | None:
        """What to report instead to a database that cannot store this one. None: nothing, it cannot be the texts."""
        if self.result is not None:
            failure = Failure(cause="bad_result", error=f"the database cannot store the result: {why}")
            return replace(Report.failed(self.fence, failure), seconds=self.seconds)
        plain = replace(self, failure=self.failure and self.failure.without_texts())
        return None if plain == self else plain
