"""What is under deploy/: valid by the schemas of those who read it, and only with options that the services have."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, latest_version, validate

import control_service.bootstrap
import control_service.settings
import metering_service.assembly
import metering_service.bootstrap
import metering_service.settings
from tallygate._server.errors import ConfigurationError

ROOT: Final = Path(__file__).parents[2]
DEPLOY: Final = ROOT / "deploy"
KUBERNETES: Final = DEPLOY / "kubernetes"
COMPOSE: Final = DEPLOY / "compose" / "compose.yaml"
UNITS: Final = sorted((DEPLOY / "systemd").glob("*.service"))
SETTINGS: Final = {"control": control_service.settings, "metering": metering_service.settings}
NAMES: Final = {
    "",
    *control_service.bootstrap.SERVICE_NAMES,
    *metering_service.bootstrap.SERVICE_NAMES,
    metering_service.bootstrap.ACCEPTING,
}
"""Names of health checking that a server answers for."""
LEAVE_S: Final = metering_service.bootstrap.DRAIN_S + 3 * metering_service.assembly.SETTLE_S
"""Maximum time that a node takes to end: its streams, and the three steps of leaving."""
STOP_S: Final = {"control": control_service.bootstrap.DRAIN_S, "metering": LEAVE_S}

Program = tuple[str, Sequence[str], Mapping[str, str], Sequence[Sequence[str]], float]
"""A service as it is deployed: its name, its arguments, its variables, its probes' commands, its time to end."""


def documents() -> list[dict[str, Any]]:
    """All that kustomize reads, as it names it."""
    resources = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [document for name in resources for document in yaml.safe_load_all((KUBERNETES / name).read_text())]


def pods() -> dict[str, dict[str, Any]]:
    return {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]
        for document in documents()
        if document["kind"] in ("Deployment", "StatefulSet")
    }


def programs() -> Iterator[Program]:
    for name, service in yaml.safe_load(COMPOSE.read_text())["services"].items():
        if name in SETTINGS:
            stop_s = float(service["stop_grace_period"].removesuffix("s"))
            probes = [service["healthcheck"]["test"][1:]]
            yield name, service["command"], service["environment"], probes, stop_s
    for name, pod in pods().items():
        container, *_ = pod["containers"]
        variables = {each["name"]: str(each.get("value", "metering-0")) for each in container["env"]}
        variables |= {each: "postgresql://u@h/d" for each in variables if each.endswith("DATABASE_URL")}
        probes = [container[kind]["exec"]["command"] for kind in ("startupProbe", "livenessProbe", "readinessProbe")]
        wait_s = container["lifecycle"]["preStop"]["exec"]["command"][1]
        yield name, container["args"], variables, probes, pod["terminationGracePeriodSeconds"] - float(wait_s)


of_each = pytest.mark.parametrize("program", list(programs()), ids=lambda program: str(program[0]))


@of_each
def test_services_take_what_is_said_to_them(program: Program) -> None:
    """Every variable is one of the service's, and nothing that an option needs is missing."""
    name, arguments, variables, _, _ = program
    assert arguments == [name, "serve"]
    settings = SETTINGS[name].parse([], variables)
    assert settings.tls is not None
    known = set(re.findall(r"TALLYGATE_\w+", SETTINGS[name]._options({}).parser.format_help()))
    assert set(variables) <= known
    for needed in ("TALLYGATE_TLS_KEY", "TALLYGATE_CLIENT_CA"):
        with pytest.raises(ConfigurationError):
            SETTINGS[name].parse([], {key: value for key, value in variables.items() if key != needed})


@of_each
def test_probes_ask_where_it_listens_for_what_there_is(program: Program) -> None:
    """By TLS, and for names that are answered for."""
    name, _, variables, probes, _ = program
    for probe in probes:
        python, option, module, address, *options = probe
        assert (python, option, module) == ("python", "-m", "tallygate.probe")
        port = variables[f"TALLYGATE_{name.upper()}_LISTEN"].rpartition(":")[2]
        assert address == f"127.0.0.1:{port}"
        said = dict(zip(options[::2], options[1::2], strict=True))
        assert said["--ca"] == variables["TALLYGATE_CLIENT_CA"]
        assert said.get("--name", "") in NAMES


@of_each
def test_there_is_time_to_end(program: Program) -> None:
    """A node that is killed while it gives leases back leaves them for 40 s."""
    name, _, _, _, stop_s = program
    assert stop_s > STOP_S[name]


def test_kubernetes_takes_every_document() -> None:
    """By the schemas of Kubernetes, without a field that there is not."""
    found = documents()
    assert len(found) > len(SETTINGS)
    for document in found:
        validate(document, latest_version(), strict=True)


