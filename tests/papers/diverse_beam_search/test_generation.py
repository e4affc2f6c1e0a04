"""Diverse beam search on transformers models, tiny and random."""

import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    T5Config,
    T5ForConditionalGeneration,
    TemperatureLogitsWarper,
)

from paperround.papers.diverse_beam_search import (
    AntiLMLogitsProcessor,
    HammingDiversityLogitsProcessor,
    SiblingRankLogitsProcessor,
    generate_diverse,
    group_beam_search,
)

V, PAD, BOS, EOS = 23, 22, 1, 2
SPECIAL = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}


def a_llama(seed=0, eos=EOS):
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=V,
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            initializer_range=0.5,
            **{**SPECIAL, "eos_token_id": eos},
        )
    ).eval()


def a_gpt2(seed=0):
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=40, initializer_range=0.5,
        **SPECIAL,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def a_t5(seed=0):
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=V, d_model=16, d_kv=8, d_ff=16, num_layers=2, num_heads=2,
        initializer_factor=3.0, pad_token_id=PAD, eos_token_id=EOS, decoder_start_token_id=BOS,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


def a_bart(seed=0):
    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=V, d_model=16, encoder_layers=1, decoder_layers=2, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, init_std=0.5,
        max_position_embeddings=40, decoder_start_token_id=BOS, forced_eos_token_id=None, **SPECIAL,
    )  # fmt: skip
    return BartForConditionalGeneration(config).eval()


MODELS = {"llama": a_llama, "gpt2": a_gpt2, "t5": a_t5, "bart": a_bart}


def prompts(seed=0, left=True):
    """Three prompts of five, three and four tokens, padded."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, PAD, (n,), generator=generator) for n in (5, 3, 4)]
    ids = torch.full((3, 5), PAD)
    mask = torch.zeros(3, 5, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(5 - len(row), 5) if left else slice(0, len(row))
        ids[i, place], mask[i, place] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def prompts_for(name, seed=0):
    return prompts(seed, left=name in ("llama", "gpt2"))


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@pytest.mark.parametrize("name", MODELS)
def test_one_group_is_the_beam_search_of_transformers(name, length_penalty, early_stopping):
    model, inputs = MODELS[name](0), prompts_for(name, 0)
    options = {
        "num_beams": 4,
        "num_return_sequences": 4,
        "length_penalty": length_penalty,
        "early_stopping": early_stopping,
        "max_new_tokens": 7,
    }
    theirs = model.generate(
        **inputs, **options, do_sample=False, return_dict_in_generate=True, output_scores=True
    )
    ours = generate_diverse(model, inputs, num_beam_groups=1, **options)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert torch.allclose(ours.sequences_scores, theirs.sequences_scores, atol=1e-4)


def log_prob_of(model, name, inputs, output, row):
    """The model's log-probability of a returned row, by one teacher-forced pass."""
    n_prompts = inputs["input_ids"].shape[0]
    prompt = row // (output.sequences.shape[0] // n_prompts)
    keep = inputs["attention_mask"][prompt].bool()
    prompt_ids = inputs["input_ids"][prompt][keep]
    length = int(output.lengths[row])
    if name in ("llama", "gpt2"):
        start = inputs["input_ids"].shape[1]
        new = output.sequences[row, start : start + length]
        logits = model(torch.cat([prompt_ids, new])[None]).logits[0, len(prompt_ids) - 1 : -1]
    else:
        new = output.sequences[row, 1 : 1 + length]
        decoder = output.sequences[row, :length]
        logits = model(input_ids=prompt_ids[None], decoder_input_ids=decoder[None]).logits[0]
    return logits.log_softmax(-1).gather(-1, new[:, None]).sum().item()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("num_beams", "num_beam_groups"), [(4, 2), (4, 4), (6, 2)])
def test_the_log_probability_is_that_of_a_teacher_forced_pass(name, num_beams, num_beam_groups):
    # A cache reordered within its group only, not by global rows, would fail here.
    model, inputs = MODELS[name](1), prompts_for(name, 1)
    found = generate_diverse(
        model,
        inputs,
        num_beams=num_beams,
        num_beam_groups=num_beam_groups,
        diversity_penalty=1.0,
        max_new_tokens=6,
    )
    with torch.no_grad():
        for row in range(found.sequences.shape[0]):
            expected = log_prob_of(model, name, inputs, found, row)
            assert found.model_log_probs[row].item() == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_padding_and_the_other_prompts_of_a_batch_change_nothing(name):
    model, inputs = MODELS[name](2), prompts_for(name, 2)
    options = {
        "num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.7, "max_new_tokens": 6,
    }  # fmt: skip
    together = generate_diverse(model, inputs, **options)
    order = [2, 0, 1]
    turned = generate_diverse(model, {k: v[order] for k, v in inputs.items()}, **options)
    for place, prompt in enumerate(order):
        keep = inputs["attention_mask"][prompt].bool()
        alone = generate_diverse(
            model,
            {"input_ids": inputs["input_ids"][prompt][keep][None],
             "attention_mask": torch.ones(1, int(keep.sum()), dtype=torch.long)},
            **options,
        )  # fmt: skip
        for b in range(4):
            new = [
                tokens.sequences[row, -tokens.sequences.shape[1] + start :][: tokens.lengths[row]]
                for tokens, row, start in (
                    (alone, b, new_start(name, int(keep.sum()))),
                    (together, prompt * 4 + b, new_start(name, 5)),
                    (turned, place * 4 + b, new_start(name, 5)),
                )
            ]
            assert torch.equal(new[0], new[1])
            assert torch.equal(new[0], new[2])
        rows = slice(prompt * 4, prompt * 4 + 4)
        assert torch.allclose(alone.sequences_scores, together.sequences_scores[rows], atol=1e-4)


