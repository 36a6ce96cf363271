"""A parser of arguments that answers a mistake with what to type instead."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NoReturn

_LACKING: Final = re.compile(r"argument (--\S+): expected one argument")
_MISTAKEN: Final = re.compile(r"invalid choice: '(?P<choice>[^']*)'|unrecognized arguments: (?P<word>\S+)")
_MISSING: Final = re.compile(r"the following arguments are required: (.+)")
"""What argparse says of an option without its value, of a word it does not know, of one that is not there."""

_MEANT: Final[Mapping[str, str]] = {
    **dict.fromkeys(("-v", "-V"), "did you mean --version?"),
    **dict.fromkeys(("-?", "/?"), "did you mean --help?"),
    **dict.fromkeys(("serve", "start", "run", "worker"), "leave it out, a worker serves without a command"),
}
"""What people type out of habit."""


class UsageError(Exception):
    """Wrong arguments; the text says what is wrong and what to type."""


def subparsers(action: argparse.Action) -> Mapping[str, argparse.ArgumentParser]:
    """The commands of an action by name; empty for one that has none."""
    choices: Any = action.choices
    return choices if action.nargs == argparse.PARSER else {}


class AdvisingParser(argparse.ArgumentParser):
    """Raises `UsageError` for wrong arguments."""

    def error(self, message: str) -> NoReturn:
        proposal = self._proposal(message)
        raise UsageError(f"{message}{proposal and ': '}{proposal} ({self.prog} --help lists the options)")

    def is_command(self, word: str = "") -> bool:
        """Whether a word is one of the commands."""
        return any(word in subparsers(action) for action in self._actions)

    def demand_known(self, arguments: Sequence[str]) -> None:
        """Argparse would take what follows a mistyped option for a command, and complain of that."""
        known = {"--", *self._words()}
        for word in arguments:
            if word.startswith("--") and word.partition("=")[0] not in known:
                self.error(f"unrecognized arguments: {word}")

    def demand_each(self, said: Iterable[tuple[str, str]]) -> None:
        """What variables say has to be right one by one, so that the variable is named and not its option."""
        for variable, word in said:
            try:
                self.parse_args([word])
            except UsageError as error:
                raise UsageError(f"{variable}: {error}") from None

    def leftover(self, words: Sequence[str], command: str | None) -> NoReturn:
        """Words that nothing takes. A file behind a command that reads its input is a redirection forgotten."""
        message = f"unrecognized arguments: {' '.join(words)}"
        if command in {"pack", "unpack"} and not words[0].startswith("-"):
            message = f"{message}: it reads its input, write {self.prog} {command} < {words[0]}"
        self.error(message)

    def misplaced(self, word: str, command: str) -> str:
        """What to say of an option for a worker in front of a command, which would not heed it."""
        flag = word.partition("=")[0]
        usage = f"{self.prog} {command}"
        if command == "replay":
            (metavar,) = [action.metavar for action in self._actions if flag in action.option_strings]
            value = f"={metavar}" if metavar else ""
            usage = f"{usage} --option={flag}{value} FILE"
        return f"{flag} is for a worker, and {command} does not heed it: write {usage}"

    def _proposal(self, message: str) -> str:
        """What to type instead, where that can be guessed."""
        if lacking := _LACKING.search(message):
            # A value that begins like an option has to be tied to its flag.
            between = "=" if lacking[1] == "--option" else " "
            metavars = [action.metavar for action in self._actions if lacking[1] in action.option_strings]
            return f"write {lacking[1]}{between}{metavars[0]}" if metavars else ""
        if missing := _MISSING.search(message):
            return f"write {self.prog} {' '.join(self._place(name) for name in missing[1].split(', '))}"
        found = _MISTAKEN.search(message)
        if found is None:
            return ""
        word = (found["choice"] or found["word"] or "").partition("=")[0]
        return _MEANT.get(word) or self._nearest(word)

    def _place(self, name: str) -> str:
        """What stands for an argument: its words, if there are only some, or its name."""
        choices = [action.choices for action in self._actions if name in (action.dest, action.metavar)]
        return "|".join(map(str, choices[0])) if choices and choices[0] else name

    def _nearest(self, word: str) -> str:
        from difflib import get_close_matches

        near = get_close_matches(word, sorted(self._words()), 1)
        return f"did you mean {near[0]}?" if near else ""

    def _words(self) -> set[str]:
        """Everything that can be typed here and in the subcommands."""
        words: set[str] = set()
        for action in self._actions:
            words.update(action.option_strings, map(str, action.choices or ()))
            for parser in subparsers(action).values():
                words |= parser._words() if isinstance(parser, AdvisingParser) else set()
        return words
