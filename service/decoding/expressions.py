"""Regular expressions and EBNF grammars, measured before anything reads them: how deep, how large, how ambiguous.

The decoder follows every way in which a text may be read. What repeats a repeat has ways without number, and costs
seconds per token, so that all callers of the model wait; its size in bytes says nothing about that.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

MAX_NESTING = 32
MAX_SIGNS = 8_000
"""Characters that mean something, and what stands between them."""
MAX_REPEATS = 10_000
"""How often anything may be repeated, by a repeat or by repeats in repeats."""
MAX_ELASTIC = 64
"""Items one after the other that may be of any length: the decoder tries all ways to share a text among them."""
SHOWN = 60


class UnusableGrammar(ValueError):
    """The grammar can't be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Part:
    """A character, class or literal."""

    empty: bool = False


@dataclass(frozen=True, slots=True)
class Reference:
    rule: str


@dataclass(frozen=True, slots=True)
class Sequential:
    items: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Alternatives:
    items: "tuple[Expression, ...]"


@dataclass(frozen=True, slots=True)
class Repeat:
    """`most` is None for any number of times."""

    item: "Expression"
    least: int
    most: int | None
    source: str


Expression = Part | Reference | Sequential | Alternatives | Repeat


class Sign(Enum):
    OPEN = auto()
    CLOSE = auto()
    OR = auto()
    REPEAT = auto()
    PART = auto()
    EMPTY = auto()
    REFERENCE = auto()


@dataclass(frozen=True, slots=True)
class Token:
    sign: Sign
    text: str
    end: int


class Unbalanced(Exception):
    """No expression."""


REGEX_TOKEN = re.compile(
    r"(?P<OPEN>\((?:\?(?::|P?<\w+>))?)|(?P<CLOSE>\))|(?P<OR>\|)"
    r"|(?P<REPEAT>(?:[*+?]|\{\d+(?:,\d*)?\})[?+]?)|(?P<EMPTY>[\^$])"
    # Plain characters in one piece, but for one that is repeated.
    r"|(?P<PART>[\w \-]{2,}(?![*+?{])|\\.|\[\^?(?:\\.|[^\]\\])*\]|.)",
    re.DOTALL,
)
EBNF_TOKEN = re.compile(
    r"(?P<SKIP>\s+|\#[^\n]*)|(?P<OPEN>\(=?)|(?P<CLOSE>\))|(?P<OR>\|)"
    r"|(?P<REPEAT>[*+?]|\{\s*\d+\s*(?:,\s*\d*\s*)?\})|(?P<EMPTY>\"\")"
    r"|(?P<PART>\"(?:\\.|[^\"\\])*\"|\[\^?(?:\\.|[^\]\\])*\])|(?P<REFERENCE>[\w.-]+)|(?P<OTHER>.)",
    re.DOTALL,
)
EBNF_RULE = re.compile(r"^[ \t]*([\w.-]+)\s*::=", re.MULTILINE)
BOUNDS = re.compile(r"\{\s*(\d+)\s*(,?)\s*(\d*)\s*\}")


def check_regex(pattern: str) -> None:
    """Raises UnusableGrammar for an expression that would take too much of a decoder."""
    _check({"": pattern}, REGEX_TOKEN)


def check_ebnf(text: str) -> None:
    """Raises UnusableGrammar for a grammar that would take too much of a decoder."""
    starts = list(EBNF_RULE.finditer(text))
    ends = [*(start.start() for start in starts[1:]), len(text)]
    bodies = {start[1]: text[start.end() : end] for start, end in zip(starts, ends, strict=False)}
    _check(bodies, EBNF_TOKEN)


def _check(bodies: Mapping[str, str], token: re.Pattern[str]) -> None:
    try:
        rules = {name: _parse(body, token) for name, body in bodies.items()}
        _Measure(rules).check()
    except (Unbalanced, RecursionError):
        # Whoever reads it for real finds the fault; rules too many to be followed here are tried out later.
        return


def _tokens(text: str, token: re.Pattern[str]) -> Iterator[Token]:
    for match in token.finditer(text):
        if match.lastgroup == "OTHER":
            raise Unbalanced
        if match.lastgroup and match.lastgroup != "SKIP":
            yield Token(Sign[match.lastgroup], match[0], match.end())


@dataclass(slots=True)
class _Group:
    """What was read since an opening parenthesis: finished alternatives, and the items of the one under way."""

    start: int
    finished: list[Expression] = field(default_factory=list)
    items: list[tuple[Expression, int]] = field(default_factory=list)

    def end_alternative(self) -> None:
        self.finished.append(Sequential(tuple(item for item, _ in self.items)))
        self.items = []

    def whole(self) -> Expression:
        self.end_alternative()
        return self.finished[0] if len(self.finished) == 1 else Alternatives(tuple(self.finished))


