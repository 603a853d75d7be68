"""What a search that goes on says of the one before: how many trials there are, and with which threads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoprune
from autoprune.review import Count, Listener, summary
from autoprune.review.table import counts_text
from autoprune.tasks import Data


class Stopping(Listener):
    """Notes what is said, and stops a search when so many trials count."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.notes: list[str] = []
        self.counts: list[int] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def trial_started(self, number: int, origin: str, count: Count) -> None:
        self.counts.append(count.finished)
        if count.finished == self.after:
            raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_counts_are_of_one_kind_and_other_threads_are_told_once(
    tiny: nn.Module, digits: Data, tmp_path: Path
) -> None:
    def search(threads: int, listener: Stopping) -> autoprune.Study:
        torch.set_num_threads(threads)
        given: dict[str, Any] = {"latency": False, "finetune_steps": 1, "calibration_batches": 1}
        storage = f"sqlite:///{tmp_path}/a.db"
        return autoprune.search(
            tiny, digits, budget="flops=50%", trials=4, storage=storage, listener=listener, **given
        )

    def told(listener: Stopping, word: str) -> list[str]:
        return [note for note in listener.notes if word in note]

    for after, threads, expected in ((0, 1, []), (1, 1, ["no trial has ended yet"])):
        stopped = Stopping(after)
        with pytest.raises(KeyboardInterrupt):
            search(threads, stopped)
        assert [note.partition(": ")[2] for note in told(stopped, "continues")] == expected
        assert not told(stopped, "threads")
        assert stopped.counts == list(range(after + 1))
    last = Stopping(-1)
    found = search(2, last)
    assert [note.partition(": ")[2] for note in told(last, "continues")] == ["1 trial is already there"]
    assert told(last, "thread") == [
        "trials so far were computed with 1 thread, and with 2 threads from now on: "
        "the same plan gets slightly different weights"
    ]
    assert last.counts[0] == 1
    assert found.optuna.user_attrs["threads"] == [1, 2]
    assert counts_text(summary(found.optuna)).startswith("4 trials: 4 evaluated; also")
    again = Stopping(-1)
    search(2, again)
    assert told(again, "continues")[0].endswith("4 trials are already there")
    assert not told(again, "threads")
