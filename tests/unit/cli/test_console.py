"""Texts of other people reach a terminal as they are written, and steer nothing there."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from tallygate.cli import console, show
from tallygate.cli.console import literal, visible
from tallygate.control.v1 import account_pb2, inference_service_pb2, model_pb2

HOSTILE = [
    ("\x1b[2J\x1b]0;owned\x07", r"\x1b[2J\x1b]0;owned\x07"),
    ("one\nstatus RUNNING", r"one\nstatus RUNNING"),
    ("one\rtwo\x08\x0b\x0c", r"one\rtwo\x08\x0b\x0c"),
    ("\x00\x7f", r"\x00\x7f"),
    ("\x9b31m\x85", r"\x9b31m\x85"),
    ("eno\u202etwo\u2066\u200f", r"eno\u202etwo\u2066\u200f"),
    ("a\u2028b\u2029", r"a\u2028b\u2029"),
    ("[red]x[/] [link=http://h]y[/link] [/] :warning: \\[b", "[red]x[/] [link=http://h]y[/link] [/] :warning: \\[b"),
    ("Größe 大 سلام \u200d👩\u200d🔬", "Größe 大 سلام \u200d👩\u200d🔬"),
]
BOTH = pytest.mark.parametrize(("text", "shown"), HOSTILE)


def printed(what: Any, *, colours: bool = False) -> str:
    """What a command would write."""
    stream = io.StringIO()
    to = console._Console(file=stream, width=2_000, emoji=False, highlight=False, force_terminal=colours, no_color=True)
    to.print(what)
    return stream.getvalue()


@BOTH
def test_a_text_is_shown_as_it_is_written(text: str, shown: str) -> None:
    """By itself, and whatever is printed as a string by mistake still sends no control characters."""
    assert visible(text) == shown
    assert printed(literal(text)) == f"{shown}\n"
    if "[" not in text:
        assert printed(text).replace("\n", "") == visible(text, kept="\n").replace("\n", "")


@BOTH
def test_resources_are_shown_as_they_are_written(text: str, shown: str) -> None:
    """Each text of an account, a model and a service, in its facts and in the list; each on its one line."""
    account = account_pb2.Account(name="accounts/acme", display_name=text, currency_code="USD")
    model = model_pb2.Model(name="models/llama", display_name=text, aliases=[text], currency_code="USD")
    service = inference_service_pb2.InferenceService(
        name=f"accounts/acme/services/{text}", display_name=text, team=text, labels={text: text}, model=text
    )
    assert printed(show.account_facts(account)).count(shown) == 1
    assert printed(show.model_facts(model)).count(shown) == 2
    facts = printed(show.service_facts(service))
    assert facts.count(shown) == 6
    listed = printed(show.service_table([service]))
    assert listed.count(shown) == 3
    assert len(listed.splitlines()) == 2
    assert len(facts.splitlines()) == len(
        printed(
            show.service_facts(
                inference_service_pb2.InferenceService(
                    name="n", display_name="d", team="t", labels={"k": "v"}, model="m"
                )
            )
        ).splitlines()
    )


def test_a_table_in_a_pipe_has_no_spaces_at_the_ends_of_its_lines() -> None:
    """Where a terminal is they stay; a line that goes on later keeps its own."""
    services = [inference_service_pb2.InferenceService(name=f"accounts/acme/services/{'s' * n}") for n in (1, 9)]
    for drawn in (show.service_table(services), show.service_facts(services[0])):
        lines = printed(drawn).splitlines()
        assert len(lines) > 1
        assert lines == [line.rstrip() for line in lines]
        assert any(line.endswith(" ") for line in printed(drawn, colours=True).splitlines())
    stream = io.StringIO()
    to = console._Console(file=stream)
    to.print("error:", end=" ")
    to.print("no")
    assert stream.getvalue() == "error: no\n"


def test_our_own_colours_are_still_colours() -> None:
    """A status is styled, not written with brackets."""
    service = inference_service_pb2.InferenceService(
        status=inference_service_pb2.SERVICE_STATUS_STOPPED, stop_reasons=[inference_service_pb2.STOP_REASON_NO_PRICE]
    )
    assert show.status_text(service).plain == "STOPPED (NO_PRICE)"
    assert printed(show.status_text(service)) == "STOPPED (NO_PRICE)\n"
    stream = io.StringIO()
    Console(file=stream, force_terminal=True, color_system="standard").print(show.status_text(service))
    assert "\x1b[31m" in stream.getvalue()
