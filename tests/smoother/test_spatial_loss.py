"""The spatial and the contrastive loss as modules: values, laws, storage, malformed input."""

import copy
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg, sparse

from scmods import _checks
from scmods.smoother import losses
from scmods.smoother.contrastive import ContrastiveSpatialLoss
from scmods.smoother.spatial_loss import SpatialLoss

REFERENCE = dict(np.load(Path(__file__).parents[1] / "data" / "smoother_losses.npz"))
PRIORS = ["icar", "car", "sar", "isar", "sma"]
W = REFERENCE["A_W"]
seeds = st.integers(0, 10_000)


def tensor(name):
    return torch.tensor(REFERENCE[name])


BETA = tensor("A_beta")


def close(found, expected, atol=1e-9):
    found, expected = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (found, expected))
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def graph(seed, n=9):
    rng = np.random.default_rng(seed)
    w = np.triu(rng.random((n, n)) * (rng.random((n, n)) < 0.5), 1)
    w[np.arange(n - 1), np.arange(1, n)] += 0.3
    return w + w.T


def make(prior, kind=SpatialLoss, **options):
    """The loss of one prior at the rho of the reference; "kl" compares neighbours."""
    rho = 1.0 if prior == "kl" else float(REFERENCE[f"A_rho_{prior}"])
    return kind(prior, W, rho, **options)


@pytest.mark.parametrize("use_sparse", [True, False])
@pytest.mark.parametrize("prior", PRIORS)
def test_priors_match_reference(prior, use_sparse):
    loss = make(prior, use_sparse=use_sparse)
    close(loss(BETA), REFERENCE[f"A_quad_{prior}_norm"])
    close(loss(BETA, normalize=False), REFERENCE[f"A_quad_{prior}_raw"])
    # the dense attribute is the matrix of the loss
    close(((BETA @ loss.inv_cov[0]) * BETA).sum(), REFERENCE[f"A_quad_{prior}_raw"])
    assert (loss.inv_cov_2d_sp is not None) == (use_sparse and prior != "sma")


@pytest.mark.parametrize("use_sparse", [True, False])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("kind", [SpatialLoss, ContrastiveSpatialLoss])
def test_derivatives_of_both_orders(kind, prior, use_sparse):
    rho = float(REFERENCE[f"A_rho_{prior}"])
    loss = kind(prior, graph(1, 4) / 2, rho / 2, use_sparse=use_sparse)
    loss.confidences.mul_(0.7)
    x = BETA[:2, :4].clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, x)
    assert torch.autograd.gradgradcheck(loss, x)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_one_matrix_per_group(prior, standardize):
    graphs = [sparse.csr_array(w) for w in (W, 0.5 * W, W * (W @ W > 0) + 0.25 * W)]
    rho = float(REFERENCE[f"A_rho_{prior}"])
    many = SpatialLoss(prior, graphs, rho, standardize_cov=standardize)
    alone = [SpatialLoss(prior, w, rho, standardize_cov=standardize) for w in graphs]
    expected = sum(one(BETA[[g]], normalize=False) for g, one in enumerate(alone))
    close(many(BETA, normalize=False), expected)
    close(many(BETA), expected / BETA.numel())
    assert many.inv_cov.shape == (3, 25, 25)
    contrast = ContrastiveSpatialLoss(prior, graphs, rho, standardize_cov=standardize)
    close(
        contrast.max_ratio,
        min(ContrastiveSpatialLoss(prior, w, rho, True, standardize).max_ratio for w in graphs),
    )


@pytest.mark.parametrize("prior", PRIORS)
def test_standardised_variances_are_one(prior):
    covariance = torch.linalg.inv(make(prior, standardize_cov=True).inv_cov[0])
    close(covariance.diagonal(), torch.ones(25))
    plain = torch.linalg.inv(make(prior).inv_cov[0])
    sd = plain.diagonal().sqrt()
    close(covariance, plain / sd[:, None] / sd)


