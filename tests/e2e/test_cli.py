"""The command line against the real pair: what people type, what they are told, and the exit status."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import grpc
import psutil
import pytest

from tallygate.control.v1 import team_service_pb2, team_service_pb2_grpc
from tallygate.metering.v1 import metering_service_pb2, metering_service_pb2_grpc, report_pb2, token_usage_pb2
from tests.harness.patience import PATIENCE_S, turns
from tests.harness.programs.command import Up, tallygate, up


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Both services, started by `tallygate up`."""
    with up(tmp_path_factory.mktemp("data")) as running:
        yield running


@pytest.fixture(scope="module")
def llama(running: Up) -> str:
    """A model with a price, a trial and reserved capacity for sale."""
    made = running.tallygate(
        *("model", "create", "llama", "--trial-tokens", "50000", "--alias", "meta-llama/Llama-3.1-8B-Instruct"),
        *("--reserved-input", "0.002", "--reserved-output", "0.008"),
    )
    assert made.status == 0, made.err
    priced = running.tallygate("model", "publish-price", "llama", "--input", "0.20", "--output", "600000000n")
    assert priced.status == 0, priced.err
    return "llama"


def create_team(running: Up, name: str) -> None:
    with grpc.insecure_channel(running.control) as channel:
        team_service_pb2_grpc.TeamServiceStub(channel).CreateTeam(team_service_pb2.CreateTeamRequest(name=name))


def test_an_account_from_its_creation_to_its_balance(running: Up) -> None:
    """Create, top up, show: amounts go in as decimals and come back exact, as JSON and for people."""
    assert running.tallygate("account", "create", "acme", "--display-name", "Acme").status == 0
    paid = running.tallygate("account", "top-up", "accounts/acme", "--amount", "12.505", "--json")
    assert paid.json["account"]["balance_nanos"] == "12505000000"
    shown = running.tallygate("account", "show", "acme")
    assert "12.505 USD" in shown.out
    assert running.tallygate("account", "show", "acme", "--json").json["name"] == "accounts/acme"


def test_an_idempotency_key_makes_a_repeat_harmless(running: Up) -> None:
    """The same key pays in once, however often the command runs."""
    running.tallygate("account", "create", "twice")
    for _ in range(2):
        paid = running.tallygate("account", "top-up", "twice", "--amount", "1", "--idempotency-key", "k1")
        assert paid.status == 0, paid.err
    assert running.tallygate("account", "show", "twice", "--json").json["balance_nanos"] == "1000000000"


def test_a_first_key_needs_no_proof_of_callers(running: Up) -> None:
    """A pair on one machine keeps keys, so that they can be tried out before anything is closed."""
    running.tallygate("account", "create", "keyed")
    made = running.tallygate("key", "create", "keyed/first", "--json")
    assert made.status == 0, made.err
    assert made.json["secret"]


def test_a_service_through_its_billing_settings(running: Up, llama: str) -> None:
    """A default service from NOT_ENABLED through trial and pay-as-you-go to stopped; all by short names."""
    running.tallygate("account", "create", "moods")
    service = f"moods/default-{llama}"

    def status() -> tuple[str, list[str]]:
        shown = running.tallygate("service", "show", service, "--json").json
        return shown["status"].removeprefix("SERVICE_STATUS_"), shown["billing_modes"]

    assert status() == ("NOT_ENABLED", ["BILLING_MODE_NONE"])
    claimed = running.tallygate("service", "claim-trial", service)
    assert claimed.status == 0, claimed.err
    assert "50,000 of 50,000 tokens remain" in claimed.out
    assert running.tallygate("service", "enable-postpaid", service).status == 0
    assert status()[1] == ["BILLING_MODE_FREE_TRIAL", "BILLING_MODE_PAY_AS_YOU_GO"]
    stopped = running.tallygate("service", "disable-postpaid", service)
    assert "STOPPED (POSTPAID_DISABLED)" in stopped.out


