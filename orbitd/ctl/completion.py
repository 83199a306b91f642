r"""Completion scripts for bash, zsh and fish, made from a program's table of commands.

A script is five small tables as shell functions, and for each shell a driver that walks over the words before the cursor:

    next      COMMAND            the words that may come next in a command's name, with their help; fails when the name is whole
    options   COMMAND            its options, with their help
    flags                        the program's
    after     COMMAND OPTION     what the value of an option is; fails when it takes none
    place     COMMAND NUMBER     what stands at this place among its arguments
    values    KIND               the runs, pipelines, queues or slots that there are, as `orbitctl` itself tells within a second

What follows is told as `=a b c` (one of these), `@KIND` (one of the values), `file`, or `none` (anything). Names of pipelines and
queues come from others: only plain ones are offered, and nothing that a shell would expand; nor a pipeline that no daemon knows.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from orbitd.ctl.parser import Flag, Program, all_arguments, option_names, takes_value
from orbitd.ctl.verbs import ORBITCTL
from orbitd.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from orbitd.control.commands import Argument
    from orbitd.ctl.app import Session, Verb

_FILES = {"FILE", "PATH"}
_HELP = "--help\tsay what there is"


class _Row(NamedTuple):
    """What a table prints where one of the patterns matches."""

    patterns: Sequence[str]
    lines: Sequence[str]


def completion(session: Session) -> int:
    """`orbitctl completion SHELL`."""
    text = script(ORBITCTL, session.args["shell"])
    session.out.document({"schema": "orbit.completion/1", "shell": session.args["shell"], "script": text}, text.splitlines())
    return ExitCode.OK


def script(program: Program, shell: str) -> str:
    """The completion of a program for `bash`, `zsh` or `fish`."""
    write, driver = _SHELLS[shell]
    tables = {
        "next": list(_next(program)),
        "options": list(_options(program)),
        "flags": [_Row(["*"], [*(_described(name, flag.help) for flag in program.flags for name in flag.names), _HELP])],
        "after": list(_after(program)),
        "place": list(_place(program)),
    }
    written = "\n".join(write(f"_{program.name}_{name}", rows) for name, rows in tables.items())
    return driver.replace("NAME", program.name).replace("TABLES\n", written)


def _next(program: Program) -> Iterator[_Row]:
    firsts: dict[str, str] = {}
    families: dict[str, list[str]] = {}
    for name, command in program.commands.items():
        first, _, second = name.partition(" ")
        firsts.setdefault(first, command.help)
        if second:
            families.setdefault(first, []).append(_described(second, command.help))
    yield _Row([""], [_described(first, words) for first, words in firsts.items()])
    for first, seconds in families.items():
        yield _Row([first], seconds)


def _options(program: Program) -> Iterator[_Row]:
    for name, command in program.commands.items():
        own = [_described(spelled, option.help) for option in all_arguments(command) for spelled in option_names(option)]
        if own:
            yield _Row(_called(program, name), own)


def _after(program: Program) -> Iterator[_Row]:
    for flag in program.flags:
        if takes_value(flag):
            yield _Row([f"* {name}" for name in flag.names], [_source(flag)])
    for name, command in program.commands.items():
        for option in all_arguments(command):
            if takes_value(option) and not option.positional:
                yield _Row(
                    [f"{called} {spelled}" for called in _called(program, name) for spelled in option_names(option)], [_source(option)]
                )


def _place(program: Program) -> Iterator[_Row]:
    for name, command in program.commands.items():
        for number, argument in enumerate(argument for argument in all_arguments(command) if argument.positional):
            at = "*" if "list" in _shape(argument) else str(number)
            yield _Row([f"{called} {at}" for called in _called(program, name)], [_source(argument)])


def _shape(argument: Argument) -> str:
    return "list" if argument.kind.value in {"texts", "integers"} else "one"


def _called(program: Program, name: str) -> list[str]:
    """The name of a command, its aliases, and nothing at all if it is the program's default."""
    aliases = [alias for alias, meant in program.aliases.items() if meant == name]
    return [name, *aliases, *([""] if name == program.default else [])]


