"""Who may ask for what: root, the daemon's user, control.group, control.viewers. Each asker is a process of another user."""

from __future__ import annotations

import grp
import json
import os
import pwd
import selectors
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from orbitd.control import peer
from orbitd.control.commands import COMMANDS, Command, Kind, Role
from orbitd.control.peer import EVERYONE, Access, Peer
from orbitd.control.server import Server
from orbitd.control.wire import Answer, encode_request, parse_answer
from orbitd.errors import OrbitError, Refused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")

GROUP, VIEWERS = [group for group in grp.getgrall() if group.gr_gid not in (0, 65534)][:2]
STRANGER = 54321
# The standard library of the system's own interpreter: a stranger may not be able to read ours.
PYTHON = Path(sys.base_prefix, "bin", "python3")
ASK = """
import contextlib, socket, sys
with socket.socket(socket.AF_UNIX) as asker:
    asker.connect(sys.argv[1])
    with contextlib.suppress(OSError):  # whoever is refused is told so before he has asked
        asker.sendall(sys.argv[2].encode())
        asker.shutdown(socket.SHUT_WR)
    with contextlib.suppress(ConnectionResetError):
        for line in asker.makefile():
            sys.stdout.write(line)
"""
PATIENCE_SECONDS = 20.0
A_VALUE: dict[Kind, object] = {Kind.INTEGER: 0, Kind.AMOUNT: "2", Kind.TEXT: "info"}


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that everybody may pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="orbitd-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def required(command: Command) -> dict[str, object]:
    """The least that a command must be given."""
    return {argument.name: A_VALUE[argument.kind] for argument in command.arguments if argument.positional and argument.default is None}


