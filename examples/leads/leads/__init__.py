"""From a lead to a letter: four pipelines on four queues, each handing the lead on to the next.

    lead.intake ------> site.build ------> email.compose ------> delivery.send
    checks a lead       writes its page    writes the letter     hands it over

A pipeline keeps what it made and asks for the next run in one transaction, so the lead is always in exactly one place:
a crash before the commit has done nothing, and one after it leaves nothing to do.
"""

from __future__ import annotations

from .delivery import send
from .intake import intake
from .letter import compose
from .report import report
from .website import build

__all__ = ["build", "compose", "intake", "report", "send"]
