"""Do sentences of film critics praise or blame? Filters that move along the words, beside a bag of words.

Trains the network of Kim (2014), and on the same sentences a logistic regression of TF-IDF features (scikit-learn); prints
both accuracies, and the words on which the filters fire that count most. Leaves text.png.

    python text.py [--quick]
"""

import sys

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import pycnn
from pycnn.callbacks import CosineDecay, MaxNorm
from pycnn.datasets import Vocabulary, movie_review_sentences
from pycnn.models import strongest_ngrams, text, text_figure

quick = "--quick" in sys.argv
epochs = 1 if quick else 4

(sentences, y), (test_sentences, y_test) = movie_review_sentences()
if quick:
    sentences, y, test_sentences, y_test = sentences[:500], y[:500], test_sentences[:200], y_test[:200]

bag = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=1000))
choices = {"tfidfvectorizer__ngram_range": [(1, 1), (1, 2)], "logisticregression__C": [1, 3, 10]}
bag = GridSearchCV(bag, choices, cv=3).fit(sentences, y)
baseline = bag.score(test_sentences, y_test)

vocabulary = Vocabulary.of(sentences)
x, x_test = vocabulary.encode(sentences), vocabulary.encode(test_sentences)
net = text(len(vocabulary), x.shape[1])
history = net.fit(
    x, y, optimizer=pycnn.AdamW(1e-3, weight_decay=0.1), epochs=epochs, batch_size=50,
    validation_data=(x_test, y_test), callbacks=[CosineDecay(epochs), MaxNorm("output", 3)],
)
accuracy = net.evaluate(x_test, y_test)["accuracy"]

for one in strongest_ngrams(net, x_test, vocabulary, per_layer=2, count=4):
    side, words = "praise" if one.effect > 0 else "blame", " | ".join(words for words, _ in one.ngrams)
    print(f"{side:6s}  {one.layer} {one.map:3d}  {words}")
print(f"test accuracy {accuracy:.1%}; TF-IDF and logistic regression {baseline:.1%}")

text_figure(net, history, x_test, vocabulary, class_names=("blame", "praise")).savefig("text.png")
