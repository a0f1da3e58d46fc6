"""The contract's names can be said in the languages that stubs are generated for."""

import re
from collections.abc import Iterator
from itertools import chain

from tests.harness.wire.contract_files import contract_files, enums, messages, methods

RESERVED = {
    "C#": """abstract as base bool break byte case catch char checked class const continue decimal default delegate do
        double else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface
        internal is lock long namespace new null object operator out override params private protected public readonly
        ref return sbyte sealed short sizeof stackalloc static string struct switch this throw true try typeof uint
        ulong unchecked unsafe ushort using virtual void volatile while""",
    "C++": """alignas alignof and and_eq asm auto bitand bitor bool break case catch char char16_t char32_t char8_t
        class co_await co_return co_yield compl concept const const_cast consteval constexpr constinit continue decltype
        default delete do double dynamic_cast else enum explicit export extern false final float for friend goto if
        import inline int long module mutable namespace new noexcept not not_eq nullptr operator or or_eq override
        private protected public register reinterpret_cast requires return short signed sizeof static static_assert
        static_cast struct switch template this thread_local throw true try typedef typeid typename union unsigned
        using virtual void volatile wchar_t while xor xor_eq""",
    "Go": """break case chan const continue default defer else fallthrough for func go goto if import interface map
        package range return select struct switch type var""",
    "Java": """abstract assert boolean break byte case catch char class const continue default do double else enum
        extends false final finally float for goto if implements import instanceof int interface long native new null
        package private protected public record return sealed short static strictfp super switch synchronized this
        throw throws transient true try var void volatile while yield""",
    "Python": """False None True and as assert async await break class continue def del elif else except finally for
        from global if import in is lambda nonlocal not or pass raise return try while with yield""",
    "Rust": """Self abstract as async await become box break const continue crate do dyn else enum extern false final
        fn for gen if impl in let loop macro match mod move mut override priv pub ref return self static struct super
        trait true try type typeof union unsafe unsized use virtual where while yield""",
    "Swift": """Any Protocol Self Type as associatedtype await break case catch class continue default defer
        deinit do else enum extension fallthrough false fileprivate for func guard if import in init inout internal is
        let nil open operator precedencegroup private protocol public repeat rethrows return self static struct
        subscript super switch throw throws true try typealias var where while""",
    "TypeScript": """abstract any arguments as async await bigint boolean break case catch class const constructor
        continue debugger declare default delete do else enum eval export extends false finally for function if
        implements import in instanceof interface let module namespace never new null number object package private
        protected public readonly return static string super switch symbol this throw true try type typeof undefined
        unknown var void while with yield""",
}
"""Words that are not a name everywhere. Swift's `actor` is one: it means something only where a type is declared."""


def names() -> Iterator[str]:
    """Every name that somebody gave to something in the contract."""
    for message in messages():
        yield message.name
        yield from (field.name for field in message.fields)
        yield from (oneof.name for oneof in message.oneofs)
    for enum in enums():
        yield enum.name
        yield from (value.name for value in enum.values)
    yield from (method.name for method in methods())
    for file in contract_files():
        yield from file.services_by_name


def spellings(name: str) -> set[str]:
    """The name as it is, and as generators write it: `cost_nanos` is also `costNanos` and `CostNanos`."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    camel = re.sub(r"_(\w)", lambda match: match[1].upper(), snake)
    return {name, snake, camel, camel[:1].upper() + camel[1:]}


def test_no_name_is_a_reserved_word() -> None:
    """`final` could not be a field in Java, Rust and C++, whose generators each write it otherwise."""
    words = {word: language for language, listed in RESERVED.items() for word in listed.split()}
    taken = {
        f"{name} is a word of {words[spelling]}"
        for name in set(names())
        for spelling in spellings(name)
        if spelling in words
    }
    assert taken == set()


def test_the_names_are_looked_at_as_generators_write_them() -> None:
    """A name that is a reserved word in one spelling only would be found."""
    assert set(chain(*map(spellings, ("is_final", "TypeOf")))) == {
        *("is_final", "isFinal", "IsFinal"),
        *("TypeOf", "type_of", "typeOf"),
    }
