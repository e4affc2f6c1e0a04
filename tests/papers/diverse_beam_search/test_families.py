"""Diverse beam search on every family of models that people use."""

import pytest
import torch

from paperround.kit.language_models.families import FAMILIES, random_model
from paperround.papers.diverse_beam_search import generate_diverse

# Longer than the sliding windows of both Gemmas.
LENGTHS = (21, 3, 30)


def prompts():
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(0, 256, (n,), generator=generator) for n in LENGTHS]
    ids = torch.full((len(rows), max(LENGTHS)), 256)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, -len(row) :], mask[place, -len(row) :] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


@pytest.mark.parametrize("family", FAMILIES)
def test_one_group_is_the_beam_search_of_transformers(family):
    model = random_model(family, dtype=torch.float32)
    options = {"num_beams": 3, "num_return_sequences": 3, "max_new_tokens": 8}
    theirs = model.generate(
        **prompts(),
        **options,
        length_penalty=0.0,
        do_sample=False,
        return_dict_in_generate=True,
        output_scores=True,
    )
    ours = generate_diverse(model, prompts(), num_beam_groups=1, **options)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert torch.allclose(ours.sequences_scores, theirs.sequences_scores, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_groups_differ_and_a_padded_batch_is_as_its_prompts_alone(family):
    model = random_model(family, dtype=torch.float32)
    options = {
        "num_beams": 4, "num_beam_groups": 4, "diversity_penalty": 1e6, "max_new_tokens": 8,
    }  # fmt: skip
    batch = generate_diverse(model, prompts(), eos_token_id=None, pad_token_id=256, **options)
    inputs = prompts()
    for place, length in enumerate(LENGTHS):
        alone = generate_diverse(
            model,
            {name: tensor[place : place + 1, -length:] for name, tensor in inputs.items()},
            eos_token_id=None,
            pad_token_id=256,
            **options,
        )
        rows = slice(4 * place, 4 * place + 4)
        new = batch.sequences[rows, max(LENGTHS) :]
        assert torch.equal(new, alone.sequences[:, length:])
        assert torch.allclose(batch.model_log_probs[rows], alone.model_log_probs, atol=1e-3)
        # At every step each group has a token of its own.
        assert all(len(set(step.tolist())) == 4 for step in new.T)
