"""The verbs that the daemon answers: what they print, and what they end with."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from orbitd.control.commands import COMMANDS
from tests.ctl.conftest import Orbitctl

needs_daemon = pytest.mark.usefixtures("daemon")


@needs_daemon
def test_status_tells_problems_first_each_with_its_command(orbitctl: Orbitctl) -> None:
    called = orbitctl("status")
    assert called.code == 0
    assert called.out.splitlines()[:4] == [
        "✗ slot 2 is held: 11 early deaths",
        "  the last: SIGSEGV",
        "  → orbitctl list",
        "",
    ]
    assert "orbitd      ⚡ degraded · pid 812 · generation 7 · version 0.1.0\n" in called.out
    assert "children    2 of 4 ready · 1 busy · 2 backoff\n" in called.out
    assert "processes   arbiter 812 · mold 813 starting · janitor 814\n" in called.out
    assert " · ImportError: no module\n" in called.out
    assert not called.err


@needs_daemon
def test_status_as_a_document(orbitctl: Orbitctl) -> None:
    document = orbitctl("status", "--json").document
    assert document["schema"] == "orbit.status/1"
    assert document["children"] == {"target": 4, "ready": 2, "busy": 1, "draining": 0, "starting": 0, "backoff": 2}


@needs_daemon
def test_list_has_the_worst_slots_first_and_nothing_that_moves_the_cursor(orbitctl: Orbitctl) -> None:
    called = orbitctl("ls")
    assert [line.split()[0] for line in called.out.splitlines()] == ["SLOT", "2", "3", "1", "0"]
    assert "invoice.\\x1b[31msync  " in called.out
    assert "4711" in called.out
    assert "\x1b" not in called.out
    assert [slot["slot"] for slot in orbitctl("list", "--json").document["slots"]] == [0, 1, 2, 3]


@needs_daemon
@pytest.mark.parametrize("verb", ["pause", "unpause", "reload"])
def test_an_order_is_told_as_done(orbitctl: Orbitctl, verb: str) -> None:
    called = orbitctl(verb)
    assert (called.code, called.out, called.err) == (0, f"{verb}: done\n", "")
    assert orbitctl(verb, "--json").document["changed"] is True


@needs_daemon
@pytest.mark.parametrize("amount", ["4", "+2", "-1"])
def test_scale_takes_a_number_or_a_change(orbitctl: Orbitctl, amount: str) -> None:
    assert orbitctl("scale", amount).code == 0


@needs_daemon
def test_a_reload_that_is_waited_for_ends_with_the_fault(orbitctl: Orbitctl) -> None:
    called = orbitctl("reload", "--wait")
    assert called.code == 78
    assert called.err == "orbitctl: /etc/orbitd.toml:3: children.count: is true\nhint: correct it\n"
    assert orbitctl("--json", "reload", "--wait").error == {
        "code": "config",
        "message": "/etc/orbitd.toml:3: children.count: is true",
        "hint": "correct it",
    }


@needs_daemon
def test_a_reload_on_trial_tells_what_would_change(orbitctl: Orbitctl) -> None:
    called = orbitctl("reload", "--dry-run")
    assert called.code == 0
    assert called.out.splitlines()[:3] == [
        "children.count  live: the new value counts at once",
        '  now   "auto" (2)',
        "  then  4  /etc/orbitd.toml:12:1",
    ]
    assert "BILLING_\\x1b[31mTOKEN" in called.out
    assert called.out.splitlines()[-1] == "the code would be imported anew, whether it has changed or not"
    assert orbitctl("reload", "--dry-run", "--json").document["items"][0]["reload"] == "live"


@needs_daemon
def test_waiting_has_an_end(orbitctl: Orbitctl) -> None:
    called = orbitctl("scale", "4", "--wait", "--timeout", "50ms")
    assert called.code == 124
    assert "the scale was not done within 50ms; it goes on" in called.err


def test_stop_returns_at_once(orbitctl: Orbitctl, daemon: subprocess.Popen[str]) -> None:
    assert orbitctl("stop", "--json").document["now"] is False
    assert orbitctl("stop", "--now", "--json").document["now"] is True
    assert daemon.wait(10) == 0
    assert orbitctl("stop").code == 3


def test_stop_that_is_waited_for_returns_when_the_process_has_ended(orbitctl: Orbitctl, daemon: subprocess.Popen[str]) -> None:
    called = orbitctl("stop", "--now", "--wait", "--timeout", "20s")
    assert (called.code, called.out) == (0, "orbitd has ended\n")
    assert daemon.poll() == 0


@needs_daemon
def test_a_stop_that_takes_too_long_is_waited_for_no_longer(orbitctl: Orbitctl) -> None:
    called = orbitctl("stop", "--wait", "--timeout", "50ms")
    assert called.code == 124
    assert "orbitd has not ended within 0.05s" in called.err


def test_a_daemon_that_is_silent_is_waited_for_no_longer(
    orbitctl: Orbitctl, daemon: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orbitd.ctl.daemon._ANSWER_SECONDS", 0.05)
    daemon.send_signal(signal.SIGSTOP)
    called = orbitctl("status")
    assert called.code == 124
    assert "and did not answer status within 0.05s" in called.err
    assert "orbitctl status --offline" in called.err


def test_without_a_daemon_the_verbs_say_so(orbitctl: Orbitctl) -> None:
    called = orbitctl("status")
    assert called.code == 3
    assert called.out == ""
    assert "orbitd is not running: nobody listens on " in called.err
    assert "hint: start it with `orbitd`" in called.err
    assert orbitctl("status", "--json").error["code"] == "not_running"


def test_version_answers_without_a_daemon_too(orbitctl: Orbitctl) -> None:
    called = orbitctl("version")
    assert called.code == 0
    assert "is not running" in called.out
    assert orbitctl("version", "--json").document["daemon"] is None


@needs_daemon
def test_version_tells_both(orbitctl: Orbitctl) -> None:
    assert orbitctl("version", "--json").document["daemon"] == "0.1.0"


def test_the_socket_is_that_of_the_configuration(orbitctl: Orbitctl, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.delenv("ORBITD_SOCKET")
    config = tmp_path / "orbitd.toml"
    config.write_text(f'[control]\nsocket = "{tmp_path}/from-config.sock"\n[poll]\ninterval = "wrong"\n')
    assert "from-config.sock" in orbitctl("-c", str(config), "status").err
    assert "from-option.sock" in orbitctl("-c", str(config), "status", "--socket", "/x/from-option.sock").err
    environ.setenv("ORBITD_CONFIG", str(config))
    assert "from-config.sock" in orbitctl("status").err


def test_a_broken_file_does_not_hide_a_daemon_in_its_usual_place(orbitctl: Orbitctl, environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.delenv("ORBITD_SOCKET")
    environ.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    broken = tmp_path / "orbitd.toml"
    broken.write_text("[control\n")
    environ.setenv("ORBITD_CONFIG", str(broken))
    called = orbitctl("status")
    assert called.code == 3
    assert f"{broken}:1:9: not TOML" in called.err
    assert f"{tmp_path}/orbitd.sock" in called.err
    assert orbitctl("-c", str(broken), "status").code == 78


def test_every_verb_of_the_daemon_ends_in_an_exit_code_without_one(orbitctl: Orbitctl) -> None:
    for name, command in COMMANDS.items():
        words = [argument.choices[0] if argument.choices else "1" for argument in command.arguments if argument.positional]
        called = orbitctl(name, *words, "--json")
        assert called.code == (0 if name == "version" else 3)
        assert json.loads(called.out or called.err)
