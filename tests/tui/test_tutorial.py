"""The Lab's tutorial: the same questions in the app and in docs/lab.md, the answer only on request."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from lab_app import lab
from repository import REPOSITORY

from tui.lab.bench import Bench
from tui.lab.tutorial import QUESTIONS

DETAILS = re.compile(r"<details><summary>(.*?)</summary>(.*?)</details>", re.DOTALL)


def plain(text: str) -> str:
    """Text without Markdown's code marks and line breaks."""
    return " ".join(html.unescape(text).replace("`", "").split())


def test_the_tutorial_asks_the_questions_of_the_documentation_in_the_same_order() -> None:
    page = (REPOSITORY / "docs" / "lab.md").read_text(encoding="utf-8")
    written = [(plain(question), plain(answer)) for question, answer in DETAILS.findall(page)]
    assert written == [(question.question, question.answer) for question in QUESTIONS]


async def test_enter_shows_the_answer_and_then_the_next_question_on_its_bench(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with lab(tmp_path, monkeypatch) as on:
        on.screen.open("plane")
        await on.pilot.pause()
        description = on.description
        await on.pilot.press("T")
        assert on.description.startswith(f"1/{len(QUESTIONS)} {QUESTIONS[0].question}")
        assert QUESTIONS[0].answer not in on.description
        await on.pilot.press("enter")
        assert QUESTIONS[0].answer in on.description
        asked = [QUESTIONS[0].bench]
        for question in QUESTIONS[1:]:
            await on.pilot.press("enter")
            await on.pilot.pause()
            assert question.question in on.description
            assert question.bench == on.bench.NAME
            asked.append(question.bench)
            await on.pilot.press("enter")
            assert question.answer in on.description
        assert list(dict.fromkeys(asked)) == [bench.NAME for bench in on.screen.query(Bench)]
        await on.pilot.press("enter")
        assert not any(question.question in on.description for question in QUESTIONS)
        on.screen.open("plane")
        await on.pilot.pause()
        assert on.description == description


async def test_another_bench_asks_its_first_question(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with lab(tmp_path, monkeypatch, (80, 24)) as on:
        await on.pilot.press("T", "right_square_bracket")
        await on.pilot.pause()
        assert on.bench.NAME == "transposed"
        assert QUESTIONS[-1].question in on.description
        await on.pilot.press("T")
        assert QUESTIONS[-1].question not in on.description
