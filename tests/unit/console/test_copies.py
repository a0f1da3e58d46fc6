"""Copies of pages: the latest of each, and few enough."""

import random

from tallygate.console.copies import COPIES_BYTES_MAX, Copies


def test_the_latest_of_a_page_is_kept() -> None:
    """With the time at which it was read."""
    copies = Copies()
    copies.keep("/a", "<p>old</p>", 1)
    copies.keep("/a", "<p>ü</p>", 2)
    found = copies.of("/a")
    assert found is not None
    assert (found.html, found.read_us) == ("<p>ü</p>", 2)
    assert copies.of("/b") is None


def test_the_oldest_make_room() -> None:
    """What does not fit at all is not kept, and throws nothing out."""
    page = random.Random(1).randbytes(COPIES_BYTES_MAX // 3).hex()
    copies = Copies()
    for address in ("/a", "/b", "/c", "/d"):
        copies.keep(address, page + address, 1)
    kept = [address for address in ("/a", "/b", "/c", "/d") if copies.of(address)]
    assert kept
    assert kept[-1] == "/d"
    assert "/a" not in kept
    copies.keep("/big", page * 8, 1)
    assert copies.of("/big") is None
    assert copies.of("/d") is not None
