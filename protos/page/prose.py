"""Comments as HTML: paragraphs, `code`, and links to what they name."""

import re

from markupsafe import Markup, escape

from protos.page.contract import REASON_PREFIX, REASONS, Contract

CODE_SPAN = re.compile(r"`([^`]+)`")
WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*")
# A name of one hump, such as Model, is an English word as well: only in code it is surely meant.
SURELY_A_NAME = re.compile(r"[A-Z][a-z0-9]+[A-Z]|[A-Z]+_[A-Z]|.\.")


class Prose:
    """Knows what can be linked to."""

    def __init__(self, contract: Contract) -> None:
        self._targets = dict(_targets(contract))

    def html(self, comment: str, within: str = "") -> Markup:
        """`within` is what the comment is about: it isn't linked to from there."""
        paragraphs = (" ".join(part.split("\n")) for part in comment.split("\n\n"))
        return Markup("\n").join(Markup("<p>{}</p>").format(self._inline(part, within)) for part in paragraphs if part)

    def _inline(self, text: str, within: str) -> Markup:
        html = Markup("")
        for index, part in enumerate(CODE_SPAN.split(text)):
            if index % 2:
                html += Markup("<code>{}</code>").format(self._linked(part, within, part))
            else:
                html += self._words(part, within)
        return html

    def _words(self, text: str, within: str) -> Markup:
        html, end = Markup(""), 0
        for found in WORD.finditer(text):
            html += escape(text[end : found.start()])
            word, end = found[0], found.end()
            sure = word.isupper() or SURELY_A_NAME.search(word)
            html += self._linked(word, within, word) if sure else escape(word)
        return html + escape(text[end:])

    def _linked(self, name: str, within: str, shown: str) -> Markup:
        # A field is named by its siblings without the name of their message.
        siblings = within.rpartition(".")[0] or within
        target = self._targets.get(f"{siblings}.{name}") or self._targets.get(name)
        if target is None or target == within:
            return escape(shown)
        return Markup('<a href="#{}">{}</a>').format(target, shown)


def _targets(contract: Contract) -> "list[tuple[str, str]]":
    """What may be named in a comment, and the anchor of each. Of two with one name the later one counts."""
    targets = []
    for service in contract.services:
        targets += [(method.name, f"{service.name}.{method.name}") for method in service.methods]
        targets += [(f"{service.name}.{method.name}", f"{service.name}.{method.name}") for method in service.methods]
        targets.append((service.name, service.name))
    for message in contract.messages:
        targets.append((message.name, message.name))
        targets += [(f"{message.name}.{field.name}", f"{message.name}.{field.name}") for field in message.fields]
    for enum in contract.enums:
        targets.append((enum.name, enum.name))
        targets += [(value.name, f"{enum.name}.{value.name}") for value in enum.values]
        if enum.name == REASONS:
            targets += [(v.name.removeprefix(REASON_PREFIX), f"{enum.name}.{v.name}") for v in enum.values]
    targets += [(code, f"status-{code}") for code in contract.reasons]
    return targets
