"""The options of every command for the manual, read from the commands' own parsers."""

import argparse
import importlib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from eovseg import cli, own_packages

# Modules that are run as `python -m MODULE` and have no name under `eovseg`.
TOOLS = (
    "eovseg.training.pseudo_labels",
    "eovseg.training.joint_space",
    "eovseg.training.word_odds",
    "eovseg.evaluation.stored",
    "eovseg.evaluation.calibrate",
    "eovseg.evaluation.ablations",
    "eovseg.benchmark.memory",
    "eovseg.benchmark.onnx_memory",
    "eovseg.benchmark.start",
    "eovseg.benchmark.training",
    "eovseg.benchmark.conditions",
    "eovseg.evaluation.advice",
    "eovseg.evaluation.by_example",
    "eovseg.evaluation.short_lists",
    "eovseg.data.noun_list",
    "eovseg.data.xs_parts",
    "analysis.contact_sheet",
    "app.screenshots",
    "app.spaces.__main__",
)


class _Asked(Exception):
    """Carries the parser that a command was about to use."""


def _asked(parser: argparse.ArgumentParser, *_: object, **__: object) -> None:
    raise _Asked(parser)


def parser_of(module: str) -> argparse.ArgumentParser:
    """The parser that `python -m MODULE` reads its options with."""
    with patch.object(argparse.ArgumentParser, "parse_known_args", _asked):
        try:
            importlib.import_module(module).main()
        except _Asked as asked:
            return asked.args[0]
    raise ValueError(f"{module} reads no options")


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Every command's name and parser, those with commands of their own followed by these."""
    for name, (_, purpose) in cli.COMMANDS.items():
        command = _subcommands(cli.build_parser(name))[name]
        command.description = command.description or purpose
        yield from _with_subcommands(f"eovseg {name}", command)
    for name, (package, *_) in own_packages.COMMANDS.items():
        yield from _with_subcommands(f"eovseg {name}", parser_of(f"{package}.__main__"))
    for module in TOOLS:
        yield f"python -m {module.removesuffix('.__main__')}", parser_of(module)


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(found[0].choices) if found else {}


def _with_subcommands(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    inner = _subcommands(parser)
    if not inner:
        yield name, parser
        return
    (action,) = (one for one in parser._actions if isinstance(one, argparse._SubParsersAction))
    purposes = {choice.dest: choice.help for choice in action._choices_actions}
    for word, command in inner.items():
        command.description = command.description or purposes.get(word)
        yield from _with_subcommands(f"{name} {word}", command)


def section(name: str, parser: argparse.ArgumentParser) -> str:
    """A command's heading, what it is for, and a list of its options, in Markdown."""
    formatter = parser._get_formatter()
    lines = [f"## `{name}`", ""]
    for text in (parser.description, parser.epilog):
        if text:
            lines += [" ".join(_escaped(text.replace("%(prog)s", parser.prog)).split()), ""]
    for group in parser._action_groups:
        actions = [
            one
            for one in group._group_actions
            if one.help != argparse.SUPPRESS and not isinstance(one, argparse._HelpAction)
        ]
        if actions and group.title not in ("options", "positional arguments"):
            lines += [f"**{group.title}**", ""]
        for action in actions:
            said = _escaped(_help(action, formatter))
            if not said and (group.title or "").startswith("settings of a result"):
                said = "see [Settings](results.md#settings)"
            lines += [_term(action, formatter), f": {said or '–'}", ""]
    return "\n".join(lines)


def _term(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    default = formatter._get_default_metavar_for_optional(action) if action.option_strings else action.dest
    value = "" if action.nargs == 0 else formatter._format_args(action, default)
    if not action.option_strings:
        return f"`{value}`"
    return ", ".join(f"`{f'{option} {value}'.strip()}`" for option in action.option_strings)


def _help(action: argparse.Action, formatter: argparse.HelpFormatter) -> str:
    parts = [formatter._expand_help(action)] if action.help else []
    if action.choices is not None and action.metavar is not None:
        parts.append("one of " + ", ".join(map(str, action.choices)))
    plain = isinstance(action.default, str | int | float) and not isinstance(action.default, bool)
    if plain and not any(word in (action.help or "") for word in ("default", f"({action.default})")):
        parts.append(f"default: {action.default}")
    if action.required and action.option_strings:
        parts.append("required")
    return "; ".join(parts)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, with code in backticks left alone."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        return text.replace("<", "&lt;")
    special = str.maketrans({character: f"\\{character}" for character in "*_[]<>|$"})
    return "`".join(piece if index % 2 else piece.translate(special) for index, piece in enumerate(pieces))


def write(path: Path) -> None:
    """Writes the list of all commands and options to `path`."""
    path.parent.mkdir(exist_ok=True)
    text = "\n".join(section(name, parser) for name, parser in parsers())
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    print("\n".join(section(name, parser) for name, parser in parsers()))
