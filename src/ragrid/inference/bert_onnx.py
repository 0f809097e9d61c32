"""A BERT encoder as an ONNX graph, built from its weights without torch. Pure: the same weights give the same bytes.

Inputs `input_ids`, `attention_mask` and `token_type_ids` (int64, batch x sequence); output `last_hidden_state`
(float32, batch x sequence x hidden): the names and shapes that exports of sentence-transformers models use, so that
either file can be run by the same code.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ragrid.errors import RagridError

#: LayerNormalization is an operator of its own since opset 17, and every onnxruntime since 1.12 runs it.
OPSET = 17
IR_VERSION = 8
#: Added to the score of a padding token: its exponential is exactly 0 in float32.
_MASKED = -1e9

Weights = Mapping[str, NDArray[Any]]


class BertConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a model's config.json that decide the graph."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    layer_norm_eps: float
    hidden_act: str
    position_embedding_type: str = "absolute"

    def check(self) -> None:
        """Raise RagridError when this is not a model that the graph below describes."""
        wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
        for member, value in wanted.items():
            if (got := getattr(self, member)) != value:
                raise RagridError(f"config.json: {member}: got {got!r}, wanted {value!r}; export another model")


@dataclass
class _Graph:
    """Nodes and constants under construction; each method adds one operator and returns the name of its output."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def add(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def linear(self, source: str, name: str, matrix: NDArray[Any], bias: NDArray[Any]) -> str:
        """Multiply by `matrix` (inputs x outputs) and add `bias`."""
        product = self.add("MatMul", [source, self.constant(f"{name}.weight", matrix)], f"{name}.product")
        return self.add("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def normalise(self, source: str, name: str, weights: Weights, epsilon: float) -> str:
        scale = self.constant(f"{name}.weight", weights[f"{name}.weight"])
        shift = self.constant(f"{name}.bias", weights[f"{name}.bias"])
        return self.add("LayerNormalization", [source, scale, shift], name, axis=-1, epsilon=epsilon)


def build_encoder(config: BertConfig, weights: Weights) -> ModelProto:
    """Return the graph of a BERT encoder with dynamic batch and sequence.

    Raises RagridError when the configuration asks for something else than plain BERT or a weight is missing.
    """
    config.check()
    graph = _Graph()
    try:
        hidden = _embeddings(graph, config, weights)
        mask = _attention_bias(graph)
        for layer in range(config.num_hidden_layers):
            hidden = _layer(graph, config, weights, hidden=hidden, mask=mask, prefix=f"encoder.layer.{layer}")
    except KeyError as error:
        raise RagridError(f"weights: {error} is missing; wanted a BertModel; export another model") from error
    graph.add("Identity", [hidden], "last_hidden_state")
    integers = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    shape: list[str | int | None] = ["batch", "sequence", config.hidden_size]
    result = helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, shape)
    body = helper.make_graph(graph.nodes, "bert", integers, [result], graph.constants)
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(body, producer_name="ragrid", ir_version=IR_VERSION, opset_imports=opsets)


def _embeddings(graph: _Graph, config: BertConfig, weights: Weights) -> str:
    """Word + position + segment, normalised."""
    table = {
        part: graph.constant(f"embeddings.{part}", weights[f"embeddings.{part}_embeddings.weight"])
        for part in ("word", "position", "token_type")
    }
    words = graph.add("Gather", [table["word"], "input_ids"], "embeddings.words")
    segments = graph.add("Gather", [table["token_type"], "token_type_ids"], "embeddings.segments")
    zero = graph.constant("zero", np.array([0], np.int64))
    length = graph.add("Shape", ["input_ids"], "sequence.length", start=1, end=2)
    positions = graph.add("Slice", [table["position"], zero, length, zero], "embeddings.positions")
    placed = graph.add("Add", [words, positions], "embeddings.placed")
    summed = graph.add("Add", [placed, segments], "embeddings.summed")
    return graph.normalise(summed, "embeddings.LayerNorm", weights, config.layer_norm_eps)


def _attention_bias(graph: _Graph) -> str:
    """0 for a token, a huge negative number for padding, shaped to be added to batch x heads x from x to."""
    axes = graph.constant("mask.axes", np.array([1, 2], np.int64))
    wide = graph.add("Unsqueeze", ["attention_mask", axes], "mask.wide")
    real = graph.add("Cast", [wide], "mask.real", to=TensorProto.FLOAT)
    one = graph.constant("mask.one", np.array(1, np.float32))
    padding = graph.add("Sub", [one, real], "mask.padding")
    return graph.add("Mul", [padding, graph.constant("mask.value", np.array(_MASKED, np.float32))], "mask.bias")


