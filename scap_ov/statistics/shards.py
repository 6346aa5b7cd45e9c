"""Which shards of the data a profile is of. A shard is named by its number and the number of all: `3/16`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scap_ov.arguments import check_type
from scap_ov.errors import MismatchError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection


def shard_numbers(text: str) -> tuple[int, int]:
    """`3/16` as (3, 16).

    :raises UsageError: it is not of this form.
    """
    check_type("the shard", text, str, "its number and the number of all as text, such as '3/16'")
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        msg = f"the shard is '{text}'; give its number and the number of all, such as 3/16"
        raise UsageError(msg)
    return int(found[1]), int(found[2])


def check_shards(held: object) -> None:
    """:raises ValueError: what a file holds is no list of shards."""
    try:
        right = isinstance(held, list) and all(shard_numbers(name) for name in held)
    except UsageError:
        right = False
    if not right:
        msg = f"its shards are {held!r}"
        raise ValueError(msg)


def joined_shards(one: Collection[str], two: Collection[str]) -> list[str]:
    """The shards of two profiles, in order.

    :raises MismatchError: one is in both.
    """
    twice = sorted(set(one) & set(two))
    if twice:
        msg = f"shard {', '.join(twice)} is in two of the profiles; give each once, and merge the shards of another text on their own first"
        raise MismatchError(msg)
    return sorted([*one, *two], key=lambda name: shard_numbers(name)[::-1])


def missing_shards(held: Collection[str]) -> list[str]:
    """Those that are still to be merged."""
    counts = {shard_numbers(name)[1] for name in held}
    return [f"{i}/{count}" for count in sorted(counts) for i in range(1, count + 1) if f"{i}/{count}" not in held]


def parts_of_one_cut(one: Collection[str], two: Collection[str]) -> bool:
    """Whether these are different shards of the same data."""
    return bool(one and two) and len({shard_numbers(name)[1] for name in (*one, *two)}) == 1 and not set(one) & set(two)
