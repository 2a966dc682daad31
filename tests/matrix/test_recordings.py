"""Workers of one run play each life once between them, and know the same of all."""

from pathlib import Path
from unittest.mock import create_autospec

from tests.matrix.cases import Bench
from tests.matrix.lives import LIVES
from tests.matrix.recordings import Recordings, locked

SECOND = LIVES[1]


def test_what_one_worker_has_played_another_knows_without_playing_it(
    bench: Bench, tmp_path: Path
) -> None:
    idle = create_autospec(Bench, instance=True)
    first, second = Recordings(bench, tmp_path), Recordings(idle, tmp_path)

    played = first.of(SECOND), first.news(SECOND)

    assert played[0].points
    assert (second.of(SECOND), second.news(SECOND)) == played
    assert idle.mock_calls == []


def test_a_life_adds_only_what_no_life_before_it_has_done(recordings: Recordings) -> None:
    of_first, of_second = recordings.news(LIVES[0]), recordings.news(SECOND)

    assert of_first.points == recordings.of(LIVES[0]).points
    assert set(of_second.points) < set(recordings.of(SECOND).points)
    names = {(point.task, point.name) for point in of_first.points}
    assert names.isdisjoint((point.task, point.name) for point in of_second.firsts)


def test_what_another_holds_is_left_alone_until_it_lets_go(tmp_path: Path) -> None:
    file = tmp_path / "lock"

    with locked(file, waits=False) as is_ours, locked(file, waits=False) as is_theirs:
        assert (is_ours, is_theirs) == (True, False)

    with locked(file, waits=False) as is_ours:
        assert is_ours