def test_a_request_is_explained(running: Up, llama: str) -> None:
    """Who paid, or why it was denied; of what nobody knows, who was asked."""
    service = f"accounts/why/services/default-{llama}"
    for command in (("account", "create", "why"), ("service", "claim-trial", f"why/default-{llama}")):
        assert running.tallygate(*command).status == 0
    with grpc.insecure_channel(running.metering) as channel:
        stub = metering_service_pb2_grpc.MeteringServiceStub(channel)
        usage = token_usage_pb2.TokenUsage(input_tokens=900, output_tokens=43)
        paid = report_pb2.TokenReport(
            request_id="paid", service=service, phase=report_pb2.REPORT_PHASE_FINISH, usage=usage
        )
        stub.Report(metering_service_pb2.ReportRequest(report=paid), timeout=60)
        large = report_pb2.TokenReport(
            request_id="large", service=service, usage=token_usage_pb2.TokenUsage(input_tokens=60_000)
        )
        stub.Authorize(metering_service_pb2.AuthorizeRequest(report=large), timeout=60)
    node = ("--metering", running.metering)
    told = tallygate("explain", "why", "paid", *node)
    assert told.status == 0, told.err
    assert "900 in, 43 out" in told.out
    assert "free trial 943" in told.out
    denied = tallygate("explain", "why", "large", *node, "--json").json["nodes"][0]["denials"]
    assert [one["decision"]["reason"] for one in denied] == ["DECISION_REASON_TRIAL_INSUFFICIENT"]
    told = tallygate("explain", "why", "large", *node)
    assert "tokens" in told.out
    assert "…" not in told.out
    unknown = tallygate("explain", "why", "nothing", *node)
    assert (unknown.status, running.metering in unknown.err) == (1, True)


def test_a_custom_service_buys_reserved_capacity(running: Up, llama: str) -> None:
    """Bought with enough money, refused with one sentence and status 1 without."""
    running.tallygate("account", "create", "buyer")
    create_team(running, "accounts/buyer/teams/chat")
    assert running.tallygate("service", "create", "buyer/chat-prod", "--model", llama, "--team", "chat").status == 0
    buy = ("service", "reserve", "buyer/chat-prod", "--input-tpm", "60000", "--output-tpm", "6000", "--days", "30")
    refused = running.tallygate(*buy)
    assert refused.status == 1
    assert "INSUFFICIENT_BALANCE" in refused.err
    assert refused.err.count("\n") == 1
    quoted = running.tallygate("reservation", "quote", *buy[2:])
    assert ("5.04 USD" in quoted.out, "lacks" in quoted.out) == (True, True), quoted
    running.tallygate("account", "top-up", "buyer", "--amount", "20")
    assert "lacks" not in running.tallygate("reservation", "quote", *buy[2:]).out
    bought = running.tallygate(*buy)
    assert bought.status == 0, bought.err
    assert "5.04 USD" in bought.out
    assert "60,000 input and 6,000 output tokens per minute" in bought.out
    for told in (bought, running.tallygate("service", "show", "buyer/chat-prod")):
        assert "BILL_BY_TOKEN" in told.out
        assert "until" in told.out
    listed = running.tallygate("service", "list", "buyer", "--team", "chat", "--json").json
    assert [found["name"] for found in listed["inference_services"]] == ["accounts/buyer/services/chat-prod"]


def test_a_service_is_told_to_go_on_in_an_outage(running: Up, llama: str) -> None:
    """When it is created, or later; 0 tokens take it back."""
    running.tallygate("account", "create", "steady")
    created = running.tallygate("service", "create", "steady/chat", "--model", llama, "--outage-tokens", "50000")
    assert "CONTINUE, 50,000 tokens a node" in created.out
    create_team(running, "accounts/steady/teams/blue")
    team = running.tallygate("service", "update", "steady/chat", "--team", "blue")
    assert "CONTINUE, 50,000 tokens a node" in team.out
    assert "DENY" in running.tallygate("service", "update", "steady/chat", "--outage-tokens", "0").out