def test_improper_prior_standardised_is_the_normalised_laplacian():
    degree = W.sum(1)
    expected = np.eye(25) - W / np.sqrt(degree[:, None] * degree)
    close(SpatialLoss("icar", W, 1, standardize_cov=True).inv_cov[0], expected)


@pytest.mark.parametrize("prior", [*PRIORS, "kl"])
def test_module_moves_copies_and_saves(prior):
    loss = make(prior)
    loss.confidences = (
        torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64) if prior != "kl" else loss.confidences
    )
    value = loss(BETA)
    twin = copy.deepcopy(loss)
    close(twin(BETA), value, atol=0)
    single = twin.to(torch.float32)
    assert single(BETA.float()).dtype == torch.float32
    close(single(BETA), value, atol=1e-4)
    assert {v.dtype for v in single.state_dict().values() if v.is_floating_point()} == {torch.float32}
    close(single.double()(BETA), value, atol=1e-4)
    # another module of the same graph takes over values and confidences
    other = SpatialLoss(prior, W, 0.05)
    other.load_state_dict(loss.state_dict())
    close(other(BETA), value, atol=1e-12)
    assert f"prior='{prior}'" in repr(loss)


def test_single_precision_field_gets_a_single_precision_loss():
    x = BETA.float().requires_grad_()
    value = make("icar")(x)
    value.backward()
    assert value.dtype == x.grad.dtype == torch.float32
    close(value, REFERENCE["A_quad_icar_norm"], atol=1e-6)


def test_no_global_generator_is_touched():
    torch.manual_seed(3)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    contrast = ContrastiveSpatialLoss("icar", W, 0.99, neg2pos_ratio=0.01, check_positive_definite=True)
    first = contrast(BETA)
    losses.sparse_quadratic_loss(BETA, contrast.inv_cov_2d_sp, 1.0)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert contrast(BETA) == first


def test_kl_reads_logits_abundance_or_proportions():
    logits, p = BETA, BETA.softmax(0)
    close(SpatialLoss("kl")(logits), REFERENCE["A_kl_from_logits"])
    close(SpatialLoss("kl", W)(logits), REFERENCE["A_kl_from_logits_weighted"])
    by_share = SpatialLoss("kl", W, kl_input="proportions")(p)
    by_amount = SpatialLoss("kl", W, kl_input="abundance")(p * torch.linspace(0.1, 9, 25))
    close(by_share, REFERENCE["A_kl_from_logits_weighted"])
    close(by_amount, by_share)
    close(SpatialLoss("kl", W, use_sparse=False)(logits), by_share)
    for kind, x in (("logits", logits), ("abundance", p), ("proportions", p)):
        loss = SpatialLoss("kl", graph(0, 4), kl_input=kind)
        assert torch.autograd.gradcheck(loss, x[:, :4].clone().requires_grad_())
    with pytest.raises(ValueError, match=r"Column 2 of `coefs` sums to 0, so it has no proportions"):
        SpatialLoss("kl", kl_input="abundance")(p * (torch.arange(25) != 2))
    with pytest.raises(ValueError, match="Column 3 of p sums to 2"):
        SpatialLoss("kl", kl_input="proportions")(p * (1 + (torch.arange(25) == 3)))
    with pytest.raises(ValueError, match="`kl_input` is 'counts', but must be one of"):
        SpatialLoss("kl", kl_input="counts")


def test_confidences_match_reference():
    loss = make("icar")
    assert loss.estimate_confidence(REFERENCE["A_ref_exp"], tensor("A_st_exp")) is None
    close(loss.confidences, REFERENCE["A_confidence"])
    expected = losses.quadratic_loss(BETA, loss.inv_cov, tensor("A_confidence"))
    close(loss(BETA), expected)
    fresh = make("icar")
    fresh.load_state_dict(loss.state_dict())
    close(fresh(BETA), expected)


