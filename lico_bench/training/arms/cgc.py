"""Contrastive Grad-CAM consistency: a map must follow its image through a crop and a flip.

Per image x_i with label y_i and a random crop and flip t_i: q_i = G(t_i(x_i), y_i) is the Grad-CAM
map of the transformed image, k_i = t_i(G(x_i, y_i)) the transformed map of the image. The maps of
one image must agree, those of two images must not:

    L_CGC = -mean_i log( exp(cos(q_i, k_i) / τ) / Σ_j exp(cos(q_i, k_j) / τ) ),   L = L_CE + λ L_CGC

Source: Pillai et al., CVPR 2022; λ and τ from the command line that the authors publish. Written
from that definition. The cross-entropy is of the untransformed batch alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lico_bench.checks import check_not_negative, check_positive
from lico_bench.errors import InvalidInputError
from lico_bench.records import Output, Recipe
from lico_bench.training.arms import ARMS, Arm, ArmOptions, Setting
from lico_bench.training.objective import CROSS_ENTROPY, Batch, Objective, Term

LARGEST_ASPECT = 4 / 3  # width over height of a crop, and its inverse; usual for random crops


@dataclass(frozen=True)
class CgcOptions(ArmOptions):
    """Switches of the consistency loss.

    Attributes:
        weight: λ.
        temperature: τ.
        least_area: smallest share of the image that a crop keeps.
    """

    weight: float = 0.5
    temperature: float = 0.5
    least_area: float = 0.2

    def __post_init__(self) -> None:
        check_not_negative("weight", self.weight)
        check_positive("temperature", self.temperature)
        if not 0 < self.least_area <= 1:
            raise InvalidInputError(
                f"least_area: expected a share above 0 and up to 1, got {self.least_area}"
            )

    def check(self, recipe: Recipe) -> None:
        """Raise if there is no second image to tell a map from, or no second derivative."""
        if recipe.batch_size < 2:
            raise InvalidInputError(
                f"arm {recipe.arm}: batch_size {recipe.batch_size} leaves nothing to contrast; "
                "set batch_size to 2 or more"
            )
        if recipe.compile:
            raise InvalidInputError(
                f"arm {recipe.arm}: a compiled classifier has no gradient of a gradient; "
                "leave recipe.compile off"
            )

    def forwards_per_step(self) -> int:
        """The batch and its transformed copy, each with the gradient of a gradient."""
        return 2


class CgcObjective(Objective):
    """Cross-entropy and the consistency of Grad-CAM maps.

    Args:
        map_size: height and width of the feature maps.
    """

    def __init__(
        self, map_size: tuple[int, int], *, options: CgcOptions, generator: torch.Generator
    ) -> None:
        super().__init__(generator)
        self.options = options
        self._map_size = map_size
        self.terms = (CROSS_ENTROPY, Term("consistency", options.weight, ("features", "head")))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy and L_CGC of a batch, each ()."""
        drawn = draw_crops(len(batch.all_labels), self.options.least_area, self.generator)
        boxes = batch.peers.part(drawn).to(batch.images.device)
        transformed = batch.classifier(apply_crops(batch.images, boxes, batch.images.shape[2:]))
        queries = label_maps(transformed, batch.labels).unflatten(1, self._map_size)
        maps = label_maps(batch.output, batch.labels).unflatten(1, self._map_size)
        keys = apply_crops(maps[:, None], boxes, self._map_size)[:, 0]
        return {
            **super().forward(batch),
            "consistency": contrast(
                batch.peers.gather(queries),
                batch.peers.gather(keys),
                temperature=self.options.temperature,
            ),
        }


def label_maps(output: Output, labels: Tensor) -> Tensor:
    """Grad-CAM maps (B, D) of the labels before upsampling, differentiable in the parameters.

    Source: Selvaraju et al., ICCV 2017, eqs. 1-2.
    """
    scores = output.logits.gather(1, labels[:, None]).sum()
    (slopes,) = torch.autograd.grad(scores, output.features, create_graph=True)
    weights = slopes.mean(2, keepdim=True).float()
    return F.relu((weights * output.features.float()).sum(1))


def contrast(queries: Tensor, keys: Tensor, *, temperature: float) -> Tensor:
    """-mean_i log softmax_j(cos(q_i, k_j) / τ) at j = i, ().

    Args:
        queries, keys: (B, h, w) maps of the same images, in order.

    Source: Pillai et al., CVPR 2022; van den Oord et al., 2018 (InfoNCE).
    """
    with torch.autocast(queries.device.type, enabled=False):
        rows, columns = (F.normalize(side.float().flatten(1), dim=1) for side in (queries, keys))
        return F.cross_entropy(
            rows @ columns.T / temperature, torch.arange(len(rows), device=rows.device)
        )


def draw_crops(num_images: int, least_area: float, generator: torch.Generator) -> Tensor:
    """(B, 5) float32: centre y, centre x, height, width, and -1 to mirror, else 1.

    The image spans [-1, 1] along each axis, a crop its centre ± its height or width. The area is
    uniform in [least_area, 1], the aspect log-uniform in [3/4, 4/3]; a crop that would leave the
    image is cut at its border.
    """
    area, aspect, place_y, place_x, mirror = torch.rand(num_images, 5, generator=generator).T
    shares = least_area + (1 - least_area) * area
    ratio = LARGEST_ASPECT ** (2 * aspect - 1)
    height, width = ((shares * r).sqrt().clamp_max(1) for r in (1 / ratio, ratio))
    centre_y, centre_x = (2 * place_y - 1) * (1 - height), (2 * place_x - 1) * (1 - width)
    return torch.stack([centre_y, centre_x, height, width, torch.where(mirror < 0.5, -1, 1)], 1)


def apply_crops(images: Tensor, crops: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    """(B, C, *size): each image's crop, mirrored where it says so, resized bilinearly."""
    centre_y, centre_x, height, width, mirror = crops.T
    zeros = torch.zeros_like(centre_y)
    affine = torch.stack(
        [width * mirror, zeros, centre_x, zeros, height, centre_y], dim=1
    ).unflatten(1, (2, 3))
    grid = F.affine_grid(affine, [len(images), 1, *size], align_corners=False)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def build_cgc(setting: Setting, options: CgcOptions) -> Objective:
    """The objective for feature maps of the classifier's size."""
    return CgcObjective(setting.map_size, options=options, generator=setting.generator)


ARMS.add(
    "cgc",
    Arm(
        title="CGC",
        summary="cross-entropy and contrastive consistency of Grad-CAM under crops and flips",
        source="Pillai et al., CVPR 2022",
        build=build_cgc,
        options=CgcOptions(),
    ),
)
