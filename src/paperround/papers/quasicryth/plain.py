"""The slow form, straight from the paper's description, which the tests hold the fast one against.

Text to symbols to bits with lists, dictionaries and whole numbers; nothing is shared with the fast
form but the constants.
"""

import re
from collections import Counter
from collections.abc import Sequence

from paperround.papers.quasicryth.books import book_sizes
from paperround.papers.quasicryth.coder import (
    FLAG,
    HIT,
    LENGTH,
    LEVEL,
    N_BITS,
    NUMBER,
    OFFSET_BIT,
    PLACE,
    RARE,
    TIER,
    TIERS,
)
from paperround.papers.quasicryth.models import MAX_TOTAL
from paperround.papers.quasicryth.parsing import MAX_MATCH, MIN_MATCH, N_ENCODINGS, WORDS
from paperround.papers.quasicryth.tilings import SPANS
from paperround.papers.quasicryth.vectors import CACHE
from paperround.papers.quasicryth.words import MAX_WORD

# ASCII letters and all bytes from 128 on, or one other byte; then whitespace.
_TOKEN = re.compile(rb"(?:[A-Za-z\x80-\xff]+|[^A-Za-z\x80-\xff])[ \n\r\t]*", re.DOTALL)

Word = bytes
Phrase = tuple[Word, ...]


def split_case(data: bytes) -> tuple[bytes, list[int]]:
    """The lowered text and a flag per token."""
    lowered, flags = [], []
    for token in _TOKEN.findall(data):
        for flag in (0, 1, 2):
            if apply_case(token.lower(), flag) == token:
                break
        else:
            flag = -1
        # A single capital is "first letter upper"; so is "É" of capital A and high bytes not.
        letters = token.strip(b" \n\r\t")
        if flag == 1 and len(letters) > 1 and not re.search(rb"[a-z]", letters):
            flag = 2
        if flag == 1 and not letters[:1].isalpha():
            flag = -1
        lowered.append(token if flag < 0 else token.lower())
        flags.append(max(flag, 0))
    return b"".join(lowered), flags


def apply_case(lowered: bytes, flag: int) -> bytes:
    """A token with the case that its flag says."""
    if flag == 1:
        return re.sub(rb"[A-Za-z]", lambda found: found[0].upper(), lowered, count=1)
    return lowered.upper() if flag == 2 else lowered


def split_words(text: bytes) -> list[Word]:
    """The tokens of a text, those above 255 bytes in pieces."""
    return [
        token[i : i + MAX_WORD]
        for token in _TOKEN.findall(text)
        for i in range(0, len(token), MAX_WORD)
    ]


def build_books(words: Sequence[Word]) -> tuple[list[Word], list[list[Phrase]]]:
    """The unigrams, and the phrases per span, without the forgetting that long texts need."""
    sizes = book_sizes(len(words))
    unigrams = [word for word, _ in Counter(words).most_common()[: sizes[0]]]
    known = set(unigrams)
    books = []
    for span, size in zip(SPANS, sizes[1:], strict=True):
        phrases = Counter(tuple(words[p : p + span]) for p in range(len(words) - span + 1))
        found = [
            phrase
            for phrase, count in phrases.most_common()
            if (count >= 2 or span == 2) and known.issuperset(phrase)
        ]
        books.append(found[:size])
    return unigrams, books