def test_a_document_with_a_wrong_field_is_refused() -> None:
    """The schemas are strict."""
    (document,) = (each for each in documents() if each["kind"] == "StatefulSet")
    with pytest.raises(ValidationError):
        validate({**document, "replica": 3}, latest_version(), strict=True)


def test_kustomize_finds_what_pods_name() -> None:
    """Every file is listed; every secret and config map, port and selector that is named is there."""
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    assert {path.name for path in KUBERNETES.glob("*.yaml")} == {*kustomization["resources"], "kustomization.yaml"}
    secrets = {each["name"]: each["files"] for each in kustomization["secretGenerator"]}
    maps = {each["name"] for each in kustomization["configMapGenerator"]}
    for pod in pods().values():
        named = {each["secret"]["secretName"] for each in pod["volumes"] if "secret" in each}
        assert named <= set(secrets)
        container, *_ = pod["containers"]
        references = [each["valueFrom"] for each in container["env"] if "valueFrom" in each]
        assert {each["configMapKeyRef"]["name"] for each in references if "configMapKeyRef" in each} <= maps
        of_tls = next(files for name, files in secrets.items() if name in named and name.endswith("-tls"))
        mounted = {file.partition("=")[0] for file in of_tls}
        paths = [each["value"] for each in container["env"] if str(each.get("value", "")).startswith("/tls/")]
        assert {path.removeprefix("/tls/") for path in paths} <= mounted
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for document in documents()
        if document["kind"] in ("Deployment", "StatefulSet")
    }
    for document in documents():
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = document["spec"]["selector"]
            assert selector.get("matchLabels", selector) == labels[document["metadata"]["name"]]


def ports_open_to(label: str) -> dict[str, set[int]]:
    """By network policy: the ports that namespaces with this label reach."""
    callers = {"namespaceSelector": {"matchLabels": {f"tallygate/{label}": "true"}}}
    return {
        document["metadata"]["name"]: {
            port["port"]
            for rule in document["spec"].get("ingress", ())
            if callers in rule["from"]
            for port in rule["ports"]
        }
        for document in documents()
        if document["kind"] == "NetworkPolicy"
    }


def test_people_reach_all_that_their_commands_ask() -> None:
    """Both services: usage, explanations and the doctor are for nodes, too. A drain is never held up for good."""
    assert ports_open_to("people") == {"nothing-else": set(), "control": {7401}, "metering": {7402}}
    budgets = [document["spec"] for document in documents() if document["kind"] == "PodDisruptionBudget"]
    assert [budget.get("maxUnavailable") for budget in budgets] == [1, 1]


def test_who_scrapes_reaches_metrics_and_nothing_else() -> None:
    """Each pod tells them at the port of that name, which asks nobody for proof."""
    opened = ports_open_to("metrics")
    for name, pod in pods().items():
        container, *_ = pod["containers"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        variables = {each["name"]: each.get("value", "") for each in container["env"]}
        assert variables[f"TALLYGATE_{name.upper()}_METRICS_LISTEN"] == f"0.0.0.0:{ports['metrics']}"
        assert opened[name] == {ports["metrics"]}


@pytest.mark.parametrize("pod", list(pods().values()), ids=list(pods()))
def test_pods_may_do_little(pod: dict[str, Any]) -> None:
    """No root, no writable root, no capability, and bounds of memory; the namespace enforces it."""
    assert pod["securityContext"]["runAsNonRoot"]
    for container in (*pod["initContainers"], *pod["containers"]):
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"]
        assert not context["allowPrivilegeEscalation"]
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]


def test_compose_takes_its_file() -> None:
    """By the Compose Specification."""
    check = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "compose-spec", str(COMPOSE))
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze on this machine")
def test_systemd_takes_its_units(tmp_path: Path) -> None:
    """Every directive is one of its own; the program is this Python's."""
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/tallygate/bin/python", sys.executable))
    command = ["systemd-analyze", "verify", *(str(tmp_path / unit.name) for unit in UNITS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_units_leave_time_to_end_and_never_fight_for_a_name() -> None:
    """Exit status 3 says that another process runs in its place."""
    assert len(UNITS) == len(SETTINGS)
    for unit in UNITS:
        said = dict(line.split("=", 1) for line in unit.read_text().splitlines() if "=" in line)
        name = next(name for name in SETTINGS if name in unit.name)
        assert said["ExecStart"].endswith(f"-m {name}_service")
        assert said["RestartPreventExitStatus"] == "3"
        assert float(said["TimeoutStopSec"]) > STOP_S[name]


def test_the_image_is_not_roots() -> None:
    """And hadolint, which knows the mistakes that people make, knows none in it."""
    dockerfile = DEPLOY / "docker" / "Dockerfile"
    assert re.search(r"^USER 65532:65532$", dockerfile.read_text(), re.MULTILINE)
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, dockerfile], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
