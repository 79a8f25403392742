"""Which part of a model's text is its answer: every family of reasoning mark-up, and text that only looks like it."""

import re

import pytest

from pipeline.text import FAMILIES, split_reasoning, writable

DRAFT = "settings.py\n```\n<<<<<<< SEARCH\na = 1\n=======\na = 2\n>>>>>>> REPLACE\n```\nNo, too large.\n"
ANSWER = "settings.py\n```\n<<<<<<< SEARCH\nb = 1\n=======\nb = 2\n>>>>>>> REPLACE\n```\n"
MARKS = {
    "think": ("<think>", "</think>"),
    "upper case": ("<THINK>", "</THINK>"),
    "an attribute": ('<think time="3">', "</think >"),
    "analysis": ("<analysis>", "</analysis>"),
    "chain of thought": ("<chain_of_thought>", "</chain_of_thought>"),
    "monologue": ("<inner_monologue>", "</inner_monologue>"),
    "draft": ("<draft>", "</draft>"),
    "folded": ('<details type="reasoning" done="true">\n<summary>Thought for 5 seconds</summary>\n', "</details>"),
    "s1": ("<|im_start|>think\n", "<|im_end|>\n<|im_start|>answer\n"),
    "other tokens": ("<|begin_of_thinking|>", "<|end_of_thinking|>"),
    "other tokens again": ("<|thought_start|>", "<|thought_end|>"),
    "thinking": ("<thinking>", "</thinking>"),
    "thought": ("<thought>", "</thought>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "reflection": ("<reflection>", "</reflection>"),
    "longcat": ("<longcat_think>", "</longcat_think>"),
    "seed": ("<seed:think>", "</seed:think>"),
    "mistral": ("[THINK]", "[/THINK]"),
    "kimi": ("◁think▷", "◁/think▷"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "apertus": ("<|inner_prefix|>", "<|inner_suffix|>"),
    "open thinker": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "solar": ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    "medgemma": ("<unused94>thought\n", "<unused95>"),
    "gemma": ("<|channel>thought\n", "<channel|>"),
    "harmony": ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    "harmony, a channel of its own": (
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>",
        "<|channel|>final<|message|>",
    ),
    "harmony without tokens": ("analysis", "assistantfinal"),
    "granite": ("Here is my thought process: ", "Here is my response: "),
}


@pytest.mark.parametrize(("opens", "closes"), MARKS.values(), ids=MARKS)
def test_reasoning_of_every_family_is_no_answer(opens: str, closes: str) -> None:
    for draft in (DRAFT, "We try 8.\n\nNo.", ""):
        split = split_reasoning(f"{opens}{draft}{closes}\n\n{ANSWER}")
        assert (split.answer.strip(), split.reasoning, split.unclosed) == (ANSWER.strip(), True, False)
    for draft in (DRAFT, "a.py\n```\na = 2\n``` No.\n"):
        nothing = split_reasoning(f"{opens}{draft}{closes}\n")
        assert (nothing.answer, nothing.reasoning, nothing.unclosed) == ("", True, False)


@pytest.mark.parametrize(("opens", "closes"), MARKS.values(), ids=MARKS)
def test_an_answer_that_was_cut_off_in_its_reasoning_is_empty(opens: str, closes: str) -> None:
    if opens.startswith("Here"):
        return  # prose, whose mark means nothing without its other half
    split = split_reasoning(f"{opens}We think of {DRAFT}")
    assert (split.answer, split.reasoning, split.unclosed) == ("", True, True)


@pytest.mark.parametrize(("opens", "closes"), MARKS.values(), ids=MARKS)
def test_reasoning_that_the_chat_template_opened_is_no_answer(opens: str, closes: str) -> None:
    if opens.startswith(("Here", "analysis")):
        return
    for before in (DRAFT, f"{DRAFT}Final:", "Hm. ", f"{closes} {DRAFT}"):
        split = split_reasoning(f"{before}{closes}\n\n{ANSWER}")
        assert (split.answer.strip(), split.reasoning) == (ANSWER.strip(), True)


def test_every_family_of_the_table_is_tested() -> None:
    for family in FAMILIES:
        found = [name for name, (opens, closes) in MARKS.items() if re.match(family.opens, opens + "We", re.I)]
        assert any(re.match(family.closes, MARKS[name][1] + "\n", re.I) for name in found), family


@pytest.mark.parametrize(
    "draft",
    [
        "settings.py\n```\na = 2\nNo, too large.\n",
        "settings.py\n```python\na = 2\nNo, too large.\n",
        "settings.py\n<<<<<<< SEARCH\na = 1\n=======\na = 2\nNo.\n",
        "settings.py\n```\n<<<<<<< SEARCH\na = 1\n=======\na = 2\nNo.\n",
        "settings.py\n~~~~\na = 2\n",
    ],
)
@pytest.mark.parametrize("opens", ["", "<think>"])
@pytest.mark.parametrize(
    "answer",
    [ANSWER, "a.py\n```python\na = 3\n```\nb.py\n```python\nb = 4\n```\n", '{"ideas": []}', "Only words."],
)
def test_a_draft_that_was_left_open_ends_with_its_reasoning(draft: str, opens: str, answer: str) -> None:
    assert split_reasoning(f"{opens}{draft}</think>\n\n{answer}").answer.strip() == answer.strip()


CONTENT = {
    "no mark-up": ANSWER,
    "nothing": "",
    "a file": "train.py\n```python\nPROMPT = '''\n<think>\n</think>\n<think>'''\n```\n",
    "two files": "a.py\n```python\nA = '''\n</think>\n'''\n```\nb.py\n```python\nB = 1\n```\n",
    "two files in plain fences": "a.py\n```\nA = '''\n</think>\n'''\n```\nb.py\n```\nB = 1\n```\n",
    "a file with a fence in it": "a.md\n````\n</think>\n```python\nx = 1\n```\n````\n",
    "a line of code": "a.py\n```python\nif text.endswith('</think>'):  # </think>\n    pass\n```\n",
    "a block": "a.py\n<<<<<<< SEARCH\n</think>\n=======\n<think>\n>>>>>>> REPLACE\n",
    "a block in a fence": "a.py\n```\n<<<<<<< SEARCH\nx\n=======\n</think>\ny\n>>>>>>> REPLACE\n```\nThat is all.\n",
    "a diff": "```diff\n--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@\n a\n+</think>\n+<think>\n```\n",
    "a bare diff": "--- a/a.py\n+++ b/a.py\n@@ -1,2 +1,3 @@\n a\n+</think>\n\n+    x </think>\n <think>\n",
    "JSON": '{"ideas": [{"title": "Tags", "text": "Reward what stands after </think>", "parents": []}]}\n',
    "JSON on many lines": '{\n "text":\n "<think>\\n</think>"\n}\n',
    "JSON in a fence": '```json\n{"text": "a </think>"}\n```\n',
    "inline code": f"{ANSWER}The reward needs `</think>`\n`<think>` comes before.\n",
    "quotes": f'{ANSWER}We look for "</think>"\n',
    "a sentence": f"{ANSWER}The reward is given after </think> and <think> is optional.\n",
    "a word": "Analysis of the code shows that assistantfinal is a word.\n",
    "the beginning of a sentence": "analysis of the gradient noise suggests a larger batch.\n",
    "prose without its other half": f"Here is my response:\n{ANSWER}",
    "a closing bracket": "We use [THINKING] and <thinker> and </thinks>.\n",
}


@pytest.mark.parametrize("text", CONTENT.values(), ids=CONTENT)
def test_text_that_only_contains_such_a_mark_is_not_changed(text: str) -> None:
    for one in (text, text.replace("\n", "\r\n")):
        assert split_reasoning(one).answer == one and not split_reasoning(one).reasoning


@pytest.mark.parametrize("text", CONTENT.values(), ids=CONTENT)
def test_content_with_such_a_mark_is_not_changed_after_reasoning(text: str) -> None:
    for before in (
        "<think>Hm.</think>\n",
        "Hm.\n</think>\n",
        "<|channel|>analysis<|message|>Hm.<|channel|>final<|message|>",
    ):
        if "assistantfinal" not in text and "Here is" not in text:
            assert split_reasoning(before + text).answer.strip() == text.strip()


def test_an_answer_in_two_parts_is_kept_completely() -> None:
    text = f"<think>One.</think>\n{ANSWER}\n<think>And?</think>\n{ANSWER.replace('settings', 'train')}"
    answer = split_reasoning(text).answer
    assert ANSWER in answer and ANSWER.replace("settings", "train") in answer and "think" not in answer


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFT}<think>{DRAFT}</think>{DRAFT}</think>\n{ANSWER}",
        f"<think>\nx = '</think>'\n{DRAFT}\n</think>\n{ANSWER}",
        f"<think>```python\nx = 1\n</think>\n{DRAFT}</think>\n{ANSWER}",
        f"<think>One.</think>{DRAFT}</think>{ANSWER}",
        f"Okay.<think>{DRAFT}</think>{ANSWER}",
        f"<think>a</think><answer>\n{ANSWER}</answer>",
        f"<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>{ANSWER}<|END_RESPONSE|>",
        f"<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>\n{ANSWER}<|end_of_solution|>",
        f"<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>{ANSWER}<|return|>",
        f"<|channel|>final<|message|>{ANSWER}<|return|>",
    ],
)
def test_no_draft_is_left(text: str) -> None:
    assert split_reasoning(text).answer.strip() == ANSWER.strip()


def test_long_texts_are_read_quickly() -> None:
    for text in (
        "<think>" * 500,
        "</think>\n" * 500,
        "```\n</think>\n" * 300,
        "{</think>\n" * 300,
        '"' * 5000 + "</think>",
    ):
        split_reasoning(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain é 学", "plain é 学"),
        ("half \ud83d.", "half \N{REPLACEMENT CHARACTER}."),
        ("\udc00", "\N{REPLACEMENT CHARACTER}"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("\udce9", "\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_lone_surrogates_are_replaced(text: str, written: str) -> None:
    assert writable(text) == written
    written.encode()
