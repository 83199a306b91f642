"""`orbitd check`: all faults at once, each with its place; what an import does; what the database says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.conftest import Orbitd
from tests.ctl.schemas import check as check_schema

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(60)]

Configure = Callable[..., Path]
DSN = '[database]\nurl = "postgresql://nobody@localhost/nowhere"\n'
ONE_PIPELINE = "from orbitd import Context, pipeline\n@pipeline('x')\ndef x(ctx: Context) -> None: ...\n"
BASE = DSN + '[app]\npipelines = ["./code/"]\n'


def document(orbitd: Orbitd, *arguments: str, **environment: str) -> dict[str, Any]:
    """`orbitd check --json`, whatever it ends with."""
    done = orbitd("check", "--json", "--allow-root", *arguments, **environment)
    answer: dict[str, Any] = json.loads(done.stdout)
    assert answer["schema"] == "orbit.check/1"
    check_schema(answer)
    assert answer["ok"] == (done.returncode == 0)
    assert "Traceback" not in done.stderr
    return answer


class TestConfiguration:
    def test_a_sound_one_ends_with_0(self, orbitd: Orbitd, configure: Configure) -> None:
        path = configure(BASE)
        done = orbitd("check")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [f"configuration: {path}", "no errors"]

    def test_all_faults_are_told_at_once_with_line_and_column(self, orbitd: Orbitd, configure: Configure) -> None:
        path = configure(BASE + '[children]\ncuont = 3\ncount = "many"\n[pol]\n')
        done = orbitd("check", "--set", "runs.timeout=5")
        assert done.returncode == 78
        errors = [line for line in done.stdout.splitlines() if line.startswith("error: ")]
        assert len(errors) == 4
        assert f"{path}:6:1: children.cuont: unknown option, did you mean children.count?" in errors[0]
        assert f"{path}:7:1: children.count: " in errors[1]
        assert f"{path}:8:" in errors[2]
        assert "--set: runs.timeout: " in errors[3]
        assert done.stdout.endswith("4 errors\n")

    def test_the_document_has_place_key_and_message_of_each(self, orbitd: Orbitd, configure: Configure) -> None:
        path = configure(BASE + "[children]\ncuont = 3\n")
        answer = document(orbitd)
        assert [(error["place"], error["key"]) for error in answer["errors"]] == [(f"{path}:6:1", "children.cuont")]
        assert answer["pipelines"] is None
        assert answer["database"] is None

    def test_a_missing_database_is_an_error(self, orbitd: Orbitd, configure: Configure) -> None:
        configure("")
        assert [error["key"] for error in document(orbitd)["errors"]] == ["database.url"]

    def test_check_config_is_gunicorns_word_for_it(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE)
        assert orbitd("--check-config").stdout == orbitd("check").stdout

    @pytest.mark.parametrize("text", ["a = [", "\0", "[x]\n[x]\n", "=", "é = 1", "[[children]]"])
    def test_a_file_that_is_no_toml_is_an_error_and_no_traceback(self, orbitd: Orbitd, configure: Configure, text: str) -> None:
        configure(text)
        done = orbitd("check")
        assert done.returncode == 78
        assert "Traceback" not in done.stdout + done.stderr
        assert "error: " in done.stdout

    def test_a_file_that_everyone_may_write_to_is_a_warning(self, orbitd: Orbitd, configure: Configure, folder: Path) -> None:
        path = configure(BASE)
        path.chmod(0o666)
        (folder / "code").chmod(0o777)
        answer = document(orbitd)
        assert answer["ok"]
        warnings = "\n".join(answer["warnings"])
        assert f"everyone may write to {path}, the configuration" in warnings
        assert f"everyone may write to {folder}/code, where the pipelines are imported from" in warnings

    def test_a_secret_that_others_may_read_is_a_warning(self, orbitd: Orbitd, configure: Configure, folder: Path) -> None:
        secret = folder / "dsn"
        secret.write_text("postgresql://app:s3cret@localhost/app\n")
        secret.chmod(0o644)
        configure(f'[database]\nurl = "file:{secret}"\n')
        answer = document(orbitd)
        assert any(str(secret) in warning for warning in answer["warnings"])
        assert "s3cret" not in json.dumps(answer)
        secret.chmod(0o640)
        assert document(orbitd)["warnings"] == []

    def test_a_given_group_that_is_not_there_is_a_warning(self, orbitd: Orbitd, configure: Configure) -> None:
        path = configure(BASE + '[control]\ngroup = "no_such_group"\n')
        [warning] = document(orbitd)["warnings"]
        assert warning.startswith(f"{path}:6:1: control.group: there is no group no_such_group")
        for group in ("root", ""):
            assert document(orbitd, "--set", f"control.group={group}")["warnings"] == []

    def test_each_hint_stands_under_its_error(self, orbitd: Orbitd, configure: Configure, folder: Path) -> None:
        configure("")
        unreachable = f"postgresql://app@/app?host={folder}"
        done = orbitd("check", "--connect", DATABASE_URL=unreachable, DIRECT_URL=unreachable)
        lines = [line for line in done.stdout.splitlines() if line.startswith(("error: ", "hint: "))]
        assert [line.partition(": ")[0] for line in lines] == ["error", "hint", "error", "hint"]
        assert "database.url" in lines[1]
        assert "database.direct_url" in lines[3]


class TestImport:
    def test_it_lists_the_pipelines(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE)
        done = orbitd("check", "--import", "--allow-root")
        assert done.returncode == 0, done.stdout
        head, *rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  ")]
        assert head == ["PIPELINE", "QUEUE", "TIMEOUT"]
        assert sorted(rows) == [["mail.fail", "default", "10m"], ["mail.send", "mail", "15m"], ["mail.where", "default", "10m"]]

    def test_the_document_has_name_queue_and_timeout(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE)
        answer = document(orbitd, "--import")
        send = next(each for each in answer["pipelines"] if each["name"] == "mail.send")
        assert (send["queue"], send["timeout_seconds"]) == ("mail", 900.0)
        assert answer["rss_bytes"] > 10 << 20

    @pytest.mark.parametrize(
        ("code", "says", "details"),
        [
            ("import nonsense_that_is_nowhere", "nonsense_that_is_nowhere", "work.py"),
            ("this is no python", "SyntaxError", "this is no python"),
            ("raise RuntimeError('no such table')", "no such table", "work.py"),
            ("raise SystemExit(3)", "SystemExit", "work.py"),
            ("import os; os._exit(9)", "exited:9", ""),
            ("import os; os.kill(os.getpid(), 11)", "crashed:SIGSEGV", "work.py"),
            ("x = 1", "no pipeline", ""),
            ("from orbitd import Context, pipeline\n@pipeline('x')\nclass X: pass", "is not a function", ""),
        ],
    )
    def test_what_the_import_does_wrong_is_told_with_the_place_in_the_code(
        self, orbitd: Orbitd, configure: Configure, code: str, says: str, details: str
    ) -> None:
        path = configure(BASE, code)
        answer = document(orbitd, "--import")
        [error] = answer["errors"]
        assert (error["place"], error["key"]) == (f"{path}:4:1", "app.pipelines")
        assert says in error["message"]
        assert details in error["details"]
        assert orbitd("check", "--import", "--allow-root").returncode == 78

    def test_people_are_told_each_thing_once(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE, "this is no python")
        assert orbitd("check", "--import", "--allow-root").stdout.count("SyntaxError: invalid syntax") == 1
        path = configure(DSN + '[app]\npipelines = ["/nope"]\n')
        done = orbitd("check", "--import", "--allow-root")
        assert f'error: {path}:4:1: app.pipelines: "/nope" is not a directory\n' in done.stdout

    def test_an_import_that_hangs_is_given_up_and_shows_where(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE + '[children]\nboot_timeout = "1s"\n', "import time\ntime.sleep(600)\n")
        [error] = document(orbitd, "--import")["errors"]
        assert "took longer than 1s" in error["message"]
        assert 'work.py", line 2' in error["details"]

    @pytest.mark.parametrize("entry", ["os:system", "__main__", "work.Thing", "./nowhere/", "./empty/", "not there", "../etc/passwd", ""])
    def test_an_entry_that_is_no_place_of_pipelines_is_an_error(
        self, orbitd: Orbitd, configure: Configure, folder: Path, entry: str
    ) -> None:
        (folder / "empty").mkdir()
        configure(DSN + f"[app]\npipelines = [{json.dumps(entry)}]\n")
        answer = document(orbitd, "--import")
        assert [error["key"] for error in answer["errors"]] == ["app.pipelines"]

    def test_a_memory_limit_under_what_the_import_takes_is_refused_with_the_figure(self, orbitd: Orbitd, configure: Configure) -> None:
        path = configure(BASE + '[children]\nmax_rss = "16MiB"\n')
        [error] = document(orbitd, "--import")["errors"]
        assert (error["place"], error["key"]) == (f"{path}:6:1", "children.max_rss")
        assert "is 16MiB, and a child has " in error["message"]

    def test_threads_and_sockets_that_the_import_leaves_are_named(self, orbitd: Orbitd, configure: Configure) -> None:
        left = (
            "import contextlib, os, socket, threading, time\n"
            "with contextlib.suppress(OSError): os.unlink('left.sock')\n"
            "threading.Thread(target=time.sleep, args=[600], name='ticker', daemon=True).start()\n"
            "listener = socket.socket(socket.AF_UNIX)\n"
            "listener.bind('left.sock')\n"
        )
        configure(BASE, left + ONE_PIPELINE)
        warnings = "\n".join(document(orbitd, "--import")["warnings"])
        assert 'thread "ticker" was started at code/work.py' in warnings
        assert "a socket at left.sock was left open at code/work.py" in warnings
        configure(BASE + '[children]\npreload = "require"\n', left + ONE_PIPELINE)
        [error] = document(orbitd, "--import")["errors"]
        assert error["key"] == "children.preload"
        assert "left.sock" in error["message"]
        configure(BASE + '[children]\npreload = "off"\n', left + ONE_PIPELINE)
        assert document(orbitd, "--import")["ok"]

    def test_what_the_import_prints_does_not_get_into_the_document(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE, f"print('hello')\n{ONE_PIPELINE}")
        assert document(orbitd, "--import")["ok"]

    def test_root_is_refused_unless_told(self, orbitd: Orbitd, configure: Configure) -> None:
        configure(BASE)
        done = orbitd("check", "--import")
        assert done.returncode == 5
        assert "--allow-root" in done.stderr


class TestConnect:
    def test_a_migrated_database_is_fine(self, orbitd: Orbitd, configure: Configure, dsn: str) -> None:
        configure("")
        answer = document(orbitd, "--connect", DATABASE_URL=dsn)
        assert answer["errors"] == []
        facts = answer["database"]["url"]
        assert facts["schema_version"] >= 1
        assert facts["server"]
        done = orbitd("check", "--connect", DATABASE_URL=dsn)
        assert "database.url: " in done.stdout
        assert f"PostgreSQL {facts['server']}" in done.stdout

    def test_one_without_a_schema_says_what_to_type(self, orbitd: Orbitd, configure: Configure, empty_dsn: str) -> None:
        configure("")
        done = orbitd("check", "--connect", DATABASE_URL=empty_dsn)
        assert done.returncode == 78
        assert "has no orbit schema" in done.stdout
        assert "hint: run `orbitd migrate`" in done.stdout

    def test_one_that_does_not_answer_ends_with_69(self, orbitd: Orbitd, configure: Configure, folder: Path) -> None:
        configure("")
        done = orbitd("check", "--connect", DATABASE_URL=f"postgresql://u:s3cret@/app?host={folder}")
        assert done.returncode == 69
        assert "does not answer" in done.stdout
        assert "s3cret" not in done.stdout + done.stderr

    def test_a_password_that_is_wrong_must_be_mended_here(self, orbitd: Orbitd, configure: Configure, dsn: str) -> None:
        configure("")
        [error] = document(orbitd, "--connect", DATABASE_URL=make_conninfo(dsn, user="never_made"))["errors"]
        assert "the database does not let us in" in error["message"]
        assert error["hint"] == "check user and password in database.url"

    def test_rights_that_are_missing_are_named(self, orbitd: Orbitd, configure: Configure, dsn: str) -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            conn.execute("drop role if exists cli_worker")
            conn.execute("create role cli_worker login")
        try:
            configure("")
            worker = f"{dsn}&user=cli_worker" if "?" in dsn else f"{dsn} user=cli_worker"
            messages = [error["message"] for error in document(orbitd, "--connect", DATABASE_URL=worker)["errors"]]
            assert messages == ["user cli_worker may not use the schema orbit"]
            with psycopg.connect(dsn, autocommit=True) as conn:
                database = conn.info.dbname
                conn.execute("grant usage on schema orbit to cli_worker")
            [error, *_] = document(orbitd, "--connect", DATABASE_URL=dsn, ORBITD_DATABASE__ADMIN_URL=worker)["errors"]
            assert error["hint"] == f"grant create on database {database} to cli_worker"
            answer = document(orbitd, "--connect", DATABASE_URL=worker)
            assert answer["database"]["url"]["schema_version"] is None
            assert "user cli_worker may not delete, insert, select, update on orbit.meta" in [
                error["message"] for error in answer["errors"]
            ]
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute("grant select on all tables in schema orbit to cli_worker")
            answer = document(orbitd, "--connect", DATABASE_URL=worker)
            assert any("may not delete, insert, update on orbit.live" in error["message"] for error in answer["errors"])
        finally:
            with psycopg.connect(dsn, autocommit=True) as conn:
                conn.execute("drop owned by cli_worker")
                conn.execute("drop role cli_worker")
