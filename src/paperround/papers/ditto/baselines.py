"""What DITTO is measured against: unlikelihood training, ScaleGrad, and contrastive search.

The first two are losses for the same loop as DITTO's. A repetition penalty, blocked n-grams and
nucleus sampling are transformers' own. Sources: Welleck et al. 2020 (arXiv 1908.04319), Lin, Han,
Joty 2021 (arXiv 2106.07207), Su et al. 2022 (arXiv 2202.06417).
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paperround.papers.ditto.method import EPS, IGNORED

# Published choices: alpha of the token-level loss and n of the sequence-level one (Welleck et al.),
# gamma of ScaleGrad for language models (Lin et al.; their range is 0.2 to 0.8).
UL_ALPHA = 1.0
UL_NGRAM = 4
SG_GAMMA = 0.5


def earlier_tokens(labels: Tensor, n_vocabulary: int) -> Tensor:
    """(rows, T, vocabulary), true where a token was a target before place t of its row."""
    rows, length = labels.shape
    places = torch.arange(length, device=labels.device)
    # (rows, vocabulary): the first place of each token, `length` where it never is.
    first = torch.full((rows, n_vocabulary), length, device=labels.device)
    counted = torch.where(labels == IGNORED, length, places)
    first.scatter_reduce_(1, labels.clamp_min(0), counted, "amin")
    return first[:, None, :] < places[:, None]


def unlikelihood_token_loss(logits: Tensor, labels: Tensor, alpha: float = UL_ALPHA) -> Tensor:
    """Mean over targets of -log p(target) - alpha * sum over candidates c of log(1 - p(c)).

    Candidates are the row's earlier targets other than this one (Welleck et al., equation 5).
    `logits` (rows, T, vocabulary) and `labels` (rows, T) stand for the same places; -100 is no
    target.
    """
    log_p = logits.float().log_softmax(-1)
    counted = labels != IGNORED
    targets = labels.clamp_min(0).unsqueeze(-1)
    likelihood = -log_p.gather(-1, targets).squeeze(-1)
    candidates = earlier_tokens(labels, logits.shape[-1]).scatter(-1, targets, False)
    against = -(1 - log_p.exp()).clamp_min(EPS).log()
    unlikelihood = (against * candidates).sum(-1)
    losses = (likelihood + alpha * unlikelihood) * counted
    return losses.sum() / counted.sum().clamp_min(1)


def repeated_ngrams(tokens: Tensor, n: int = UL_NGRAM) -> Tensor:
    """(rows, T), true for every token of an n-gram that the row has had before."""
    mask = torch.zeros_like(tokens, dtype=torch.bool)
    for i, row in enumerate(tokens.tolist()):
        seen: set[tuple[int, ...]] = set()
        for t in range(len(row) - n + 1):
            ngram = tuple(row[t : t + n])
            if ngram in seen:
                mask[i, t : t + n] = True
            seen.add(ngram)
    return mask


def unlikelihood_sequence_loss(
    model: PreTrainedModel, prefixes: Tensor, n_new: int, n: int = UL_NGRAM
) -> Tensor:
    """Mean over the model's own greedy continuations of -log(1 - p) where an n-gram repeats.

    `prefixes` (rows, tokens), without padding, are continued by `n_new` tokens (Welleck et al.,
    equation 7); the gradient comes from one teacher-forced pass over the result.
    """
    was_training = model.training
    model.eval()
    with torch.no_grad():
        continued = model.generate(
            prefixes,
            attention_mask=torch.ones_like(prefixes),
            do_sample=False,
            max_new_tokens=n_new,
            min_new_tokens=n_new,
        )
    model.train(was_training)
    new = continued[:, prefixes.shape[1] :]
    logits = model(continued[:, :-1], use_cache=False).logits[:, prefixes.shape[1] - 1 :]
    log_p = logits.float().log_softmax(-1).gather(-1, new.unsqueeze(-1)).squeeze(-1)
    against = -(-torch.expm1(log_p)).clamp_min(EPS).log()
    return (against * repeated_ngrams(new, n)).sum() / new.numel()


def scale_grad_loss(logits: Tensor, labels: Tensor, gamma: float = SG_GAMMA) -> Tensor:
    """Mean over targets of -log of the probability after novel tokens' are scaled by `gamma`.

    Novel are the tokens that the row has not had as a target; their probabilities are multiplied by
    gamma and all are normalised again (Lin et al., equation 5), so that a novel target has to earn
    more. gamma = 1 is cross-entropy. Raises ValueError for a gamma outside 0 to 1.
    """
    if not 0.0 < gamma <= 1.0:
        raise ValueError(f"gamma is {gamma}; it must be above 0 and at most 1")
    scores = logits.float()
    novel = ~earlier_tokens(labels, logits.shape[-1])
    scaled = scores + novel * torch.log(torch.tensor(gamma))
    return nn.functional.cross_entropy(
        scaled.flatten(0, -2), labels.flatten(), ignore_index=IGNORED
    )


def contrastive_search(
    model: PreTrainedModel, prefixes: Tensor, n_new: int, k: int = 4, alpha: float = 0.6
) -> Tensor:
    """`prefixes` (rows, tokens) continued by `n_new` tokens that are probable and unlike the past.

    Of the `k` most probable tokens v the one with the largest (1 - alpha) p(v) - alpha max_j
    cos(h_v, h_j) is taken, h being last hidden states and j the places before (Su et al.,
    equation 5). transformers 5 no longer has it. alpha = 0 is greedy decoding. The model needs a
    cache whose rows can be repeated and chosen, as every DynamicCache can. Raises ValueError for a
    model without one, empty prefixes, and a `k` or `alpha` out of range.
    """
    if prefixes.dim() != 2 or not prefixes.numel():
        raise ValueError(f"prefixes has the shape {tuple(prefixes.shape)}; it needs (rows, tokens)")
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha is {alpha}; it must be within 0 and 1")
    if not 1 <= k <= model.config.vocab_size:
        raise ValueError(f"k is {k}; it must be within 1 and the vocabulary's size")
    rows = torch.arange(len(prefixes), device=prefixes.device)
    with torch.no_grad():
        out = model(prefixes, use_cache=True, output_hidden_states=True)
        cache, logits = getattr(out, "past_key_values", None), out.logits[:, -1]
        if cache is None or not hasattr(cache, "batch_select_indices"):
            raise ValueError(
                f"{type(model).__name__} gives no cache whose rows can be chosen; "
                "contrastive search needs one"
            )
        past = nn.functional.normalize(out.hidden_states[-1].float(), dim=-1)
        tokens = prefixes
        for _ in range(n_new):
            p, candidates = logits.float().softmax(-1).topk(k, dim=-1)
            # Every row's k candidates go through the model together: (rows * k, 1).
            cache.batch_repeat_interleave(k)
            out = model(
                candidates.reshape(-1, 1),
                past_key_values=cache,
                use_cache=True,
                output_hidden_states=True,
            )
            states = nn.functional.normalize(out.hidden_states[-1].float(), dim=-1)
            states = states.view(len(rows), k, -1)
            likeness = torch.einsum("rkd,rtd->rkt", states, past).amax(-1)
            best = ((1 - alpha) * p - alpha * likeness).argmax(-1)
            cache.batch_select_indices(rows * k + best)
            logits = out.logits[:, -1].view(len(rows), k, -1)[rows, best]
            past = torch.cat([past, states[rows, best].unsqueeze(1)], dim=1)
            tokens = torch.cat([tokens, candidates[rows, best].unsqueeze(1)], dim=1)
    return tokens
