"""The ONNX program of an original model with the tensors of a cut one: made quickly, to be timed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    import onnx


def resized(original: onnx.ModelProto, cut: nn.Module) -> onnx.ModelProto:
    """The program in which every tensor that the cut model has smaller is as small.

    The values are the cut model's own: where the exporter folded a normalisation into a convolution, the
    program computes something else, in the same time. Initialisers that the model has no tensor for stay.
    """
    import onnx

    tensors = cut.state_dict()
    program = onnx.ModelProto()
    program.CopyFrom(original)
    # Shapes of intermediate results would contradict the smaller tensors.
    del program.graph.value_info[:]
    for initializer in program.graph.initializer:
        tensor = tensors.get(initializer.name)
        if tensor is not None and tuple(tensor.shape) != tuple(initializer.dims):
            values = tensor.detach().cpu().contiguous().numpy()
            smaller = onnx.numpy_helper.from_array(values, initializer.name)
            initializer.CopyFrom(smaller)
    _regroup(program, cut)
    _loosen(program)
    return program


def _regroup(program: onnx.ModelProto, cut: nn.Module) -> None:
    """Give every convolution as many groups as the cut model's has."""
    groups = {
        f"{path}.weight": module.groups for path, module in cut.named_modules() if hasattr(module, "groups")
    }
    for node in program.graph.node:
        for attribute in node.attribute:
            if attribute.name == "group" and node.input[1] in groups:
                attribute.i = groups[node.input[1]]


def _loosen(program: onnx.ModelProto) -> None:
    """Leave the largest axis of every fixed shape open, mostly channels: if it is not, no session opens."""
    import onnx

    targets = {node.input[1] for node in program.graph.node if node.op_type == "Reshape"}
    for initializer in program.graph.initializer:
        if initializer.name in targets:
            shape = onnx.numpy_helper.to_array(initializer).copy()
            if (shape > 0).all():
                shape[len(shape) - 1 - shape[::-1].argmax()] = -1
                open_shape = onnx.numpy_helper.from_array(shape, initializer.name)
                initializer.CopyFrom(open_shape)


def shapes_of(program: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Output -> its shape."""
    return {
        output.name: tuple(axis.dim_value for axis in output.type.tensor_type.shape.dim)
        for output in program.graph.output
    }