def test_confidences_refuse_what_they_cannot_weigh():
    loss, reference, st_exp = make("icar"), REFERENCE["A_ref_exp"], REFERENCE["A_st_exp"]
    with pytest.raises(NotImplementedError, match="`method` is 'svr', but must be 'lr'"):
        loss.estimate_confidence(reference, st_exp, "svr")
    with pytest.raises(ValueError, match="`ref_exp` has 9 genes and `st_exp` 10"):
        loss.estimate_confidence(reference[:9], st_exp)
    with pytest.raises(ValueError, match="`ref_exp` has rank 2 for 3 groups"):
        loss.estimate_confidence(reference * [1, 1, 0], st_exp)
    with pytest.raises(ValueError, match="abundance of no group varies over spots"):
        loss.estimate_confidence(reference, 0 * st_exp)
    with pytest.raises(ValueError, match="`st_exp` holds 1 values that are NaN"):
        loss.estimate_confidence(reference, np.where(st_exp == st_exp[2, 3], np.nan, st_exp))
    with pytest.raises(ValueError, match=r"`ref_exp` has shape \(10,\)"):
        loss.estimate_confidence(reference[:, 0], st_exp)


def test_decay_of_correlations_matches_reference():
    loss = SpatialLoss("icar", REFERENCE["B_W"], float(REFERENCE["B_rho"]))
    table, variances = loss.calc_corr_decay_stats(REFERENCE["B_coords"], 0, 6, return_var=True)
    close(table.iloc[:, :5].to_numpy(), REFERENCE["B_decay_quantiles"])
    assert table.k.tolist() == list(range(7))
    close(variances.to_numpy()[0, :5], REFERENCE["B_var_quantiles"])


def test_decay_of_the_moving_average_equals_the_dense_inverse():
    coords = np.stack(np.divmod(np.arange(25), 5), 1) + np.arange(50).reshape(25, 2) % 7 / 50
    sparse_, dense = make("sma"), make("sma", use_sparse=False)
    tables = [loss.calc_corr_decay_stats(coords, 1, 4).to_numpy() for loss in (sparse_, dense)]
    close(tables[0], tables[1])


def test_decay_needs_a_covariance():
    coords = REFERENCE["B_coords"]
    with pytest.raises(RuntimeError, match="'icar' with rho=1 is improper: its variance is infinite"):
        SpatialLoss("icar", REFERENCE["B_W"]).calc_corr_decay_stats(coords, max_k=3)
    with pytest.raises(ValueError, match="prior='kl' has no covariance"):
        SpatialLoss("kl").calc_corr_decay_stats(coords)
    with pytest.raises(ValueError, match="`cov_ind` is 1"):
        SpatialLoss("icar", REFERENCE["B_W"], 0.9).calc_corr_decay_stats(coords, cov_ind=1)


def test_contrastive_matches_reference():
    loss = ContrastiveSpatialLoss("icar", W, float(REFERENCE["A_rho_icar"]), standardize_cov=False)
    assert loss.neg2pos_ratio == REFERENCE["A_contrast_r"]
    close(loss(BETA), REFERENCE["A_contrast_unclamped"])
    close(loss.max_ratio, REFERENCE["A_contrast_r_max_psd"])
    close((make("icar")(BETA) - loss(BETA)) / 0.5, REFERENCE["A_contrast_neg_expected"])


def test_contrastive_warns_at_the_bound_and_keeps_value_and_gradient():
    loss = ContrastiveSpatialLoss("icar", W, float(REFERENCE["A_rho_icar"]), standardize_cov=False)
    x = tensor("A_beta_smooth").requires_grad_()
    with pytest.warns(
        _checks.NumericalWarning, match="is -36.39, below its bound of -1: the permuted term"
    ) as seen:
        value = loss(x)
    assert Path(seen[0].filename).name == Path(__file__).name
    close(value, REFERENCE["A_contrast_smooth_unclamped"])
    close(value.clamp(min=-1), REFERENCE["A_contrast_smooth_clamped_m1"])
    value.backward()
    assert x.grad.norm() > 1
    with pytest.warns(_checks.NumericalWarning, match="below its bound of -50"):
        loss(x.detach(), normalize=False)
    loss.lower_bound = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loss(x.detach())