def new_start(name, prompt_length):
    return prompt_length if name in ("llama", "gpt2") else 1


def test_without_a_cache_the_candidates_are_the_same():
    model, inputs = a_llama(3), prompts(3)
    options = {"num_beams": 4, "num_beam_groups": 2, "max_new_tokens": 6}
    cached = generate_diverse(model, inputs, **options)
    plain = generate_diverse(model, inputs, use_cache=False, **options)
    assert torch.equal(cached.sequences, plain.sequences)
    assert torch.allclose(cached.sequences_scores, plain.sequences_scores, atol=1e-4)


def test_code_written_for_transformers_4_keeps_working_with_custom_generate():
    model, inputs = a_llama(0), prompts(0)
    ours = generate_diverse(
        model, inputs, num_beams=4, num_beam_groups=2, diversity_penalty=0.9, max_new_tokens=5
    )
    by_argument = model.generate(
        **inputs,
        num_beams=4,
        num_beam_groups=2,
        diversity_penalty=0.9,
        num_return_sequences=4,
        max_new_tokens=5,
        length_penalty=0.0,
        custom_generate=group_beam_search,
    )
    config = GenerationConfig(
        num_beams=4,
        num_beam_groups=2,
        diversity_penalty=0.9,
        num_return_sequences=4,
        max_new_tokens=5,
        length_penalty=0.0,
        **SPECIAL,
    )
    by_config = model.generate(
        **inputs, generation_config=config, custom_generate=group_beam_search
    )
    assert torch.equal(by_argument, ours.sequences)
    assert torch.equal(by_config, ours.sequences)


