"""SUNDAE models from masked language models: what they start as, how they learn, how they write."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertModel,
    DistilBertConfig,
    DistilBertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

from paperround.kit.language_models.families import byte_tokenizer
from paperround.papers.making_the_most.sundae import SpecialTokens, SundaeSeq2Seq
from paperround.papers.making_the_most.sundae_decoding import generate
from paperround.papers.making_the_most.sundae_training import (
    SundaePlan,
    corrupt,
    length_loss,
    sundae_loss,
    train_sundae,
    validation_loss,
)

V, PAD, BOS, EOS, MASK = 24, 1, 0, 2, 3
SPECIAL = SpecialTokens(PAD, BOS, EOS, (MASK,))
SIZES = {
    "vocab_size": V, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 16, "pad_token_id": PAD, "initializer_range": 0.4,
    "max_position_embeddings": 40,
}  # fmt: skip
KINDS = {
    "bert": lambda: BertForMaskedLM(BertConfig(**SIZES)),
    "roberta": lambda: RobertaForMaskedLM(RobertaConfig(**SIZES)),
    "xlm-roberta": lambda: XLMRobertaForMaskedLM(XLMRobertaConfig(**SIZES)),
    "distilbert": lambda: DistilBertForMaskedLM(
        DistilBertConfig(
            vocab_size=V, dim=16, n_layers=2, n_heads=2, hidden_dim=16, pad_token_id=PAD,
            initializer_range=0.4, max_position_embeddings=40,
        )
    ),
}  # fmt: skip


def an_mlm(kind="bert", seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return KINDS[kind]().eval()


def a_model(kind="bert", seed=0, trained=True):
    """A model whose attention to the source does something."""
    model = SundaeSeq2Seq.from_mlm(an_mlm(kind, seed), special=SPECIAL).eval()
    if trained:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if ".cross.output" in name or "length_head" in name:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return model


SOURCES = [[5, 6, 7, 8], [9], [4, 4, 10, 11, 12, 13]]
TARGETS = [[14, 15], [16, 17, 18, 19, 20], [21]]


@pytest.mark.parametrize("kind", KINDS)
def test_before_training_the_decoder_is_the_masked_language_model(kind):
    mlm = an_mlm(kind)
    weights = {name: weight.clone() for name, weight in mlm.state_dict().items()}
    model = SundaeSeq2Seq.from_mlm(mlm, special=SPECIAL).eval()
    source, target = model.batch(SOURCES), model.batch(TARGETS)
    with torch.no_grad():
        logits = model(target, model.encode(source), source)
        expected = mlm(input_ids=target.ids, attention_mask=target.mask.long()).logits
    assert torch.allclose(logits[target.mask], expected[target.mask], atol=1e-5)
    # The one that was handed in is as it was, and shares nothing with what was made of it.
    train_sundae(model, list(zip(SOURCES, TARGETS, strict=True)), SundaePlan(1, 2), seed=0)
    for name, weight in mlm.state_dict().items():
        assert torch.equal(weight, weights[name]), name


@pytest.mark.parametrize("kind", KINDS)
def test_batches_and_padding_change_nothing(kind):
    model = a_model(kind)
    source, target = model.batch(SOURCES), model.batch(TARGETS)
    with torch.no_grad():
        together = model(target, model.encode(source), source)
        for row, (x, y) in enumerate(zip(SOURCES, TARGETS, strict=True)):
            one, draft = model.batch([x]), model.batch([y])
            states = model.encode(one)
            alone = model(draft, states, one)[0]
            assert torch.allclose(together[row, : len(y) + 2], alone, atol=1e-5)
            assert torch.allclose(
                model.length_logits(model.encode(source), source)[row],
                model.length_logits(states, one)[0],
                atol=1e-5,
            )


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_causal_and_the_source_is_seen(kind):
    model = a_model(kind)
    source = model.batch([[5, 6, 7]])
    states = model.encode(source)
    with torch.no_grad():
        before = model(model.batch([[8, 9, 10]]), states, source)
        later = model(model.batch([[8, 9, 11]]), states, source)
        other = model.batch([[5, 6, 12]])
        elsewhere = model(model.batch([[8, 9, 10]]), model.encode(other), other)
    # The first word's logits see the last one.
    assert not torch.allclose(before[0, 1], later[0, 1], atol=1e-3)
    assert not torch.allclose(before[0, 1], elsewhere[0, 1], atol=1e-3)


def test_a_model_without_a_head_gets_its_embeddings_as_the_head(tmp_path):
    torch.manual_seed(0)
    base = BertModel(BertConfig(**SIZES)).eval()
    base.save_pretrained(tmp_path)
    for given_model in (base, tmp_path):
        model = SundaeSeq2Seq.from_mlm(given_model, special=SPECIAL).eval()
        target, source = model.batch(TARGETS), model.batch(SOURCES)
        with torch.no_grad():
            states = base(input_ids=target.ids, attention_mask=target.mask.long()).last_hidden_state
            expected = torch.nn.functional.layer_norm(states, (16,)) @ (
                base.get_input_embeddings().weight.T
            )
            logits = model(target, model.encode(source), source)
        assert torch.allclose(logits[target.mask], expected[target.mask], atol=1e-4)


def test_a_folder_with_a_head_keeps_it_and_two_models_may_differ_in_size(tmp_path):
    mlm = an_mlm()
    mlm.save_pretrained(tmp_path)
    wide = BertForMaskedLM(BertConfig(**{**SIZES, "hidden_size": 32})).eval()
    model = SundaeSeq2Seq.from_mlm(wide, tmp_path, special=SPECIAL).eval()
    source, target = model.batch(SOURCES), model.batch(TARGETS)
    with torch.no_grad():
        logits = model(target, model.encode(source), source)
        expected = mlm(input_ids=target.ids, attention_mask=target.mask.long()).logits
    assert torch.allclose(logits[target.mask], expected[target.mask], atol=1e-5)


def test_the_folders_tokenizer_says_which_tokens_are_special(tmp_path):
    tokenizer = byte_tokenizer(pad_token="<pad>")
    config = BertConfig(**{**SIZES, "vocab_size": len(tokenizer), "pad_token_id": 256})
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert SundaeSeq2Seq.from_mlm(tmp_path).special == SpecialTokens.of(tokenizer)
    with pytest.raises(ValueError, match="give special=SpecialTokens"):
        SundaeSeq2Seq.from_mlm(an_mlm())


def test_an_empty_text_is_its_frame_and_needs_one():
    model = a_model()
    together = generate(model, [[], [5, 6]], n_steps=2)
    assert together[0].tokens == generate(model, [[]], n_steps=2)[0].tokens != ()
    bare = SundaeSeq2Seq.from_mlm(an_mlm(), special=SpecialTokens(PAD))
    with pytest.raises(ValueError, match="an empty text"):
        bare.generate([[5], []])


def test_other_builds_are_refused():
    config = GPT2Config(vocab_size=V, n_embd=16, n_layer=1, n_head=2)
    with pytest.raises(ValueError, match="not of BERT's build"):
        SundaeSeq2Seq.from_mlm(GPT2LMHeadModel(config), special=SPECIAL)
    causal = BertForMaskedLM(BertConfig(**SIZES))
    causal.config.is_decoder = True
    with pytest.raises(ValueError, match="configured as a decoder"):
        SundaeSeq2Seq.from_mlm(causal, special=SPECIAL)
    with pytest.raises(ValueError, match="no padding token"):
        SpecialTokens.of(byte_tokenizer())
    special = SpecialTokens.of(byte_tokenizer(pad_token="<pad>"))
    assert (special.pad, special.bos, special.eos) == (256, 257, 258)


texts = st.lists(st.integers(4, V - 1), min_size=1, max_size=6)


@settings(deadline=None, max_examples=20)
@given(st.lists(texts, min_size=1, max_size=4), st.integers(0, 99))
def test_corruption_at_rate_0_is_the_target_and_never_touches_the_frame(targets, seed):
    model = a_model()
    target = model.batch(targets)
    generator = torch.Generator().manual_seed(seed)
    assert torch.equal(corrupt(model, target, generator, rate=0.0).ids, target.ids)
    for rate in (None, 1.0):
        drawn = corrupt(model, target, generator, rate=rate)
        assert torch.equal(drawn.ids[~target.words], target.ids[~target.words])
        assert not torch.isin(drawn.ids[target.words], torch.tensor([PAD, BOS, EOS, MASK])).any()
    # The same numbers give the same draft.
    first, second = (
        corrupt(model, target, torch.Generator().manual_seed(seed)).ids for _ in range(2)
    )
    assert torch.equal(first, second)


def test_the_rate_is_drawn_anew_for_each_text():
    model = a_model()
    target = model.batch([[5] * 30] * 400)
    drawn = corrupt(model, target, torch.Generator().manual_seed(0))
    share = ((drawn.ids != target.ids) & target.words).sum(dim=1) / 30
    # Of U(0, 1): mean 1/2, deviation 1/sqrt(12); less the 1 in 20 that draws the same word.
    assert float(share.mean()) == pytest.approx(0.475, abs=0.04)
    assert float(share.std()) == pytest.approx(0.275, abs=0.04)


def test_the_loss_averages_both_unrolled_steps():
    model = a_model()
    source, target = model.batch(SOURCES), model.batch(TARGETS)
    seen = []
    hook = model.decoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].clone()), with_kwargs=True
    )
    loss = sundae_loss(model, source, target, torch.Generator().manual_seed(5))
    hook.remove()
    assert len(seen) == 2
    states = model.encode(source)
    by_hand = []
    for ids in seen:
        logits = model(
            model.batch(TARGETS).__class__(ids, target.mask, target.words), states, source
        )
        log_probs = logits.log_softmax(-1)
        words = [
            -log_probs[row, 1 + place, word]
            for row, text in enumerate(TARGETS)
            for place, word in enumerate(text)
        ]
        by_hand.append(torch.stack(words).mean())
    assert loss.item() == pytest.approx(sum(by_hand).item() / 2, abs=1e-5)
    # y1 was drawn, from words only, and the frame stands.
    assert torch.equal(seen[1][~target.words], target.ids[~target.words])
    assert not torch.equal(seen[0], seen[1])
    one = sundae_loss(model, source, target, torch.Generator().manual_seed(5), n_unrolled=1)
    assert one.item() == pytest.approx(by_hand[0].item(), abs=1e-5)


def test_lengths_are_classes_of_the_difference():
    model = a_model()
    source, target = model.batch(SOURCES), model.batch(TARGETS)
    assert (model.length_classes(source, target) - 64).tolist() == [-2, 4, -5]
    loss = length_loss(model, model.encode(source), source, target)
    expected = model.length_logits(model.encode(source), source).log_softmax(-1)
    by_hand = -(expected[0, 62] + expected[1, 68] + expected[2, 59]) / 3
    assert loss.item() == pytest.approx(by_hand.item(), abs=1e-5)


def test_training_is_the_seeds_alone_and_lowers_the_loss():
    pairs = [([word, word + 1], [word + 1, word]) for word in range(4, V - 1)] * 2
    plan = SundaePlan(steps=80, batch_size=16, learning_rate=5e-3)
    runs = []
    for _ in range(2):
        model = a_model(trained=False)
        before = validation_loss(model, pairs)
        torch.rand(3)
        losses = train_sundae(model, pairs, plan, seed=3)
        runs.append((losses, validation_loss(model, pairs)))
        assert len(losses) == 80
        assert runs[-1][1] < 0.7 * before
    assert runs[0] == runs[1]
    assert not model.training
    other = train_sundae(a_model(trained=False), pairs, SundaePlan(steps=2), seed=4)
    assert other != runs[0][0][:2]
    for wrong, words in (([], "no pairs"), ([([5], [6]), ([5], [])], "pair 2 has an empty target")):
        with pytest.raises(ValueError, match=words):
            train_sundae(model, wrong, plan, seed=0)
        with pytest.raises(ValueError, match=words):
            validation_loss(model, wrong)
    # It has learnt the lengths, and most of the words.
    written = generate(model, [x for x, _ in pairs[:10]], n_steps=4, temperature=0.2)
    assert all(len(one.tokens) == 2 for one in written)


@settings(deadline=None, max_examples=15)
@given(
    sources=st.lists(texts, min_size=1, max_size=3),
    n_steps=st.integers(1, 4),
    temperature=st.sampled_from([0.0, 0.3, 1.0]),
    n_candidates=st.integers(1, 3),
    update_share=st.sampled_from([0.3, 1.0]),
    seed=st.integers(0, 5),
)
def test_writing_is_deterministic_and_the_same_alone_as_in_a_batch(
    sources, n_steps, temperature, n_candidates, update_share, seed
):
    model = a_model()
    options = {
        "n_steps": n_steps, "temperature": temperature, "n_candidates": n_candidates,
        "update_share": update_share, "seed": seed,
    }  # fmt: skip
    together = generate(model, sources, **options)
    assert together == generate(model, sources, **options)
    for source, written in zip(sources, together, strict=True):
        [alone] = generate(model, [source], **options)
        assert alone.tokens == written.tokens
        assert alone.score == pytest.approx(written.score, abs=1e-4)
        assert not set(written.tokens) & {PAD, BOS, EOS, MASK}
        assert len(written.tokens) >= 1
        assert written.n_passes == n_steps + 1


def test_at_temperature_0_a_draft_that_no_longer_changes_is_the_answer():
    model = a_model(trained=False)
    short = generate(model, SOURCES, n_steps=30, temperature=0.0, lengths=[2, 5, 1])
    longer = generate(model, SOURCES, n_steps=31, temperature=0.0, lengths=[2, 5, 1])
    # A low temperature comes to what the lowest gives.
    nearly = generate(model, SOURCES, n_steps=30, temperature=1e-6, lengths=[2, 5, 1])
    assert [one.tokens for one in nearly] == [one.tokens for one in short]
    assert [len(one.tokens) for one in longer] == [2, 5, 1]
    for one in short:
        assert -math.inf < one.score <= 0


def test_more_candidate_lengths_never_make_the_model_less_sure():
    model = a_model()
    one = generate(model, SOURCES, n_steps=3, n_candidates=1)
    five = generate(model, SOURCES, n_steps=3, n_candidates=5)
    for first, best in zip(one, five, strict=True):
        assert best.score >= first.score - 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_may_be_as_long_as_the_model_has_places(kind):
    model = a_model(kind)
    longest = 38 if "roberta" in kind else 40
    assert model.max_length == longest
    source = model.batch([[5] * (longest - 2)])
    assert model(source, model.encode(source), source).shape == (1, longest, V)
    with pytest.raises(ValueError, match=f"{longest + 1} tokens"):
        model.batch([[5] * (longest - 1)])
    # However long the length head wishes it.
    with torch.no_grad():
        model.length_head.bias[-1] = 1e4
    [written] = model.generate([[5] * (longest - 3)], n_steps=1)
    assert len(written.tokens) == longest - 2


def test_bad_requests_are_refused():
    model = a_model()
    assert generate(model, []) == []
    for options, words in (
        ({"n_steps": 0}, "n_steps=0"),
        ({"n_candidates": 0}, "n_candidates=0"),
        ({"temperature": -1.0}, "temperature=-1"),
        ({"update_share": 0.0}, "update_share=0"),
        ({"lengths": [3, 4]}, "2 lengths for 1"),
        ({"lengths": [0]}, "at least one word"),
    ):
        with pytest.raises(ValueError, match=words):
            generate(model, [[5]], **options)
