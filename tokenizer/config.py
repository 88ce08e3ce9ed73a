"""What a tokenizer is made of: a backbone and a bottleneck."""

from tokenizer.backbones import BackboneConfig
from tokenizer.bottlenecks import BottleneckConfig
from tokenizer.bottlenecks.identity import IdentityConfig
from tokenizer.core.config import Config
from tokenizer.model import Autoencoder
from tokenizer.spec import LatentSpec


class TokenizerConfig(Config):
    """A tokenizer's parts."""

    backbone: BackboneConfig
    bottleneck: BottleneckConfig = IdentityConfig()

    def build(self) -> Autoencoder:
        """The autoencoder with fresh weights and a spec that is not measured yet."""
        bottleneck = self.bottleneck.build()
        channels = self.backbone.latent_channels
        return Autoencoder(
            encoder=self.backbone.build_encoder(bottleneck.input_channels(channels)),
            bottleneck=bottleneck,
            decoder=self.backbone.build_decoder(),
            spec=LatentSpec.image(channels, self.backbone.spatial_factor),
        )
