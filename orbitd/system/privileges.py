"""Whose rights a process has, and which limits: what only root may give, it gives before it becomes another user."""

from __future__ import annotations

import os
import pwd
import resource
import stat
from collections.abc import Iterable
from pathlib import Path

from orbitd.errors import ConfigError, why
from orbitd.system import process


def require(user: str) -> None:
    """Raise ConfigError unless we can become that user; "" is whoever we are."""
    if user and _account(user).pw_uid != os.geteuid() and os.geteuid() != 0:
        raise ConfigError(
            f'children.user is "{user}", and only root can become another user', "start orbitd as root, or leave children.user empty"
        )


def drop(user: str, parent_pid: int) -> None:
    """Become that user for good, with his groups and his home; "" is whoever we are. Raises ConfigError.

    The kernel forgets PR_SET_PDEATHSIG on the way: it is set again, as by `process.die_with_parent`.
    """
    require(user)
    if not user or (account := _account(user)).pw_uid == os.geteuid():
        return
    try:
        os.initgroups(account.pw_name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    except OSError as error:  # root of a container, without the capability
        raise ConfigError(f'children.user: cannot become "{user}": {why(error)}', "give orbitd CAP_SETUID and CAP_SETGID") from error
    process.be_readable_by_its_user()
    process.die_with_parent(parent_pid)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)


def share_folder(folder: Path, user: str) -> None:
    """See that the user's processes can write the log files too: a folder that is not there is made for him. Raises ConfigError.

    What root writes there belongs to the folder's owner. One that is there stays as it is: it may hold more than ours.
    """
    account = _account(user)
    try:
        if not folder.exists():
            folder.mkdir(mode=0o750, parents=True)
            os.chown(folder, account.pw_uid, account.pw_gid)
        facts = folder.stat()
    except OSError as error:
        raise ConfigError(f"logging.dir: cannot make {folder} for {user}: {why(error)}", "name another folder") from error
    is_his = facts.st_uid == account.pw_uid
    is_his_groups = facts.st_mode & stat.S_IWGRP and facts.st_gid in os.getgrouplist(user, account.pw_gid)
    if not (is_his or is_his_groups or facts.st_mode & stat.S_IWOTH):
        raise ConfigError(f"logging.dir: children.user {user} cannot write to {folder}", f"give it to him: chown -R {user} {folder}")


def limit(limits: Iterable[str]) -> None:
    """Set limits, soft and hard, such as "nofile=4096" or "core=unlimited". Raises ConfigError."""
    for each in limits:
        name, _, amount = each.partition("=")
        number = getattr(resource, f"RLIMIT_{name.upper()}")
        value = resource.RLIM_INFINITY if amount == "unlimited" else int(amount)
        try:
            resource.setrlimit(number, (value, value))
        except (OSError, ValueError) as error:  # ValueError: more than the hard limit, and we are not root
            hard = resource.getrlimit(number)[1]
            most = "unlimited" if hard == resource.RLIM_INFINITY else hard
            raise ConfigError(
                f'children.rlimits: "{each}" cannot be set: {error}', f"the hard limit is {most}, and only root may raise it"
            ) from error


def set_oom_score_adj(points: int) -> None:
    """Raise or lower the badness of this process in the kernel's eyes; 0 leaves it as it is. Raises ConfigError."""
    if not points:
        return
    try:
        Path("/proc/self/oom_score_adj").write_text(str(points))
    except OSError as error:
        raise ConfigError(f"children.oom_score_adj: {points} cannot be set: {why(error)}", "only root may lower it") from error


def _account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise ConfigError(f'children.user: there is no user "{user}"', "create it, or leave children.user empty") from None
