"""Makes the data folder, once: token shards, all plain files.

train/      train_000.bin … : for training
evaluator/  validation.bin, test.bin, held_out.json (where their text is from): training never sees it;
            duplicates.json: how many documents were left out because they repeat held-out ones

Three parts, each of which resumes where it was stopped and can run on a different kind of node (`--part`):

fetch    requires a network: documents of the data set and GPT-2's tokenizer, into raw/; nothing to do at tiny scale
process  requires CPUs: tokens, in shards; removes raw/ when all are written
build    requires the compiler and the GPU of the trials: compiles the DeepSpeed operations that the size file names;
         the baseline uses none

Held-out text consists of the first documents of the first file of FineWeb; at tiny scale, of whole files of installed
Python packages. The test split contains no document that repeats one of the validation split, and training none that
repeats one of either, exactly or nearly (duplicates.py).
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from duplicates import HeldOut, note, without
from shards import read_shard, write_shard

FIXES_THE_DATA = ("prepare", "vocabulary")  # keys of the size file
END_OF_TEXT = "<|endoftext|>"  # stands before each document
DOCUMENTS = 256  # tokenized at once by one process
NEAR_TOKENS = {"length": 13, "share": 0.5, "every": 16}  # 13 tokens, as in arXiv 2005.14165, appendix C
NEAR_BYTES = {"length": 50, "share": 0.5, "every": 8}


def make_file(path: Path, make: Callable[[Path], None]) -> None:
    """Makes one file of the data atomically, unless it exists."""
    name = f"{path.parent.name}/{path.name}"
    if path.exists():
        print(f"{name}: there already", flush=True)
        return
    start = time.monotonic()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".making")
    make(partial)
    os.replace(partial, path)
    print(f"{name}: {time.monotonic() - start:.1f} s", flush=True)


def write_json(path: Path, content: object) -> None:
    """One JSON file."""
    path.write_text(json.dumps(content, indent=1))


def shard_names(count: int) -> list[str]:
    """train_000.bin, train_001.bin, …"""
    return [f"train_{number:03d}.bin" for number in range(count)]


def processed(output: Path, size: dict) -> bool:
    """Whether all shards exist."""
    names = shard_names(len(size["prepare"].get("files", [0])))
    held_out = [output / "evaluator" / f"{split}.bin" for split in ("validation", "test")]
    return all(path.exists() for path in [*held_out, *(output / "train" / name for name in names)])


# --- bytes of Python packages ---------------------------------------------------------------------------------------


def package_files(folders: Iterable[str]) -> list[tuple[str, Path]]:
    """Name and path of the Python files in folders of installed packages, by name; nothing is imported."""
    found = []
    for folder in folders:
        package, _, rest = folder.partition("/")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"the package {package} is not installed; install the extra `nanogpt`")
        root = Path(spec.submodule_search_locations[0])
        found += [(f"{package}/{path.relative_to(root).as_posix()}", path) for path in (root / rest).rglob("*.py")]
    return sorted(found)


def process_packages(output: Path, size: dict) -> None:
    """Shards of bytes. Files alternate between validation and test, and training gets none of their folders."""
    spec = size["prepare"]
    held_out = package_files(spec["held_out"])
    hidden = tuple(f"{folder}/" for folder in spec["held_out"])
    seen = [(name, path) for name, path in package_files(spec["train"]) if not name.startswith(hidden)]

    # a fixed order, in which packages and folders mix
    order = np.random.default_rng(0)
    for files in (held_out, seen):
        order.shuffle(files)  # type: ignore[arg-type]
    parts = {"validation": held_out[0::2], "test": held_out[1::2], "train": seen}
    lengths = {"validation": spec["validation"], "test": spec["test"], "train": spec["train_tokens"]}
    known = HeldOut(**NEAR_BYTES)
    for name, files in parts.items():
        removed = Counter()
        texts = (np.frombuffer(path.read_bytes(), dtype=np.uint8) for _, path in files)
        taken = take(without(texts, known, removed), lengths[name], name)
        if name != "train":
            for text in taken:
                known.add(text)
        if name != "validation":
            note(output / "evaluator", name, removed)
        tokens = np.concatenate(taken)  # (N,)
        folder, file = ("train", shard_names(1)[0]) if name == "train" else ("evaluator", f"{name}.bin")
        make_file(output / folder / file, lambda path, tokens=tokens: write_shard(path, tokens, 256))
    make_file(output / "evaluator" / "held_out.json", lambda path: write_json(path, spec["held_out"]))


# --- documents of a data set ----------------------------------------------------------------------------------------


def fetch_documents(output: Path, size: dict) -> None:
    """Downloads tokenizer and documents, from the hub or from local folders, into raw/."""
    spec, raw = size["prepare"], output / "raw"
    if processed(output, size):
        print("fetch: everything is processed already", flush=True)
        return
    make_file(raw / "tokenizer.json", lambda path: fetch_tokenizer(spec["tokenizer"], path))
    for number, file in enumerate(spec["files"]):
        if not (output / "train" / shard_names(number + 1)[number]).exists():
            make_file(
                raw / f"documents_{number:03d}.parquet", lambda path, file=file: fetch_file(spec, file, raw, path)
            )


def fetch_tokenizer(name: str, path: Path) -> None:
    """tokenizer.json of a model on the hub, or a local file."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(name) if Path(name).is_file() else Tokenizer.from_pretrained(name)
    tokenizer.save(str(path))