def _layer(graph: _Graph, config: BertConfig, weights: Weights, *, hidden: str, mask: str, prefix: str) -> str:
    context = _attention(graph, config, weights, hidden=hidden, mask=mask, prefix=f"{prefix}.attention")
    attended = _project(graph, config, weights, source=context, residual=hidden, prefix=f"{prefix}.attention.output")
    name = f"{prefix}.intermediate.dense"
    wide = graph.linear(attended, name, weights[f"{name}.weight"].T, weights[f"{name}.bias"])
    active = _gelu(graph, wide, f"{prefix}.gelu")
    return _project(graph, config, weights, source=active, residual=attended, prefix=f"{prefix}.output")


def _project(graph: _Graph, config: BertConfig, weights: Weights, *, source: str, residual: str, prefix: str) -> str:
    """Dense, plus the residual, normalised: how both halves of a layer end."""
    dense = graph.linear(
        source, f"{prefix}.dense", weights[f"{prefix}.dense.weight"].T, weights[f"{prefix}.dense.bias"]
    )
    summed = graph.add("Add", [dense, residual], f"{prefix}.summed")
    return graph.normalise(summed, f"{prefix}.LayerNorm", weights, config.layer_norm_eps)


def _attention(graph: _Graph, config: BertConfig, weights: Weights, *, hidden: str, mask: str, prefix: str) -> str:
    """Multi-head self attention; queries, keys and values come from one multiplication, the scale is in the weights."""
    size, heads = config.hidden_size, config.num_attention_heads
    scale = np.float32(1 / math.sqrt(size // heads))
    parts = {
        part: (weights[f"{prefix}.self.{part}.weight"].T, weights[f"{prefix}.self.{part}.bias"])
        for part in ("query", "key", "value")
    }
    parts["query"] = (parts["query"][0] * scale, parts["query"][1] * scale)
    matrix = np.concatenate([each[0] for each in parts.values()], axis=1)
    bias = np.concatenate([each[1] for each in parts.values()])
    joint = graph.linear(hidden, f"{prefix}.joint", matrix, bias)
    shape = graph.constant(f"{prefix}.shape", np.array([0, 0, 3, heads, size // heads], np.int64))
    split = graph.add("Reshape", [joint, shape], f"{prefix}.split")
    apart = graph.add("Transpose", [split], f"{prefix}.apart", perm=[2, 0, 3, 1, 4])
    query, key, value = (
        graph.add("Gather", [apart, graph.constant(f"{prefix}.{part}.index", np.array(index))], f"{prefix}.{part}")
        for index, part in enumerate(parts)
    )
    turned = graph.add("Transpose", [key], f"{prefix}.key.turned", perm=[0, 1, 3, 2])
    scores = graph.add("MatMul", [query, turned], f"{prefix}.scores")
    masked = graph.add("Add", [scores, mask], f"{prefix}.masked")
    shares = graph.add("Softmax", [masked], f"{prefix}.shares", axis=-1)
    mixed = graph.add("MatMul", [shares, value], f"{prefix}.mixed")
    side_by_side = graph.add("Transpose", [mixed], f"{prefix}.side_by_side", perm=[0, 2, 1, 3])
    back = graph.constant(f"{prefix}.back", np.array([0, 0, size], np.int64))
    return graph.add("Reshape", [side_by_side, back], f"{prefix}.context")


def _gelu(graph: _Graph, source: str, name: str) -> str:
    """The exact form, x/2 · (1 + erf(x/√2)), written the way that onnxruntime recognises and fuses."""
    root = graph.constant(f"{name}.root", np.array(math.sqrt(2), np.float32))
    one = graph.constant(f"{name}.one", np.array(1, np.float32))
    half = graph.constant(f"{name}.half", np.array(0.5, np.float32))
    scaled = graph.add("Div", [source, root], f"{name}.scaled")
    error = graph.add("Erf", [scaled], f"{name}.erf")
    raised = graph.add("Add", [error, one], f"{name}.raised")
    product = graph.add("Mul", [source, raised], f"{name}.product")
    return graph.add("Mul", [product, half], name)