def _source(argument: Argument | Flag) -> str:
    if argument.choices:
        return f"={' '.join(argument.choices)}"
    if argument.metavar in _FILES:
        return "file"
    kind = "" if isinstance(argument, Flag) else argument.completes
    if kind == "option":
        from orbitd.config import OPTIONS

        return f"={' '.join(map('.'.join, OPTIONS))}"
    return kind if kind == "file" else f"@{kind}" if kind else "none"


def _described(word: str, words: str) -> str:
    return f"{word}\t{words}"


def _sh_table(name: str, rows: Iterable[_Row]) -> str:
    cases = "".join(f"        {'|'.join(map(_sh_pattern, row.patterns))}) printf '%s\\n' {shlex.join(row.lines)} ;;\n" for row in rows)
    return f"{name}() {{\n    case $* in\n{cases}        *) return 1 ;;\n    esac\n}}\n"


def _sh_pattern(pattern: str) -> str:
    """Quoted but for its star."""
    return "*".join(shlex.quote(part) if part else "" for part in pattern.split("*")) or "''"


def _fish_table(name: str, rows: Iterable[_Row]) -> str:
    cases = "".join(
        f"        case {' '.join(map(_fish_quoted, row.patterns))}\n            printf '%s\\n' {' '.join(map(_fish_quoted, row.lines))}\n"
        for row in rows
    )
    return f"function {name}\n    switch \"$argv\"\n{cases}        case '*'\n            return 1\n    end\nend\n"


def _fish_quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


_SH = r"""TABLES
_NAME_values() {
    local kind=$1
    shift
    case $kind in
        run) timeout 1 "$@" runs --limit 50 -o jsonl | sed -n 's/^{"id":"\([0-9]*\)".*/\1/p' ;;
        slot) timeout 1 "$@" list -o jsonl | sed -n 's/^{"slot":\([0-9]*\),.*/\1/p' ;;
        pipeline) timeout 1 "$@" pipelines -o jsonl | sed -n 's/^{"name":"\([A-Za-z0-9._-]*\)","queue":".*/\1/p' ;;
        queue) timeout 1 "$@" pipelines -o jsonl | sed -n 's/.*,"queue":"\([A-Za-z0-9._-]*\)".*/\1/p' | sort -u ;;
    esac 2>/dev/null </dev/null
}
"""

# What bash and zsh do with each word before the one that is being typed.
_WALK = r"""        if [[ -n $source ]]; then
            [[ $option == -c || $option == --config || $option == --socket ]] && ask+=("$option" "$word")
            source=
        elif [[ $word == -* ]]; then
            option=$word
            source=$(_NAME_after "$command" "$option")
        elif [[ -z $command ]]; then
            command=$word
        elif [[ $'\n'$(_NAME_next "$command") == *$'\n'"$word"$'\t'* ]]; then
            command="$command $word"
        else
            place=$((place + 1))
        fi
"""

_BASH = rf"""# Completion of NAME for bash, printed by `NAME completion bash`.
{_SH}
_NAME() {{
    local command= option= source= candidates= place=0 word ask=("$1") current=${{COMP_WORDS[COMP_CWORD]}}
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $word == [=:] ]] && continue  # bash splits the words there
{_WALK}    done
    [[ $current == [=:] ]] && current=
    if [[ -z $source && $current == -* ]]; then
        candidates=$(_NAME_options "$command"; _NAME_flags)
    elif [[ -z $source ]]; then
        candidates=$(_NAME_next "$command") || source=$(_NAME_place "$command" "$place")
    fi
    case $source in
        '='*) candidates=${{source#=}} candidates=${{candidates// /$'\n'}} ;;
        @*) candidates=$(_NAME_values "${{source#@}}" "${{ask[@]}}") ;;
        file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$current") ;;
    esac
    while IFS=$'\t' read -r word _; do
        [[ -n $word && $word == "$current"* ]] && COMPREPLY+=("$word")
    done <<<"$candidates"
}}
complete -F _NAME NAME
"""

