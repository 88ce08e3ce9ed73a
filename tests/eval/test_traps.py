"""One test for each trap that numbers of this field have fallen into: the trapped way gives another number, ours not.

Traps that concern one part alone are tested there too; here they stand together, in the order of how often they are
met in public threads.
"""

import io
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from PIL import Image
from skimage.metrics import structural_similarity
from torch.utils.data import BatchSampler, DistributedSampler, SequentialSampler
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchvision.models import inception_v3

from eval.diff import why_not
from eval.errors import EvaluationError
from eval.features import FIDInception, InceptionFeatures, full_float32, tf1_resize
from eval.frechet import Moments, frechet_distance_of_sets
from eval.metrics import METRICS
from eval.metrics.fid import frechet_score
from eval.metrics.inception_score import inception_score
from eval.metrics.lpips import LPIPS
from eval.metrics.psnr import PSNR
from eval.metrics.sets import SetComparison
from eval.metrics.ssim import ssim
from eval.metrics.text import text_errors
from eval.pixels import as_seen, from_uint8, to_uint8
from eval.protocols import SSIM_IMPLEMENTATIONS, canon_v1, protocol
from eval.reference import Reference
from eval.report import Panel, Report, check_required
from eval.rows import give_rows, take_rows
from eval.weights import WeightsConfig

CPU = torch.device("cpu")
PROTOCOL = canon_v1(64, "fail")


def pictures(count: int = 4, side: int = 64) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth originals, and copies that are worse from one to the next; none of it reaches black or white."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 8, 8, generator=generator)
    real = 0.2 + 0.6 * torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear")
    level = torch.linspace(0.005, 0.08, count).view(-1, 1, 1, 1)
    fake = real + level * torch.randn(real.shape, generator=generator)
    return (real * 255).round().byte(), (fake * 255).round().clamp(0, 255).byte()


