"""Near-duplicate documents, inside each source or across all: MinHash-LSH as SlimPajama runs it.

Documents that share the key of any band are joined; the connected components of these pairs are the
clusters; one document of each is kept (steps 2 to 7 of the pipeline). `minhash.py` makes the keys.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, Self

from paperround.errors import UsageError
from paperround.papers.slimpajama_dc.minhash import (
    BANDS,
    MIN_CHARS,
    NGRAM,
    NUM_PERM,
    ROWS,
    SEED,
    Scheme,
    Signature,
    Unit,
    band_keys,
    candidate_probability,
    clean_text,
    optimal_bands,
    signatures,
    true_jaccard,
)

Id = Hashable
Keep = Literal["first", "longest"] | Callable[[Sequence[Any]], Any]

_END = object()

# Documents are cleaned and hashed so many at a time; only their keys stay.
_BATCH_DOCS = 512


class MinHashDeduplicator:
    """Finds near-duplicate documents by MinHash-LSH; `fit`, then `transform` or the attributes.

    `scope="global"` compares all documents, `"local"` only those of one source. `threshold` chooses
    bands and rows by `optimal_bands` in place of the paper's 9 x 13. `verify` is ours, off as in
    the paper: a pair counts only if the true Jaccard similarity of its shingles is at least so
    high; this keeps the cleaned texts in memory and compares within crowded buckets. `keep` says
    which document of a cluster stays: the first that came, the longest (whatever the order), or
    the one that a function of the cluster's ids returns.

    Documents with fewer than `min_chars` cleaned characters are `short_` and dropped, as in the
    paper; with a lower limit, texts too short for one shingle are kept and never merged.

    After fitting: `ids_`, `short_`, `pairs_` (each document with the earlier one it met, every pair
    once), `clusters_` (tuples of ids, two or more, in order of arrival), `duplicate_of_` (dropped
    id -> kept id), `kept_`, `source_of_`. Memory grows with documents times bands, not with text.
    """

    def __init__(
        self,
        num_perm: int = NUM_PERM,
        ngram: int = NGRAM,
        unit: Unit = "char",
        bands: int = BANDS,
        rows: int = ROWS,
        threshold: float | None = None,
        seed: int = SEED,
        min_chars: int = MIN_CHARS,
        verify: float | None = None,
        keep: Keep = "first",
        scope: Literal["global", "local"] = "global",
        scheme: Scheme = "affine32",
    ) -> None:
        if threshold is not None:
            bands, rows = optimal_bands(threshold, num_perm)
        if scope not in ("global", "local"):
            raise UsageError(f"scope is {scope!r}; write 'global' or 'local'")
        if not callable(keep) and keep not in ("first", "longest"):
            raise UsageError(f"keep is {keep!r}; write 'first', 'longest' or give a function")
        if verify is not None and not 0.0 < verify <= 1.0:
            raise UsageError(f"verify is {verify}; a Jaccard similarity above 0, at most 1")
        if min_chars < 0:
            raise UsageError(f"min_chars is {min_chars}; it must not be negative")
        self.num_perm, self.ngram, self.unit, self.seed = num_perm, ngram, unit, seed
        self.bands, self.rows, self.threshold = bands, rows, threshold
        self.min_chars, self.verify, self.keep = min_chars, verify, keep
        self.scope, self.scheme = scope, scheme
        self._copies: dict[Any, Any] | None = None
        # Wrong numbers are refused here, not at the first document.
        candidate_probability(0.5, bands, rows)
        band_keys(self._signatures([""])[0], bands, rows)
        self._forget()

    def fit(
        self,
        docs: Iterable[str],
        ids: Iterable[Any] | None = None,
        sources: Iterable[str] | None = None,
        signed: Iterable[Signature] | None = None,
    ) -> Self:
        """Itself, having seen these documents and no others.

        `ids` are distinct and hashable, by default the documents' positions. `sources` names the
        source of each document; `scope="local"` needs them. `signed` are the documents' signatures
        where they are known already, as `signatures` gives them with the same parameters: to fit
        twice and sign once. Raises UsageError.
        """
        self._forget()
        return self.partial_fit(docs, ids, sources, signed)

    def partial_fit(
        self,
        docs: Iterable[str],
        ids: Iterable[Any] | None = None,
        sources: Iterable[str] | None = None,
        signed: Iterable[Signature] | None = None,
    ) -> Self:
        """Itself, having seen these documents after all earlier ones; any iterable streams."""
        if isinstance(docs, str):
            raise UsageError("docs is one string; give a list of texts")
        if self.scope == "local" and sources is None:
            raise UsageError("scope='local' compares inside each source; give sources")
        texts = iter(docs)
        own_ids = None if ids is None else iter(ids)
        own_sources = None if sources is None else iter(sources)
        own_signed = None if signed is None else iter(signed)
        while batch := list(islice(texts, _BATCH_DOCS)):
            self._take(
                batch,
                _as_many(own_ids, len(batch), "ids"),
                _as_many(own_sources, len(batch), "sources"),
                _as_many(own_signed, len(batch), "signatures"),
            )
        given: tuple[tuple[Iterator[Any] | None, str], ...] = (
            (own_ids, "ids"),
            (own_sources, "sources"),
            (own_signed, "signatures"),
        )
        for rest, name in given:
            if rest is not None and next(rest, _END) is not _END:
                raise UsageError(f"there are more {name} than documents")
        return self

    def transform(self, docs: Iterable[str], ids: Iterable[Any] | None = None) -> list[str]:
        """Those of the fitted documents that stay, in their order: neither short nor a copy.

        Give the documents, and ids if `fit` had them, as they were given to `fit`. Raises
        UsageError for a document that `fit` has not seen; `candidates` looks up new texts.
        """
        dropped = self.duplicate_of_.keys() | set(self.short_)
        documents = list(docs)
        own = list(ids) if ids is not None else list(range(len(documents)))
        if len(own) != len(documents):
            raise UsageError(f"{len(documents)} documents and {len(own)} ids")
        if unknown := [i for i in own if i not in self._position]:
            raise UsageError(f"fit has seen no document with the id {unknown[0]!r}")
        if ids is None and len(documents) != len(self.ids_):
            raise UsageError(f"fit has seen {len(self.ids_)} documents, these are {len(documents)}")
        return [text for text, i in zip(documents, own, strict=True) if i not in dropped]

    def fit_transform(
        self,
        docs: Iterable[str],
        ids: Iterable[Any] | None = None,
        sources: Iterable[str] | None = None,
    ) -> list[str]:
        """The documents that stay, after fitting on them."""
        documents = list(docs)
        own = None if ids is None else list(ids)
        return self.fit(documents, own, sources).transform(documents, own)

    def candidates(self, text: str, source: str | None = None) -> list[Any]:
        """The ids of earlier documents that share a band with this text; it is not added.

        One id per band at most: the first that had the key (with `verify`, all that had it and are
        similar enough). `scope="local"` needs the source to look in.
        """
        if self.scope == "local" and source is None:
            raise UsageError("scope='local' compares inside each source; give the source")
        clean = clean_text(text)
        if len(clean) < self.min_chars:
            return []
        keys = band_keys(self._signatures([clean])[0], self.bands, self.rows)
        seen = self._seen.get(source if self.scope == "local" else None, {})
        found = dict.fromkeys(place for key in keys for place in seen.get(key, ()))
        if self.verify is not None:
            compare = (clean, self.ngram, self.unit)
            found = dict.fromkeys(
                place
                for place in found
                if true_jaccard(self._cleaned[place], *compare) >= self.verify
            )
        return [self.ids_[place] for place in found]

    @property
    def clusters_(self) -> list[tuple[Any, ...]]:
        """The connected components of two or more documents, each in order of arrival."""
        return [tuple(self.ids_[p] for p in members) for members in self._members()]

    @property
    def duplicate_of_(self) -> dict[Any, Any]:
        """Every dropped copy's id with the id of the document that stays in its place."""
        if self._copies is None:
            copies: dict[Any, Any] = {}
            for members in self._members():
                kept = self._kept_of(members)
                for place in members:
                    if place != kept:
                        copies[self.ids_[place]] = self.ids_[kept]
            self._copies = copies
        return self._copies

    @property
    def kept_(self) -> list[Any]:
        """The ids of the documents that stay, in order of arrival."""
        dropped = self.duplicate_of_.keys() | set(self.short_)
        return [i for i in self.ids_ if i not in dropped]

    def source_matrix(self) -> dict[tuple[str, str], int]:
        """How many documents of one source were dropped for one of another: (dropped, kept) -> n.

        Keeping the first re-weights sources by the order of files; this table shows by how much.
        Raises UsageError where `fit` had no sources.
        """
        if len(self.source_of_) != len(self.ids_):
            raise UsageError("the matrix needs the sources of all documents; give them to fit")
        return dict(
            Counter((self.source_of_[i], self.source_of_[k]) for i, k in self.duplicate_of_.items())
        )

    def _forget(self) -> None:
        self.ids_: list[Any] = []
        self.short_: list[Any] = []
        self.pairs_: list[tuple[Any, Any]] = []
        self.source_of_: dict[Any, str] = {}
        self._position: dict[Any, int] = {}
        # Per source (or None for all): band key -> places that had it first; one, unless verifying.
        self._seen: dict[str | None, dict[bytes, list[int]]] = {}
        self._parent: list[int] = []
        self._rank: list[tuple[int, bytes]] = []
        self._cleaned: dict[int, str] = {}
        self._copies = None

    def _take(
        self,
        texts: list[str],
        ids: list[Any] | None,
        sources: list[Any] | None,
        signed: list[Signature] | None,
    ) -> None:
        start = len(self.ids_)
        own = ids if ids is not None else list(range(start, start + len(texts)))
        # All are checked before any is taken: a refused batch leaves nothing behind.
        for i, text in zip(own, texts, strict=True):
            if not isinstance(text, str):
                raise UsageError(f"the document {i!r} is {type(text).__name__}, not a string")
        if len(set(own)) != len(own) or any(i in self._position for i in own):
            doubled = [i for i, n in Counter(own).items() if n > 1 or i in self._position]
            raise UsageError(f"the id {doubled[0]!r} comes twice; ids must be distinct")
        if signed is not None and any(row.shape != (self.num_perm,) for row in signed):
            raise UsageError(f"a signature has {self.num_perm} values here; sign them the same way")
        self._copies = None
        cleaned = [clean_text(text) for text in texts]
        long_enough = [j for j, clean in enumerate(cleaned) if len(clean) >= self.min_chars]
        rows = (
            self._signatures([cleaned[j] for j in long_enough])
            if signed is None
            else [signed[j] for j in long_enough]
        )
        keys = {
            j: band_keys(row, self.bands, self.rows)
            for j, row in zip(long_enough, rows, strict=True)
        }
        for j, (i, text) in enumerate(zip(own, texts, strict=True)):
            place = start + j
            self.ids_.append(i)
            self._position[i] = place
            self._parent.append(place)
            if self.keep == "longest":
                raw = text.encode("utf-8", "surrogatepass")
                self._rank.append((-len(text), hashlib.sha256(raw).digest()))
            if sources is not None:
                self.source_of_[i] = sources[j]
            if j in keys:
                group = sources[j] if self.scope == "local" and sources is not None else None
                self._join(place, cleaned[j], keys[j], self._seen.setdefault(group, {}))
            else:
                self.short_.append(i)

    def _join(
        self, place: int, clean: str, keys: list[bytes], seen: dict[bytes, list[int]]
    ) -> None:
        met: set[int] = set()
        for key in keys:
            bucket = seen.setdefault(key, [])
            for other in bucket:
                if other not in met and self._is_copy(place, other, clean):
                    self._unite(place, other)
                met.add(other)
            if not bucket or self.verify is not None:
                bucket.append(place)
        if self.verify is not None:
            self._cleaned[place] = clean

    def _is_copy(self, place: int, other: int, clean: str) -> bool:
        if self.verify is None:
            return True
        # Documents already in one cluster need no proof. All others of the bucket are compared, so
        # that the clusters come out the same in every order.
        if self._root(place) == self._root(other):
            return False
        theirs = self._cleaned[other]
        return true_jaccard(clean, theirs, self.ngram, self.unit) >= self.verify

    def _unite(self, place: int, other: int) -> None:
        self.pairs_.append((self.ids_[place], self.ids_[other]))
        a, b = self._root(place), self._root(other)
        # The earlier document is the root, so that a cluster is named after its first.
        self._parent[max(a, b)] = min(a, b)

    def _root(self, place: int) -> int:
        while (above := self._parent[place]) != place:
            self._parent[place] = self._parent[above]
            place = above
        return place

    def _members(self) -> list[list[int]]:
        by_root: dict[int, list[int]] = {}
        for place in range(len(self._parent)):
            by_root.setdefault(self._root(place), []).append(place)
        return [members for members in by_root.values() if len(members) > 1]

    def _kept_of(self, members: list[int]) -> int:
        if self.keep == "first":
            return members[0]
        if self.keep == "longest":
            # Equally long ones by their checksum, so that the kept text depends on no order.
            return min(members, key=lambda place: (self._rank[place], str(self.ids_[place])))
        ids = [self.ids_[place] for place in members]
        chosen = self.keep(ids)
        if chosen not in ids:
            raise UsageError(f"keep returned {chosen!r}, which is not in the cluster {ids[:5]}")
        return self._position[chosen]

    def _signatures(self, cleaned: list[str]) -> Any:
        return signatures(
            cleaned,
            num_perm=self.num_perm,
            ngram=self.ngram,
            unit=self.unit,
            seed=self.seed,
            scheme=self.scheme,
            cleaned=True,
        )


def _as_many(values: Any, n: int, name: str) -> list[Any] | None:
    if values is None:
        return None
    taken = list(islice(values, n))
    if len(taken) < n:
        raise UsageError(f"there are fewer {name} than documents")
    return taken