def positions_of_tiling(symbols: Sequence[int], n_words: int) -> list[set[int]]:
    """Per level the word positions where a phrase may be looked up, climbing from each tile."""
    tiles: list[tuple[bool, int]] = []
    covered, k = 0, 0
    while covered < n_words:
        is_long = k < len(symbols) and bool(symbols[k]) and covered + 2 <= n_words
        tiles.append((is_long, covered))
        covered, k = covered + 1 + is_long, k + 1
    merged: list[tuple[bool, int]] = []
    i = 0
    while i < len(tiles):
        if i + 1 < len(tiles) and not tiles[i][0] and not tiles[i + 1][0]:
            merged.append((True, tiles[i][1]))
            i += 2
        else:
            merged.append(tiles[i])
            i += 1
    # Elements of each level: is it long, its first and its last word, where its parent is, and
    # whether it is the parent's first child.
    levels: list[list[list[int]]] = [
        [
            [is_long, start, start + 2 if is_long else start + 1, -1, False]
            for is_long, start in merged
        ]
    ]
    while len(levels) < len(SPANS):
        above: list[list[int]] = []
        below, i = levels[-1], 0
        while i < len(below):
            is_pair = i + 1 < len(below) and below[i][0] and not below[i + 1][0]
            last = below[i + 1] if is_pair else below[i]
            below[i][3:] = [len(above), True]
            if is_pair:
                last[3:] = [len(above), False]
            above.append([is_pair, below[i][1], last[2], -1, False])
            i += 2 if is_pair else 1
        levels.append(above)
    found: list[set[int]] = [set() for _ in SPANS]
    for tile in levels[0]:
        if not tile[0]:
            continue
        if tile[2] - tile[1] == SPANS[0]:
            found[0].add(tile[1])
        element = tile
        for level in range(1, len(SPANS)):
            # Only the first child climbs, and only into a super-L.
            if not element[4] or not levels[level][element[3]][0]:
                break
            element = levels[level][element[3]]
            if element[2] - element[1] == SPANS[level]:
                found[level].add(tile[1])
    return found


def select(
    words: Sequence[Word],
    unigrams: Sequence[Word],
    books: Sequence[Sequence[Phrase]],
    allowed: Sequence[set[int]],
    bigrams: bool = True,
) -> list[tuple[int, int, int]]:
    """The greedy parse: (level, number, word position) of each event."""
    numbers = [{phrase: number for number, phrase in enumerate(book)} for book in books]
    deepest: dict[int, tuple[int, int]] = {}
    for level in range(1, len(SPANS)):
        for p in allowed[level]:
            number = numbers[level].get(tuple(words[p : p + SPANS[level]]))
            if number is not None:
                deepest[p] = max(deepest.get(p, (0, 0)), (level + 2, number))
    events: dict[int, tuple[int, int]] = {}
    covered: set[int] = set()
    for encoding in range(N_ENCODINGS - 1, 2, -1):
        for p in sorted(p for p, (level, _) in deepest.items() if level == encoding):
            span = range(p, p + WORDS[encoding])
            if covered.isdisjoint(span):
                covered.update(span)
                events[p] = deepest[p]
    if bigrams:
        for p in range(len(words) - 1):
            number = numbers[0].get((words[p], words[p + 1]))
            if number is not None and covered.isdisjoint((p, p + 1)):
                covered.update((p, p + 1))
                events[p] = (2, number)
    number_of = {word: number for number, word in enumerate(unigrams)}
    for p, word in enumerate(words):
        if p not in covered:
            events[p] = (1, number_of[word]) if word in number_of else (0, 0)
    return [(*events[p], p) for p in sorted(events)]


def matches(events: Sequence[tuple[int, int, int]]) -> dict[int, tuple[int, int]]:
    """Where events repeat earlier ones: event -> (how far back, how many).

    Remembers the four newest places of each hash of three events.
    """
    seen: dict[int, list[int]] = {}
    plain = [event[:2] for event in events]
    found: dict[int, tuple[int, int]] = {}
    e = 0
    while e + MIN_MATCH <= len(plain):
        places = seen.setdefault(_hash(plain[e : e + MIN_MATCH]), [])
        best = (0, 0)
        for ref in places[:-5:-1]:
            if plain[ref : ref + MIN_MATCH] != plain[e : e + MIN_MATCH]:
                continue
            n = MIN_MATCH
            while n < min(MAX_MATCH, len(plain) - e, e - ref) and plain[ref + n] == plain[e + n]:
                n += 1
            if n > best[1]:
                best = (e - ref, n)
            if best[1] >= 16:
                break
        places.append(e)
        if best[1]:
            found[e] = best
        e += max(1, best[1])
    return found


