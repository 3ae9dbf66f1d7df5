"""Decision trees of questions that volunteers answer."""

import os
from typing import Annotated, Self

from pydantic import Field, model_validator

from astrodl.config.reading import read_yaml
from astrodl.config.section import Section, parse

__all__ = ["Question", "VoteTree", "read_tree"]

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]


class Question(Section):
    """A question and its answers."""

    name: Word
    """Name, the first part of its columns."""
    answers: Annotated[tuple[Word, ...], Field(min_length=2)]
    """Answers, the second part; the votes for one are in the column `{name}_{answer}`."""
    after: str | None = None
    """The answer that leads to the question, as `question.answer`; null: it is put to everybody."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns with the votes."""
        return tuple(f"{self.name}_{answer}" for answer in self.answers)


class VoteTree(Section):
    """A decision tree."""

    questions: Annotated[tuple[Question, ...], Field(min_length=1)]
    """Questions, each below the one that leads to it."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        known: list[str] = []
        for question in self.questions:
            if any(answer.startswith(f"{question.name}.") for answer in known):
                raise ValueError(f"question '{question.name}' occurs twice; names must be unique, rename one")
            if question.after is not None and question.after not in known:
                raise ValueError(
                    f"question '{question.name}' is after '{question.after}', must be an answer to a question above it "
                    f"({', '.join(known) or 'none'}); name one, or move the question down"
                )
            known += [f"{question.name}.{answer}" for answer in question.answers]
        twice = [column for number, column in enumerate(self.columns) if column in self.columns[:number]]
        if twice:
            raise ValueError(f"column '{twice[0]}' belongs to two answers; columns must be unique, rename an answer")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of all answers."""
        return tuple(column for question in self.questions for column in question.columns)

    @property
    def slices(self) -> dict[str, slice]:
        """Which of the columns belong to each question."""
        found, start = {}, 0
        for question in self.questions:
            found[question.name] = slice(start, start + len(question.answers))
            start += len(question.answers)
        return found

    @property
    def parents(self) -> dict[str, int | None]:
        """Which column leads to each question; None: it is put to everybody."""
        answers = [f"{question.name}.{answer}" for question in self.questions for answer in question.answers]
        return {
            question.name: None if question.after is None else answers.index(question.after)
            for question in self.questions
        }


def read_tree(path: str | os.PathLike[str]) -> VoteTree:
    """Read a decision tree from a YAML file.

    Raises
    ------
    ConfigError
        The file cannot be read, or a key is wrong.
    """
    return parse(VoteTree, read_yaml(path), str(path))