def test_a_list_shows_default_services_too(running: Up, llama: str) -> None:
    """An account's list includes what nobody has acted on yet."""
    running.tallygate("account", "create", "fresh")
    listed = running.tallygate("service", "list", "fresh", "--status", "not-enabled")
    assert f"accounts/fresh/services/default-{llama}" in listed.out


def test_an_account_is_listed_changed_corrected_and_accounted_for(running: Up) -> None:
    """Its ledger's lines add up to its balance."""
    for command in (
        ("create", "books"),
        ("update", "books", "--display-name", "Books [/] Ltd", "--credit-limit", "5"),
        ("top-up", "books", "--amount", "10", "--reason", "invoice 7"),
        ("adjust", "books", "--amount=-2.5", "--reason", "mistyped"),
    ):
        said = running.tallygate("account", *command)
        assert said.status == 0, said.err
    row = next(line for line in running.tallygate("account", "list").out.splitlines() if "accounts/books" in line)
    assert "Books [/] Ltd" in row
    assert "7.50 USD" in row
    assert "12.50 USD" in row
    lines = running.tallygate("account", "ledger", "books").out.splitlines()
    assert [line.split()[4:6] for line in lines[1:]] == [["TOP_UP", "10.00"], ["ADJUSTMENT", "-2.50"]]
    entries = running.tallygate("account", "ledger", "books", "--json").json["ledger_entries"]
    assert sum(int(entry["amount_nanos"]) for entry in entries) == 7_500_000_000


def test_a_service_is_suspended_resumed_and_deleted(running: Up, llama: str) -> None:
    """Its events say so, and its name stays taken."""
    for command in (
        ("account", "create", "life"),
        ("service", "create", "life/one", "--model", llama),
        ("service", "suspend", "life/one"),
        ("service", "resume", "life/one"),
    ):
        said = running.tallygate(*command)
        assert said.status == 0, said.err
    told = running.tallygate("service", "events", "life/one").out
    assert told.index("SUSPENDED") < told.index("RESUMED")
    deleted = running.tallygate("service", "delete", "life/one", "--yes")
    assert deleted.status == 0, deleted.err
    assert "RESOURCE_EXISTS" in running.tallygate("service", "create", "life/one", "--model", llama).err


def test_a_reservation_is_listed_and_cancelled(running: Up, llama: str) -> None:
    """What was bought, until when, and what happens beyond it."""
    for command in (
        ("account", "create", "reserved"),
        ("account", "top-up", "reserved", "--amount", "100"),
        ("service", "create", "reserved/one", "--model", llama),
        ("service", "reserve", "reserved/one", "--input-tpm", "1000", "--output-tpm", "500", "--days", "2"),
    ):
        said = running.tallygate(*command)
        assert said.status == 0, said.err
    listed = running.tallygate("reservation", "list", "reserved/one").out
    assert "BILL_BY_TOKEN" in listed
    assert "0.012 USD" in listed
    assert "ACTIVE" in listed
    cancelled = running.tallygate("reservation", "cancel", "reserved/one/1", "--yes")
    assert "CANCELLED" in cancelled.out, cancelled.err


def test_models_and_their_prices_are_listed(running: Up, llama: str) -> None:
    """What one pays now, and what was published before."""
    listed = running.tallygate("model", "list").out
    row = next(line for line in listed.splitlines() if line.startswith(f"models/{llama}"))
    assert "0.60 USD" in row
    assert "0.60 USD" in running.tallygate("model", "show", llama).out
    assert f"models/{llama}/prices/1" in running.tallygate("model", "prices", llama).out
    by_alias = running.tallygate("model", "list", "--alias", "meta-llama/Llama-3.1-8B-Instruct", "--json").json
    assert [model["name"] for model in by_alias["models"]] == [f"models/{llama}"]


