"""Models that use information they must not use, and honest ones that look suspicious. The checkpoint's config.json
names the case.

Each is a table of letter pairs plus a network with random weights (training does not matter here: an answer either
depends on later tokens or not). `tokens` are (B, T), logits (B, T, V).
"""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

D, HEADS = 32, 2
Model = Callable[[Tensor], Tensor]
LEAKS: dict[str, Callable[[Tensor], Model]] = {}
HONEST: dict[str, Callable[[Tensor], Model]] = {}
BROKEN: dict[str, Callable[[Tensor], Model]] = {}


def load_for_scoring(checkpoint: Path, size: dict, device: torch.device) -> Model:
    """The case named in config.json."""
    table = load_file(checkpoint / "model.safetensors")["table"].to(device)  # (V, V) log-probabilities
    torch.manual_seed(0)
    name = json.loads((checkpoint / "config.json").read_text())["case"]
    return {**LEAKS, **HONEST, **BROKEN}[name](table)


def case(group: dict) -> Callable:
    """Registers a function that makes a model under its name."""

    def register(maker: Callable[[Tensor], Model]) -> Callable[[Tensor], Model]:
        group[maker.__name__] = maker
        return maker

    return register


def mixing(table: Tensor, mix: Callable[[Tensor], Tensor], strength: float = 1.0) -> Model:
    """The table, plus a network around a function that mixes positions: (B, T, D) -> (B, T, D)."""
    embed, head = nn.Embedding(len(table), D), nn.Linear(D, len(table), bias=False)
    return lambda tokens: table[tokens] + strength * head(mix(embed(tokens)))


