"""Text for a terminal: width, colour, symbols, tables. Pure functions; whatever is shown goes through `printable`."""

from __future__ import annotations

import re
import unicodedata
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.printable import printable
from orbitd.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36", "dim": "2", "bold": "1"}
_PAINT = re.compile(r"\033\[[0-9]+m")
_GAP = "  "
_NARROWEST_ELASTIC = 12
_WANTED_ELASTIC = 20
_WIDEST_ELASTIC = 120
_FACT_INDENT = 12


class Mark(NamedTuple):
    """How a state looks: a symbol, its stand-in without Unicode, a colour. Never a colour alone."""

    symbol: str
    ascii: str
    colour: str


MARKS: Mapping[str, Mark] = {
    # runs
    "scheduled": Mark("◷", "~", "blue"),
    "pending": Mark("·", ".", ""),
    "running": Mark("▶", ">", "cyan"),
    "interrupted": Mark("⚡", "!", "yellow"),
    "succeeded": Mark("✓", "+", "green"),
    "failed": Mark("✗", "x", "red"),
    "cancelled": Mark("⊘", "-", "dim"),
    # steps
    "done": Mark("✓", "+", "green"),
    # attempts that are no end of their run
    "retried": Mark("↻", "@", "yellow"),
    "snoozed": Mark("◷", "~", "blue"),
    # slots
    "empty": Mark("○", "_", "dim"),
    "starting": Mark("◌", "^", "blue"),
    "idle": Mark("·", ".", ""),
    "busy": Mark("▶", ">", "cyan"),
    "waiting": Mark("◷", "~", "yellow"),
    "draining": Mark("↓", "v", "blue"),
    "dying": Mark("✗", "x", "red"),
    "backoff": Mark("↻", "@", "yellow"),
    "held": Mark("⚡", "!", "red"),
    # the daemon
    "paused": Mark("‖", "=", "yellow"),
    "degraded": Mark("⚡", "!", "red"),
    "reloading": Mark("↻", "@", "blue"),
    "waiting_database": Mark("◷", "~", "yellow"),
    "stopping": Mark("↓", "v", "blue"),
    "unknown": Mark("?", "?", "magenta"),
}
_UNKNOWN = Mark("?", "?", "")


class Style(NamedTuple):
    """What the reader's end can show; `width` None means that the lines may be long, `wide` that nothing is left out."""

    colour: bool = False
    unicode: bool = True
    width: int | None = None
    wide: bool = False

    def paint(self, text: str, colour: str) -> str:
        """Coloured text, if colours are wanted."""
        return f"\033[{_COLOURS[colour]}m{text}\033[0m" if self.colour and colour and text.strip() else text

    def state(self, state: str) -> Cell:
        """A state with its symbol."""
        mark = MARKS.get(state, _UNKNOWN)
        return Cell(f"{mark.symbol if self.unicode else mark.ascii} {state}", mark.colour)

    def plain(self, text: str) -> str:
        """Text of others, in one line, of characters that can be shown."""
        return self.encodable(printable(text))

    def encodable(self, text: str) -> str:
        """Text that is printable already, of characters that the reader's end knows."""
        return text if self.unicode else text.encode("ascii", "backslashreplace").decode()

    def painted(self, cell: Cell) -> str:
        """A cell outside a table."""
        return self.paint(self.plain(cell.text), cell.colour)

    def cut(self, text: str, width: int) -> str:
        """`text` in at most `width` places, with a mark where something is missing."""
        if display_width(text) <= width:
            return text
        ellipsis = "…" if self.unicode else "~"
        kept, room = [], width - 1
        for character in text:
            room -= _places(character)
            if room < 0:
                break
            kept.append(character)
        return "".join(kept) + ellipsis

    def joined(self, facts: Sequence[str], indent: int) -> Iterator[str]:
        """Facts on one line, or on several where the width ends; the caller has written `indent` places before the first."""
        separator = " · " if self.unicode else " | "
        lines = [""]
        for fact in facts:
            longer = f"{lines[-1]}{separator}{fact}" if lines[-1] else fact
            if lines[-1] and self.width is not None and indent + display_width(longer) > self.width:
                lines.append(fact)
            else:
                lines[-1] = longer
        yield lines[0]
        yield from (" " * indent + line for line in lines[1:])


class Cell(NamedTuple):
    """What stands in one place of a table."""

    text: str
    colour: str = ""