def fetch_file(spec: dict, file: str, raw: Path, path: Path) -> None:
    """The texts of one file of the data set as Parquet; the hub's own cache of it is removed."""
    from datasets import load_dataset

    cache = raw / "cache"
    rows = load_dataset(spec["dataset"], data_files=file, split="train", cache_dir=str(cache))
    rows.select_columns("text").to_parquet(str(path))
    shutil.rmtree(cache)


def read_texts(path: Path) -> Iterator[list[str]]:
    """The documents of a Parquet file, in order, some at a time."""
    from pyarrow import parquet

    for batch in parquet.ParquetFile(path).iter_batches(DOCUMENTS, columns=["text"]):
        yield batch.column("text").to_pylist()


_tokenizer = None


def start_worker(path: str) -> None:
    """Each process loads the tokenizer once."""
    from tokenizers import Tokenizer

    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one process per core is enough
    _tokenizer = Tokenizer.from_file(path)


def tokenize(texts: list[str]) -> list[np.ndarray]:
    """One array of tokens per document, end of text first."""
    start = _tokenizer.token_to_id(END_OF_TEXT)
    encoded = _tokenizer.encode_batch(texts, add_special_tokens=False)
    return [np.array([start, *document.ids], dtype=np.uint16) for document in encoded]


def tokenize_file(path: Path, tokenizer: Path, workers: int) -> Iterator[np.ndarray]:
    """The tokens of each document of a Parquet file, in order, with a progress bar."""
    from pyarrow import parquet
    from tqdm import tqdm

    count = parquet.ParquetFile(path).metadata.num_rows
    with (
        multiprocessing.get_context("spawn").Pool(workers, start_worker, (str(tokenizer),)) as pool,
        tqdm(total=count, desc=path.stem, unit=" documents", mininterval=1.0) as bar,
    ):
        for documents in pool.imap(tokenize, read_texts(path)):
            bar.update(len(documents))
            yield from documents


def take(documents: Iterator[np.ndarray], count: int, what: str) -> list[np.ndarray]:
    """The next documents, exactly `count` tokens; the rest of the last one is dropped, so that no text is split."""
    parts, there = [], 0
    while there < count:
        document = next(documents, None)
        if document is None:
            raise SystemExit(
                f"{count} tokens asked for {what}, but there are only {there} that repeat no held-out text"
            )
        parts.append(document[: count - there])
        there += len(parts[-1])
    return parts


