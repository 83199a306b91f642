"""Who asks, and what they may: the kernel says who connected, the configuration which role that gives.

    admin      root, and the daemon's own user
    operate    the members of control.group
    view       the members of control.viewers, or everyone

Each role may all that those below it may; which one a command needs is a column of its row in `commands.py`.
"""

from __future__ import annotations

import grp
import os
import socket
import struct
from typing import NamedTuple

from orbitd.control.commands import Command, Role
from orbitd.errors import Refused

EVERYONE = "everyone"
"""As control.viewers: any user of this machine."""

_CREDENTIALS = struct.Struct("iII")
_SO_PEERGROUPS = 59
_MOST_GROUP_BYTES = 1024


class Peer(NamedTuple):
    """Who connected: user and groups at the time of connect(), as the kernel saw them."""

    uid: int
    groups: frozenset[int]


def peer_of(connection: socket.socket) -> Peer:
    """The one at the other end. Of its groups the first alone where the kernel does not tell the others."""
    _, uid, gid = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    try:
        told = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUP_BYTES)
    except OSError:  # an old kernel, or more groups than fit
        return Peer(uid, frozenset({gid}))
    return Peer(uid, frozenset({gid, *struct.unpack(f"{len(told) // 4}I", told)}))


class Access:
    """Who has which role. `group` and `viewers` are names of groups, "" for none; a group that does not exist has no members.

    They are looked up here and never again: the group database may be a server that does not answer.
    """

    def __init__(self, group: str = "", viewers: str = "") -> None:
        self._group, self._viewers = group, viewers
        self.operators_gid = _group_id(group)
        self._viewers_gid = _group_id(viewers)

    @property
    def has_viewers(self) -> bool:
        """Whether others than admins and operators may look."""
        return self._viewers == EVERYONE or self._viewers_gid is not None

    def role_of(self, peer: Peer) -> Role:
        """The highest that it has."""
        if peer.uid in {0, os.geteuid()}:
            return Role.ADMIN
        if self.operators_gid in peer.groups:
            return Role.OPERATE
        return Role.VIEW if self._viewers == EVERYONE or self._viewers_gid in peer.groups else Role.NONE

    def refusal(self, peer: Peer, command: Command | None = None) -> Refused | None:
        """Why a peer may not give a command, or any at all; None if it may."""
        role, needed = self.role_of(peer), command.role if command else Role.VIEW
        if role >= needed:
            return None
        what = command.name if command else "use this daemon"
        return Refused(f"user {peer.uid} may not {what}: that needs the role {needed.word}, and it has {role.word}", self._who_has(needed))

    def _who_has(self, role: Role) -> str:
        own = os.geteuid()
        having = ["as root", *([f"as user {own}"] if own else [])]
        if role <= Role.OPERATE and self.operators_gid is not None:
            having.append(f"as a member of group {self._group}")
        if role <= Role.VIEW and self._viewers_gid is not None:
            having.append(f"as a member of group {self._viewers}")
        return f"ask {', '.join(having[:-1])} or {having[-1]}" if having[1:] else f"ask {having[0]}"


def _group_id(name: str) -> int | None:
    """The id of a group; None when there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
