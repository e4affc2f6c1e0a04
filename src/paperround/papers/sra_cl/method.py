"""SRA-CL: two contrastive losses beside a recommender's own, from who and what is alike in meaning.

    L = L_Rec + alpha L_CS + beta L_IS

h_u      (B, d) state of a user's history, by any encoder of the kit
m_u      (d_text,) the fixed vector of what is known of the user in words; W its adapter
N_u      the k users nearest to u in meaning, N_v the k items nearest to item v
p_{uv}   softmax over v in N_u of LeakyReLU(a^T [W m_u || W m_v])
h_u^+    sum over v in N_u of p_{uv} h_v: a mixture of like-minded users, the positive of L_CS
L_IS     two views of one history, each with a fifth of its items replaced by items like them

Nothing of this is used to recommend: `SemanticContrastive.encoder` is the model that is kept.
Section and equation numbers are those of arXiv:2503.04162.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD, InteractionLog
from paperround.kit.recommendation.losses import in_batch_info_nce
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.samples import Batch
from paperround.kit.recommendation.splits import padded
from paperround.kit.recommendation.text import Neighbours, nearest_neighbours
from paperround.kit.recommendation.training import AuxLoss
from paperround.papers.sra_cl.retrieval import (
    behaviour_vectors,
    filled_from,
    item_rows,
    user_vectors,
)

NeighbourStates = Literal["fresh", "stale"]
Similarity = Literal["dot", "cosine"]
# Neighbours' histories are encoded in this many groups of like length, to spare padding.
_LENGTH_GROUPS = 4
_HISTORIES_AT_ONCE = 1024


class LearnableSynthesis(nn.Module):
    """Positives mixed from neighbours' states, with weights learnt from texts (Section 3.3).

    The weights of the k neighbours are not negative and sum to 1 (without dropout); the neighbours'
    order does not matter.
    """

    def __init__(
        self,
        d_text: int,
        d_hidden: int,
        *,
        dropout: float = 0.5,
        slope: float = 0.2,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.adapter = nn.Linear(d_text, d_hidden, bias=bias)
        # a^T [x || y] = a_1^T x + a_2^T y
        self.attention = nn.Linear(2 * d_hidden, 1, bias=False)
        self.dropout, self.slope = nn.Dropout(dropout), slope

    def weights(
        self, anchor_text: Tensor, neighbour_texts: Tensor, real: Tensor | None = None
    ) -> Tensor:
        """P (B, k) from texts (B, d_text) and (B, k, d_text); `real` (B, k) is False on no one.

        Every row needs one real neighbour at least.
        """
        anchor = self.adapter(anchor_text)[:, None].expand(-1, neighbour_texts.shape[1], -1)
        pairs = torch.cat([anchor, self.adapter(neighbour_texts)], dim=-1)
        scores = functional.leaky_relu(self.attention(pairs).squeeze(-1), self.slope)
        if real is not None:
            scores = scores.masked_fill(~real, -torch.inf)
        # The released code drops weights after the softmax: in training they sum to 1 on average.
        return self.dropout(scores.softmax(dim=-1))

    def forward(
        self,
        anchor_text: Tensor,
        neighbour_texts: Tensor,
        neighbour_hidden: Tensor,
        real: Tensor | None = None,
    ) -> Tensor:
        """h^+ (B, d): the neighbours' states (B, k, d), mixed."""
        weights = self.weights(anchor_text, neighbour_texts, real)
        return torch.einsum("bk,bkd->bd", weights, neighbour_hidden)


class PlainMean(nn.Module):
    """The mean of the neighbours' states: the paper's "w/o learnable synthesis"."""

    def forward(
        self,
        anchor_text: Tensor,
        neighbour_texts: Tensor,
        neighbour_hidden: Tensor,
        real: Tensor | None = None,
    ) -> Tensor:
        """h^+ (B, d), as of LearnableSynthesis."""
        if real is None:
            return neighbour_hidden.mean(dim=1)
        weights = real / real.sum(dim=1, keepdim=True)
        return torch.einsum("bk,bkd->bd", weights.to(neighbour_hidden.dtype), neighbour_hidden)