def process_documents(output: Path, size: dict, workers: int) -> None:
    """Shards of GPT-2's tokens, one per file of the data set."""
    from tokenizers import Tokenizer

    spec, raw = size["prepare"], output / "raw"
    if processed(output, size):
        print("process: everything is there already", flush=True)
        return
    tokenizer = raw / "tokenizer.json"
    if not tokenizer.exists():
        raise SystemExit(f"{tokenizer} is not there; run the part `fetch` first, where there is a network")
    known = Tokenizer.from_file(str(tokenizer))
    words, start = known.get_vocab_size(), known.token_to_id(END_OF_TEXT)
    evaluator = output / "evaluator"
    make_file(evaluator / "held_out.json", lambda path: write_json(path, [f"first documents of {spec['files'][0]}"]))
    held_out = HeldOut(**NEAR_TOKENS)
    for number, name in enumerate(shard_names(len(spec["files"]))):
        shard = output / "train" / name
        documents: Iterator[np.ndarray] = iter(())
        if not shard.exists():
            source = raw / f"documents_{number:03d}.parquet"
            if not source.exists():
                raise SystemExit(f"{source} is not there; run the part `fetch` first, where there is a network")
            documents = tokenize_file(source, tokenizer, workers)
        if number == 0:  # held out before anything is trained on
            for split in ("validation", "test"):
                if not shard.exists():
                    hold_out(evaluator, split, spec[split], documents, held_out, words)
                learn(held_out, evaluator / f"{split}.bin", words, start)
        if shard.exists():
            continue
        removed = Counter()
        tokens = np.concatenate(list(without(documents, held_out, removed)))  # (N,)
        note(evaluator, name, removed)
        make_file(shard, lambda path, tokens=tokens: write_shard(path, tokens, words))
    shutil.rmtree(raw)


def hold_out(
    evaluator: Path, split: str, count: int, documents: Iterator[np.ndarray], held_out: HeldOut, words: int
) -> None:
    """Makes a split of the next documents. If it exists, they are the same and are only skipped."""
    removed = Counter()
    tokens = np.concatenate(take(without(documents, held_out, removed), count, split))  # (N,)
    if split != "validation":  # the first
        note(evaluator, split, removed)
    make_file(evaluator / f"{split}.bin", lambda path: write_shard(path, tokens, words))


def learn(held_out: HeldOut, path: Path, words: int, start: int) -> None:
    """Adds the documents of a split; each begins with the token `start`."""
    tokens = np.asarray(read_shard(path, words))
    for document in np.split(tokens, np.flatnonzero(tokens == start)):
        held_out.add(document)


# --- parts ----------------------------------------------------------------------------------------------------------


def fetch(output: Path, size: dict) -> None:
    """Downloads what requires a network."""
    if size["prepare"]["source"] == "packages":
        print("fetch: nothing to do, the text is in installed packages", flush=True)
    else:
        fetch_documents(output, size)


def process(output: Path, size: dict, workers: int) -> None:
    """From text to shards."""
    if size["prepare"]["source"] == "packages":
        process_packages(output, size)
    else:
        process_documents(output, size, workers)


def build(size: dict) -> None:
    """Compiles operations of DeepSpeed into its cache, TORCH_EXTENSIONS_DIR."""
    names = size["prepare"].get("operations", [])
    if not names:
        print("build: nothing to do, the training uses no compiled operation of DeepSpeed", flush=True)
        return
    from ranks import need_compiler

    need_compiler("DeepSpeed")
    from deepspeed.ops.op_builder.all_ops import ALL_OPS

    for name in names:
        if name not in ALL_OPS:
            raise SystemExit(f"DeepSpeed has no operation {name} here; it has {', '.join(sorted(ALL_OPS))}")
        ALL_OPS[name].load(verbose=False)
        print(f"build: {name} is compiled", flush=True)


def prepare(output: Path, size: dict, part: str = "all", workers: int = 1) -> None:
    """One part, or all of them in order."""
    fixed = {key: size[key] for key in FIXES_THE_DATA}
    made_with = output / "evaluator" / "size.json"
    if made_with.exists() and json.loads(made_with.read_text()) != fixed:
        raise SystemExit(f"{output} was prepared with another size; remove it, or choose another folder")
    make_file(made_with, lambda path: write_json(path, fixed))
    if part in ("all", "fetch"):
        fetch(output, size)
    if part in ("all", "process"):
        process(output, size, workers)
    if part in ("all", "build"):
        build(size)


def main() -> None:
    """The command line of the contract."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, required=True, help="the data folder")
    parser.add_argument("--size", type=Path, required=True, help="JSON file with what is fixed at this scale")
    parser.add_argument("--part", choices=("all", "fetch", "process", "build"), default="all")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes of `process`")
    args = parser.parse_args()
    prepare(args.output, json.loads(args.size.read_text()), args.part, args.workers)


if __name__ == "__main__":
    main()
