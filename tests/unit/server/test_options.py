"""The services' options, and the environment that can say them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

import control_service.settings
import metering_service.settings
from tallygate._server.errors import ConfigurationError

Parse = Callable[[Sequence[str], Mapping[str, str]], Any]
COMMON = [
    ("--data-dir", "TALLYGATE_DATA_DIR", "elsewhere"),
    ("--log-format", "TALLYGATE_LOG_FORMAT", "text"),
    ("--log-level", "TALLYGATE_LOG_LEVEL", "warning,metering_service=debug"),
    ("--otlp-endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317"),
    ("--insecure", "TALLYGATE_INSECURE", "1"),
    ("--auth", "TALLYGATE_AUTH", "1"),
    ("--tls-cert", "TALLYGATE_TLS_CERT", "c.pem"),
    ("--tls-key", "TALLYGATE_TLS_KEY", "k.pem"),
    ("--client-ca", "TALLYGATE_CLIENT_CA", "a.pem"),
]
CONTROL = [
    ("--listen", "TALLYGATE_CONTROL_LISTEN", "127.0.0.1:1"),
    ("--database-url", "TALLYGATE_CONTROL_DATABASE_URL", "sqlite:///c"),
    ("--database-connections", "TALLYGATE_CONTROL_DATABASE_CONNECTIONS", "20"),
    ("--mtls-listen", "TALLYGATE_CONTROL_MTLS_LISTEN", "127.0.0.1:3"),
    ("--metrics-listen", "TALLYGATE_CONTROL_METRICS_LISTEN", "127.0.0.1:5"),
    ("--pepper-file", "TALLYGATE_PEPPER_FILE", "pepper"),
    ("--operator-token-file", "TALLYGATE_OPERATOR_TOKEN_FILE", "operator.token"),
    ("--trust-domain", "TALLYGATE_TRUST_DOMAIN", "example.org"),
    ("--audit-days", "TALLYGATE_CONTROL_AUDIT_DAYS", "7"),
    ("--minute-days", "TALLYGATE_CONTROL_MINUTE_DAYS", "7"),
    ("--webhooks-allow-private", "TALLYGATE_CONTROL_WEBHOOKS_ALLOW_PRIVATE", "1"),
    ("--no-auth", "TALLYGATE_NO_AUTH", "1"),
]
METERING = [
    ("--listen", "TALLYGATE_METERING_LISTEN", "127.0.0.1:1"),
    ("--control", "TALLYGATE_CONTROL_ADDRESS", "127.0.0.1:1,127.0.0.1:2"),
    ("--control-ca", "TALLYGATE_CONTROL_CA", "a.pem"),
    ("--control-cert", "TALLYGATE_CONTROL_CERT", "c.pem"),
    ("--control-key", "TALLYGATE_CONTROL_KEY", "k.pem"),
    ("--control-token-file", "TALLYGATE_CONTROL_TOKEN_FILE", "token"),
    ("--node-name", "TALLYGATE_NODE_NAME", "n"),
    ("--database-url", "TALLYGATE_METERING_DATABASE_URL", "postgresql://h/m"),
    ("--database-connections", "TALLYGATE_METERING_DATABASE_CONNECTIONS", "20"),
    ("--read-database-url", "TALLYGATE_METERING_READ_DATABASE_URL", "postgresql://h/d"),
    ("--mtls-listen", "TALLYGATE_METERING_MTLS_LISTEN", "127.0.0.1:3"),
    ("--metrics-listen", "TALLYGATE_METERING_METRICS_LISTEN", "127.0.0.1:5"),
    ("--workers", "TALLYGATE_METERING_WORKERS", "2"),
    ("--record-days", "TALLYGATE_METERING_RECORD_DAYS", "40"),
    ("--minute-days", "TALLYGATE_METERING_MINUTE_DAYS", "40"),
]
SWITCHES = {"--auth", "--no-auth", "--insecure", "--webhooks-allow-private"}
TOGETHER = [
    {"--tls-cert", "--tls-key", "--client-ca", "--mtls-listen"},
    {"--control-ca", "--control-cert", "--control-key"},
]
"""Options that need one another."""
UPON = {"--read-database-url": {"--database-url"}}
"""Options that need others, which do not need them."""
WITH_CERTIFICATES = {"--auth", "--trust-domain"}
"""Options of control that need callers who can prove something, such as those with certificates."""
BOTH = pytest.mark.parametrize(
    ("parse", "options"),
    [(control_service.settings.parse, COMMON + CONTROL), (metering_service.settings.parse, COMMON + METERING)],
    ids=["control", "metering"],
)


@BOTH
def test_every_option_can_be_said_by_the_environment(parse: Parse, options: list[tuple[str, str, str]]) -> None:
    """It is the same, and is not what holds when nothing is said."""
    for option, variable, value in options:
        needed = next((group - {option} for group in TOGETHER if option in group), set())
        needed = TOGETHER[0] if option in WITH_CERTIFICATES else UPON.get(option, needed)
        others = [part for each, _, text in options if each in needed for part in (each, text)]
        said = parse([*others, *([option] if option in SWITCHES else [option, value])], {})
        assert parse(others, {variable: value}) == said
        if needed and option not in WITH_CERTIFICATES | UPON.keys():
            with pytest.raises(ConfigurationError, match=option):
                parse(others, {})
        # It takes back what only a pepper would do.
        elif option != "--no-auth" and (option != "--auth" or not others):
            assert said != parse(others, {})


@BOTH
def test_help_has_a_meaning_and_a_variable_for_every_option(
    parse: Parse, options: list[tuple[str, str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    """And none of what the environment says just now, which may be a password."""
    with pytest.raises(SystemExit):
        parse(
            ["--help"], dict.fromkeys((variable for option, variable, _ in options if option not in SWITCHES), "secret")
        )
    text = capsys.readouterr().out
    shown = re.findall(r"^  (--[a-z-]+)[^\[]*?\s{2,}\w[^\[]*\[(\w+)", text, re.MULTILINE)
    assert sorted(shown) == sorted((option, variable) for option, variable, _ in options)
    assert "secret" not in text


@BOTH
@pytest.mark.parametrize(("value", "insecure"), [("1", True), ("0", False), ("", False)])
def test_a_switch_is_1_or_0(parse: Parse, options: object, value: str, insecure: bool) -> None:
    """Anything else might mean either."""
    assert parse([], {"TALLYGATE_INSECURE": value}).insecure is insecure
    with pytest.raises(ConfigurationError, match=r'^TALLYGATE_INSECURE is "false": use 1 or 0\.$'):
        parse([], {"TALLYGATE_INSECURE": "false"})


@BOTH
@pytest.mark.parametrize("said", ["--databse-url=s3cret", "--databse-url", "s3cret", "--database=s3cret", "-u"])
def test_what_there_is_not_is_refused_without_its_value(parse: Parse, options: object, said: str) -> None:
    """It may be a password whose option was mistyped; an option is not to be abbreviated either."""
    with pytest.raises(ConfigurationError, match="--help shows what there is") as caught:
        parse([said, "s3cret"], {})
    assert "s3cret" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("count", ["2", "1001", "-1"])
def test_a_program_has_a_few_connections_and_not_too_many(parse: Parse, options: object, count: str) -> None:
    """With fewer, readers would keep writers waiting."""
    with pytest.raises(ConfigurationError, match=rf"^--database-connections is {count}: use 3 to 1000"):
        parse(["--database-connections", count], {})


@pytest.mark.parametrize("url", ["sqlite:///m", "postgresql://h/m"])
@pytest.mark.parametrize("copy", ["sqlite:///c", "postgresql://h/c"])
def test_a_copy_for_reading_is_one_of_postgresql(url: str, copy: str) -> None:
    """SQLite has no stand-by."""
    said = ["--database-url", url, "--read-database-url", copy]
    if url.startswith("postgresql") and copy.startswith("postgresql"):
        assert metering_service.settings.parse(said, {}).read_database_url.endswith("//h/c")
        return
    with pytest.raises(ConfigurationError, match=r"are both PostgreSQL\.$"):
        metering_service.settings.parse(said, {})


@BOTH
def test_settings_show_no_password(parse: Parse, options: object) -> None:
    """Wherever they are printed."""
    assert "s3cret" not in repr(parse(["--database-url", "postgresql://u:s3cret@h/d"], {}))


@BOTH
def test_logs_are_json_or_text(parse: Parse, options: object) -> None:
    """Also where the environment says it, which argparse does not look at."""
    assert parse([], {"TALLYGATE_LOG_FORMAT": "text"}).log_format == "text"
    with pytest.raises(ConfigurationError, match=r'^TALLYGATE_LOG_FORMAT is "xml": use json or text\.$'):
        parse([], {"TALLYGATE_LOG_FORMAT": "xml"})