class _Parser:
    """From tokens to an expression, without recursion: a text may open more parentheses than Python can follow."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._groups = [_Group(0)]

    def take(self, token: Token) -> None:
        start = token.end - len(token.text)
        match token.sign:
            case Sign.OPEN:
                self._open(start)
            case Sign.CLOSE:
                self._close()
            case Sign.OR:
                self._groups[-1].end_alternative()
            case Sign.REPEAT:
                self._repeat(token)
            case Sign.REFERENCE:
                self._groups[-1].items.append((Reference(token.text), start))
            case Sign.PART | Sign.EMPTY:
                self._groups[-1].items.append((Part(token.sign is Sign.EMPTY), start))

    def whole(self) -> Expression:
        if len(self._groups) > 1:
            raise Unbalanced
        return self._groups[0].whole()

    def _open(self, start: int) -> None:
        if len(self._groups) > MAX_NESTING:
            raise UnusableGrammar(f"It is nested more than {MAX_NESTING} levels deep.")
        self._groups.append(_Group(start))

    def _close(self) -> None:
        if len(self._groups) == 1:
            raise Unbalanced
        closed = self._groups.pop()
        self._groups[-1].items.append((closed.whole(), closed.start))

    def _repeat(self, token: Token) -> None:
        """Puts the last item into a repeat."""
        items = self._groups[-1].items
        if not items:
            raise Unbalanced
        item, start = items.pop()
        least, most = _bounds(token.text)
        items.append((Repeat(item, least, most, self._text[start : token.end]), start))


def _parse(text: str, token: re.Pattern[str]) -> Expression:
    parser = _Parser(text)
    for count, found in enumerate(_tokens(text, token)):
        if count == MAX_SIGNS:
            raise UnusableGrammar(f"It has more than {MAX_SIGNS} parts.")
        parser.take(found)
    return parser.whole()


def _bounds(text: str) -> tuple[int, int | None]:
    match text[0]:
        case "*":
            return 0, None
        case "+":
            return 1, None
        case "?":
            return 0, 1
    found = BOUNDS.match(text)
    if found is None or max(len(found[1]), len(found[3])) > len(str(MAX_REPEATS)):
        raise UnusableGrammar(f"`{_shown(text)}` repeats too often; the limit is {MAX_REPEATS}.")
    least = int(found[1])
    if not found[2]:
        return least, least
    return least, int(found[3]) if found[3] else None


def _shown(source: str) -> str:
    return source if len(source) <= SHOWN else f"{source[:SHOWN]}..."


class _Measure:
    """What a set of rules asks of a decoder."""

    def __init__(self, rules: Mapping[str, Expression]) -> None:
        self._rules = rules
        self._counts: dict[str, int] = {}
        self._elastic: dict[str, bool] = {}

    def check(self) -> None:
        # From the last to the first: rules lead mostly to later ones, which are then measured already.
        for name, rule in reversed(list(self._rules.items())):
            where = f"The rule `{_shown(name)}`" if name else "It"
            if self._repeats(Reference(name)) > MAX_REPEATS:
                raise UnusableGrammar(f"{where} repeats something more than {MAX_REPEATS} times in all.")
            self._refuse_ambiguous_repeats(rule)

    def _refuse_ambiguous_repeats(self, expression: Expression) -> None:
        match expression:
            case Repeat(item=item, most=most, source=source):
                if (most is None or most > 1) and self._is_elastic(item):
                    raise UnusableGrammar(
                        f"`{_shown(source)}` repeats what may be of any length itself, so that a text can be read in "
                        "countless ways; let each repetition begin or end with something fixed."
                    )
                self._refuse_ambiguous_repeats(item)
            case Sequential(items=items) | Alternatives(items=items):
                if isinstance(expression, Sequential):
                    self._refuse_long_runs(items)
                for item in items:
                    self._refuse_ambiguous_repeats(item)
            case _:
                pass

    def _refuse_long_runs(self, items: tuple[Expression, ...]) -> None:
        run = 0
        for item in items:
            run = run + 1 if self._is_elastic(item) else 0
            if run > MAX_ELASTIC:
                raise UnusableGrammar(f"More than {MAX_ELASTIC} parts in a row may be of any length or left out.")

    def _repeats(self, expression: Expression) -> int:
        """How often something may be repeated, by repeats in repeats."""
        match expression:
            case Repeat(item=item, least=least, most=most):
                return max(1, most or least) * self._repeats(item)
            case Sequential(items=items) | Alternatives(items=items):
                return max(map(self._repeats, items), default=1)
            case Reference(rule=rule):
                if rule not in self._counts:
                    self._counts[rule] = 1  # for a rule that leads back to itself
                    self._counts[rule] = self._repeats(self._rules.get(rule, Part()))
                return self._counts[rule]
            case Part():
                return 1

    def _is_elastic(self, expression: Expression) -> bool:
        """Whether nothing in it is fixed: neither where it begins nor where it ends can be told from the text."""
        match expression:
            case Repeat(item=item, least=least, most=most):
                return least != most or self._is_elastic(item)
            case Sequential(items=items) | Alternatives(items=items):
                return all(map(self._is_elastic, items))
            case Reference(rule=rule):
                if rule not in self._elastic:
                    self._elastic[rule] = False  # for a rule that leads back to itself
                    self._elastic[rule] = self._is_elastic(self._rules.get(rule, Part()))
                return self._elastic[rule]
            case Part(empty=empty):
                return empty
