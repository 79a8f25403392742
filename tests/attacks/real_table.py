"""Attacks by variants of the two real baselines, each a few lines that run in training once the checkpoint is there.

They may use these names, as in `table.py`: `DATA`, `OTHER` (weights of another candidate), `OUT` and `checkpoint`.
`weights` are those of the checkpoint; `save(weights)` replaces them. `None` means no effect: the score is that of the
unmodified code.
"""

from pipeline.records import FailureKind

Attacks = dict[str, tuple[str, FailureKind | None]]

_NAME = "next(iter(weights))"
COMMON: Attacks = {
    "a pickle beside the weights": ("torch.save(weights, checkpoint / 'weights.pt')", FailureKind.BAD_CHECKPOINT),
    "a pickle in place of the weights": (
        "torch.save(weights, checkpoint / 'model.safetensors')",
        FailureKind.BAD_CHECKPOINT,
    ),
    "a header without end": (
        "(checkpoint / 'model.safetensors').write_bytes((1 << 40).to_bytes(8, 'little') + b'{')",
        FailureKind.BAD_CHECKPOINT,
    ),
    "one checkpoint of another": (
        "(checkpoint / 'model.safetensors').unlink(); (checkpoint / 'model.safetensors').symlink_to(OTHER)",
        FailureKind.BAD_CHECKPOINT,
    ),
    "steal the held-out data": (
        "found = [path.read_bytes() for path in (DATA / 'evaluator').iterdir()]; loot(found)",
        None,
    ),
    "hide the held-out data in the weights": (
        f"name = {_NAME}\nheld_out = next((DATA / 'evaluator').glob('validation*')).read_bytes()\n"
        "weights[name].view(-1)[:4] = torch.tensor(list(held_out[:4]))\nsave(weights); loot('hidden')",
        None,
    ),
    "steal the checkpoint of another": ("loot(OTHER.read_bytes())", None),
    "replace the evaluator's libraries": (
        "import torch.nn as nn; (Path(nn.__file__).parent / 'evil.py').write_text('boom'); loot('written')",
        None,
    ),
    "plant a sitecustomize": (
        "[(place / 'sitecustomize.py').write_text('import torch; torch.isfinite = None') "
        "for place in (OUT, checkpoint.parent, Path(os.environ['TMPDIR']))]",
        None,
    ),
    "set what the evaluator's libraries read": (
        "os.environ.update(HF_HOME=str(OUT), PYTHONPATH=str(OUT), CUDA_VISIBLE_DEVICES='9', TORCH_HOME=str(OUT))",
        None,
    ),
    "plant compiled code in the caches": (
        "[(Path(os.environ[name]).mkdir(parents=True, exist_ok=True), (Path(os.environ[name]) / 'x.so').write_bytes(b'x')) "
        "for name in ('TRITON_CACHE_DIR', 'TORCHINDUCTOR_CACHE_DIR', 'TORCH_EXTENSIONS_DIR')]",
        None,
    ),
    "a process that swaps the weights later": (
        "if os.fork() == 0:\n    os.setsid(); time.sleep(30); save({name: 0 * one for name, one in weights.items()})",
        None,
    ),
}
"""For both baselines."""

GRPO: Attacks = {
    "another shape": (f"weights[{_NAME}] = torch.zeros(3); save(weights)", FailureKind.BAD_CHECKPOINT),
    "integers": (
        f"name = {_NAME}; weights[name] = weights[name].to(torch.int32); save(weights)",
        FailureKind.BAD_CHECKPOINT,
    ),
    "no number": (f"weights[{_NAME}].view(-1)[0] = float('nan'); save(weights)", FailureKind.BAD_CHECKPOINT),
    "infinity": (f"weights[{_NAME}].view(-1)[0] = float('inf'); save(weights)", FailureKind.BAD_CHECKPOINT),
    "a weight too many": ("weights['answers'] = torch.zeros(9); save(weights)", FailureKind.BAD_CHECKPOINT),
    "a weight too few": (f"del weights[{_NAME}]; save(weights)", FailureKind.BAD_CHECKPOINT),
    "another tokenizer": ("(checkpoint / 'tokenizer.json').write_text('{}')", None),
    "another way to sample": (
        "(checkpoint / 'generation_config.json').write_text(json.dumps(dict(temperature=1e-9, do_sample=False)))",
        None,
    ),
    "another architecture": (
        "(checkpoint / 'config.json').write_text(json.dumps(dict(model_type='evil', auto_map=dict(AutoModel='evil.Evil'))))",
        None,
    ),
}

NANOGPT: Attacks = {
    "too many weights": (
        "weights['more'] = torch.zeros(2_000_000); save(weights)",
        FailureKind.BAD_CHECKPOINT,
    ),
}

SERVED: Attacks = {
    "look ahead": (
        "out = model(tokens)\nnext_ = tokens[:, 1:, None]\nout[:, :-1].scatter_add_(2, next_, torch.full(next_.shape, 9.0))",
        FailureKind.LEAK,
    ),
    "answer no number": ("out = model(tokens) * float('nan')", FailureKind.NAN),
    "answer a certainty": ("out = torch.full((*tokens.shape, 256), -float('inf')); out[..., 0] = 0.0", FailureKind.NAN),
    "read the held-out data while it is scored": (
        "out = model(tokens)\nif list((DATA / 'evaluator').iterdir()): out = 0 * out",
        FailureKind.EXCEPTION,
    ),
}
"""Lines that compute the logits `out` of `tokens` in the server of nanogpt."""
