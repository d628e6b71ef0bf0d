"""The network against independently computed reference values, and against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from scmods.amici.network import AttentionNetwork, Tables, entropy

REFERENCE = Path(__file__).parent.parent / "data" / "amici_forward.npz"
BLOCKS = {"query": "query_block", "cell": "cell_block", "coef": "coefficient_block", "kv": "kv_block"}
LAYERS = {
    "lin1": "first", "norm1": "norm_first", "lin2": "second", "norm2": "norm_second",
    "proj": "last", "projnorm": "norm_last",
}  # fmt: skip


def state_of(ref: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """Weights under our names; the reference has (size, head, in) where we have (head, size, in)."""
    state = {}
    for theirs, block in BLOCKS.items():
        for layer, name in LAYERS.items():
            for part, ending in (("w", "weight"), ("b", "bias")):
                if f"{theirs}_{layer}_{part}" in ref:
                    state[f"{block}.{name}.{ending}"] = ref[f"{theirs}_{layer}_{part}"]
    for letter, name in (("q", "to_query"), ("k", "to_key"), ("v", "to_value")):
        state[f"{name}.weight"] = ref[f"W{letter}"].transpose(1, 0, 2)
        state[f"{name}.bias"] = ref[f"b{letter}"]
    state |= {"head_out": ref["Wo"], "gene_out.weight": ref["out_w"], "type_means": ref["type_means"]}
    state |= {"norm_out.weight": ref["outnorm_w"], "norm_out.bias": ref["outnorm_b"]}
    state["type_embedding.weight"] = ref["type_embedding"]
    return {k: torch.tensor(v) for k, v in state.items()}


@pytest.fixture(scope="module")
def ref() -> dict[str, torch.Tensor]:
    with np.load(REFERENCE) as file:
        return {k: file[k] for k in file}


@pytest.fixture(scope="module")
def network(ref) -> AttentionNetwork:
    unit, empty, offset = (float(v) for v in ref["settings"][:3])
    made = AttentionNetwork(
        torch.tensor(ref["type_means"]), n_heads=2, head_size=3, label_size=3, query_size=4, query_width=5,
        cell_size=4, cell_width=5, kv_size=4, kv_width=4, coefficient_width=5, empty_logit=empty,
        coefficient_offset=offset, unit=unit,
    )  # fmt: skip
    made.load_state_dict(state_of(ref))
    return made.eval()


@pytest.fixture(scope="module")
def inputs(ref) -> dict[str, torch.Tensor]:
    return {
        "x": torch.tensor(ref["X"]), "types": torch.tensor(ref["label"]),
        "neighbors": torch.tensor(ref["nn_idx"]), "distances": torch.tensor(ref["nn_dist"]).float(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def tables(network, inputs) -> Tables:
    with torch.no_grad():
        return network.tables(inputs["x"])


@pytest.fixture(scope="module")
def heads(network, inputs, tables):
    with torch.no_grad():
        return network.attend(inputs["types"], inputs["neighbors"], inputs["distances"], tables)


def close(ours, theirs, tolerance: float = 1e-5) -> None:
    np.testing.assert_allclose(np.asarray(ours.detach()), theirs, rtol=tolerance, atol=tolerance)


def test_tables_equal_the_reference(ref, inputs, tables):
    i, t = inputs["neighbors"], inputs["types"][:, None]
    close(tables.value[i], ref["value"])
    close(tables.coefficient[i, t], ref["coef"])
    close(tables.score[i, t].transpose(1, 2), ref["base_score"][..., :-1])


def test_attention_equals_the_reference(ref, heads):
    close(heads.attention, ref["attention"])
    close(heads.attention.sum(-1), 1.0)


def test_predictions_equal_the_reference(ref, network, inputs, heads):
    o, types = network.outputs(heads.z), inputs["types"]
    close(network.decode(types, heads.query + o.sum(1)), ref["prediction"])
    close(network.decode(types, heads.query), ref["no_head_prediction"])
    for head in range(2):
        close(network.decode(types, heads.query + o[:, head]), ref["single_head_prediction"][:, head])


def test_loss_equals_the_reference(ref, network, inputs):
    observed, (entropy_weight, value_weight) = inputs["x"], ref["settings"][3:]
    args = (observed, inputs["types"], inputs["neighbors"], inputs["distances"], observed)
    parts = network.parts(*args)
    close(parts.reconstruction, ref["reconstruction"].mean())
    close(parts.entropy, ref["entropy"].mean())
    close(parts.value, ref["value_l1"].mean())
    loss = parts.reconstruction + entropy_weight * parts.entropy + value_weight * parts.value
    close(loss, ref["loss"])


def test_per_cell_entropy_equals_the_reference(ref, heads):
    close(entropy(heads.attention), ref["entropy"])


def test_training_pass_equals_tables_and_so_do_gradients(network, inputs):
    """`parts` computes each pair of cell and type once; the tables compute all of them."""
    double = AttentionNetwork(torch.rand(3, 6, dtype=torch.float64), n_heads=2, head_size=3).double().eval()
    x, types, near = inputs["x"].double(), inputs["types"], inputs["neighbors"].clone()
    near[0, 3:] = -1
    far = inputs["distances"].double()
    direct = double.parts(x, types, near, far, x).reconstruction
    got = torch.autograd.grad(direct, list(double.parameters()), allow_unused=True)
    heads = double.attend(types, near, far, double.tables(x))
    error = double.decode(types, heads.query + double.outputs(heads.z).sum(1)) - x
    long = 0.5 * error.square().sum(1).mean()
    expected = torch.autograd.grad(long, list(double.parameters()), allow_unused=True)
    torch.testing.assert_close(direct, long, rtol=1e-12, atol=1e-12)
    for a, b in zip(got, expected, strict=True):
        assert a is not None
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_hidden_and_absent_neighbours_get_no_attention(network, inputs, tables):
    near, mask = inputs["neighbors"].clone(), torch.ones_like(inputs["neighbors"], dtype=torch.bool)
    near[:, 1], mask[:, 3] = -1, False
    far = inputs["distances"].clone()
    far[:, 1] = torch.nan  # where there is no neighbour the distance must not matter
    got = network.attend(inputs["types"], near, far, tables, mask)
    assert (got.attention[..., [1, 3]] == 0).all()
    close(got.attention.sum(-1), 1.0)
    keep = [0, 2, 4]
    fewer = network.attend(inputs["types"], near[:, keep], inputs["distances"][:, keep], tables)
    close(got.z, fewer.z, 1e-6)


def test_without_any_neighbour_only_the_empty_slot_is_left(network, inputs, tables):
    near = torch.full_like(inputs["neighbors"], -1)
    got = network.attend(inputs["types"], near, inputs["distances"], tables)
    assert (got.attention[..., -1] == 1).all()
    assert (got.z == 0).all()


def test_neighbours_are_hidden_in_training_only(network, inputs):
    args = (inputs["x"], inputs["types"], inputs["neighbors"], inputs["distances"], inputs["x"])
    assert network.parts(*args).reconstruction == network.parts(*args).reconstruction
    network.train()
    try:
        seeded = [network.parts(*args, torch.Generator().manual_seed(s)).reconstruction for s in (1, 1, 2)]
    finally:
        network.eval()
    assert seeded[0] == seeded[1] != seeded[2]


def test_distance_lowers_attention_and_unit_scales_it(network, inputs, tables):
    near, far = inputs["neighbors"][:, :1], inputs["distances"][:, :1]
    one = network.attend(inputs["types"], near, far, tables).attention[..., 0]
    two = network.attend(inputs["types"], near, 2 * far, tables).attention[..., 0]
    assert (two < one).all()


def test_first_weights_come_from_the_generator_and_leave_the_global_one_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    a, b, c = (
        AttentionNetwork(torch.zeros(2, 4), generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), before)
    for name, weight in a.state_dict().items():
        assert torch.equal(weight, b.state_dict()[name])
    assert not torch.equal(a.head_out, c.head_out)
    # the bounds of the first weights count the axis of heads
    assert a.to_key.weight.abs().max() <= (4 * 32) ** -0.5 < 1.2 * a.to_key.weight.abs().max()
