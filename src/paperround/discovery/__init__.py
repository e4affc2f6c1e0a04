"""Finding papers: search by words and meaning, the feed, what trends, what is alike.

`searching.Searcher` is what a process makes once; `feed.feed` gives the pages of the feed. Without
the embedding model or before papers are embedded, words answer alone, and say so.
"""

from paperround.discovery.embedding import (
    Embedder,
    QueryEmbedder,
    embed_missing,
    load_embedder,
)
from paperround.discovery.feed import Feed, feed
from paperround.discovery.highlights import Span
from paperround.discovery.search import Hit, Indexes, SearchAnswer, search
from paperround.discovery.searching import Searcher
from paperround.discovery.similar import similar_papers
from paperround.discovery.starter import load_starter_vectors
from paperround.discovery.trending import Standing, Trending, trending_papers
from paperround.discovery.vectors import VectorIndex
from paperround.discovery.word_index import WordIndex

__all__ = [
    "Embedder",
    "Feed",
    "Hit",
    "Indexes",
    "QueryEmbedder",
    "SearchAnswer",
    "Searcher",
    "Span",
    "Standing",
    "Trending",
    "VectorIndex",
    "WordIndex",
    "embed_missing",
    "feed",
    "load_embedder",
    "load_starter_vectors",
    "search",
    "similar_papers",
    "trending_papers",
]
