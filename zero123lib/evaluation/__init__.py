"""How well a model turns objects whose other sides are known: held-out procedural scenes.

    report = evaluate_scenes(Zero123Pipeline.from_pretrained("tiny"))

or ``zero123 evaluate scenes``. Every number stands beside three trivial answers to the same
question: the input unchanged, a blank (white) picture, and the mean of the training pictures.
"""

from zero123lib.evaluation.answers import Answered, Setting, answer_scenes, kinds_asked
from zero123lib.evaluation.questions import Question, held_out_questions, mean_training_picture
from zero123lib.evaluation.report import Report, evaluate_scenes, report_scenes
from zero123lib.evaluation.scores import Entry, Scores, ViewScore

__all__ = [
    "Answered",
    "Entry",
    "Question",
    "Report",
    "Scores",
    "Setting",
    "ViewScore",
    "answer_scenes",
    "evaluate_scenes",
    "held_out_questions",
    "kinds_asked",
    "mean_training_picture",
    "report_scenes",
]
