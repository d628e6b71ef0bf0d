"""The trained layer under the original's names: recipes, inputs, weights on genes, and no side effects."""

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, Subset, TensorDataset

from scmods.bmlp import Config, ScBMLPClassifier, ScBMLPRegressor, core


def data(n=90, genes=8, outputs=2, seed=0, shift=0.0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, genes, generator=g)
    y = torch.stack([x[:, 0] * x[:, 1] + x[:, 2], x[:, 3] ** 2], dim=1)[:, :outputs]
    return x, 0.02 * y + shift


def halves(x, y, n=70):
    return (x[:n], y[:n]), (x[n:], y[n:])


def quick(**changes):
    return Config.repaired(8, 2, **({"n_epochs": 4, "d_hidden": 5, "batch_size": 32} | changes))


class Rows(Dataset):
    """A data set that is only a sequence of pairs."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], self.y[i]


def test_original_and_repaired_recipes():
    old, new = Config.original(30, 4), Config.repaired(30, 4, seed=7)
    assert (old.constant, old.input_scale, old.zero_head, old.scale_targets) == (0.0, "none", False, False)
    assert (old.d_hidden, old.n_epochs, old.lr, old.batch_size, old.optimizer) == (128, 500, 1e-4, 32, "adam")
    assert (new.constant, new.input_scale, new.zero_head, new.scale_targets) == (1.0, "common", True, True)
    assert (new.d_input, new.d_output, new.seed, new.optimizer) == (30, 4, 7, "adamw")
    assert new.n_pcs is None
    assert Config.repaired(5000, 4).n_pcs is not None
    assert Config.repaired(5000, 4, n_pcs=None).n_pcs is None


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"d_input": 0}, ValueError, "`d_input` is 0, but must be at least 1"),
        ({"d_hidden": 2.5}, TypeError, "`d_hidden` is 2.5 of type float, but must be a whole number"),
        ({"n_epochs": True}, TypeError, "`n_epochs` is True of type bool"),
        ({"batch_size": "32"}, TypeError, "`batch_size` is '32' of type str"),
        ({"seed": -1}, ValueError, "`seed` is -1, but must be at least 0"),
        ({"lr": float("nan")}, ValueError, "`lr` is nan, but must be a finite number"),
        ({"lr": "fast"}, TypeError, "`lr` is 'fast' of type str, but must be a number"),
        ({"weight_decay": -1.0}, ValueError, "`weight_decay` is -1"),
        (
            {"dropout_rate": 1.0},
            ValueError,
            r"`dropout_rate` is 1, but must be a finite number in \[0, 0.99\]",
        ),
        ({"input_noise": -0.1}, ValueError, "`input_noise` is -0.1"),
        ({"constant": float("inf")}, ValueError, "`constant` is inf"),
        ({"optimizer": "adamv"}, ValueError, "`optimizer` is 'adamv'.*Did you mean 'adam"),
        ({"input_scale": "units"}, ValueError, "`input_scale` is 'units'.*Did you mean 'unit'"),
        ({"n_pcs": 11}, ValueError, "`n_pcs` is 11, but must be at least 1 and at most 8"),
    ],
)
def test_config_refuses(change, kind, text):
    with pytest.raises(kind, match=text):
        Config(**({"d_input": 8} | change))


@pytest.mark.parametrize("make", [Config.repaired, Config.original])
def test_unknown_field_is_named_with_its_nearest(make):
    with pytest.raises(
        TypeError, match=r"Config has no field 'n_epoch'\. It takes \['d_input'.*Did you mean 'n_epochs'\?"
    ):
        make(8, 2, n_epoch=3)


@pytest.mark.parametrize(
    "change",
    [{}, {"n_pcs": 4}, {"input_scale": "none", "lr": 1e-3}, {"constant": 0.0}, {"scale_targets": False}],
)
def test_output_is_exactly_intercept_linear_and_quadratic_in_the_genes(change):
    train, val = halves(*data(shift=3.0))
    model = ScBMLPRegressor(quick(**change)).double()
    pairs = [tuple(t.double() for t in pair) for pair in (train, val)]
    model.fit(*pairs)
    x = 5 * pairs[1][0]
    intercept, linear = model.affine_on_genes()
    expected = intercept + x @ linear.T
    for o in range(2):
        b = core.interaction_matrix(model.w_l, model.w_r, model.w_p[o])
        expected[:, o] += ((x @ b) * x).sum(1)
    with torch.no_grad():
        torch.testing.assert_close(model(x), expected)
    assert model.w_l.shape == model.w_r.shape == (5, 8)
    assert model.w_p.shape == (2, 5)
    assert linear.abs().max() > 0 or change.get("constant") == 0.0


def test_unit_scale_is_quadratic_in_cells_of_length_one():
    train, val = halves(*data())
    model = ScBMLPRegressor(quick(input_scale="unit"))
    model.fit(train, val)
    x = core.unit_rows(val[0])
    intercept, linear = model.affine_on_genes()
    with torch.no_grad():
        expected = intercept + x @ linear.T + core.bilinear(x, model.w_l, model.w_r, model.w_p)
        torch.testing.assert_close(model(val[0]), expected, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(model(9 * val[0]), model(val[0]))


def test_the_seed_and_nothing_else_decides():
    train, val = halves(*data())
    options = {"dropout_rate": 0.3, "input_noise": 0.5}
    states = []
    for seed, disturb in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(disturb)
        np.random.seed(disturb)
        model = ScBMLPRegressor(quick(seed=seed, **options))
        history = model.fit(train, val)
        states.append((torch.cat([p.flatten() for p in model.parameters()]).detach(), history.val_losses))
    assert torch.equal(states[0][0], states[1][0])
    assert states[0][1] == states[1][1]
    assert not torch.equal(states[0][0], states[2][0])


@pytest.mark.parametrize("change", [{"dropout_rate": 0.5}, {"input_noise": 3.0}])
def test_noise_and_dropout_act_in_training_only(change):
    train, val = halves(*data())
    results = []
    for options in (change, {"input_noise": 0.0}):
        model = ScBMLPRegressor(quick(**({"input_noise": 0.0} | options)))
        model.fit(train, val)
        results.append(model.w_l)
        with torch.no_grad():
            assert torch.equal(model(val[0]), model(val[0]))
            model.train()  # outside of a training the layer is the same in both modes
            first = model(val[0])
            model.eval()
            assert torch.equal(first, model(val[0]))
    assert not torch.equal(*results)


def test_global_state_is_left_alone():
    train, val = halves(*data())
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy(), torch.get_num_threads()
    for model in (ScBMLPRegressor(quick()), ScBMLPRegressor(Config.original(8, 2, n_epochs=2))):
        model.fit(train, val)
        assert torch.is_grad_enabled()
        assert not model.training
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])
    assert torch.get_num_threads() == before[2]
    x = torch.ones(1, requires_grad=True)
    (x * 2).backward()  # the original left gradients switched off
    assert x.grad.item() == 2


def test_all_kinds_of_data_sets_are_equal():
    x, y = data()
    train, val = halves(x, y)
    rows = torch.arange(70).tolist(), torch.arange(70, 90).tolist()
    whole = TensorDataset(x, y)
    forms = [
        (train, val),
        (TensorDataset(*train), TensorDataset(*val)),
        (Subset(whole, rows[0]), Subset(whole, rows[1])),
        (Subset(Rows(x, y), rows[0]), Rows(*val)),
    ]
    weights = []
    for a, b in forms:
        model = ScBMLPRegressor(quick())
        model.fit(a, b)
        weights.append(model.w_l)
    for w in weights[1:]:
        assert torch.equal(w, weights[0])


def test_history_unpacks_and_the_best_epoch_is_kept():
    train, val = halves(*data())
    model = ScBMLPRegressor(quick(n_epochs=12, lr=0.3))
    train_losses, val_losses = model.fit(train, val)
    assert len(train_losses) == len(val_losses) == 12
    assert model.history.best_epoch == int(np.argmin(val_losses))
    with torch.no_grad():
        scaled = (model(val[0]) - val[1]) / model.target_std
    assert (scaled**2).mean().item() == pytest.approx(min(val_losses), rel=1e-4)


def test_validation_loss_is_the_mean_over_cells_not_over_batches():
    train, val = halves(*data())
    model = ScBMLPRegressor(quick(n_epochs=1, lr=0.0, batch_size=16))  # 20 validation cells: 16 and 4
    _, (loss,) = model.fit(train, val)
    expected = (
        (((val[1] - train[1].mean(0)) / train[1].std(0)) ** 2).mean().item()
    )  # the zero head predicts 0
    assert loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_cells_than_a_batch(n):
    x, y = data(10)
    model = ScBMLPRegressor(quick(batch_size=64))
    history = model.fit((x[:n], y[:n]), (x[n:], y[n:]))
    assert np.isfinite(history.val_losses).all()


def test_vector_of_targets_is_one_output():
    x, y = data(outputs=1)
    losses = []
    for target in (y, y[:, 0]):
        model = ScBMLPRegressor(Config.repaired(8, 1, n_epochs=2))
        losses.append(model.fit(*halves(x, target)).val_losses)
    assert losses[0] == losses[1]


@pytest.mark.parametrize("loss_fn", ["mse", "l1", "huber"])
def test_losses_learn_a_quadratic_target(loss_fn):
    x, y = data(600)
    train, val = halves(x, y, 500)
    model = ScBMLPRegressor(Config.repaired(8, 2, n_epochs=60, lr=1e-2), loss_fn)
    model.fit(train, val)
    with torch.no_grad():
        r2 = 1 - ((model(val[0]) - val[1]) ** 2).mean(0) / val[1].var(0)
    assert (r2 > 0.7).all()


def test_repairs_are_needed():
    x, y = data(500)
    train, val = halves(x, y, 400)
    r2 = []
    for cfg in (Config.repaired(8, 2, n_epochs=30, lr=1e-2), Config.original(8, 2, n_epochs=30)):
        model = ScBMLPRegressor(cfg)
        model.fit(train, val)
        with torch.no_grad():
            r2.append((1 - ((model(val[0]) - val[1]) ** 2).mean(0) / val[1].var(0)).min().item())
    assert r2[0] > 0.7
    assert r2[1] < 0  # worse than the mean


def test_constant_target_is_predicted():
    x, y = data(shift=1.0)
    y[:, 1] = 4.0
    train, val = halves(x, y)
    model = ScBMLPRegressor(quick())
    model.fit(train, val)
    with torch.no_grad():
        torch.testing.assert_close(model(val[0])[:, 1], torch.full((20,), 4.0), atol=0.5, rtol=0)


@pytest.mark.parametrize(
    ("sets", "kind", "text"),
    [
        (lambda x, y: ((x, y), (x[:0], y[:0])), ValueError, "The val set has no cells.*bmlp.split"),
        (lambda x, y: ((x[:0], y[:0]), (x, y)), ValueError, "The train set has no cells"),
        (lambda x, y: ((x, y), Rows(x[:0], y[:0])), ValueError, "The val set has no cells"),
        (
            lambda x, y: ((x[:, :5], y), (x, y)),
            ValueError,
            r"train cells have shape \(90, 5\).*Config\(d_input=5\)",
        ),
        (
            lambda x, y: ((x, y[:, :1]), (x, y[:, :1])),
            ValueError,
            r"targets have 1 columns.*Config\(d_output=1\)",
        ),
        (lambda x, y: ((x, y), (x, y[:, :1])), ValueError, r"val targets? .*1 columns"),
        (lambda x, y: ((x[:50], y), (x, y)), ValueError, r"train set has 50 cells.*90 targets"),
        (lambda x, y: ((x / 0, y), (x, y)), ValueError, "train cells hold? .*NaN or infinite"),
        (lambda x, y: ((x, y * float("nan")), (x, y)), ValueError, "train targets hold? .*NaN or infinite"),
        (lambda x, y: ((x, y), (x, y * float("nan"))), ValueError, "val targets hold? .*NaN or infinite"),
        (
            lambda x, y: ((x.numpy().astype(str), y), (x, y)),
            TypeError,
            "train cells has type .*must be numeric",
        ),
        (lambda x, y: ((x, y, y), (x, y)), ValueError, r"train.*\(x, y\)"),
        (lambda x, y: (None, (x, y)), TypeError, r"train.*NoneType.*\(x, y\)"),
    ],
)
def test_regressor_refuses(sets, kind, text):
    with pytest.raises(kind, match=text):
        ScBMLPRegressor(quick()).fit(*sets(*data()))


def test_integers_doubles_and_arrays_are_taken():
    x, y = data()
    for a, b in ((x.double(), y.double()), (x.round().int(), y), (x.numpy(), y.numpy())):
        losses, _ = ScBMLPRegressor(quick(n_epochs=1)).fit(*halves(a, b))
        assert np.isfinite(losses).all()


def test_forward_refuses_other_genes():
    with pytest.raises(
        ValueError, match=r"The cells have 5 genes, but the model was made for 8\. .*adata\[:, gene_names\]"
    ):
        ScBMLPRegressor(quick())(torch.zeros(3, 5))


def test_unknown_loss_names_the_choices():
    with pytest.raises(ValueError, match=r"`loss_fn` is 'mae', but must be one of \['mse', 'l1', 'huber'\]"):
        ScBMLPRegressor(quick(), "mae")


def test_not_finite_loss_names_epoch_rate_and_fix():
    x, y = data()
    model = ScBMLPRegressor(Config(d_input=8, d_output=2, input_scale="none", lr=1e30, n_epochs=3))
    with pytest.raises(
        FloatingPointError, match=r"The loss became (nan|inf) in epoch \d+ \(learning rate .*clip"
    ):
        model.fit(*halves(1e3 * x, y))
    assert torch.is_grad_enabled()


def test_weights_survive_state_dict():
    train, val = halves(*data(shift=2.0))
    model = ScBMLPRegressor(quick(n_pcs=3))
    model.fit(train, val)
    other = ScBMLPRegressor(quick(n_pcs=3, seed=9))
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other(val[0]), model(val[0]))


def clusters(n=150, genes=8):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 3
    centre = 2.0 * torch.eye(3, genes)
    return centre[y] + 0.3 * torch.randn(n, genes, generator=g), y


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.float32])
def test_classifier_learns_separable_classes(dtype):
    x, y = clusters()
    model = ScBMLPClassifier(Config.repaired(8, 3, n_epochs=15))
    model.fit((x[:100], y[:100].to(dtype)), (x[100:], y[100:].to(dtype)))
    assert model.predict(x[100:]).eq(y[100:]).all()
    assert model(x).shape == (150, 3)
    b = core.interaction_matrix(model.w_l, model.w_r, model.w_p[0])
    intercept, linear = model.affine_on_genes()
    with torch.no_grad():
        expected = intercept[0] + x @ linear[0] + ((x @ b) * x).sum(1)
        torch.testing.assert_close(model(x)[:, 0], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "kind", "text"),
    [
        (lambda y: y + 1, ValueError, r"run from 1 to 3, but Config\(d_output=3\).*Config\(d_output=4\)"),
        (lambda y: y - 1, ValueError, "run from -1 to 1"),
        (lambda y: y + 0.5, ValueError, "whole numbers"),
        (
            lambda y: torch.nn.functional.one_hot(y, 3),
            ValueError,
            r"\(100, 3\).*one class number per cell.*argmax",
        ),
    ],
)
def test_classifier_refuses_labels(labels, kind, text):
    x, y = clusters()
    y = labels(y)
    with pytest.raises(kind, match=text):
        ScBMLPClassifier(Config.repaired(8, 3, n_epochs=1)).fit((x[:100], y[:100]), (x[100:], y[100:]))