def test_fewer_candidates_are_shared_out_between_the_groups():
    model, inputs = a_llama(0), prompts(0)
    options = {"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 2.0, "max_new_tokens": 5}
    everything = generate_diverse(model, inputs, **options)
    four = generate_diverse(model, inputs, num_return_sequences=4, **options)
    assert everything.groups.tolist() == [0, 0, 1, 1, 2, 2] * 3
    assert four.groups.tolist() == [0, 0, 1, 2] * 3
    assert four.sequences_scores[:4].tolist() == everything.sequences_scores[[0, 1, 2, 4]].tolist()
    for scores in everything.sequences_scores.view(9, 2):
        assert scores[0] >= scores[1]


def test_with_an_overwhelming_penalty_no_two_groups_share_a_token_at_a_step():
    found = generate_diverse(
        a_llama(0, eos=None),
        prompts(0),
        num_beams=5,
        num_beam_groups=5,
        diversity_penalty=1e6,
        max_new_tokens=6,
    )
    for step in found.sequences[:, 5:].view(3, 5, 6).transpose(1, 2).reshape(-1, 5).tolist():
        assert len(set(step)) == 5


def test_processors_see_log_probabilities_before_the_penalty():
    seen = []

    def spy(input_ids, scores):
        seen.append(scores.exp().sum(-1))
        return scores

    generate_diverse(
        a_llama(0),
        prompts(0),
        num_beams=4,
        num_beam_groups=4,
        diversity_penalty=3.0,
        max_new_tokens=4,
        logits_processor=LogitsProcessorList([spy]),
    )
    assert len(seen) == 4
    for sums in seen:
        assert torch.allclose(sums, torch.ones(12), atol=1e-5)


def test_a_processor_changes_the_score_but_not_the_models_log_probability():
    model, inputs = a_llama(0, eos=None), prompts(0)
    found = generate_diverse(
        model,
        inputs,
        num_beams=2,
        num_beam_groups=1,
        max_new_tokens=4,
        logits_processor=LogitsProcessorList([TemperatureLogitsWarper(2.0)]),
    )
    assert torch.allclose(found.sequences_scores, found.model_log_probs / 2, atol=1e-4)


def test_bad_words_are_never_written():
    model, inputs = a_llama(0), prompts(0)
    options = {"num_beams": 4, "num_beam_groups": 4, "max_new_tokens": 6}
    favourite = generate_diverse(model, inputs, **options).sequences[0, 5].item()
    found = generate_diverse(model, inputs, bad_words_ids=[[favourite]], **options)
    assert not (found.sequences[:, 5:] == favourite).any()


class EndsAt(StoppingCriteria):
    """Ends a hypothesis at a token of its own choosing."""

    def __init__(self, token):
        self.token = token

    def __call__(self, input_ids, scores, **kwargs):
        return input_ids[:, -1] == self.token


def test_a_stopping_criterion_ends_a_hypothesis_as_eos_does():
    model, inputs = a_llama(4), prompts(4)
    options = {"num_beams": 4, "num_beam_groups": 2, "max_new_tokens": 6}
    # A token that the search writes early where nothing ends at it.
    end = generate_diverse(model, inputs, **options).sequences[-4, 5].item()
    by_eos = generate_diverse(model, inputs, eos_token_id=[EOS, end], **options)
    by_criterion = generate_diverse(
        model, inputs, stopping_criteria=StoppingCriteriaList([EndsAt(end)]), **options
    )
    assert (by_eos.sequences[:, 5:] == end).any()
    assert torch.equal(by_eos.lengths, by_criterion.lengths)
    assert torch.allclose(by_eos.sequences_scores, by_criterion.sequences_scores, atol=1e-5)


def test_out_of_time_every_group_still_has_its_list():
    found = generate_diverse(
        a_llama(0),
        prompts(0),
        num_beams=4,
        num_beam_groups=2,
        diversity_penalty=1.0,
        max_new_tokens=6,
        max_time=1e-9,
    )
    assert found.lengths.tolist() == [1] * 12
    assert found.sequences_scores.isfinite().all()


@pytest.mark.parametrize("diversity", ["hamming", "cumulative", "ngram", "embedding"])
def test_every_form_of_diversity_leaves_the_first_group_alone_and_moves_others(diversity):
    model, inputs = a_llama(0, eos=None), prompts(0)
    options = {"num_beams": 4, "num_beam_groups": 4, "max_new_tokens": 6, "diversity": diversity}
    without = generate_diverse(model, inputs, diversity_penalty=0.0, **options)
    found = generate_diverse(model, inputs, diversity_penalty=5.0, **options)
    assert torch.equal(found.sequences[::4], without.sequences[::4])
    assert not torch.equal(found.sequences, without.sequences)
    assert len({tuple(row) for row in found.sequences[:4].tolist()}) == 4
    assert len({tuple(row) for row in without.sequences[:4].tolist()}) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"num_beam_groups": 3}, "num_beam_groups=3 does not divide num_beams=4"),
        ({"diversity_penalty": -1.0}, "diversity_penalty=-1.0"),
        ({"num_beams": 24, "num_beam_groups": 1}, "a group of 24 beams"),
        ({"num_return_sequences": 5}, "num_return_sequences=5 is not within 1..num_beams=4"),
        ({"num_return_sequences": 0}, "num_return_sequences=0"),
        ({"do_sample": True}, "do_sample=True"),
        ({"output_attentions": True}, "output_attentions=True"),
        ({"diversity": "none"}, "no diversity 'none'"),
    ],
)
def test_settings_that_cannot_be_followed_are_refused(wrong, message):
    options = {"num_beams": 4, "num_beam_groups": 2, "max_new_tokens": 3, **wrong}
    with pytest.raises(ValueError, match=message):
        generate_diverse(a_llama(0), prompts(0), **options)


def test_the_hamming_processor_counts_the_earlier_groups_choices():
    processor = HammingDiversityLogitsProcessor(0.5, num_beams=4, num_beam_groups=2)
    # Two prompts; the first group's beams chose 3, 3 and 1, 2; what group 2 chose is not looked at.
    current = torch.tensor([3, 3, 0, 0, 1, 2, 4, 4])
    scores = torch.zeros(4, 5)
    assert torch.equal(processor(None, scores, current, 0), scores)
    expected = torch.zeros(4, 5)
    expected[:2, 3] = -1.0
    expected[2:, 1] = expected[2:, 2] = -0.5
    assert torch.equal(processor(None, scores, current, 1), expected)
    with pytest.raises(ValueError, match="num_beam_groups=3 does not divide"):
        HammingDiversityLogitsProcessor(0.5, num_beams=4, num_beam_groups=3)


def test_the_sibling_rank_processor_gives_what_its_formula_says():
    scores = torch.tensor([[-1.0, -3.0, -0.5], [-2.0, -1.0, -4.0]])
    expected = torch.tensor([[-1.2, -3.3, -0.6], [-2.2, -1.1, -4.3]])
    assert torch.allclose(SiblingRankLogitsProcessor(0.1)(None, scores), expected)
    with pytest.raises(ValueError, match="gamma"):
        SiblingRankLogitsProcessor(-1.0)(None, scores)


def test_the_antilm_processor_subtracts_what_the_model_says_without_the_prompt():
    model = a_llama(5)
    processor = AntiLMLogitsProcessor(model, BOS, weight=0.5, prompt_length=2, first_tokens=2)
    scores = torch.zeros(1, V)
    with torch.no_grad():
        unconditional = model(torch.tensor([[BOS, 7]])).logits[0, -1].log_softmax(-1)
    assert torch.allclose(
        processor(torch.tensor([[4, 5, 7]]), scores)[0], -0.5 * unconditional, atol=1e-5
    )
    assert torch.equal(processor(torch.tensor([[4, 5, 7, 8]]), scores), scores)
