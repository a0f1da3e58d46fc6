"""Makes the site in build/site: the pages that docs/README.md leads to, the contract and the commands."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from scripts.website.commands import command_pages
from scripts.website.contract import contract_pages
from scripts.website.stage import START, stage

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "build" / "site-source"
SITE: Final = ROOT / "build" / "site"
BUF: Final = Path(sys.executable).with_name("buf")
LOOK_UP: Final = """
- [RPCs and fields](../reference/contract/index.md): the whole contract, in the words of its comments.
- [Commands](../reference/commands/index.md): the whole command line, in the words of its help.
"""


def main() -> int:
    """Exit code 0, or that of Sphinx, which fails where a link or an anchor leads nowhere, or no list has a page."""
    for directory in (SOURCE, SITE):
        shutil.rmtree(directory, ignore_errors=True)
    stage(ROOT, SOURCE, {"Look it up": LOOK_UP})
    write(SOURCE / "reference" / "commands", command_pages())
    write(SOURCE / "reference" / "contract", contract_pages(contract()))
    sphinx = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "--jobs", "auto"]
    status = subprocess.run([*sphinx, "-c", Path(__file__).parent, SOURCE, SITE], check=False).returncode
    (SITE / "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={START.with_suffix(".html")}">\n')
    return status


def contract() -> FileDescriptorSet:
    """The contract with its comments."""
    built = subprocess.run([BUF, "build", "protos", "--output", "-"], cwd=ROOT, check=True, capture_output=True)
    return FileDescriptorSet.FromString(built.stdout)


def write(folder: Path, pages: Iterator[tuple[str, str]]) -> None:
    """Write pages into a folder."""
    for path, text in pages:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


if __name__ == "__main__":
    sys.exit(main())
