"""A prompt with sets as token ids, positions and memberships, and who may attend to whom.

    p   position_ids: all members of a set start at the same position, and what follows a set
        starts after its longest member
    M   the mask: query i may attend to key j iff j <= i and no set has both in different members

Nothing here depends on the order of a set's members, but the order of the rows itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from paperround.papers.set_based_prompting.prompts import SetPart, SetPrompt

_OUTSIDE = -1


@dataclass(frozen=True)
class Form:
    """Which of the two edits a prompt gets; without both, it is an ordinary prompt."""

    positions: Literal["set", "sequential"] = "set"
    attention: Literal["set", "causal"] = "set"

    def __post_init__(self) -> None:
        if self.positions not in ("set", "sequential"):
            raise ValueError(f"positions={self.positions!r}; write 'set' or 'sequential'")
        if self.attention not in ("set", "causal"):
            raise ValueError(f"attention={self.attention!r}; write 'set' or 'causal'")


SET_BASED = Form()
PLAIN = Form("sequential", "causal")
MASK_ONLY = Form("sequential", "set")
POSITIONS_ONLY = Form("set", "causal")
# The method beside what it is compared with, by the names that tables and charts use.
FORMS = {
    "plain": PLAIN,
    "mask only": MASK_ONLY,
    "positions only": POSITIONS_ONLY,
    "set-based": SET_BASED,
}


@dataclass(frozen=True)
class SetEncoding:
    """A tokenised prompt of n tokens.

    `input_ids`, `position_ids`: (n,). `membership`: (sets, n), in which member of each set a token
    stands, -1 outside of the set; sets within members have rows of their own. `is_padding`: (n,),
    tokens that nobody attends to. `next_position`: where the first token after the prompt stands,
    which is not n.
    """

    input_ids: Tensor
    position_ids: Tensor
    membership: Tensor
    is_padding: Tensor
    next_position: int

    def __len__(self) -> int:
        return self.input_ids.shape[0]

    def under(self, form: Form) -> "SetEncoding":
        """The same tokens with only the edits that the form has."""
        changed = self
        if form.positions == "sequential":
            # Padding inside members takes no position in an ordinary prompt.
            real = ~self.is_padding
            positions = (real.long().cumsum(0) - 1).clamp(min=0)
            changed = replace(changed, position_ids=positions, next_position=int(real.sum()))
        if form.attention == "causal":
            changed = replace(changed, membership=self.membership[:0])
        return changed


def encode_set_prompt(
    tokenizer: PreTrainedTokenizerBase,
    prompt: SetPrompt,
    *,
    form: Form = SET_BASED,
    add_bos: bool = True,
    allow_special_tokens: bool = False,
    pad_members: bool = False,
    sort_members: bool = False,
) -> SetEncoding:
    """The prompt as tokens: every text by itself, BOS (where the tokenizer adds one) only at first.

    allow_special_tokens: lets members contain special tokens, such as those of a chat template;
        otherwise a member could forge the end of a turn.
    pad_members: fills members up to the longest with tokens that nobody attends to, for kernels
        that want rectangular blocks; it changes no output.
    sort_members: lays the members out in the order of their tokens. With the whole method this
        takes away the last difference that an order makes, the rounding of sums; with an ordinary
        prompt it is a baseline.

    Raises ValueError for an empty prompt, one that does not end with plain text (the next token
    would be predicted from the last member alone), and special tokens in members.
    """
    [encoding] = encode_set_prompts(
        tokenizer,
        [prompt],
        form=form,
        add_bos=add_bos,
        allow_special_tokens=allow_special_tokens,
        pad_members=pad_members,
        sort_members=sort_members,
    )
    return encoding


def encode_set_prompts(
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[SetPrompt],
    *,
    form: Form = SET_BASED,
    add_bos: bool = True,
    allow_special_tokens: bool = False,
    pad_members: bool = False,
    sort_members: bool = False,
) -> list[SetEncoding]:
    """`encode_set_prompt` for many prompts: a text that several of them hold is tokenised once."""
    tokeniser = _Tokeniser(tokenizer, allow_special_tokens)
    bos = _bos(tokenizer) if add_bos else None
    encodings = []
    for prompt in prompts:
        tree = tokeniser.tree(prompt, within_member=False)
        if not any(tree):
            raise ValueError("the prompt is empty; give at least one token")
        if not isinstance(tree[-1], list):
            raise ValueError(
                "the prompt ends with a set, so the next token would follow its last member "
                "alone; end with plain text such as '\\nAnswer:'"
            )
        if bos is not None and _first_token(tree) != bos:
            tree.insert(0, [bos])
        if sort_members:
            tree = _sorted(tree)
        layout = _Layout(pad_members, tokenizer.pad_token_id or 0)
        next_position = layout.add(tree, 0, {})
        encodings.append(layout.encoding(next_position).under(form))
    return encodings


# A tree of tokens: plain texts are lists of ids, sets are tuples of trees.
_Tree = list["list[int] | tuple[_Tree, ...]"]


class _Tokeniser:
    def __init__(self, tokenizer: PreTrainedTokenizerBase, allow_special_tokens: bool) -> None:
        self._tokenizer = tokenizer
        self._refused = set() if allow_special_tokens else set(tokenizer.all_special_ids)
        # A word that the vocabulary lacks is no one's attempt at ending a turn.
        self._refused.discard(tokenizer.unk_token_id)
        self._known: dict[str, list[int]] = {}

    def tree(self, prompt: SetPrompt, *, within_member: bool) -> _Tree:
        parts: _Tree = []
        for part in prompt.parts:
            if isinstance(part, SetPart):
                parts.append(
                    tuple(
                        self.tree(
                            SetPrompt([member]) if isinstance(member, str) else member,
                            within_member=True,
                        )
                        for member in part.members
                    )
                )
            elif ids := self._ids(part, within_member):
                parts.append(ids)
        return parts

    def _ids(self, text: str, within_member: bool) -> list[int]:
        if text not in self._known:
            self._known[text] = self._tokenizer.encode(text, add_special_tokens=False)
        ids = self._known[text]
        if within_member:
            for token in ids:
                if token in self._refused:
                    name = self._tokenizer.convert_ids_to_tokens(token)
                    raise ValueError(
                        f"a member contains the special token {name}: {text[:60]!r}; "
                        "take it out, or pass allow_special_tokens=True if it belongs there"
                    )
        return ids


def _bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The token that the tokenizer puts before a text, None where it puts none."""
    bos = tokenizer.bos_token_id
    first = tokenizer.encode("a")[:1]
    return bos if bos is not None and first == [bos] else None