def semantic_substitution(
    items: Tensor, neighbours: Tensor, ratio: float = 0.2, *, generator: torch.Generator
) -> Tensor:
    """The histories with a share of their items replaced by items like them (Section 3.4).

    `items` is (B, L) with padding anywhere, `neighbours` (n_items + 1, k) item codes, 0 or less
    where there is none. In each row max(1, round(ratio length)) places are drawn, and each takes a
    uniform draw from the neighbours of its item; an item without neighbours stays. A ratio of 0
    changes nothing.
    """
    if not 0 <= ratio <= 1:
        raise UsageError(f"the share to replace lies in 0 to 1, not {ratio}")
    if ratio == 0:
        return items
    real = items != PAD
    lengths = real.sum(dim=1)
    n = (ratio * lengths).round().clamp(min=1).minimum(lengths)
    drawn = torch.rand(items.shape, generator=generator).to(items.device).masked_fill(~real, 2.0)
    # The place of each position in the order of its draws: the first n are replaced.
    chosen = drawn.argsort(dim=1).argsort(dim=1) < n[:, None]
    theirs = neighbours[items]
    counts = (theirs > PAD).sum(dim=-1)
    # Neighbours stand first, nothing after them.
    at = (torch.rand(items.shape, generator=generator).to(items.device) * counts).long()
    other = theirs.gather(-1, at.minimum((counts - 1).clamp(min=0))[..., None]).squeeze(-1)
    return torch.where(chosen & (counts > 0), other, items)


def info_nce(
    first: Tensor,
    second: Tensor,
    temperature: float = 1.0,
    *,
    symmetric: bool = True,
    similarity: Similarity = "dot",
    same: Tensor | None = None,
) -> Tensor:
    """-log of the share of each row's partner among the batch, mean over rows; (N, d) both.

    Symmetric, as for the paper's L_IS: every row of both is an anchor, with 2 (N - 1) negatives
    from both; log(2 N - 1) where all are equal. Else as for its L_CS: anchors are the rows of
    `first`, negatives the N - 1 other rows of `second`; log N where all are equal. `same` (N, N)
    marks rows that are no negatives of each other, such as two windows of one user. With one row
    there is nothing to tell apart and the loss is 0.
    """
    if similarity == "cosine":
        first, second = functional.normalize(first, dim=-1), functional.normalize(second, dim=-1)
    elif similarity != "dot":
        raise UsageError(f"no similarity '{similarity}'; there are dot, cosine")
    if not symmetric:
        return in_batch_info_nce(first, second, temperature, same=same)
    n = len(first)
    both = torch.cat([first, second])
    place = torch.arange(2 * n, device=both.device)
    partner = (place + n) % (2 * n)
    scores = both @ both.T / temperature
    left_out = torch.eye(2 * n, dtype=torch.bool, device=both.device)
    if same is not None:
        left_out = left_out | same.repeat(2, 2)
        left_out[place, partner] = False
    return functional.cross_entropy(scores.masked_fill(left_out, -torch.inf), partner)


