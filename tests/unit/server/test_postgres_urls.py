"""URLs of PostgreSQL, as libpq has them."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from tallygate._server.database.postgres_connect import PostgresConnector
from tallygate._server.database.postgres_url import Place, places_of
from tallygate._server.database.url import normalise_url
from tallygate._server.errors import ConfigurationError

TWO: list[Place] = [("h1", 1), ("h2", 2)]


@pytest.mark.parametrize(
    ("url", "places"),
    [
        ("postgresql://u:p@h1:1,h2:2/d", TWO),
        ("postgresql://u:p@h1:1,h2:2/d?target_session_attrs=read-write", TWO),
        ("postgres://u:p@/d?host=h1:1&host=h2:2", TWO),
        ("postgresql:///d?host=h1,h2&port=1,2", TWO),
        ("postgresql://h1,h2/d?port=5", [("h1", 5), ("h2", 5)]),
        ("postgresql://[::1]:5,[fe80::1]/d", [("::1", 5), ("fe80::1", None)]),
        ("postgresql://h/d", [("h", None)]),
        ("postgresql:///d?host=/run/postgresql&port=6000", [("/run/postgresql", 6000)]),
        ("postgresql:///d", []),
    ],
)
def test_hosts_may_be_several_in_each_of_the_ways_that_there_are(url: str, places: list[Place]) -> None:
    """Each with a port, or one for all."""
    assert places_of(make_url(normalise_url(url))) == places


@pytest.mark.parametrize("user", ["u:p,w", "u,x:p/w", "u:p,w?x", "u:a,b:c"])
def test_commas_of_a_password_are_no_hosts(user: str) -> None:
    """Nothing of it is taken for one, and so told by errors."""
    assert places_of(make_url(normalise_url(f"postgresql://{user}@h:1/d"))) == [("h", 1)]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("sslmod=require", 'the parameter "sslmod", which is not supported; did you mean sslmode?'),
        ("conect_timeout=5", "did you mean connect_timeout?"),
        ("quite_another=5", "there are application_name, "),
        ("sslmode=sometimes", "sslmode of the database URL cannot be that; use allow, disable, prefer"),
        ("target_session_attrs=leader", "target_session_attrs of the database URL cannot be that; use any, "),
        ("connect_timeout=soon", "connect_timeout of the database URL is a number of seconds from 1 to 9999"),
        ("connect_timeout=0", "connect_timeout of the database URL is a number of seconds from 1 to 9999"),
        ("host=a,b&port=1,2,3", "has 2 hosts and 3 ports; give each its own"),
        ("host=a:b", "has a host that cannot be read; write HOST:PORT"),
        (
            "sslrootcert=/not/there",
            "The file /not/there, sslrootcert of the database URL, cannot be read: No such file",
        ),
    ],
)
def test_a_parameter_that_cannot_work_is_one_sentence(query: str, said: str) -> None:
    """It names the parameter, and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        normalise_url(f"postgresql://u:s3cret@h/d?{query}")
    assert said in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_managed_databases_hand_out_is_taken(tmp_path: Path) -> None:
    """TLS, and what the server is told."""
    for name in ("ca", "cert", "key"):
        (tmp_path / name).touch()
    url = (
        f"postgres://u:p@db.example:6432/d?sslmode=verify-full&sslrootcert={tmp_path}/ca&sslcert={tmp_path}/cert"
        f"&sslkey={tmp_path}/key&application_name=tallygate&connect_timeout=7&options=-c%20geqo%3Doff"
    )
    connector = PostgresConnector(make_url(normalise_url(url)), wanted="read-write")
    options = connector.options
    assert options["dsn"] is not None
    for part in ("sslmode=verify-full", "sslrootcert=", "sslcert=", "sslkey="):
        assert part in options["dsn"]
    assert options["server_settings"] == {"application_name": "tallygate", "options": "-c geqo=off"}
    assert (options["user"], options["password"], options["database"]) == ("u", "p", "d")
    assert connector.timeout_s == 7
