"""XML, element by element: without entities or other documents, and never whole in memory."""

import re
from collections.abc import Collection, Iterator
from typing import IO
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from paperround.catalogue.records import Rejected
from paperround.catalogue.sources.files import MAX_ITEM_BYTES, READ_ERRORS, place_in, some_of

# What XML forbids and files hold all the same; a space in their place is not missed.
_FORBIDDEN = bytes(code for code in range(32) if code not in (9, 10, 13))
_SPACES = bytes.maketrans(_FORBIDDEN, b" " * len(_FORBIDDEN))
_DECLARED = re.compile(rb"<\?xml[^>]{0,200}encoding\s*=\s*[\"']([A-Za-z0-9._-]+)", re.IGNORECASE)


def xml_elements(
    stream: IO[bytes], names: Collection[str], shown: str = ""
) -> Iterator[tuple[int, str, Element] | Rejected]:
    """The elements of these names, each whole and with its number among those of its name.

    Names have no namespace. An element is emptied when the next is asked for. Where the text
    breaks, what came before has been given, and the break is refused with its line. A document
    type is refused, since entities are declared there.
    """
    cleaned = _Cleaned(stream)
    numbers = dict.fromkeys(names, 0)
    try:
        for _, element in iterparse(cleaned, events=("end",), forbid_dtd=True):
            name = local_name(element)
            if name not in numbers:
                continue
            numbers[name] += 1
            if cleaned.is_broken and "\ufffd" in "".join(element.itertext()):
                place = place_in(shown, f"{name} {numbers[name]}")
                yield Rejected(place, "its letters are not of the file's encoding")
            else:
                yield numbers[name], name, element
            element.clear()
    except ParseError as error:
        line, column = error.position
        reason = f"not XML ({str(error).partition(':')[0]}); what follows could not be read"
        yield Rejected(place_in(shown, f"line {line}, column {column + 1}"), reason)
    except DefusedXmlException:
        reason = "it declares a document type or entities, which are not read"
        yield Rejected(place_in(shown, "the whole file"), reason)
    except (*READ_ERRORS, ValueError, LookupError) as error:
        reason = f"{error}; what follows could not be read"
        yield Rejected(place_in(shown, f"after {sum(numbers.values())} elements"), reason)


def local_name(element: Element) -> str:
    """The element's name without its namespace."""
    return str(element.tag).rpartition("}")[2]


def child(element: Element, name: str) -> Element | None:
    """The first child of that name, whatever its namespace."""
    return next((each for each in element if local_name(each) == name), None)


def children(element: Element, name: str) -> list[Element]:
    """The children of that name, whatever their namespace."""
    return [each for each in element if local_name(each) == name]


def child_text(element: Element, name: str) -> str | None:
    """All text inside the first child of that name, without its markup; None where it is empty."""
    found = child(element, name)
    if found is None:
        return None
    return " ".join("".join(found.itertext()).split()) or None


class _Cleaned:
    """A stream of XML with spaces for what XML forbids, and wrong letters marked.

    `is_broken` says whether any were wrong: a file of a thousand papers is not lost for one letter.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._is_first = True
        self._is_utf8 = True
        self._left = b""
        self.is_broken = False

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        if size < 0:
            size = MAX_ITEM_BYTES
        data = some_of(self._stream, size)
        if self._is_first:
            self._is_first = False
            declared = _DECLARED.match(data.removeprefix(b"\xef\xbb\xbf"))
            named = declared is not None and declared[1].lower() not in (b"utf-8", b"us-ascii")
            self._is_utf8 = not named and not data.startswith((b"\xff\xfe", b"\xfe\xff"))
        if not self._is_utf8:
            return data
        whole = self._left + data
        # A letter of several bytes may go on in the next piece.
        end = len(whole) if not data else _end_of_letters(whole)
        self._left = whole[end:]
        whole = whole[:end].translate(_SPACES)
        try:
            whole.decode("utf-8")
        except UnicodeDecodeError:
            self.is_broken = True
            whole = whole.decode("utf-8", "replace").encode("utf-8")
        # Nothing now means the end to who reads, and there may be more.
        return whole if whole or not data else self.read(size)


def _end_of_letters(data: bytes) -> int:
    """Where the last letter ends that is whole; letters have at most four bytes."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte < 0x80:
            return len(data)
        if byte >= 0xC0:
            n_bytes = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if back < n_bytes else len(data)
    return len(data)
