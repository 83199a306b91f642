"""What the table of options says of itself in writing: the shipped file, a page of documentation, and parts of the man page."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from orbitd.config.model import OPTIONS, SECTIONS
from orbitd.config.options import Key, Option, Reload, environment_name
from orbitd.config.schema import schema
from orbitd.config.variables import ADDRESS_PARTS, NOT_NEEDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orbitd.config.variables import Variable

__all__ = ["config_file", "configuration_page", "options_part", "roff", "schema", "toml", "variables_part"]

_PREFACE = f"""\
# The configuration of orbitd(8), and its manual: every option, with its default.
#
# Durations ("500ms", "30s", "1h30m", "7d") and sizes ("256KiB", "500MiB", "2GiB") need a unit; only 0 has none.
# Any option can be given elsewhere too; what comes first here counts:
#     orbitd --children 4, or orbitd --set children.count=4
#     ORBITD_CHILDREN__COUNT=4, or ORBITD_CHILDREN__COUNT_FILE=/a/file/with/4
#     a variable of other programs, such as DATABASE_URL: orbitd.toml(5) lists them
#     files beside this one, orbitd.toml.d/*.toml, the last name first
#     this file
#
# The last word above an option says when a change of it counts after `orbitctl reload`:
{"".join(f"#     {reload:<11} {reload.words}{chr(10)}" for reload in Reload)}"""
_WIDTH = 120
_PAGE = """\
# Configuration

Written by `make manual` from the table of options; the same facts are in orbitd.toml(5) and in
`orbitd config explain KEY`.

## Where settings come from

`orbitd` and `orbitctl` read one TOML file: the one that `-c` names, else `$ORBITD_CONFIG`, else `./.orbitd/orbitd.toml` if it
is the caller's own, else `/etc/orbitd.toml`. None is needed: every option has a default, and `DATABASE_URL` can name the
database. An option may be given in several places; the first of these counts:

1. a flag of `orbitd`, such as `--children 4`, or `--set children.count=4`;
2. `ORBITD_CHILDREN__COUNT=4`, or `ORBITD_CHILDREN__COUNT_FILE=/run/secrets/count`, the name of a file with the value;
3. a variable of the workers that orbitd takes over from, listed below; each as `NAME_FILE` too;
4. drop-ins: the files `*.toml` in the directory beside the file that has its name and `.d`, for `/etc/orbitd.toml` that is
   `/etc/orbitd.toml.d`; of two that give the same option the later name counts;
5. the file;
6. the default.

`orbitd config show --origin` tells the value in force of every option, and which of these it comes from; `orbitd config diff`
only those that are not the default; `orbitd check` finds every fault at once, each with file, line and column, also in a value
that another one hides. A wrong configuration ends `orbitd` with 78; a reload of one changes nothing.

Durations (`"500ms"`, `"30s"`, `"1h30m"`, `"7d"`) and sizes (`"256KiB"`, `"500MiB"`, `"2GiB"`) are texts with a unit; only 0 has
none. On the command line and in variables a list is written `a,b`. The path that follows `--pid` or `--env-file` may be relative.

After `orbitctl reload` a changed value counts

{reloads}

## The address of the database, a secret

`database.url`, `direct_url` and `admin_url` are best written as references:

| written | is taken from |
|---|---|
| `"env:NAME"` | the environment variable |
| `"file:/path"` | the file, without its last line end |
| `"credential:NAME"` | the file of that name in `$CREDENTIALS_DIRECTORY`: systemd's `LoadCredential=` |

An address itself, `postgresql://user@host/database` or `host=… dbname=…`, can be written too, but not with a password on the
command line, where everyone on the machine could read it; a file with one that everyone can read is warned of. Nothing ever shows
an address: `orbitd config show` has `********` and a fingerprint, which is the same for the same address. An address that libpq
could not read is a fault of the configuration. `DATABASE_URL` counts more than a file that names another database, with a warning.

Prisma's own parameters are translated or dropped, with a warning that names them: `schema` becomes a `search_path`,
`sslaccept=strict` becomes `sslmode=verify-full`, and `pgbouncer`, `connection_limit`, `pool_timeout`, `socket_timeout`,
`statement_cache_size` and `sslidentity` are dropped, as is the driver of `postgresql+driver://`.

## A file of variables

