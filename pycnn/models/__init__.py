"""Models: functions that build networks, and by name those that ``pycnn train`` knows how to train."""

from .autoencoder import AUTOENCODER, AUTOENCODER_UPSAMPLE, autoencoder, autoencoder_upsample
from .capsnet import CAPSNET, CAPSNET_PUBLISHED, capsnet, capsnet_decoder, capsules_figure
from .convnet import CONVNET, convnet
from .denoiser import DENOISER, denoiser
from .digit_bitmaps import digit_bitmaps
from .go import GO, best_moves, go, move_probabilities
from .lenet5 import LENET5, c3_connections, lenet5, lenet5_images
from .mobilenet import MOBILENET, mobilenet
from .resnet18 import RESNET18, resnet18
from .speech import SPEECH, SPEECH_SECTIONS, SPEECH_TIME, speech
from .stn import STN, STN_WITHOUT, stn, transformed, transformer_figure
from .text import TEXT, text
from .text_figure import strongest_ngrams, text_figure
from .vgg16 import VGG16, vgg16

__all__ = [
    "MODELS",
    "autoencoder",
    "autoencoder_upsample",
    "best_moves",
    "c3_connections",
    "capsnet",
    "capsnet_decoder",
    "capsules_figure",
    "convnet",
    "denoiser",
    "digit_bitmaps",
    "go",
    "lenet5",
    "lenet5_images",
    "mobilenet",
    "move_probabilities",
    "resnet18",
    "speech",
    "stn",
    "strongest_ngrams",
    "text",
    "text_figure",
    "transformed",
    "transformer_figure",
    "vgg16",
]

MODELS = {
    "autoencoder": AUTOENCODER,
    "autoencoder-upsample": AUTOENCODER_UPSAMPLE,
    "capsnet": CAPSNET,
    "capsnet-published": CAPSNET_PUBLISHED,
    "convnet": CONVNET,
    "denoiser": DENOISER,
    "go": GO,
    "lenet5": LENET5,
    "mobilenet": MOBILENET,
    "resnet18": RESNET18,
    "speech": SPEECH,
    "speech-sections": SPEECH_SECTIONS,
    "speech-time": SPEECH_TIME,
    "stn": STN,
    "stn-without": STN_WITHOUT,
    "text": TEXT,
    "vgg16": VGG16,
}
