"""Finding an application's pipelines: what is imported, in which order, what is refused and how the refusal reads."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from orbitd.errors import ConfigError, ExitCode
from orbitd.pipelines.registry import LoadError, Registry, fingerprint, load, warm_up

ONE = """
    from orbitd import Context, pipeline

    @pipeline("{name}")
    def function(ctx: Context) -> None: ...
"""


@pytest.fixture(autouse=True)
def python_as_it_was() -> Iterator[None]:
    """Imports are the one thing that a test here leaves behind."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


class Application:
    """A folder with modules, and the settings that name them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def load(self, *entries: str, paths: Sequence[str] = (), filters: Sequence[str] = ("*",)) -> Registry:
        return load(entries, paths, str(self.folder), filters)

    def refusal(self, *entries: str, paths: Sequence[str] = (), filters: Sequence[str] = ("*",)) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            self.load(*entries, paths=paths, filters=filters)
        assert caught.value.exit_code is ExitCode.CONFIG
        return caught.value


@pytest.fixture
def app(tmp_path: Path) -> Application:
    return Application(tmp_path)


def test_a_dotted_module_is_found_in_the_working_directory(app: Application) -> None:
    app.write("shop/__init__.py", "")
    app.write("shop/pipelines.py", ONE.format(name="shop.sync"))
    registry = app.load("shop.pipelines")
    assert list(registry.served) == ["shop.sync"]
    assert [module.__name__ for module in registry.modules] == ["shop.pipelines"]


def test_paths_come_before_the_working_directory_and_both_before_the_rest(app: Application) -> None:
    app.write("first/shop.py", ONE.format(name="from.first"))
    app.write("second/shop.py", ONE.format(name="from.second"))
    app.write("shop.py", ONE.format(name="from.working.directory"))
    assert list(app.load("shop", paths=["first", "second"]).served) == ["from.first"]
    assert sys.path[:3] == [str(app.folder / "first"), str(app.folder / "second"), str(app.folder)]


def test_the_files_of_a_directory_are_imported_in_order(app: Application) -> None:
    app.write("jobs/b_mail.py", ONE.format(name="mail"))
    app.write("jobs/a_invoice.py", "from helpers_here import NAME\n" + textwrap.dedent(ONE.format(name="invoice")))
    app.write("jobs/helpers_here.py", "NAME = 1")
    app.write("jobs/c_reports/__init__.py", "from c_reports.daily import function")
    app.write("jobs/c_reports/daily.py", ONE.format(name="daily"))
    app.write("jobs/_left_out.py", "raise AssertionError")
    app.write("jobs/.hidden.py", "raise AssertionError")
    app.write("jobs/notes.txt", "no Python")
    app.write("jobs/data/not_a_package.py", "raise AssertionError")
    registry = app.load("./jobs")
    assert list(registry.served) == ["invoice", "mail", "daily"]
    assert [module.__name__ for module in registry.modules] == ["a_invoice", "b_mail", "c_reports", "helpers_here"]


def test_a_pipeline_that_another_module_imports_counts_once(app: Application) -> None:
    app.write("one_module.py", ONE.format(name="sync"))
    app.write("two_module.py", "from one_module import function\nalias = function")
    assert list(app.load("two_module", "one_module", "two_module").served) == ["sync"]


def test_a_name_that_is_taken_twice_is_refused_with_both_places(app: Application) -> None:
    first = app.write("one_module.py", ONE.format(name="sync"))
    second = app.write("two_module.py", ONE.format(name="sync"))
    refusal = app.refusal("one_module", "two_module")
    assert refusal.message == f'pipeline "sync" is defined twice: in one_module ({first}:4) and in two_module ({second}:4)'


def test_the_filter_chooses_what_is_served(app: Application) -> None:
    for name in ("mail.send", "mail.bounce", "Mail.send", "invoice.sync"):
        app.write(f"jobs/m_{name.replace('.', '_')}.py", ONE.format(name=name))
    registry = app.load("jobs/", filters=["mail.*", "nothing"])
    assert sorted(registry.served) == ["mail.bounce", "mail.send"]
    assert sorted(registry.left_out) == ["Mail.send", "invoice.sync"]


def test_a_filter_that_leaves_nothing_is_refused(app: Application) -> None:
    app.write("shop_jobs.py", ONE.format(name="sync"))
    assert app.refusal("shop_jobs", filters=["mial.*"]).message == 'app.filter "mial.*" matches none of the pipelines "sync"'


def test_no_pipeline_at_all_is_refused(app: Application) -> None:
    app.write("shop_jobs.py", "")
    refusal = app.refusal("shop_jobs")
    assert (refusal.message, refusal.hint) == ('no pipeline in "shop_jobs"', 'decorate a function with @pipeline("name")')


def test_a_package_whose_pipelines_are_in_its_submodules_is_told_what_to_do(app: Application) -> None:
    app.write("shop_jobs/__init__.py", "")
    app.write("shop_jobs/mail.py", ONE.format(name="mail"))
    assert 'import from "mail" there' in str(app.refusal("shop_jobs").hint)


def test_a_module_that_is_missing_is_refused_with_the_places_looked_in(app: Application) -> None:
    app.write("shop/__init__.py", "")
    for entry in ("no_such_module", "no_such.module", "shop.no_such"):
        refusal = app.refusal(entry)
        assert refusal.message.startswith(f'cannot import "{entry}": ModuleNotFoundError')
        assert str(app.folder) in str(refusal.hint)


def test_a_module_that_a_module_misses_is_shown_by_the_traceback(app: Application) -> None:
    app.write("shop_jobs.py", "import no_such_library")
    refusal = app.refusal("shop_jobs")
    assert isinstance(refusal, LoadError)
    assert refusal.hint is None
    assert refusal.traceback.count("File") == 1
    assert "import no_such_library" in refusal.traceback


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("def broken(:", "SyntaxError: "),
        ("\0", "null bytes"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("raise ValueError('a\\0\\ud800')", r"ValueError: a\x00\ud800"),
        ("from orbitd import pipeline\n@pipeline('a b')\ndef f(ctx): ...", "ConfigError: pipeline \"a b\": name 'a b' must be"),
        ("from orbitd import pipelin", "ImportError: cannot import name 'pipelin'"),
    ],
)
def test_u22_an_import_that_fails_is_refused_with_the_authors_traceback(app: Application, text: str, complaint: str) -> None:
    path = app.write("jobs/broken_module.py", text)
    refusal = app.refusal("./jobs")
    assert isinstance(refusal, LoadError)
    assert complaint in refusal.message
    assert str(path) in refusal.traceback or "null bytes" in refusal.traceback
    assert "importlib" not in refusal.traceback


def test_a_syntax_error_shows_the_line(app: Application) -> None:
    app.write("shop_jobs.py", "def broken(:")
    refusal = app.refusal("shop_jobs")
    assert isinstance(refusal, LoadError)
    assert "def broken(:" in refusal.traceback


@pytest.mark.parametrize(("name", "complaint"), [("json.py", "Python's own library"), ("queue/__init__.py", "Python's own library")])
def test_a_file_named_like_pythons_own_module_is_refused(app: Application, name: str, complaint: str) -> None:
    path = app.write(f"jobs/{name}", ONE.format(name="x"))
    refusal = app.refusal("./jobs")
    assert complaint in refusal.message
    assert str(path) in refusal.message


def test_a_file_named_like_a_module_that_is_loaded_is_refused(app: Application) -> None:
    first = app.write("one/same_name.py", ONE.format(name="x"))
    second = app.write("two/same_name.py", ONE.format(name="y"))
    assert app.refusal("./one", "./two").message == f'{second} has the name of a module that is loaded already: "same_name" from {first}'
    app.write("three/orbitd.py", ONE.format(name="z"))
    assert "loaded already" in app.refusal("./three").message


def test_a_file_whose_name_cannot_be_imported_is_refused(app: Application) -> None:
    app.write("jobs/my-jobs.py", ONE.format(name="x"))
    assert "its name is no Python name" in app.refusal("./jobs").message


@pytest.mark.parametrize("entry", ["", ".", "..", "a-b", "a..b", ".a", "shop.py:main", "a b"])
def test_an_entry_that_is_no_name_is_refused(app: Application, entry: str) -> None:
    assert app.refusal(entry).message == f'app.pipelines: "{entry}" is not a module'


@pytest.mark.parametrize("entry", ["./missing", "/nowhere/at/all", "./file.py"])
def test_a_directory_that_is_none_is_refused(app: Application, entry: str) -> None:
    app.write("file.py", ONE.format(name="x"))
    assert "is not a directory" in app.refusal(entry).message


def test_objects_in_a_module_are_not_asked_what_they_are(app: Application) -> None:
    app.write(
        "shop_jobs.py",
        """
        from orbitd import Context, pipeline

        class Proxy:
            @property
            def __class__(self):
                raise RuntimeError("working outside of application context")

        proxy = Proxy()

        @pipeline("sync")
        def function(ctx: Context) -> None: ...
        """,
    )
    assert list(app.load("shop_jobs").served) == ["sync"]


def test_the_fingerprint_changes_with_the_files_that_are_loaded(app: Application) -> None:
    path = app.write("shop_jobs.py", ONE.format(name="sync"))
    before = fingerprint()
    app.load("shop_jobs")
    loaded = fingerprint()
    assert before != loaded == fingerprint()
    path.write_text("# longer by a comment\n" + path.read_text())
    changed = fingerprint()
    assert changed != loaded
    path.unlink()
    assert fingerprint() not in {loaded, changed}


WARM = """
    from orbitd import Context, pipeline

    calls = []

    def warm_up():
        calls.append("warm")
        {body}

    @pipeline("{name}")
    def function(ctx: Context) -> None: ...