def test_what_runs_and_what_was_used_is_shown(running: Up, llama: str) -> None:
    """From a request's record to the node that has leases, in the order in which one looks."""
    for command in (
        ("account", "create", "seen"),
        ("account", "top-up", "seen", "--amount", "10"),
        ("service", "enable-postpaid", f"seen/default-{llama}"),
    ):
        said = running.tallygate(*command)
        assert said.status == 0, said.err
    service = f"seen/default-{llama}"
    replayed = running.replay(service, "--requests", "20", "--speed", "max")
    assert replayed.status == 0, replayed.err
    count = replayed.json["allowed"]
    assert count > 0
    node = ("--metering", running.metering)
    used = tallygate("usage", "show", "seen", "--by", "service", "--json", *node).json["buckets"]
    name = f"accounts/seen/services/default-{llama}"
    assert [(one["group"]["service"], one["request_count"]) for one in used] == [(name, str(count))]
    assert name in tallygate("usage", "show", "seen", "--by", "service", *node).out.splitlines()[1]
    assert f"models/{llama}" in tallygate("usage", "show", "seen", "--by", "model", *node).out.splitlines()[1]
    records = tallygate("usage", "requests", service, "--json", *node).json["request_usages"]
    assert len(records) == count
    one = tallygate("usage", "request", service, records[0]["request_id"], *node)
    assert "FINISHED" in one.out
    assert "by token" in one.out
    spent = next(line for line in running.tallygate("pot", "list", "seen").out.splitlines() if line.startswith("MONEY"))
    assert sum(int(record["receipt"]["cost_nanos"]) for record in records) > 0
    assert "10.00 USD" in spent
    for _ in turns():
        if "yes" in running.tallygate("node", "list").out:
            break
    assert running.tallygate("lease", "list", "seen", "--closed").status == 0


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("account", "show", "nobody"), 1, "RESOURCE_NOT_FOUND"),
        (("account", "show", "a/b"), 2, "accounts/acme"),
        (("account", "top-up", "acme", "--amount", "1e3"), 2, "12.50"),
        (("account", "create", "A_b"), 1, "lower-case letters"),
        (("account", "top-up", "acme", "--amount", "99999999999"), 2, "9,223,372,036.854775807"),
        (("model", "create", "big", "--trial-tokens", "9" * 20), 2, "--trial-tokens"),
        (("model", "publish-price", "llama", "--input", "-1", "--output", "1"), 2, "below zero"),
        (("model", "publish-price", "llama", "--input", "1", "--output", "1", "--effective", "soon"), 2, "2026-12-04"),
        (("service", "list", "acme", "--model", "nope"), 1, "models/nope"),
        (("service", "show", "acme"), 2, "acme/chat-prod"),
        (("replay", "/no/such/trace.csv", "--service", "acme/x"), 1, "cannot be read"),
        (("replay", "--service", "acme/x", "--speed", "fast"), 2, "max"),
    ],
)
def test_mistakes_get_a_sentence(running: Up, arguments: tuple[str, ...], status: int, words: str) -> None:
    """Status 1 for what the services refuse, 2 for what was typed wrong; no stack trace for either."""
    said = running.tallygate(*arguments)
    assert said.status == status
    assert words in said.err.replace("\n", " ")
    assert "Traceback" not in said.err


def test_an_address_without_port_gets_a_sentence() -> None:
    """It is no address, so nobody tries to reach it."""
    said = tallygate("account", "show", "acme", "--control", "localhost")
    assert said.status == 1
    assert "HOST:PORT" in said.err


def test_the_address_of_the_other_service_gets_a_sentence(running: Up) -> None:
    """Whoever asks a node for an account learns that it may be the wrong address."""
    said = running.run("account", "show", "acme", "--control", running.metering)
    assert said.status == 1
    assert f"{running.metering} knows no such call" in said.err


def test_nodes_are_named_with_commas_in_the_middleware_s_variable(running: Up, llama: str) -> None:
    """As the middleware reads it, so one setting serves both."""
    made = running.tallygate("account", "create", "commas")
    assert made.status == 0, made.err
    variables = {"TALLYGATE_METERING_ADDRESSES": f"{running.metering},{running.metering}"}
    said = tallygate("explain", "commas", "nothing", variables=variables)
    assert "Nothing is known of nothing in accounts/commas" in said.err


