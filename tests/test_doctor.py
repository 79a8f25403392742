"""The preflight checks: each failure is one line with its remedy."""

from pathlib import Path

import pytest

from tests.slurm_cluster.cluster import DevCluster
from tests.toy import Bench, program

pytest_plugins = ["tests.slurm_cluster.fixture"]


def lines(bench: Bench, *more: str, home: Path, code: int) -> dict[str, str]:
    """Each check of the doctor with its result, `ok` or `FAIL`."""
    given = [word for word in bench.arguments("", *more) if not word.startswith("run=")]
    done = program("doctor", *given, extra={"XDG_CONFIG_HOME": str(home)})
    assert done.code == code, done.out + done.err
    found = {}
    for line in done.out.splitlines():
        verdict, _, rest = line.partition(" ")
        name, _, words = rest.strip().partition(": ")
        found[name] = f"{verdict} {words}" if words else line
    assert "Traceback" not in done.err
    return found


def test_all_checks_pass_on_a_laptop(bench: Bench, tmp_path: Path) -> None:
    said = lines(bench, home=tmp_path, code=0)
    assert {"data", "disk", "shared disk", "scratch", "sandbox", "network"} <= set(said)
    assert all(words.startswith("ok") for name, words in said.items() if name in ("data", "disk", "shared disk"))
    assert list(bench.folder.iterdir()) == []  # it cleans up


@pytest.mark.parametrize(
    ("setting", "name", "words"),
    [
        ("data=/nowhere", "data", "baseline=toy scale=tiny data=/nowhere"),
        ("train.disk_gb=1e7", "disk", "runs=FOLDER"),
    ],
)
def test_each_problem_is_reported_with_its_remedy(
    setting: str, name: str, words: str, bench: Bench, tmp_path: Path
) -> None:
    said = lines(bench, setting, home=tmp_path, code=1)[name]
    assert said.startswith("FAIL") and words in said


def test_on_slurm_it_submits_a_job_and_saves_the_site(
    slurm_environment: DevCluster, bench: Bench, tmp_path: Path
) -> None:
    on_slurm = Bench(bench.folder, bench.data, cluster="slurm")
    said = lines(on_slurm, "cluster.slurm.partition=urgent", "--write", home=tmp_path, code=0)
    assert "version 22" in said["slurm"] or "arrays of up to 65" in said["slurm"]
    assert "in partition urgent" in said["a trial's job"]
    assert said["shared disk"].startswith("ok n")
    site = Bench(bench.folder, bench.data, cluster="site")
    assert "in partition urgent" in lines(site, home=tmp_path, code=0)["a trial's job"]


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("cluster.slurm.partition=nope", "invalid partition"),
        ("cluster.slurm.account=nope", "account"),
        ("train.resources.gpus_per_node=9", "not available"),
    ],
)
def test_what_slurm_never_accepts(
    setting: str, words: str, slurm_environment: DevCluster, bench: Bench, tmp_path: Path
) -> None:
    said = lines(Bench(bench.folder, bench.data, cluster="slurm"), setting, home=tmp_path, code=1)["jobs"]
    assert said.startswith("FAIL") and words in said.lower() and "cluster.slurm" in said
