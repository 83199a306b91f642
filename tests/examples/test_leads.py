"""The leads example: what each stage makes of good, bad and hostile leads, and all four under a real daemon."""

from __future__ import annotations

import email
import mailbox
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.policy import SMTP
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import psycopg
import pytest

from examples.leads.leads import files, letter, tables, website
from examples.leads.leads.lead import BROKEN_EVERY, Lead, checked, generated
from examples.leads.leads.post import MailFolder, MailServer
from orbitd import Permanent, Retry
from orbitd.store import admin
from tests.support import smtp
from tests.support.daemon import Daemon, eventually, kill_process_of
from tests.support.smtp import FAREWELL, GREETING, HANG_UP, LETTER, RECIPIENT, mail_server

LEADS = Path(__file__).parents[2] / "examples" / "leads"
STAGES = ("lead.intake", "site.build", "email.compose", "delivery.send")
BAKERY = Lead("Ada's bakery", "bakery", "Łódź", "ada@example.com")


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the example writes; a short path, for the daemon's socket is there too."""
    folder = Path(tempfile.mkdtemp(prefix="leads-"))
    for name in ("LEADS_SMTP", "LEADS_URL", "LEADS_FROM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LEADS_DIR", str(folder / "leads"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


# --- leads ---


def test_a_generated_lead_is_the_same_each_time_and_all_addresses_differ() -> None:
    leads = [generated(number) for number in range(1, 101)]
    assert leads == [generated(number) for number in range(1, 101)]
    assert len({lead.address for lead in leads if "@" in lead.address}) > 90


def test_each_thirteenth_generated_lead_is_refused_and_no_other() -> None:
    refused = []
    for number in range(1, 10 * BROKEN_EVERY + 1):
        try:
            checked(generated(number))
        except Permanent:
            refused.append(number)
    assert refused == [BROKEN_EVERY * number for number in range(1, 11)]


def test_generated_addresses_are_in_reserved_domains() -> None:
    reserved = ("@example.com", "@example.net", "@example.org", ".test")
    assert all(checked(generated(number)).address.endswith(reserved) for number in range(1, 100) if number % BROKEN_EVERY)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ada",
        "ada at example.com",
        "ada@",
        "ada@example",
        "ada@exa mple.com",
        "ada@example.com\nBcc: all@example.com",
        "ada@example.com>",
        "ada@example.com, eve@example.com",
        "äda@example.com",
        f"{'a' * 65}@example.com",
        f"ada@{'a.' * 130}com",
        "ada@example.com\0",
    ],
)
def test_an_address_that_no_letter_could_go_to_fails_for_good(address: str) -> None:
    with pytest.raises(Permanent, match="no address"):
        checked(Lead("Ada", "bakery", "Cork", address))


@pytest.mark.parametrize("name", ["", " \n", "\0", "a" * 101])
def test_a_name_of_nothing_or_of_too_much_fails_for_good(name: str) -> None:
    with pytest.raises(Permanent, match="the name"):
        checked(Lead(name, "bakery", "Cork", "ada@example.com"))


def test_the_fields_become_one_clean_line_each() -> None:
    lead = checked(Lead(" Ada\r\nBcc: eve@example.com\0", "bak\u202eery", "New\t York", " Ada@Example.COM\n"))
    assert lead == Lead("Ada Bcc: eve@example.com", "bakery", "New York", "ada@example.com")


# --- pages ---

