"""Data sets: ``(x_train, y_train), (x_test, y_test)`` of float32 images (N, C, H, W) in [0, 1] and integer labels."""

from . import augment
from .digits import digits
from .distorted_digits import distorted_digits
from .go import go_games
from .go_planes import go_planes
from .mnist_family import fashion_mnist, mnist
from .sentences import Vocabulary, movie_review_sentences, movie_review_vocabulary, movie_reviews
from .speech import WORDS, spoken_words

CLASS_NAMES = {     # of the sets whose labels are not the digits they look like
    "fashion-mnist": ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
                      "Ankle boot"),
    "movie-reviews": ("blame", "praise"),
    "spoken-words": WORDS,
}

__all__ = ["CLASS_NAMES", "Vocabulary", "augment", "digits", "distorted_digits", "fashion_mnist", "go_games",
           "go_planes", "mnist", "movie_review_sentences", "movie_review_vocabulary", "movie_reviews", "spoken_words"]
