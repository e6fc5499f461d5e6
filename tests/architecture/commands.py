"""Command lines in documents: where they stand, and whether what they name exists."""

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import click

from ops.cli import cli
from ops.host.document import Block, blocks, without_blocks
from tests.architecture.sources import ROOT

# Programs of others that the documents call. A name that is not here is a slip, or belongs here.
FOREIGN = re.compile(
    r"""
    age | pg_basebackup | pg_restore | pg_verifybackup | rclone | restic | touch
    | apt-cache | apt-get | caddy | certbot | docker | docker-compose | fail2ban-client | git | journalctl | nft | nginx
    | node | openssl | pip | psql | python3 | redis-cli | rsync | scp | ssh | systemctl | timedatectl | ufw
    | \[ | awk | cat | cd | chmod | chown | cp | curl | cut | date | df | du | echo | export | getent | grep | head | id
    | install | jq | ln | logger | ls | mkdir | mv | ps | rm | sed | set | sha256sum | sort | ss | stat | tail | tar
    | printf | runuser | tee | test | top | true | uniq
    """,
    re.VERBOSE,
)
_TOP = ("edge", "auth_service", "core_service", "common", "ops", "tests", "docs")
_RELEASE = "/opt/gatehouse/current/"  # on a host: what is there is what is here
_OPERATORS = frozenset("|&;()<>")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_PLACEHOLDER = re.compile(r"[A-Z][A-Z0-9_-]*(\.[a-z.]+)?|…|<[^>]+>")
_HEREDOC = re.compile(r"<<-?\s*'?\"?(\w+)'?\"?")


class Line(NamedTuple):
    number: int
    text: str
    block: Block | None  # None: in running text


def command_lines(text: str) -> Iterator[Line]:
    """Every command line of a document: in blocks, and in code marks where the text names a program of ours."""
    for block in blocks(text):
        if block.language in ("sh", "console"):
            for number, line in _joined(block):
                yield Line(number, line, block)
        elif block.language in ("", "text"):
            for number, line in enumerate(block.text.splitlines(), block.line):
                if line.startswith(("gatehouse ", "make ")):  # a list of commands, each with a word about it
                    yield Line(number, _plain(line.partition("  ")[0]), block)
    for number, line in enumerate(without_blocks(text).splitlines(), 1):
        if "not yet (" not in line:
            for marked in re.findall(r"`((?:sudo )?(?:gatehouse|make) [^`]+)`", line):
                yield Line(number, _plain(marked), None)


def _joined(block: Block) -> Iterator[tuple[int, str]]:
    """Lines of a block that are commands: continued lines in one, here-documents and what was answered left out."""
    lines = iter(enumerate(block.text.splitlines(), block.line))
    for number, line in lines:
        if block.language == "console" and not line.startswith("$ "):
            continue
        whole = line.removeprefix("$ ")
        while whole.endswith("\\"):
            whole = whole[:-1] + next(lines)[1]
        if heredoc := _HEREDOC.search(whole):
            while next(lines)[1].strip() != heredoc[1]:
                pass
            whole = whole.replace(heredoc[0], "")
        if whole.strip() and not whole.lstrip().startswith("#"):
            yield number, whole


def _plain(marked: str) -> str:
    """`gatehouse up [--detach]` as it would be typed with everything optional."""
    return re.sub(r"[\[\]]| …| \.\.\.| \(.*\)", "", marked)


def commands(line: str) -> list[list[str]]:
    """The single commands of a line, each as its words: pipes, lists and substitutions taken apart."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="".join(sorted(_OPERATORS)))
    lexer.whitespace_split, lexer.commenters = True, ""
    found: list[list[str]] = [[]]
    for word in lexer:
        if word.startswith("#"):
            break
        if set(word) <= _OPERATORS:
            found.append(["<"] if set(word) & set("<>") else [])  # what follows < or > is a file, no program
        else:
            found[-1].append(word)
    return [words for words in map(_program, found) if words]


def _program(words: list[str]) -> list[str]:
    """Without what stands before the program: assignments, `sudo -u user`."""
    words = list(words)
    if words[:1] == ["<"]:
        words = words[2:]
    while words and (
        _ASSIGNMENT.fullmatch(words[0]) or words[0] in ("sudo", "$", "if", "then", "!", "do", "fi", "done")
    ):
        options = words.pop(0) == "sudo"
        while options and words and words[0].startswith("-"):
            del words[: 2 if words[0] in ("-u", "-g") else 1]
    return words


def fault_of(line: str, *, mention: bool = False) -> str | None:
    """Why a command line cannot work: a program, command, option, target or file that is not there. None when it can.

    A `mention` in running text need not be whole: `gatehouse serve` means that command with whatever it takes.
    """
    for words in commands(line):
        if fault := _fault(words, mention):
            return f"{shlex.join(words)}: {fault}"
    return None


def _fault(words: list[str], mention: bool) -> str | None:
    words = [word.removeprefix(_RELEASE) for word in words]
    program = words[0].rpartition("/")[2]
    if program == "gatehouse":
        return gatehouse_fault(words[1:], mention)
    if program == "make":
        return make_fault(words[1:])
    if not FOREIGN.fullmatch(program) and not (ROOT / words[0]).is_file():
        return f"no known program: {words[0]}"
    missing = [word for word in words if word.partition("/")[0] in _TOP and "/" in word and not (ROOT / word).exists()]
    return f"no such file: {', '.join(missing)}" if missing else None


def gatehouse_fault(words: list[str], mention: bool) -> str | None:
    """What is wrong with the words behind `gatehouse`, by the commands' own declarations."""
    command: click.Command | None = cli
    context = click.Context(cli, info_name="gatehouse")
    while command is not None:
        try:
            values, rest, _ = command.make_parser(context).parse_args(list(words))
        except click.BadOptionUsage as error:  # its value is missing
            return None if mention else error.format_message()
        except click.UsageError as error:
            return error.format_message()
        if fault := _missing_or_unknown(command, values, mention):
            return fault
        if not isinstance(command, click.Group):
            return f"too many arguments: {' '.join(rest)}" if rest else None
        if not rest:
            return None if mention or command.invoke_without_command or values else "no command is named"
        name, words = rest[0], rest[1:]
        inner = command.get_command(context, name)
        context = click.Context(inner, parent=context, info_name=name) if inner else context
        command = inner
    return f"no such command: {name}"


def _missing_or_unknown(command: click.Command, values: dict[str, object], mention: bool) -> str | None:
    if values.get("help"):
        return None
    for parameter in command.params:
        value = values.get(parameter.name or "")
        given = [word for word in (value if isinstance(value, list | tuple) else [value]) if isinstance(word, str)]
        if parameter.required and not given and not mention:
            return f"missing: {parameter.human_readable_name}"
        if isinstance(parameter.type, click.Choice):
            choices = {str(getattr(choice, "value", choice)) for choice in parameter.type.choices}
            if wrong := [word for word in given if word not in choices and not _PLACEHOLDER.fullmatch(word)]:
                return f"{', '.join(wrong)}: none of {', '.join(sorted(choices))}"
    return None


def make_fault(words: list[str]) -> str | None:
    text = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z][a-z-]*):", text, re.MULTILINE))
    for word in words:
        name, assigns, _ = word.partition("=")
        if assigns and not re.search(rf"\b{name}\b", text):
            return f"the Makefile reads no {name}"
        if not assigns and name not in targets:
            return f"no such target: {name}"
    return None
