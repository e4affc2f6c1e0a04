"""Streams of every arm: the same tokens however they are made, and what is shown of them."""

from copy import deepcopy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.translation import (
    Pair,
    TrainingPlan,
    batches_by_tokens,
    begin_words,
    build_translator,
    encode_pairs,
    length_limit,
    source_ids,
    train_translator,
    translate_ids,
)
from paperround.papers.fretna import Retranslator, WaitK, greedy_decode, stream_all, train_wait_k
from paperround.papers.fretna.autoregressive import expected_passes
from paperround.papers.fretna.streaming import Edit, Stream, edits_between
from paperround.papers.fretna.wait_k import (
    encode_unidirectional,
    visible_sources,
    wait_k_loss,
)

SAME_FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None
)


@pytest.fixture(scope="module")
def learnt(pairs, tokenizer, size):
    """A translator that has learnt something, so that its translations end and hold together."""
    plan = TrainingPlan(steps=60, batch_tokens=600, learning_rate=1e-2, prefix_share=0.5)
    return train_translator(pairs, tokenizer, plan, size, seed=0)


def one_by_one(retranslator, sources):
    found = []
    for source in sources:
        updates = list(retranslator.stream(source.split()))
        found.append(Stream(tuple(u.words for u in updates), tuple(u.passes for u in updates)))
    return found


def test_greedy_decoding_is_that_of_transformers(a_translator, learnt, tokenizer, sources):
    # Random ones, which hardly ever end, up to their limit.
    for model, texts in ((learnt, sources), (a_translator(0), sources[:2])):
        for text in texts:
            for finished in (True, False):
                source = source_ids(tokenizer, text, finished=finished)
                made = greedy_decode(model, source)
                assert made.tokens == translate_ids(model, [source])[0]
                limit = length_limit(len(source))
                assert made.passes == expected_passes(made.tokens, 0, limit)


def test_a_published_marian_starts_from_padding_and_never_says_it(learnt, tokenizer, sources):
    # As the published ones: no beginning of its own, and padding the likeliest token of all.
    model = deepcopy(learnt)
    model.config.decoder_start_token_id = model.config.pad_token_id
    model.generation_config.decoder_start_token_id = model.config.pad_token_id
    with torch.no_grad():
        model.final_logits_bias[0, model.config.pad_token_id] = 1e6
    source = source_ids(tokenizer, sources[0])
    assert set(greedy_decode(model, source).tokens) == {model.config.pad_token_id}
    model.generation_config.bad_words_ids = [[model.config.pad_token_id]]
    assert model.config.pad_token_id not in greedy_decode(model, source).tokens
    for text in sources:
        for finished in (True, False):
            source = source_ids(tokenizer, text, finished=finished)
            wanted = translate_ids(model, [source])[0]
            assert greedy_decode(model, source).tokens == wanted
            assert greedy_decode(model, source, wanted[:3]).tokens == wanted
    with_all = WaitK(model, tokenizer, 99).stream_of(sources[0])
    assert tokenizer.pad_token not in tokenizer.tokenize(with_all.final)


@SAME_FIXTURES
@given(draft=st.lists(st.integers(5, 40), max_size=12), kept=st.integers(0, 12), own=st.booleans())
def test_a_draft_changes_the_passes_and_never_the_tokens(
    draft, kept, own, a_translator, learnt, tokenizer, sources
):
    for model in (learnt, a_translator(0)):
        source = source_ids(tokenizer, sources[0])
        plain = greedy_decode(model, source)
        tried = [*plain.tokens[:kept], *draft] if own else draft
        made = greedy_decode(model, source, tried)
        assert made.tokens == plain.tokens
        assert made.passes <= plain.passes
        limit = length_limit(len(source))
        assert made.passes == expected_passes(made.tokens, made.accepted, limit)
        if own and not draft:
            assert made.accepted == min(kept, len(plain.tokens))


@pytest.mark.parametrize("kind", ["ar", "speculative"])
def test_a_corpus_of_re_translations_is_what_single_updates_give(
    kind, learnt, a_translator, tokenizer, sources
):
    for model, texts in ((learnt, sources[:5]), (a_translator(3), sources[:2])):
        retranslator = Retranslator(model, tokenizer, kind, mask_k=1)
        assert stream_all(retranslator, texts) == one_by_one(retranslator, texts)


@pytest.mark.parametrize("from_previous", [True, False])
def test_a_corpus_of_refinements_is_what_single_updates_give(
    from_previous, a_levt, tokenizer, sources
):
    retranslator = Retranslator(
        a_levt(1), tokenizer, "levt", append_bias=0.5, from_previous=from_previous
    )
    assert stream_all(retranslator, sources) == one_by_one(retranslator, sources)