def _first_token(tree: _Tree) -> int | None:
    return tree[0][0] if isinstance(tree[0], list) else None


def _sorted(tree: _Tree) -> _Tree:
    return [
        part if isinstance(part, list) else tuple(sorted(map(_sorted, part), key=_key))
        for part in tree
    ]


def _key(tree: _Tree) -> tuple[object, ...]:
    """What orders two sorted trees; plain text before sets, so that only like is compared."""
    return tuple(
        (0, tuple(part)) if isinstance(part, list) else (1, tuple(map(_key, part))) for part in tree
    )


class _Layout:
    """Collects tokens with their positions and memberships."""

    def __init__(self, pad_members: bool, pad_id: int) -> None:
        self._pad_members, self._pad_id = pad_members, pad_id
        self._ids: list[int] = []
        self._positions: list[int] = []
        self._is_padding: list[bool] = []
        self._within: list[dict[int, int]] = []
        self._n_sets = 0

    def add(self, tree: _Tree, start: int, within: dict[int, int]) -> int:
        """Lays out a tree from position `start` on; the position after it."""
        position = start
        for part in tree:
            if isinstance(part, list):
                self._tokens(part, position, within, is_padding=False)
                position += len(part)
                continue
            number = self._n_sets
            self._n_sets += 1
            longest = max(map(_extent, part))
            for k, member in enumerate(part):
                inside = {**within, number: k}
                end = self.add(member, position, inside)
                if self._pad_members:
                    padding = [self._pad_id] * (position + longest - end)
                    self._tokens(padding, end, inside, is_padding=True)
            position += longest
        return position

    def encoding(self, next_position: int) -> SetEncoding:
        return SetEncoding(
            input_ids=torch.tensor(self._ids, dtype=torch.long),
            position_ids=torch.tensor(self._positions, dtype=torch.long),
            membership=torch.tensor(
                [[w.get(s, _OUTSIDE) for w in self._within] for s in range(self._n_sets)],
                dtype=torch.long,
            ).reshape(self._n_sets, len(self._ids)),
            is_padding=torch.tensor(self._is_padding, dtype=torch.bool),
            next_position=next_position,
        )

    def _tokens(
        self, ids: Sequence[int], position: int, within: dict[int, int], *, is_padding: bool
    ) -> None:
        self._ids += ids
        self._positions += range(position, position + len(ids))
        self._is_padding += [is_padding] * len(ids)
        self._within += [within] * len(ids)


def _extent(tree: _Tree) -> int:
    """How many positions a tree takes: the longest member's for a set."""
    return sum(len(part) if isinstance(part, list) else max(map(_extent, part)) for part in tree)