class Column(NamedTuple):
    """One column. `step`: 0 is always shown; where the width is short, the highest go first. An elastic one is cut."""

    title: str
    cell: Callable[[Mapping[str, Any]], Cell | str]
    step: int = 0
    elastic: bool = False
    right: bool = False
    wide_only: bool = False


def table(columns: Sequence[Column], rows: Iterable[Mapping[str, Any]], style: Style) -> Iterator[str]:
    """The lines of a table. A column that would be empty is left out, unless it is always shown, or the style is a wide one."""
    columns = [column for column in columns if style.wide or not column.wide_only]
    grid = [[_cell(column.cell(row), style) for column in columns] for row in rows]
    used = [i for i, column in enumerate(columns) if style.wide or column.step == 0 or any(cells[i].text for cells in grid)]
    widths = {index: max(display_width(text) for text in (columns[index].title, *(cells[index].text for cells in grid))) for index in used}
    if style.width is None and not style.wide:
        widths = {index: min(width, _WIDEST_ELASTIC) if columns[index].elastic else width for index, width in widths.items()}
    shown = _fitting(columns, widths, style.width)
    header = (_padded(columns[index].title, width, columns[index], style) for index, width in shown.items())
    yield style.paint(_GAP.join(header).rstrip(), "bold")
    for cells in grid:
        yield _GAP.join(
            style.paint(_padded(cells[index].text, width, columns[index], style), cells[index].colour) for index, width in shown.items()
        ).rstrip()


def _cell(value: Cell | str, style: Style) -> Cell:
    cell = value if isinstance(value, Cell) else Cell(value)
    return Cell(style.plain(cell.text), cell.colour)


def _fitting(columns: Sequence[Column], widths: Mapping[int, int], limit: int | None) -> dict[int, int]:
    """The columns, by index, that are shown, and how wide: first whole columns give way, then the elastic ones are cut."""
    shown = dict(widths)
    if limit is None:
        return shown
    elastic = [index for index in shown if columns[index].elastic]
    for index in sorted(shown, key=lambda index: (columns[index].step, index), reverse=True):
        step = columns[index].step
        least = {one: min(shown[one], _WANTED_ELASTIC if step > 1 else _NARROWEST_ELASTIC) for one in elastic if one in shown}
        if step > 0 and _total(shown | least) > limit:
            del shown[index]
    for _ in range(_total(shown) - limit):
        widest = max((index for index in elastic if index in shown), key=lambda index: shown[index], default=None)
        if widest is None or shown[widest] <= _NARROWEST_ELASTIC:
            break
        shown[widest] -= 1
    return shown


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _padded(text: str, width: int, column: Column, style: Style) -> str:
    shown = style.cut(text, width)
    padding = " " * (width - display_width(shown))
    return padding + shown if column.right else shown + padding


def display_width(text: str) -> int:
    """How many places a terminal needs: two for East Asian wide characters, none for combining ones and our own colours."""
    shown = _PAINT.sub("", text)
    return len(shown) if shown.isascii() else sum(map(_places, shown))


def _places(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def ago(moment: str | None, now: datetime) -> str:
    """How long ago an RFC 3339 time was: "5m", "2h10m"; "" when there is none."""
    if not moment:
        return ""
    return format_duration(max(0, int((now - datetime.fromisoformat(moment)).total_seconds())))


def until(moment: str, now: datetime) -> str:
    """In how long an RFC 3339 time will be."""
    return format_duration(max(0, int((datetime.fromisoformat(moment) - now).total_seconds())))


def between(start: str | None, end: str | None) -> str:
    """How long something took."""
    if not start or not end:
        return ""
    return format_duration(max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))


def fact(name: str, facts: Sequence[str], style: Style) -> Iterator[str]:
    """A name and what there is to say of it, if anything; the facts are texts that can be shown."""
    if facts:
        first, *further = style.joined(facts, _FACT_INDENT)
        yield f"{name:<{_FACT_INDENT}}{first}"
        yield from further


def section(title: str, lines: Iterable[str]) -> Iterator[str]:
    """Lines under a title, if there are any."""
    lines = list(lines)
    if lines:
        yield ""
        yield title
        yield from (f"  {line}".rstrip() for line in lines)


def first_line(text: str | None) -> str:
    """Of a text that may have many, or none."""
    return next(iter((text or "").splitlines()), "")


def rank(state: str, order: Sequence[str]) -> int:
    """The place of a state in an order of gravity; one that is not known comes first."""
    return order.index(state) if state in order else -1
