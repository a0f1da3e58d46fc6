"""Pages of the contract: one for each file under protos/, in the words of its comments."""

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    ServiceDescriptorProto,
)

from scripts.website.access_sentences import access_sentence
from scripts.website.markdown import cell, paragraphs, table
from scripts.website.stage import toctree

SERVICE, MESSAGE, ENUM = 6, 4, 5
"""Numbers of what a file has, by which its comments are found; and below, of what these have in turn."""
METHOD, FIELD, VALUE, NESTED_MESSAGE, NESTED_ENUM = 2, 2, 2, 3, 4
OURS: Final = "tallygate."
_Path = tuple[int, ...]


def contract_pages(files: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """Path and text of each page: the list of all RPCs first."""
    ours = [File(file) for file in sorted(files.file, key=lambda file: file.name) if file.name.startswith("tallygate/")]
    packages = sorted({file.package for file in ours}, reverse=True)
    yield "index.md", _index(ours, packages)
    for package in packages:
        inside = [file for file in ours if file.package == package]
        inside.sort(key=lambda file: not file.has_service)
        names = "".join(f"- [{file.title}]({file.page})\n" for file in inside)
        yield f"{package}.md", f"# {package}\n\n{names}{toctree([file.page for file in inside])}"
    for file in ours:
        yield file.page, file.text()


def _index(files: Sequence["File"], packages: Sequence[str]) -> str:
    text = "# RPCs and fields\n\nEvery RPC, message, field and value of the contract, with its comment.\n"
    for file in files:
        if file.has_service:
            text += "".join(file.overview())
    return text + toctree([f"{package}.md" for package in packages])


class File:
    """A file of the contract as a page."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._file = file
        self.package = file.package
        self.has_service = bool(file.service)
        self.page = PurePosixPath(file.name).with_suffix(".md").as_posix()
        self.title = PurePosixPath(file.name).stem.replace("_", " ").capitalize()
        self._comments = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
        self._messages = {f".{file.package}.{message.name}": at for at, message in enumerate(file.message_type)}

    def text(self) -> str:
        """The whole page. What only one RPC needs stands below that RPC."""
        parts = [f"# {self.title}\n\n`protos/{self._file.name}`, package `{self.package}`\n"]
        told: set[int] = set()
        for at, service in enumerate(self._file.service):
            parts += self._service(service, (SERVICE, at), told)
        for at, message in enumerate(self._file.message_type):
            if at not in told:
                parts += self._message(message, (MESSAGE, at), f"{self.package}.{message.name}", 2)
        for at, enum in enumerate(self._file.enum_type):
            parts += self._enum(enum, (ENUM, at), f"{self.package}.{enum.name}", 2)
        return "\n".join(parts)

    def overview(self) -> Iterator[str]:
        """The services, each with the first sentence of each RPC."""
        for at, service in enumerate(self._file.service):
            yield f"\n## {self.package}.{service.name}\n\n"
            yield table(
                ("RPC", "in short"),
                (
                    (f"[{method.name}](#{self.package}.{service.name}.{method.name})", self._first(SERVICE, at, i))
                    for i, method in enumerate(service.method)
                ),
            )

    def _first(self, kind: int, at: int, method: int) -> str:
        return cell(self._comment((kind, at, METHOD, method)).partition(". ")[0].strip().removesuffix(".") + ".")

    def _service(self, service: ServiceDescriptorProto, path: _Path, told: set[int]) -> Iterator[str]:
        yield f"({self.package}.{service.name})=\n## {service.name}\n"
        yield paragraphs(self._comment(path))
        for at, method in enumerate(service.method):
            yield f"({self.package}.{service.name}.{method.name})=\n### {method.name}\n"
            yield paragraphs(self._comment((*path, METHOD, at)))
            yield f"{_call(method)} {access_sentence(method)}\n"
            for kind in (method.input_type, method.output_type):
                place = self._messages.get(kind)
                if place is not None and place not in told:
                    told.add(place)
                    yield from self._message(self._file.message_type[place], (MESSAGE, place), kind[1:], 4)

    def _message(self, message: DescriptorProto, path: _Path, name: str, level: int) -> Iterator[str]:
        """A message, its fields, and what is declared inside of it."""
        entries = {f".{name}.{each.name}": each for each in message.nested_type if each.options.map_entry}
        yield f"({name})=\n{'#' * level} {name.removeprefix(f'{self.package}.')}\n"
        yield paragraphs(self._comment(path))
        if message.field:
            rows = (
                (f"`{field.name}`", _type(field, entries), cell(self._comment((*path, FIELD, at))))
                for at, field in enumerate(message.field)
            )
            yield table(("field", "type", "meaning"), rows)
        for at, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, (*path, NESTED_MESSAGE, at), f"{name}.{nested.name}", level + 1)
        for at, enum in enumerate(message.enum_type):
            yield from self._enum(enum, (*path, NESTED_ENUM, at), f"{name}.{enum.name}", level + 1)

    def _enum(self, enum: EnumDescriptorProto, path: _Path, name: str, level: int) -> Iterator[str]:
        yield f"({name})=\n{'#' * level} {name.removeprefix(f'{self.package}.')}\n"
        yield paragraphs(self._comment(path))
        rows = (
            (str(value.number), f"`{value.name}`", cell(self._comment((*path, VALUE, at))))
            for at, value in enumerate(enum.value)
        )
        yield table(("number", "value", "meaning"), rows)

    def _comment(self, path: _Path) -> str:
        return self._comments.get(path, "")


def _call(method: MethodDescriptorProto) -> str:
    """What an RPC takes and answers."""
    takes = f"{'a stream of ' if method.client_streaming else ''}{_link(method.input_type)}"
    answers = f"{'a stream of ' if method.server_streaming else ''}{_link(method.output_type)}"
    return f"Takes {takes}, answers {answers}."


def _type(field: FieldDescriptorProto, entries: dict[str, DescriptorProto]) -> str:
    """The type of a field, and what its annotations say."""
    entry = entries.get(field.type_name)
    if entry is not None:
        key, value = entry.field
        said = f"map of {_plain(key)} to {_plain(value)}"
    elif field.label == FieldDescriptorProto.LABEL_REPEATED:
        said = f"repeated {_plain(field)}"
    else:
        said = _plain(field)
    extensions: Any = field.options.Extensions
    behaviours = [field_behavior_pb2.FieldBehavior.Name(each) for each in extensions[field_behavior_pb2.field_behavior]]
    marks = [each.lower().replace("_", " ") for each in behaviours if each != "OPTIONAL"]
    return ", ".join([said, *marks])


def _plain(field: FieldDescriptorProto) -> str:
    return _link(field.type_name) if field.type_name else FieldDescriptorProto.Type.Name(field.type)[5:].lower()


def _link(name: str) -> str:
    """The name of a message or enum, which leads to where it is explained, if it is one of ours."""
    full = name.removeprefix(".")
    short = full.rpartition(".")[2]
    return f"[{short}](#{full})" if full.startswith(OURS) else short
