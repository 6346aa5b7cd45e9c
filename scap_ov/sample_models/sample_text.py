"""Text that nothing was calibrated on: chapters of the Python language reference, which lie in the standard library itself."""

from __future__ import annotations

# Running text rather than grammar; together about 6,000 tokens.
CHAPTERS = ("execmodel", "import", "objects", "exceptions", "numeric-types", "customization")


def documentation(characters: int = 20_000) -> str:
    """Chapters of `pydoc_data.topics`, with the marks of their headings taken out.

    :param characters: at most this many, cut at the end of a paragraph.
    """
    from pydoc_data.topics import topics

    chapters = [topics[name] for name in CHAPTERS if name in topics]
    lines = [line.rstrip() for chapter in chapters for line in chapter.splitlines() if not line or set(line) - set('=-*"')]
    text = "\n".join(lines).strip()
    if len(text) <= characters:
        return text
    end = text.rfind("\n\n", 0, characters)
    return text[: end if end > 0 else characters]
