"""What a job measures of its machine: GPUs with nvidia-smi, host memory, and the use of both."""

import os
import time
from pathlib import Path

import pytest

from pipeline.job.machine import Gpus, MemoryWatch, gpus_here, read_gpus

GB = 2**20 / 1e9
TWO = "NVIDIA H100 80GB HBM3, 81559, 1024, 0, GPU-aa\nNVIDIA H100 80GB HBM3, 81559, 70000, 1, GPU-bb\n"


@pytest.mark.parametrize(
    ("printed", "visible", "found"),
    [
        (TWO, "", Gpus("NVIDIA H100 80GB HBM3", 81559 * GB, 70000 * GB)),
        (TWO, "0", Gpus("NVIDIA H100 80GB HBM3", 81559 * GB, 1024 * GB)),
        (TWO, "GPU-bb", Gpus("NVIDIA H100 80GB HBM3", 81559 * GB, 70000 * GB)),
        (TWO, "MIG-1", Gpus("NVIDIA H100 80GB HBM3", 81559 * GB, 70000 * GB)),
        (
            "NVIDIA L4, 23034, 5, 0, GPU-a\nNVIDIA A100, 40960, 3, 1, GPU-b\n",
            "0,1",
            Gpus("NVIDIA A100 and NVIDIA L4", 23034 * GB, 5 * GB),
        ),
        ("NVIDIA GB10, [N/A], [N/A], 0, GPU-a\n", "", Gpus("NVIDIA GB10")),
        ("NVIDIA H100\n", "0", Gpus("NVIDIA H100")),
        ("", "", Gpus()),
    ],
    ids=[
        "all",
        "one by index",
        "one by id",
        "a part of one",
        "mixed",
        "memory shared with the host",
        "name only",
        "none",
    ],
)
def test_the_output_of_nvidia_smi_is_parsed(printed: str, visible: str, found: Gpus) -> None:
    assert read_gpus(printed, visible) == found


def test_the_peak_use_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for nvidia-smi on PATH: from the second query on, each reports less memory in use than the one
    before."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        f"#!/bin/sh\nprintf x >> {tmp_path}/asked\ncase $(wc -c < {tmp_path}/asked) in 1) used=10 ;; 2) used=500 ;; "
        '*) used=20 ;; esac\necho "NVIDIA L4, 23034, $used, 0, GPU-a"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr("pipeline.job.machine._LOOK_S", 0.01)
    with MemoryWatch(gpus=True) as watch:
        while not (tmp_path / "asked").exists() or (tmp_path / "asked").stat().st_size < 4:
            time.sleep(0.01)
    found = watch.found(1.5)
    assert found.host_gb is not None and found.host_gb > 0.1
    assert (found.host_peak_gb, found.gpu_gb, found.gpu_peak_gb) == (1.5, 23034 * GB, 500 * GB)


def test_without_a_gpu_nothing_is_queried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpus_here() == Gpus()
    with MemoryWatch(gpus=False) as watch:
        pass
    assert (watch.found(1.5).gpu_gb, watch.found(1.5).gpu_peak_gb) == (None, None)
