"""The syntax of Liberty files: groups of values, and Boolean functions."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from sim.gates import Function

_STATEMENT = re.compile(
    r"""[\s;]*(?: (?P<end>\})
    | (?P<kind>[\w.]+) \s* \( (?P<arguments>(?:[^()"{}]|"[^"]*")*) \) \s* (?P<open>\{)?
    | (?P<key>[\w.]+) \s* : \s* (?P<value>"[^"]*"|[^;{}"\n]+) )""",
    re.VERBOSE,
)
_BLANK = re.compile(r"[\s;]*")
_COMMENT = re.compile(r"/\*.*?\*/|\\(?=\n)", re.DOTALL)
_TOKEN = re.compile(r"\s*([A-Za-z_][\w.\[\]]*|[01]|[!'&*|+^()])")


@dataclasses.dataclass
class Group:
    """A group `kind (name) { key : value; kind (name) { ... } }`. Of keys that are repeated, the last counts."""

    kind: str
    name: str
    place: str
    """file and line, for errors"""
    values: dict[str, str] = dataclasses.field(default_factory=dict)
    groups: list[Group] = dataclasses.field(default_factory=list)

    def all(self, *kinds: str) -> Iterator[Group]:
        """The groups in this one that are of these kinds."""
        return (group for group in self.groups if group.kind in kinds)

    def error(self, what: str) -> ValueError:
        """An error that names this group."""
        return ValueError(f"{self.place}: {self.kind} {self.name}: {what}")

    def numbers(self, key: str, default: str = "") -> list[float]:
        """All numbers of a value."""
        text = self.values.get(key, default)
        try:
            return [float(word) for word in text.replace('"', " ").replace(",", " ").split()]
        except ValueError:
            raise self.error(f"{key} must be numbers, not {text[:40]!r}") from None

    def number(self, key: str, default: str = "") -> float:
        """A value that is one number."""
        found = self.numbers(key, default)
        if len(found) != 1:
            raise self.error(f"{key} must be one number, not {self.values.get(key, default)!r}")
        return found[0]


def parse(path: Path) -> Group:
    """The group `library` of a file. What is not a whole Liberty file raises ValueError with the line."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    text = _COMMENT.sub(lambda match: "\n" * match[0].count("\n"), text)
    root = Group("file", path.name, str(path))
    within = [root]
    position, line, seen = 0, 1, 0
    while match := _STATEMENT.match(text, position):
        position = match.end()
        if match["key"]:
            within[-1].values[match["key"]] = match["value"].strip().strip('"')
        elif match["open"]:
            start = match.start("kind")
            line, seen = line + text.count("\n", seen, start), start
            name = " ".join(match["arguments"].replace('"', " ").split())
            within[-1].groups.append(group := Group(match["kind"], name, f"{path}, line {line}"))
            within.append(group)
        elif match["kind"]:
            within[-1].values[match["kind"]] = match["arguments"]
        elif len(within) > 1:
            within.pop()
        else:
            break
    rest = text[_BLANK.match(text, position).end() :]  # pyright: ignore[reportOptionalMemberAccess]
    if rest:
        line += text.count("\n", seen, len(text) - len(rest))
        raise ValueError(f"{path}, line {line}: not Liberty: {rest.splitlines()[0][:40]!r}")
    if len(within) > 1:
        raise within[-1].error("the file ends within this group")
    if [group.kind for group in root.groups] != ["library"]:
        raise ValueError(f"{path}: not a Liberty file: it must have one group, library")
    return root.groups[0]


def function(text: str) -> Function:
    """A Boolean function: ! and ' invert; ^; & and * and mere juxtaposition; | and +. ValueError for anything else.

    Inversion comes first, then ^, then &, then |, as Liberty has it.
    """
    expression = _Expression(text)
    source = expression.sum()
    if expression.next:
        raise expression.error()
    # Names become positions: nothing of the file but its operators, in Python's form, is evaluated.
    names = tuple(expression.names)
    return Function(names, eval(f"lambda {', '.join(expression.names.values())}: {source}"))


class _Expression:
    """A Boolean function that is being read; every method takes the longest of its kind, and gives it in Python."""

    def __init__(self, text: str) -> None:
        self.text, self.tokens = text, [match.group().strip() for match in _TOKEN.finditer(text)]
        if "".join(self.tokens) != "".join(text.split()):
            raise self.error()
        self.names: dict[str, str] = {}

    @property
    def next(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def error(self) -> ValueError:
        return ValueError(f"not a Boolean function: {self.text!r}")

    def sum(self) -> str:
        source = self.product()
        while self.next in ("|", "+"):
            self.tokens.pop(0)
            source = f"({source} | {self.product()})"
        return source

    def product(self) -> str:
        source = self.difference()
        while self.next not in ("", "|", "+", ")"):
            if self.next in ("&", "*"):
                self.tokens.pop(0)
            source = f"({source} & {self.difference()})"
        return source

    def difference(self) -> str:
        source = self.factor()
        while self.next == "^":
            self.tokens.pop(0)
            source = f"({source} ^ {self.factor()})"
        return source

    def factor(self) -> str:
        token = self.tokens.pop(0) if self.tokens else ""
        if token == "!":
            return f"~{self.factor()}"
        if token == "(":
            source = self.sum()
            if not self.tokens or self.tokens.pop(0) != ")":
                raise self.error()
        elif token in ("0", "1"):
            source = f"(-{token})"
        elif token[:1].isalpha() or token[:1] == "_":
            source = self.names.setdefault(token, f"v{len(self.names)}")
        else:
            raise self.error()
        while self.next == "'":
            self.tokens.pop(0)
            source = f"(~{source})"
        return source