def test_a_draft_saves_passes_where_translations_hold(learnt, tokenizer, sources):
    plain, drafted = (
        stream_all(Retranslator(learnt, tokenizer, kind), sources) for kind in ("ar", "speculative")
    )
    assert [s.outputs for s in plain] == [s.outputs for s in drafted]
    assert sum(sum(s.passes) for s in drafted) < sum(sum(s.passes) for s in plain)


def test_the_same_source_again_changes_nothing(a_levt, tokenizer, sources):
    held = 0
    for seed in range(6):
        live = Retranslator(a_levt(seed), tokenizer, "levt", refinements=40)
        first = live.update(sources[0], finished=True)
        second = live.update(sources[0], finished=True)
        if first.passes >= 40:
            # A random model that goes in circles has no fixed point.
            continue
        held += 1
        assert second.words == first.words
        assert second.edits == ()
        # One, or three where the model deletes tokens and then says the same again.
        assert second.passes in (1, 3)
    assert held


def test_the_last_words_are_hidden_until_the_source_is_finished(learnt, tokenizer, sources):
    plain = stream_all(Retranslator(learnt, tokenizer, "ar"), sources)
    masked = stream_all(Retranslator(learnt, tokenizer, "ar", mask_k=2), sources)
    for shown, hidden in zip(plain, masked, strict=True):
        assert hidden.outputs[-1] == shown.outputs[-1]
        for whole, part in zip(shown.outputs[:-1], hidden.outputs[:-1], strict=True):
            assert part == whole[: max(0, len(whole) - 2)]


def test_a_stream_of_nothing_shows_nothing(a_levt, learnt, tokenizer):
    live = Retranslator(a_levt(0), tokenizer)
    assert list(live.stream([])) == []
    shown = live.update("  ")
    assert (shown.words, shown.edits, shown.passes) == ((), (), 0)
    assert list(WaitK(learnt, tokenizer, 2).stream([])) == []
    with pytest.raises(UsageError, match="source 1 has no words"):
        stream_all(live, ["dog", " "])
    with pytest.raises(ValueError, match="source is empty"):
        greedy_decode(learnt, [])


def test_a_source_longer_than_the_model_is_refused_and_what_is_shown_stays(
    a_levt, learnt, tokenizer, sources
):
    long = "dog " * 300
    for model, kind in ((a_levt(0), "levt"), (learnt, "ar"), (learnt, "speculative")):
        live = Retranslator(model, tokenizer, kind)
        shown = live.update(sources[0])
        with pytest.raises(UsageError, match=r"pieces, the model has 256 positions; cut it"):
            live.update(long)
        assert live.update("").words == shown.words
        with pytest.raises(UsageError, match="the model has 256 positions"):
            stream_all(live, [long])
    with pytest.raises(UsageError, match="the model has 256 positions"):
        WaitK(learnt, tokenizer, 400).stream_of(long)


def test_a_model_without_a_cache_decodes_the_same(learnt, tokenizer, sources):
    model = deepcopy(learnt)
    model.config.use_cache = model.generation_config.use_cache = False
    for text in sources[:3]:
        source = source_ids(tokenizer, text)
        wanted = greedy_decode(learnt, source)
        assert greedy_decode(model, source) == wanted
        assert translate_ids(model, [source])[0] == wanted.tokens


def test_a_reset_forgets_the_stream(a_levt, tokenizer, sources):
    live = Retranslator(a_levt(2), tokenizer)
    first = [shown.words for shown in live.stream(sources[0].split())]
    live.update(sources[1])
    assert [shown.words for shown in live.stream(sources[0].split())] == first


def test_the_wrong_model_or_number_is_refused_with_what_to_give(a_levt, learnt, tokenizer):
    with pytest.raises(UsageError, match="needs a LevenshteinTransformer, this is a MarianMTModel"):
        Retranslator(learnt, tokenizer, "levt")
    with pytest.raises(UsageError, match="needs a MarianMTModel"):
        Retranslator(a_levt(0), tokenizer, "ar")
    with pytest.raises(UsageError, match="refinements is 0"):
        Retranslator(a_levt(0), tokenizer, refinements=0)
    with pytest.raises(UsageError, match="k is 0"):
        WaitK(learnt, tokenizer, 0)


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
def test_edits_make_the_new_words_of_the_old(before, after):
    words = list(before)
    for edit in reversed(edits_between(before, after)):
        assert tuple(words[edit.start : edit.start + len(edit.before)]) == edit.before
        words[edit.start : edit.start + len(edit.before)] = edit.after
    assert words == after


def test_edits_say_where_and_what():
    assert edits_between(["a", "b", "c"], ["x", "b"]) == (
        Edit(0, ("a",), ("x",)),
        Edit(2, ("c",), ()),
    )
    assert edits_between(["a"], ["a", "b"]) == (Edit(1, (), ("b",)),)


