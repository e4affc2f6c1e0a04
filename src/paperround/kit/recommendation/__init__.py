"""Sequential recommendation: what a user takes next, from what they took before.

Start with `Recommender` (recommender.py): fit it to a log of interactions, ask for recommendations.
What it stands on can be used alone, and the papers' rooms do:

- interactions.py, reading.py: the log, from files, frames and our data sets; splits.py: what
  trains, what chooses, what tests; samples.py: training rows and negatives.
- models.py: what every model is; counting.py and encoders.py: the baselines; kinds.py: by name.
- losses.py, objectives.py, training.py: how networks learn; metrics.py, evaluation.py: how well.
- ranking.py: the best items, also among a million; export.py: ONNX.
- item_text.py, text.py: titles and attributes, as vectors and by nearness; report.py: several
  models over seeds in one table, with a paired test.
"""

import lazy_loader

# Imported when somebody asks, so that what needs no torch imports none.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
