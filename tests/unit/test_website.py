"""The site leads to every page of the documentation, every RPC and field, and every command."""

from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorSet

from scripts.website.__main__ import contract
from scripts.website.commands import command_pages
from scripts.website.contract import contract_pages
from scripts.website.markdown import cell, paragraphs
from scripts.website.stage import START, links, listed, reachable, stage
from tallygate.cli.command_table import PLACES

ROOT = Path(__file__).parents[2]
START_PAGE = """# Start

## Use it

- [A page](page.md): of one kind.

## Change it

- [Folder](folder/README.md): of another.
"""


@pytest.fixture(scope="module")
def files() -> FileDescriptorSet:
    return contract()


@pytest.fixture(scope="module")
def pages(files: FileDescriptorSet) -> dict[str, str]:
    return dict(contract_pages(files))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small project with a page in a part, and pages in a folder."""
    root = tmp_path / "root"
    (root / "docs" / "folder").mkdir(parents=True)
    (root / START).write_text(START_PAGE)
    (root / "docs" / "page.md").write_text("# Page\n\nSee [the code](../code.txt) and [where](https://example.com/).\n")
    (root / "docs" / "folder" / "README.md").write_text("# Folder\n\n| [leaf](leaf.md#a) | [up](../page.md) |\n")
    (root / "docs" / "folder" / "leaf.md").write_text("# Leaf\n\n```\n[no link](none.md)\n```\n")
    (root / "docs" / "alone.md").write_text("# Alone\n")
    (root / "code.txt").write_text("code")
    return root


def test_every_page_of_the_documentation_is_in_a_list() -> None:
    """Of the start, or of the folder that it lies in; from there each part of the site has its navigation."""
    every = {path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md") if "node_modules" not in path.parts}
    assert every - {Path(path) for path in listed(ROOT)} == {Path(START)}


def test_every_page_that_is_linked_is_in_a_list() -> None:
    """So that the site has it in its navigation."""
    assert {path for path in reachable(ROOT) if path.suffix == ".md"} - set(listed(ROOT)) == {START}


def test_the_site_has_what_can_be_reached(root: Path, tmp_path: Path) -> None:
    """Pages as they are, and files that they link; not what nothing leads to, nor links in code."""
    stage(root, tmp_path / "out", {})
    made = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    sources = {"docs/README.md", "docs/page.md", "docs/folder/README.md", "docs/folder/leaf.md", "code.txt"}
    assert made == sources | {"docs/use-it.md", "docs/change-it.md"}
    assert (tmp_path / "out" / "docs" / "page.md").read_text() == (root / "docs" / "page.md").read_text()


def test_a_section_becomes_a_part_with_its_pages_below(root: Path, tmp_path: Path) -> None:
    """In the order of its list, and with what is made for it beside."""
    stage(root, tmp_path, {"Use it": "- [Made](../made.md): beside.\n"})
    assert (tmp_path / "docs" / "use-it.md").read_text().endswith(":hidden:\n\npage.md\n../made.md\n```\n")
    assert (tmp_path / "docs" / "folder" / "README.md").read_text().endswith(":hidden:\n\nleaf.md\n```\n")
    assert (tmp_path / START).read_text().endswith(":hidden:\n\nuse-it.md\nchange-it.md\n```\n")


def test_links_are_read_once_and_without_anchors() -> None:
    """Those of the page itself and of hosts are none."""
    assert links("[a](a.md) [b](b.md#c) [a](a.md) [d](#d) [e](https://e.example/) ![f](f.png)") == [
        "a.md",
        "b.md",
        "f.png",
    ]


def test_every_rpc_is_in_the_list_and_says_who_may_call_it(files: FileDescriptorSet, pages: dict[str, str]) -> None:
    """With a link to where it is explained."""
    found = 0
    for file in files.file:
        if not file.name.startswith("tallygate/"):
            continue
        for service in file.service:
            text = pages[file.name.replace(".proto", ".md")]
            for method in service.method:
                found += 1
                place = f"{file.package}.{service.name}.{method.name}"
                assert f"[{method.name}](#{place})" in pages["index.md"]
                _, _, after = text.partition(f"({place})=\n### {method.name}\n")
                assert "Needs `" in after.partition("\n###")[0] or "may call it" in after.partition("\n###")[0], place
    assert found > 100


def test_every_field_and_value_is_there_with_a_comment(files: FileDescriptorSet, pages: dict[str, str]) -> None:
    """On the page of its file: messages within messages, too."""
    for file in files.file:
        if not file.name.startswith("tallygate/"):
            continue
        text = pages[file.name.replace(".proto", ".md")]
        for name in (
            *(field for message in file.message_type for field in _fields(message)),
            *(value.name for enum in file.enum_type for value in enum.value),
        ):
            assert f"| `{name}` |" in text, name
        assert "|  |" not in text


def _fields(message: DescriptorProto) -> list[str]:
    """Names of the fields and values of a message, and of what is declared in it."""
    return [
        *(field.name for field in message.field),
        *(name for nested in message.nested_type if not nested.options.map_entry for name in _fields(nested)),
        *(value.name for enum in message.enum_type for value in enum.value),
    ]


def test_a_comment_is_no_markup() -> None:
    """But for what stands between backticks."""
    assert (
        cell("One *_INSUFFICIENT of\n[two] `a|b_c`.\n\nThree.")
        == "One \\*\\_INSUFFICIENT of \\[two\\] `a\\|b_c`.<br>Three."
    )
    assert paragraphs("One\ntwo.\n\nThree.") == "One two.\n\nThree.\n\n"


def test_every_command_has_a_page_with_its_options() -> None:
    """Those of the services as well, which are programs of their own."""
    pages = dict(command_pages())
    assert pages.keys() == {"index.md"} | {f"{name}.md" for name in PLACES}
    assert all(f"[`tallygate {name}`]({name}.md)" in pages["index.md"] for name in PLACES)
    assert "* `--overlap TIME`: How long the secret before stays valid" in pages["key.md"]
    assert "\n## tallygate key rotate\n" in pages["key.md"]
    assert "--node-name" in pages["metering.md"]
    assert "**Commands**" not in "".join(pages.values())