@pytest.mark.parametrize("k", [1, 3, 50])
def test_wait_k_waits_then_writes_a_word_for_each_word_and_takes_none_back(
    k, learnt, a_translator, tokenizer, sources
):
    for model in (learnt, a_translator(4)):
        for source in sources:
            stream = WaitK(model, tokenizer, k).stream_of(source)
            n = len(source.split())
            assert len(stream.outputs) == n
            for i, (before, after) in enumerate(
                zip(((), *stream.outputs), stream.outputs, strict=False), start=1
            ):
                assert after[: len(before)] == before
                if i < min(k, n):
                    assert after == ()
                    assert stream.passes[i - 1] == 0
                elif i < n:
                    assert len(after) <= i - k + 1


def test_wait_k_with_all_words_is_greedy_decoding_by_its_own_encoder(learnt, tokenizer, sources):
    for text in sources[:4]:
        source = torch.tensor([source_ids(tokenizer, text)])
        states = encode_unidirectional(learnt, source)
        tokens = [1]
        while len(tokens) <= length_limit(source.shape[1]):
            h = learnt.get_decoder()(
                input_ids=torch.tensor([tokens]), encoder_hidden_states=states
            ).last_hidden_state
            following = int((learnt.lm_head(h[0, -1]) + learnt.final_logits_bias[0]).argmax())
            if following == 2:
                break
            tokens.append(following)
        wanted = tokenizer.decode(tokens[1:], skip_special_tokens=True)
        assert WaitK(learnt, tokenizer, 99).stream_of(text).final == " ".join(wanted.split())


def test_a_source_position_sees_none_later(learnt, tokenizer, sources):
    source = torch.tensor([source_ids(tokenizer, sources[0])])
    whole = encode_unidirectional(learnt, source)
    for n in range(1, source.shape[1]):
        assert torch.allclose(encode_unidirectional(learnt, source[:, :n]), whole[:, :n], atol=1e-5)


def test_each_target_word_sees_k_source_words_and_one_more_each(tokenizer):
    words = {
        word: source_ids(tokenizer, word)[:-1] for word in ("dog", "sees", "fish", "lo", "taru")
    }
    encoded = encode_pairs(tokenizer, [Pair("dog sees fish", "lo taru")])
    batch = next(batches_by_tokens(encoded, 100, pad=0, seed=0))
    seen = visible_sources(batch, 2, begin_words(tokenizer), 2)[0]
    upto = [len(words["dog"]) + len(words["sees"]), batch.source.shape[1]]
    for place in range(batch.target.shape[1]):
        first_word = place < len(words["lo"])
        n = upto[0] if first_word else upto[1]
        assert seen[place].tolist() == [True] * n + [False] * (batch.source.shape[1] - n)


def test_no_word_that_has_not_been_read_has_a_part_in_the_loss(learnt, pairs, tokenizer):
    beginnings = begin_words(tokenizer)
    encoded = encode_pairs(tokenizer, [pair for pair in pairs if len(pair.source.split()) > 4][:1])
    batch = next(batches_by_tokens(encoded, 100, pad=0, seed=0))
    seen = visible_sources(batch, 1, beginnings, 2)[0, 0]
    assert 0 < seen.sum() < len(seen)
    # Only the first word's labels are left.
    first = int(seen.sum())
    cut = batch.target.clone()
    end = next(i for i, t in enumerate(batch.target[0].tolist()) if i and t in beginnings)
    mask = batch.target_mask.clone()
    mask[:, end:] = 0
    one = type(batch)(batch.source, batch.source_mask, cut, mask)
    changed = batch.source.clone()
    # Words of one piece each, so that the first word ends where it ended.
    changed[:, first:-1] = min(beginnings)
    other = type(batch)(changed, batch.source_mask, cut, mask)
    with torch.no_grad():
        assert torch.allclose(
            wait_k_loss(learnt, one, 1, beginnings), wait_k_loss(learnt, other, 1, beginnings)
        )


def test_a_wait_k_training_learns_and_repeats_itself(pairs, tokenizer, learnt, size):
    def losses():
        found = []
        train_wait_k(
            build_translator(tokenizer, size, seed=1),
            pairs,
            tokenizer,
            TrainingPlan(steps=25, batch_tokens=600, learning_rate=5e-3),
            seed=1,
            on_progress=lambda step, loss: found.append(loss),
        )
        return found

    first = losses()
    assert first == losses()
    assert sum(first[-5:]) < sum(first[:5])
    with pytest.raises(ValueError, match="number of steps"):
        train_wait_k(learnt, pairs, tokenizer, TrainingPlan(max_seconds=1.0), seed=0)