def _hash(events: Sequence[tuple[int, int]]) -> int:
    numbers = [number for event in events for number in event]
    factors = (2654435761, 2246822519, 3266489917, 668265263, 374761393, 2246822519)
    mixed = 0
    for number, factor in zip(numbers, factors, strict=True):
        mixed ^= number * factor % 2**32
    return mixed >> 10


def symbols(
    events: Sequence[tuple[int, int, int]],
    found: dict[int, tuple[int, int]],
    n_unigrams: int,
) -> list[tuple[int, int]]:
    """The (model, symbol) pairs of a parse, in coding order."""
    out: list[tuple[int, int]] = []
    caches: list[list[int]] = [[] for _ in range(N_ENCODINGS)]
    before, last = 1, 1
    e = 0
    while e < len(events):
        match = found.get(e)
        out.append((FLAG, int(match is not None)))
        if match is not None:
            offset, n = match
            bits = f"{offset:b}"
            out.append((N_BITS, len(bits) - 1))
            for i, bit in enumerate(bits[1:]):
                out.append((OFFSET_BIT + min(len(bits) - 2 - i, 7), int(bit)))
            out.append((LENGTH, n - MIN_MATCH))
            for level, number, _ in events[e : e + n]:
                if level:
                    _use(caches[level], number)
                before, last = last, level
            e += n
            continue
        level, number, _ = events[e]
        out.append((LEVEL + N_ENCODINGS * last + before, level))
        context, before, last = last, last, level
        e += 1
        if level == 0:
            continue
        if number in caches[level]:
            out += [(HIT + level, 0), (PLACE + level, caches[level].index(number))]
        else:
            out.append((HIT + level, 1))
            if level == 1 and n_unigrams > TIER:
                rare = number >= TIER
                out.append((TIERS + context, int(rare)))
                model = RARE + context if rare else NUMBER + N_ENCODINGS + context
                out.append((model, number - TIER if rare else number))
            else:
                out.append((NUMBER + N_ENCODINGS * level + context, number))
        _use(caches[level], number)
    return out


def _use(cache: list[int], number: int) -> None:
    if number in cache:
        cache.remove(number)
    cache.insert(0, number)
    del cache[CACHE:]


class PlainModels:
    """Adaptive models as lists of counts."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._counts: dict[int, list[int]] = {}
        self._sizes = sizes

    def share(self, model: int, symbol: int) -> tuple[int, int, int]:
        """The counts below a symbol, those up to and with it, and all; then counts the symbol."""
        counts = self._counts.setdefault(model, [1] * int(self._sizes[model]))
        below, total = sum(counts[:symbol]), sum(counts)
        share = below, below + counts[symbol], total
        counts[symbol] += 1
        if total + 1 >= MAX_TOTAL:
            self._counts[model] = [count >> 1 | 1 for count in counts]
        return share


def encode(pairs: Sequence[tuple[int, int]], sizes: Sequence[int], bits: int = 24) -> bytes:
    """The bits of the (model, symbol) pairs, as bytes."""
    full = 1 << bits
    half, quarter = full // 2, full // 4
    low, high, pending = 0, full - 1, 0
    out: list[int] = []

    def emit(bit: int) -> None:
        nonlocal pending
        out.append(bit)
        out.extend([1 - bit] * pending)
        pending = 0

    models = PlainModels(sizes)
    for model, symbol in pairs:
        below, through, total = models.share(model, symbol)
        width = high - low + 1
        low, high = low + width * below // total, low + width * through // total - 1
        while True:
            if high < half:
                emit(0)
            elif low >= half:
                emit(1)
                low, high = low - half, high - half
            elif low >= quarter and high < 3 * quarter:
                pending += 1
                low, high = low - quarter, high - quarter
            else:
                break
            low, high = 2 * low, 2 * high + 1
    pending += 1
    emit(0 if low < quarter else 1)
    out += [0] * (-len(out) % 8)
    return bytes(int("".join(map(str, out[i : i + 8])), 2) for i in range(0, len(out), 8))
