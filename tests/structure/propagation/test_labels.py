import torch

from autoprune.structure.propagation.labels import LabelSpace, compact, varying


def test_fresh_labels_differ_and_joined_ones_do_not() -> None:
    space = LabelSpace()
    left, right = space.fresh([4]), space.fresh([4])
    assert not set(space.find(left).tolist()) & set(space.find(right).tolist())
    space.join(left, right.flip(0))
    assert space.find(left).tolist() == space.find(right.flip(0)).tolist()
    assert len(set(space.find(left).tolist())) == 4


def test_joins_chain_across_calls() -> None:
    space = LabelSpace()
    labels = space.fresh([6])
    space.join(labels[:5], labels[1:])
    assert space.find(labels).tolist() == [int(labels[0])] * 6


def test_compact_keeps_only_axes_that_change() -> None:
    channels = torch.arange(3).reshape(1, 3, 1, 1)
    full = channels.expand(2, 3, 4, 5).contiguous()
    assert torch.equal(compact(full), channels)
    assert varying(compact(full)) == [1]


def test_straighten_ties_all_axes_but_the_longest() -> None:
    space = LabelSpace()
    straight = space.straighten(space.fresh([2, 5]))
    assert straight.shape == (1, 5)
    assert len(set(straight.flatten().tolist())) == 5


def test_the_first_reason_is_kept_and_reaches_joined_labels() -> None:
    space = LabelSpace()
    labels, other = space.fresh([2]), space.fresh([2])
    space.freeze(labels[:1], "first")
    space.freeze(labels[:1], "second")
    space.join(labels, other)
    root = int(space.find(other)[0])
    assert space.frozen()[root] == "first"
    assert int(space.find(other)[1]) not in space.frozen()


def test_open_labels_are_straightened_last_unless_a_rule_has_decided() -> None:
    space = LabelSpace()
    decided, left = space.leave_open(space.fresh([2, 5])), space.leave_open(space.fresh([2, 5]))
    assert varying(space.settle(left)) == [0, 1]
    space.keep(decided, [0])
    space.straighten_open()
    assert varying(space.settle(decided)) == [0]
    assert varying(space.settle(left)) == [1]


def test_what_waits_is_joined_when_labels_are_straight() -> None:
    space = LabelSpace()
    labels, table = space.leave_open(space.fresh([2, 5])), space.fresh([5])
    space.later(labels, lambda: space.join(space.settle(labels), table))
    assert not set(space.find(labels).flatten().tolist()) & set(table.tolist())
    space.straighten_open()
    assert torch.equal(space.find(labels)[0], space.find(table))
