"""Forms on a page as a browser would send them, read from its HTML."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from typing_extensions import override

TICKED = {"checkbox", "radio"}


@dataclass
class PageForm:
    """A form that makes a change. `fields`: names and values as they stand on the page; `required`: what needs one."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    required: set[str] = field(default_factory=set)

    def filled(self) -> list[tuple[str, str]]:
        """As somebody fills it in: something in each field that must have something."""
        return [(name, value or ("1" if name in self.required else "")) for name, value in self.fields]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[PageForm] = []
        self._form: PageForm | None = None
        self._area: str | None = None
        self._select: list[str] | None = None

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = PageForm() if found.get("method") == "post" and "action" in found else None
        if self._form is None:
            return
        name = found.get("name", "")
        if "required" in found:
            self._form.required.add(name)
        if tag == "input" and name and (found.get("type") not in TICKED or "checked" in found):
            self._form.fields.append((name, found.get("value", "")))
        elif tag == "select":
            self._select = [name]
        elif tag == "option" and self._select is not None and (len(self._select) == 1 or "selected" in found):
            self._select = [self._select[0], found.get("value", "")]
        elif tag == "textarea":
            self._area = name
            self._form.fields.append((name, ""))

    @override
    def handle_data(self, data: str) -> None:
        if self._form is not None and self._area is not None:
            self._form.fields[-1] = (self._area, self._form.fields[-1][1] + data)

    @override
    def handle_endtag(self, tag: str) -> None:
        if self._form is None:
            return
        if tag == "textarea":
            self._area = None
        elif tag == "select" and self._select is not None:
            self._form.fields.append((self._select[0], "".join(self._select[1:])))
            self._select = None
        elif tag == "form":
            self.forms.append(self._form)
            self._form = None


def forms_in(html: str) -> list[PageForm]:
    """Those of the page itself: the sign-out, which is on each of them, is none."""
    reader = _Reader()
    reader.feed(html)
    return [form for form in reader.forms if [name for name, _ in form.fields] != ["csrf"]]
