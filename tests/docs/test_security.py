"""The page on security answers every requirement of its list, and names tests that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")

# OWASP ASVS 5.0.0, levels 1 and 2: 70 and 183 requirements.
REQUIREMENTS = """
1.1.1-2 1.2.1-9 1.3.1-11 1.4.1-3 1.5.1-2 2.1.1-3 2.2.1-3 2.3.1-4 2.4.1 3.2.1-2 3.3.1-4 3.4.1-6
3.5.1-5 3.7.1-2 4.1.1-3 4.2.1 4.3.1-2 4.4.1-4 5.1.1 5.2.1-3 5.3.1-2 5.4.1-3 6.1.1-3 6.2.1-12
6.3.1-4 6.4.1-4 6.5.1-5 6.6.1-3 6.8.1-4 7.1.1-3 7.2.1-4 7.3.1-2 7.4.1-5 7.5.1-2 7.6.1-2 8.1.1-2
8.2.1-3 8.3.1 8.4.1 9.1.1-3 9.2.1-4 10.1.1-2 10.2.1-2 10.3.1-4 10.4.1-11 10.5.1-5 10.6.1-2
10.7.1-3 11.1.1-2 11.2.1-3 11.3.1-3 11.4.1-4 11.5.1 11.6.1 12.1.1-3 12.2.1-2 12.3.1-4 13.1.1
13.2.1-5 13.3.1-2 13.4.1-5 14.1.1-2 14.2.1-4 14.3.1-3 15.1.1-3 15.2.1-3 15.3.1-7 16.1.1 16.2.1-5
16.3.1-4 16.4.1-3 16.5.1-3 17.1.1 17.2.1-4 17.3.1-2
"""
RANGE = re.compile(r"\b(\d+\.\d+)\.(\d+)(?:-(\d+))?\b")


def numbers(text: str) -> list[str]:
    """Each number that the ranges name: `1.1.1-2` is `1.1.1` and `1.1.2`."""
    return [
        f"{section}.{n}"
        for section, first, last in RANGE.findall(text)
        for n in range(int(first), int(last or first) + 1)
    ]


def rows() -> list[list[str]]:
    """The cells of every row that answers requirements."""
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in PAGE.splitlines()
        if re.match(r"\| \d+\.\d+\.\d", line)
    ]
    assert all(len(row) == 3 for row in cells), [row for row in cells if len(row) != 3]
    return cells


def test_every_requirement_is_answered_once() -> None:
    listed = numbers(REQUIREMENTS)
    assert len(listed) == len(set(listed)) == 70 + 183
    answered = [number for row in rows() for number in numbers(row[0])]
    assert sorted(answered) == sorted(listed)


def test_every_answer_says_how_it_is() -> None:
    assert [row[0] for row in rows() if len(row[1]) < 15] == []


def test_every_test_that_is_named_is_there() -> None:
    named = set(re.findall(r"`(tests/[^`]+)`", PAGE))
    assert len(named) > 40
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []
