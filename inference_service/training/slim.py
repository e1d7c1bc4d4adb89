"""Halve a model's file: weights are stored with 16 bits and widened when the model is loaded.

ONNX Runtime folds the widening into constants before the first picture, so that it computes with
32 bits and as fast as ever; what is lost is the last three digits of each weight.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST_VALUES = 256  # smaller arrays would not repay their extra node


def store_half(source: Path, target: Path, metadata: Mapping[str, str]) -> None:
    """Write `source` with its large 32-bit weights as 16-bit ones.

    Args:
        source: what ultralytics exported.
        target: the file to write.
        metadata: replaces entries of the same key; others are kept.
    """
    model = onnx.load(str(source))
    old = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, {**old, **metadata})
    graph = model.graph
    casts = []
    for at, tensor in enumerate(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < LEAST_VALUES:
            continue
        stored = f"{tensor.name}_half"
        casts.append(
            helper.make_node("Cast", [stored], [tensor.name], to=TensorProto.FLOAT, name=stored)
        )
        half = numpy_helper.from_array(values.astype(np.float16), stored)
        graph.initializer[at].CopyFrom(half)
    for place, cast in enumerate(casts):
        graph.node.insert(place, cast)
    onnx.checker.check_model(model)
    onnx.save(model, str(target))
