"""The flows are densities, their inverse samples them, and they equal nflows wherever nflows is right."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from nflows.flows import Flow
from nflows.transforms import (
    MaskedAffineAutoregressiveTransform,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
)
from torch import Tensor

from methods.gpril.flows import sampling
from methods.gpril.flows.factory import KINDS, FlowShape, make_flow, sample
from methods.gpril.flows.made import MadeStack
from methods.gpril.likelihood import LikelihoodTrainer
from methods.interface import MethodError

SHAPES = [
    FlowShape(1, 1, (8,), layers=1),
    FlowShape(2, 3, (20, 20)),
    FlowShape(5, 4, (3, 70, 13), layers=3, sigma_floor=0.0),  # fewer units than dimensions, several blocks
    FlowShape(21, 7, (200, 160), sigma_floor=0.01),
]


def random_flow(shape: FlowShape, kind: str = "fast", seed: int = 0) -> Flow:
    """A float64 flow; the weights of ours and of splines are large enough to be far from the identity."""
    torch.manual_seed(seed)
    flow = make_flow(shape, kind).double()
    for module in flow.modules():
        if isinstance(module, MadeStack):
            for vector in module.weights.data:
                for weight, matrix in zip(module.layout.views(vector), module.layout.matrices, strict=True):
                    mask = matrix.mask()
                    weight[:] = torch.randn_like(weight) * mask / mask.sum(1, keepdim=True).sqrt()
        elif isinstance(module, MaskedPiecewiseRationalQuadraticAutoregressiveTransform):
            last = module.autoregressive_net.final_layer
            last.weight.data.normal_(std=last.in_features**-0.5)
    return flow


def rows(shape: FlowShape, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    return torch.randn(count, shape.features, **options), torch.randn(count, shape.context, **options)


def jacobian(flow: Flow, x: Tensor, context: Tensor) -> Tensor:
    """dz/dx [D, D] of one row, by the product rule alone."""
    return torch.autograd.functional.jacobian(lambda v: flow.transform_to_noise(v[None], context[None])[0], x)


@pytest.mark.parametrize(
    ("kind", "features", "layers"),
    [("fast", 1, 1), ("fast", 1, 2), ("fast", 2, 1), ("fast", 2, 2), ("spline", 1, 1), ("spline", 2, 2)],
)
def test_density_integrates_to_one(kind: str, features: int, layers: int) -> None:
    """On a grid; it is coarse for a spline, whose density has kinks."""
    shape = FlowShape(features, 2, (16, 16), layers, sigma_floor=0.3)
    flow = random_flow(shape, kind)
    axis = torch.linspace(-30.0, 30.0, 801, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * features).view(-1, features)
    for context in rows(shape, 3)[1]:
        with torch.no_grad():
            density = flow.log_prob(grid, context=context.expand(len(grid), -1)).exp()
        assert float(density.sum()) * (axis[1] - axis[0]) ** features == pytest.approx(
            1.0, abs=1e-4 if kind == "fast" else 1e-3
        )


@pytest.mark.parametrize(("kind", "shape"), [*(("fast", shape) for shape in SHAPES), ("spline", SHAPES[1])])
def test_log_determinant_is_autograds(kind: str, shape: FlowShape) -> None:
    flow = random_flow(shape, kind)
    for x, context in zip(*rows(shape, 3), strict=True):
        expected = torch.linalg.slogdet(jacobian(flow, x, context)).logabsdet
        logabsdet = flow._transform(x[None], context[None])[1]
        torch.testing.assert_close(logabsdet[0], expected)


def reference(stack: MadeStack, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """z and log |det dz/dx| as the definition has them, by weights multiplied with masks."""
    layout, logabsdet = stack.layout, torch.zeros(len(x))
    outputs = [dimension for dimension in range(layout.features) for _ in range(2)]
    for layer, vector in enumerate(stack.weights):
        x = x.flip(1) if layer else x
        units, seen = torch.cat((context, x), dim=1), [0] * layout.context + list(range(1, layout.features + 1))
        for matrix, degrees in zip(layout.views(vector), [*layout.degrees, outputs], strict=True):
            mask = torch.tensor([[degree >= below for below in seen] for degree in degrees])
            units = torch.nn.functional.linear(units, matrix[:, 1:] * mask, matrix[:, 0])
            units, seen = units.relu() if degrees is not outputs else units, degrees
        mean, spread = units.view(len(x), layout.features, 2).unbind(-1)
        sigma = stack.sigma_floor + torch.nn.functional.softplus(spread * stack.beta) / stack.beta
        x, logabsdet = (x - mean) / sigma, logabsdet - sigma.log().sum(1)
    return x, logabsdet


@pytest.mark.parametrize("shape", [*SHAPES, FlowShape(9, 3, (300, 260))])
def test_values_and_gradients_are_those_of_the_definition(shape: FlowShape) -> None:
    stack = random_flow(shape)._transform
    x, context = (part.requires_grad_() for part in rows(shape, 30))
    towards, importance = rows(shape, 30, seed=2)
    outcomes = []
    for function in (stack, lambda x, c: reference(stack, x, c)):
        z, logabsdet = function(x, context)
        loss = (z * towards).sum() + (logabsdet * importance[:, 0]).sum()
        outcomes.append((z, logabsdet, *torch.autograd.grad(loss, (x, context, stack.weights))))
    for ours, expected in zip(*outcomes, strict=True):
        torch.testing.assert_close(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_sampling_inverts_the_forward_pass(kind: str, dtype: torch.dtype) -> None:
    for shape in (SHAPES[0], SHAPES[1], FlowShape(21, 7, (168, 168))):
        flow = random_flow(shape, kind).to(dtype)
        noise, context = (part.to(dtype) for part in rows(shape, 50))
        x = sample(flow, context, noise=noise)
        assert x.dtype == dtype and x.shape == noise.shape and not x.requires_grad
        tolerance = 1e-9 if dtype == torch.float64 else 2e-3
        torch.testing.assert_close(flow.transform_to_noise(x, context), noise, atol=tolerance, rtol=tolerance)
        logabsdet = flow._transform.inverse(noise, context)[1]
        torch.testing.assert_close(logabsdet, -flow._transform(x, context)[1], atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
def test_inverse_does_not_depend_on_how_many_rows_there_are(shape: FlowShape, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples of several chunks are those of single ones, and none is overwritten by a later call."""
    monkeypatch.setattr(sampling, "WORKING_SET", 5000)
    flow = random_flow(shape)
    noise, context = rows(shape, 1003)
    assert 1 < sampling.chunk_width(flow._transform.layout, 1003) < 500
    every = sample(flow, context, noise=noise)
    torch.testing.assert_close(flow.transform_to_noise(every, context), noise)
    for count in (1, 7, 500, 501):
        few = sample(flow, context[:count], noise=noise[:count])
        sample(flow, context[:count].flip(0), noise=noise[:count].flip(0))
        torch.testing.assert_close(few, every[:count])