class SemanticContrastive(AbstractSequenceEncoder):
    """An encoder with SRA-CL's two losses for its training; its scores are the encoder's own.

    `log` is the training log (validation and test events would leak), `item_text` (n_items + 1, d)
    the vectors of the items' texts with zeros in row 0, `user_text` (n_users, d') those of the
    users' descriptions: the mean of their newest items' unless given. Neighbours are found in these
    vectors unless given. Pass it to the kit's Trainer with `aux_losses=model.aux_losses()`; keep
    `model.encoder`.

    `states` says how neighbours' states are had: "fresh" encodes their histories in every step with
    dropout, and with gradients unless `neighbour_grad` is False (the paper; k + 1 times the
    histories); "stale" once an epoch, without either (ours, for small machines). Both losses begin
    after `warmup_epochs` (ours; the paper has none). `symmetric` makes L_CS contrast mixtures with
    each other too, as the released code does and the equation does not. `max_len` newest events of
    a history are encoded, and a user without neighbours has no part in L_CS.
    """

    def __init__(
        self,
        encoder: AbstractSequenceEncoder,
        log: InteractionLog,
        item_text: Any,
        user_text: Any | None = None,
        *,
        alpha: float = 0.1,
        beta: float = 0.1,
        k: int = 10,
        ratio: float = 0.2,
        temperature: float = 1.0,
        symmetric: bool = False,
        similarity: Similarity = "dot",
        synthesis: Literal["learnable", "mean"] = "learnable",
        synthesis_dropout: float = 0.5,
        states: NeighbourStates = "fresh",
        neighbour_grad: bool = True,
        warmup_epochs: int = 0,
        user_neighbours: Neighbours | None = None,
        item_neighbours: Neighbours | None = None,
    ) -> None:
        super().__init__()
        if encoder.needs_times:
            raise UsageError(
                f"{type(encoder).__name__} needs times, and changed histories have none"
            )
        if encoder.n_items != log.n_items:
            raise UsageError(
                f"the encoder knows {encoder.n_items} items and the log has {log.n_items}"
            )
        if states not in ("fresh", "stale"):
            raise UsageError(f"neighbours' states are fresh or stale, not '{states}'")
        if synthesis not in ("learnable", "mean"):
            raise UsageError(f"positives are mixed by learnable or mean, not '{synthesis}'")
        if alpha < 0 or beta < 0:
            raise UsageError(f"alpha and beta are at least 0, not {alpha} and {beta}")
        self.encoder = encoder
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.causal, self.padding = encoder.causal, encoder.padding
        self.alpha, self.beta, self.ratio = alpha, beta, ratio
        self.temperature, self.symmetric, self.similarity = temperature, symmetric, similarity
        self.states, self.neighbour_grad = states, neighbour_grad
        self.warmup_epochs = warmup_epochs
        items = item_rows(item_text, log.n_items)
        users = user_vectors(log, items) if user_text is None else np.asarray(user_text, np.float32)
        if users.ndim != 2 or len(users) != log.n_users:
            raise UsageError(f"user vectors have a row per user, not the shape {users.shape}")
        if user_neighbours is None:
            user_neighbours = nearest_neighbours(users, k)
            if not users.any(axis=1).all():
                by_behaviour = nearest_neighbours(behaviour_vectors(log)[0], k)
                user_neighbours = filled_from(user_neighbours, by_behaviour)
        if item_neighbours is None:
            item_neighbours = nearest_neighbours(items, k)
        newest = np.maximum(log.offsets[:-1], log.offsets[1:] - self.max_len)
        histories, _ = padded(log, newest, log.offsets[1:])
        # Who never occurs in the training log has no history to take part with.
        theirs = user_neighbours.rows
        absent = np.diff(log.offsets) == 0
        theirs = np.where((theirs >= 0) & ~absent[theirs], theirs, -1)
        for name, table in (
            ("user_text", torch.from_numpy(users)),
            ("user_neighbours", torch.from_numpy(theirs)),
            ("item_neighbours", torch.from_numpy(item_neighbours.rows)),
            ("histories", torch.from_numpy(histories)),
        ):
            # Fixed, and nothing of a saved model: they are made again from the log and the texts.
            self.register_buffer(name, table, persistent=False)
        self.synthesis = (
            LearnableSynthesis(users.shape[1], self.d_model, dropout=synthesis_dropout)
            if synthesis == "learnable"
            else PlainMean()
        )
        self._kept_states: Tensor | None = None
        self._kept_epoch = 0

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """The encoder's own."""
        return self.encoder(items, times)

    def last_hidden(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """The encoder's own."""
        return self.encoder.last_hidden(items, times)

    def item_embeddings(self) -> Tensor:
        """The encoder's own."""
        return self.encoder.item_embeddings()

    def item_bias(self) -> Tensor | None:
        """The encoder's own."""
        return self.encoder.item_bias()

    def score(self, hidden: Tensor) -> Tensor:
        """The encoder's own."""
        return self.encoder.score(hidden)

    def inner_product(self) -> tuple[Tensor, Tensor | None] | None:
        """The encoder's own."""
        return self.encoder.inner_product()

    @property
    def mask_item(self) -> int:
        """The encoder's own code for a hidden item, where it has one (BERT4Rec)."""
        return int(self.encoder.mask_item)

    def aux_losses(self) -> list[AuxLoss]:
        """L_CS and L_IS with their weights, for the Trainer; those of weight 0 are left out.

        What they draw, dropout included, comes from their own generators: the recommendation loss
        sees the same random numbers with them and without.
        """
        losses = [
            AuxLoss("cross-user", _cross_user, self.alpha),
            AuxLoss("intra-user", _intra_user, self.beta),
        ]
        return [aux for aux in losses if aux.weight]

    def cross_user_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """L_CS: each history's state against the mixture of its user's neighbours' states."""
        neighbours = self.user_neighbours[batch.users]
        taken = (neighbours >= 0).any(dim=1) & (batch.items != PAD).any(dim=1)
        if batch.epoch <= self.warmup_epochs or int(taken.sum()) < 2:
            return self.item_embeddings().sum() * 0.0
        users, neighbours = batch.users[taken], neighbours[taken]
        with own_dropout(generator):
            if self.states == "stale":
                self._refresh(batch.epoch)
            hidden = self.encoder.last_hidden(padded_on_the_right(batch.items[taken]))
            positive = self.synthesis(
                self.user_text[users],
                self.user_text[neighbours.clamp(min=0)],
                self._states_of(neighbours),
                neighbours >= 0,
            )
        return self._contrast(hidden, positive, users, self.symmetric)

    def intra_user_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """L_IS: two views of each history against each other, items replaced by items like them."""
        some = (batch.items != PAD).any(dim=1)
        if batch.epoch <= self.warmup_epochs or int(some.sum()) < 2:
            return self.item_embeddings().sum() * 0.0
        items = padded_on_the_right(batch.items[some])
        with own_dropout(generator):
            views = [
                self.encoder.last_hidden(
                    semantic_substitution(
                        items, self.item_neighbours, self.ratio, generator=generator
                    )
                )
                for _ in range(2)
            ]
        return self._contrast(views[0], views[1], batch.users[some], True)

    def _contrast(self, first: Tensor, second: Tensor, users: Tensor, symmetric: bool) -> Tensor:
        return info_nce(
            first,
            second,
            self.temperature,
            symmetric=symmetric,
            similarity=self.similarity,
            # Two windows or prefixes of one user are alike, and no negatives.
            same=users[:, None] == users[None, :],
        )

    def _states_of(self, neighbours: Tensor) -> Tensor:
        """(B, k, d): the states of the neighbours' histories; anything where there is none."""
        if self.states == "stale":
            assert self._kept_states is not None
            return self._kept_states[neighbours.clamp(min=0)]
        users, place = neighbours[neighbours >= 0].unique(return_inverse=True)
        with torch.set_grad_enabled(self.neighbour_grad and torch.is_grad_enabled()):
            states = self._encoded(users, max(1, -(-len(users) // _LENGTH_GROUPS)))
        found = states.new_zeros(*neighbours.shape, self.d_model)
        found[neighbours >= 0] = states[place]
        return found

    def _encoded(self, users: Tensor, at_once: int) -> Tensor:
        """(users, d): the states of their histories, those of like length together."""
        rows = self.histories[users]
        lengths = (rows != PAD).sum(dim=1)
        order = lengths.argsort(stable=True)
        states = [
            self.encoder.last_hidden(rows[part, : max(1, int(lengths[part].max()))])
            for part in order.split(at_once)
        ]
        return torch.cat(states)[order.argsort()]

    def _refresh(self, epoch: int) -> None:
        if self._kept_states is not None and self._kept_epoch == epoch:
            return
        training = self.encoder.training
        self.encoder.eval()
        with torch.no_grad():
            everybody = torch.arange(len(self.histories), device=self.histories.device)
            self._kept_states = self._encoded(everybody, _HISTORIES_AT_ONCE)
        self.encoder.train(training)
        self._kept_epoch = epoch


def padded_on_the_right(items: Tensor) -> Tensor:
    """Rows (B, L) with their padding moved to the right, whichever side it stands on."""
    order = (items == PAD).long().argsort(dim=1, stable=True)
    return items.gather(1, order)


def _cross_user(model: SemanticContrastive, batch: Batch, generator: torch.Generator) -> Tensor:
    return model.cross_user_loss(batch, generator)


def _intra_user(model: SemanticContrastive, batch: Batch, generator: torch.Generator) -> Tensor:
    return model.intra_user_loss(batch, generator)


@contextmanager
def own_dropout(generator: torch.Generator) -> Iterator[None]:
    """Within it dropout draws from the generator's stream, and the caller's stays as it was."""
    seed = int(torch.randint(1 << 62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