_ZSH = rf"""#compdef NAME
# Completion of NAME for zsh, printed by `NAME completion zsh`.
{_SH}
_NAME() {{
    local command= option= source= candidates= place=0 word ask=("$words[1]") current=$words[CURRENT]
    for word in "${{(@)words[2,CURRENT-1]}}"; do
{_WALK}    done
    if [[ -z $source && $current == --*=* ]]; then
        source=$(_NAME_after "$command" "${{current%%=*}}")
        compset -P '*='
    elif [[ -z $source && $current == -* ]]; then
        candidates=$(_NAME_options "$command"; _NAME_flags)
    elif [[ -z $source ]]; then
        candidates=$(_NAME_next "$command") || source=$(_NAME_place "$command" "$place")
    fi
    case $source in
        '='*) compadd -- ${{=source#=}} ;;
        @*) compadd -- ${{(f)"$(_NAME_values "${{source#@}}" "${{ask[@]}}")"}} ;;
        file) _files ;;
        '')
            local -a described=("${{(@f)candidates}}")
            described=("${{(@)described/$'\t'/:}}")
            _describe NAME described
            ;;
    esac
}}
if [[ $funcstack[1] == _NAME ]]; then
    _NAME "$@"
else
    compdef _NAME NAME
fi
"""

_FISH = r"""# Completion of NAME for fish, printed by `NAME completion fish`.
TABLES
function _NAME_values
    switch $argv[1]
        case run
            timeout 1 $argv[2..] runs --limit 50 -o jsonl | sed -n 's/^{"id":"\([0-9]*\)".*/\1/p'
        case slot
            timeout 1 $argv[2..] list -o jsonl | sed -n 's/^{"slot":\([0-9]*\),.*/\1/p'
        case pipeline
            timeout 1 $argv[2..] pipelines -o jsonl | sed -n 's/^{"name":"\([A-Za-z0-9._-]*\)","queue":".*/\1/p'
        case queue
            timeout 1 $argv[2..] pipelines -o jsonl | sed -n 's/.*,"queue":"\([A-Za-z0-9._-]*\)".*/\1/p' | sort -u
    end 2>/dev/null </dev/null
end

function _NAME_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l ask $words[1]
    set -e words[1]
    set -l command ''
    set -l option ''
    set -l source ''
    set -l prefix ''
    set -l place 0
    for word in $words
        if test -n "$source"
            contains -- $option -c --config --socket; and set -a ask $option $word
            set source ''
        else if string match -q -- '-*' $word
            set option $word
            set source (_NAME_after "$command" $option)
        else if test -z "$command"
            set command $word
        else if contains -- $word (_NAME_next "$command" | string split -f 1 \t)
            set command "$command $word"
        else
            set place (math $place + 1)
        end
    end
    if test -z "$source"; and string match -q -- '--*=*' $current
        set prefix (string replace -r '=.*' '=' -- $current)
        set source (_NAME_after "$command" (string replace -r '=.*' '' -- $current))
    else if test -z "$source"; and string match -q -- '-*' $current
        _NAME_options "$command"
        _NAME_flags
    else if test -z "$source"; and not _NAME_next "$command"
        set source (_NAME_place "$command" $place)
    end
    switch "$source"
        case '=*'
            printf '%s\n' $prefix(string split ' ' (string sub -s 2 -- $source))
        case '@*'
            _NAME_values (string sub -s 2 -- $source) $ask
        case file
            __fish_complete_path $current
    end
end
complete -c NAME -f -a '(_NAME_complete)'
"""

_SHELLS: Mapping[str, tuple[Callable[[str, Iterable[_Row]], str], str]] = {
    "bash": (_sh_table, _BASH),
    "zsh": (_sh_table, _ZSH),
    "fish": (_fish_table, _FISH),
}

VERBS: Mapping[str, Verb] = {"completion": completion}