`app.env_file`, or `--env-file`, names a file of lines `NAME=value`. They count like environment variables, below those that
orbitd was started with, and the pipelines have them in their environment. A line may begin with `export`; a value may stand in
quotes, then over several lines too; a `#` after a space begins a comment. Nothing is expanded.

## Variables of other workers

Set to nothing they count as not set.

| variable | option | |
|---|---|---|
{variables}

If nothing names the database, its address is composed of {parts}.

These are told to be without effect: {not_needed}.

## Options
{options}"""


def config_file() -> str:
    """The whole of `conf/orbitd.toml`."""
    return _PREFACE + "".join(_config_section(name, section) for name, section in SECTIONS.items())


def configuration_page() -> str:
    """The whole of `docs/configuration.md`."""
    return _PAGE.format(
        reloads="\n".join(f"- *{reload}*: {reload.words}" for reload in Reload),
        variables="\n".join(f"| `{one.name}` | `{'.'.join(key)}` | {one.words} |" for key, one in _variables()),
        parts=_listed(ADDRESS_PARTS),
        not_needed="; ".join(f"`{name}` {why}" for name, why in NOT_NEEDED.items()),
        options="".join(_section_of_page(name, section) for name, section in SECTIONS.items()),
    )


def options_part() -> str:
    """OPTIONS of orbitd.toml(5)."""
    return "".join(_options_of_section(name, section) for name, section in SECTIONS.items())


def variables_part() -> str:
    """ENVIRONMENT of orbitd.toml(5)."""
    return "".join(
        f".TP\n.B {one.name}\n{roff('.'.join(key))}{f' ({roff(one.words)})' if one.words else ''}\n" for key, one in _variables()
    ) + "".join(f".TP\n.B {name}\n{roff(why)}\n" for name, why in NOT_NEEDED.items())


def toml(value: object) -> str:
    """A value as it stands in a TOML file: what JSON writes for texts, numbers, truths and lists is TOML too."""
    return json.dumps(value, ensure_ascii=False)


def roff(text: str) -> str:
    """Plain text, safe from roff's own signs."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _variables() -> Iterator[tuple[Key, Variable]]:
    for key, option in OPTIONS.items():
        for variable in option.variables:
            yield key, variable


def _listed(names: Iterable[str]) -> str:
    *most, last = (f"`{name}`" for name in names)
    return f"{', '.join(most)} and {last}"


def _config_section(name: str, section: type[Any]) -> str:
    return f"\n\n# {section.__doc__}\n[{name}]\n" + "".join(_config_option(name, one.name) for one in fields(section))


def _config_option(section: str, key: str) -> str:
    option = OPTIONS[section, key]
    comment = "".join(f"# {line}\n" for line in _wrapped(option.doc))
    return f"\n{comment}# {option.kind.words}; {option.reload}\n{key} = {toml(option.default)}\n"


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + len(word) >= _WIDTH - 2:
            yield line
            line = word
        else:
            line = f"{line} {word}".lstrip()
    yield line


def _section_of_page(name: str, section: type[Any]) -> str:
    return f"\n### `[{name}]`\n\n{section.__doc__}\n" + "".join(_option_of_page(name, one.name) for one in fields(section))


def _option_of_page(section: str, key: str) -> str:
    option = OPTIONS[section, key]
    elsewhere = [*option.flags, environment_name((section, key)), *(variable.name for variable in option.variables)]
    return (
        f"\n#### `{section}.{key}`\n\n{option.doc}\n\n"
        f"- default: `{toml(option.default)}`\n"
        f"- may be: {option.kind.words.replace('|', 'or')}\n"
        f"- reload: {option.reload}\n"
        f"- also: {', '.join(f'`{name}`' for name in elsewhere)}\n"
    )


def _options_of_section(name: str, section: type[Any]) -> str:
    return f".SS [{name}]\n{roff(str(section.__doc__))}\n" + "".join(_option((name, one.name)) for one in fields(section))


def _option(key: Key) -> str:
    option = OPTIONS[key]
    also = _elsewhere(option)
    return (
        f'.TP\n.BR {key[1]} " = {_quoted(toml(option.default))}"\n{roff(option.doc)}\n'
        f"({roff(option.kind.words)}; {option.reload}{f'; also {also}' if also else ''})\n"
    )


def _elsewhere(option: Option) -> str:
    return ", ".join(f"\\fB{roff(name)}\\fR" for name in (*option.flags, *(variable.name for variable in option.variables)))


def _quoted(text: str) -> str:
    return roff(text).replace('"', "\\(dq")
