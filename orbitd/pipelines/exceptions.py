"""What pipeline code raises to say how its attempt ends, and what the daemon raises in pipeline code to end it.

    Exception
     ├─ Retry        raised by authors: try again, later
     ├─ Permanent    raised by authors: no further attempt will help
     ├─ Snooze       raised by authors: not now; the attempt does not count
     ├─ BadArguments the arguments do not fit the pipeline
     └─ BadResult    a result, or a step's output, is not JSON
    BaseException
     ├─ RunStopped   the daemon ends the run: RunTimeout, RunCancelled, RunInterrupted, RunOverMemory
     └─ Fenced       the run belongs to somebody else by now

The last two do not derive from Exception, so that `except Exception` in pipeline code lets them through while
`finally` still cleans up.
"""

from __future__ import annotations

from orbitd.units import as_seconds


class Retry(Exception):
    """Raised by a pipeline: this attempt failed, try again `after` ("5m" or seconds; None: by the pipeline's backoff).

    Raises ValueError for what is no duration.
    """

    def __init__(self, after: str | float | None = None, message: str = "the pipeline asked for another attempt") -> None:
        super().__init__(after, message)
        self.after_seconds = None if after is None else as_seconds(after)
        self.message = message

    def __str__(self) -> str:
        return self.message


class Permanent(Exception):
    """Raised by a pipeline: the run failed, and no further attempt will help."""


class Snooze(Exception):
    """Raised by a pipeline: run me again `after` ("10m" or seconds), without counting this attempt.

    Raises ValueError for what is no duration.
    """

    def __init__(self, after: str | float) -> None:
        super().__init__(after)
        self.after_seconds = as_seconds(after)

    def __str__(self) -> str:
        return f"snoozed for {self.after_seconds:g} s"


class BadArguments(Exception):
    """The arguments of a run cannot be read, or do not fit its pipeline."""


class BadResult(Exception):
    """A result, or the output of a step, cannot be stored as JSON."""


class RunStopped(BaseException):
    """The daemon ends the run that is being executed; the message says why."""


class RunTimeout(RunStopped):
    """The run has taken longer than its timeout."""


class RunCancelled(RunStopped):
    """Somebody cancelled the run."""


class RunInterrupted(RunStopped):
    """The daemon stops and gives the run back."""


class RunOverMemory(RunStopped):
    """The child needs far more memory than it may have."""


class Fenced(BaseException):
    """The run is no longer ours: nothing that we write about it may count."""