class Daemon:
    """A server for a group and viewers, whose loop turns while somebody asks."""

    def __init__(self, path: Path, group: str = "", viewers: str = "") -> None:
        self.path = path
        self.selector = selectors.DefaultSelector()
        self.server = Server(path, self.selector, lambda _request: Answer({"pong": True}), access=Access(group, viewers))

    def asked_by(self, user: int, group: int, *more_groups: int) -> dict[str, Any]:
        """The answer to a ping of somebody. Raises Refused, and PermissionError when the kernel lets nobody through."""
        return parse_answer(self._answers(["ping"], user, group, *more_groups)[0])

    def allowed(self, user: int, group: int, *more_groups: int) -> set[str]:
        """The commands that somebody may give, of all."""
        answers = self._answers(list(COMMANDS), user, group, *more_groups)
        assert {json.loads(answer).get("error", {}).get("code", "ok") for answer in answers} <= {"ok", "refused"}
        return {name for name, answer in zip(COMMANDS, answers, strict=True) if json.loads(answer)["ok"]}

    def _answers(self, commands: Sequence[str], user: int, group: int, *more_groups: int) -> list[bytes]:
        lines = "".join(encode_request(name, required(COMMANDS[name])).decode() for name in commands)
        command = [str(PYTHON), "-I", "-c", ASK, str(self.path), lines]
        asker = subprocess.Popen(
            command, user=user, group=group, extra_groups=more_groups, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        while asker.poll() is None and time.monotonic() < deadline:
            for key, _ in self.selector.select(0.01):
                key.data()
            self.server.settle(time.monotonic())
        told, complaint = asker.communicate(timeout=PATIENCE_SECONDS)
        if b"PermissionError" in complaint:
            raise PermissionError
        return told.splitlines()

    def close(self) -> None:
        self.server.close()
        self.selector.close()


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    daemon = Daemon(folder / "run/orbitd.sock", GROUP.gr_name)
    yield daemon
    daemon.close()


def mode_and_group(path: Path) -> tuple[int, int]:
    status = path.stat()
    return stat.S_IMODE(status.st_mode), status.st_gid


def test_the_socket_belongs_to_the_group_and_so_does_the_folder_that_was_made_for_it(daemon: Daemon) -> None:
    assert mode_and_group(daemon.path) == (0o660, GROUP.gr_gid)
    assert mode_and_group(daemon.path.parent) == (0o710, GROUP.gr_gid)


def test_a_member_may_ask_whether_the_group_is_its_first_or_another(daemon: Daemon) -> None:
    assert daemon.asked_by(STRANGER, GROUP.gr_gid) == {"pong": True}
    assert daemon.asked_by(STRANGER, STRANGER, GROUP.gr_gid) == {"pong": True}


def test_root_may_ask(daemon: Daemon) -> None:
    assert daemon.asked_by(0, 0) == {"pong": True}


def test_the_kernel_keeps_others_away(daemon: Daemon) -> None:
    with pytest.raises(PermissionError):
        daemon.asked_by(STRANGER, STRANGER)


def test_others_are_refused_even_when_somebody_has_opened_the_socket_to_all(daemon: Daemon) -> None:
    daemon.path.parent.chmod(0o711)
    daemon.path.chmod(0o666)
    with pytest.raises(Refused, match=f"user {STRANGER} may not use this daemon: that needs the role view, and it has none") as refused:
        daemon.asked_by(STRANGER, STRANGER)
    assert f"as a member of group {GROUP.gr_name}" in str(refused.value)


def test_a_socket_that_was_removed_comes_back_for_the_same_group(daemon: Daemon) -> None:
    daemon.path.unlink()
    daemon.server.ensure_bound()
    assert mode_and_group(daemon.path) == (0o660, GROUP.gr_gid)
    assert daemon.asked_by(STRANGER, GROUP.gr_gid) == {"pong": True}


def test_a_folder_that_was_there_before_keeps_its_mode(folder: Path) -> None:
    (folder / "run").mkdir(mode=0o700)
    daemon = Daemon(folder / "run/orbitd.sock", GROUP.gr_name)
    try:
        assert mode_and_group(folder / "run") == (0o700, folder.stat().st_gid)
        with pytest.raises(PermissionError):
            daemon.asked_by(STRANGER, GROUP.gr_gid)
    finally:
        daemon.close()


@pytest.mark.parametrize("group", ["", "no-such-group"])
def test_without_such_a_group_the_socket_is_for_its_own_user_alone(folder: Path, group: str) -> None:
    daemon = Daemon(folder / "orbitd.sock", group)
    try:
        assert mode_and_group(daemon.path)[0] == 0o600
        daemon.path.chmod(0o666)
        with pytest.raises(OrbitError, match="may not use"):
            daemon.asked_by(STRANGER, GROUP.gr_gid)
    finally:
        daemon.close()


def of_role(role: Role) -> set[str]:
    return {name for name, row in COMMANDS.items() if row.role <= role}


def test_every_role_is_told_by_the_rows_of_the_table() -> None:
    assert all(row.role is not Role.VIEW or row.effect == "reads" for row in COMMANDS.values())
    assert {"status", "list", "health", "metrics", "events", "ping", "version"} <= of_role(Role.VIEW)
    assert {"scale", "reload", "pause", "kill"} <= of_role(Role.OPERATE) - of_role(Role.VIEW)
    assert "stop" not in of_role(Role.OPERATE)
    assert Command("new", "changes", "a row that forgot its role").role is Role.ADMIN


def test_everybody_may_what_his_role_allows_and_nothing_else(folder: Path) -> None:
    daemon = Daemon(folder / "run/orbitd.sock", GROUP.gr_name, VIEWERS.gr_name)
    try:
        assert daemon.allowed(0, 0) == set(COMMANDS)
        assert daemon.allowed(STRANGER, STRANGER, VIEWERS.gr_gid, GROUP.gr_gid) == of_role(Role.OPERATE)
        assert daemon.allowed(STRANGER, VIEWERS.gr_gid) == of_role(Role.VIEW)
        with pytest.raises(Refused, match="it has none") as refused:
            daemon.asked_by(STRANGER, STRANGER)
        assert refused.value.hint == f"ask as root, as a member of group {GROUP.gr_name} or as a member of group {VIEWERS.gr_name}"
    finally:
        daemon.close()


def test_everyone_may_look_when_it_is_so_configured(folder: Path) -> None:
    daemon = Daemon(folder / "run/orbitd.sock", viewers=EVERYONE)
    try:
        assert daemon.allowed(STRANGER, STRANGER) == of_role(Role.VIEW)
    finally:
        daemon.close()


def test_a_refusal_names_who_asked_the_role_that_is_needed_and_who_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 812)
    access, viewer = Access(GROUP.gr_name, EVERYONE), Peer(STRANGER, frozenset())
    stop, scale = access.refusal(viewer, COMMANDS["stop"]), access.refusal(viewer, COMMANDS["scale"])
    assert stop is not None
    assert scale is not None
    assert stop.message == f"user {STRANGER} may not stop: that needs the role admin, and it has view"
    assert (stop.hint, stop.exit_code) == ("ask as root or as user 812", 5)
    assert scale.hint == f"ask as root, as user 812 or as a member of group {GROUP.gr_name}"
    assert access.refusal(viewer, COMMANDS["status"]) is None
    assert access.role_of(Peer(812, frozenset())) is Role.ADMIN


