"""Weights are stored in 16 bits and computed in 32; needs the extra `yolo`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from inference_service.training.slim import LEAST_VALUES, store_half


def a_model(path: Path, values: int) -> Path:
    """y = x * w, with `values` weights."""
    weights = numpy_helper.from_array(np.linspace(-2, 2, values, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "scale",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [values])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [values])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"names": "{0: 'item'}", "stride": "32"})
    onnx.save(model, str(path))
    return path


def run(path: Path, values: int) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path))
    (result,) = session.run(None, {"x": np.ones(values, np.float32)})
    return np.asarray(result)


def test_a_large_weight_takes_half_the_room_and_gives_nearly_the_same(tmp_path: Path) -> None:
    full = a_model(tmp_path / "full.onnx", 10_000)
    store_half(full, tmp_path / "half.onnx", {})
    assert (tmp_path / "half.onnx").stat().st_size < 0.6 * full.stat().st_size
    np.testing.assert_allclose(
        run(tmp_path / "half.onnx", 10_000), run(full, 10_000), rtol=1e-3, atol=1e-6
    )


def test_a_small_weight_remains_as_it_is(tmp_path: Path) -> None:
    full = a_model(tmp_path / "full.onnx", LEAST_VALUES - 1)
    store_half(full, tmp_path / "same.onnx", {})
    assert (run(tmp_path / "same.onnx", LEAST_VALUES - 1) == run(full, LEAST_VALUES - 1)).all()


def test_metadata_is_replaced_by_key_and_otherwise_kept(tmp_path: Path) -> None:
    full = a_model(tmp_path / "full.onnx", 300)
    store_half(full, tmp_path / "half.onnx", {"names": "{0: 'person'}"})
    facts = onnxruntime.InferenceSession(str(tmp_path / "half.onnx")).get_modelmeta()
    assert facts.custom_metadata_map == {"names": "{0: 'person'}", "stride": "32"}