HOSTILE = Lead(
    name="""<script>alert("x")</script>${hue} {link} $name '"><img src=x onerror=1>""",
    trade="<iframe src='//evil.test'>",
    city="=?utf-8?q?=0D=0ABcc=3A_eve=40example.com?= 雪",
    address="o'neill&sons@example.com",
)


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def _tags(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(page)
    return parser.seen


def test_what_a_hostile_lead_says_is_text_on_its_page() -> None:
    page = website.render(checked(HOSTILE))
    assert [tag for tag, _ in _tags(page)] == [tag for tag, _ in _tags(website.render(BAKERY))]
    assert _tags(page)[-1] == ("a", {"href": "mailto:o%27neill%26sons@example.com"})
    assert "雪" in page
    assert "${hue} {link} $name" in page


def test_the_same_lead_has_the_same_page_and_another_another() -> None:
    assert website.write_page(BAKERY) == website.write_page(BAKERY)
    assert website.write_page(BAKERY) != website.write_page(generated(1))
    page = website.page_file(website.write_page(BAKERY))
    assert page.read_text(encoding="utf-8") == website.render(BAKERY)
    assert page.stem == files.name_of(page.read_bytes())
    assert [path.name for path in (files.folder() / "unfinished").iterdir()] == []


def test_a_page_that_cannot_be_written_leaves_nothing_behind() -> None:
    target = files.folder() / "page.html"
    target.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        files.write_whole(target, b"text")
    assert list((files.folder() / "unfinished").iterdir()) == []


# --- letters ---


def _read(message: bytes) -> EmailMessage:
    return email.message_from_bytes(message, policy=SMTP)


@pytest.mark.parametrize(
    "name", [HOSTILE.name, HOSTILE.city, "a" * 100, "雪" * 100, "=?utf-8?b?DQpCY2M6IGV2ZQ==?=" * 3, '","<eve@example.com>']
)
def test_a_hostile_name_adds_no_line_to_the_head_of_a_letter(name: str) -> None:
    lead = checked(Lead(name, HOSTILE.trade, HOSTILE.city, HOSTILE.address))
    wire = letter.write_letter(lead, "https://sites.example.com/1.html").as_bytes(policy=SMTP)
    head, _, body = wire.partition(b"\r\n\r\n")
    names = [line.partition(b":")[0].decode() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert names == ["From", "To", "Subject", "Date", "Message-ID", "Content-Type", "Content-Transfer-Encoding", "MIME-Version"]
    assert wire.isascii()
    assert max(map(len, wire.split(b"\r\n"))) <= 998
    assert b"\n" not in body.replace(b"\r\n", b"")

    message = _read(wire)
    assert not message.defects
    assert [address.addr_spec for address in message["To"].addresses] == [lead.address]
    assert message["Subject"] == f"A page for {lead.name.replace('=?', '= ?')}"
    assert f"Hello {lead.name}," in message.get_content()


def test_the_letter_leads_to_the_page() -> None:
    message = letter.write_letter(BAKERY, website.link("abc"))
    assert "https://sites.example.com/abc.html\n" in message.get_content()


def test_addresses_of_page_and_sender_are_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_URL", "https://pages.test/x")
    monkeypatch.setenv("LEADS_FROM", "Zoë <zoe@post.test>")
    message = letter.write_letter(BAKERY, website.link("abc"))
    assert "https://pages.test/x/abc.html\n" in message.get_content()
    assert message["From"].addresses[0].addr_spec == letter.sender_address() == "zoe@post.test"
    assert message["Message-ID"].endswith("@post.test>")


# --- the post ---

MESSAGE = b"To: ada@example.com\r\n\r\n.hello\r\n"


def _post(server: smtp.MailServer, *, timeout_seconds: float = 5.0) -> None:
    with MailServer(server.address, timeout_seconds) as post:
        post.offer("ada@example.com")
        post.hand_over(MESSAGE)


def test_a_letter_is_handed_to_the_server_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADS_FROM", "Zoë <zoe@post.test>")
    with mail_server() as server:
        _post(server)
    (taken,) = server.taken
    assert (taken.sender, taken.recipient) == ("zoe@post.test", "ada@example.com")
    assert taken.message == MESSAGE.replace(b"\r\n.", b"\r\n..")  # as SMTP wants dots


@pytest.mark.parametrize("moment", [RECIPIENT, LETTER])
@pytest.mark.parametrize(("answer", "verdict"), [("451 greylisted", Retry), ("550 no such user", Permanent), ("700 what", ConnectionError)])
def test_the_servers_code_says_whether_to_try_again(moment: str, answer: str, verdict: type[Exception]) -> None:
    with mail_server(lambda at, _recipient, _count: answer if at == moment else None) as server, pytest.raises(verdict, match=answer):
        _post(server)


@pytest.mark.parametrize("moment", [GREETING, RECIPIENT, LETTER])
def test_a_server_that_hangs_up_is_an_error_like_any_other_and_so_tried_again(moment: str) -> None:
    with mail_server(lambda at, _recipient, _count: HANG_UP if at == moment else None) as server, pytest.raises(OSError, match="closed"):
        _post(server)


def test_a_server_that_says_nothing_times_out() -> None:
    is_over = threading.Event()
    with mail_server(lambda *_: str(is_over.wait(10))) as server:
        with pytest.raises(OSError, match="timed out"):
            _post(server, timeout_seconds=0.05)
        is_over.set()


@pytest.mark.parametrize("farewell", ["451 not now", HANG_UP, "xyz"])
def test_what_the_server_says_at_leaving_undoes_nothing(farewell: str) -> None:
    with mail_server(lambda at, _recipient, _count: farewell if at == FAREWELL else None) as server:
        _post(server)
    assert len(server.taken) == 1


def test_the_mail_folder_holds_a_letter_once_also_after_it_was_read() -> None:
    path = files.folder() / "mail"
    for _ in range(2):
        with MailFolder(path) as post:
            post.hand_over(MESSAGE)
    (unread,) = (path / "new").iterdir()
    assert unread.read_bytes() == MESSAGE.replace(b"\r\n", b"\n")
    unread.rename(path / "cur" / f"{unread.name}:2,S")
    with MailFolder(path) as post:
        post.hand_over(MESSAGE)
    assert [file.name for part in ("cur", "new") for file in (path / part).iterdir()] == [f"{unread.name}:2,S"]


# --- the tables ---


def test_children_that_come_at_the_same_time_make_the_tables_once(empty_dsn: str) -> None:
    begin = threading.Barrier(8)

    def prepare(_: int) -> None:
        with psycopg.connect(empty_dsn) as conn:
            begin.wait(10)
            tables.prepare(conn)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(prepare, range(8)))
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("select count(*) from leads.deliveries").fetchone() == (0,)


# --- all of it ---


@pytest.fixture
def daemon(folder: Path, dsn: str) -> Iterator[Daemon]:
    """Not started yet, so that a test can set the environment."""
    daemon = Daemon(folder / "d", dsn, "", **{"app.pipelines": [f"{LEADS}/"], "runs.max_crashes": 100})
    yield daemon
    daemon.destroy()


def _enqueue(daemon: Daemon, numbers: range) -> None:
    with daemon.database() as connection:
        admin.enqueue_many(connection, [{"pipeline": "lead.intake", "args": {"n": number}} for number in numbers])


def _await_quiet(daemon: Daemon) -> None:
    """Wait until no run is left to do: a stage's last act is to ask for the next, so there is no gap between them."""
    waiting = "select (select count(*) from orbit.live) + (select count(*) from orbit.delayed) as runs"
    eventually(lambda: daemon.query(waiting), lambda rows: rows == [{"runs": 0}], seconds=25)


def _outcomes(daemon: Daemon) -> Counter[tuple[str, str]]:
    rows = daemon.query(
        "select pipeline, outcome from orbit.outcomes join orbit.runs on id = run_id where outcome in ('succeeded', 'failed')"
    )
    return Counter((row["pipeline"], row["outcome"]) for row in rows)


def _ask(daemon: Daemon, pipeline: str, *states: str, **args: object) -> dict[str, Any]:
    return daemon.await_run(daemon.enqueue(pipeline, **args), *states or ("succeeded",))


@pytest.mark.timeout(120)
@pytest.mark.daemon
def test_a_hundred_leads_go_through_four_queues_and_a_second_time_nothing_happens(daemon: Daemon) -> None:
    daemon.start()
    assert _ask(daemon, "lead.report")["result"] == {"leads": 0, "sites": 0, "letters": 0, "delivered": 0, "begun": 0}
    _enqueue(daemon, range(1, 101))
    _await_quiet(daemon)
    good = 100 - 100 // BROKEN_EVERY
    assert _ask(daemon, "lead.report")["result"] == {"leads": good, "sites": good, "letters": good, "delivered": good, "begun": 0}

    letters = {str(message["To"]): message.as_bytes() for message in mailbox.Maildir(files.folder() / "mail")}
    assert set(letters) == {generated(number).address for number in range(1, 101) if number % BROKEN_EVERY}
    for message in map(_read, letters.values()):
        (link,) = (word for word in message.get_content().split() if word.startswith("https://"))
        assert (files.folder() / "sites" / link.rpartition("/")[2]).is_file()
    failed = daemon.query("select pipeline, cause, args->>'n' as n from orbit.failed order by run_id")
    assert failed == [{"pipeline": "lead.intake", "cause": "permanent", "n": str(number)} for number in range(13, 101, 13)]
    queues = daemon.query("select distinct pipeline, queue from orbit.runs_view")
    assert {row["pipeline"]: row["queue"] for row in queues}.items() >= dict(
        zip(STAGES, ("lead", "site", "email", "delivery"), strict=True)
    ).items()

    before = _outcomes(daemon)
    _enqueue(daemon, range(1, 101))
    _await_quiet(daemon)
    assert _outcomes(daemon) - before == {("lead.intake", "succeeded"): good, ("lead.intake", "failed"): 100 - good}
    assert len(mailbox.Maildir(files.folder() / "mail")) == good


@pytest.mark.daemon
def test_with_children_killed_and_a_server_in_a_mood_each_lead_is_delivered_once_or_dead_lettered_once(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moody(moment: str, recipient: str, count: int) -> str | None:
        if moment == RECIPIENT and recipient.startswith("florist"):
            return "550 no such user"
        if moment == LETTER and recipient.startswith("joinery"):
            return "554 not wanted"
        if moment == LETTER and recipient.startswith("smithy"):
            return HANG_UP
        is_first = count == 1 and recipient.startswith(("bakery", "bookshop"))
        return "451 come back later" if is_first and moment in {RECIPIENT, LETTER} else None

    with mail_server(moody) as server:
        monkeypatch.setenv("LEADS_SMTP", server.address)
        daemon.start()
        _enqueue(daemon, range(1, 61))
        for killed in range(1, 9):
            eventually(lambda: sum(_outcomes(daemon).values()), lambda ended, least=20 * killed: ended >= least)  # type: ignore[misc]
            kill_process_of(daemon, daemon.child_pids()[0])
        _await_quiet(daemon)

    delivered = Counter(taken.recipient for taken in server.taken)
    assert set(delivered.values()) == {1}
    failed = daemon.query("select error, crashes, args->>'n' as n, args->>'lead' as lead from orbit.failed")
    addresses = {str(row["id"]): row["address"] for row in daemon.query("select id, address from leads.leads")}
    buried = Counter(addresses[row["lead"]] for row in failed if row["lead"])
    good = {generated(number).address for number in range(1, 61) if number % BROKEN_EVERY}
    unwanted = {address for address in good if address.startswith(("florist", "joinery"))}
    unanswered = {address for address in good if address.startswith("smithy")}
    doubted = {addresses[row["lead"]]: row["crashes"] for row in failed if "nobody knows" in row["error"]}
    in_doubt = unanswered | {address for address, crashes in doubted.items() if crashes}

    assert sorted(row["n"] for row in failed if row["n"]) == ["13", "26", "39", "52"]
    assert set(addresses.values()) == good
    assert set(buried.values()) == {1}
    assert unanswered <= set(doubted)
    assert set(buried) - in_doubt == unwanted - in_doubt
    assert set(delivered) | set(buried) == good
    assert set(delivered) & set(buried) <= in_doubt
    assert any(attempt["cause"].startswith("crashed") for attempt in daemon.query("select cause from orbit.outcomes where not reported"))


@pytest.mark.daemon
def test_a_letter_whose_fate_is_unknown_is_left_to_a_person(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    has_letter, is_over = threading.Event(), threading.Event()

    def slow_once(moment: str, _recipient: str, count: int) -> str | None:
        if moment == LETTER and count == 1:
            has_letter.set()
            is_over.wait(20)
        return None

    with mail_server(slow_once) as server:
        monkeypatch.setenv("LEADS_SMTP", server.address)
        daemon.start()
        daemon.enqueue("lead.intake", n=1)
        assert has_letter.wait(20)
        (run,) = daemon.query("select id from orbit.runs where pipeline = 'delivery.send'")
        kill_process_of(daemon, daemon.slot_running(run["id"])["pid"])
        failed = daemon.await_run(run["id"], "failed")
        assert "nobody knows whether the letter to lead 1 arrived" in failed["error"]
        assert "orbitctl enqueue delivery.send lead=1 resend=true" in failed["error"]
        assert _ask(daemon, "lead.report")["result"]["begun"] == 1
        assert server.taken == []
        assert _ask(daemon, "delivery.send", lead=1, resend=True)["result"] == {"lead": 1, "sent": True}
        assert _ask(daemon, "delivery.send", lead=1, resend=True)["result"] == {"lead": 1, "sent": False}
        assert len(server.taken) == 1
        is_over.set()


@pytest.mark.daemon
def test_a_real_lead_comes_by_its_fields_and_what_makes_no_sense_fails_at_once(daemon: Daemon) -> None:
    daemon.start()
    fields = {"name": HOSTILE.name, "trade": HOSTILE.trade, "city": HOSTILE.city, "address": HOSTILE.address}
    assert _ask(daemon, "lead.intake", **fields)["result"]["new"] is True
    _await_quiet(daemon)
    (message,) = mailbox.Maildir(files.folder() / "mail")
    assert message["To"] == HOSTILE.address
    assert message["Bcc"] is None
    assert _ask(daemon, "lead.intake", **fields | {"address": HOSTILE.address.upper()})["result"]["new"] is False
    for pipeline, args, error in (
        ("lead.intake", {"n": 1, **fields}, "not by both"),
        ("lead.intake", {}, "the name '' must have"),
        ("lead.intake", {"n": 0}, "counted from 1"),
        ("site.build", {"lead": 99}, "lead 99 was not taken in"),
        ("email.compose", {"lead": 99}, "lead 99 was not taken in"),
        ("delivery.send", {"lead": 99}, "lead 99 has no letter yet"),
    ):
        run = _ask(daemon, pipeline, "failed", **args)
        assert error in run["error"]
        assert len(run["attempts"]) == 1
