"""The deduplicator: what it must find, what it must never merge, and what no order may change."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers.slimpajama_dc import MinHashDeduplicator, signatures, true_jaccard


def a_text(seed, n_words=60):
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnopqrst", k=5)) for _ in range(n_words))


def edited(text, n_edits, seed=0):
    rng = random.Random(seed)
    tokens = text.split()
    for i in rng.sample(range(len(tokens)), n_edits):
        tokens[i] = "zzz" + str(rng.randrange(10**6))
    return " ".join(tokens)


def as_sets(dedup):
    return {frozenset(cluster) for cluster in dedup.clusters_}


@st.composite
def corpora(draw):
    """(id, text, source) triples with exact copies and near copies among them."""
    n = draw(st.integers(2, 25))
    seeds = draw(st.lists(st.integers(0, 6), min_size=n, max_size=n))
    edits = draw(st.lists(st.sampled_from([0, 0, 1, 2, 4]), min_size=n, max_size=n))
    sources = draw(st.lists(st.sampled_from(["web", "news", "wiki"]), min_size=n, max_size=n))
    return [
        (f"d{i}", edited(a_text(seed), edit, i), source)
        for i, (seed, edit, source) in enumerate(zip(seeds, edits, sources, strict=True))
    ]


def fitted(corpus, **options):
    ids, texts, sources = zip(*corpus, strict=True)
    return MinHashDeduplicator(**options).fit(texts, ids, sources)


@settings(max_examples=25, deadline=None)
@given(corpora(), st.randoms(), st.sampled_from([None, 0.7]))
def test_clusters_are_the_same_sets_in_every_order(corpus, rng, verify):
    shuffled = corpus.copy()
    rng.shuffle(shuffled)
    assert as_sets(fitted(corpus, verify=verify)) == as_sets(fitted(shuffled, verify=verify))


@settings(max_examples=20, deadline=None)
@given(corpora(), st.randoms())
def test_the_longest_is_kept_whatever_the_order(corpus, rng):
    shuffled = corpus.copy()
    rng.shuffle(shuffled)
    ours, other = fitted(corpus, keep="longest"), fitted(shuffled, keep="longest")
    assert ours.duplicate_of_ == other.duplicate_of_
    texts = {i: text for i, text, _ in corpus}
    for cluster in ours.clusters_:
        kept = next(i for i in cluster if i not in ours.duplicate_of_)
        assert len(texts[kept]) == max(len(texts[i]) for i in cluster)


@settings(max_examples=25, deadline=None)
@given(corpora())
def test_a_second_pass_removes_nothing(corpus):
    dedup = fitted(corpus)
    kept = set(dedup.kept_)
    again = fitted([triple for triple in corpus if triple[0] in kept])
    assert again.duplicate_of_ == {}


@settings(max_examples=25, deadline=None)
@given(corpora())
def test_the_clusters_partition_and_account_for_every_removal(corpus):
    dedup = fitted(corpus)
    members = [i for cluster in dedup.clusters_ for i in cluster]
    assert len(members) == len(set(members))
    assert sum(len(cluster) - 1 for cluster in dedup.clusters_) == len(dedup.duplicate_of_)
    assert len(dedup.kept_) + len(dedup.duplicate_of_) == len(corpus)
    assert sum(dedup.source_matrix().values()) == len(dedup.duplicate_of_)


@settings(max_examples=25, deadline=None)
@given(corpora())
def test_exact_copies_always_fall_into_one_cluster(corpus):
    dedup = fitted(corpus)
    kept = {i: dedup.duplicate_of_.get(i, i) for i in dedup.ids_}
    by_text = {}
    for i, text, _ in corpus:
        by_text.setdefault(text, set()).add(kept[i])
    assert all(len(homes) == 1 for homes in by_text.values())


@settings(max_examples=25, deadline=None)
@given(corpora())
def test_global_removes_all_that_local_removes(corpus):
    whole, inside = fitted(corpus), fitted(corpus, scope="local")
    assert inside.duplicate_of_.keys() <= whole.duplicate_of_.keys()
    for cluster in as_sets(inside):
        assert any(cluster <= larger for larger in as_sets(whole))
    sources = {i: source for i, _, source in corpus}
    assert all(sources[a] == sources[b] for a, b in inside.pairs_)


@settings(max_examples=20, deadline=None)
@given(corpora(), st.integers(1, 7))
def test_streaming_in_parts_equals_fitting_at_once(corpus, size):
    whole, parts = fitted(corpus), MinHashDeduplicator()
    for start in range(0, len(corpus), size):
        ids, texts, sources = zip(*corpus[start : start + size], strict=True)
        parts.partial_fit(iter(texts), iter(ids), iter(sources))
    assert parts.pairs_ == whole.pairs_
    assert parts.duplicate_of_ == whole.duplicate_of_
    assert parts.source_of_ == whole.source_of_


def test_more_documents_than_a_batch_are_all_compared():
    texts = [a_text(i, 45) for i in range(700)]
    dedup = MinHashDeduplicator().fit([*texts, texts[3], texts[699]])
    assert dedup.duplicate_of_ == {700: 3, 701: 699}


def test_fitting_again_forgets_what_was_seen():
    dedup = MinHashDeduplicator().fit([a_text(1)])
    assert dedup.fit([a_text(1)]).duplicate_of_ == {}
    assert dedup.partial_fit([a_text(1)]).duplicate_of_ == {1: 0}


def test_the_first_is_kept_and_so_depends_on_order():
    one, two = ("one", a_text(1), "web"), ("two", a_text(1), "news")
    assert fitted([one, two]).duplicate_of_ == {"two": "one"}
    assert fitted([two, one]).duplicate_of_ == {"one": "two"}
    assert fitted([one, two]).source_matrix() == {("news", "web"): 1}


def test_a_function_chooses_whom_to_keep():
    dedup = MinHashDeduplicator(keep=max).fit([a_text(1)] * 3, ids=[5, 9, 7])
    assert dedup.duplicate_of_ == {5: 9, 7: 9}
    with pytest.raises(UsageError, match="keep returned 4"):
        _ = MinHashDeduplicator(keep=lambda ids: 4).fit([a_text(1)] * 2).duplicate_of_


@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize("texts", [["", "", ""], ["!!", "??"], ["abc", "abd"], [" ", "\n"]])
def test_texts_without_shingles_never_merge(unit, texts):
    dedup = MinHashDeduplicator(min_chars=0, unit=unit).fit(texts)
    assert dedup.clusters_ == []
    assert dedup.transform(texts) == texts


def test_short_documents_are_dropped_and_named():
    texts = ["a" * 199, "b" * 200, a_text(1)]
    dedup = MinHashDeduplicator().fit(texts)
    assert dedup.short_ == [0]
    assert dedup.transform(texts) == texts[1:]
    assert dedup.candidates("a" * 199) == []


def test_copies_that_differ_by_case_punctuation_and_spaces_are_copies():
    text = a_text(1)
    dedup = MinHashDeduplicator().fit([text, text.upper().replace(" ", ",  ").replace(",", " ,")])
    assert dedup.duplicate_of_ == {1: 0}


def test_scripts_without_spaces_merge_by_characters():
    rng = random.Random(4)
    text = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(400))
    other = "".join(chr(rng.randrange(0x4E00, 0x9FA5)) for _ in range(400))
    assert MinHashDeduplicator().fit([text, other, text + "。"]).duplicate_of_ == {2: 0}
    assert MinHashDeduplicator(unit="word").fit([text, other, text]).duplicate_of_ == {}


def test_a_lone_surrogate_neither_stops_nor_merges():
    texts = [a_text(1) + "\ud83d", a_text(2)]
    assert MinHashDeduplicator().fit([*texts, texts[0]]).duplicate_of_ == {2: 0}


def test_chains_are_closed_transitively_and_verify_breaks_loose_links():
    text = a_text(1, 80)
    chain = [text]
    for step in range(6):
        chain.append(edited(chain[-1], 2, step))
    loose = MinHashDeduplicator(bands=40, rows=3).fit(chain)
    assert loose.clusters_ == [tuple(range(7))]
    assert true_jaccard(chain[0], chain[-1]) < 0.8
    strict = MinHashDeduplicator(bands=40, rows=3, verify=0.999).fit([*chain, chain[2]])
    assert strict.clusters_ == [(2, 7)]


def test_verified_pairs_are_as_similar_as_asked():
    texts = [edited(a_text(seed % 5), seed % 9, seed) for seed in range(60)]
    dedup = MinHashDeduplicator(bands=30, rows=4, verify=0.75).fit(texts)
    assert dedup.pairs_
    assert all(true_jaccard(texts[a], texts[b]) >= 0.75 for a, b in dedup.pairs_)


def test_the_threshold_chooses_bands_and_rows():
    dedup = MinHashDeduplicator(threshold=0.5)
    assert (dedup.bands, dedup.rows) == (25, 5)


@pytest.mark.parametrize("verify", [None, 0.8])
def test_new_texts_are_looked_up_without_being_added(verify):
    texts = [a_text(1), a_text(2)]
    dedup = MinHashDeduplicator(verify=verify).fit(texts, ids=["a", "b"])
    assert dedup.candidates(texts[1].upper()) == ["b"]
    assert dedup.candidates(a_text(3)) == []
    assert dedup.ids_ == ["a", "b"]


def test_a_local_look_up_stays_inside_its_source():
    dedup = MinHashDeduplicator(scope="local").fit([a_text(1)], sources=["web"])
    assert dedup.candidates(a_text(1), source="web") == [0]
    assert dedup.candidates(a_text(1), source="news") == []
    with pytest.raises(UsageError, match="give the source"):
        dedup.candidates(a_text(1))


def test_transform_takes_any_part_of_the_fitted_documents_by_id():
    texts = [a_text(1), a_text(1), a_text(2)]
    dedup = MinHashDeduplicator().fit(texts, ids=["a", "b", "c"])
    assert dedup.transform(texts[1:], ids=["b", "c"]) == [texts[2]]
    assert MinHashDeduplicator().fit_transform(texts) == [texts[0], texts[2]]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"scope": "everywhere"}, "scope is 'everywhere'"),
        ({"keep": "last"}, "keep is 'last'"),
        ({"verify": 0.0}, "verify is 0.0"),
        ({"min_chars": -1}, "min_chars is -1"),
        ({"bands": 16, "rows": 13}, "need 208 values"),
        ({"bands": 0}, "at least 1"),
        ({"ngram": 0}, "ngram is 0"),
        ({"threshold": 2.0}, "threshold is 2.0"),
        ({"unit": "line"}, "unit is 'line'"),
        ({"num_perm": 0}, "num_perm is 0|need 117 values"),
    ],
)
def test_wrong_options_are_refused_when_it_is_made(options, says):
    with pytest.raises(UsageError, match=says):
        MinHashDeduplicator(**options)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda d: d.fit("one text"), "one string"),
        (lambda d: d.fit([a_text(1), None]), "document 1 is NoneType"),
        (lambda d: d.fit([a_text(1)] * 2, ids=["x", "x"]), "'x' comes twice"),
        (lambda d: d.fit([a_text(1)], ids=["x"]).partial_fit(["y"], ids=["x"]), "comes twice"),
        (lambda d: d.fit([a_text(1)] * 2, ids=["x"]), "fewer ids"),
        (lambda d: d.fit([a_text(1)], ids=["x", "y"]), "more ids"),
        (lambda d: d.fit([a_text(1)], sources=[]), "fewer sources"),
        (lambda d: d.fit([a_text(1)]).transform(["a", "b"]), "no document with the id 1"),
        (lambda d: d.fit([a_text(1)] * 2).transform(["a"]), "has seen 2 documents"),
        (lambda d: d.fit([a_text(1)]).transform(["a"], ids=["a", "b"]), "1 documents and 2 ids"),
        (lambda d: d.fit([a_text(1)]).source_matrix(), "give them to fit"),
    ],
)
def test_wrong_documents_are_refused(call, says):
    with pytest.raises(UsageError, match=says):
        call(MinHashDeduplicator())


def test_local_scope_without_sources_is_refused():
    with pytest.raises(UsageError, match="give sources"):
        MinHashDeduplicator(scope="local").fit([a_text(1)])


def test_a_refused_batch_leaves_nothing_behind():
    dedup = MinHashDeduplicator().fit([a_text(1)])
    with pytest.raises(UsageError):
        dedup.partial_fit([a_text(1), 7])
    assert dedup.ids_ == [0]
    assert dedup.duplicate_of_ == {}


def test_known_signatures_spare_the_signing_and_change_nothing():
    texts = [a_text(1), "short", a_text(2), a_text(1)]
    dedup = MinHashDeduplicator().fit(texts, signed=signatures(texts))
    assert dedup.duplicate_of_ == MinHashDeduplicator().fit(texts).duplicate_of_ == {3: 0}
    with pytest.raises(UsageError, match="has 128 values"):
        MinHashDeduplicator().fit(texts, signed=signatures(texts, num_perm=64))
    with pytest.raises(UsageError, match="fewer signatures"):
        MinHashDeduplicator().fit(texts, signed=signatures(texts)[:2])
