"""The flows are densities, their inverse samples them, and they equal nflows wherever nflows is right."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from nflows.flows import Flow
from nflows.transforms import MaskedAffineAutoregressiveTransform
from torch import Tensor

from methods.gpril.flows import KINDS, FlowShape, make_flow, make_optimizer, sample
from methods.gpril.made import CHUNK, ConditionalMade
from methods.interface import MethodError

SHAPES = [
    FlowShape(1, 1, (8,), layers=1),
    FlowShape(2, 3, (20, 20)),
    FlowShape(5, 4, (3, 70, 13), layers=3, sigma_floor=0.0),  # fewer units than dimensions, several blocks
    FlowShape(21, 7, (200, 160), sigma_floor=0.01),
]


def random_flow(shape: FlowShape, kind: str = "fast", seed: int = 0) -> Flow:
    """A float64 flow whose weights are large enough to be far from the identity."""
    torch.manual_seed(seed)
    flow = make_flow(shape, kind).double()
    for made in flow.modules():
        if isinstance(made, ConditionalMade):
            for weight, mask in zip(made.weights, made.masks, strict=True):
                weight.data = torch.randn_like(weight) * mask / mask.sum(1, keepdim=True).sqrt()
    return flow


def rows(shape: FlowShape, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    options = {"generator": generator, "dtype": torch.float64}
    return torch.randn(count, shape.features, **options), torch.randn(count, shape.context, **options)


def jacobian(flow: Flow, x: Tensor, context: Tensor) -> Tensor:
    """dz/dx [D, D] of one row, by the product rule alone."""
    return torch.autograd.functional.jacobian(lambda v: flow.transform_to_noise(v[None], context[None])[0], x)


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("features", [1, 2])
def test_density_integrates_to_one(features: int, layers: int) -> None:
    shape = FlowShape(features, 2, (16, 16), layers, sigma_floor=0.3)
    flow = random_flow(shape)
    axis = torch.linspace(-30.0, 30.0, 1201, dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * features).view(-1, features)
    for context in rows(shape, 3)[1]:
        with torch.no_grad():
            density = flow.log_prob(grid, context=context.expand(len(grid), -1)).exp()
        assert float(density.sum()) * (axis[1] - axis[0]) ** features == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_log_determinant_is_autograds(shape: FlowShape) -> None:
    flow = random_flow(shape)
    for x, context in zip(*rows(shape, 3), strict=True):
        expected = torch.linalg.slogdet(jacobian(flow, x, context)).logabsdet
        logabsdet = flow._transform(x[None], context[None])[1]
        torch.testing.assert_close(logabsdet[0], expected)


def reference(made: ConditionalMade, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
    """z and log |det dz/dx| by masks multiplied with the weights, as the definition has it."""
    seen = [-1] * (1 + made.context) + list(range(made.features))  # degree from which a unit above may read it
    units = torch.cat((context, x), dim=1)
    outputs = [dimension for dimension in range(made.features) for _ in range(2)]
    for weight, degrees in zip(made.weights, [*made.degrees, outputs], strict=True):
        strict = 1 if weight is made.weights[0] else 0
        mask = torch.tensor([[degree - strict >= below for below in seen] for degree in degrees])
        units = torch.nn.functional.linear(units.relu() if not strict else units, (weight * mask)[:, 1:], weight[:, 0])
        seen = [-1, *degrees]
    mean, spread = units.view(len(x), made.features, 2).unbind(-1)
    sigma = made.sigma_floor + torch.nn.functional.softplus(spread * made.beta) / made.beta
    return (x - mean) / sigma, -sigma.log().sum(1)


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_definition(shape: FlowShape) -> None:
    made = next(m for m in random_flow(shape).modules() if isinstance(m, ConditionalMade))
    x, context = (part.requires_grad_() for part in rows(shape, 30))
    towards, importance = rows(shape, 30, seed=2)
    outcomes = []
    for function in (made, lambda x, c: reference(made, x, c)):
        z, logabsdet = function(x, context)
        loss = (z * towards).sum() + (logabsdet * importance[:, 0]).sum()
        outcomes.append((z, logabsdet, *torch.autograd.grad(loss, (x, context, *made.weights))))
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


def test_inverse_does_not_depend_on_how_many_rows_there_are() -> None:
    shape = SHAPES[1]
    flow = random_flow(shape)
    noise, context = rows(shape, 2 * CHUNK + 3)
    every = sample(flow, context, noise=noise)
    for count in (1, 7, CHUNK, CHUNK + 1):
        torch.testing.assert_close(sample(flow, context[:count], noise=noise[:count]), every[:count])


def test_inverse_follows_the_weights() -> None:
    """The views kept by the inverse see updates in place, copies, new types and loaded weights."""
    shape = FlowShape(4, 3, (16, 16), identity_start=False)
    flow = make_flow(shape)
    noise, context = (part.float() for part in rows(shape, 20))

    def check(flow: Flow, noise: Tensor = noise, context: Tensor = context) -> None:
        z = flow.transform_to_noise(sample(flow, context, noise=noise), context)
        torch.testing.assert_close(z, noise, atol=1e-4, rtol=1e-4)

    check(flow)
    optimizer = make_optimizer(flow, 0.01)
    twin = copy.deepcopy(flow)
    flow.log_prob(noise, context=context).sum().backward()
    optimizer.step()
    check(flow)
    check(twin)
    assert not torch.equal(sample(flow, context, noise=noise), sample(twin, context, noise=noise))
    twin.load_state_dict(flow.state_dict())
    torch.testing.assert_close(sample(flow, context, noise=noise), sample(twin, context, noise=noise))
    check(flow.double(), noise.double(), context.double())


def test_samples_are_reproducible_and_normal_at_the_start() -> None:
    flow = make_flow(FlowShape(3, 2))
    context = torch.randn(4000, 2)
    first, again = (sample(flow, context, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    torch.testing.assert_close(first.T.cov(), torch.eye(3), atol=0.1, rtol=0.0)
    normal = torch.distributions.Normal(0.0, 1.0).log_prob(first).sum(1)
    torch.testing.assert_close(flow.log_prob(first, context=context), normal)


@pytest.mark.parametrize("shape", [FlowShape(6, 3, (120, 120), layers=1), FlowShape(6, 3, (120, 120))])
def test_jacobian_is_triangular_in_each_layer(shape: FlowShape) -> None:
    flow = random_flow(shape)
    x, context = (part[0] for part in rows(shape, 1))
    for made in (module for module in flow.modules() if isinstance(module, ConditionalMade)):
        full = torch.autograd.functional.jacobian(lambda v, made=made: made(v[None], context[None])[0][0], x)
        assert torch.equal(full, full.tril())
        assert (full.tril() != 0).sum() == 21  # all that may depend does
    if shape.layers == 2:
        assert (jacobian(flow, x, context) != 0).all()


def context_dependence(flow: Flow, shape: FlowShape) -> Tensor:
    """Which of the first layer's outputs depend on the context, [D]."""
    x, context = rows(shape, 20)
    layer = flow._transform._transforms[0]
    full = torch.autograd.functional.jacobian(lambda c: layer(x, c)[0].sum(0), context)
    return full.abs().sum((1, 2)) > 0


