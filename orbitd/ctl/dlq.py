"""The verbs that look at dead letters; what is done to them is in `acts`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from orbitd import store
from orbitd.ctl import show_runs
from orbitd.ctl.database import connected
from orbitd.ctl.runs import MOST_LISTED, before, check_between, older
from orbitd.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbitd.ctl.app import Session, Verb


def list_dead_letters(session: Session) -> int:
    """`orbitctl dlq list`."""
    args = session.args
    check_between("limit", args["limit"], MOST_LISTED)
    wanted = store.parse_filter(" ".join(args["filter"]))
    with connected(session) as conn:
        page = store.dlq_list(conn, wanted, include_resolved=args["resolved"], limit=args["limit"], before=before(conn, session))
    document = {"schema": "orbit.dlq/1", "items": page.items, "next": page.next}
    session.out.document(document, show_runs.dead_letters(document, session.out.style, datetime.now(UTC), older(session, page)))
    return ExitCode.OK


def show_dead_letter(session: Session) -> int:
    """`orbitctl dlq show RUN`."""
    with connected(session) as conn:
        document = store.dlq_show(conn, store.resolve(conn, session.args["run"]))
    session.out.document(document, show_runs.dead_letter(document, session.out.style, datetime.now(UTC)))
    return ExitCode.OK


VERBS: Mapping[str, Verb] = {"dlq list": list_dead_letters, "dlq show": show_dead_letter}
