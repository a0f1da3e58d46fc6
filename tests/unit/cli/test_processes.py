"""Services as processes: what is said when one does not come up."""

from __future__ import annotations

import pytest

from tallygate.cli.processes import PairOptions, ProgramEndedError, ServiceProcess


async def test_a_program_that_ends_instead_of_serving_is_quoted() -> None:
    """The error has its exit status and the last line that it wrote to stderr."""
    lines: list[str] = []
    with pytest.raises(ProgramEndedError, match=r"ended with exit status 2: .*--nonsense"):
        await ServiceProcess.start("json.tool", ["--nonsense"], lambda _name, line: lines.append(line))
    assert lines[-1].endswith("--nonsense")


def test_database_urls_are_told_by_the_environment_and_shown_nowhere() -> None:
    """Everybody on a machine may read a program's options."""
    options = PairOptions(
        "data", "127.0.0.1:1", "127.0.0.1:2", "postgresql://u:s3cret@h/c", "postgresql://u:s3cret@h/m"
    )
    assert "s3cret" not in repr(options)
    assert "s3cret" not in " ".join([*options.control_arguments(), *options.metering_arguments("127.0.0.1:1")])
    assert options.variables == {
        "TALLYGATE_CONTROL_DATABASE_URL": "postgresql://u:s3cret@h/c",
        "TALLYGATE_METERING_DATABASE_URL": "postgresql://u:s3cret@h/m",
    }


def test_a_pair_that_lets_everybody_in_has_a_pepper_all_the_same() -> None:
    """Without it there are neither keys of accounts nor signed alerts, and a first session could not try them."""
    told = PairOptions("data", "127.0.0.1:1", "127.0.0.1:2").control_arguments()
    assert told[2:5] == ["--no-auth", "--pepper-file", "data/pepper"]


def test_an_environment_that_says_how_callers_prove_themselves_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pair with settings of its own is not opened to everybody by what `tallygate up` adds."""
    monkeypatch.setenv("TALLYGATE_PEPPER_FILE", "elsewhere")
    options = PairOptions("data", "127.0.0.1:1", "127.0.0.1:2")
    assert options.secrets == []
    assert "--no-auth" not in options.control_arguments()