def test_inverse_follows_the_weights() -> None:
    """The views kept by the inverse see updates in place, copies, new types and loaded weights."""
    shape = FlowShape(4, 3, (16, 16), identity_start=False)
    flow = make_flow(shape)
    noise, context = (part.float() for part in rows(shape, 20))

    def check(flow: Flow, noise: Tensor = noise, context: Tensor = context) -> None:
        z = flow.transform_to_noise(sample(flow, context, noise=noise), context)
        torch.testing.assert_close(z, noise, atol=1e-4, rtol=1e-4)

    check(flow)
    twin = copy.deepcopy(flow)
    LikelihoodTrainer(flow, 0.01).step(noise, context)
    check(flow)
    check(twin)
    assert not torch.equal(sample(flow, context, noise=noise), sample(twin, context, noise=noise))
    twin.load_state_dict(flow.state_dict())
    torch.testing.assert_close(sample(flow, context, noise=noise), sample(twin, context, noise=noise))
    check(flow.double(), noise.double(), context.double())


@pytest.mark.parametrize("kind", ["fast", "spline"])
def test_samples_are_reproducible_and_normal_at_the_start(kind: str) -> None:
    flow = make_flow(FlowShape(3, 2), kind)
    context = torch.randn(4000, 2)
    first, again = (sample(flow, context, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    torch.testing.assert_close(first.T.cov(), torch.eye(3), atol=0.1, rtol=0.0)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(first).sum(1)
    torch.testing.assert_close(flow.log_prob(first, context=context), normal)


def test_each_layer_is_autoregressive_and_two_connect_all() -> None:
    for layers in (1, 2):
        shape = FlowShape(6, 3, (120, 120), layers)
        x, context = (part[0] for part in rows(shape, 1))
        full = jacobian(random_flow(shape), x, context)
        if layers == 1:
            assert torch.equal(full, full.tril())
            full = full + full.triu(1).T + torch.ones(6, 6).triu(1)
        assert (full != 0.0).all()


def context_dependence(flow: Flow, shape: FlowShape) -> Tensor:
    """Which outputs of a flow of one layer depend on the context, [D]."""
    x, context = rows(shape, 20)
    full = torch.autograd.functional.jacobian(lambda c: flow.transform_to_noise(x, c).sum(0), context)
    return full.abs().sum((1, 2)) > 0


@pytest.mark.parametrize("kind", ["fast", "spline"])
def test_every_dimension_depends_on_the_context(kind: str) -> None:
    for shape in (FlowShape(5, 4, (20, 20), layers=1), FlowShape(1, 4, (20, 20), layers=1)):
        assert context_dependence(random_flow(shape, kind), shape).all()


def test_nflows_first_dimension_ignores_the_context() -> None:
    """The defect that `MadeStack` fixes, in place of nflows' affine MADE as before its splines."""
    shape = FlowShape(5, 4, (20, 20), layers=1)
    assert context_dependence(random_flow(shape, "nflows"), shape).tolist() == [False, True, True, True, True]
    flow = random_flow(shape, "spline")
    flow._transform = flow._transform._transforms[0]._transforms[1]
    assert context_dependence(flow, shape).tolist() == [False, True, True, True, True]


def test_a_spline_models_what_an_affine_flow_cannot() -> None:
    """One dimension with two narrow modes, placed by the context: an affine flow of one dimension is Gaussian."""
    generator = torch.Generator().manual_seed(0)
    context = torch.rand(4000, 1, generator=generator)
    sides = torch.randint(2, (4000, 1), generator=generator) * 2.0 - 1.0
    data = 5.0 * context + sides + 0.1 * torch.randn(4000, 1, generator=generator)
    found = {}
    for kind in ("fast", "spline"):
        torch.manual_seed(0)
        flow = make_flow(FlowShape(1, 1, (32, 32), layers=1, sigma_floor=0.01), kind)
        trainer = LikelihoodTrainer(flow, 5e-3)
        for _ in range(400):
            rows = torch.randint(4000, (256,), generator=generator)
            trainer.step(data[rows], context[rows])
        with torch.no_grad():
            found[kind] = float(flow.log_prob(data, context=context).mean())
    gaussian = -0.5 * math.log(2.0 * math.pi * math.e * 1.01)
    truth = math.log(0.5) - 0.5 * math.log(2.0 * math.pi * math.e * 0.01)
    assert found["fast"] == pytest.approx(gaussian, abs=0.05)
    assert truth - 0.2 < found["spline"] < truth + 0.05


def test_network_is_that_of_nflows_on_mapped_weights() -> None:
    """mu and u equal the two outputs a dimension of nflows.

    nflows adds relu(V c + d) to the first layer; with V, d and c positive that is V c + d, which ours can be. Ours
    has units of degree 0 as well: cut off, they leave nflows' network.
    """
    features, context_size, each = 5, 4, 6
    torch.manual_seed(3)
    net = MaskedAffineAutoregressiveTransform(
        features, each * (features - 1), context_size, num_blocks=1, use_residual_blocks=False
    ).autoregressive_net.double()
    stack = MadeStack(features, context_size, [each * features] * 2, 1, 0.0, False).double()
    ours = stack.layout.views(stack.weights.data[0])
    context_weight, context_bias = net.context_layer.weight.data.abs_(), net.context_layer.bias.data.abs_()
    first, second, last = net.initial_layer, net.blocks[0].linear, net.final_layer
    order = first.degrees.argsort(stable=True)  # ours are sorted by degree
    with torch.no_grad():
        bias = (first.bias + context_bias)[:, None]
        ours[0][each:] = torch.cat((bias, context_weight, first.weight * first.mask), dim=1)[order]
        for weight in ours[1:]:
            weight[:, 1 : 1 + each] = 0.0
        ours[1][each:, 0] = second.bias[order]
        ours[1][each:, 1 + each :] = (second.weight * second.mask)[order][:, order]
        ours[2][:, 0] = last.bias
        ours[2][:, 1 + each :] = (last.weight * last.mask)[:, order]
    x, context = rows(FlowShape(features, context_size), 20)
    context.abs_()
    expected = net(x, context).view(20, features, 2)
    x.requires_grad_()
    z = stack(x, context)[0]
    slopes = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(features)]
    sigma = 1.0 / torch.stack(slopes, dim=1)
    torch.testing.assert_close(x - sigma * z, expected[..., 0])
    torch.testing.assert_close(torch.expm1(stack.beta * sigma).log() / stack.beta, expected[..., 1])
    assert (expected[:, 1:].std(0) > 0.0).all()


def test_sigma_floor_of_a_layer_and_of_the_stack() -> None:
    floor = 0.2
    for layers in (1, 2, 3):
        shape = FlowShape(3, 2, (16, 16), layers, floor)
        flow = random_flow(shape)
        x, context = rows(shape, 200)
        lowest = -math.log(floor) * layers * shape.features
        assert (flow._transform(x, context)[1] < lowest).all()
        with torch.no_grad():
            for vector in flow._transform.weights:
                outputs = flow._transform.layout.views(vector)[-1]
                outputs[1::2] = 0.0
                outputs[1::2, 0] = -1e3  # the smallest sigma a network can ask for
        logabsdet = flow._transform(x, context)[1]
        torch.testing.assert_close(logabsdet, torch.full_like(logabsdet, lowest))
        peak = torch.distributions.Normal(0.0, floor**layers).log_prob(torch.tensor(0.0)) * shape.features
        best = sample(flow, context, noise=torch.zeros_like(x))
        torch.testing.assert_close(flow.log_prob(best, context=context), peak.double().expand(200))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"features": 0}, "features must be 1 or more, not 0"),
        ({"context": 0}, "context must be 1 or more"),
        ({"layers": 0}, "layers must be 1 or more"),
        ({"hidden": ()}, "hidden layers must be"),
        ({"hidden": (8, 0)}, "hidden layers must be"),
        ({"sigma_floor": 1.0}, r"sigma_floor must be in \[0, 1\)"),
    ],
)
def test_bad_shapes_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        FlowShape(**({"features": 2, "context": 2} | values))  # type: ignore[arg-type]


def test_rows_of_the_wrong_width_are_refused() -> None:
    flow = make_flow(FlowShape(3, 2))
    with pytest.raises(ValueError, match=r"must have the shapes \(\(4, 3\), \(4, 2\)\)"):
        flow.log_prob(torch.zeros(4, 3), context=torch.zeros(4, 1))
    with pytest.raises(ValueError, match="must have the shapes"):
        sample(flow, torch.zeros(4, 1))
    assert sample(flow, torch.zeros(0, 2)).shape == (0, 3)


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(MethodError, match="unknown flow 'glow'; available: fast, nflows, spline"):
        make_flow(FlowShape(2, 2), "glow")
    for kind in ("nflows", "spline"):
        with pytest.raises(MethodError, match="equally many units"):
            make_flow(FlowShape(2, 2, (8, 9)), kind)
