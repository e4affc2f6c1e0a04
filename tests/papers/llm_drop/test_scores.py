"""Similarity: streamed over batches, it is that of all tokens at once, whatever the family."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperround.errors import ScoresError
from paperround.papers.llm_drop.plain import plain_similarity
from paperround.papers.llm_drop.plans import DropPlan, drop
from paperround.papers.llm_drop.scores import cosines, score_spans, score_sublayers
from paperround.papers.llm_drop.sublayers import layers_of, layout_of

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2")
KINDS = ("block", "attention", "mlp")

Make = Callable[..., Any]

some = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_the_mean_cosine_of_the_streams_added_up_by_hand(
    a_model: Make, some_ids: Make, family: str
) -> None:
    model, ids = a_model(family), some_ids(3, 17)
    scores, wanted = score_sublayers(model, [ids]), plain_similarity(model, ids)
    assert scores.n_tokens == 51
    for kind in KINDS:
        assert scores.similarity[kind] == pytest.approx(wanted[kind], abs=1e-9)
        assert all(-1 <= similarity <= 1 for similarity in scores.similarity[kind])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@given(order=st.permutations(range(5)), size=st.integers(1, 5))
@some
def test_order_and_size_of_the_batches_do_not_matter(
    a_model: Make, some_ids: Make, family: str, order: list[int], size: int
) -> None:
    model, ids = a_model(family), some_ids(5, 11)
    wanted = score_sublayers(model, [ids])
    shuffled = ids[list(order)]
    streamed = score_sublayers(model, shuffled.split(size))
    assert streamed.n_tokens == wanted.n_tokens
    for kind in KINDS:
        assert streamed.similarity[kind] == pytest.approx(wanted.similarity[kind], abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_counted(a_model: Make, some_ids: Make, family: str, side: str) -> None:
    # In float32: in float64 the library's own mask overflows its softmax, which is in float32.
    model, short, long = a_model(family).float(), some_ids(1, 6, seed=1), some_ids(1, 11, seed=2)
    padded, mask = torch.full((2, 11), 2), torch.zeros(2, 11, dtype=torch.long)
    place = slice(5, 11) if side == "left" else slice(0, 6)
    padded[0, place], mask[0, place] = short[0], 1
    padded[1], mask[1] = long[0], 1
    together = score_sublayers(model, [{"input_ids": padded, "attention_mask": mask}])
    apart = score_sublayers(model, [short, long])
    assert together.n_tokens == apart.n_tokens == 17
    for kind in KINDS:
        assert together.similarity[kind] == pytest.approx(apart.similarity[kind], abs=1e-5)


def test_a_stream_that_is_not_finite_is_said_and_not_ranked(a_model: Make, some_ids: Make) -> None:
    model = a_model("llama")
    with torch.no_grad():
        layers_of(model)[1].mlp.down_proj.weight[0, 0] = float("nan")
    for score in (score_sublayers, score_spans):
        with pytest.raises(ScoresError, match="not finite"):
            score(model, [some_ids()])


def test_a_sublayer_that_adds_nothing_has_similarity_one(a_model: Make, some_ids: Make) -> None:
    model, ids = a_model("llama"), some_ids()
    with torch.no_grad():
        layers_of(model)[2].self_attn.o_proj.weight.zero_()
    before = model(input_ids=ids).logits
    assert score_sublayers(model, [ids]).similarity["attention"][2] == pytest.approx(1, abs=1e-12)
    drop(model, DropPlan(attention=(2,)))
    assert torch.allclose(model(input_ids=ids).logits, before, atol=1e-12)


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_without_the_norm_it_compares_what_the_module_is_given_and_gives(
    a_model: Make, some_ids: Make, family: str
) -> None:
    model, ids = a_model(family), some_ids()
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    attention = getattr(layers_of(model)[1], layout_of(model).attention)
    handle = attention.register_forward_hook(
        lambda module, args, kwargs, output: seen.append(
            (args[0] if args else kwargs["hidden_states"], output[0])
        ),
        with_kwargs=True,
    )
    scores = score_sublayers(model, [ids], ("attention", "mlp"), norm_included=False)
    handle.remove()
    assert scores.similarity["attention"][1] == pytest.approx(
        float(cosines(*seen[0]).mean()), abs=1e-9
    )
    # The residual stream hides how much an attention turns what it is given.
    with_norm = score_sublayers(model, [ids], ("attention",))
    assert scores.similarity["attention"][1] != pytest.approx(with_norm.similarity["attention"][1])


def test_what_is_dropped_has_no_score(a_model: Make, some_ids: Make) -> None:
    model = a_model("gpt2")
    drop(model, DropPlan(attention=(1,), mlp=(3,)))
    scores = score_sublayers(model, [some_ids()])
    assert scores.similarity["attention"][1] is None
    assert scores.similarity["mlp"][3] is None
    assert None not in scores.similarity["block"]
    assert len(scores.rows()) == 3 * scores.n_layers


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_a_span_of_one_layer_is_its_block(a_model: Make, some_ids: Make, family: str) -> None:
    model, batches = a_model(family), [some_ids(2, 9, seed=1), some_ids(1, 5, seed=2)]
    spans, scores = score_spans(model, batches), score_sublayers(model, batches)
    for layer in range(scores.n_layers):
        assert spans.similarity[layer][layer] == pytest.approx(1, abs=1e-9)
        assert spans.similarity[layer][layer + 1] == pytest.approx(
            scores.similarity["block"][layer], abs=1e-9
        )
        assert spans.angular_distance[layer][layer] == pytest.approx(0, abs=1e-6)


def test_the_angle_of_a_span_is_that_of_the_last_token(a_model: Make, some_ids: Make) -> None:
    model, ids = a_model("llama"), some_ids(1, 7)
    streams: list[torch.Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda module, args: streams.append(args[0]))
        for layer in layers_of(model)
    ]
    with torch.no_grad():
        model(input_ids=ids)
    for handle in handles:
        handle.remove()
    wanted = torch.arccos(cosines(streams[1][0, -1], streams[3][0, -1])) / torch.pi
    assert score_spans(model, [ids]).angular_distance[1][3] == pytest.approx(float(wanted))
    padded = torch.cat([ids, torch.full((1, 3), 2)], dim=1)
    mask = torch.tensor([[1] * 7 + [0] * 3])
    with_padding = score_spans(model, [{"input_ids": padded, "attention_mask": mask}])
    assert with_padding.angular_distance[1][3] == pytest.approx(float(wanted))


@pytest.mark.parametrize(
    ("batches", "options", "words"),
    [
        ([], {}, "no tokens"),
        ([torch.zeros(1, 0, dtype=torch.long)], {}, "no tokens"),
        ([torch.zeros(4, dtype=torch.long)], {}, r"shape \(sequences, tokens\)"),
        ([], {"kinds": ("heads",)}, "no kind 'heads'"),
        ([], {"norm_included": False}, "residual stream only"),
    ],
)
def test_what_cannot_be_scored_is_refused(
    a_model: Make, batches: Any, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        score_sublayers(a_model("llama"), batches, **options)
