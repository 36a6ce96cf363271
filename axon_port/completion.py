"""`axon-port completion`: what a shell needs to complete the command line (PROTOCOL.md, SHELL-COMPLETION).

The scripts are made from the parser itself and printed, to be sourced; nothing is started while somebody types.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TextIO


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its long flag, what it is for, and what it takes: nothing, one of some words, or anything."""

    flag: str
    help: str
    takes_value: bool
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command with its options and the words that may stand behind it, or a file."""

    name: str
    help: str
    options: tuple[Option, ...]
    words: tuple[str, ...] = ()
    takes_file: bool = False


def commands_of(parser: argparse.ArgumentParser) -> list[Command]:
    """The parser as data: the program itself first, then its subcommands."""
    subcommands: dict[str, argparse.ArgumentParser] = {}
    helps: dict[str, str] = {}
    for action in _actions(parser):
        if action.nargs == argparse.PARSER:
            choices: Any = action.choices
            subcommands |= choices
            shown: list[argparse.Action] = getattr(action, "_choices_actions", [])
            helps |= {one.dest: one.help or "" for one in shown}
    program = Command("", "", tuple(_options(parser)), tuple(subcommands))
    rest = [
        Command(name, _plain(helps.get(name, "")), tuple(_options(sub)), tuple(_words(sub)), _takes_file(sub))
        for name, sub in subcommands.items()
    ]
    return [program, *rest]


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return parser._actions  # pyright: ignore[reportPrivateUsage]  there is no public way


def _options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    for action in _actions(parser):
        for flag in action.option_strings:
            if flag.startswith("--"):
                choices = tuple(map(str, action.choices or ()))
                yield Option(flag, _plain(action.help or ""), action.nargs != 0, choices)


def _words(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in _actions(parser):
        if not action.option_strings and action.nargs != argparse.PARSER:
            yield from map(str, action.choices or ())


def _takes_file(parser: argparse.ArgumentParser) -> bool:
    return any(not action.option_strings and action.choices is None for action in _actions(parser))


def _plain(text: str) -> str:
    """Without what argparse would fill in, and without what shells have a meaning for."""
    short = text.partition(" (default")[0].replace("'", "’")
    return "".join(sign for sign in short if sign not in '"`$[]:\\')


# --- the shells


def bash(commands: list[Command]) -> str:
    anything = [option.flag for command in commands for option in command.options if option.takes_value]
    chosen = {option.flag: option.choices for command in commands for option in command.options if option.choices}
    values = [f"        {flag}) _axon_port_words {' '.join(words)}; return ;;" for flag, words in chosen.items()]
    values.append(f"        {'|'.join(sorted(set(anything) - set(chosen)))}) COMPREPLY=(); return ;;")
    cases = [
        f"        {one.name or '_'}) _axon_port_words {' '.join(_offered(one))}{_files(one)} ;;" for one in commands
    ]
    names = "|".join(command.name for command in commands if command.name)
    return "\n".join(
        [
            "# bash completion for axon-port: source <(axon-port completion bash)",
            '_axon_port_words() { COMPREPLY=($(compgen -W "$*" -- "$typed")); }',
            "_axon_port_files() { local IFS=$'\\n'; COMPREPLY+=($(compgen -f -- \"$typed\")); }",
            "_axon_port() {",
            '    local command=_ word typed="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
            "    # Bash makes words of their own of what stands before and after an equals sign, and of the sign.",
            '    if [[ "$typed" == "=" ]]; then typed=""; fi',
            '    if [[ "$before" == "=" ]]; then before="${COMP_WORDS[COMP_CWORD-2]}"; fi',
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            f'        case "$word" in {names}) command="$word"; break ;; esac',
            "    done",
            '    case "$before" in',
            *values,
            "    esac",
            '    case "$command" in',
            *cases,
            "    esac",
            "}",
            "complete -o default -o filenames -F _axon_port axon-port",
            "",
        ]
    )


def _offered(command: Command) -> list[str]:
    return [*command.words, *(option.flag for option in command.options)]


def _files(command: Command) -> str:
    return "; _axon_port_files" if command.takes_file else ""


def zsh(commands: list[Command]) -> str:
    program, *rest = commands
    described = " ".join(f"'{one.name}:{one.help}'" for one in rest)
    return "\n".join(
        [
            "#compdef axon-port",
            "# zsh completion for axon-port: source <(axon-port completion zsh)",
            "_axon_port() {",
            "    local state",
            "    local -a commands",
            f"    commands=({described})",
            f"    _arguments -C {' '.join(map(_zsh_option, program.options))} '1: :->command' '*:: :->rest'",
            '    case "$state" in',
            "        command) _describe command commands ;;",
            '        rest) case "$words[1]" in',
            *(
                f"            {one.name}) _arguments {' '.join([*map(_zsh_option, one.options), *_zsh_words(one)])} ;;"
                for one in rest
            ),
            "        esac ;;",
            "    esac",
            "}",
            "compdef _axon_port axon-port",
            "",
        ]
    )


def _zsh_option(option: Option) -> str:
    value = f":value:({' '.join(option.choices)})" if option.choices else ":value:_files" if option.takes_value else ""
    return f"'{option.flag}[{option.help}]{value}'"


def _zsh_words(command: Command) -> list[str]:
    if command.takes_file:
        return ["'1:file:_files'"]
    return [f"'1:word:({' '.join(command.words)})'"] if command.words else []


def fish(commands: list[Command]) -> str:
    program, *rest = commands
    lines = ["# fish completion for axon-port: axon-port completion fish | source"]
    lines += [_fish_option("__fish_use_subcommand", option) for option in program.options]
    for one in rest:
        lines.append(f"complete -c axon-port -n __fish_use_subcommand -f -a {one.name} -d '{one.help}'")
        seen = f"'__fish_seen_subcommand_from {one.name}'"
        lines += [_fish_option(seen, option) for option in one.options]
        if one.words:
            lines.append(f"complete -c axon-port -n {seen} -f -a '{' '.join(one.words)}'")
    return "\n".join([*lines, ""])


def _fish_option(when: str, option: Option) -> str:
    value = f" -x -a '{' '.join(option.choices)}'" if option.choices else " -r" if option.takes_value else ""
    return f"complete -c axon-port -n {when} -l {option.flag[2:]}{value} -d '{option.help}'"


SHELLS: Final[Mapping[str, Callable[[list[Command]], str]]] = {"bash": bash, "zsh": zsh, "fish": fish}


def print_script(shell: str, parser: argparse.ArgumentParser, out: TextIO) -> int:
    """Write the script of a shell for what a parser knows; the exit status."""
    out.write(SHELLS[shell](commands_of(parser)))
    return 0
