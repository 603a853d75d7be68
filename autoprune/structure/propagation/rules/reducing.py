"""Operators that gather values along some axes: harmless beside the units, fatal across them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, fx

from autoprune.structure.graph.nodes import arguments, operator_name, shape_of
from autoprune.structure.propagation.labels import along, varying
from autoprune.structure.propagation.propagate import Labels, Propagation, rule
from autoprune.structure.propagation.rules.pointwise import join_broadcast, pointwise

REDUCTIONS = """
    all amax amin aminmax any argmax argmin count_nonzero kthvalue linalg_vector_norm logsumexp max mean
    median min mode nanmean nanmedian nansum norm prod std std_mean sum var var_mean
"""
STATISTICS = "amax amin linalg_vector_norm logsumexp max mean min norm std std_mean sum var var_mean"
"""Reductions that mean the same over fewer units; a product of all of them, or an index, does not."""
ALONG_ONE_AXIS = "cumprod cumsum log_softmax softmax sort topk _log_softmax _softmax glu"
SPATIAL = {
    1: "adaptive_avg_pool1d adaptive_max_pool1d avg_pool1d max_pool1d upsample_linear1d upsample_nearest1d",
    2: """adaptive_avg_pool2d adaptive_max_pool2d avg_pool2d lp_pool2d max_pool2d max_pool2d_with_indices
        upsample_bicubic2d upsample_bilinear2d upsample_nearest2d _upsample_bilinear2d_aa""",
    3: "adaptive_avg_pool3d avg_pool3d max_pool3d upsample_nearest3d upsample_trilinear3d",
}


FOURIER = """
    fft_fft fft_fft2 fft_fftn fft_fftshift fft_hfft fft_hfft2 fft_hfftn fft_ifft fft_ifft2 fft_ifftn
    fft_ifftshift fft_ihfft fft_ihfft2 fft_ihfftn fft_irfft fft_irfft2 fft_irfftn fft_rfft fft_rfft2 fft_rfftn
"""


def source_of(bound: dict[str, Any]) -> fx.Node:
    """The tensor that an operator reads, whichever of the two usual names its schema gives it."""
    node = bound.get("self", bound.get("input"))
    assert isinstance(node, fx.Node)
    return node


def across(state: Propagation, node: fx.Node, axes: Iterable[int]) -> Tensor:
    """Labels of a value with the given axes reduced to size 1; units that lie on them only are frozen."""
    labels = state.open_labels(node)
    # A scalar has no axis, though operators take one.
    touched = {axis % labels.dim() for axis in axes} if labels.dim() else set()
    beside = set(varying(labels)) - touched
    if beside:
        labels = state.space.keep(labels, beside)
    if touched & set(varying(labels)):
        state.space.freeze(labels, "combined over the axis of the units")
        return state.space.fixed([1] * labels.dim(), "combined over the axis of the units")
    return labels


def statistic(
    state: Propagation, node: fx.Node, source: fx.Node, axes: Iterable[int], tensors: int = 1
) -> Tensor:
    """Labels of a value reduced to size 1 along the given axes; over units it becomes a statistic of them."""
    labels = state.open_labels(source)
    touched = {axis % labels.dim() for axis in axes} if labels.dim() else set()
    units = touched & set(varying(labels))
    if set(varying(labels)) - units or len(units) != 1 or state.is_constant(source) or not state.is_flat:
        return across(state, source, axes)
    (axis,) = units
    state.note_statistic(node, along(labels, axis, shape_of(source)[axis]), axis, tensors)
    return state.space.statistic([1] * labels.dim())


@rule(*REDUCTIONS.split())
def reduction(state: Propagation, node: fx.Node) -> Labels:
    """Mean, sum, maximum and the like; ``torch.max(a, b)`` goes by the name of one and is pointwise."""
    bound = arguments(node)
    if isinstance(bound.get("other"), fx.Node):
        joined: Labels = pointwise(state, node)
        return joined
    source = source_of(bound)
    rank = len(shape_of(source))
    dims = bound.get("dim")
    axes = (
        list(range(rank)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else list(dims)
    )
    kind = operator_name(node)
    if kind in STATISTICS.split() and not _gives_indices(node):
        labels = statistic(state, node, source, axes)
    else:
        labels = across(state, source, axes)
    if rank and not bound.get("keepdim", False):
        if 0 in labels.shape:
            return state.opaque(node, f"{kind} reduces an empty tensor")
        for axis in sorted({axis % rank for axis in axes}, reverse=True):
            labels = labels.select(axis, 0)
    value = node.meta["val"]
    return tuple(labels for _ in value) if isinstance(value, list | tuple) else labels


def _gives_indices(node: fx.Node) -> bool:
    """Whether something reads at which positions a maximum or minimum lies."""
    if operator_name(node) not in ("max", "min") or isinstance(node.meta["val"], Tensor):
        return False
    return any(user.args[1:] != (0,) for user in node.users)


@rule("cosine_similarity")
def cosine_similarity(state: Propagation, node: fx.Node) -> Tensor:
    """Three sums of products along one axis, over the units of both operands."""
    bound = arguments(node)
    first, second = bound["x1"], bound["x2"]
    if shape_of(first) != shape_of(second):
        raise ValueError("the operands differ in shape")
    joined = join_broadcast(
        state.space, [(state.open_labels(each), shape_of(each)) for each in (first, second)], shape_of(first)
    )
    axis = bound["dim"] % joined.dim()
    labels = statistic(state, node, first, [axis], tensors=2)
    return labels.select(axis, 0)


@rule(*ALONG_ONE_AXIS.split())
def along_one_axis(state: Propagation, node: fx.Node) -> Tensor | tuple[Tensor, ...]:
    """Each result depends on every element along one axis."""
    bound = arguments(node)
    labels = across(state, bound["self"], [bound.get("dim", -1)])
    value = node.meta["val"]
    return tuple(labels for _ in value) if isinstance(value, list | tuple) else labels


@rule(*FOURIER.split())
def fourier(state: Propagation, node: fx.Node) -> Tensor:
    """Each result depends on every element along some axes: those named, or the last ones, or all."""
    bound = arguments(node)
    rank, dims, sizes = len(shape_of(bound["self"])), bound.get("dim"), bound.get("s")
    if dims is None:
        dims = list(range(-len(sizes), 0)) if sizes is not None else list(range(rank))
    return across(state, bound["self"], [dims] if isinstance(dims, int) else dims)


@rule(*SPATIAL[1].split(), *SPATIAL[2].split(), *SPATIAL[3].split())
def spatial(state: Propagation, node: fx.Node) -> Tensor | tuple[Tensor, ...]:
    """Pooling and resampling over the last axes."""
    kind = operator_name(node)
    axes = next(count for count, names in SPATIAL.items() if kind in names.split())
    bound = arguments(node)
    labels = across(state, source_of(bound), range(-axes, 0))
    value = node.meta["val"]
    return tuple(labels for _ in value) if isinstance(value, list | tuple) else labels


@rule("gather")
def gather(state: Propagation, node: fx.Node) -> Any:
    """Takes elements along one axis, at the same places for every unit or not."""
    bound = arguments(node)
    source, axis = bound["self"], bound["dim"] % len(shape_of(node))
    labels = across(state, source, [axis])
    if any(shape_of(node)[d] != shape_of(source)[d] for d in varying(labels)):
        return state.opaque(node, "taken apart at fixed positions")
    return labels