@pytest.mark.parametrize("prior", PRIORS)
def test_contrastive_equals_the_mean_over_permutations(prior):
    from itertools import permutations

    loss = ContrastiveSpatialLoss(prior, graph(2, 6) / 4, 0.4, neg2pos_ratio=1.0, lower_bound=None)
    plain = SpatialLoss(prior, graph(2, 6) / 4, 0.4, standardize_cov=True)
    x = BETA[:, :6]
    q = plain.inv_cov[0]
    orders = torch.tensor(list(permutations(range(6))))
    shuffled = x[:, orders]
    mean = torch.einsum("gpi,ij,gpj->gp", shuffled, q, shuffled).mean(1).sum()
    close(loss(x, normalize=False), plain(x, normalize=False) - mean, atol=1e-10)


@settings(max_examples=25)
@given(seeds, st.floats(0.1, 1.5))
def test_contrastive_is_negative_if_and_only_if_geary_is_below_the_ratio(seed, ratio):
    w = graph(seed)
    x = torch.tensor(np.random.default_rng(seed).normal(size=(1, 9))) + 3
    loss = ContrastiveSpatialLoss("icar", w, 1, standardize_cov=False, neg2pos_ratio=ratio, lower_bound=None)
    c = losses.geary_c(x, torch.tensor(w))
    assert (loss(x) < 0) == (c < ratio)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("prior", PRIORS)
def test_largest_ratio_is_the_smallest_generalised_eigenvalue(prior, standardize):
    loss = make(prior, ContrastiveSpatialLoss, standardize_cov=standardize, lower_bound=None)
    q = loss.inv_cov[0].numpy()
    a, b = (float(v) for v in losses.permutation_expectation(torch.tensor(q)))
    values, vectors = linalg.eigh(q, (a - b) * np.eye(25) + b)
    close(loss.max_ratio, values[0])
    close(
        make(prior, ContrastiveSpatialLoss, standardize_cov=standardize, use_sparse=False).max_ratio,
        values[0],
    )
    worst = torch.tensor(vectors[:, :1].T)
    for share, sign in ((0.99, 1), (1.01, -1)):
        loss.neg2pos_ratio = share * loss.max_ratio
        assert sign * float(loss(worst)) > 0
    assert not loss.double().load_state_dict(loss.state_dict()).missing_keys
    close(loss.max_ratio, values[0])


def test_largest_ratio_of_an_improper_prior():
    plain = ContrastiveSpatialLoss("icar", W, 1, standardize_cov=False)
    a, b = plain.expectation[0]
    close(plain.max_ratio, np.linalg.eigvalsh(plain.inv_cov[0])[1] / (a - b))
    # sqrt(degree) is free after standardisation, one constant per piece in a broken graph
    assert ContrastiveSpatialLoss("icar", W, 1).max_ratio == 0
    pieces = linalg.block_diag(W, W)
    assert ContrastiveSpatialLoss("icar", pieces, 1, standardize_cov=False).max_ratio == 0
    pair = ContrastiveSpatialLoss("icar", np.array([[0.0, 1.0], [1.0, 0.0]]), 1, standardize_cov=False)
    close(pair.max_ratio, 1.0)


