"""Protocols under their names: the default, and those by which published numbers were made, quirks included.

Each function says where the protocol was read, what is unusual about it, and in what this copy departs from the
original. A protocol with a name is never changed; ``-fixed`` ones are the same with the defect mended. The facts
were read in the public code named; none of that code is here.
"""

from collections.abc import Callable
from typing import Literal

from eval.protocols.settings import (
    EvaluationProtocol,
    FIDSettings,
    InceptionScoreSettings,
    InterpolationSettings,
    LPIPSSettings,
    MSSSIMSettings,
    PSNRSettings,
    SSIMSettings,
    TextSettings,
)

OnCorrupt = Literal["fail", "skip"]


def canon_v1(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """The default: ADM crop, posterior mode, clamp, rounding to uint8 on both sides, PSNR per picture.

    Source of the crop: Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, arXiv
    2105.05233 (their ``center_crop_arr``).
    """
    return EvaluationProtocol(name="canon-v1", resolution=resolution, on_corrupt=on_corrupt)


def ldm(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """LDM's table of first stages (CompVis/taming-transformers, latent-diffusion): cv2 resize, a sampled posterior.

    Quirks: the resize does not smooth before it shrinks; the posterior is sampled; "PSIM" is LPIPS of VGG, whose
    heads are those of the lpips package byte for byte. Reference of rFID: the validation pictures themselves.
    Departures: OpenCV's fixed-point bilinear is taken in float32 and rounded (at most one grey level apart); the
    draw of the posterior is ours.
    Source: Rombach et al. 2022, High-Resolution Image Synthesis with Latent Diffusion Models, arXiv 2112.10752,
    table 8.
    """
    return EvaluationProtocol(
        name="ldm",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="cv2_bilinear",
        posterior="sample",
        reconstruction=("psnr", "lpips_vgg", "rfid"),
    )


def dc_ae(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """DC-AE (mit-han-lab/efficientvit): ADM crop, torchmetrics' SSIM, LPIPS of AlexNet, pytorch-fid's resize.

    Quirks: SSIM counts a border of mirrored pixels; Inception sees half-pixel bilinear without antialiasing, not
    TensorFlow's. Reference of rFID: the validation pictures through the same crop.
    Source: Chen et al. 2025, Deep Compression Autoencoder for Efficient High-Resolution Diffusion Models, arXiv
    2410.10733, section 4.1.
    """
    return EvaluationProtocol(
        name="dc-ae",
        resolution=resolution,
        on_corrupt=on_corrupt,
        ssim=SSIMSettings(padding="reflect"),
        fid=FIDSettings(resize="pytorch_bilinear_299"),
        reconstruction=("psnr", "ssim", "lpips_alex", "rfid"),
    )


def llamagen(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """LlamaGen (FoundationVision/LlamaGen): ADM crop, scikit-image's SSIM with a data range of 2 on [0, 1].

    Quirk: that data range flatters SSIM by about 0.09 (its issue 72); ``llamagen-fixed`` has 1. rFID by ADM's
    evaluator against the validation pictures, not against the training statistics. Departures: evaluation at
    another size than the model's (bicubic without antialiasing) is not offered; TensorFlow's graph is its port.
    Source: Sun et al. 2024, Autoregressive Model Beats Diffusion, arXiv 2406.06525, section 3.1.
    """
    return EvaluationProtocol(
        name="llamagen",
        resolution=resolution,
        on_corrupt=on_corrupt,
        ssim=SSIMSettings(window=7, weights="uniform", covariance="sample", high=1.0, data_range=2.0),
        reconstruction=("psnr", "ssim", "rfid"),
    )


def llamagen_fixed(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """``llamagen`` with the data range that belongs to [0, 1]."""
    ssim = SSIMSettings(window=7, weights="uniform", covariance="sample", high=1.0, data_range=1.0)
    return llamagen(resolution, on_corrupt).model_copy(update={"name": "llamagen-fixed", "ssim": ssim})


def open_magvit2(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """Open-MAGVIT2 (TencentARC/SEED-Voken): PIL bilinear, truncation to uint8 on both sides, FID on floats.

    Quirks: truncating shifts 63 of 256 grey levels of the original itself; LPIPS and FID see floats instead; both
    LPIPS nets. Departure: theirs is the mean over batches of batch means, which is this mean wherever batches are
    equally large. IBQ's table is made with OpenCV's resize in the same repository: that is not this protocol.
    ``open-magvit2-fixed`` rounds.
    Source: Luo et al. 2024, Open-MAGVIT2, arXiv 2409.04410, section 4.
    """
    return EvaluationProtocol(
        name="open-magvit2",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="pil_bilinear",
        quantization="truncate_uint8",
        ssim=SSIMSettings(window=7, weights="uniform", covariance="sample", high=1.0, data_range=1.0),
        lpips=LPIPSSettings(domain="clamped"),
        fid=FIDSettings(resize="pytorch_bilinear_299", domain="clamped"),
        reconstruction=("psnr", "ssim", "lpips_vgg", "lpips_alex", "rfid"),
    )


def open_magvit2_fixed(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """``open-magvit2`` with rounding instead of truncation."""
    changes = {"name": "open-magvit2-fixed", "quantization": "round_uint8"}
    return open_magvit2(resolution, on_corrupt).model_copy(update=changes)


def titok(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """TiTok (bytedance/1d-tokenizer): PIL bilinear, [0, 1] truncated to uint8, IS as one split, rFID.

    Quirk: reconstructions are truncated while the originals, never normalised, come back exactly, so the
    reconstructions are darker by up to one level; ``titok-fixed`` rounds. Inception with TensorFlow's resize,
    logits without bias. Some of its configurations resize by bicubic: that is not this protocol.
    Source: Yu et al. 2024, An Image is Worth 32 Tokens for Reconstruction and Generation, arXiv 2406.07550.
    """
    return EvaluationProtocol(
        name="titok",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="pil_bilinear",
        quantization="truncate_unit_uint8",
        inception_score=InceptionScoreSettings(splits=1, shuffle_seed=None),
        reconstruction=("rfid", "inception_score"),
    )


def titok_fixed(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """``titok`` with rounding instead of truncation."""
    changes = {"name": "titok-fixed", "quantization": "round_uint8"}
    return titok(resolution, on_corrupt).model_copy(update=changes)


def vavae(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """VA-VAE (hustvl/LightningDiT): float resize, sampled posterior, SSIM in [-1, 1], LPIPS on unclamped floats.

    Quirks: the picture is resized as a float tensor and never rounded before the encoder; SSIM's luminance term is
    taken of values about zero, which lowers it by 0.04; LPIPS sees what the decoder gives, outside [-1, 1] too;
    FID and PSNR see PNGs. ``vavae-fixed`` has SSIM in [0, 1] and LPIPS clamped. Departures: means over batches are
    means over pictures; pairs cannot be mixed up by file names; the draw of the posterior is ours.
    Source: Yao et al. 2025, Reconstruction vs. Generation, arXiv 2501.01423, table 2.
    """
    return EvaluationProtocol(
        name="vavae",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="tensor_bilinear",
        posterior="sample",
        ssim=SSIMSettings(padding="reflect", low=-1.0, high=1.0, data_range=2.0, domain="clamped"),
        lpips=LPIPSSettings(domain="float"),
        fid=FIDSettings(resize="pytorch_bilinear_299"),
        reconstruction=("psnr", "ssim", "lpips_vgg", "rfid"),
    )


def vavae_fixed(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """``vavae`` with SSIM of values in [0, 1] and LPIPS of clamped pictures."""
    changes = {
        "name": "vavae-fixed",
        "ssim": SSIMSettings(padding="reflect", high=1.0, data_range=1.0, domain="clamped"),
        "lpips": LPIPSSettings(domain="clamped"),
    }
    return vavae(resolution, on_corrupt).model_copy(update=changes)


def rae(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """RAE (bytetriper/RAE): ADM crop, uint8, torchmetrics' SSIM in [0, 1], LPIPS of VGG, FID by torch-fidelity.

    Reference of rFID: the validation pictures. Its gFID is against ADM's training statistics, and balanced classes
    lower it by about 0.1 (its own remark): compare only with balanced labels on both sides.
    Source: Zheng et al. 2025, Diffusion Transformers with Representation Autoencoders, arXiv 2510.11690.
    """
    return EvaluationProtocol(
        name="rae",
        resolution=resolution,
        on_corrupt=on_corrupt,
        ssim=SSIMSettings(padding="reflect", high=1.0, data_range=1.0),
        reconstruction=("psnr", "ssim", "lpips_vgg", "rfid"),
    )


def bsq(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """BSQ-ViT (zhaoyue-zephyrus/bsq-vit): PIL bilinear, everything on floats that are not even clamped.

    Quirks: PSNR, SSIM, MS-SSIM, LPIPS and FID all see what the decoder gives, outside the range of pictures too;
    MS-SSIM needs sides of 256. ``bsq-fixed`` clamps. Its Lanczos tables are another protocol.
    Source: Zhao et al. 2024, Image and Video Tokenization with Binary Spherical Quantization, arXiv 2406.07548.
    """
    return EvaluationProtocol(
        name="bsq",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="pil_bilinear",
        psnr=PSNRSettings(domain="float"),
        ssim=SSIMSettings(domain="float"),
        ms_ssim=MSSSIMSettings(domain="float"),
        lpips=LPIPSSettings(domain="float"),
        fid=FIDSettings(resize="pytorch_bilinear_299", domain="float"),
        reconstruction=("psnr", "ssim", "ms_ssim", "lpips_alex", "rfid"),
    )


def bsq_fixed(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """``bsq`` with the reconstruction clamped to the range of pictures."""
    changes = {
        "name": "bsq-fixed",
        "psnr": PSNRSettings(domain="clamped"),
        "ssim": SSIMSettings(domain="clamped"),
        "ms_ssim": MSSSIMSettings(domain="clamped"),
        "lpips": LPIPSSettings(domain="clamped"),
        "fid": FIDSettings(resize="pytorch_bilinear_299", domain="clamped"),
    }
    return bsq(resolution, on_corrupt).model_copy(update=changes)


def adm_gfid(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """ADM's evaluator (openai/guided-diffusion): gFID, sFID, IS, precision and recall against its own statistics.

    gFID and sFID only against an npz of ADM (``VIRTUAL_imagenet*``: training pictures); IS in splits of 5000 in the
    order of generation. Departures: the network is the port of the TensorFlow graph; distances of precision and
    recall are float32, not float16.
    Source: Dhariwal and Nichol 2021, Diffusion Models Beat GANs on Image Synthesis, arXiv 2105.05233.
    """
    return EvaluationProtocol(
        name="adm-gfid",
        resolution=resolution,
        on_corrupt=on_corrupt,
        fid=FIDSettings(gfid_reference="npz"),
        inception_score=InceptionScoreSettings(split_size=5000, shuffle_seed=None),
        reconstruction=(),
        generation=("gfid", "sfid", "inception_score", "precision", "recall"),
    )


def edm2(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """EDM2 (NVlabs/edm2): gFID and FD of DINOv2 in float64 against statistics of the training pictures.

    Quirk: the published figure is the smallest of three runs of 50,000; this measures one run. Its references are
    pickles, which are never read: give an npz with ``mu``, ``sigma``, ``mu_dinov2`` and ``sigma_dinov2``.
    Source: Karras et al. 2024, Analyzing and Improving the Training Dynamics of Diffusion Models, arXiv 2312.02696.
    """
    return EvaluationProtocol(
        name="edm2",
        resolution=resolution,
        on_corrupt=on_corrupt,
        fid=FIDSettings(gfid_reference="npz"),
        reconstruction=(),
        generation=("gfid", "fd_dinov2"),
    )


def vtbench(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """VTBench (huaweilin/VTBench, its evaluation script): Lanczos crop, PNGs, everything brought to 256 before metrics.

    Quirks: both PNGs are truncated (95 of 256 grey levels of the original itself move) and resized to 256 by
    PIL's bilinear filter whatever their size; PSNR is pooled, its range the brightest value of the originals; SSIM's
    range is that of each batch of eight; LPIPS of AlexNet is fed [0, 1]; word error counts characters over words.
    FID of its sets of 100 says nothing (2048 features). ``vtbench-fixed`` has none of these. Text is read by
    Gemma 3 12B in both pictures, enlarged to 1024. Departures: torchmetrics' behaviour is that of versions before 1.8,
    the only ones that run the script; half of its models are normalised to [0, 1], where truncation moves other levels.
    Source: Lin et al. 2025, VTBench: Evaluating Visual Tokenizers for Autoregressive Generation, arXiv 2505.13439.
    """
    return EvaluationProtocol(
        name="vtbench",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="cover_lanczos",
        quantization="truncate_uint8_then_256",
        psnr=PSNRSettings(average="pooled", range_from="largest_original"),
        ssim=SSIMSettings(padding="reflect", range_of_batches=8),
        lpips=LPIPSSettings(fed="zero_to_one"),
        text=TextSettings(reader="gemma", side=1024, word_error="characters"),
        reconstruction=("psnr", "ssim", "lpips_alex", "rfid"),
    )


def vtbench_fixed(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """``vtbench`` with PSNR per picture, right ranges, rounding, errors in words, metrics at the model's own size."""
    changes = {
        "name": "vtbench-fixed",
        "quantization": "round_uint8",
        "psnr": PSNRSettings(),
        "ssim": SSIMSettings(padding="reflect"),
        "lpips": LPIPSSettings(),
        "text": TextSettings(reader="gemma", side=1024),
    }
    return vtbench(resolution, on_corrupt).model_copy(update=changes)


def clean_fid(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """clean-fid (GaParmar/clean-fid): Inception sees PIL's antialiased bicubic resize of floats, without rounding.

    Departure: its network is a TorchScript of the same TensorFlow weights; ours is the port of pytorch-fid.
    Source: Parmar et al. 2022, On Aliased Resizing and Surprising Subtleties in GAN Evaluation, arXiv 2104.11222.
    """
    return EvaluationProtocol(
        name="clean-fid",
        resolution=resolution,
        on_corrupt=on_corrupt,
        fid=FIDSettings(resize="clean_bicubic_299"),
        reconstruction=("rfid", "kid"),
        generation=("gfid", "kid"),
    )


def ifid(resolution: int, on_corrupt: OnCorrupt) -> EvaluationProtocol:
    """iFID's published code (tongdaxu): one of the ten nearest latents, half of the way on a sphere, decoded, FID.

    The neighbour is drawn by softmax of the mean squared error, negative, which is nearly even among ten. FID sees
    unclamped floats by PyTorch's resize; the reference are the validation pictures, the neighbours training pictures.
    Departures: the posterior's mode; the draw is ours. ``eval.interpolation`` under other protocols takes the nearest
    one, as the paper defines it.
    Source: Xu et al. 2026, Making Reconstruction FID Predictive of Diffusion Generation FID, arXiv 2603.05630.
    """
    return EvaluationProtocol(
        name="ifid",
        resolution=resolution,
        on_corrupt=on_corrupt,
        crop="pil_bilinear",
        fid=FIDSettings(resize="pytorch_bilinear_299", domain="float"),
        interpolation=InterpolationSettings(neighbours=10),
        reconstruction=("rfid",),
    )


PROTOCOLS: dict[str, Callable[[int, OnCorrupt], EvaluationProtocol]] = {
    "canon-v1": canon_v1,
    "adm-gfid": adm_gfid,
    "bsq": bsq,
    "bsq-fixed": bsq_fixed,
    "clean-fid": clean_fid,
    "dc-ae": dc_ae,
    "edm2": edm2,
    "ifid": ifid,
    "ldm": ldm,
    "llamagen": llamagen,
    "llamagen-fixed": llamagen_fixed,
    "open-magvit2": open_magvit2,
    "open-magvit2-fixed": open_magvit2_fixed,
    "rae": rae,
    "titok": titok,
    "titok-fixed": titok_fixed,
    "vavae": vavae,
    "vavae-fixed": vavae_fixed,
    "vtbench": vtbench,
    "vtbench-fixed": vtbench_fixed,
}


def protocol(name: str, resolution: int, on_corrupt: OnCorrupt = "fail") -> EvaluationProtocol:
    """The protocol called ``name`` at a resolution.

    Raises:
        ValueError: listing the protocols there are.
    """
    if name not in PROTOCOLS:
        raise ValueError(f"no protocol {name!r}: there are {', '.join(PROTOCOLS)}")
    if resolution < 16:
        raise ValueError(f"data.resolution={resolution}: the protocols need at least 16 pixels")
    return PROTOCOLS[name](resolution, on_corrupt)
