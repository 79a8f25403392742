"""The engine of an update on several ranks, on one node or several: DeepSpeed with ZeRO. Used only inside jobs."""

import contextlib
import importlib.util
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.config import RlConfig
from pipeline.errors import BadInput
from pipeline.rl.policy import deepspeed_config
from pipeline.rl.update import NO_STEP, NotFinite, adamw


class Zero:
    """DeepSpeed's engine around a model; requires an initialised process group."""

    def __init__(self, model: Any, rl: RlConfig) -> None:
        import deepspeed  # picks its accelerator when it is imported

        self.ranks, self.rank = dist.get_world_size(), dist.get_rank()
        self._all_weights = not rl.lora_rank
        self._layout = f"zero{rl.zero_stage}_ranks{self.ranks}"
        self._engine = deepspeed.initialize(model=model, optimizer=adamw(model, rl), config=deepspeed_config(rl))[0]
        self._clips = rl.zero_stage == 0 and rl.dtype == "float32"
        """Whether DeepSpeed clips without reporting the gradient's norm."""

    def forward(self) -> Any:
        return self._engine

    def backward(self, loss: Tensor, last: bool) -> None:
        self._engine.set_gradient_accumulation_boundary(last)
        self._engine.backward(loss, scale_wrt_gas=False)

    def step(self) -> float:
        norm = self._norm() if self._clips else None
        self._engine.step()
        norm = float(self._engine.get_global_grad_norm()) if norm is None else norm
        if not math.isfinite(norm):
            raise NotFinite(NO_STEP)
        return norm

    def _norm(self) -> float:
        there = [one.grad for one in self._engine.module.parameters() if one.grad is not None]
        return float(torch.nn.utils.get_total_norm(there))

    def gather(self, ours: Any) -> list[Any]:
        found = [None] * self.ranks
        dist.all_gather_object(found, ours)
        return found

    def weights(self) -> dict[str, Tensor] | None:
        """The trained weights, gathered one after the other, so that no rank holds more than one complete sharded tensor."""
        from deepspeed import zero

        found = {}
        for name, weight in self._engine.module.named_parameters():
            if self._all_weights or weight.requires_grad:
                with zero.GatheredParameters([weight]):
                    if self.rank == 0:
                        found[name] = weight.detach().cpu().clone()
        return found if self.rank == 0 else None

    def save(self, folder: Path) -> None:
        """Write the shards of all ranks; a resume requires the same number of ranks."""
        self._engine.save_checkpoint(str(folder), self._layout, save_latest=False, exclude_frozen_parameters=True)

    def load(self, folder: Path) -> None:
        if not (folder / self._layout).is_dir():
            raise BadInput(f"{folder} contains no state of {self._layout}; set rl.zero_stage and rl.update as before")
        self._engine.load_checkpoint(str(folder), self._layout, load_module_strict=False)


@contextlib.contextmanager
def joined_ranks(gpus: int) -> Iterator[None]:
    """Join the process group of the ranks that torchrun has started, with nccl on GPUs and gloo on CPUs. Raises `BadInput`
    without DeepSpeed, and on a node that shows fewer GPUs than requested."""
    if importlib.util.find_spec("deepspeed") is None:
        raise BadInput("rl.zero_stage requires DeepSpeed, which is not installed; pip install '.[rl-deepspeed]'")
    there, on_gpu = torch.cuda.device_count(), torch.cuda.is_available()
    if there < gpus:
        raise BadInput(
            f"rl.update requests {gpus} GPUs and this node shows {there}; check the driver and torch's version"
        )
    os.environ["DS_ACCELERATOR"] = "cuda" if on_gpu else "cpu"  # DeepSpeed reads it when it is imported
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    import deepspeed
    import deepspeed.ops

    deepspeed.utils.logger.setLevel("ERROR")
    # gloo is sufficient: the shared-memory operation takes half a minute to compile, and requires ninja and C++
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed("nccl" if on_gpu else "gloo", auto_mpi_discovery=False, verbose=False)
    yield
    dist.destroy_process_group()  # not after an error, when other ranks may wait for this one: the process just ends