def test_the_version_is_said() -> None:
    """Whoever reports a fault can say of what."""
    said = tallygate("--version")
    assert (said.status, said.out) == (0, f"tallygate {version('tallygate')}\n")


def test_a_price_takes_effect_on_a_day_or_a_moment(running: Up, llama: str) -> None:
    """Days and moments are typed as everywhere else."""
    for effective, said in (("2036-12-01", "2036-12-01 00:00:00 UTC"), ("2037-01-01T00:00:00Z", "2037-01-01 00:00:00")):
        told = running.tallygate(
            "model", "publish-price", llama, "--input", "1", "--output", "1", "--effective", effective
        )
        assert told.status == 0, told.err
        assert said in told.out
    published = running.tallygate("model", "prices", llama, "--json").json["prices"]
    assert "never: withdrawn" in running.tallygate("model", "withdraw-price", f"{llama}/{published[0]['version']}").out
    shown = running.tallygate("model", "prices", llama).out.splitlines()
    assert ["withdrawn" in line for line in shown if "models/" in line] == [True, *[False] * (len(published) - 1)]


def test_an_unreachable_service_gets_a_sentence() -> None:
    """Nobody listens: the command says where, and what to do."""
    said = tallygate("account", "show", "acme", "--control", "127.0.0.1:1")
    assert said.status == 1
    assert "127.0.0.1:1 cannot be reached" in said.err
    assert "tallygate up" in said.err


def _services(running: Up) -> dict[str, psutil.Process]:
    children = psutil.Process(running.process.pid).children()
    return {("control" if "control_service" in child.cmdline() else "metering"): child for child in children}


def test_up_stops_both_services_when_told_to(tmp_path: Path) -> None:
    """SIGINT ends both, leaves none behind, and is no failure."""
    with up(tmp_path) as running:
        services = _services(running)
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(PATIENCE_S) == 0
        assert sorted(services) == ["control", "metering"]
        assert not any(service.is_running() for service in services.values())


@pytest.mark.parametrize("victim", ["control", "metering"])
def test_up_stops_the_other_when_one_dies(tmp_path: Path, victim: str) -> None:
    """A service that dies takes the pair down, and the command fails."""
    with up(tmp_path) as running:
        services = _services(running)
        services[victim].kill()
        assert running.process.wait(PATIENCE_S) == 1
        assert not any(service.is_running() for service in services.values())


def test_up_says_why_a_service_could_not_start(running: Up, tmp_path: Path) -> None:
    """A port in use is one sentence with the service's exit status and its last words."""
    said = tallygate("up", "--data-dir", str(tmp_path), "--control", running.control, "--metering", "127.0.0.1:0")
    assert said.status == 1
    last = said.err.strip().splitlines()[-1]
    assert "the control service ended with exit status" in last
    assert running.control.rpartition(":")[2] in last


def test_a_server_with_the_middleware_is_checked_before_it_starts(
    running: Up, llama: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is wrong is said at once: variables, nodes that cannot be reached, services that do not exist."""
    running.tallygate("account", "create", "checked")
    monkeypatch.setenv("TALLYGATE_METERING_ADDRESSES", running.metering)
    monkeypatch.setenv("TALLYGATE_SERVICE", f"accounts/checked/services/default-{llama}")
    # It waits for no slow machine.
    while (fine := running.tallygate("check", "middleware")).status:
        assert "can be reached" in fine.err
    assert "POST /v1/chat/completions" in fine.out
    monkeypatch.setenv("TALLYGATE_METERING_ADDRESSES", f"{running.metering},127.0.0.1:1")
    monkeypatch.setenv("TALLYGATE_SERVICE", "accounts/checked/services/nothing")
    monkeypatch.setenv("TALLYGATE_ANSWER_MS", "soon")
    wrong = running.tallygate("check", "middleware")
    said = wrong.err.replace("\n", " ")
    assert wrong.status == 1
    assert "TALLYGATE_ANSWER_MS is soon" in said
    assert "127.0.0.1:1" in said
    assert "accounts/checked/services/nothing" in said
