"""Descriptions against the note's tables, against other counts, and against the networks' own."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from visarch.blocks.convolution import Conv
from visarch.describe.description import Description, quantity
from visarch.describe.networks import describe
from visarch.models import resnet
from visarch.models.resnet import ResNet, ResNetConfig
from visarch.models.unet import Denoiser, UNet, UNetConfig
from visarch.models.vae import GaussianVAE, VAEConfig

# Note, section 2.1.
RESNET_50 = {
    "z": (64, 32, 32),
    "z1": (256, 32, 32),
    "z2": (512, 16, 16),
    "z3": (1024, 8, 8),
    "z4": (2048, 4, 4),
    "y": (2048,),
}

# Note, appendix B.2 and section 2.2.
U_NET = {
    **dict.fromkeys(("z1", "z2", "z3"), (64, 32, 32)),
    **{"z4": (64, 16, 16), "z5": (128, 16, 16), "z6": (128, 16, 16)},
    **{"z7": (128, 8, 8), "z8": (256, 8, 8), "z9": (256, 8, 8)},
    **{"z10": (256, 4, 4), "z11": (1024, 4, 4), "z12": (1024, 4, 4)},
    **dict.fromkeys(("y13", "y12", "y11"), (1024, 4, 4)),
    **{"y10_bar": (256, 4, 4), "y10": (256, 8, 8), "y9": (256, 8, 8), "y8": (256, 8, 8)},
    **{"y7_bar": (128, 8, 8), "y7": (128, 16, 16), "y6": (128, 16, 16), "y5": (128, 16, 16)},
    **{"y4_bar": (64, 16, 16), "y4": (64, 32, 32)},
    **dict.fromkeys(("y3", "y2", "y1"), (64, 32, 32)),
    "y": (3, 32, 32),
}

SMALL_UNET = UNetConfig(
    widths=(8, 16, 16), attends=(False, True, True), num_groups=4, num_heads=2, context_dim=16
)


def on_meta(make: type, *arguments: object, **options: object) -> nn.Module:
    """A large network that takes no time to make, for it has no numbers."""
    with torch.device("meta"):
        return make(*arguments, **options)


def networks() -> dict[str, tuple[nn.Module, Sequence[int]]]:
    """A network for each way of building one, with a size of image that is not a round one."""
    u, v = SMALL_UNET, {"channels": 8, "latent_dim": 5, "depth": 2}
    replace = lambda **changes: UNetConfig(**{**vars(u), **changes})  # noqa: E731
    return {
        "resnet50": (on_meta(resnet.resnet50, 10), (31, 40)),
        "resnet18": (on_meta(resnet.resnet18, 7, 1), (17, 17)),
        "large stem": (on_meta(ResNet, ResNetConfig(stem="large", dropout=0.1)), (65, 64)),
        "1-d ResNet": (on_meta(resnet.resnet34, 3, ndim=1), (100,)),
        "3-d ResNet": (on_meta(resnet.resnet18, ndim=3), (9, 8, 7)),
        "unet": (on_meta(UNet), (32, 32)),
        "odd unet": (on_meta(UNet, replace(num_blocks=1, attention="prenorm")), (33, 18)),
        "other channels": (on_meta(UNet, replace(in_channels=2, out_channels=5)), (8, 8)),
        "1-d unet": (on_meta(UNet, replace(ndim=1, attention="residual", head_dim=3)), (21,)),
        "3-d unet": (on_meta(UNet, replace(ndim=3)), (4, 6, 5)),
        "one level": (on_meta(UNet, replace(widths=(8,), attends=(False,))), (7, 5)),
        "denoiser": (on_meta(Denoiser, replace(), num_classes=4, vector_dim=3), (9, 9)),
        "bare denoiser": (on_meta(Denoiser, replace(ndim=1)), (16,)),
        "vae": (GaussianVAE(), (28, 28)),
        "full": (GaussianVAE(VAEConfig(image_shape=(3, 9, 14), covariance="full", **v)), (9, 14)),
        "bottleneck": (
            GaussianVAE(
                VAEConfig(image_shape=(1, 6, 5, 7), block="bottleneck", sigma="learned", **v)
            ),
            (6, 5, 7),
        ),
        "literal": (
            GaussianVAE(
                VAEConfig(image_shape=(2, 12), patch_size=1, sigma="constant", **{**v, "depth": 0})
            ),
            (12,),
        ),
    }


NETWORKS = networks()


@pytest.fixture(scope="module", params=NETWORKS)
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, Sequence[int], Description]:
    return *NETWORKS[request.param], describe(*NETWORKS[request.param])


class TestEveryNetwork:
    def test_the_steps_hold_all_parameters(self, network):
        model, _, description = network
        assert description.parameters == sum(weight.numel() for weight in model.parameters())
        assert description.weight_bytes >= 4 * description.parameters

    def test_macs_are_those_that_torch_counts(self, network):
        model, size, description = network
        assert description.macs == flops_by_torch(model, size) / 2

    def test_each_input_comes_before(self, network):
        model, _, description = network
        known = {"x", "u", "t", "label", "vector"}
        if isinstance(model, Denoiser):
            known.remove("u")
        for step in description.steps:
            assert set(step.inputs) <= known
            assert step.name not in known
            known.add(step.name)

    def test_the_model_is_not_touched(self, network):
        model, size, _ = network
        model.train()
        calls: list[object] = []
        hook = model.register_forward_hook(lambda *call: calls.append(call))
        before = dict(model.named_parameters())
        describe(model, size)
        assert all(module.training for module in model.modules())
        assert not calls
        hook.remove()
        assert not any(module._forward_hooks for module in model.modules())
        assert all(before[name] is weight for name, weight in model.named_parameters())
        assert all(before[name].device == weight.device for name, weight in before.items())


def flops_by_torch(model: nn.Module, size: Sequence[int]) -> int:
    """What torch counts for one image while the model runs: two for each multiply-accumulate."""
    device = next(model.parameters()).device
    config = model.config
    channels = config.image_shape[0] if isinstance(config, VAEConfig) else config.in_channels
    inputs = [torch.randn(1, channels, *size, device=device)]
    if isinstance(model, UNet):
        inputs.append(torch.randn(1, config.context_dim, device=device))
    if isinstance(model, Denoiser):
        inputs.append(torch.rand(1, device=device))
    options = {}
    if isinstance(model, Denoiser) and model.context.vector_dim:
        options["vector"] = torch.randn(1, model.context.vector_dim, device=device)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(*inputs, **options)
    return counter.get_total_flops()


class TestResNet:
    def test_resnet50_is_the_table_of_the_note(self):
        description = describe(on_meta(resnet.resnet50))
        shapes = [(step.name, step.shape) for step in description.steps]
        assert shapes == list(RESNET_50.items())
        assert description.parameters == 23_500_352
        assert description.macs == 1_297_809_408
        assert [step.operation for step in description.steps] == [
            "Conv 3×3 → BatchNorm → ReLU",
            "3 × ResBlockRes",
            "4 × ResBlockRes S=2",
            "6 × ResBlockRes S=2",
            "3 × ResBlockRes S=2",
            "AvgPool",
        ]

    @pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
    def test_a_preset_is_known_by_its_name(self, depth):
        model = on_meta(getattr(resnet, f"resnet{depth}"))
        assert describe(model).network == f"ResNet-{depth}"

    def test_shapes_are_those_of_the_stages(self):
        config = ResNetConfig(
            in_channels=2,
            num_classes=5,
            depths=(1, 2, 1),
            widths=(4, 4, 8),
            stem="large",
            dropout=0.5,
        )
        model = ResNet(config).eval()
        stages = model.stages(torch.randn(3, 2, 37, 50))
        description = describe(model, (37, 50))
        shapes = {step.name: step.shape for step in description.steps}
        assert shapes == {
            **{name: tuple(stage.shape[1:]) for name, stage in stages.items()},
            "classes": (5,),
        }
        assert description.steps[0].operation.endswith("MaxPool 3×3 S=2")
        assert description.steps[-1].operation == "Dropout → Linear"


@pytest.fixture(scope="module")
def unet() -> Description:
    return describe(on_meta(UNet))


class TestUNet:
    def test_unet_is_the_table_of_the_note(self, unet):
        assert [(step.name, step.shape) for step in unet.steps] == list(U_NET.items())
        assert unet.parameters == 168_803_523
        assert unet.macs == 3_994_091_520

    def test_attention_is_where_the_note_has_it(self, unet):
        attending = {step.name for step in unet.steps if "Attn" in step.boxes}
        lower = {"z8", "z9", "z11", "z12", "y13", "y12", "y11", "y10_bar", "y9", "y8", "y7_bar"}
        assert attending == lower

    def test_each_block_of_the_ascent_sees_the_z_of_its_number(self, unet):
        inputs = {step.name: step.inputs for step in unet.steps}
        assert inputs["y13"] == ("z12", "u")
        assert inputs["y12"] == ("y13", "z12", "u")
        assert inputs["y10_bar"] == ("y11", "z10", "u")
        assert inputs["y10"] == ("y10_bar",)
        assert inputs["y9"] == ("y10", "z9", "u")
        assert inputs["y1"] == ("y2", "z1", "u")
        assert inputs["y"] == ("y1",)

    def test_odd_sides_are_padded_inside_and_cropped_outside(self):
        steps = {step.name: step for step in describe(on_meta(UNet), (33, 20)).steps}
        assert steps["z1"].shape == (64, 40, 24)
        assert steps["z12"].shape == (1024, 5, 3)
        assert steps["y"].shape == (3, 33, 20)

    @pytest.mark.parametrize(
        ("form", "words"),
        [
            ("literal", "ResBlockU → Attn"),
            ("residual", "ResBlockU → x + Attn(x)"),
            ("prenorm", "ResBlockU → x + Attn(GroupNorm(x))"),
        ],
    )
    def test_the_form_of_attention_is_told(self, form, words):
        steps = describe(on_meta(UNet, UNetConfig(attention=form))).steps
        assert {step.name: step.operation for step in steps}["z8"] == words

    def test_a_denoiser_makes_u_itself(self):
        model = NETWORKS["denoiser"][0]
        first, second, *_ = describe(model).steps
        assert (first.name, first.inputs, first.shape) == ("u", ("t", "label", "vector"), (16,))
        assert first.parameters == sum(weight.numel() for weight in model.context.parameters())
        assert first.receptive_field == 0
        assert second.name == "z1"


class TestVAE:
    def test_steps_are_those_of_the_lecture(self):
        config = VAEConfig(image_shape=(1, 28, 28), patch_size=4, latent_dim=32, depth=4)
        steps = describe(GaussianVAE(config)).steps
        assert {step.name: step.shape for step in steps} == {
            "encoder.f_in": (64, 7, 7),
            "encoder.h": (64, 7, 7),
            "encoder.f_mean": (32,),
            "encoder.f_var": (32,),
            "z": (32,),
            "decoder.f_in": (64, 7, 7),
            "decoder.h": (64, 7, 7),
            "decoder.f_mean": (1, 28, 28),
            "decoder.f_var": (1,),
        }
        operations = {step.name: step.operation for step in steps}
        assert operations["encoder.f_in"] == "Conv 4×4 S=4"
        assert operations["encoder.h"] == "4 × ResidualBlock"
        assert operations["decoder.f_mean"] == "TransConv 4×4 S=4"

    def test_a_full_covariance_is_a_matrix(self):
        model, size = NETWORKS["full"]
        step = describe(model, size).steps[3]
        assert (step.name, step.shape) == ("encoder.f_var", (5, 5))
        assert step.operation == "Linear → Cholesky factor"

    def test_a_learned_sigma_is_one_parameter_and_a_constant_is_none(self):
        learned, constant = (
            describe(*NETWORKS[name]).steps[-1] for name in ("bottleneck", "literal")
        )
        assert (learned.parameters, learned.operation) == (1, "learned number")
        assert (constant.parameters, constant.operation) == (0, "constant")

    def test_the_output_has_the_size_of_the_image_where_patches_do_not_fit(self):
        steps = describe(*NETWORKS["full"]).steps
        assert {step.name: step.shape for step in steps}["decoder.f_mean"] == (3, 9, 14)


class TestMistakes:
    @pytest.mark.parametrize("size", [0, (0, 32), (32, -1)])
    def test_an_image_without_pixels(self, size):
        with pytest.raises(ValueError, match="at least 1"):
            describe(on_meta(UNet), size)

    def test_an_image_beyond_all_bounds(self):
        with pytest.raises(ValueError, match="1000000000×1000000000 are more than torch can"):
            describe(on_meta(UNet), 10**9)

    def test_more_sides_than_axes(self):
        with pytest.raises(ValueError, match=r"32×32×32 has 3 sides: a 2-d network takes 2"):
            describe(on_meta(UNet), (32, 32, 32))

    def test_a_size_that_a_vae_was_not_made_for(self):
        with pytest.raises(ValueError, match=r"made for images of 28×28.* for 32×32"):
            describe(GaussianVAE(), 32)

    def test_a_network_without_named_steps(self):
        with pytest.raises(ValueError, match="a Conv cannot be described"):
            describe(Conv(1, 1, 1))


@pytest.mark.parametrize(
    ("number", "words"),
    [
        *[(0, "0 "), (999, "999 "), (1000, "1.00 k"), (1234, "1.23 k"), (12_345, "12.3 k")],
        *[(999_499, "999 k"), (999_500, "1.00 M"), (9_994_999, "9.99 M"), (9_995_001, "10.0 M")],
        *[(3_994_091_520, "3.99 G"), (10**13, "10.0 T"), (5 * 10**15, "5.00 P")],
    ],
)
def test_quantities_have_three_digits(number, words):
    assert quantity(number) == words
