"""Where a sign-in leads: to a page of the console, and nowhere else."""

import pytest

from tallygate.console.sign_in import safe_path


@pytest.mark.parametrize("path", ["/", "/accounts/acme/models", "/accounts/acme/usage?step=60&by=team"])
def test_pages_of_the_console(path: str) -> None:
    """As they were asked for."""
    assert safe_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "accounts",
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/\t/evil.example",
        "/\r\nlocation: https://evil.example",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/é",
        "/sign-in?next=/",
        "/" + "a" * 5_000,
        "http:///evil.example",
        "/ /evil.example\n",
    ],
)
def test_whatever_leads_elsewhere(path: str) -> None:
    """It is the first page instead."""
    assert safe_path(path) == "/"