def features(seed: int, n: int, d: int = 12, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + shift


def test_training_statistics_for_validation_pictures(tmp_path: Path) -> None:
    """gFID against a folder is not gFID against ADM's file: the protocols are two, and the file is in the report."""
    assert protocol("adm-gfid", 256).fid.gfid_reference == "npz"
    assert protocol("adm-gfid", 256).hash != canon_v1(256, "fail").hash
    made, train, validation = features(0, 300), features(1, 300), features(2, 300, shift=0.2)
    assert frechet_distance_of_sets(made, validation) > 2 * frechet_distance_of_sets(made, train)
    for name, side in (("train", train), ("val", validation)):
        table = side.double().numpy()
        np.savez(tmp_path / f"{name}.npz", mu=table.mean(axis=0), sigma=np.cov(table, rowvar=False))
    first, second = (Reference.read(tmp_path / f"{name}.npz") for name in ("train", "val"))
    assert first.sha256 != second.sha256


def test_reports_under_another_reference_are_not_compared(make_report: Callable[..., Report]) -> None:
    references = ({"file": "train.npz", "sha256": "aa"}, {"file": "val.npz", "sha256": "bb"})
    a, b = (make_report().model_copy(update={"generator": {"reference": item}}) for item in references)
    assert "other references" in " ".join(why_not(a, b))
    assert why_not(a, a) == []


def test_truncating_to_bytes() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(1, 3, 1, 1)
    trapped = ((from_uint8(ramp) + 1) / 2 * 255).to(torch.uint8)
    assert (trapped != ramp).sum() == 63 * 3
    assert torch.equal(to_uint8(from_uint8(ramp)), ramp)
    assert torch.equal(as_seen(from_uint8(ramp), protocol("open-magvit2", 64).quantization, "uint8"), trapped)


def test_ssim_with_the_data_range_of_another_scale() -> None:
    """2 on pictures in [0, 1] flatters (LlamaGen, issue 72); from the batch it depends on the other pictures."""
    real, fake = pictures()
    right = ssim(real, fake, SSIM_IMPLEMENTATIONS["skimage"])
    a, b = real[3].permute(1, 2, 0).numpy() / 255, fake[3].permute(1, 2, 0).numpy() / 255
    trapped = structural_similarity(a, b, data_range=2.0, channel_axis=-1)
    assert trapped - right[3].item() > 0.05
    assert structural_similarity(a, b, data_range=1.0, channel_axis=-1) == pytest.approx(right[3].item())
    unit = real.double() / 255, fake.double() / 255
    alone = structural_similarity_index_measure(unit[1][3:], unit[0][3:])  # no data_range
    explicit = structural_similarity_index_measure(unit[1][3:], unit[0][3:], data_range=1.0)
    assert isinstance(alone, torch.Tensor)
    assert isinstance(explicit, torch.Tensor)
    assert (alone - explicit).abs() > 1e-3
    mine = ssim(real[3:], fake[3:], SSIM_IMPLEMENTATIONS["torchmetrics"])
    assert mine.item() == pytest.approx(explicit.item(), abs=1e-9)


def test_ssim_of_values_about_zero() -> None:
    """A range of (-1, 1) on [-1, 1] moves the luminance term."""
    real, fake = pictures()
    faithful, right = (
        ssim(from_uint8(real), from_uint8(fake), protocol(name, 64).ssim) for name in ("vavae", "vavae-fixed")
    )
    assert (faithful - right).abs().max() > 1e-3


def test_psnr_of_pooled_errors_and_without_a_range() -> None:
    real, fake = pictures()
    metric = PSNR(PROTOCOL)
    metric.update(real, fake)
    score = metric.compute()
    pooled = peak_signal_noise_ratio(fake.float(), real.float(), data_range=255.0)
    assert score.value - pooled.item() > 3.0
    assert score.details["pooled"] == pytest.approx(pooled.item(), abs=1e-4)
    spans = [float(picture.max() - picture.min()) for picture in real.float()]
    trapped = peak_signal_noise_ratio(fake[:1].float(), real[:1].float(), data_range=spans[0])
    assert abs(trapped.item() - score.per_image[0]) > 1.0  # the range of the picture in place of 255


def test_lpips_of_pictures_in_zero_to_one() -> None:
    """The network scales by constants meant for [-1, 1] and takes [0, 1] without a word."""
    seen: list[torch.Tensor] = []

    class Network(torch.nn.Module):
        def forward(self, x: torch.Tensor, x_hat: torch.Tensor) -> torch.Tensor:
            seen.extend([x, x_hat])
            return (x - x_hat).square().mean(dim=(1, 2, 3))

    real, fake = pictures()
    metric = LPIPS(PROTOCOL, Network(), (), CPU)
    metric.update(real, fake)
    assert torch.equal(seen[0], from_uint8(real))
    assert seen[0].min() < 0
    with pytest.raises(ValueError, match="uint8"):
        metric.update(real.float() / 255, fake.float() / 255)


def test_the_net_of_lpips_is_in_its_name() -> None:
    assert "lpips" not in METRICS
    assert {"lpips_vgg", "lpips_alex"} <= set(METRICS)


@pytest.mark.parametrize("sampler", ["accelerate", "torch"])
def test_samplers_that_pad_count_pictures_twice(sampler: str) -> None:
    """Ten pictures on two processes of batches of four become twelve or more; numbered pictures tell."""
    shares: list[list[int]] = []
    for rank in range(2):
        if sampler == "accelerate":
            batches = BatchSampler(SequentialSampler(range(10)), batch_size=4, drop_last=False)
            shares.append(
                [i for batch in BatchSamplerShard(batches, 2, rank, even_batches=True) for i in batch]
            )
        else:
            shares.append(list(DistributedSampler(range(9), num_replicas=2, rank=rank, shuffle=False)))
    assert sum(map(len, shares)) > (10 if sampler == "accelerate" else 9)
    real, fake = pictures(10)
    parts = [PSNR(PROTOCOL), PSNR(PROTOCOL)]
    for metric, keys in zip(parts, shares, strict=True):
        metric.update(real[keys], fake[keys], keys)
    parts[0].merge(parts[1])
    with pytest.raises(ValueError, match="counted twice"):
        parts[0].compute()


def test_antialiased_or_half_pixel_resize_before_inception() -> None:
    x = torch.rand(1, 3, 600, 600, generator=torch.Generator().manual_seed(0))
    right = tf1_resize(x, 299)
    for antialias in (False, True):
        trapped = torch.nn.functional.interpolate(x, size=(299, 299), mode="bilinear", antialias=antialias)
        assert (trapped - right).abs().mean() > 0.02


def test_torchvisions_inception_is_not_the_network_of_fid(tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = inception_v3(weights=None, init_weights=False, aux_logits=True)
        ours = FIDInception()
    assert theirs.state_dict().keys() != ours.state_dict().keys()
    assert theirs.fc.out_features == 1000
    assert ours.fc.out_features == 1008
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tensors = {name: torch.zeros(value.shape) for name, value in list(theirs.state_dict().items())[:3]}
    torch.save(tensors, tmp_path / "inception_v3_google-0cc3c7bd.pth")
    with pytest.raises(ValueError, match="does not hold the FID Inception"):
        InceptionFeatures.load(WeightsConfig(inception=tmp_path / "inception_v3_google-0cc3c7bd.pth"), CPU)


def test_weights_that_nobody_hashed(inception_file: Path) -> None:
    """Random numbers under the published name are another metric, and cannot satisfy ``require``."""
    metric = METRICS["rfid"](PROTOCOL, WeightsConfig(folder=inception_file.parent), CPU)
    assert [record.verified for record in metric.weights] == [False]
    panel = Panel((), PROTOCOL, WeightsConfig(), CPU)
    panel.names = ("rfid",)
    metric.extract = lambda x: x.float().flatten(1)[:, :3]  # type: ignore[attr-defined]  # the network is slow
    panel.metrics["rfid"] = metric
    real, fake = pictures(8)
    panel.update(real, fake)
    entries, _ = panel.compute()
    assert "rfid_unverified" in entries
    missing = {name: entry for name, entry in entries.items() if name == "rfid"}
    with pytest.raises(EvaluationError, match="rfid: needs the published pt_inception"):
        check_required(["rfid"], entries, missing)  # type: ignore[arg-type]  # only what is not computed


def test_low_precision_features() -> None:
    """bfloat16 moves features by about a per cent: inside, autocast and TF32 are off."""
    layer = torch.nn.Linear(256, 64)
    x = torch.randn(8, 256, generator=torch.Generator().manual_seed(0))
    exact = torch.nn.functional.linear(x.double(), layer.weight.double(), layer.bias.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trapped = layer(x)
        with full_float32():
            right = layer(x)
    assert (trapped.double() - exact).abs().max() > 1e-3
    assert (right.double() - exact).abs().max() < 1e-5


def test_sums_of_features_in_float32() -> None:
    x = features(3, 2000) + 1000.0
    expected = torch.cov(x.double().T)
    trapped = (x.T @ x - torch.outer(x.sum(0), x.sum(0)) / len(x)) / (len(x) - 1)
    assert (trapped.double() - expected).abs().max() > 1e-2
    assert (Moments.of(x).covariance - expected).abs().max() < 1e-6


def test_averaging_distances_over_batches() -> None:
    """As some code does for FVD: the mean of distances between small batches is another, larger number."""
    real, fake = features(4, 256), features(5, 256, shift=0.1)
    whole = frechet_distance_of_sets(real, fake)
    trapped = np.mean([frechet_distance_of_sets(real[i : i + 8], fake[i : i + 8]) for i in range(0, 256, 8)])
    assert trapped > 3 * whole
    identity = partial(frechet_score, PROTOCOL, paired=True)
    metric = SetComparison(PROTOCOL, lambda x: x.float().mean(dim=(2, 3)), (), identity)
    a, b = pictures(16)
    for first in range(0, 16, 4):
        metric.update(a[first : first + 4], b[first : first + 4])
    means = a.float().mean(dim=(2, 3)), b.float().mean(dim=(2, 3))
    assert metric.compute().value == pytest.approx(frechet_distance_of_sets(*means), rel=1e-9)


def test_distances_of_few_pictures_are_biased_and_say_so(make_report: Callable[..., Report]) -> None:
    real = features(6, 4000)
    distances = [frechet_distance_of_sets(real, features(7, n)) for n in (50, 200, 2000)]
    assert distances[0] > 3 * distances[1] > 9 * distances[2] / 2
    assert "warning" in frechet_score(PROTOCOL, features(8, 10), features(9, 10), paired=False).details
    fewer = make_report().model_copy(update={"num_images": 5})
    assert "other numbers of pictures" in " ".join(why_not(make_report(), fewer))


def test_inception_score_by_an_unseeded_shuffle_and_with_the_bias() -> None:
    logits = 3 * features(10, 60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = []
        for seed in (0, 1):
            torch.manual_seed(seed)
            metric = InceptionScore(feature=torch.nn.Identity(), splits=10)
            metric.features.append(logits)
            theirs.append(metric.compute()[0].item())
    assert theirs[0] != theirs[1]
    mine = [np.mean(inception_score(logits, splits=10, shuffle_seed=2020)) for _ in range(2)]
    assert mine[0] == mine[1]
    biased = inception_score(logits + torch.linspace(-2, 2, 12), splits=1)[0]
    assert abs(biased - inception_score(logits, splits=1)[0]) > 0.05
    network = FIDInception().eval()
    with torch.no_grad():
        network.fc.bias.fill_(1e6)
        assert network.outputs(torch.zeros(1, 3, 75, 75)).logits.abs().max() < 1e5


def test_torchmetrics_forgets_what_it_saw_and_refuses_bytes() -> None:
    """Its FID keeps its sums out of ``state_dict``, so a resumed job begins anew; its SSIM takes no bytes."""
    real, fake = pictures(6)
    extract = partial(torch.nn.functional.adaptive_avg_pool2d, output_size=1)

    class Means(torch.nn.Module):
        num_features = 3

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return extract(x.float()).flatten(1)

    trapped = FrechetInceptionDistance(Means())
    trapped.update(real, real=True)
    assert not any("sum" in name for name in trapped.state_dict())
    score = partial(frechet_score, PROTOCOL, paired=True)
    first, second = (SetComparison(PROTOCOL, Means(), (), score) for _ in range(2))
    first.update(real, fake)
    expected = first.compute()
    give_rows({"rfid": second}, take_rows({"rfid": first}))
    assert second.compute() == expected
    with pytest.raises(RuntimeError):
        structural_similarity_index_measure(fake, real, data_range=255.0)
    assert ssim(real, fake).shape == (6,)


def test_features_that_hang_on_the_batch() -> None:
    """The same picture alone and among others; what differs is rounding."""
    network = FIDInception().eval()
    x = torch.rand(3, 3, 75, 75, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        together, alone = network(x)[1:2], network(x[1:2])
    assert (together - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_percentiles_of_a_bootstrapped_distance() -> None:
    """Resampling lowers the number of distinct pictures, which raises the distance: its percentiles miss the value."""
    real, fake = features(12, 150), features(13, 150)
    draw = torch.Generator().manual_seed(0)
    drawn = [
        frechet_distance_of_sets(real, fake[torch.randint(150, (150,), generator=draw)]) for _ in range(40)
    ]
    score = frechet_score(PROTOCOL, real, fake, paired=False)
    assert np.percentile(drawn, 2.5) > score.value
    assert score.ci95[0] < score.value < score.ci95[1]


def test_word_errors_that_count_characters() -> None:
    trapped = text_errors("two lteters", "two letters", "words", "characters")
    assert (trapped, text_errors("two lteters", "two letters", "words")) == ((2, 2), (1, 2))


def test_features_of_precision_and_recall_are_named() -> None:
    """torch-fidelity's default is VGG16, ADM's Inception: the report says which."""
    score = METRICS["precision"].keywords  # type: ignore[attr-defined]  # a partial
    assert score == {"which": "precision"}
    assert protocol("adm-gfid", 256).precision_recall.neighbours == 3


def test_pictures_that_went_through_jpeg() -> None:
    """A codec in the loop adds its own loss: an exact reconstruction would no longer be exact."""
    real, _ = pictures(1)
    stream = io.BytesIO()
    Image.fromarray(real[0].permute(1, 2, 0).numpy()).save(stream, format="JPEG", quality=90)
    decoded = torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1).unsqueeze(0)
    metric, trapped = PSNR(PROTOCOL), PSNR(PROTOCOL)
    metric.update(real, as_seen(from_uint8(real), "round_uint8", "uint8"))
    trapped.update(real, decoded)
    assert metric.compute().value == np.inf
    assert trapped.compute().value < 50.0


def test_the_same_pictures_on_both_sides_are_exactly_equal_and_not_nearly() -> None:
    """FID of about 1e-5 is the sign of a set compared with itself: here it is 0, and PSNR infinite."""
    real, _ = pictures(16)
    metric = PSNR(PROTOCOL)
    metric.update(real, real)
    assert metric.compute().value == np.inf
    x = features(11, 100)
    assert frechet_distance_of_sets(x, x) < 1e-9


def test_a_stale_cache_of_the_reference() -> None:
    """Nothing is cached by a name: other pictures under the same path are other pictures (their crops are hashed),
    and the features of a batch are kept by the tensor, not by what it is called.
    """
    loaded = InceptionFeatures.__new__(InceptionFeatures)
    loaded._recent = []
    calls: list[torch.Tensor] = []

    class Network:
        def outputs(self, x: torch.Tensor) -> object:
            from eval.features import InceptionOutputs

            calls.append(x)
            return InceptionOutputs(x.mean(dim=(2, 3)), x.flatten(1), x.flatten(1))

    loaded.network, loaded.device = Network(), CPU  # type: ignore[assignment]  # a stand-in
    loaded.resize = "pytorch_bilinear_299"
    first, second = pictures(1)
    assert not torch.equal(loaded(first), loaded(second))
    assert len(calls) == 2


def test_reports_over_other_pictures_of_the_same_path(make_report: Callable[..., Report]) -> None:
    made = make_report()
    a, b = (
        made.model_copy(update={"data": made.data.model_copy(update={"content": content})})
        for content in ("aa", "bb")
    )
    assert a.data.path == b.data.path
    assert "other pictures" in " ".join(why_not(a, b))
