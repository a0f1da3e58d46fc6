"""What the templates for other languages say in two places, or must not say."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TYPESCRIPT = ROOT / "docs" / "integrations" / "examples" / "typescript"


def test_the_template_at_the_top_generates_what_the_example_does() -> None:
    """The same options and the same plugin as the TypeScript example, whose versions are in its package.json."""
    top, example = ((directory / "buf.gen.yaml").read_text() for directory in (ROOT, TYPESCRIPT))
    options = re.findall(r"- (\w+=[\w.-]+)$", example, re.MULTILINE)
    assert options
    assert re.findall(r"- (\w+=[\w.-]+)$", top, re.MULTILINE) == options
    plugin = json.loads((TYPESCRIPT / "package.json").read_text())["devDependencies"]["ts-proto"]
    assert f"--package=ts-proto@{plugin}," in top


def test_the_lock_file_names_no_place_to_download_from() -> None:
    """It says what is installed, by version and hash, from whichever registry somebody uses."""
    packages = json.loads((TYPESCRIPT / "package-lock.json").read_text())["packages"]
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert all("integrity" in package for name, package in packages.items() if name)