@dataclass(frozen=True)
class SetBatch:
    """Prompts of unequal lengths, padded on the left, so that all end in the last column.

    `input_ids`, `position_ids`, `is_padding`: (B, N). `membership`: (B, S, N). `next_positions`:
    (B,). What the fields mean says `SetEncoding`.
    """

    input_ids: Tensor
    position_ids: Tensor
    membership: Tensor
    is_padding: Tensor
    next_positions: Tensor

    def mask(self, window: int | None = None) -> Tensor:
        """(B, N, N) bool: who may attend to whom within the prompts, padding to itself only.

        `window`: a sliding window's size; keys that many *positions* back and more are out of
        sight. For an ordinary prompt that is the model's own window; counted in tokens it would
        depend on the order of the members.
        """
        n = self.input_ids.shape[1]
        device = self.input_ids.device
        rows = torch.arange(n, device=device)
        allowed = rows[:, None] >= rows[None, :]
        # (B, S, N, N) would be large for many sets; one set at a time is not.
        visible = allowed.expand(self.input_ids.shape[0], n, n).clone()
        for member in self.membership.unbind(1):
            query, key = member[:, :, None], member[:, None, :]
            visible &= (query == key) | (query == _OUTSIDE) | (key == _OUTSIDE)
        visible &= ~self.is_padding[:, None, :]
        if window is not None:
            visible &= self.position_ids[:, :, None] - self.position_ids[:, None, :] < window
        # A row without any key would be NaN after the softmax.
        return visible | (
            torch.eye(n, dtype=torch.bool, device=device) & self.is_padding[:, :, None]
        )

    def continuation_mask(self, n_before: int, n_new: int, window: int | None = None) -> Tensor:
        """(B, n_new, N + n_before + n_new) bool for tokens that follow the prompts.

        They see the whole prompt but its padding, and each other causally; `n_before` of them are
        in the cache already.
        """
        batch = self.input_ids.shape[0]
        device = self.input_ids.device
        steps = torch.arange(n_before + n_new, device=device)
        queries = steps[n_before:]
        causal = (queries[:, None] >= steps[None, :]).expand(batch, n_new, n_before + n_new)
        to_prompt = ~self.is_padding[:, None, :].expand(batch, n_new, -1)
        visible = torch.cat([to_prompt, causal], dim=-1)
        if window is not None:
            after = self.next_positions[:, None] + steps[None, :]
            keys = torch.cat([self.position_ids, after], dim=1)
            visible = visible & (after[:, n_before:, None] - keys[:, None, :] < window)
        return visible

    def rows(self, indices: Tensor) -> "SetBatch":
        """The batch that has these rows, one of which may stand several times."""
        return SetBatch(
            self.input_ids[indices],
            self.position_ids[indices],
            self.membership[indices],
            self.is_padding[indices],
            self.next_positions[indices],
        )


def collate(encodings: Sequence[SetEncoding], device: torch.device | str = "cpu") -> SetBatch:
    """The encodings as one batch, padded on the left; the ids of the padding mean nothing."""
    if not encodings:
        raise ValueError("no prompt was given")
    length = max(map(len, encodings))
    n_sets = max(encoding.membership.shape[0] for encoding in encodings)
    batch = len(encodings)
    input_ids = torch.zeros((batch, length), dtype=torch.long)
    position_ids = torch.zeros((batch, length), dtype=torch.long)
    membership = torch.full((batch, n_sets, length), _OUTSIDE)
    is_padding = torch.ones((batch, length), dtype=torch.bool)
    for row, encoding in enumerate(encodings):
        place = slice(length - len(encoding), length)
        input_ids[row, place] = encoding.input_ids
        position_ids[row, place] = encoding.position_ids
        membership[row, : encoding.membership.shape[0], place] = encoding.membership
        is_padding[row, place] = encoding.is_padding
    return SetBatch(
        input_ids.to(device),
        position_ids.to(device),
        membership.to(device),
        is_padding.to(device),
        torch.tensor([encoding.next_position for encoding in encodings], device=device),
    )


def set_attention_mask(
    encodings: SetEncoding | Sequence[SetEncoding], *, extra: int = 0, window: int | None = None
) -> Tensor:
    """(B, 1, N + extra, N + extra) bool, True where a token may attend; padded on the left.

    `extra` tokens after each prompt are generated ones: they see all of it, and each other
    causally. `window`: as in `SetBatch.mask`.
    """
    batch = collate([encodings] if isinstance(encodings, SetEncoding) else encodings)
    prompt = batch.mask(window)
    if not extra:
        return prompt[:, None]
    after = batch.continuation_mask(0, extra, window)
    none = prompt.new_zeros((prompt.shape[0], prompt.shape[1], extra))
    return torch.cat([torch.cat([prompt, none], dim=-1), after], dim=1)[:, None]


def to_additive(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """The mask as numbers to add to attention scores: 0 where attended, else the lowest one."""
    lowest = torch.finfo(dtype).min
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, lowest)