def test_check_positive_definite_says_so():
    with pytest.warns(_checks.NumericalWarning, match=r"neg2pos_ratio=0.5 is above max_ratio=0.12"):
        loss = make("icar", ContrastiveSpatialLoss, standardize_cov=False, check_positive_definite=True)
    with pytest.warns(_checks.NumericalWarning, match="above max_ratio"):
        assert loss.check_positive_definite(n_tests=3) is False
    loss.neg2pos_ratio = 0.11
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert loss.check_positive_definite() is True


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: SpatialLoss("carr", W), NotImplementedError, "`prior` is 'carr', but .* Did you mean 'car'"),
        (lambda: SpatialLoss("icar"), ValueError, "prior='icar' needs `spatial_weights`"),
        (lambda: ContrastiveSpatialLoss(), ValueError, "prior='icar' needs `spatial_weights`"),
        (lambda: SpatialLoss("kl", [W, W]), ValueError, "takes one weight matrix, not 2"),
        (lambda: SpatialLoss("kl", -W), ValueError, "must be positive for prior='kl'"),
        (lambda: SpatialLoss("kl", 0 * W), ValueError, "not all zero"),
        (lambda: ContrastiveSpatialLoss("kl", W), ValueError, "prior='kl' has no precision matrix"),
        (lambda: SpatialLoss("icar", [W, W[:9, :9]]), ValueError, r"different sizes, \[9, 25\]"),
        (lambda: SpatialLoss("icar", "W"), TypeError, "`spatial_weights` holds a str"),
        (lambda: SpatialLoss("icar", W[:5]), ValueError, "must be square"),
        (lambda: SpatialLoss("icar", W, "1"), TypeError, "`rho` is '1' of type str"),
        (lambda: SpatialLoss("car", W, 1), ValueError, "rho=1 is outside the range of prior='car'"),
        (lambda: SpatialLoss("icar", np.triu(W) + 0.1 * W), ValueError, "needs symmetric weights"),
        (lambda: make("icar", ContrastiveSpatialLoss, neg2pos_ratio=-1), ValueError, "`neg2pos_ratio` is -1"),
    ],
)
def test_malformed_arguments(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


class EmptyWeights:
    swm_scaled = None


def test_weight_object_without_weights():
    with pytest.raises(ValueError, match="SpatialWeightMatrix is empty"):
        SpatialLoss("icar", EmptyWeights())
    full = EmptyWeights()
    full.swm_scaled = sparse.csr_array(W)
    close(SpatialLoss("icar", full, 0.99)(BETA), REFERENCE["A_quad_icar_norm"])


@pytest.mark.parametrize("prior", ["icar", "sma", "kl"])
def test_malformed_fields(prior):
    loss = make(prior)
    with pytest.raises(
        ValueError, match=r"`coefs` has shape \(25, 3\), .* It looks transposed: pass coefs.T"
    ):
        loss(BETA.T)
    with pytest.raises(
        ValueError, match=r"`coefs` has shape \(3, 24\), but must be \(groups, spots\) with 25"
    ):
        loss(BETA[:, :24])
    with pytest.raises(
        ValueError, match=r"`coefs` has shape \(25,\), .* For one group write coefs\[None, :\]"
    ):
        loss(BETA[0])
    with pytest.raises(TypeError, match="`coefs` is a tensor of torch.int64"):
        loss(BETA.long())
    with pytest.raises(TypeError, match="`coefs` is a ndarray"):
        loss(BETA.numpy())
    bad = BETA.clone()
    bad[2, 7] = torch.nan
    with pytest.raises(ValueError, match="1 values that are NaN or infinite; first at group 2, spot 7"):
        loss(bad)


def test_fields_that_do_not_fit_matrices_or_confidences():
    with pytest.raises(ValueError, match="There are 2 spatial weight matrices for 3 groups"):
        SpatialLoss("icar", [W, W], 0.9)(BETA)
    with pytest.raises(ValueError, match="entries of `coefs` up to 1e.200 overflow"):
        make("icar")(BETA / BETA.abs().max() * 1e200)
    loss = make("icar")
    loss.confidences = torch.ones(3, dtype=torch.float64)
    with pytest.raises(ValueError, match="There are 3 confidences for 2 groups"):
        loss(BETA[:2])
