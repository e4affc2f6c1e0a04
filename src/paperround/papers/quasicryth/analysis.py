"""What the method finds in a text, level by level, and what its bits are spent on."""

from dataclasses import dataclass

from paperround.papers.quasicryth import coder
from paperround.papers.quasicryth.blocks import compress_block, method_of, parse
from paperround.papers.quasicryth.codec import AnyMode, Buffer
from paperround.papers.quasicryth.container import pack
from paperround.papers.quasicryth.parsing import WORDS
from paperround.papers.quasicryth.tilings import SPANS

NAMES = ("escape", "unigram", *(f"{span} words" for span in SPANS))


@dataclass(frozen=True)
class LevelFound:
    """One level of encoding: where phrases were looked up, stood, and were taken.

    `positions` is how many word positions the tilings allow, `hits` at how many a phrase of the
    book stands, `taken` how many events the parse has, `words` how many words those cover.
    """

    name: str
    span: int
    entries: int
    positions: int
    hits: int
    taken: int
    words: int


@dataclass(frozen=True)
class Analysis:
    """A text of `n_bytes` and `n_words`: its levels, its streams' bytes, its events' ideal bits."""

    n_bytes: int
    n_words: int
    n_events: int
    n_matches: int
    events_matched: int
    levels: tuple[LevelFound, ...]
    streams: dict[str, int]
    bits: dict[str, float]

    @property
    def compressed_bytes(self) -> int:
        """The four streams together, without headers and checksums."""
        return sum(self.streams.values())


def analyse(data: Buffer, mode: AnyMode = "multi") -> Analysis:
    """What a mode finds in a text taken as one block; `bits` are ideal, by what they say.

    `streams` has the bytes of events, case, codebook and escapes as they are stored.
    """
    raw = bytes(data)
    method = method_of(mode)
    found = parse(raw, method)
    block = compress_block(raw, method)
    symbols = coder.event_symbols(found.events, found.books.counts)
    levels = []
    for encoding, name in enumerate(NAMES):
        taken = int((found.events.levels == encoding).sum())
        j = encoding - 2
        levels.append(
            LevelFound(
                name=name,
                span=WORDS[encoding],
                entries=(0, *found.books.counts)[encoding],
                positions=found.phrases.lookups[j] if j >= 0 else len(found.units),
                hits=int((found.phrases.at[j] >= 0).sum())
                if j >= 0
                else int((found.units >= 0).sum() if encoding else (found.units < 0).sum()),
                taken=taken,
                words=taken * WORDS[encoding],
            )
        )
    return Analysis(
        n_bytes=len(raw),
        n_words=len(found.units),
        n_events=len(found.events.levels),
        n_matches=int((found.events.lengths > 0).sum()),
        events_matched=int(found.events.lengths.sum()),
        levels=tuple(levels),
        streams={
            "events": len(block.payload),
            "case": len(block.case),
            "codebook": len(pack(block.codebook)),
            "escapes": len(pack(block.escapes)),
        },
        bits=coder.stream_bits(symbols),
    )