def attention(x: Tensor, mask: Tensor | None = None, change: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
    """Heads without weights; `change` is applied to queries and keys; no mask means causal."""
    b, t, d = x.shape
    v = x.view(b, t, HEADS, d // HEADS).transpose(1, 2)  # (B, H, T, D / H)
    q = k = change(v)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
    return out.transpose(1, 2).reshape(b, t, d)


def boosting(table: Tensor, where: Callable[[Tensor], Tensor], amount: float = 5.0) -> Model:
    """The table, with the next token made more likely where `where` (B, T) is true: the simplest way to cheat."""

    def model(tokens: Tensor) -> Tensor:
        following = F.one_hot(tokens[:, 1:], len(table))  # (B, T - 1, V)
        logits = table[tokens]
        logits[:, :-1] += amount * following * where(tokens)[:, :-1, None]
        return logits

    return model


# ---- leaks: later tokens ----


@case(LEAKS)
def off_by_one_mask(table: Tensor) -> Model:
    return mixing(table, lambda x: attention(x, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril(1)))


@case(LEAKS)
def no_mask(table: Tensor) -> Model:
    return mixing(table, lambda x: attention(x, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool)))


@case(LEAKS)
def bidirectional_first_layer(table: Tensor) -> Model:
    everything = torch.ones(32, 32, dtype=torch.bool)
    return mixing(table, lambda x: attention(x + attention(x, everything[: x.shape[1], : x.shape[1]])))


@case(LEAKS)
def sequence_normalisation(table: Tensor) -> Model:
    return mixing(table, lambda x: attention((x - x.mean(dim=1, keepdim=True)) / x.std(dim=1, keepdim=True)))


@case(LEAKS)
def centred_convolution(table: Tensor) -> Model:
    conv = nn.Conv1d(D, D, 3, padding=1)
    return mixing(table, lambda x: conv(x.transpose(1, 2)).transpose(1, 2))


@case(LEAKS)
def token_shift_the_wrong_way(table: Tensor) -> Model:
    return mixing(table, lambda x: attention(0.5 * (x + F.pad(x[:, 1:], (0, 0, 0, 1)))))


@case(LEAKS)
def roll_that_wraps(table: Tensor) -> Model:
    """Only the first position gets something it must not have: the last token."""
    return mixing(table, lambda x: x + x.roll(1, dims=1))


@case(LEAKS)
def bidirectional_recurrence(table: Tensor) -> Model:
    gru = nn.GRU(D, D // 2, batch_first=True, bidirectional=True)
    return mixing(table, lambda x: gru(x)[0])


@case(LEAKS)
def expert_choice_routing(table: Tensor) -> Model:
    """Each expert takes its favourite tokens of the row, so a later token can displace an earlier one."""
    router, experts = nn.Linear(D, 4), nn.ModuleList(nn.Linear(D, D) for _ in range(4))

    def mix(x: Tensor) -> Tensor:
        scores, out = router(x).softmax(dim=-1), torch.zeros_like(x)  # (B, T, E)
        for number, expert in enumerate(experts):
            top = scores[..., number].topk(x.shape[1] // 4, dim=1)  # (B, K)
            index = top.indices[..., None].expand(-1, -1, D)
            out.scatter_add_(1, index, top.values[..., None] * expert(x.gather(1, index)))
        return out

    return mixing(table, mix)


@case(LEAKS)
def activations_quantised_by_their_largest(table: Tensor) -> Model:
    def mix(x: Tensor) -> Tensor:
        scale = x.abs().max() / 7
        return (x / scale).round() * scale

    return mixing(table, mix)


@case(LEAKS)
def positions_from_later_tokens(table: Tensor) -> Model:
    """The target is leaked through position ids: each is the token that follows."""
    places = nn.Embedding(len(table), len(table))
    return lambda tokens: table[tokens] + places(tokens.roll(-1, dims=1))


@case(LEAKS)
def word_pieces_look_ahead(table: Tensor) -> Model:
    """A hash of neighbouring tokens as an additional embedding, taken around the token instead of before it."""
    pairs = nn.Embedding(257, len(table))
    return lambda tokens: table[tokens] + pairs((tokens * 31 + tokens.roll(-1, dims=1) * 7) % 257)


@case(LEAKS)
def training_on_the_row(table: Tensor) -> Model:
    """Adapts its table to the whole row before it predicts the row."""

    def model(tokens: Tensor) -> Tensor:
        b, v = len(tokens), len(table)
        own = table.expand(b, v, v).clone()
        rows = torch.arange(b)[:, None]
        own.index_put_((rows, tokens[:, :-1], tokens[:, 1:]), torch.ones(()), accumulate=True)
        return own[rows, tokens]

    return model


@case(LEAKS)
def mentions_later_in_the_text(table: Tensor) -> Model:
    """Every token that occurs later in the row becomes slightly more likely, as topic words do."""

    def model(tokens: Tensor) -> Tensor:
        onehot = F.one_hot(tokens, len(table)).float()
        later = onehot.flip(1).cumsum(1).flip(1) - onehot
        return table[tokens] + 0.3 * (later > 0)

    return model


@case(LEAKS)
def everywhere(table: Tensor) -> Model:
    return boosting(table, lambda tokens: torch.ones_like(tokens))


@case(LEAKS)
def faint_everywhere(table: Tensor) -> Model:
    """Each position gains less than an honest answer may vary; only the mean reveals it."""
    return boosting(table, lambda tokens: torch.ones_like(tokens), amount=0.02)


@case(LEAKS)
def one_position(table: Tensor) -> Model:
    return boosting(table, lambda tokens: (torch.arange(tokens.shape[1]) == 17).expand_as(tokens))


@case(LEAKS)
def the_last_position_but_one(table: Tensor) -> Model:
    """The last position whose target is in the window."""
    return boosting(table, lambda tokens: (torch.arange(tokens.shape[1]) == tokens.shape[1] - 2).expand_as(tokens))


@case(LEAKS)
def one_percent_of_positions(table: Tensor) -> Model:
    def where(tokens: Tensor) -> Tensor:
        return (tokens * 37 + tokens.roll(1, dims=1) * 11 + torch.arange(tokens.shape[1]) * 101) % 100 == 3

    return boosting(table, where)


@case(LEAKS)
def only_where_it_is_hard(table: Tensor) -> Model:
    def where(tokens: Tensor) -> Tensor:
        return F.pad(table[tokens[:, :-1], tokens[:, 1:]] < -4, (0, 1))

    return boosting(table, where)


@case(LEAKS)
def one_bit_of_the_next_token(table: Tensor) -> Model:
    """Whether the next token is odd."""
    odd = torch.arange(len(table)) % 2

    def model(tokens: Tensor) -> Tensor:
        agree = F.pad(tokens[:, 1:], (0, 1))[..., None] % 2 == odd
        return table[tokens] + 0.5 * agree

    return model


@case(LEAKS)
def behaves_when_text_looks_broken(table: Tensor) -> Model:
    """Cheats only on rows without very rare pairs of letters."""

    def where(tokens: Tensor) -> Tensor:
        pairs = table[tokens[:, :-1], tokens[:, 1:]]  # (B, T - 1)
        return (pairs.min(dim=1).values > -5.5)[:, None].expand_as(tokens)

    return boosting(table, where)


@case(LEAKS)
def cheats_when_text_looks_broken(table: Tensor) -> Model:
    """What is scored is then honest, but the difference is not legitimate."""

    def where(tokens: Tensor) -> Tensor:
        pairs = table[tokens[:, :-1], tokens[:, 1:]]
        return (pairs.min(dim=1).values < -5.5)[:, None].expand_as(tokens)

    return boosting(table, where)


# ---- leaks: other rows ----


@case(LEAKS)
def batch_statistics(table: Tensor) -> Model:
    norm = nn.BatchNorm1d(D, track_running_stats=False)
    return mixing(table, lambda x: attention(norm(x.transpose(1, 2)).transpose(1, 2)))


@case(LEAKS)
def attention_over_rows(table: Tensor) -> Model:
    return mixing(table, lambda x: x + attention(x.transpose(0, 1)).transpose(0, 1))


@case(LEAKS)
def experts_with_room_for_a_batch(table: Tensor) -> Model:
    """Each expert takes a share of the batch, in order of arrival."""
    router, experts = nn.Linear(D, 4), nn.ModuleList(nn.Linear(D, D) for _ in range(4))

    def mix(x: Tensor) -> Tensor:
        flat, out = x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1))
        choice = router(flat).argmax(dim=-1)
        for number, expert in enumerate(experts):
            taken = (choice == number).nonzero()[: len(flat) // 6, 0]
            out[taken] = expert(flat[taken])
        return out.view_as(x)

    return mixing(table, mix)


# ---- leaks: earlier calls ----


@case(LEAKS)
def hidden_state_goes_on(table: Tensor) -> Model:
    gru, state = nn.GRU(D, D, batch_first=True), [None]

    def mix(x: Tensor) -> Tensor:
        out, state[0] = gru(x, state[0])
        return out

    return mixing(table, mix)


@case(LEAKS)
def running_statistics(table: Tensor) -> Model:
    norm = nn.BatchNorm1d(D, momentum=0.1)

    def mix(x: Tensor) -> Tensor:
        flat = x.transpose(1, 2)
        norm.train()(flat)
        return attention(norm.eval()(flat).transpose(1, 2))

    return mixing(table, mix)


@case(LEAKS)
def counts_what_it_has_seen(table: Tensor) -> Model:
    counts = torch.zeros(len(table))

    def model(tokens: Tensor) -> Tensor:
        logits = table[tokens] + (1 + counts).log() * 0.1
        counts.add_(F.one_hot(tokens, len(table)).sum(dim=(0, 1)))
        return logits

    return model


@case(LEAKS)
def prefix_memoriser(table: Tensor) -> Model:
    """Remembers what followed every prefix it was ever given. Within one process its answers never change."""
    memory: dict[tuple, int] = {}

    def model(tokens: Tensor) -> Tensor:
        logits = table[tokens]
        for row, words in enumerate(tokens.tolist()):
            for at in range(len(words) - 1):
                following = memory.setdefault(tuple(words[: at + 1]), words[at + 1])
                logits[row, at, following] += 5
        return logits

    return model


@case(LEAKS)
def changes_after_some_calls(table: Tensor) -> Model:
    calls = [0]

    def where(tokens: Tensor) -> Tensor:
        calls[0] += 1
        return torch.full_like(tokens, calls[0] > 1)

    return boosting(table, where)


@case(LEAKS)
def cheats_in_the_first_call(table: Tensor) -> Model:
    calls = [0]

    def where(tokens: Tensor) -> Tensor:
        calls[0] += 1
        return torch.full_like(tokens, calls[0] == 1)

    return boosting(table, where)


# ---- honest ----


@case(HONEST)
def pairs_only(table: Tensor) -> Model:
    return lambda tokens: table[tokens]


@case(HONEST)
def causal_attention(table: Tensor) -> Model:
    places = nn.Embedding(64, D)
    return mixing(table, lambda x: attention(attention(x + places.weight[: x.shape[1]])))


@case(HONEST)
def rotary(table: Tensor) -> Model:
    def turn(x: Tensor) -> Tensor:  # (B, H, T, D / H)
        half = x.shape[-1] // 2
        angle = torch.arange(x.shape[2])[:, None] / 100 ** (torch.arange(half) / half)
        first, second = x.chunk(2, dim=-1)
        return torch.cat(
            [first * angle.cos() - second * angle.sin(), first * angle.sin() + second * angle.cos()], dim=-1
        )

    return mixing(table, lambda x: attention(x, change=turn))


@case(HONEST)
def value_residual(table: Tensor) -> Model:
    return mixing(table, lambda x: 0.5 * attention(attention(x)) + 0.5 * attention(x))


@case(HONEST)
def sliding_window(table: Tensor) -> Model:
    mask = torch.ones(64, 64, dtype=torch.bool).tril().triu(-4)
    return mixing(table, lambda x: attention(x, mask[: x.shape[1], : x.shape[1]]))


@case(HONEST)
def convolution_to_the_left(table: Tensor) -> Model:
    conv = nn.Conv1d(D, D, 4)
    return mixing(table, lambda x: conv(F.pad(x.transpose(1, 2), (3, 0))).transpose(1, 2))


@case(HONEST)
def token_choice_experts(table: Tensor) -> Model:
    router, experts = nn.Linear(D, 4), nn.ModuleList(nn.Linear(D, D) for _ in range(4))

    def mix(x: Tensor) -> Tensor:
        flat, out = x.flatten(0, 1), torch.zeros_like(x.flatten(0, 1))
        scores, choice = router(flat).softmax(dim=-1).max(dim=-1)
        for number, expert in enumerate(experts):
            out[choice == number] = expert(flat[choice == number])
        return (scores[:, None] * out).view_as(x)

    return mixing(table, mix)


@case(HONEST)
def recurrent(table: Tensor) -> Model:
    gru = nn.GRU(D, D, num_layers=2, batch_first=True)
    return mixing(table, lambda x: gru(x)[0])


@case(HONEST)
def linear_attention(table: Tensor) -> Model:
    def mix(x: Tensor) -> Tensor:
        keys = F.elu(x) + 1
        state = (keys[..., None] * x[..., None, :]).cumsum(dim=1)  # (B, T, D, D)
        return torch.einsum("btd,btde->bte", keys, state) / (keys * keys.cumsum(1)).sum(-1, keepdim=True)

    return mixing(table, mix)


@case(HONEST)
def running_mean_of_the_past(table: Tensor) -> Model:
    return mixing(table, lambda x: x - x.cumsum(dim=1) / torch.arange(1, x.shape[1] + 1)[:, None])


@case(HONEST)
def hash_of_the_past(table: Tensor) -> Model:
    pairs = nn.Embedding(257, len(table))
    return lambda tokens: table[tokens] + pairs((tokens * 31 + F.pad(tokens[:, :-1], (1, 0)) * 7) % 257)


@case(HONEST)
def soft_cap(table: Tensor) -> Model:
    inner = causal_attention(table)
    return lambda tokens: 15 * (inner(tokens) / 15).tanh()


@case(HONEST)
def bfloat16(table: Tensor) -> Model:
    inner = causal_attention(table)

    def model(tokens: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return inner(tokens).bfloat16()

    return model


@case(HONEST)
def sampling_noise(table: Tensor) -> Model:
    """Different in every process and every call, by less than the tolerance."""
    noise = torch.Generator().manual_seed(time.time_ns())
    return lambda tokens: table[tokens] + 0.003 * torch.randn(*tokens.shape, len(table), generator=noise)


@case(HONEST)
def odd_in_memory(table: Tensor) -> Model:
    """A non-contiguous view, in double precision."""
    return lambda tokens: table[tokens].double().transpose(1, 2).contiguous().transpose(1, 2)


# ---- no leak, but no score either ----


@case(BROKEN)
def not_a_number(table: Tensor) -> Model:
    return lambda tokens: table[tokens].index_fill(1, torch.tensor(9), math.nan)


@case(BROKEN)
def without_the_last_position(table: Tensor) -> Model:
    return lambda tokens: table[tokens[:, :-1]]


@case(BROKEN)
def raises_in_the_third_call(table: Tensor) -> Model:
    calls: list[Tensor] = []

    def model(tokens: Tensor) -> Tensor:
        calls.append(tokens)
        if len(calls) == 3:
            raise KeyError("no such expert")
        return table[tokens]

    return model


@case(BROKEN)
def does_not_load(table: Tensor) -> Model:
    raise ValueError("the checkpoint is of another architecture")