def test_every_dimension_depends_on_the_context() -> None:
    for shape in (FlowShape(5, 4, (20, 20)), FlowShape(1, 4, (20, 20))):
        assert context_dependence(random_flow(shape), shape).all()


def test_nflows_first_dimension_ignores_the_context() -> None:
    """The defect that `ConditionalMade` mends; should it go, nflows itself would do as the model."""
    shape = FlowShape(5, 4, (20, 20))
    assert context_dependence(random_flow(shape, "nflows"), shape).tolist() == [False, True, True, True, True]


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
    made = ConditionalMade(features, context_size, [each * features] * 2, 0.0, False).double()
    context_weight, context_bias = net.context_layer.weight.data.abs_(), net.context_layer.bias.data.abs_()
    first, second, last = net.initial_layer, net.blocks[0].linear, net.final_layer
    order = first.degrees.argsort(stable=True)  # ours are sorted by degree
    with torch.no_grad():
        bias = (first.bias + context_bias)[:, None]
        made.weights[0][each:] = torch.cat((bias, context_weight, first.weight * first.mask), dim=1)[order]
        for weight in made.weights[1:]:
            weight[:, 1 : 1 + each] = 0.0
        made.weights[1][each:, 0] = second.bias[order]
        made.weights[1][each:, 1 + each :] = (second.weight * second.mask)[order][:, order]
        made.weights[2][:, 0] = last.bias
        made.weights[2][:, 1 + each :] = (last.weight * last.mask)[:, order]
    x, context = rows(FlowShape(features, context_size), 20)
    context.abs_()
    expected = net(x, context).view(20, features, 2)
    x.requires_grad_()
    z = made(x, context)[0]
    slopes = [torch.autograd.grad(z[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(features)]
    sigma = 1.0 / torch.stack(slopes, dim=1)
    torch.testing.assert_close(x - sigma * z, expected[..., 0])
    torch.testing.assert_close(torch.expm1(made.beta * sigma).log() / made.beta, expected[..., 1])
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
            for made in (module for module in flow.modules() if isinstance(module, ConditionalMade)):
                made.weights[-1][1::2] = 0.0
                made.weights[-1][1::2, 0] = -1e3  # the smallest sigma the network can ask for
        logabsdet = flow._transform(x, context)[1]
        torch.testing.assert_close(logabsdet, torch.full_like(logabsdet, lowest))
        peak = torch.distributions.Normal(0.0, floor**layers).log_prob(torch.tensor(0.0)) * shape.features
        best = sample(flow, context, noise=torch.zeros_like(x))
        torch.testing.assert_close(flow.log_prob(best, context=context), peak.double().expand(200))


def test_training_fits_a_conditional_distribution_and_keeps_the_masks() -> None:
    """x0 ~ N(c, 0.5), x1 ~ N(x0 * c, 0.3): the flow reaches the entropy; L2 and Adam leave masked weights at zero."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)

    def draw(count: int) -> tuple[Tensor, Tensor]:
        context, first, second = (torch.randn(count, 1, generator=generator) for _ in range(3))
        first = context + 0.5 * first
        return torch.cat((first, first * context + 0.3 * second), dim=1), context

    flow = make_flow(FlowShape(2, 1, (32, 32), sigma_floor=0.05))
    optimizer = make_optimizer(flow, 5e-3, l2=1e-5)
    for _ in range(800):
        x, context = draw(256)
        optimizer.zero_grad()
        loss = -flow.log_prob(x, context=context).mean()
        loss.backward()
        optimizer.step()
    x, context = draw(20000)
    entropy = sum(0.5 + 0.5 * math.log(2.0 * math.pi) + math.log(sigma) for sigma in (0.5, 0.3))
    with torch.no_grad():
        assert -flow.log_prob(x, context=context).mean() == pytest.approx(entropy, abs=0.05)
    for made in (module for module in flow.modules() if isinstance(module, ConditionalMade)):
        for weight, mask in zip(made.weights, made.masks, strict=True):
            assert (weight[mask == 0.0] == 0.0).all() and (weight[mask == 1.0] != 0.0).all()


def test_l2_pulls_weights_to_zero() -> None:
    norms = []
    for l2 in (0.0, 1.0):
        torch.manual_seed(0)
        flow = make_flow(FlowShape(2, 1, (16,), identity_start=False))
        optimizer = make_optimizer(flow, 0.01, l2)
        x, context = (part.float() for part in rows(FlowShape(2, 1), 64))
        for _ in range(100):
            optimizer.zero_grad()
            (-flow.log_prob(x, context=context).mean()).backward()
            optimizer.step()
        norms.append(sum(float(weight.detach().square().sum()) for weight in flow.parameters()))
    assert norms[1] < 0.2 * norms[0]


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


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(MethodError, match="no flow 'spline'; there are: fast, nflows"):
        make_flow(FlowShape(2, 2), "spline")
    with pytest.raises(MethodError, match="equally many units"):
        make_flow(FlowShape(2, 2, (8, 9)), "nflows")