"""


def test_each_warm_up_is_called_once_also_where_two_modules_have_it(app: Application) -> None:
    app.write("shop_jobs.py", WARM.format(name="sync", body="pass"))
    app.write("mail_jobs.py", "from shop_jobs import *\nfrom shop_jobs import warm_up, calls\n")
    app.write("plain_jobs.py", "warm_up = True\n" + textwrap.dedent(ONE.format(name="plain")))
    modules = app.load("shop_jobs", "mail_jobs", "plain_jobs").modules
    warm_up(modules)
    assert modules[0].calls == ["warm"]


def test_a_warm_up_that_fails_says_whose_and_shows_the_traceback(app: Application) -> None:
    app.write("shop_jobs.py", WARM.format(name="sync", body="raise LookupError('no model')"))
    with pytest.raises(LoadError, match=r"warm_up\(\) in shop_jobs failed: LookupError: no model") as caught:
        warm_up(app.load("shop_jobs").modules)
    assert "in warm_up" in caught.value.traceback


def test_an_async_warm_up_is_refused(app: Application) -> None:
    app.write("shop_jobs.py", "async def warm_up(): ...\n" + textwrap.dedent(ONE.format(name="sync")))
    with pytest.raises(ConfigError, match="is async"):
        warm_up(app.load("shop_jobs").modules)
