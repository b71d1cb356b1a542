"""How well a model turns objects whose other sides are known: held-out procedural scenes, and
held-out objects of a data set.

    report = evaluate_scenes(Zero123Pipeline.from_pretrained("tiny"))

or ``zero123 evaluate scenes``. Every number stands beside those of three baselines: the input
unchanged, a blank (white) image, and the mean of the training images.
"""

from zero123lib.evaluation.predictions import (
    Prediction,
    Setting,
    evaluated_kinds,
    predict,
    predict_scenes,
)
from zero123lib.evaluation.report import Report, evaluate_scenes, report_predictions
from zero123lib.evaluation.samples import Sample, mean_training_image, scene_samples
from zero123lib.evaluation.scores import Entry, Scores, ViewScore
from zero123lib.evaluation.stored import stored_samples

__all__ = [
    "Entry",
    "Prediction",
    "Report",
    "Sample",
    "Scores",
    "Setting",
    "ViewScore",
    "evaluate_scenes",
    "evaluated_kinds",
    "mean_training_image",
    "predict",
    "predict_scenes",
    "report_predictions",
    "scene_samples",
    "stored_samples",
]