@pytest.mark.parametrize("viewers", [EVERYONE, VIEWERS.gr_name])
def test_with_viewers_the_socket_can_be_reached_by_all_and_so_can_the_folder_that_was_made_for_it(folder: Path, viewers: str) -> None:
    daemon = Daemon(folder / "run/orbitd.sock", GROUP.gr_name, viewers)
    try:
        assert mode_and_group(daemon.path) == (0o666, GROUP.gr_gid)
        assert mode_and_group(daemon.path.parent) == (0o711, GROUP.gr_gid)
    finally:
        daemon.close()


def test_viewers_of_a_group_that_does_not_exist_open_nothing(folder: Path) -> None:
    daemon = Daemon(folder / "run/orbitd.sock", viewers="no-such-group")
    try:
        assert mode_and_group(daemon.path)[0] == 0o600
        assert mode_and_group(daemon.path.parent)[0] == 0o700
    finally:
        daemon.close()


def test_viewers_who_cannot_reach_the_socket_are_worth_a_warning(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "run").mkdir(mode=0o700)
    Daemon(folder / "run/orbitd.sock", viewers=EVERYONE).close()
    assert f"control.viewers may not pass through {folder}/run" in caplog.text
    assert mode_and_group(folder / "run")[0] == 0o700


@pytest.mark.parametrize("viewers", ["", EVERYONE])
def test_at_no_time_is_the_socket_open_to_another_group(folder: Path, monkeypatch: pytest.MonkeyPatch, viewers: str) -> None:
    seen: list[tuple[int, int]] = []
    give = os.chown

    def chown(path: Path, user: int, group: int) -> None:
        seen.append(mode_and_group(path))
        give(path, user, group)

    monkeypatch.setattr(os, "chown", chown)
    daemon = Daemon(folder / "orbitd.sock", GROUP.gr_name, viewers)
    daemon.close()
    assert seen == [(0o600, folder.stat().st_gid)]


def test_a_group_that_we_may_not_give_the_socket_to_gets_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def chown(_path: Path, _user: int, _group: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", chown)
    daemon = Daemon(folder / "orbitd.sock", GROUP.gr_name)
    try:
        assert mode_and_group(daemon.path)[0] == 0o600
    finally:
        daemon.close()


def test_the_group_database_is_asked_at_the_start_and_never_while_serving(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody_answers(*_question: object) -> None:
        pytest.fail("the group database was asked")

    monkeypatch.setattr(grp, "getgrnam", nobody_answers)
    monkeypatch.setattr(os, "getgrouplist", nobody_answers)
    daemon.path.unlink()
    daemon.server.ensure_bound()
    assert mode_and_group(daemon.path) == (0o660, GROUP.gr_gid)
    assert daemon.asked_by(STRANGER, STRANGER, GROUP.gr_gid) == {"pong": True}


def test_where_the_kernel_does_not_tell_the_other_groups_only_the_first_counts(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "_SO_PEERGROUPS", -1)
    assert daemon.asked_by(STRANGER, GROUP.gr_gid) == {"pong": True}
    known = pwd.getpwuid(next(user.pw_uid for user in pwd.getpwall() if user.pw_uid))
    monkeypatch.setattr(os, "getgrouplist", lambda *_: [GROUP.gr_gid])
    with pytest.raises(Refused):
        daemon.asked_by(known.pw_uid, STRANGER, GROUP.gr_gid)
